//! Leases of this session that nobody in this process has: the answer to a lease, or the wish to
//! give one back, was lost with the connection. Without a look they would wait for the process's end.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::postgres::metrics::Operation;
use crate::postgres::spool::args::Id;
use crate::postgres::spool::{PostgresSpool, in_transaction, on_connection, rows, sessions};
use crate::{StoreError, TakenOver};

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A lease is on its way to its caller no longer than this: two operations of the database.
const ON_THE_WAY_MAX: Duration = Duration::from_secs(25);

/// What this process has under way.
#[derive(Default)]
pub(crate) struct Held(Mutex<Known>);

#[derive(Default)]
struct Known {
    held: HashSet<(Id, i32)>,
    /// Those that the database knows and this process does not, and since when.
    strays: HashMap<(Id, i32), Instant>,
    looked_at: Option<Instant>,
}

impl Held {
    fn with<T>(&self, act: impl FnOnce(&mut Known) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes deliveries that somebody in this process has.
    pub(crate) fn add(&self, ids: impl IntoIterator<Item = (Id, i32)>) {
        self.with(|known| known.held.extend(ids));
    }

    /// Notes deliveries that were settled.
    pub(crate) fn remove<'a>(&self, ids: impl IntoIterator<Item = &'a (Id, i32)>) {
        self.with(|known| {
            for id in ids {
                known.held.remove(id);
            }
        });
    }

    /// Whether it is time to look.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.with(|known| {
            let is_due = known.looked_at.is_none_or(|at| now - at >= LOOK_EVERY);
            if is_due {
                known.looked_at = Some(now);
            }
            is_due
        })
    }

    /// Those of the leases which the database knows that nobody has had for too long.
    pub(crate) fn strays(&self, leased: Vec<(Id, i32)>, now: Instant) -> Vec<(Id, i32)> {
        self.with(|known| {
            let mut strays = HashMap::new();
            for id in leased {
                if !known.held.contains(&id) {
                    strays.insert(id, known.strays.get(&id).copied().unwrap_or(now));
                }
            }
            let late = |(_, since): &(&(Id, i32), &Instant)| now - **since >= ON_THE_WAY_MAX;
            let found = strays.iter().filter(late).map(|(id, _)| *id).collect();
            known.strays = strays;
            found
        })
    }
}

impl PostgresSpool {
    /// Takes over strays: back to the queue, or ours if their attempt had begun.
    pub(crate) async fn take_strays(
        &self,
        session: i64,
        now: Timestamp,
    ) -> Result<TakenOver, StoreError> {
        let core = &self.inner.core;
        if !core.held.is_due(Instant::now()) {
            return Ok(TakenOver::default());
        }
        let leased = on_connection!(core, Operation::Session, |conn| sessions::under_way(
            conn, session
        ))?;
        let strays = core.held.strays(leased, Instant::now());
        if strays.is_empty() {
            return Ok(TakenOver::default());
        }
        let taken = in_transaction!(core, Operation::Session, |tx| sessions::take_strays(
            tx,
            core,
            &strays,
            (session, now)
        ))?;
        let pending = taken.pending.iter();
        core.held.add(pending.map(|one| rows::key(one.delivery.id)));
        tracing::warn!(
            leases = strays.len(),
            "took back leases whose answers were lost with a connection"
        );
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_nobody_has_is_a_stray_after_a_while() {
        let (held, first) = (Held::default(), Instant::now());
        let (second, third) = (first + ON_THE_WAY_MAX, first + 2 * ON_THE_WAY_MAX);
        let ids: Vec<(Id, i32)> = (0..3).map(|idx| (Id([1; 16]), idx)).collect();
        held.add([ids[0]]);
        assert!(held.is_due(first) && !held.is_due(first));
        assert_eq!(held.strays(ids.clone(), first), []);
        held.add([ids[1]]);
        assert!(held.is_due(second));
        assert_eq!(held.strays(ids.clone(), second), [ids[2]]);
        held.remove(&[ids[0]]);
        let own = ids[..1].to_vec();
        assert_eq!(held.strays(own.clone(), second), [], "it may be on its way");
        assert_eq!(held.strays(own, third), [ids[0]]);
    }
}
