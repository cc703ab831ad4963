//! What goes on beside sending: expiry, retention, counts for metrics, and the check of providers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use malote_core::event::{EventKind, State};
use malote_core::id::DeliveryId;
use malote_core::name::{ProviderName, TargetName};
use malote_core::provider::{Account, Verdict};
use malote_store::{Leased, StoreError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, Learned, lock};
use crate::notice::Failure;
use crate::policy::{Policy, ProviderEntry};
use crate::settling::patiently;

/// How often counts are taken.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// How often switches that operators set at other nodes are looked for.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
/// How often breakers of other nodes are looked for.
const FOLLOW_BREAKERS_EVERY: Duration = Duration::from_millis(500);
/// How often the reputation guard decides.
const GUARD_EVERY: Duration = Duration::from_secs(1);
/// How often expiry and retention run.
const TIDY_EVERY: Duration = Duration::from_secs(10);
/// Deliveries expired in one go, and how often in a row.
const EXPIRE_MAX: u32 = 500;
const EXPIRE_ROUNDS_MAX: u32 = 20;
/// How often a provider that is out is checked again, once the check after its refusal is due.
const RECHECK_EVERY: Duration = Duration::from_secs(60);
/// How often forecasts are worked out.
const FORECAST_EVERY: Duration = Duration::from_secs(10);
/// The window of a service's own count.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Longest check.
const CHECK_MAX: Duration = Duration::from_secs(30);

impl Engine {
    /// Runs until `shutdown`.
    pub async fn keep_house(self: Arc<Self>, shutdown: CancellationToken) {
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&self).every(MEASURE_EVERY, Chore::Measure, shutdown.clone()));
        tasks.spawn(Arc::clone(&self).every(FORECAST_EVERY, Chore::Forecast, shutdown.clone()));
        tasks.spawn(Arc::clone(&self).every(FOLLOW_EVERY, Chore::Follow, shutdown.clone()));
        tasks.spawn(Arc::clone(&self).every(GUARD_EVERY, Chore::Guard, shutdown.clone()));
        tasks.spawn(Arc::clone(&self).every(TIDY_EVERY, Chore::Tidy, shutdown.clone()));
        tasks.spawn(Arc::clone(&self).follow_other_nodes(shutdown.clone()));
        tasks.spawn(Arc::clone(&self).take_over(shutdown.clone()));
        tasks.spawn(Arc::clone(&self).keep_keys(shutdown.clone()));
        tasks.spawn(Arc::clone(&self).close_doors(shutdown.clone()));
        tasks.spawn(Arc::clone(&self).watch_providers(shutdown));
        while tasks.join_next().await.is_some() {}
    }

    async fn every(self: Arc<Self>, period: Duration, chore: Chore, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(period);
        // After the machine slept, one tick makes up for all that were missed.
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.cancelled() => return,
            }
            let result = match chore {
                Chore::Measure => self.measure_queue().await,
                Chore::Forecast => self.look_ahead().await,
                Chore::Follow => self.follow_switches().await,
                Chore::Guard => self.keep_guard().await,
                Chore::Tidy => self.tidy().await,
            };
            if let Err(error) = result {
                tracing::error!(%error, "housekeeping failed, it comes again");
            }
        }
    }

    /// Follows what other nodes know of targets, from their last change on.
    async fn follow_other_nodes(self: Arc<Self>, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(FOLLOW_BREAKERS_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut after = 0;
        while self.shared.nodes().is_some() {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.cancelled() => return,
            }
            match self.follow_breakers(after).await {
                Ok(next) => after = next,
                Err(error) => tracing::error!(%error, "could not follow other nodes' breakers"),
            }
        }
    }

    /// Takes the counts that admission and metrics need.
    pub(crate) async fn measure_queue(&self) -> Result<(), StoreError> {
        self.measure_outlets().await?;
        let now = self.clock.now();
        let stats = self.spool.stats(now).await?;
        self.queue_bytes.store(stats.body_bytes, Ordering::Relaxed);
        let policy = self.policy.load();
        self.metrics.begin(&policy);
        let is_shared = i64::from(self.spool.is_shared());
        self.metrics.queue_shared.set(is_shared);
        for stream in policy.streams.keys() {
            for state in MEASURED {
                let count = stats
                    .by_state
                    .get(&(stream.clone(), state))
                    .copied()
                    .unwrap_or(0);
                let gauge = self
                    .metrics
                    .queue
                    .with_label_values(&[stream.as_str(), state.as_str()]);
                gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
            }
            let oldest = stats.oldest_due_at.get(stream);
            let age = oldest.map_or(0, |at| now.duration_since(*at).as_secs().max(0));
            self.metrics
                .queue_age
                .with_label_values(&[stream.as_str()])
                .set(age);
        }
        self.measure_targets(&policy);
        Ok(())
    }

    /// Tells which targets take mail, and how many each route has of them. What a reload took out
    /// is told no more.
    fn measure_targets(&self, policy: &Policy) {
        let statuses = self.targets();
        self.metrics.target_up.reset();
        self.metrics.breaker.reset();
        self.metrics.route_targets_up.reset();
        for status in &statuses {
            let Some((provider, pool)) = status.target.split_once('/') else {
                continue;
            };
            self.metrics
                .target_up
                .with_label_values(&[provider, pool])
                .set(i64::from(status.is_up));
            for state in BREAKER_WORDS {
                let is_state = i64::from(state == status.breaker);
                self.metrics
                    .breaker
                    .with_label_values(&[provider, pool, state])
                    .set(is_state);
            }
        }
        let up = statuses.iter().filter(|status| status.is_up);
        let up: BTreeSet<&str> = up.map(|status| status.target.as_str()).collect();
        for stream in policy.streams.keys() {
            for route in policy.router.routes_of(stream) {
                let targets = policy.router.targets_of(route, stream).into_iter();
                let is_up = |target: &TargetName| up.contains(target.to_string().as_str());
                let count = targets.filter(is_up).count();
                self.metrics
                    .route_targets_up
                    .with_label_values(&[stream.as_str(), route.as_str()])
                    .set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
    }

    async fn look_ahead(&self) -> Result<(), StoreError> {
        let stats = self.spool.stats(self.clock.now()).await?;
        self.forecast(&stats).await
    }

    /// Takes over what operators switched at other nodes. While it cannot be asked for, what is
    /// known stays in force.
    async fn follow_switches(&self) -> Result<(), StoreError> {
        let known = self.registry.switch_changes();
        match self.shared.switches().await {
            Ok(switches) => {
                if self.registry.follow_switches(known, switches) {
                    self.wake_all();
                }
                Ok(())
            }
            Err(error @ StoreError::Unavailable(_)) => {
                tracing::debug!(%error, "could not look for switches");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn tidy(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let policy = self.policy.load_full();
        for _ in 0..EXPIRE_ROUNDS_MAX {
            let overdue = self.spool.overdue(EXPIRE_MAX, now).await?;
            for delivery in &overdue {
                if let Err(error) = self.tell_of_expiry(&policy, delivery, now).await {
                    tracing::error!(message.id = %delivery.id.message, %error, "could not queue a DSN");
                }
            }
            let ids: Vec<DeliveryId> = overdue.iter().map(|one| one.id).collect();
            for expired in self.spool.expire(&ids, EXPIRE_MAX, now).await? {
                let mailbox_provider = expired.mailbox_provider.as_ref();
                let word = EventKind::Expired.as_str();
                self.metrics.settle(&expired.stream, word, mailbox_provider);
            }
            if overdue.len() < EXPIRE_MAX as usize {
                break;
            }
        }
        let before = |age: Duration| now.checked_sub(age).unwrap_or(Timestamp::MIN);
        let bounds = &policy.bounds;
        let (bodies, messages) = self
            .spool
            .retain(before(bounds.keep_bodies), before(bounds.keep_messages))
            .await?;
        if bodies + messages > 0 {
            tracing::debug!(bodies, messages, "dropped what retention no longer keeps");
        }
        Ok(())
    }

    /// Told before the expiry itself, as [`Engine::consequences`].
    async fn tell_of_expiry(
        &self,
        policy: &Policy,
        delivery: &Leased,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let id = delivery.id.message;
        let Some(record) = self.spool.message(id).await? else {
            return Ok(());
        };
        let body = self.spool.body(id).await?.unwrap_or_default();
        let failure = Failure {
            record: &record,
            body: &body,
            delivery: delivery.into(),
            state: State::Expired,
            reply: None,
        };
        patiently(|| self.notify_failure(policy, &failure, now)).await
    }

    /// Checks every provider at start, again those that are out, and those that tell rate and
    /// quota as often as they like to be asked. A failed check never stops anything.
    async fn watch_providers(self: Arc<Self>, shutdown: CancellationToken) {
        let mut checked_at: Vec<(ProviderName, Timestamp)> = Vec::new();
        let mut last_policy = self.policy.load_full();
        loop {
            let policy = self.policy.load_full();
            let now = self.clock.now();
            if !Arc::ptr_eq(&policy, &last_policy) {
                // New credentials may be the good ones, and so may those of a provider that is out.
                checked_at.retain(|(name, _)| {
                    let before = last_policy.providers.get(name);
                    let is_same = before.is_some_and(|own| self.is_in_force(name, &own.provider));
                    is_same && self.registry.check_at(name).is_none()
                });
                self.registry.check_all(now);
                last_policy = Arc::clone(&policy);
            }
            let mut checks = JoinSet::new();
            for (name, entry) in &policy.providers {
                let check_at = self.registry.check_at(name);
                let last = checked_at
                    .iter()
                    .find(|(known, _)| known == name)
                    .map(|(_, at)| *at);
                if is_check_due(entry, check_at, last, now) {
                    checked_at.retain(|(known, _)| known != name);
                    checked_at.push((name.clone(), now));
                    let (engine, name, entry) = (Arc::clone(&self), name.clone(), entry.clone());
                    checks.spawn(async move { engine.check_provider(&name, &entry).await });
                }
            }
            tokio::select! {
                () = async { while checks.join_next().await.is_some() {} } => {}
                () = shutdown.cancelled() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    async fn check_provider(&self, name: &ProviderName, entry: &ProviderEntry) {
        let started_at = self.clock.now();
        let checked = tokio::time::timeout(CHECK_MAX, entry.provider.check()).await;
        let times = (started_at, self.clock.now());
        if !self.is_in_force(name, &entry.provider) {
            return;
        }
        match checked {
            Ok(Ok(account)) => {
                if let Some(relapses) = self.registry.provider_is_well(name, times) {
                    tracing::info!(provider = %name, note = account.note, relapses, "provider is in again");
                    self.wake_all();
                }
                self.learn(name, account).await;
            }
            Ok(Err(error)) if error.verdict == Verdict::ProviderUnusable => {
                let reason = error.reply.without_local_parts();
                let begins = self.registry.provider_is_out(name, reason.clone(), times);
                if begins {
                    tracing::error!(alert = "provider_out", provider = %name, reason, "provider failed its check and is out");
                    self.metrics
                        .alerts
                        .with_label_values(&["provider_out", name.as_str()])
                        .inc();
                }
            }
            // It may be a passing fault: sends and the breaker will tell.
            Ok(Err(error)) => {
                tracing::warn!(provider = %name, reply = error.reply.without_local_parts(), "provider could not be checked");
            }
            Err(_) => tracing::warn!(provider = %name, "provider did not answer its check"),
        }
    }

    /// Keeps what the service says of our account, beside what we know to have sent by it; the
    /// limiters follow if it says something new.
    async fn learn(&self, name: &ProviderName, account: Account) {
        tracing::debug!(provider = %name, note = account.note, "checked provider");
        let now = self.clock.now();
        let day_ago = now.checked_sub(DAY).unwrap_or(Timestamp::MIN);
        let own = match account.sent_last_day {
            Some(_) => self.shared.quota_used(name.as_str(), day_ago).await,
            None => Ok(0),
        };
        let learned = match own {
            Ok(own) => Learned::new(account, own),
            Err(error) => {
                tracing::warn!(provider = %name, %error, "could not compare the service's count with ours");
                return;
            }
        };
        if learned.foreign_per_day > 0 {
            tracing::info!(provider = %name, foreign = learned.foreign_per_day, "another program sends by this account, too");
        }
        let known = lock(&self.learned).insert(name.clone(), learned.clone());
        if !known.unwrap_or_default().allows_as(&learned) {
            self.rebuild_limiters();
        }
    }
}

#[derive(Clone, Copy)]
enum Chore {
    Measure,
    Forecast,
    Follow,
    Guard,
    Tidy,
}

const MEASURED: [State; 6] = [
    State::Queued,
    State::Scheduled,
    State::Deferred,
    State::Held,
    State::Unknown,
    State::Quarantined,
];

const BREAKER_WORDS: [&str; 4] = ["closed", "open", "half_open", "ramp"];

fn is_check_due(
    entry: &ProviderEntry,
    check_at: Option<Timestamp>,
    last: Option<Timestamp>,
    now: Timestamp,
) -> bool {
    let Some(last) = last else { return true };
    let age = now.duration_since(last).unsigned_abs();
    let poll = entry.provider.account_poll_every();
    let has_rested = check_at.is_some_and(|at| now >= at);
    (has_rested && age >= RECHECK_EVERY) || poll.is_some_and(|every| age >= every)
}
