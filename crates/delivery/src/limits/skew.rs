//! Times of the database's clock by a node's own.

use std::time::Duration;

use tokio::time::Instant;

use super::rate::{LATE_MAX, Unit};

/// By how much two clocks drift apart at most: a second in 5,000, twice what is usual of a bad one.
const DRIFT_PART: i64 = 5_000;
/// What the database's clock is rounded to.
const ROUNDED_NS: i64 = 1_000;

/// How far the database's clock is from this process's, as closely as its answers have told. All
/// in nanoseconds.
pub(super) struct Skew {
    origin: Instant,
    known: Option<Known>,
}

/// Between what the own clock is ahead, which has run since the origin.
#[derive(Clone, Copy)]
struct Known {
    least: i64,
    most: i64,
    at: i64,
}

impl Skew {
    pub(super) fn new(origin: Instant) -> Self {
        Self {
            origin,
            known: None,
        }
    }

    /// Takes in that the database's clock said so between these two. One slow answer makes what is
    /// known no worse.
    pub(super) fn narrow(&mut self, asked_at: Instant, answered_at: Instant, clock_ns: i64) {
        let at = self.own(answered_at);
        let told = Known {
            least: self.own(asked_at) - clock_ns - ROUNDED_NS,
            most: at - clock_ns + ROUNDED_NS,
            at,
        };
        let both = self.known.map(|known| {
            let drift = (at - known.at) / DRIFT_PART;
            Known {
                least: told.least.max(known.least - drift),
                most: told.most.min(known.most + drift),
                at,
            }
        });
        // If they contradict each other, the database's clock was set.
        let both = both.filter(|both| both.least <= both.most);
        self.known = Some(both.unwrap_or(told));
    }

    /// The unit of a time by the database's clock. It is not used before that time, and is over
    /// [`LATE_MAX`] after it. Where a round trip takes more than half of that, half of it remains.
    pub(super) fn unit(&self, at_ns: i64) -> Unit {
        let (least, most) = self.known.map_or((0, 0), |known| (known.least, known.most));
        let from = self.instant(at_ns + most);
        let until = self.instant(at_ns + least) + LATE_MAX;
        Unit {
            from,
            until: until.max(from + LATE_MAX / 2),
        }
    }

    fn own(&self, at: Instant) -> i64 {
        i64::try_from((at - self.origin).as_nanos()).unwrap_or(i64::MAX)
    }

    fn instant(&self, own_ns: i64) -> Instant {
        self.origin + Duration::from_nanos(u64::try_from(own_ns).unwrap_or(0))
    }
}
