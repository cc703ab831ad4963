//! SIGKILL of a node chosen by chance, every second under load.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use malote_tests::eventually;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::load::{Load, waiting};
use super::{CONCURRENCY, Cluster, DRAIN_MAX, NODES, TAKE_OVER_MAX, long};

const CLIENTS: usize = 8;
const EVERY: Duration = Duration::from_secs(1);
/// The variable that repeats a run, by the seed that it printed.
const SEED_VARIABLE: &str = "MALOTE_TEST_SEED";

fn seed() -> Result<u64> {
    match std::env::var(SEED_VARIABLE) {
        Ok(text) => text.parse().context(SEED_VARIABLE),
        Err(_) => Ok(rand::random()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_killed_every_second_under_load_lose_nothing_and_duplicate_no_campaign() -> Result<()>
{
    let seed = seed()?;
    println!("{SEED_VARIABLE}={seed}");
    let mut chance = SmallRng::seed_from_u64(seed);
    let mut cluster = Cluster::start().await?;
    let load = Load::start(&cluster.doors(), CLIENTS);
    let (begun, lasts) = (
        Instant::now(),
        long(Duration::from_secs(60), Duration::from_secs(5)),
    );
    let mut kills = 0;
    while begun.elapsed() < lasts {
        let next = Instant::now() + EVERY;
        let node = cluster.node_mut(chance.random_range(0..NODES))?;
        node.kill()?;
        kills += 1;
        node.boot().await?;
        tokio::time::sleep(next.saturating_duration_since(Instant::now())).await;
    }
    // The last one stays dead: the others take over what it had under way.
    let last = chance.random_range(0..NODES);
    cluster.node_mut(last)?.kill()?;
    kills += 1;
    let died = Instant::now();
    let account = load.stop().await;
    let heir = cluster.node((last + 1) % NODES)?;
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
    let taken = account.acknowledged.len();
    ensure!(taken > kills * CLIENTS, "there was no load: {taken}");
    Ok(())
}
