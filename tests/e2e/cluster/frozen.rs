//! A node that stands still past its lease, and goes on as if nothing had happened.

use std::time::Duration;

use anyhow::{Result, ensure};
use malote_sandbox::Behaviour;
use malote_tests::eventually;

use super::load::{Load, waiting};
use super::{CONCURRENCY, Cluster, DRAIN_MAX, TAKE_OVER_MAX};

/// How long the relay thinks about each message: calls are under way when the node freezes.
const LATENCY_MS: u64 = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_frozen_past_its_lease_settles_nothing_that_is_another_s() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    cluster.relay.sandbox.behave(&Behaviour {
        latency_ms: Some(LATENCY_MS),
        ..Behaviour::default()
    })?;
    let load = Load::start(&cluster.doors(), 6);
    eventually("there is load", DRAIN_MAX, async || {
        Ok((load.count() > 150).then_some(()))
    })
    .await?;
    cluster.node(0)?.signal("STOP")?;
    let account = load.stop().await;
    cluster.relay.sandbox.behave_well();
    let heir = cluster.node(1)?;
    let within = TAKE_OVER_MAX + Duration::from_secs(5);
    eventually("another has taken over", within, async || {
        Ok((waiting(heir, &["sending"]).await? == 0).then_some(()))
    })
    .await?;
    cluster.node(0)?.signal("CONT")?;
    let frozen = cluster.node_mut(0)?;
    let ended = frozen.ended(within).await?;
    ensure!(!ended.success(), "it ended as if all were well");
    let log = frozen.log();
    ensure!(log.contains("lost the session"), "{log}");
    let sink = (&cluster.relay.sandbox, DRAIN_MAX);
    let balance = account.balance("frozen", cluster.node(1)?, sink).await?;
    ensure!(balance.campaigns_twice == 0, "{balance:?}");
    ensure!(
        balance.orders_twice + balance.unknown <= CONCURRENCY,
        "{balance:?}"
    );
    // It comes back as a new one.
    cluster.node_mut(0)?.boot().await
}
