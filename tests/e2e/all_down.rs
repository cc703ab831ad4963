//! When no provider takes anything, mail is taken in all the same and waits on disk, and the gateway
//! does next to nothing meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use malote_sandbox::{Fault, FaultKind};
use malote_tests::{World, eventually};

use crate::{SENT_MAX, long, order};

/// How long every breaker may take to open.
const OPEN_MAX: Duration = Duration::from_secs(60);
/// Share of one processor that may be used while everything waits; a loop that does not wait uses a
/// whole one.
const BUSY_MAX: f64 = 0.05;

async fn all_open(world: &World) -> Result<()> {
    let state = |provider: &str, pool: &str| {
        let state = format!("pool=\"{pool}\",provider=\"{provider}\",state=\"open\"");
        format!("malote_breaker_state{{{state}}}")
    };
    let breakers = [state("ses", "tx"), state("relay", "default")];
    eventually("every breaker is open", OPEN_MAX, async || {
        for series in &breakers {
            if world.gateway.sample(series).await? != 1 {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_leave_is_taken_in_and_waits_without_a_busy_loop() -> Result<()> {
    let (queued, watched) = long((10_000, 60), (500, 10));
    let world = World::start().await?;
    world.ses.sandbox.arm(Fault::always(FaultKind::Status(503)));
    world
        .relay
        .sandbox
        .arm(Fault::always(FaultKind::Status(451)));
    for number in 0..queued {
        let recipient = format!("r{number}@one.example");
        world.gateway.submit(&order(&recipient)).await?;
    }
    all_open(&world).await?;
    let (started, used) = (Instant::now(), world.gateway.cpu_time()?);
    tokio::time::sleep(Duration::from_secs(watched)).await;
    let used = world.gateway.cpu_time()? - used;
    let share = used.as_secs_f64() / started.elapsed().as_secs_f64();
    println!("{used:?} of processor time within {watched} s, {queued} queued");
    ensure!(share <= BUSY_MAX, "{share:.3} of a processor");
    // Mail is still taken in, and nothing is given up.
    world.gateway.submit(&order("late@one.example")).await?;
    eventually("all of it waits", SENT_MAX, async || {
        let mut waiting = 0;
        for state in ["queued", "deferred"] {
            let labels = format!("state=\"{state}\",stream=\"transactional\"");
            let series = format!("malote_queue_deliveries{{{labels}}}");
            waiting += world.gateway.sample(&series).await?;
        }
        Ok((waiting == queued + 1).then_some(()))
    })
    .await
}
