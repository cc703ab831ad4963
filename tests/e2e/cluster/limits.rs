//! What a service allows in a second and in a day, over all nodes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use malote_core::clock::{Clock, SystemClock};
use malote_tests::{LOADTEST_KEY, Postgres, SHOP_KEY, Shim, answered, eventually};
use reqwest::Method;
use serde_json::json;

use super::{CONCURRENCY, Cluster, DRAIN_MAX, NODES, long};
use crate::order;

const DAY_S: i64 = 24 * 3_600;
const QUOTA: usize = 1_000;
const QUOTA_USED_MIN: usize = QUOTA * 98 / 100;
/// A node that dies loses what it has in hand of a slice of each class, a two-hundredth of what is
/// left, and its calls under way are spent and may not arrive.
const LOST_MAX: usize = 2 * (QUOTA / 200 - 1) + CONCURRENCY;
const _: () = assert!(QUOTA_USED_MIN + LOST_MAX <= QUOTA);
const PER_SECOND: usize = 50;
/// What may leave in any second.
const LEAVES_IN_A_SECOND_MAX: usize = PER_SECOND;
/// What may come in any second: a busy machine brings what is on its way a tenth late.
const IN_A_SECOND_MAX: usize = LEAVES_IN_A_SECOND_MAX + PER_SECOND / 10;
/// Percent of the rate that is used while there is mail. 98.4 are where the machine has time to spare;
/// what nobody is awake for in time is lost, and other tests run beside this one.
const RATE_USED_MIN: f64 = 85.0;
/// How often it may be tried to see the rate.
const RUNS_MAX: usize = 3;
/// How long it is to midnight, by the clocks of nodes and database, before they start.
const TO_MIDNIGHT_S: i64 = 40;

/// Messages handed over at once.
const BATCH: usize = 100;

/// Hands over so many messages at all nodes, half of them campaigns.
async fn fill(cluster: &Cluster, count: usize) -> Result<()> {
    let keys = [SHOP_KEY, LOADTEST_KEY].into_iter().cycle();
    for (turn, (from, key)) in (0..count).step_by(BATCH).zip(keys).enumerate() {
        let message = |number: usize| order(&format!("r{number}@one.example"));
        let messages: Vec<_> = (from..from + BATCH).map(message).collect();
        let node = cluster.node(turn % NODES)?;
        let request = node.request(Method::POST, "/v1/messages/batch", key);
        let request = request.json(&json!({ "messages": messages }));
        answered(request.send().await?, 200).await?;
    }
    Ok(())
}

/// Most that arrived in any second, of times in seconds, in order.
fn busiest_second(arrived: &[f64]) -> usize {
    let within = |from: f64| {
        arrived
            .iter()
            .filter(|at| (from..from + 1.0).contains(*at))
            .count()
    };
    arrived
        .iter()
        .copied()
        .map(within)
        .max()
        .unwrap_or_default()
}

/// Percent of the rate that was used from the first of these times to the last.
fn rate_used(arrived: &[f64]) -> Result<f64> {
    let (first, last) = (arrived.first(), arrived.last());
    let lasted = last.context("none")? - first.context("none")?;
    let count = u32::try_from(arrived.len() - 1)?;
    Ok(100.0 * f64::from(count) / lasted / f64::from(u32::try_from(PER_SECOND)?))
}

/// What was seen of the rate.
struct Seen {
    /// Most that came in a second.
    busiest: usize,
    /// Percent of the rate that was used.
    used: f64,
}

impl Seen {
    fn is_good(&self) -> bool {
        self.busiest <= IN_A_SECOND_MAX && self.used >= RATE_USED_MIN
    }
}

/// What a rate comes to is seen by when mail arrives: a machine that stands still for a moment brings
/// it late, and then all at once. Such a run is made again; the quota holds in every one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_and_a_day_s_quota_hold_and_are_used_across_a_death_and_midnight() -> Result<()> {
    for _ in 1..RUNS_MAX {
        if a_day_and_another().await?.is_good() {
            return Ok(());
        }
    }
    let Seen { busiest, used } = a_day_and_another().await?;
    ensure!(busiest <= IN_A_SECOND_MAX, "{busiest} in a second");
    ensure!(used >= RATE_USED_MIN, "{used} % of the rate");
    Ok(())
}

async fn a_day_and_another() -> Result<Seen> {
    let (shim, now) = (Shim::clock()?, SystemClock::start().now());
    let ahead_s = DAY_S - (now.as_second() + TO_MIDNIGHT_S) % DAY_S;
    let fraction = Duration::from_nanos(now.subsec_nanosecond().unsigned_abs().into());
    let midnight = now - fraction + Duration::from_secs(TO_MIDNIGHT_S.unsigned_abs());
    let environment = shim.ahead(ahead_s);
    let postgres = Postgres::start_in(&environment, &[])?;
    let mut cluster = Cluster::start_with(postgres, |_, config| {
        config.environment.extend(environment.iter().cloned());
        let limits = format!(
            "[providers.relay.limits]\nper_day = {QUOTA}\nday = \"utc\"\n\
             per_second = {PER_SECOND}\n"
        );
        config.replace("[providers.relay.limits]\n", &limits)
    })
    .await?;
    let other_day = long(QUOTA_USED_MIN, 2 * PER_SECOND);
    fill(&cluster, QUOTA + other_day + QUOTA / 5).await?;
    let sink = cluster.relay.sandbox.clone();
    let sends = async |count: usize| -> Result<()> {
        let sent = || usize::try_from(sink.stats().messages).unwrap_or(usize::MAX);
        let seen = eventually("so many are sent", DRAIN_MAX, async || {
            Ok((sent() >= count).then_some(()))
        });
        let what = || format!("{} of {count} were sent", sent());
        seen.await.with_context(what)
    };
    sends(QUOTA / 2).await?;
    cluster.node_mut(0)?.kill()?;
    sends(QUOTA_USED_MIN + other_day).await?;
    // Nothing that comes later may exceed them: the time is for what would be wrong.
    tokio::time::sleep(Duration::from_secs(2)).await;

    let taken = sink.messages();
    let arrived = taken.iter().map(|one| one.at.duration_since(midnight));
    let mut arrived: Vec<f64> = arrived.map(|after| after.as_secs_f64()).collect();
    arrived.sort_by(f64::total_cmp);
    let (day, next) = arrived.split_at(arrived.partition_point(|at| *at < 0.0));
    // The last units of a day are in many hands.
    let (busiest, used) = (busiest_second(&arrived), rate_used(&day[..QUOTA * 9 / 10])?);
    println!(
        "{} of {QUOTA} before midnight and {} after it; {busiest} of {PER_SECOND} in the busiest \
         second, {used:.1} % of the rate used",
        day.len(),
        next.len()
    );
    ensure!((QUOTA_USED_MIN..=QUOTA).contains(&day.len()));
    ensure!((other_day..=QUOTA).contains(&next.len()));
    Ok(Seen { busiest, used })
}
