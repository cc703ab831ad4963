//! A rate of one gateway: never more than it, and next to all of it.

use anyhow::{Result, ensure};
use malote_core::clock::{Clock, SystemClock};
use malote_tests::{World, eventually};

use crate::{SENT_MAX, order};

const PER_SECOND: u32 = 20;
const COUNT: u32 = 60;
/// How long they may take on a busy machine: twice as long as the rate needs.
const LASTS_MAX_S: f64 = 6.0;

#[tokio::test]
async fn a_gateway_keeps_a_rate_from_its_first_message_on() -> Result<()> {
    let world = World::start_with(|config| {
        let both = "{ provider = \"ses\", pool = \"tx\" }, { provider = \"relay\" }";
        config.replace(both, "{ provider = \"ses\", pool = \"tx\" }")?;
        config.replace("per_second = 14", &format!("per_second = {PER_SECOND}"))
    })
    .await?;
    let clock = SystemClock::start();
    let began = clock.now();
    for number in 0..COUNT {
        world
            .gateway
            .submit(&order(&format!("r{number}@one.example")))
            .await?;
    }
    let sandbox = &world.ses.sandbox;
    eventually("all are sent", SENT_MAX, async || {
        Ok((sandbox.stats().messages == u64::from(COUNT)).then_some(()))
    })
    .await?;
    let taken = sandbox.messages();
    let mut after: Vec<f64> = taken
        .iter()
        .map(|one| one.at.duration_since(began).as_secs_f64())
        .collect();
    after.sort_by(f64::total_cmp);
    for (before, after) in (0..).zip(&after) {
        let most = f64::from(PER_SECOND) * after + 1.0;
        ensure!(
            f64::from(before + 1) <= most,
            "{before} and one more in {after} s"
        );
    }
    let lasted = after.last().copied().unwrap_or_default();
    println!("{COUNT} at {PER_SECOND} a second took {lasted:.2} s");
    ensure!(lasted <= LASTS_MAX_S, "they took {lasted} s");
    Ok(())
}
