//! The measuring program of `bench/inflight`: a service that answers late, and clients that have
//! many calls under way at it: an adapter, or reqwest alone.
//!
//! `serve` prints the ports of its two doors, without and with TLS, and serves until its input ends.
//! `send` prints one line of JSON: CPU and memory of its own process and what was sent.

mod bare;
mod calls;
mod given;
mod malote;
mod server;
mod usage;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tikv_jemallocator::Jemalloc;
use tokio::task::JoinSet;

use bare::Bare;
use given::Given;
use malote::Malote;

/// As the gateway has it.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// As many as the adapters put on one HTTP/2 connection.
const CALLS_PER_CONNECTION: u64 = 100;

type Fault = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let given = Given::read(std::env::args().skip(1))?;
    if given.command == "serve" {
        return server::serve(&given).await;
    }
    match given.text("who")? {
        "malote" => send(&given, Client::Malote(Malote::new(&given)?)).await,
        "bare" => send(&given, Client::Bare(Bare::new(&given)?)).await,
        other => Err(format!("who is {other:?}, must be malote or bare").into()),
    }
}

/// Who sends.
enum Client {
    Malote(Malote),
    Bare(Bare),
}

impl Client {
    async fn send(&self) -> Result<(), Fault> {
        match self {
            Self::Malote(malote) => malote.send().await,
            Self::Bare(bare) => bare.send().await,
        }
    }
}

async fn send(given: &Given, client: Client) -> Result<(), Fault> {
    let (calls, inflight) = (given.number("calls")?, given.number("inflight")?);
    let client = Arc::new(client);
    let left = Arc::new(AtomicU64::new(calls));
    // So that HTTP/2 is known to be spoken: else every call of the first burst connects for itself.
    for _ in 0..inflight.div_ceil(CALLS_PER_CONNECTION) {
        client.send().await?;
    }
    let (cpu_before, memory_before) = (usage::cpu_seconds()?, usage::resident_kib()?);
    let started = Instant::now();
    let mut senders = JoinSet::new();
    for _ in 0..inflight {
        let (client, left) = (Arc::clone(&client), Arc::clone(&left));
        senders.spawn(async move {
            let mut failed = Vec::new();
            while take_one(&left) {
                failed.extend(client.send().await.err());
            }
            failed
        });
    }
    let failed: Vec<Fault> = senders.join_all().await.into_iter().flatten().collect();
    let seconds = started.elapsed().as_secs_f64();
    let result = serde_json::json!({
        "seconds": seconds,
        "cpu_us_per_call": (usage::cpu_seconds()? - cpu_before) * 1e6 / calls as f64,
        "memory_mib": usage::peak_kib()?.saturating_sub(memory_before) as f64 / 1024.0,
        "failed": failed.len(),
        "first_fault": failed.first().map(ToString::to_string),
    });
    println!("{result}");
    Ok(())
}

fn take_one(left: &AtomicU64) -> bool {
    let take = |n: u64| n.checked_sub(1);
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        .is_ok()
}
