//! Mail that waits for a provider leaves by another one when the provider is taken out of the
//! configuration.

use std::time::Duration;

use anyhow::{Context, Result};
use malote_sandbox::{Fault, FaultKind};
use malote_tests::{Config, SHOP_KEY, World, eventually};
use reqwest::Method;

use crate::{SENT_MAX, ensure_once, order};

/// Messages of each kind.
const COUNT: usize = 20;
/// How long all of them may take, with the longest first wait of a retry (10 s).
const ALL_SENT_MAX: Duration = Duration::from_secs(45);

const BOTH: &str = "{ provider = \"ses\", pool = \"tx\" }, { provider = \"relay\" }";
const ONLY_SES: &str = "{ provider = \"ses\", pool = \"tx\" }";

/// Starts with SES as the only way, which takes one message in a hundred seconds.
async fn start() -> Result<World> {
    World::start_with(|config| {
        config.replace(BOTH, ONLY_SES)?;
        config.replace("per_second = 14", "per_second = 0.01")
    })
    .await
}

/// Takes all tables of SES out of the file.
fn remove_ses(config: &mut Config) -> Result<()> {
    let start = config.text.find("[providers.ses.ses]");
    let end = config.text.find("[providers.mailgun.mailgun]");
    let (start, end) = start.zip(end).context("the contract's providers")?;
    config.text.replace_range(start..end, "");
    Ok(())
}

async fn states(world: &World) -> Result<serde_json::Value> {
    let request = world.gateway.admin(Method::GET, "/admin/v1/queue/stats");
    Ok(request.send().await?.json().await?)
}

/// Waits until each of these messages was sent, and checks that it was sent once.
async fn ensure_sent(world: &World, names: &[String]) -> Result<()> {
    for name in names {
        let within = ALL_SENT_MAX;
        let reached = world.gateway.reached(name, SHOP_KEY, &["sent"], within);
        if let Err(error) = reached.await {
            return Err(error.context(states(world).await?.to_string()));
        }
        let mut taken = world.relay.sandbox.messages_to(name);
        taken.extend(world.ses.sandbox.messages_to(name));
        ensure_once(&taken)?;
    }
    Ok(())
}

async fn submit(world: &World, kind: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for number in 0..COUNT {
        let name = format!("{kind}{number}@one.example");
        world.gateway.submit(&order(&name)).await?;
        names.push(name);
    }
    Ok(names)
}

#[tokio::test]
async fn queued_and_deferred_mail_of_a_removed_provider_leaves_by_another() -> Result<()> {
    let mut world = start().await?;
    world.ses.sandbox.arm(Fault::always(FaultKind::Status(503)));
    // The first is tried and deferred, the others wait for their turn.
    let names = submit(&world, "waits").await?;
    let within = SENT_MAX;
    world
        .gateway
        .reached(&names[0], SHOP_KEY, &["deferred"], within)
        .await?;
    assert_eq!(world.ses.sandbox.stats().messages, 0);
    world.gateway.set_config(|config| {
        config.replace(ONLY_SES, "{ provider = \"relay\" }")?;
        remove_ses(config)
    })?;
    world.gateway.signal("HUP")?;
    ensure_sent(&world, &names).await?;
    assert_eq!(world.ses.sandbox.stats().messages, 0);
    Ok(())
}

#[tokio::test]
async fn mail_is_not_stuck_when_its_route_goes_with_the_provider() -> Result<()> {
    let mut world = start().await?;
    let names = submit(&world, "routed").await?;
    world.gateway.set_config(|config| {
        config.replace("route = \"transactional\"", "route = \"other\"")?;
        config.replace("[routes.transactional]", "[routes.other]")?;
        config.replace(ONLY_SES, "{ provider = \"relay\" }")?;
        remove_ses(config)
    })?;
    world.gateway.signal("HUP")?;
    ensure_sent(&world, &names).await?;
    Ok(())
}

#[tokio::test]
async fn a_call_under_way_to_a_removed_provider_ends_in_one_message() -> Result<()> {
    let mut world = World::start_with(|config| {
        config.replace(BOTH, ONLY_SES)?;
        let policy = "on_unknown = \"prefer_no_loss\"";
        config.replace(policy, &format!("{policy}\nreply_wait_max = \"5s\""))
    })
    .await?;
    eventually("the account was looked up", SENT_MAX, async || {
        Ok((world.ses.sandbox.stats().checks > 0).then_some(()))
    })
    .await?;
    world.ses.sandbox.arm(Fault::always(FaultKind::Hang));
    let names = submit(&world, "hangs").await?;
    eventually("a call hangs", SENT_MAX, async || {
        Ok((world.ses.sandbox.stats().faults > 0).then_some(()))
    })
    .await?;
    world.gateway.set_config(|config| {
        config.replace(ONLY_SES, "{ provider = \"relay\" }")?;
        remove_ses(config)
    })?;
    world.gateway.signal("HUP")?;
    ensure_sent(&world, &names).await?;
    Ok(())
}
