//! SIGKILL under load, twenty times: what was acknowledged is at the sink, queued, or `unknown`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::{Result, ensure};
use malote_sandbox::Sandbox;
use malote_tests::{Gateway, LOADTEST_KEY, SHOP_KEY, SmtpClient, World, eventually, text_message};
use reqwest::Method;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::{campaigns_by, order};

const ROUNDS: usize = 20;
/// Sessions that hand over campaigns, and clients that post transactional mail.
const PRODUCERS: usize = 4;
/// Calls to the relay at once, hence unknown outcomes of one kill at most.
const CONCURRENCY: usize = 8;
/// How long the queue may take to drain after the last start.
const DRAIN_MAX: Duration = Duration::from_secs(120);

/// The recipients whose mail was acknowledged.
type Acknowledged = Arc<Mutex<BTreeSet<String>>>;

fn note(acknowledged: &Acknowledged, recipient: String) {
    let mut set = acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
    set.insert(recipient);
}

/// Hands over campaigns until the gateway dies.
async fn campaigns(door: std::net::SocketAddr, name: String, acknowledged: Acknowledged) {
    let Ok(mut client) = SmtpClient::connect(door).await else {
        return;
    };
    for number in 0.. {
        let recipient = format!("{name}n{number}@campaign.example");
        let text = text_message("news@shop.example", &recipient, &format!("{name}n{number}"));
        match client.send("b@shop.example", &[&recipient], &text).await {
            Ok(reply) if reply.code == 250 => note(&acknowledged, recipient),
            Ok(_) | Err(_) => return,
        }
    }
}

/// Posts transactional mail until the gateway dies.
async fn orders(door: std::net::SocketAddr, name: String, acknowledged: Acknowledged) {
    let client = reqwest::Client::new();
    let url = format!("http://{door}/v1/messages");
    for number in 0.. {
        let recipient = format!("{name}n{number}@order.example");
        let request = client.post(&url).bearer_auth(SHOP_KEY);
        match request.json(&order(&recipient)).send().await {
            Ok(answer) if answer.status() == 202 => note(&acknowledged, recipient),
            Ok(_) | Err(_) => return,
        }
    }
}

async fn round(gateway: &mut Gateway, number: usize, acknowledged: &Acknowledged) -> Result<()> {
    let mut producers = JoinSet::new();
    let doors = gateway.doors();
    for producer in 0..PRODUCERS {
        let name = format!("r{number}p{producer}");
        producers.spawn(campaigns(doors.plain, name.clone(), acknowledged.clone()));
        producers.spawn(orders(doors.http, name, acknowledged.clone()));
    }
    // Another moment each time, from in the first commits to in full flow.
    let after = Duration::from_millis(150 + 53 * u64::try_from(number)?);
    tokio::time::sleep(after).await;
    gateway.kill()?;
    while producers.join_next().await.is_some() {}
    gateway.boot().await
}

/// The recipients of this credential's mail in this state.
async fn recipients_in(gateway: &Gateway, key: &str, state: &str) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = vec![("state", state.to_owned())];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let request = gateway.request(Method::GET, "/v1/messages", key);
        let page = malote_tests::answered(request.query(&query).send().await?, 200).await?;
        let rows = page["rows"].as_array().cloned().unwrap_or_default();
        let recipient = |row: &Value| row["recipient"].as_str().map(str::to_owned);
        found.extend(rows.iter().filter_map(recipient));
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            return Ok(found);
        }
    }
}

async fn drained(gateway: &Gateway) -> Result<()> {
    eventually("the queue is empty", DRAIN_MAX, async || {
        for key in [SHOP_KEY, LOADTEST_KEY] {
            for state in ["queued", "sending", "deferred", "scheduled"] {
                if !recipients_in(gateway, key, state).await?.is_empty() {
                    return Ok(None);
                }
            }
        }
        Ok(Some(()))
    })
    .await
}

/// How often each recipient's mail arrived.
fn arrivals(sink: &Sandbox) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for recipient in sink
        .messages()
        .into_iter()
        .flat_map(|taken| taken.recipients)
    {
        *counts.entry(recipient).or_insert(0) += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_under_load_lose_nothing_and_duplicate_no_campaign() -> Result<()> {
    let mut world = World::start_with(|config| {
        campaigns_by(config, "{ provider = \"relay\", pool = \"bulk\" }")?;
        config.replace(
            "targets = [{ provider = \"ses\", pool = \"tx\" }, { provider = \"relay\" }]",
            "targets = [{ provider = \"relay\" }]",
        )?;
        config.add(&format!(
            "[providers.relay.limits]\nconcurrency = {CONCURRENCY}\n"
        ));
        Ok(())
    })
    .await?;
    let acknowledged = Acknowledged::default();
    for number in 0..ROUNDS {
        round(&mut world.gateway, number, &acknowledged).await?;
    }
    drained(&world.gateway).await?;
    let unknown = recipients_in(&world.gateway, LOADTEST_KEY, "unknown").await?;
    let arrived = arrivals(&world.relay.sandbox);
    let acknowledged = acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{} acknowledged, {} recipients reached, {} unknown",
        acknowledged.len(),
        arrived.len(),
        unknown.len()
    );
    let is_lost = |recipient: &&String| {
        let is_unknown = recipient.ends_with("@campaign.example") && unknown.contains(*recipient);
        !arrived.contains_key(*recipient) && !is_unknown
    };
    let lost: Vec<&String> = acknowledged.iter().filter(is_lost).collect();
    ensure!(lost.is_empty(), "{} lost: {lost:?}", lost.len());
    let twice: Vec<&String> = arrived
        .iter()
        .filter(|(recipient, count)| **count > 1 && recipient.ends_with("@campaign.example"))
        .map(|(recipient, _)| recipient)
        .collect();
    ensure!(twice.is_empty(), "campaign mail arrived twice: {twice:?}");
    ensure!(
        unknown.len() <= ROUNDS * CONCURRENCY,
        "{} unknown",
        unknown.len()
    );
    ensure!(acknowledged.len() > ROUNDS * PRODUCERS, "there was no load");
    Ok(())
}
