//! Admission: rate, concurrency, hourly and daily quota, and warm-up, of a provider's account and
//! of each of its pools. Admits, or says when.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use malote_core::clock::later;
use malote_core::limits::{CONCURRENCY_DEFAULT, DayRule, Limits, Warmup};
use malote_core::name::{ProviderName, TargetName};
use malote_core::stream::Class;
use malote_store::{QuotaRequest, Shared, StoreError};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::warmup;
pub use left::QuotaLeft;
pub use permit::Permit;
use permit::{Departure, Spent};
use rate::{RatesByClass, Source, rates_by_class};
pub use windows::quota_windows;
use windows::{day_end, day_start};

mod ledger;
mod left;
mod permit;
mod rate;
mod skew;
mod windows;

/// Share of an account's calls that campaign streams leave free where both classes use it.
const TRANSACTIONAL_CALLS_SHARE: f64 = 0.25;
/// Largest slice of a quota taken ahead of sends; the store grants less where little is left.
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
    source: Source,
    accounts: HashMap<ProviderName, Account>,
    pools: HashMap<TargetName, Account>,
}

struct Account {
    /// The key of its quota in the store.
    key: String,
    limits: Limits,
    warmup: Option<Warmup>,
    /// Calls under way at once, of all and of campaign streams.
    calls: (u32, u32),
    places: Arc<Semaphore>,
    campaign_places: Arc<Semaphore>,
    rates: RatesByClass,
    /// Recipients that calls were admitted for, since the start.
    sent: Arc<AtomicU64>,
    /// Units taken from the quota and not yet used, by class.
    slices: Arc<Mutex<Slices>>,
    /// Whether the warm-up is over: it stays so, and the store need not be asked again.
    is_warm: AtomicBool,
}

type Slices = HashMap<Class, Slice>;

#[derive(Debug, Clone, Copy, Default)]
struct Slice {
    units: u64,
    taken_at: Option<Timestamp>,
}

impl Limiters {
    /// Builds the limiters. What an account had under `previous` ones goes on where its limits are
    /// the same: calls under way, and the units taken from its quota. A rate goes on from its last
    /// unit, so that a change never lets more through than the larger rate.
    #[must_use]
    pub fn new(shared: Arc<dyn Shared>, all: &[AccountLimits], previous: Option<&Self>) -> Self {
        let source = Source::new(&shared, previous.map(|previous| &previous.source));
        let mut accounts = HashMap::new();
        let mut pools = HashMap::new();
        for account in all {
            let both = account.is_shared_by_classes;
            let key = account.provider.to_string();
            let before = previous.and_then(|p| p.accounts.get(&account.provider));
            let calls = account.limits.calls_max();
            let levels = [(key.as_str(), &account.limits)];
            let rates = rates_by_class(&source, &levels, before.map(|before| &before.rates));
            for (target, (limits, warmup)) in &account.pools {
                let before = previous.and_then(|p| p.pools.get(target));
                let pool = target.to_string();
                let levels = [(pool.as_str(), limits), levels[0]];
                let before_rates = before.map(|before| &before.rates);
                let rates = match limits.per_second {
                    Some(_) => rates_by_class(&source, &levels, before_rates),
                    None => rates.clone(),
                };
                let calls = limits.concurrency.unwrap_or(calls);
                let mut built = Account::new(pool, limits, calls, both, rates);
                built.warmup = *warmup;
                pools.insert(target.clone(), built.carry_on(before));
            }
            let built = Account::new(key, &account.limits, calls, both, rates).carry_on(before);
            accounts.insert(account.provider.clone(), built);
        }
        Self {
            shared,
            source,
            accounts,
            pools,
        }
    }

    /// Admits a call to a target, or says when.
    ///
    /// # Errors
    /// If a quota, or a rate that nodes share, cannot be taken from the store: then nothing may be
    /// sent.
    pub async fn admit(&self, wish: &Wish<'_>) -> Result<Admission, StoreError> {
        // The pool first: who waits for a full pool must not hold the account's places meanwhile.
        let levels = [
            self.pools.get(wish.target),
            self.accounts.get(&wish.target.provider),
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
        // Those of a pool have those of its account among them.
        let rates = levels.into_iter().flatten().next();
        let rates = rates.and_then(|account| account.rates.get(&wish.class));
        let departure = match rates {
            Some(rates) => {
                let taken = Departure::take(rates, wish.recipients);
                match timeout_at(deadline, taken).await {
                    Ok(departure) => Some(departure?),
                    Err(_) => return Ok(Admission::Later(later(wish.now, wish.patience))),
                }
            }
            None => None,
        };
        let mut spent = Vec::with_capacity(2);
        for account in levels.into_iter().flatten() {
            match account.spend(self.shared.as_ref(), wish).await {
                Ok(None) => spent.push(account.spent(wish)),
                unspent => {
                    for spent in spent {
                        spent.undo().await;
                    }
                    return unspent.map(|until| Admission::Parked(until.unwrap_or(wish.now)));
                }
            }
        }
        for account in levels.into_iter().flatten() {
            let recipients = u64::from(wish.recipients);
            account.sent.fetch_add(recipients, Ordering::Relaxed);
        }
        Ok(Admission::Go(Permit::new(places, departure, spent)))
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
                account.give_back(self.shared.as_ref(), slice).await;
            }
        }
    }

    /// How many recipients calls were admitted for since the start, by account.
    pub(crate) fn sent(&self) -> impl Iterator<Item = (String, u64)> {
        self.of_all()
            .map(|account| (account.key.clone(), account.sent.load(Ordering::Relaxed)))
    }

    fn of_all(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values().chain(self.pools.values())
    }
}

impl Account {
    fn new(key: String, limits: &Limits, calls: u32, is_shared: bool, rates: RatesByClass) -> Self {
        let reserve = limits.transactional_reserve.unwrap_or(0.0);
        let kept_free = if is_shared {
            reserve.max(TRANSACTIONAL_CALLS_SHARE)
        } else {
            reserve
        };
        let campaign_calls = scaled(u64::from(calls), 1.0 - kept_free).max(1);
        let campaign_calls = u32::try_from(campaign_calls).unwrap_or(1);
        Self {
            rates,
            key,
            limits: limits.clone(),
            warmup: None,
            calls: (calls, campaign_calls),
            places: Arc::new(Semaphore::new(calls as usize)),
            campaign_places: Arc::new(Semaphore::new(campaign_calls as usize)),
            sent: Arc::default(),
            slices: Arc::default(),
            is_warm: AtomicBool::new(false),
        }
    }

    /// Takes over what it had before a reload: a reload neither doubles the calls under way nor
    /// loses units taken from a quota.
    fn carry_on(mut self, before: Option<&Self>) -> Self {
        if let Some(before) = before {
            self.sent = Arc::clone(&before.sent);
            self.slices = Arc::clone(&before.slices);
            if self.calls == before.calls {
                self.places = Arc::clone(&before.places);
                self.campaign_places = Arc::clone(&before.campaign_places);
            }
        }
        self
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
        if !self.has_quota() {
            return Ok(None);
        }
        let need = u64::from(wish.recipients);
        let slices = &mut *self.slices.lock().await;
        let slice = slices.entry(wish.class).or_default();
        // The store books units in the hour that they are taken in; what is used in a later one
        // would count in a window that is over.
        if slice.taken_at.is_some_and(|at| hour(at) != hour(wish.now)) {
            self.give_back(shared, std::mem::take(slice)).await;
        }
        let mut until = self.fill(shared, wish, slice).await?;
        // What is in hand for the other class may be all that is left: who has to wait keeps
        // nothing from those that do not.
        if until.is_some() && self.give_back_others(shared, wish.class, slices).await {
            let slice = slices.entry(wish.class).or_default();
            until = self.fill(shared, wish, slice).await?;
        }
        let slice = slices.entry(wish.class).or_default();
        if until.is_some() {
            // Too few for this call, and enough for a smaller one elsewhere.
            self.give_back(shared, std::mem::take(slice)).await;
        } else {
            slice.units = slice.units.saturating_sub(need);
        }
        Ok(until)
    }

    /// Gives back what other classes have in hand; whether they had anything.
    async fn give_back_others(
        &self,
        shared: &dyn Shared,
        class: Class,
        slices: &mut Slices,
    ) -> bool {
        let mut had_any = false;
        for (_, other) in slices.iter_mut().filter(|(of, _)| **of != class) {
            had_any |= other.units > 0;
            self.give_back(shared, std::mem::take(other)).await;
        }
        had_any
    }

    /// Sees to it that a slice has what a call needs; `Some` is when there will be enough.
    async fn fill(
        &self,
        shared: &dyn Shared,
        wish: &Wish<'_>,
        slice: &mut Slice,
    ) -> Result<Option<Timestamp>, StoreError> {
        let need = u64::from(wish.recipients).saturating_sub(slice.units);
        if need == 0 {
            return Ok(None);
        }
        let windows = self.windows(shared, wish).await?;
        if windows.is_empty() {
            return Ok(None);
        }
        let request = QuotaRequest {
            account: self.key.clone(),
            need,
            want: need.max(QUOTA_SLICE_MAX),
            windows,
            now: wish.now,
        };
        let grant = shared.take_quota(request).await?;
        slice.units += grant.units;
        slice.taken_at = Some(wish.now);
        if grant.units >= need {
            return Ok(None);
        }
        let soon = later(wish.now, QUOTA_RETRY);
        let soonest = later(wish.now, Duration::from_secs(1));
        // The store takes every window for one that moves with time.
        let moving = grant.free_at.filter(|_| self.has_moving_window());
        let anew = self.begins_anew(wish.now);
        let free_at = moving.into_iter().chain(anew).min();
        Ok(Some(free_at.unwrap_or(soon).max(soonest)))
    }

    fn has_moving_window(&self) -> bool {
        let has_rolling_day = self.limits.per_day.is_some() && self.limits.day == DayRule::Rolling;
        self.limits.per_hour.is_some() || has_rolling_day
    }

    /// When the first of the windows that follow a calendar begins anew; `None` if none does.
    fn begins_anew(&self, now: Timestamp) -> Option<Timestamp> {
        let zone = match &self.limits.day {
            DayRule::Rolling => None,
            DayRule::Utc => Some(TimeZone::UTC),
            DayRule::Zone(zone) => Some(zone.clone()),
        };
        let of_day = zone.filter(|_| self.limits.per_day.is_some());
        let of_warmup = self.warmup.as_ref().map(|_| TimeZone::UTC);
        let zones = of_day.into_iter().chain(of_warmup);
        zones.filter_map(|zone| day_end(&zone, now)).min()
    }

    /// What [`Account::spend`] has just taken.
    fn spent(&self, wish: &Wish<'_>) -> Spent {
        Spent {
            slices: Arc::clone(&self.slices),
            class: wish.class,
            units: u64::from(wish.recipients),
            at: wish.now,
        }
    }

    async fn give_back(&self, shared: &dyn Shared, slice: Slice) {
        let Some(taken_at) = slice.taken_at.filter(|_| slice.units > 0) else {
            return;
        };
        let given = shared.give_back_quota(&self.key, taken_at, slice.units);
        if let Err(error) = given.await {
            tracing::warn!(account = %self.key, %error, "kept unused units of a quota");
        }
    }

    fn has_quota(&self) -> bool {
        let has_cap = self.limits.per_hour.is_some() || self.limits.per_day.is_some();
        has_cap || (self.warmup.is_some() && !self.is_warm.load(Ordering::Relaxed))
    }

    /// The windows that must hold.
    async fn windows(
        &self,
        shared: &dyn Shared,
        wish: &Wish<'_>,
    ) -> Result<Vec<(Timestamp, u64)>, StoreError> {
        let mut windows = quota_windows(&self.limits, wish.class, wish.now);
        if let Some(schedule) = &self.warmup
            && !self.is_warm.load(Ordering::Relaxed)
        {
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
            if warmup::is_over(schedule, &record) {
                self.is_warm.store(true, Ordering::Relaxed);
            } else {
                windows.push((midnight, record.cap));
            }
        }
        Ok(windows)
    }
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

fn hour(at: Timestamp) -> i64 {
    at.as_second().div_euclid(3600)
}

fn earlier(from: Timestamp, by: Duration) -> Timestamp {
    from.checked_sub(by).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests;
