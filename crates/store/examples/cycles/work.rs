//! Cycles of accept, lease, journal and settle, with as much at once as the gateway has.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Fault;
use crate::given::Given;
use crate::mail;
use crate::store::Store;
use crate::times::Times;

/// Deliveries of a lease, and messages under way, as the gateway's dispatcher has them at most.
pub(crate) const LEASE_MAX: u32 = 128;
const UNDER_WAY_MAX: usize = 512;
/// How long a lane that found nothing waits for new mail.
const IDLE_MAX: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Seen {
    accepts: Times,
    leases: Times,
    carries: Times,
    next: AtomicUsize,
    bell: Notify,
}

/// Runs `--messages` cycles with bodies of `--octets`, taken in by `--callers` at once.
pub(crate) async fn run(store: &Store, given: &Given) -> Result<Value, Fault> {
    let (messages, octets) = (given.number("messages")?, given.number("octets")?);
    let seen = Arc::<Seen>::default();
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..given.number("callers")? {
        let (store, seen) = (store.clone(), Arc::clone(&seen));
        callers.spawn(async move { take_in(&store, &seen, (messages, octets)).await });
    }
    dispatch(store, &seen, messages).await?;
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    Ok(json!({
        "seconds": begun.elapsed().as_secs_f64(),
        "accept": seen.accepts.told(),
        "lease": seen.leases.told(),
        "carry": seen.carries.told(),
    }))
}

async fn take_in(
    store: &Store,
    seen: &Seen,
    (messages, octets): (usize, usize),
) -> Result<(), Fault> {
    loop {
        let number = seen.next.fetch_add(1, Ordering::Relaxed);
        if number >= messages {
            return Ok(());
        }
        let accepted = seen.accepts.of(mail::accept(store, number, octets));
        accepted.await?;
        seen.bell.notify_one();
    }
}

/// One lane, until so many messages are settled.
async fn dispatch(store: &Store, seen: &Arc<Seen>, messages: usize) -> Result<(), Fault> {
    let mut under_way: JoinSet<Result<(), Fault>> = JoinSet::new();
    let mut settled = 0;
    while settled < messages {
        while let Some(ended) = under_way.try_join_next() {
            ended??;
            settled += 1;
        }
        let room = UNDER_WAY_MAX.saturating_sub(under_way.len());
        if room < UNDER_WAY_MAX / 4 {
            if let Some(ended) = under_way.join_next().await {
                ended??;
                settled += 1;
            }
            continue;
        }
        let count = u32::try_from(room).unwrap_or(LEASE_MAX).min(LEASE_MAX);
        let lease = store
            .spool
            .lease(store.session, store.lane, count, store.clock.now());
        let leased = seen.leases.of(lease).await?;
        if leased.is_empty() {
            // Late or early makes no difference: it looks again.
            timeout(IDLE_MAX, seen.bell.notified()).await.ok();
        }
        for message in leased {
            let (store, seen) = (store.clone(), Arc::clone(seen));
            under_way.spawn(async move { seen.carries.of(mail::carry(&store, &message)).await });
        }
    }
    Ok(())
}
