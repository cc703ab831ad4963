//! The only place that reads the clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// `from` and so much later; the last time there is if that is beyond it.
#[must_use]
pub fn later(from: Timestamp, by: Duration) -> Timestamp {
    from.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// Tells the time. Pure code takes a [`Timestamp`] instead.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// From here on goes by another clock, on which it is `now`: gateways with one queue have to
    /// agree on what is due. A clock that stands still stays where it is.
    fn go_by(&self, _now: Timestamp) {}

    /// How far the machine's own clock is ahead of the time told here; negative if it is behind.
    fn machine_ahead(&self) -> SignedDuration {
        SignedDuration::ZERO
    }
}

/// The machine's clock, read once at start and carried on by the monotonic clock, so that a step
/// of the wall clock (an operator, a broken NTP peer, a restored VM) neither releases every retry
/// at once nor stalls the queue. A restart takes the stepped time over. Clones share everything.
#[derive(Debug, Clone)]
pub struct SystemClock {
    started_at: Timestamp,
    started: Instant,
    /// Microseconds by which the clock gone by is ahead of the machine's.
    shift_us: Arc<AtomicI64>,
}

impl SystemClock {
    /// A clock that starts from the machine's time.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the one reader of the machine's clock"
    )]
    pub fn start() -> Self {
        Self {
            started_at: Timestamp::now(),
            started: Instant::now(),
            shift_us: Arc::default(),
        }
    }

    /// How far the machine's clock has been stepped since the start.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the one reader of the machine's clock"
    )]
    pub fn stepped_by(&self) -> Duration {
        Timestamp::now()
            .duration_since(self.machine())
            .unsigned_abs()
    }

    fn machine(&self) -> Timestamp {
        self.started_at
            .checked_add(self.started.elapsed())
            .unwrap_or(Timestamp::MAX)
    }

    fn shift(&self) -> SignedDuration {
        SignedDuration::from_micros(self.shift_us.load(Ordering::Relaxed))
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.machine()
            .checked_add(self.shift())
            .unwrap_or(Timestamp::MAX)
    }

    fn go_by(&self, now: Timestamp) {
        let shift = now.duration_since(self.machine()).as_micros();
        let shift = i64::try_from(shift).unwrap_or_default();
        self.shift_us.store(shift, Ordering::Relaxed);
    }

    fn machine_ahead(&self) -> SignedDuration {
        -self.shift()
    }
}

/// A clock that stands where it was put, for tests and for `simulate`.
#[derive(Debug, Clone, Copy)]
pub struct FixedClock(pub Timestamp);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_goes_by_another_and_knows_how_far_the_machine_is_ahead() {
        let clock = SystemClock::start();
        assert_eq!(clock.machine_ahead(), SignedDuration::ZERO);
        let before = clock.now();
        clock.go_by(before - SignedDuration::from_mins(3));
        let gone_back = before.duration_since(clock.now());
        let ahead = clock.machine_ahead();
        for apart in [gone_back, ahead] {
            assert!((179..=180).contains(&apart.as_secs()), "{apart:?}");
        }
        assert!(
            clock.stepped_by() < Duration::from_secs(60),
            "nobody stepped the machine's"
        );
    }
}
