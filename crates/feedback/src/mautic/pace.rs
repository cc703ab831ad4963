//! The pace of calls to one Mautic, so that its own limit (`api_rate_limiter_limit`) is not hit.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::miss::Miss;

/// Longest wait for a turn; an event that would wait longer comes back.
const TURN_WAIT_MAX: Duration = Duration::from_secs(15);
/// Calls that may follow each other at once after a quiet time: one event's.
const BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);

type Limiter =
    RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<std::time::Instant>>;

/// A bucket of turns.
#[derive(Debug)]
pub(crate) struct Pace {
    limiter: Limiter,
    clock: MonotonicClock,
    /// After which so many calls may follow each other as one event needs.
    refill: Duration,
}

impl Pace {
    /// So many calls a second, more than 0.
    pub(crate) fn new(per_second: f64) -> Self {
        let period =
            Duration::try_from_secs_f64(1.0 / per_second).unwrap_or(Duration::from_secs(1));
        let period = period.max(Duration::from_millis(1));
        let quota = Quota::with_period(period);
        let quota = quota.unwrap_or(Quota::per_second(NonZeroU32::MIN));
        Self {
            limiter: RateLimiter::direct_with_clock(quota.allow_burst(BURST), MonotonicClock),
            clock: MonotonicClock,
            refill: period * BURST.get(),
        }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`Miss::Wait`] if that would take more than 15 seconds: until then not only the next call, but
    /// all of an event may follow each other, or it would never come to its end.
    pub(crate) async fn turn(&self) -> Result<(), Miss> {
        let until = tokio::time::Instant::now() + TURN_WAIT_MAX;
        loop {
            let Err(not_yet) = self.limiter.check() else {
                return Ok(());
            };
            let wait = not_yet.wait_time_from(self.clock.now());
            if tokio::time::Instant::now() + wait > until {
                return Err(Miss::Wait(wait.max(self.refill)));
            }
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn after_a_burst_each_call_waits_for_its_turn() {
        let pace = Pace::new(20.0);
        let started = std::time::Instant::now();
        for _ in 0..BURST.get() + 4 {
            pace.turn().await.unwrap();
        }
        assert!(started.elapsed() >= Duration::from_millis(190));
    }

    #[tokio::test]
    async fn a_turn_that_is_far_off_is_not_waited_for() {
        let pace = Pace::new(0.01);
        for _ in 0..BURST.get() {
            pace.turn().await.unwrap();
        }
        let Err(Miss::Wait(wait)) = pace.turn().await else {
            panic!("no wait");
        };
        assert!(wait > Duration::from_secs(60), "{wait:?}");
    }
}
