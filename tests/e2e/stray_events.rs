//! Events about mail that nobody sent, at the highest rate there is: taken, counted, and neither
//! the log nor the metrics grow with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use hmac::{Hmac, Mac as _};
use malote_core::clock::{Clock as _, SystemClock};
use malote_tests::World;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::task::JoinSet;

use crate::send_order;

const SIGNING_KEY: &str = "signing-key-sandbox";
/// Posts, one event each, as Mailgun sends them.
const EVENTS: usize = 4_000;
/// Connections they come by.
const CONNECTIONS: usize = 16;
/// Lines that a quiet gateway may log meanwhile, beside one a second.
const LINES_SPARE: usize = 5;

fn signed(number: usize) -> Result<Value> {
    let timestamp = SystemClock::start().now().as_second().to_string();
    let token = format!("stray{number}");
    let mut mac = Hmac::<Sha256>::new_from_slice(SIGNING_KEY.as_bytes()).context("a key")?;
    mac.update(format!("{timestamp}{token}").as_bytes());
    let digest = mac.finalize().into_bytes();
    let signature: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
    // Each is new in all that could become a label or a line: id, address, domain, kind, reason.
    let kinds = ["failed", "delivered", "complained", "opened", "novelty"];
    let kind = match kinds.get(number % kinds.len()) {
        Some(&"novelty") | None => format!("novelty{number}"),
        Some(known) => (*known).to_owned(),
    };
    Ok(json!({
        "signature": { "timestamp": timestamp, "token": token, "signature": signature },
        "event-data": {
            "event": kind, "severity": "permanent", "reason": format!("reason{number}"),
            "id": format!("event{number}"), "timestamp": SystemClock::start().now().as_second(),
            "recipient": format!("stray{number}@domain{number}.example"),
            "user-variables": {}, "tags": [format!("tag{number}")],
            "message": { "headers": { "message-id": format!("stray{number}@news.example.com") } },
            "delivery-status": { "code": 550, "message": format!("text {number}") },
        },
    }))
}

/// Posts the numbers from `next` up to `end`, a connection each worker.
async fn flood(world: &World, end: usize, next: &Arc<AtomicUsize>) -> Result<()> {
    let url = format!("http://{}/v1/webhooks/mailgun", world.gateway.doors().http);
    let mut workers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (url, next) = (url.clone(), Arc::clone(next));
        workers.spawn(async move {
            let client = reqwest::Client::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= end {
                    return Ok(());
                }
                let answer = client.post(&url).json(&signed(number)?).send().await?;
                ensure!(answer.status() == 200, "{number}: {}", answer.status());
            }
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    Ok(())
}

/// The names and labels of all series.
async fn series(world: &World) -> Result<Vec<String>> {
    let request = world.gateway.admin(Method::GET, "/metrics");
    let text = request.send().await?.text().await?;
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let name = |line: &str| line.rsplit_once(' ').map(|(name, _)| name.to_owned());
    Ok(samples.filter_map(name).collect())
}

async fn unmatched(world: &World) -> Result<usize> {
    let series = "malote_provider_events_unmatched_total{provider=\"mailgun\"}";
    world.gateway.sample(series).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_about_unknown_mail_are_taken_and_leave_no_trace_but_a_count() -> Result<()> {
    let world = World::start().await?;
    send_order(&world, "before@one.example").await?;
    // The first ones of each kind make what series there are.
    flood(&world, 50, &Arc::new(AtomicUsize::new(0))).await?;
    let (series_before, log_before) = (series(&world).await?, world.gateway.log());
    let counted_before = unmatched(&world).await?;

    let started = Instant::now();
    let end = 50 + EVENTS;
    flood(&world, end, &Arc::new(AtomicUsize::new(50))).await?;
    let took = started.elapsed();

    let counted = unmatched(&world).await? - counted_before;
    ensure!(counted == EVENTS, "{counted} counted of {EVENTS}");
    let new: Vec<String> = series(&world).await?;
    let new: Vec<&String> = new
        .iter()
        .filter(|one| !series_before.contains(one))
        .collect();
    ensure!(new.is_empty(), "new series: {new:?}");
    let log = world.gateway.log();
    let lines = log.lines().count() - log_before.lines().count();
    let lines_max = LINES_SPARE + usize::try_from(took.as_secs())?;
    ensure!(lines <= lines_max, "{lines} lines in {took:?}");
    ensure!(!log.contains("stray") && !log.contains("novelty"), "{log}");
    // Nothing was suppressed on a stranger's word, and mail flows.
    send_order(&world, "stray50@domain50.example").await?;
    println!("{EVENTS} events in {took:?}, {lines} lines of log");
    Ok(())
}
