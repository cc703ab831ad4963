//! SIGKILL of a node chosen by chance, every second under load.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use malote_sandbox::Behaviour;
use malote_tests::eventually;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::load::{Load, waiting};
use super::{CONCURRENCY, Cluster, DRAIN_MAX, NODES, TAKE_OVER_MAX, WORKERS, long};

const CLIENTS: usize = 8;
/// What a node that is started again had under way is its own again within this.
const OWN_AGAIN_MAX: Duration = Duration::from_secs(2);
/// Lets no process know where another one is.
const ELSEWHERE: &str = "UPDATE malote.sessions SET place = id";
/// What is under way in a session that is not the last one opened.
const LEFT: &str = "SELECT count(*) FROM malote.jobs WHERE state = 2
    AND session < (SELECT max(id) FROM malote.sessions WHERE ended_at IS NULL)";
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
    let (mut kills, mut next) = (0, begun);
    while begun.elapsed() < lasts {
        next += EVERY;
        let node = cluster.node_mut(chance.random_range(0..NODES))?;
        node.kill()?;
        kills += 1;
        node.boot().await?;
        tokio::time::sleep(next.saturating_duration_since(Instant::now())).await;
    }
    // After a slow start the next kills come sooner.
    let due = lasts.as_secs() as usize;
    ensure!(kills >= due * 9 / 10, "{kills} kills in {lasts:?}");
    // The last one stays dead: the others take over what it had under way. They are not of its
    // machine and cannot see that it has ended.
    let last = chance.random_range(0..NODES);
    cluster.postgres.ask(ELSEWHERE).await?;
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
    ensure!(took <= TAKE_OVER_MAX, "taken over after {took:?}");
    ensure!(balance.campaigns_twice == 0, "{balance:?}");
    ensure!(
        balance.orders_twice + balance.unknown <= kills * WORKERS,
        "{balance:?}"
    );
    let taken = account.acknowledged.len();
    ensure!(taken > kills * CLIENTS, "there was no load: {taken}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_killed_and_started_again_goes_on_with_its_mail_at_once() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    cluster.relay.sandbox.behave(&Behaviour {
        latency_ms: Some(300),
        ..Behaviour::default()
    })?;
    for number in 1..NODES {
        cluster.node_mut(number)?.stop().await?;
    }
    let load = Load::start(&cluster.doors()[..1], CLIENTS);
    eventually("mail is under way", DRAIN_MAX, async || {
        let sending = waiting(cluster.node(0)?, &["sending"]).await?;
        Ok((sending > 0 && load.count() > CONCURRENCY).then_some(()))
    })
    .await?;
    cluster.node_mut(0)?.kill()?;
    let account = load.stop().await;
    let all = "SELECT count(*) FROM malote.jobs WHERE state = 2";
    let left: u64 = cluster.postgres.ask(all).await?.parse()?;
    ensure!(left > 0, "nothing was under way");
    cluster.node_mut(0)?.boot().await?;
    let started = Instant::now();
    eventually("what it had is its own again", DRAIN_MAX, async || {
        Ok((cluster.postgres.ask(LEFT).await? == "0").then_some(()))
    })
    .await?;
    let took = started.elapsed();
    println!("{left} under way at its death, its own again {took:?} after it was ready");
    ensure!(took <= OWN_AGAIN_MAX, "after {took:?}");
    cluster.relay.sandbox.behave_well();
    let sink = (&cluster.relay.sandbox, DRAIN_MAX);
    let balance = account.balance("again", cluster.node(0)?, sink).await?;
    ensure!(balance.campaigns_twice == 0, "{balance:?}");
    ensure!(
        balance.orders_twice + balance.unknown <= WORKERS,
        "{balance:?}"
    );
    Ok(())
}
