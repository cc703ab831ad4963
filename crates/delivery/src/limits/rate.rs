//! A rate: so many recipients a second, served in turn, of this process alone or of all nodes.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, MonotonicClock};
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use malote_core::stream::Class;
use malote_store::{RateRequest, Shared, StoreError};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

type Governor = RateLimiter<NotKeyed, InMemoryState, MonotonicClock>;

/// Longest that units of a rate in common are kept for the next call: one second holds as much more
/// than what the database gave in it.
const SLICE_KEPT: Duration = Duration::from_millis(100);
/// Slices of a rate in common a second: each is a question to the database.
const SLICES_PER_S: f64 = 20.0;

/// A rate with one waiter per class at the limiter: waiters in `until_ready` starve and stampede.
pub(super) struct Rate {
    limiter: Gate,
    reserve: Option<Gate>,
    transactional_turn: Mutex<()>,
    campaign_turn: Mutex<()>,
    cells_max: u32,
}

impl Rate {
    /// `account` is under what it is known to other nodes, if there may be any.
    pub(super) fn new(
        shared: &Arc<dyn Shared>,
        account: &str,
        per_second: f64,
        reserve: f64,
    ) -> Self {
        let common = per_second * (1.0 - reserve);
        let kept_free = format!("{account} reserve");
        Self {
            limiter: Gate::new(shared, account, common),
            reserve: (reserve > 0.0).then(|| Gate::new(shared, &kept_free, per_second * reserve)),
            transactional_turn: Mutex::default(),
            campaign_turn: Mutex::default(),
            cells_max: burst(common),
        }
    }

    /// Waits until so many recipients may go.
    ///
    /// # Errors
    /// If the rate is one of all nodes and the database cannot be asked.
    pub(super) async fn wait(&self, class: Class, recipients: u32) -> Result<(), StoreError> {
        let turn = match class {
            Class::Transactional => &self.transactional_turn,
            Class::Campaign => &self.campaign_turn,
        };
        // The turn is a FIFO queue: one waiter at the limiter, the others behind it.
        let _turn = turn.lock().await;
        let mut left = recipients;
        while left > 0 {
            let cells = NonZeroU32::new(left.min(self.cells_max)).unwrap_or(NonZeroU32::MIN);
            let has_reserved = match (class, &self.reserve) {
                (Class::Transactional, Some(reserve)) => reserve.take_at_once(cells).await?,
                (Class::Transactional | Class::Campaign, _) => false,
            };
            if !has_reserved {
                self.limiter.wait(cells).await?;
            }
            left -= cells.get();
        }
        Ok(())
    }

    /// Uses up the burst, so that swapping rates never lets more through than the rate.
    pub(super) fn fill(&self) {
        for gate in [Some(&self.limiter), self.reserve.as_ref()]
            .into_iter()
            .flatten()
        {
            match gate {
                Gate::Own(limiter) => while limiter.check().is_ok() {},
                // The database goes on counting from where it is.
                Gate::Common(_) => {}
            }
        }
    }
}

/// What counts.
enum Gate {
    /// This process, for itself.
    Own(Governor),
    /// The database, for all nodes.
    Common(Common),
}

impl Gate {
    fn new(shared: &Arc<dyn Shared>, account: &str, per_second: f64) -> Self {
        if shared.nodes().is_none() {
            return Self::Own(governor(per_second));
        }
        Self::Common(Common {
            shared: Arc::clone(shared),
            account: account.to_owned(),
            per_second,
            slice: Mutex::default(),
        })
    }

    async fn take_at_once(&self, cells: NonZeroU32) -> Result<bool, StoreError> {
        match self {
            Self::Own(limiter) => Ok(matches!(limiter.check_n(cells), Ok(Ok(())))),
            Self::Common(common) => common.take_at_once(cells.get()).await,
        }
    }

    async fn wait(&self, cells: NonZeroU32) -> Result<(), StoreError> {
        match self {
            Self::Own(limiter) => {
                while let Ok(Err(not_until)) = limiter.check_n(cells) {
                    sleep(not_until.wait_time_from(MonotonicClock.now())).await;
                }
                Ok(())
            }
            Self::Common(common) => common.wait(cells.get()).await,
        }
    }
}

/// A rate that the nodes of one database share, taken in slices.
struct Common {
    shared: Arc<dyn Shared>,
    account: String,
    per_second: f64,
    slice: Mutex<Slice>,
}

#[derive(Default)]
struct Slice {
    units: u32,
    /// Until when they may be used.
    until: Option<Instant>,
    /// When there will be more, if there were none.
    empty_until: Option<Instant>,
}

impl Slice {
    /// Takes up to so many of those that are still good.
    fn take(&mut self, cells: u32) -> u32 {
        if self.until.is_some_and(|until| Instant::now() >= until) {
            self.units = 0;
        }
        let taken = self.units.min(cells);
        self.units -= taken;
        taken
    }
}

impl Common {
    async fn wait(&self, cells: u32) -> Result<(), StoreError> {
        let mut left = cells;
        loop {
            let mut slice = self.slice.lock().await;
            left -= slice.take(left);
            if left == 0 {
                return Ok(());
            }
            if slice
                .empty_until
                .is_none_or(|until| Instant::now() >= until)
            {
                self.refill(&mut slice, left).await?;
                left -= slice.take(left);
            }
            let empty_until = slice.empty_until;
            drop(slice);
            if left == 0 {
                return Ok(());
            }
            if let Some(until) = empty_until {
                tokio::time::sleep_until(until).await;
            }
        }
    }

    /// All of them now, or none.
    async fn take_at_once(&self, cells: u32) -> Result<bool, StoreError> {
        let mut slice = self.slice.lock().await;
        let held = slice.take(u32::MAX);
        slice.units = held;
        if held < cells
            && slice
                .empty_until
                .is_none_or(|until| Instant::now() >= until)
        {
            self.refill(&mut slice, cells - held).await?;
        }
        let is_enough = slice.units >= cells;
        if is_enough {
            slice.units -= cells;
        }
        Ok(is_enough)
    }

    async fn refill(&self, slice: &mut Slice, need: u32) -> Result<(), StoreError> {
        let Some(nodes) = self.shared.nodes() else {
            return Ok(());
        };
        let asked_at = Instant::now();
        let request = RateRequest {
            account: self.account.clone(),
            per_second: self.per_second,
            burst: burst(self.per_second),
            want: need.max(ahead(self.per_second)),
        };
        let grant = nodes.take_rate(request).await?;
        slice.units += grant.units;
        slice.until = Some(asked_at + SLICE_KEPT);
        // The answer says when there is one more; asked for each of many, they would be many questions.
        let pause = grant
            .wait
            .max(Duration::from_secs_f64(1.0 / SLICES_PER_S / 2.0));
        slice.empty_until = (!grant.wait.is_zero()).then(|| asked_at + pause);
        Ok(())
    }
}

/// Units taken ahead of calls.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are 0.01 to 100000, checked by the configuration"
)]
fn ahead(per_second: f64) -> u32 {
    ((per_second / SLICES_PER_S) as u32).max(1)
}

/// Cells that may go at once: a tenth of a second's worth, so that waiters who wake late lose nothing
/// of the rate. One second holds as many more than the rate, less one.
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
