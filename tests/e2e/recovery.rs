//! A provider that was down with a long queue before it is asked rarely meanwhile, and gets its mail
//! back by and by: never faster than the ramp of its breaker, nor than its rate.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use malote_sandbox::{Fault, FaultKind, Taken};
use malote_tests::{SHOP_KEY, World, answered, eventually};
use reqwest::Method;
use serde_json::json;

use crate::{long, order};

/// How long it may take until so much has arrived, on a busy machine.
const RECOVERED_MAX: Duration = Duration::from_secs(240);
/// How long the failed probes may take: 5 and 10 s are between them.
const DOWN_MAX: Duration = Duration::from_secs(60);
/// What is let through when a breaker opens may wait for the rate, and comes more often than this.
const QUIET_MIN: Duration = Duration::from_secs(2);
/// Probes that fail before the provider is there again.
const PROBES: u32 = 2;
/// Shortest rest of a breaker, as docs/OPERATING.md says.
const REST_MIN: Duration = Duration::from_secs(5);
/// Recipients a second with which a ramp begins, and how often it doubles, as docs/OPERATING.md says.
const RAMP_FIRST: usize = 5;
const RAMP_STEP_S: usize = 10;
/// Messages handed over at once.
const BATCH: usize = 100;

/// Whether the breaker of SES is in this state.
async fn is_in(world: &World, state: &str) -> Result<bool> {
    let series = format!("malote_breaker_state{{pool=\"tx\",provider=\"ses\",state=\"{state}\"}}");
    Ok(world.gateway.sample(&series).await? == 1)
}

/// How much may have arrived so long after the first: it was the probe, and calls are let through
/// by whole seconds of the clock.
fn most_after(elapsed: Duration, per_second: usize) -> Result<usize> {
    let seconds = usize::try_from(elapsed.as_secs())? + 2;
    let allowed = (0..seconds).map(|second| {
        let steps = u32::try_from(second / RAMP_STEP_S).unwrap_or(u32::MAX);
        let ramp = RAMP_FIRST.saturating_mul(2_usize.saturating_pow(steps));
        ramp.min(per_second)
    });
    // A busy machine brings what is on its way a tenth of a second late.
    Ok(1 + allowed.sum::<usize>() + per_second.div_ceil(10))
}

fn ensure_ramp(arrived: &[Taken], per_second: usize) -> Result<()> {
    let first = arrived.first().context("nothing arrived")?.at;
    for (before, taken) in arrived.iter().enumerate() {
        let elapsed = taken.at.duration_since(first).unsigned_abs();
        let most = most_after(elapsed, per_second)?;
        let count = before + 1;
        ensure!(count <= most, "{count} within {elapsed:?}, at most {most}");
    }
    Ok(())
}

/// Fails each call until so many probes failed, and holds them to their rests.
async fn stays_down(world: &World, count: u32) -> Result<()> {
    eventually("the breaker opens", DOWN_MAX, async || {
        Ok(is_in(world, "open").await?.then_some(()))
    })
    .await?;
    let (mut quiet_since, mut failed) = (Instant::now(), 0);
    eventually(
        "calls let through before it opened have ended",
        DOWN_MAX,
        async || {
            let now = world.ses.sandbox.stats().faults;
            if now > failed {
                (quiet_since, failed) = (Instant::now(), now);
            }
            Ok((quiet_since.elapsed() >= QUIET_MIN).then_some(()))
        },
    )
    .await?;
    eventually("the probes fail", DOWN_MAX, async || {
        let probes = u32::try_from(world.ses.sandbox.stats().faults - failed)?;
        let rests = REST_MIN * probes.saturating_sub(1);
        let elapsed = quiet_since.elapsed();
        ensure!(elapsed >= rests, "{probes} probes within {elapsed:?}");
        Ok((probes >= count).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_was_down_gets_its_queue_back_by_a_ramp_up_to_its_rate() -> Result<()> {
    let (queued, watched) = long((50_000, 2_500), (1_000, 160));
    let per_second = long(150, 25);
    let world = World::start_with(|config| {
        config.replace("per_second = 14", &format!("per_second = {per_second}"))?;
        // Nothing may leave another way, and what failed comes back soon.
        config.replace(
            ", { provider = \"relay\" }]\n[routes.campaign]",
            "]\n[routes.campaign]",
        )?;
        let often = "first = \"1s\", factor = 1.0, max = \"1s\"";
        config.replace("first = \"10s\", factor = 2.0, max = \"15m\"", often)
    })
    .await?;
    world.ses.sandbox.arm(Fault::always(FaultKind::Status(503)));
    // The breaker opens when all of it is there.
    world.gateway.switch("transactional", "pause").await?;
    for from in (0..queued).step_by(BATCH) {
        let message = |number: usize| order(&format!("r{number}@one.example"));
        let messages: Vec<_> = (from..from + BATCH).map(message).collect();
        let request = world
            .gateway
            .request(Method::POST, "/v1/messages/batch", SHOP_KEY);
        let request = request.json(&json!({ "messages": messages }));
        answered(request.send().await?, 200).await?;
    }
    world.gateway.switch("transactional", "resume").await?;
    stays_down(&world, PROBES).await?;
    world.ses.sandbox.disarm();
    let count = || usize::try_from(world.ses.sandbox.stats().messages);
    eventually("much of it arrives", RECOVERED_MAX, async || {
        Ok((count()? >= watched).then_some(()))
    })
    .await?;
    ensure_ramp(&world.ses.sandbox.messages(), per_second)
}
