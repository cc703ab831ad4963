//! How long a lease takes before a backlog of some size.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::Fault;
use crate::given::Given;
use crate::mail;
use crate::store::Store;
use crate::times::Times;
use crate::work::LEASE_MAX;

/// Calls that fill the backlog at once, and messages of each.
const FILLERS: usize = 4;
const FILL_AT_ONCE: usize = 250;

/// Brings the backlog from `--from` to `--backlog` messages, then times `--leases` leases, each
/// settled and made good by new mail, so that the backlog stays as large.
pub(crate) async fn run(store: &Store, given: &Given) -> Result<Value, Fault> {
    let (from, backlog) = (given.number("from")?, given.number("backlog")?);
    let (octets, leases) = (given.number("octets")?, given.number("leases")?);
    let store = Arc::new(store.clone());
    let begun = Instant::now();
    let mut fillers = JoinSet::new();
    let share = backlog.saturating_sub(from).div_ceil(FILLERS).max(1);
    for first in (from..backlog).step_by(share) {
        let (store, last) = (Arc::clone(&store), (first + share).min(backlog));
        fillers.spawn(async move { mail::fill(&store, first..last, (octets, FILL_AT_ONCE)).await });
    }
    while let Some(ended) = fillers.join_next().await {
        ended??;
    }
    let filled_s = begun.elapsed().as_secs_f64();
    let waiting = waiting(&store).await?;
    if usize::try_from(waiting)? < backlog {
        return Err(format!("{waiting} wait, not {backlog}").into());
    }
    let times = Times::default();
    for turn in 0..leases {
        one(
            &store,
            &times,
            (backlog + turn * LEASE_MAX as usize, octets),
        )
        .await?;
    }
    Ok(json!({ "filled_s": filled_s, "lease": times.told() }))
}

/// Deliveries that wait, as the store itself counts them.
async fn waiting(store: &Store) -> Result<u64, Fault> {
    let lanes = store.spool.lanes(store.clock.now()).await?;
    Ok(lanes.iter().map(|lane| lane.waiting).sum())
}

async fn one(
    store: &Arc<Store>,
    times: &Times,
    (number, octets): (usize, usize),
) -> Result<(), Fault> {
    let lease = store
        .spool
        .lease(store.session, store.lane, LEASE_MAX, store.clock.now());
    let leased = times.of(lease).await?;
    if leased.is_empty() {
        return Err("there is no backlog to lease from".into());
    }
    let count = leased.len();
    let mut under_way: JoinSet<Result<(), Fault>> = JoinSet::new();
    for message in leased {
        let store = Arc::clone(store);
        under_way.spawn(async move { mail::carry(&store, &message).await });
    }
    mail::fill(store, number..number + count, (octets, count)).await?;
    while let Some(ended) = under_way.join_next().await {
        ended??;
    }
    Ok(())
}
