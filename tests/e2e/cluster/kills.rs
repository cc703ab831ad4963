//! SIGKILL of a node every second under load.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use malote_tests::eventually;

use super::load::{Load, waiting};
use super::{CONCURRENCY, Cluster, DRAIN_MAX, TAKE_OVER_MAX, long};

const CLIENTS: usize = 8;
const EVERY: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_killed_every_second_under_load_lose_nothing_and_duplicate_no_campaign() -> Result<()>
{
    let mut cluster = Cluster::start().await?;
    let load = Load::start(&cluster.doors(), CLIENTS);
    let (begun, lasts) = (
        Instant::now(),
        long(Duration::from_secs(60), Duration::from_secs(10)),
    );
    let mut kills = 0;
    while begun.elapsed() < lasts {
        let next = Instant::now() + EVERY;
        // Any order will do that leaves no node out; this one leaves none alone for long.
        let node = cluster.node_mut(kills * 5 % 7 % 3)?;
        node.kill()?;
        kills += 1;
        node.boot().await?;
        tokio::time::sleep(next.saturating_duration_since(Instant::now())).await;
    }
    // The last one stays dead: the others take over what it had under way.
    cluster.node_mut(0)?.kill()?;
    kills += 1;
    let died = Instant::now();
    let account = load.stop().await;
    let heir = cluster.node(1)?;
    eventually("nothing is under way", DRAIN_MAX, async || {
        Ok((waiting(heir, &["sending"]).await? == 0).then_some(()))
    })
    .await?;
    let took = died.elapsed();
    println!("{kills} kills, the last one taken over after {took:?}");
    let sink = (&cluster.relay.sandbox, DRAIN_MAX);
    let balance = account.balance("kills", heir, sink).await?;
    ensure!(took <= TAKE_OVER_MAX + EVERY, "taken over after {took:?}");
    ensure!(balance.campaigns_twice == 0, "{balance:?}");
    ensure!(
        balance.orders_twice + balance.unknown <= kills * CONCURRENCY,
        "{balance:?}"
    );
    ensure!(account.acknowledged.len() > 100, "there was no load");
    Ok(())
}
