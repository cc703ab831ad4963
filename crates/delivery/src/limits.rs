//! Admission: rate, concurrency, hourly and daily quota, and warm-up, of a provider's account and
//! of each of its pools. Admits, or says when.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, MonotonicClock};
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use malote_core::limits::{DayRule, Limits, Warmup};
use malote_core::name::{ProviderName, TargetName};
use malote_core::stream::Class;
use malote_store::{QuotaRequest, Shared, StoreError};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};

use crate::warmup;

type Governor = RateLimiter<NotKeyed, InMemoryState, MonotonicClock>;

/// Calls under way at once where the configuration names no number.
pub const CONCURRENCY_DEFAULT: u32 = 32;
/// Share of an account's calls that campaign streams leave free where both classes use it.
const TRANSACTIONAL_CALLS_SHARE: f64 = 0.25;
/// Largest slice of a quota taken ahead of sends; what a crash loses of a quota at most.
const QUOTA_SLICE_MAX: u64 = 100;
/// When to ask again for a quota that does not say when it is free.
const QUOTA_RETRY: Duration = Duration::from_secs(60);

/// Whether a call may be made now.
pub enum Admission {
    /// It may; the permit is held while the call is under way.
    Go(Permit),
    /// Not within the patience given: come back then.
    Later(Timestamp),
    /// A quota or the day's warm-up is used up until then.
    Parked(Timestamp),
}

/// The right to one call under way. Dropping it frees the place.
pub struct Permit {
    _places: Vec<OwnedSemaphorePermit>,
}

/// Who wants to send how much.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Where.
    pub target: &'a TargetName,
    /// The stream's class.
    pub class: Class,
    /// Recipients of the call.
    pub recipients: u32,
    /// Longest wait for a place and for the rate, each.
    pub patience: Duration,
    /// Now.
    pub now: Timestamp,
}

/// One account or pool and its limits, as [`Limiters::new`] takes them.
#[derive(Debug, Clone)]
pub struct AccountLimits {
    /// The provider.
    pub provider: ProviderName,
    /// The account's own limits.
    pub limits: Limits,
    /// Pools with limits or warm-up of their own.
    pub pools: BTreeMap<TargetName, (Limits, Option<Warmup>)>,
    /// Whether streams of both classes can reach the account.
    pub is_shared_by_classes: bool,
}

/// The limiters of one configuration.
pub struct Limiters {
    shared: Arc<dyn Shared>,
    accounts: HashMap<ProviderName, Account>,
    pools: HashMap<TargetName, Account>,
}

struct Account {
    /// The key of its quota in the store.
    key: String,
    limits: Limits,
    warmup: Option<Warmup>,
    places: Arc<Semaphore>,
    campaign_places: Arc<Semaphore>,
    rate: Option<Rate>,
    /// Units taken from the quota and not yet used, by class.
    slices: Mutex<HashMap<Class, Slice>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slice {
    units: u64,
    taken_at: Option<Timestamp>,
}

/// A rate with one waiter per class at the limiter: waiters in `until_ready` starve and stampede.
struct Rate {
    limiter: Governor,
    reserve: Option<Governor>,
    transactional_turn: Mutex<()>,
    campaign_turn: Mutex<()>,
    cells_max: u32,
}

impl Limiters {
    /// Builds the limiters. `is_reload` fills them with one burst, so that swapping limiters never
    /// lets more through than the rate.
    #[must_use]
    pub fn new(shared: Arc<dyn Shared>, all: &[AccountLimits], is_reload: bool) -> Self {
        let mut accounts = HashMap::new();
        let mut pools = HashMap::new();
        for account in all {
            let key = account.provider.to_string();
            let built = Account::new(key, &account.limits, None, account.is_shared_by_classes);
            accounts.insert(account.provider.clone(), built);
            for (target, (limits, warmup)) in &account.pools {
                let both = account.is_shared_by_classes;
                pools.insert(
                    target.clone(),
                    Account::new(target.to_string(), limits, *warmup, both),
                );
            }
        }
        let limiters = Self {
            shared,
            accounts,
            pools,
        };
        if is_reload {
            limiters
                .of_all()
                .filter_map(|account| account.rate.as_ref())
                .for_each(Rate::fill);
        }
        limiters
    }

    /// Admits a call to a target, or says when.
    ///
    /// # Errors
    /// If a quota cannot be taken from the store: then nothing may be sent.
    pub async fn admit(&self, wish: &Wish<'_>) -> Result<Admission, StoreError> {
        let levels = [
            self.accounts.get(&wish.target.provider),
            self.pools.get(wish.target),
        ];
        let mut places = Vec::with_capacity(4);
        let deadline = Instant::now() + wish.patience;
        for account in levels.into_iter().flatten() {
            match timeout_at(deadline, account.place(wish.class)).await {
                Ok(permits) => places.extend(permits),
                Err(_) => return Ok(Admission::Later(later(wish.now, wish.patience))),
            }
        }
        let deadline = Instant::now() + wish.patience;
        for rate in levels
            .into_iter()
            .flatten()
            .filter_map(|account| account.rate.as_ref())
        {
            if timeout_at(deadline, rate.wait(wish.class, wish.recipients))
                .await
                .is_err()
            {
                return Ok(Admission::Later(later(wish.now, wish.patience)));
            }
        }
        for account in levels.into_iter().flatten() {
            if let Some(free_at) = account.spend(self.shared.as_ref(), wish).await? {
                return Ok(Admission::Parked(free_at));
            }
        }
        Ok(Admission::Go(Permit { _places: places }))
    }

    /// How many calls a target can have under way at once.
    #[must_use]
    pub fn concurrency(&self, target: &TargetName) -> u32 {
        let of = |account: Option<&Account>| account.and_then(|a| a.limits.concurrency);
        let account = of(self.accounts.get(&target.provider)).unwrap_or(CONCURRENCY_DEFAULT);
        of(self.pools.get(target)).map_or(account, |pool| pool.min(account))
    }

    /// Gives back what was taken from quotas and not used, at the end of a process.
    pub async fn give_back(&self) {
        for account in self.of_all() {
            let slices: Vec<Slice> = account
                .slices
                .lock()
                .await
                .drain()
                .map(|(_, s)| s)
                .collect();
            for slice in slices {
                let Some(taken_at) = slice.taken_at.filter(|_| slice.units > 0) else {
                    continue;
                };
                let given = self
                    .shared
                    .give_back_quota(&account.key, taken_at, slice.units)
                    .await;
                if let Err(error) = given {
                    tracing::warn!(account = %account.key, %error, "kept unused units of a quota");
                }
            }
        }
    }

    fn of_all(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values().chain(self.pools.values())
    }
}

impl Account {
    fn new(key: String, limits: &Limits, warmup: Option<Warmup>, is_shared: bool) -> Self {
        let calls = limits.concurrency.unwrap_or(CONCURRENCY_DEFAULT);
        let reserve = limits.transactional_reserve.unwrap_or(0.0);
        let kept_free = if is_shared {
            reserve.max(TRANSACTIONAL_CALLS_SHARE)
        } else {
            reserve
        };
        let campaign_calls = scaled(u64::from(calls), 1.0 - kept_free).max(1);
        Self {
            key,
            limits: limits.clone(),
            warmup,
            places: Arc::new(Semaphore::new(calls as usize)),
            campaign_places: Arc::new(Semaphore::new(usize::try_from(campaign_calls).unwrap_or(1))),
            rate: limits
                .per_second
                .map(|per_second| Rate::new(per_second, reserve)),
            slices: Mutex::default(),
        }
    }

    /// A place among the calls under way. Campaign calls first take one of their own places, so
    /// that they can never hold all.
    async fn place(&self, class: Class) -> Vec<OwnedSemaphorePermit> {
        let mut permits = Vec::with_capacity(2);
        if class == Class::Campaign {
            permits.extend(Arc::clone(&self.campaign_places).acquire_owned().await);
        }
        permits.extend(Arc::clone(&self.places).acquire_owned().await);
        permits
    }

    /// Spends units of the quota; `Some` is when there will be more.
    async fn spend(
        &self,
        shared: &dyn Shared,
        wish: &Wish<'_>,
    ) -> Result<Option<Timestamp>, StoreError> {
        let (windows, smallest) = self.windows(shared, wish).await?;
        if windows.is_empty() {
            return Ok(None);
        }
        let need = u64::from(wish.recipients);
        let mut slices = self.slices.lock().await;
        let slice = slices.entry(wish.class).or_default();
        if slice.units < need {
            let ahead = (smallest / 100).clamp(1, QUOTA_SLICE_MAX).max(need);
            let missing = need - slice.units;
            for want in [ahead.max(missing), missing] {
                let request = QuotaRequest {
                    account: self.key.clone(),
                    want,
                    windows: windows.clone(),
                    now: wish.now,
                };
                let grant = shared.take_quota(request).await?;
                slice.units += grant.units;
                slice.taken_at = Some(wish.now);
                if slice.units >= need {
                    break;
                }
                if grant.units < want {
                    let soon = later(wish.now, QUOTA_RETRY);
                    return Ok(Some(
                        grant
                            .free_at
                            .unwrap_or(soon)
                            .max(later(wish.now, Duration::from_secs(1))),
                    ));
                }
            }
        }
        slice.units -= need;
        Ok(None)
    }

    /// The windows that must hold, and the smallest cap among them.
    async fn windows(
        &self,
        shared: &dyn Shared,
        wish: &Wish<'_>,
    ) -> Result<(Vec<(Timestamp, u64)>, u64), StoreError> {
        let mut windows = quota_windows(&self.limits, wish.class, wish.now);
        if let Some(schedule) = &self.warmup {
            let today = wish.now.to_zoned(TimeZone::UTC).date();
            let midnight = day_start(&TimeZone::UTC, wish.now);
            let last = shared.warmup(&self.key).await?;
            let mut record = warmup::record_for(schedule, last, today);
            // The day's use decides tomorrow's cap; once half of the cap is used, that is decided.
            let is_decided = last.is_some_and(|last| last.used.saturating_mul(2) >= record.cap);
            if !is_decided || last.is_none_or(|last| last.day != record.day) {
                record.used = shared.quota_used(&self.key, midnight).await?;
                shared.set_warmup(&self.key, record).await?;
            }
            if !warmup::is_over(schedule, &record) {
                windows.push((midnight, record.cap));
            }
        }
        let smallest = windows
            .iter()
            .map(|(_, cap)| *cap)
            .min()
            .unwrap_or(u64::MAX);
        Ok((windows, smallest))
    }
}

/// The start and cap of each quota window. Campaign streams see caps without the reserve.
#[must_use]
pub fn quota_windows(limits: &Limits, class: Class, now: Timestamp) -> Vec<(Timestamp, u64)> {
    let reserve = match class {
        Class::Transactional => 0.0,
        Class::Campaign => limits.transactional_reserve.unwrap_or(0.0),
    };
    let mut windows = Vec::with_capacity(2);
    if let Some(cap) = limits.per_hour {
        windows.push((
            earlier(now, Duration::from_secs(3600)),
            scaled(cap, 1.0 - reserve),
        ));
    }
    if let Some(cap) = limits.per_day {
        let since = match &limits.day {
            DayRule::Rolling => earlier(now, Duration::from_secs(24 * 3600)),
            DayRule::Utc => day_start(&TimeZone::UTC, now),
            DayRule::Zone(zone) => day_start(zone, now),
        };
        windows.push((since, scaled(cap, 1.0 - reserve)));
    }
    windows
}

fn day_start(zone: &TimeZone, now: Timestamp) -> Timestamp {
    now.to_zoned(zone.clone())
        .start_of_day()
        .map_or(now, |start| start.timestamp())
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "caps are below 2^52 and shares are 0.0 to 1.0, checked by the configuration"
)]
fn scaled(cap: u64, share: f64) -> u64 {
    (cap as f64 * share).floor() as u64
}

impl Rate {
    fn new(per_second: f64, reserve: f64) -> Self {
        let cells_max = burst(per_second * (1.0 - reserve));
        Self {
            limiter: governor(per_second * (1.0 - reserve)),
            reserve: (reserve > 0.0).then(|| governor(per_second * reserve)),
            transactional_turn: Mutex::default(),
            campaign_turn: Mutex::default(),
            cells_max,
        }
    }

    async fn wait(&self, class: Class, recipients: u32) {
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

    fn fill(&self) {
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

fn later(from: Timestamp, by: Duration) -> Timestamp {
    from.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn earlier(from: Timestamp, by: Duration) -> Timestamp {
    from.checked_sub(by).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests;
