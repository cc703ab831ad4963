//! `malote store migrate`: a gateway's queue moves to PostgreSQL and back; everything is delivered
//! once, and readers of events go on where they were.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use malote_tests::{Gateway, Outcome, Postgres, SHOP_KEY, World, answered, eventually, run};
use reqwest::Method;
use serde_json::Value;

use crate::{SENT_MAX, order, send_order};

const COMMAND_MAX: Duration = Duration::from_secs(60);
const SQLITE: &str = "[store.sqlite]\npath = \"var/malote.db\"";
const KEY_FILE: &str = "var/malote.db.key";
/// Messages that wait when the store moves.
const WAITING: usize = 25;

pub(crate) async fn malote(gateway: &Gateway, arguments: &[&str]) -> Result<Outcome> {
    run(&mut gateway.command(arguments)?, COMMAND_MAX).await
}

async fn configured(gateway: &Gateway, arguments: &[&str]) -> Result<String> {
    let arguments: Vec<&str> = arguments
        .iter()
        .chain(&["--config", "malote.toml"])
        .copied()
        .collect();
    malote(gateway, &arguments).await?.success()
}

/// The ids of all events behind a place, each once, and the place to go on from.
pub(crate) async fn read_on(
    gateway: &Gateway,
    since: Option<&str>,
) -> Result<(Vec<String>, String)> {
    let (mut since, mut ids) = (since.map(str::to_owned), Vec::new());
    loop {
        let mut query = vec![("limit", "10")];
        query.extend(since.as_deref().map(|since| ("since", since)));
        let request = gateway.request(Method::GET, "/v1/events", SHOP_KEY);
        let page = answered(request.query(&query).send().await?, 200).await?;
        let events = page["events"].as_array().context("no events")?;
        let id = |event: &Value| event["id"].as_str().unwrap_or_default().to_owned();
        ids.extend(events.iter().map(id));
        let next = page["next"].as_str().context("no place")?.to_owned();
        if events.is_empty() {
            return Ok((ids, next));
        }
        since = Some(next);
    }
}

/// As [`read_on`], once there are so many: mail is at its provider before its event is written.
async fn read_on_until(
    gateway: &Gateway,
    since: &str,
    count: usize,
) -> Result<(Vec<String>, String)> {
    eventually("the events are written", SENT_MAX, async || {
        let read = read_on(gateway, Some(since)).await?;
        Ok((read.0.len() >= count).then_some(read))
    })
    .await
}

fn postgres_table(url: &str) -> String {
    format!("[store.postgres]\nurl = \"{url}\"\ntls = \"none\"\naddress_key_file = \"{KEY_FILE}\"")
}

/// Names the store in the database, with the key that lies in a file.
pub(crate) fn keep_in(gateway: &mut Gateway, url: &str) -> Result<()> {
    gateway.set_config(|config| config.replace(SQLITE, &postgres_table(url)))
}

/// Holds new mail back, and takes some in.
pub(crate) async fn wait_behind_a_pause(
    gateway: &Gateway,
    name: &str,
    count: usize,
) -> Result<Vec<String>> {
    configured(gateway, &["queue", "pause", "--stream", "transactional"]).await?;
    let address = |n| format!("{name}{n}@one.example");
    let recipients: Vec<String> = (0..count).map(address).collect();
    for recipient in &recipients {
        gateway.submit(&order(recipient)).await?;
    }
    Ok(recipients)
}

/// Lets it go, and waits until each has left once.
async fn resumed(world: &World, recipients: &[String]) -> Result<()> {
    let resume = ["queue", "resume", "--stream", "transactional"];
    configured(&world.gateway, &resume).await?;
    eventually("all is sent", SENT_MAX, async || {
        let sent = |to: &String| world.ses.count_to(to) + world.relay.count_to(to) > 0;
        Ok(recipients.iter().all(sent).then_some(()))
    })
    .await?;
    for recipient in recipients {
        let count = world.ses.count_to(recipient) + world.relay.count_to(recipient);
        ensure!(count == 1, "{recipient} got {count}");
    }
    Ok(())
}

/// Moves the queue to the database while the gateway stands still, and not before.
async fn there(world: &mut World, url: &str) -> Result<()> {
    #[rustfmt::skip]
    let command = [
        "store", "migrate", "--from", "sqlite:var/malote.db", "--to", url, "--tls", "none",
    ];
    let said = malote(&world.gateway, &command).await?;
    ensure!(said.status == Some(1), "{said:?}");
    ensure!(said.stderr.contains("another malote runs on"), "{said:?}");
    world.gateway.stop().await?;
    let said = malote(&world.gateway, &command).await?.success()?;
    ensure!(
        said.contains("deliveries") && said.contains("CHECKSUM"),
        "{said}"
    );
    let serve = ["serve", "--config", "malote.toml"];
    let said = malote(&world.gateway, &serve).await?;
    ensure!(said.status != Some(0), "the old store started: {said:?}");
    let text = said.stdout + &said.stderr;
    ensure!(text.contains("the store was moved to postgres:"), "{text}");
    keep_in(&mut world.gateway, url)?;
    world.gateway.boot().await
}

/// Moves it back, to another file.
async fn back(world: &mut World, url: &str) -> Result<()> {
    world.gateway.stop().await?;
    #[rustfmt::skip]
    let command = [
        "store", "migrate", "--from", url, "--to", "sqlite:back/malote.db", "--tls", "none",
        "--address-key-file", KEY_FILE,
    ];
    malote(&world.gateway, &command).await?.success()?;
    let table = "[store.sqlite]\npath = \"back/malote.db\"";
    let old = postgres_table(url);
    world
        .gateway
        .set_config(|config| config.replace(&old, table))?;
    world.gateway.boot().await
}

#[tokio::test]
async fn a_queue_that_moves_to_postgres_and_back_is_delivered_once_and_its_events_go_on()
-> Result<()> {
    let postgres = Postgres::start()?;
    let url = postgres.url();
    let mut world = World::start().await?;
    send_order(&world, "first@one.example").await?;
    let recipients = wait_behind_a_pause(&world.gateway, "one", WAITING).await?;
    let (before, place) = read_on(&world.gateway, None).await?;
    there(&mut world, &url).await?;
    resumed(&world, &recipients).await?;
    let (after, place) = read_on_until(&world.gateway, &place, WAITING).await?;
    let (all, known): (BTreeSet<_>, BTreeSet<_>) =
        (after.iter().collect(), before.iter().collect());
    ensure!(
        all.len() == after.len() && all.is_disjoint(&known),
        "{after:?}"
    );

    let recipients = wait_behind_a_pause(&world.gateway, "two", 3).await?;
    let (_, place) = read_on(&world.gateway, Some(&place)).await?;
    back(&mut world, &url).await?;
    resumed(&world, &recipients).await?;
    let (last, _) = read_on_until(&world.gateway, &place, 3).await?;
    let is_new = |id: &String| !before.contains(id) && !after.contains(id);
    ensure!(last.iter().all(is_new), "{last:?}");
    Ok(())
}
