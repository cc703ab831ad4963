//! What one process has given of its rates.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use malote_store::Rate;
use tokio::time::Instant;

use super::rate::{AHEAD, LATE_MAX};

/// Up to when units were given, by the rates' names. It outlives configurations, so that a rate that
/// changes goes on from its last unit.
pub(super) struct Ledger {
    began: Instant,
    reached: Mutex<HashMap<String, Instant>>,
}

/// Units given, the longest of the periods apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) units: u32,
    /// The time of the first, or of what would be the first.
    pub(super) first: Instant,
}

impl Ledger {
    pub(super) fn new(began: Instant) -> Self {
        Self {
            began,
            reached: Mutex::default(),
        }
    }

    /// Gives up to so many units that all of the rates leave room for, at most [`AHEAD`] of now. A unit
    /// whose successor is further away than that comes as much before its time, also where the rates
    /// are idle: a call that is too late for it would wait a whole period.
    pub(super) fn take(&self, rates: &[Rate], want: u32, now: Instant) -> Given {
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        let free_at = |rate: &Rate| match reached.get(&rate.account) {
            Some(reached) => *reached + rate.period,
            // A process before this one may have used the rate up to its end.
            None => self.began + rate.period.min(Duration::from_secs(1) + LATE_MAX),
        };
        let first = rates.iter().map(free_at).max().unwrap_or(now).max(now);
        let step = rates.iter().map(|rate| rate.period).max();
        let step = step.unwrap_or_default().max(Duration::from_nanos(1));
        let is_close = step > AHEAD && first < now + AHEAD / 2;
        let first = if is_close { now + AHEAD } else { first };
        let Some(room) = AHEAD.checked_sub(first - now) else {
            return Given { units: 0, first };
        };
        let more = u32::try_from(room.as_nanos() / step.as_nanos()).unwrap_or(u32::MAX);
        let units = want.min(more.saturating_add(1));
        for rate in rates {
            let last = first + step * units.saturating_sub(1);
            reached.insert(rate.account.clone(), last);
        }
        Given { units, first }
    }
}
