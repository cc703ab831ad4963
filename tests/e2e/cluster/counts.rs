//! What is counted over all nodes: quotas, and the places of events.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use malote_tests::{SHOP_KEY, answered, eventually};
use reqwest::Method;

use super::load::Load;
use super::{Cluster, DRAIN_MAX, Postgres, long};

const QUOTA: u64 = 1_000;
/// What slices of nodes that died may hold.
const USED_MIN: u64 = QUOTA * 98 / 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_s_quota_of_three_nodes_is_never_exceeded_and_used_though_one_dies() -> Result<()> {
    let mut cluster = Cluster::start_with(Postgres::start()?, |_, config| {
        config.replace(
            "[providers.relay.limits]\n",
            &format!("[providers.relay.limits]\nper_day = {QUOTA}\n"),
        )
    })
    .await?;
    let load = Load::start(&cluster.doors(), 6);
    let sent = || cluster.relay.sandbox.stats().messages;
    eventually("half of it is sent", DRAIN_MAX, async || {
        Ok((sent() > QUOTA / 2).then_some(()))
    })
    .await?;
    cluster.node_mut(0)?.kill()?;
    eventually("there is more than the quota", DRAIN_MAX, async || {
        Ok((load.count() as u64 > QUOTA * 13 / 10).then_some(()))
    })
    .await?;
    load.stop().await;
    let sent = || cluster.relay.sandbox.stats().messages;
    let used = eventually("it is used", DRAIN_MAX, async || {
        Ok((sent() >= USED_MIN).then_some(()))
    });
    used.await
        .with_context(|| format!("{} were sent", sent()))?;
    // Nothing that comes later may leave: the time is for what would be wrong.
    tokio::time::sleep(long(Duration::from_secs(10), Duration::from_secs(3))).await;
    println!("{} of {QUOTA} sent", sent());
    ensure!(sent() <= QUOTA, "{} were sent", sent());
    Ok(())
}

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_events_misses_none_of_those_that_several_nodes_write() -> Result<()> {
    let cluster = Cluster::start().await?;
    let writers: Vec<_> = cluster.doors().into_iter().take(2).collect();
    let load = Load::start(&writers, 8);
    let (mut seen, mut since) = (Vec::new(), None::<String>);
    let until = Instant::now() + long(Duration::from_secs(20), Duration::from_secs(5));
    while Instant::now() < until {
        let (ids, next) = page(&cluster, 2, since.as_deref()).await?;
        seen.extend(ids);
        since = Some(next);
    }
    let account = load.stop().await;
    let sink = (&cluster.relay.sandbox, DRAIN_MAX);
    account.balance("events", cluster.node(2)?, sink).await?;
    seen.extend(rest(&cluster, 2, since).await?);
    let all = rest(&cluster, 0, None).await?;
    println!("{} events, {} seen as they came", all.len(), seen.len());
    let orders = account
        .acknowledged
        .iter()
        .filter(|one| one.ends_with("@order.example"));
    ensure!(all.len() >= 2 * orders.count(), "too few events");
    ensure!(seen == all, "what was seen is not what there is");
    Ok(())
}
