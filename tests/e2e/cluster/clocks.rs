//! Nodes whose clocks are minutes apart: what is due, when it is tried again, and the order of
//! events go by the database's.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use malote_sandbox::{Behaviour, Fault, FaultKind};
use malote_tests::{Postgres, SHOP_KEY, Shim, answered, eventually};
use reqwest::Method;
use serde_json::Value;

use super::load::{Load, waiting};
use super::{Cluster, DRAIN_MAX, NODES, TAKE_OVER_MAX, WORKERS, bounded, long};

/// Seconds by which each node's clock is ahead of the database's.
const AHEAD_S: [i64; NODES] = [180, 0, -180];
/// How long the relay thinks about each message: calls are under way when a node dies.
const LATENCY_MS: u64 = 100;

/// The ids of the shop's events behind a place, as one page of this node has them; the next place.
async fn page(
    cluster: &Cluster,
    node: usize,
    since: Option<&str>,
) -> Result<(Vec<String>, String)> {
    let node = cluster.node(node)?;
    let request = node.request(Method::GET, "/v1/events", SHOP_KEY);
    let mut query = vec![("limit", "100")];
    query.extend(since.map(|since| ("since", since)));
    let page = answered(request.query(&query).send().await?, 200).await?;
    let events = page["events"].as_array();
    let events = events.with_context(|| format!("no events: {page}"))?;
    let ids = events.iter().filter_map(|event| event["id"].as_str());
    let next = page["next"].as_str().context("there is no next")?;
    Ok((ids.map(str::to_owned).collect(), next.to_owned()))
}

/// All from a place to the end.
async fn rest(cluster: &Cluster, node: usize, mut since: Option<String>) -> Result<Vec<String>> {
    let mut all = Vec::new();
    loop {
        let (ids, next) = page(cluster, node, since.as_deref()).await?;
        all.extend(ids);
        if since.as_ref() == Some(&next) {
            return Ok(all);
        }
        since = Some(next);
    }
}

/// Waits until every node has told how wrong its clock is.
async fn are_told(cluster: &Cluster) -> Result<()> {
    let ahead_ms = |node: &Value| node["clock_ahead_ms"].as_i64().unwrap_or_default();
    eventually("the clocks are told", DRAIN_MAX, async || {
        let request = cluster.node(1)?.admin(Method::GET, "/admin/v1/nodes");
        let list = answered(request.send().await?, 200).await?;
        let nodes = list["nodes"].as_array().context("no nodes")?;
        let is_told = |ahead_s: &i64| {
            let mut apart = nodes.iter().map(|node| ahead_ms(node) - ahead_s * 1_000);
            apart.any(|apart| apart.abs() < 1_000)
        };
        Ok(AHEAD_S.iter().all(is_told).then_some(()))
    })
    .await
}

/// Three nodes with their clocks, and a relay that takes its time and is busy now and then.
async fn start() -> Result<Cluster> {
    let shim = Shim::clock()?;
    let cluster = Cluster::start_with(Postgres::start()?, |number, config| {
        config.environment.extend(shim.ahead(AHEAD_S[number]));
        bounded(config);
        let soon =
            "retry = { first = \"1s\", factor = 2.0, max = \"15m\", give_up_after = \"24h\" }";
        let class = "class = \"campaign\"";
        config.replace(class, &format!("{class}\n{soon}"))
    })
    .await?;
    // Some mail is tried again, by whichever node is first; a fifth fault in a row would open the
    // breaker.
    let busy = Fault {
        count: Some(4),
        ..Fault::once(FaultKind::Status(451))
    };
    cluster.relay.sandbox.behave(&Behaviour {
        latency_ms: Some(LATENCY_MS),
        faults: Some(vec![busy]),
        ..Behaviour::default()
    })?;
    Ok(cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_whose_clocks_are_minutes_apart_inherit_from_a_frozen_one_and_hide_no_event()
-> Result<()> {
    let mut cluster = start().await?;
    are_told(&cluster).await?;
    let load = Load::start(&cluster.doors(), 6);
    let (mut seen, mut since) = (Vec::new(), None::<String>);
    let until = Instant::now() + long(Duration::from_secs(20), Duration::from_secs(4));
    while Instant::now() < until {
        let (ids, next) = page(&cluster, 2, since.as_deref()).await?;
        seen.extend(ids);
        since = Some(next);
    }
    // By its own clock, what the fast node took in would not be due for minutes.
    cluster.node(0)?.signal("STOP")?;
    let account = load.stop().await;
    cluster.relay.sandbox.behave_well();
    let heir = cluster.node(2)?;
    eventually("another has taken over", DRAIN_MAX, async || {
        Ok((waiting(heir, &["sending"]).await? == 0).then_some(()))
    })
    .await?;
    let took = "SELECT max(extract(epoch FROM ended_at - beat_at)) FROM malote.sessions";
    let took = Duration::from_secs_f64(cluster.postgres.ask(took).await?.parse()?);
    println!("taken for dead {took:?} after its last beat");
    ensure!(took <= TAKE_OVER_MAX, "{took:?}");
    // It goes on as if nothing had happened, until it sees that it was taken for dead.
    cluster.node(0)?.signal("CONT")?;
    let frozen = cluster.node_mut(0)?;
    let ended = frozen.ended(TAKE_OVER_MAX).await?;
    ensure!(!ended.success(), "it ended as if all were well");
    let log = frozen.log();
    ensure!(log.contains("lost the session"), "{log}");
    let sink = (&cluster.relay.sandbox, DRAIN_MAX);
    let balance = account.balance("frozen", cluster.node(2)?, sink).await?;
    ensure!(balance.campaigns_twice == 0, "{balance:?}");
    let at_risk = balance.orders_twice + balance.unknown;
    ensure!(at_risk <= WORKERS, "{balance:?}");
    seen.extend(rest(&cluster, 2, since).await?);
    let all = rest(&cluster, 1, None).await?;
    println!("{} events, {} seen as they came", all.len(), seen.len());
    let is_order = |one: &&String| one.ends_with("@order.example");
    let orders = account.acknowledged.iter().filter(is_order).count();
    ensure!(all.len() >= 2 * orders, "too few events");
    ensure!(seen == all, "what was seen is not what there is");
    // It comes back as a new one.
    cluster.node_mut(0)?.boot().await
}
