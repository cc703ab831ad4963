//! The engine's shared state: what intake, dispatch, feedback and the operator's hands work on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use malote_core::clock::Clock;
use malote_core::intake::Openness;
use malote_core::limits::Limits;
use malote_core::name::{ProviderName, RouteName, TargetName};
use malote_core::provider::{Account, Provider};
use malote_store::{Lane, LaneId, NodeSession, PendingAttempt, Shared, Spool, StoreError};
use tokio::sync::{Notify, Semaphore, watch};

use crate::bursts::Bursts;
use crate::forecast::Forecaster;
use crate::guard::Guard;
use crate::health::Registry;
use crate::keys::{KeysInFlight, Untold};
use crate::limits::{AccountLimits, Limiters};
use crate::metrics::Metrics;
use crate::mx::MxCache;
use crate::policy::Policy;
use crate::retry_budget::RetryBudgets;
use crate::workers::Workers;

/// The engine. Cheap to share; every part of it is bounded.
pub struct Engine {
    pub(crate) spool: Arc<dyn Spool>,
    pub(crate) shared: Arc<dyn Shared>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) policy: ArcSwap<Policy>,
    pub(crate) limiters: ArcSwap<Limiters>,
    pub(crate) registry: Registry,
    pub(crate) mx: MxCache,
    pub(crate) bursts: Bursts,
    pub(crate) budgets: RetryBudgets,
    pub(crate) turns: Turns,
    pub(crate) workers: Workers,
    pub(crate) guard: Guard,
    pub(crate) session: NodeSession,
    /// What services said of our accounts.
    pub(crate) learned: Mutex<HashMap<ProviderName, Learned>>,
    pub(crate) forecaster: Mutex<Forecaster>,
    pub(crate) keys_in_flight: KeysInFlight,
    pub(crate) untold: Untold,
    /// Whether the doors take new mail.
    pub(crate) openness: watch::Sender<Openness>,
    /// Only one delivery that was under way in several crashes is under way at a time.
    pub(crate) suspects: Arc<Semaphore>,
    pub(crate) queue_bytes: AtomicU64,
    /// A lane that did not exist before has mail.
    pub(crate) lane_added: Notify,
    /// Other outlets are configured.
    pub(crate) outlets_changed: Notify,
    /// Events became durable.
    pub(crate) feed_bell: watch::Sender<u64>,
    lanes: Mutex<HashMap<Lane, LaneId>>,
    wakes: Mutex<HashMap<LaneId, Arc<Notify>>>,
}

/// What an engine is made of.
pub struct Parts {
    /// Messages.
    pub spool: Arc<dyn Spool>,
    /// Quotas, breakers, suppressions.
    pub shared: Arc<dyn Shared>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Metrics,
    /// MX records, where rules need them.
    pub mx: MxCache,
    /// The configuration.
    pub policy: Policy,
}

impl Engine {
    /// Opens a session in the store and takes over what an earlier process left: breakers,
    /// switches, and the attempts whose outcome nobody knows.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub async fn open(parts: Parts) -> Result<Arc<Self>, StoreError> {
        let (session, pending) = parts.spool.open_session(parts.clock.now()).await?;
        let limiters = limiters(&parts.shared, &parts.policy, &HashMap::new(), None);
        let bounds = &parts.policy.bounds;
        let workers = Workers::new(bounds.workers, bounds.transactional_reserve);
        let engine = Arc::new(Self {
            spool: parts.spool,
            shared: parts.shared,
            clock: parts.clock,
            metrics: parts.metrics,
            policy: ArcSwap::from_pointee(parts.policy),
            limiters: ArcSwap::from_pointee(limiters),
            registry: Registry::default(),
            mx: parts.mx,
            bursts: Bursts::default(),
            budgets: RetryBudgets::default(),
            turns: Turns::default(),
            workers,
            guard: Guard::default(),
            session,
            learned: Mutex::default(),
            forecaster: Mutex::default(),
            keys_in_flight: KeysInFlight::default(),
            untold: Untold::default(),
            openness: watch::Sender::new(Openness::Open),
            suspects: Arc::new(Semaphore::new(1)),
            queue_bytes: AtomicU64::new(0),
            lane_added: Notify::new(),
            outlets_changed: Notify::new(),
            feed_bell: watch::Sender::new(0),
            lanes: Mutex::default(),
            wakes: Mutex::default(),
        });
        let now = engine.clock.now();
        engine.registry.restore(engine.shared.as_ref(), now).await?;
        engine.guard.restore(engine.shared.as_ref()).await?;
        engine.recover(pending).await?;
        engine.measure_queue().await?;
        engine.recall_last_told().await?;
        Ok(engine)
    }

    /// Puts another configuration in force. Attempts under way end with the one they began with.
    pub fn reload(&self, policy: Policy) {
        self.policy.store(Arc::new(policy));
        self.rebuild_limiters();
        // Who rested for a quota may have another one now; if not, the next call says so again.
        self.registry.unpark_all();
        self.lane_added.notify_one();
        self.outlets_changed.notify_one();
        self.wake_all();
    }

    /// Whether mail goes by this adapter now. What another one of that name was told, before a
    /// reload, says nothing of it: the credentials may be other ones.
    pub(crate) fn is_in_force(&self, name: &ProviderName, provider: &Arc<dyn Provider>) -> bool {
        let policy = self.policy.load();
        let own = policy.providers.get(name);
        own.is_some_and(|own| Arc::ptr_eq(&own.provider, provider))
    }

    /// Builds the limiters anew from the configuration and what services say of our accounts.
    pub(crate) fn rebuild_limiters(&self) {
        // Held throughout: of two that build at once, the later one has the newer configuration.
        let learned = lock(&self.learned);
        let policy = self.policy.load();
        let previous = self.limiters.load();
        let next = limiters(&self.shared, &policy, &learned, Some(&**previous));
        self.limiters.store(Arc::new(next));
    }

    /// What the engine knows of its targets.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What nodes share.
    #[must_use]
    pub fn shared(&self) -> Arc<dyn Shared> {
        Arc::clone(&self.shared)
    }

    /// The configuration in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Octets of bodies that wait, as last measured.
    #[must_use]
    pub fn queue_bytes(&self) -> u64 {
        self.queue_bytes.load(Ordering::Relaxed)
    }

    /// Gives unused quota and what was counted back to the store at the end of the process.
    pub async fn close(&self) {
        self.limiters.load_full().give_back().await;
        if let Err(error) = self.write_guard_counts(self.clock.now()).await {
            tracing::warn!(%error, "lost the guard's counts of the last second");
        }
    }

    /// The number of a lane, from memory where it was asked before.
    pub(crate) async fn lane(&self, lane: &Lane) -> Result<LaneId, StoreError> {
        let known = lock(&self.lanes).get(lane).copied();
        if let Some(id) = known {
            return Ok(id);
        }
        let id = self.spool.lane(lane).await?;
        lock(&self.lanes).insert(lane.clone(), id);
        self.lane_added.notify_one();
        Ok(id)
    }

    /// The bell of a lane.
    pub(crate) fn bell(&self, lane: LaneId) -> Arc<Notify> {
        Arc::clone(lock(&self.wakes).entry(lane).or_default())
    }

    /// Rings it: there is mail that is due.
    pub(crate) fn wake(&self, lane: LaneId) {
        self.bell(lane).notify_one();
    }

    /// Rings all bells: something changed that a frozen lane may be waiting for.
    pub(crate) fn wake_all(&self) {
        for bell in lock(&self.wakes).values() {
            bell.notify_one();
        }
    }

    /// Makes the state of breakers durable after it changed, and wakes lanes that wait for it.
    pub(crate) async fn keep_breakers(&self) {
        let unkept = self.registry.take_unkept();
        if unkept.is_empty() {
            return;
        }
        for (key, state) in unkept {
            if let Err(error) = self.shared.set_breaker(&key, state).await {
                tracing::warn!(breaker = key, %error, "kept a breaker's state in memory only");
            }
        }
        self.wake_all();
    }

    async fn recover(&self, pending: Vec<PendingAttempt>) -> Result<(), StoreError> {
        crate::recovery::settle_pending(self, pending).await
    }
}

/// Counts the plans of each route, for round-robin.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<RouteName, u64>>);

impl Turns {
    pub(crate) fn next(&self, route: &RouteName) -> u64 {
        let mut turns = lock(&self.0);
        let turn = turns.entry(route.clone()).or_default();
        *turn = turn.wrapping_add(1);
        *turn
    }
}

fn limiters(
    shared: &Arc<dyn Shared>,
    policy: &Policy,
    learned: &HashMap<ProviderName, Learned>,
    previous: Option<&Limiters>,
) -> Limiters {
    let all: Vec<AccountLimits> = policy
        .providers
        .iter()
        .map(|(name, entry)| AccountLimits {
            provider: name.clone(),
            limits: within(&entry.limits, learned.get(name)),
            pools: entry
                .pools
                .iter()
                .map(|(pool, limits)| {
                    let target = TargetName {
                        provider: name.clone(),
                        pool: pool.clone(),
                    };
                    (target, limits.clone())
                })
                .collect(),
            is_shared_by_classes: policy.is_shared_by_classes(name),
        })
        .collect();
    Limiters::new(Arc::clone(shared), &all, previous)
}

/// What a service says of an account, and what others use of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Learned {
    /// As the service said.
    pub(crate) account: Account,
    /// Recipients of the last 24 hours that the service counts and we did not send: another
    /// program has the same account. In hundredths of the quota, rounded up, so that the limiters
    /// are not rebuilt for each of them.
    pub(crate) foreign_per_day: u64,
}

impl Learned {
    /// Compares the service's count of the last 24 hours with our own, which is never behind it
    /// by what we sent.
    pub(crate) fn new(account: Account, own: u64) -> Self {
        let foreign = account
            .sent_last_day
            .map_or(0, |theirs| theirs.saturating_sub(own));
        let step = (account.per_day.unwrap_or(0) / 100).max(1);
        Self {
            foreign_per_day: foreign.div_ceil(step).saturating_mul(step),
            account,
        }
    }

    /// Whether the limiters would be the same.
    pub(crate) fn allows_as(&self, other: &Self) -> bool {
        let allows = |learned: &Self| {
            let account = &learned.account;
            (account.per_second, account.per_day, learned.foreign_per_day)
        };
        allows(self) == allows(other)
    }
}

/// Our limits, lowered to what the service allows and others leave: sending faster would only be
/// throttled.
fn within(limits: &Limits, learned: Option<&Learned>) -> Limits {
    let mut limits = limits.clone();
    if let Some(learned) = learned {
        let rate = learned.account.per_second.filter(|rate| *rate > 0.0);
        limits.per_second = match (limits.per_second, rate) {
            (Some(own), Some(theirs)) => Some(own.min(theirs)),
            (own, theirs) => own.or(theirs),
        };
        let quota = learned.account.per_day.filter(|quota| *quota > 0);
        let quota = quota.map(|quota| quota.saturating_sub(learned.foreign_per_day));
        limits.per_day = match (limits.per_day, quota) {
            (Some(own), Some(theirs)) => Some(own.min(theirs)),
            (own, theirs) => own.or(theirs),
        };
    }
    limits
}

/// A lock whose holders never panic half-way through a change.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_send_by_the_same_account_is_theirs() {
        let account = |per_day, sent| Account {
            per_day: Some(per_day),
            sent_last_day: Some(sent),
            ..Account::default()
        };
        for (account, own, left) in [
            (account(50_000, 0), 0, 50_000),
            (account(50_000, 900), 1_000, 50_000),
            (account(50_000, 10_001), 1_000, 40_500),
            (account(50_000, 60_000), 0, 0),
            (account(7, 3), 1, 5),
        ] {
            let learned = Learned::new(account, own);
            let limits = within(&Limits::default(), Some(&learned));
            assert_eq!(limits.per_day, Some(left), "{learned:?}");
        }
        let own = Limits {
            per_day: Some(30_000),
            ..Limits::default()
        };
        let learned = Learned::new(account(50_000, 10_000), 0);
        assert_eq!(within(&own, Some(&learned)).per_day, Some(30_000));
    }
}
