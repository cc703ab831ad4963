//! The only place that reads the clock.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Tells the time. Pure code takes a [`Timestamp`] instead.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock, read once at start and carried on by the monotonic clock, so that a step
/// of the wall clock (an operator, a broken NTP peer, a restored VM) neither releases every retry
/// at once nor stalls the queue. A restart takes the stepped time over.
#[derive(Debug, Clone)]
pub struct SystemClock {
    started_at: Timestamp,
    started: Instant,
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
        }
    }

    /// How far the machine's clock has been stepped since the start.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the one reader of the machine's clock"
    )]
    pub fn stepped_by(&self) -> Duration {
        Timestamp::now().duration_since(self.now()).unsigned_abs()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.started_at
            .checked_add(self.started.elapsed())
            .unwrap_or(Timestamp::MAX)
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
