//! A rate: so many recipients a second, served in turn.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, MonotonicClock};
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use malote_core::stream::Class;
use tokio::sync::Mutex;
use tokio::time::sleep;

type Governor = RateLimiter<NotKeyed, InMemoryState, MonotonicClock>;

/// A rate with one waiter per class at the limiter: waiters in `until_ready` starve and stampede.
pub(super) struct Rate {
    limiter: Governor,
    reserve: Option<Governor>,
    transactional_turn: Mutex<()>,
    campaign_turn: Mutex<()>,
    cells_max: u32,
}

impl Rate {
    pub(super) fn new(per_second: f64, reserve: f64) -> Self {
        let cells_max = burst(per_second * (1.0 - reserve));
        Self {
            limiter: governor(per_second * (1.0 - reserve)),
            reserve: (reserve > 0.0).then(|| governor(per_second * reserve)),
            transactional_turn: Mutex::default(),
            campaign_turn: Mutex::default(),
            cells_max,
        }
    }

    /// Waits until so many recipients may go.
    pub(super) async fn wait(&self, class: Class, recipients: u32) {
        let turn = match class {
            Class::Transactional => &self.transactional_turn,
            Class::Campaign => &self.campaign_turn,
        };
        // The turn is a FIFO queue: one waiter at the limiter, the others behind it.
        let _turn = turn.lock().await;
        let mut left = recipients;
        while left > 0 {
            let cells = NonZeroU32::new(left.min(self.cells_max)).unwrap_or(NonZeroU32::MIN);
            let has_reserved = class == Class::Transactional
                && self
                    .reserve
                    .as_ref()
                    .is_some_and(|reserve| matches!(reserve.check_n(cells), Ok(Ok(()))));
            if !has_reserved {
                while let Ok(Err(not_until)) = self.limiter.check_n(cells) {
                    sleep(not_until.wait_time_from(MonotonicClock.now())).await;
                }
            }
            left -= cells.get();
        }
    }

    /// Uses up the burst, so that swapping rates never lets more through than the rate.
    pub(super) fn fill(&self) {
        for limiter in [Some(&self.limiter), self.reserve.as_ref()]
            .into_iter()
            .flatten()
        {
            while limiter.check().is_ok() {}
        }
    }
}

/// Cells that may go at once: a tenth of a second's worth, so that a rate is a rate.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are 0.01 to 100000, checked by the configuration"
)]
fn burst(per_second: f64) -> u32 {
    ((per_second / 10.0).round() as u32).max(1)
}

fn governor(per_second: f64) -> Governor {
    let period = Duration::from_secs_f64(1.0 / per_second.max(0.001));
    let quota = Quota::with_period(period).unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN));
    let cells = NonZeroU32::new(burst(per_second)).unwrap_or(NonZeroU32::MIN);
    RateLimiter::direct_with_clock(quota.allow_burst(cells), MonotonicClock)
}
