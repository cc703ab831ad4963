//! A provider's key is replaced while many calls by the old one are under way: what those are told
//! says nothing of the new key.

use std::time::Duration;

use anyhow::{Result, ensure};
use malote_sandbox::{Behaviour, Fault, FaultKind, Kind};
use malote_tests::{Config, LOADTEST_KEY, SHOP_KEY, Service, World, answered, eventually};
use reqwest::Method;

use crate::{SENT_MAX, attempts, campaigns_by, long, order, send_order};

/// The key of the service that answers by the new one only.
const NEW_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYROTATEDKEY";

/// Both streams leave by SES, which has room for all of their mail at once.
fn all_by_ses(config: &mut Config) -> Result<()> {
    config.replace("per_second = 14\n", "per_second = 10000\n")?;
    config.replace("concurrency = 32 ", "concurrency = 2000 ")?;
    // The account has a rate of its own: who waits for it does not go another way.
    config.replace("on_throttle = \"next\"", "on_throttle = \"wait\"")?;
    config.add("[delivery]\nworkers = 2048\n");
    config.add("[providers.ses.pools.news]\nconfiguration_set = \"news\"\n");
    for pool in ["tx", "news"] {
        let limits = format!("[providers.ses.pools.{pool}.limits]\nconcurrency = 2000\n");
        config.add(&limits);
    }
    let targets =
        "{ provider = \"ses\", pool = \"news\" }, { provider = \"relay\", pool = \"bulk\" }";
    campaigns_by(config, targets)
}

async fn post(world: &World, key: &str, recipient: &str) -> Result<()> {
    let request = world.gateway.request(Method::POST, "/v1/messages", key);
    answered(request.json(&order(recipient)).send().await?, 202)
        .await
        .map(drop)
}

/// Has so many calls by the old key under way: the service refuses the first half of them, and takes
/// the others, but tells neither before `latency`.
async fn begin(world: &World, recipients: &[String], latency: Duration) -> Result<()> {
    let streams = [("transactional", SHOP_KEY), ("campaign", LOADTEST_KEY)];
    for (stream, _) in streams {
        world.gateway.switch(stream, "pause").await?;
    }
    for (recipient, (_, key)) in recipients.iter().zip(streams.iter().cycle()) {
        post(world, key, recipient).await?;
    }
    let refused = Fault {
        count: Some(u32::try_from(recipients.len() / 2)?),
        ..Fault::once(FaultKind::Status(401))
    };
    world.ses.sandbox.behave(&Behaviour {
        latency_ms: Some(latency.as_millis().try_into()?),
        faults: Some(vec![refused]),
        ..Behaviour::default()
    })?;
    for (stream, _) in streams {
        world.gateway.switch(stream, "resume").await?;
    }
    let in_flight = "malote_calls_in_flight{provider=\"ses\"}";
    eventually("all are under way", SENT_MAX, async || {
        // The series begins with the first call.
        let count = world.gateway.sample(in_flight).await.unwrap_or(0);
        Ok((count == recipients.len()).then_some(()))
    })
    .await
}

async fn rotate(world: &mut World, address: std::net::SocketAddr) -> Result<()> {
    world.gateway.set_config(|config| {
        config.replace(
            "secret_access_key_env = \"SES_SECRET\"",
            &format!("secret_access_key = \"{NEW_KEY}\""),
        )?;
        config.set_ses_port(address.port())
    })?;
    world.gateway.signal("HUP")?;
    let reloads = "malote_config_reloads_total{result=\"done\"}";
    eventually("the new key is in force", SENT_MAX, async || {
        Ok((world.gateway.sample(reloads).await.unwrap_or(0) > 0).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_by_a_key_that_was_replaced_end_by_either_and_do_not_put_the_new_one_out()
-> Result<()> {
    let (count, latency) = long(
        (1_000, Duration::from_secs(20)),
        (100, Duration::from_secs(6)),
    );
    let mut world = World::start_with(all_by_ses).await?;
    let any = ([127, 0, 0, 1], 0).into();
    let new = Service::start_on(Kind::Ses, any, |sandbox| {
        sandbox.ses.secret_access_key = NEW_KEY.to_owned();
    })
    .await?;
    let recipients: Vec<String> = (0..count).map(|n| format!("r{n}@one.example")).collect();
    begin(&world, &recipients, latency).await?;
    rotate(&mut world, new.address).await?;
    ensure!(
        world.ses.sandbox.stats().messages < u64::try_from(count / 2)?,
        "all had ended"
    );
    let arrived = |to: &str| {
        let services = [&world.ses, &new, &world.relay];
        services
            .map(|service| service.count_to(to))
            .iter()
            .sum::<usize>()
    };
    eventually("each arrives", latency + SENT_MAX * 2, async || {
        Ok(recipients.iter().all(|to| arrived(to) > 0).then_some(()))
    })
    .await?;
    for to in &recipients {
        ensure!(arrived(to) == 1, "{to} arrived {} times", arrived(to));
    }
    let timeline = send_order(&world, "next@one.example").await?;
    ensure!(attempts(&timeline) == [("ses".to_owned(), "sent".to_owned())]);
    ensure!(
        new.count_to("next@one.example") == 1,
        "it left by the old key"
    );
    let alerts = "malote_alerts_total{kind=\"provider_out\",provider=\"ses\"}";
    ensure!(
        world.gateway.sample(alerts).await? == 0,
        "a human was called"
    );
    Ok(())
}
