//! What the engine knows of its targets: breakers, throttles, spent quotas, providers that refuse
//! us, and the operator's switches. Gives the router one consistent picture.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use malote_core::name::{MailboxProvider, ProviderName, StreamName, TargetName};
use malote_core::provider::{SendError, Verdict};
use malote_router::{Exclusion, Health};
use malote_store::{BreakerRecord, Shared, StoreError, Switch};

use crate::breaker::{Breaker, Pass, Signal};
use crate::step::THROTTLE_DEFAULT;

/// How long a pool or a sender domain that a service does not know is left alone.
const MISSING_FOR: Duration = Duration::from_secs(300);
/// How long a provider that spent its quota rests, if it does not say.
const QUOTA_REST: Duration = Duration::from_secs(3600);
/// Sender domains and mailbox providers remembered at most; the oldest memory ends first anyway.
const MEMORY_MAX: usize = 10_000;

/// The registry. All methods are short and never wait.
#[derive(Default)]
pub struct Registry {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    breakers: HashMap<TargetName, Breaker>,
    reputations: HashMap<(TargetName, MailboxProvider), Breaker>,
    throttled: HashMap<TargetName, Timestamp>,
    parked: HashMap<TargetName, Timestamp>,
    providers_out: HashMap<ProviderName, String>,
    pools_out: HashMap<TargetName, (String, Timestamp)>,
    senders_out: HashMap<(TargetName, String), Timestamp>,
    switches: BTreeSet<Switch>,
    /// The picture of the last change, and until when it holds.
    picture: Option<(Arc<Health>, Timestamp)>,
}

/// Something that a human should see: told once when it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alert {
    /// A breaker opened.
    BreakerOpened,
    /// The provider refuses us until it is checked.
    ProviderOut,
    /// The provider does not know the pool.
    PoolOut,
    /// The provider does not accept a sender domain.
    SenderOut,
    /// The account may not mail a recipient (a sandbox).
    NotPermitted,
}

impl Alert {
    /// The word for logs and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::BreakerOpened => "breaker_opened",
            Self::ProviderOut => "provider_out",
            Self::PoolOut => "pool_out",
            Self::SenderOut => "sender_out",
            Self::NotPermitted => "not_permitted",
        }
    }
}

/// Whom an attempt was for, as far as health is concerned.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The target called.
    pub target: &'a TargetName,
    /// The domain in From.
    pub sender_domain: &'a str,
    /// Who runs the mailbox.
    pub mailbox_provider: &'a MailboxProvider,
}

impl Registry {
    /// Takes over what an earlier process knew.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn restore(&self, shared: &dyn Shared) -> Result<(), StoreError> {
        let breakers = shared.breakers().await?;
        let switches = shared.switches().await?;
        let mut inner = self.lock();
        for record in breakers {
            inner.restore_breaker(&record);
        }
        inner.switches = switches.into_iter().collect();
        Ok(())
    }

    /// The picture for the router: what is out, and until when.
    #[must_use]
    pub fn picture(&self, now: Timestamp) -> Arc<Health> {
        let mut inner = self.lock();
        if let Some((picture, holds_until)) = &inner.picture
            && now < *holds_until
        {
            return Arc::clone(picture);
        }
        let (health, holds_until) = inner.draw(now);
        let picture = Arc::new(health);
        inner.picture = Some((Arc::clone(&picture), holds_until));
        picture
    }

    /// Takes a pass of the target's breaker for one call of at most `call_max`.
    #[must_use]
    pub fn pass(&self, target: &TargetName, now: Timestamp, call_max: Duration) -> Pass {
        let mut inner = self.lock();
        let Some(breaker) = inner.breakers.get_mut(target) else {
            return Pass::Yes;
        };
        let was_at_rest = breaker.is_at_rest();
        let pass = breaker.pass(now, call_max);
        if !was_at_rest {
            inner.picture = None;
        }
        pass
    }

    /// Takes in the outcome of a call to one recipient. Returns what a human should see.
    pub fn record(
        &self,
        call: &Call<'_>,
        error: Option<&SendError>,
        now: Timestamp,
    ) -> Option<Alert> {
        let mut inner = self.lock();
        let signal = match error.map(|e| &e.verdict) {
            Some(Verdict::Transient | Verdict::Unknown) => Some(Signal::Fails),
            Some(
                Verdict::QuotaSpent { .. }
                | Verdict::ProviderUnusable
                | Verdict::PoolUnusable
                | Verdict::SenderUnusable,
            ) => None,
            None
            | Some(
                Verdict::Throttled { .. }
                | Verdict::Deferred
                | Verdict::Ungroup
                | Verdict::Suppressed
                | Verdict::Rejected(_),
            ) => Some(Signal::Works),
        };
        let has_opened = signal.is_some_and(|signal| inner.signal(call.target, signal, now));
        if has_opened {
            return Some(Alert::BreakerOpened);
        }
        if error.is_none() {
            inner.delivered_to(call, now);
        }
        error.and_then(|error| inner.take_in(call, error, now))
    }

    /// A quota or warm-up of ours is used up until then.
    pub fn park(&self, target: &TargetName, until: Timestamp) {
        let mut inner = self.lock();
        inner.parked.insert(target.clone(), until);
        inner.picture = None;
    }

    /// A check of the provider went well: it is in again.
    pub fn provider_is_well(&self, provider: &ProviderName) -> bool {
        let mut inner = self.lock();
        inner.picture = None;
        inner.providers_out.remove(provider).is_some()
    }

    /// A check of the provider failed for good: it is out. Returns whether that is news.
    pub fn provider_is_out(&self, provider: &ProviderName, reason: &str) -> bool {
        let mut inner = self.lock();
        inner.picture = None;
        inner
            .providers_out
            .insert(provider.clone(), reason.to_owned())
            .is_none()
    }

    /// The providers that are out, with the reason.
    #[must_use]
    pub fn providers_out(&self) -> Vec<(ProviderName, String)> {
        let inner = self.lock();
        inner
            .providers_out
            .iter()
            .map(|(name, why)| (name.clone(), why.clone()))
            .collect()
    }

    /// Sets or clears a switch here; the caller has made it durable.
    pub fn set_switch(&self, switch: Switch, is_on: bool) {
        let mut inner = self.lock();
        if is_on {
            inner.switches.insert(switch);
        } else {
            inner.switches.remove(&switch);
        }
        inner.picture = None;
    }

    /// The switches that are on.
    #[must_use]
    pub fn switches(&self) -> Vec<Switch> {
        self.lock().switches.iter().cloned().collect()
    }

    /// Whether a stream is paused.
    #[must_use]
    pub fn is_paused(&self, stream: &StreamName) -> bool {
        self.lock()
            .switches
            .contains(&Switch::StreamPaused(stream.clone()))
    }

    /// The word of a target's breaker.
    #[must_use]
    pub fn breaker_word(&self, target: &TargetName) -> &'static str {
        self.lock()
            .breakers
            .get(target)
            .map_or("closed", Breaker::word)
    }

    /// A target's breaker as the store keeps it; `None` if it is at rest.
    #[must_use]
    pub fn breaker_record(&self, target: &TargetName) -> (String, Option<String>) {
        let inner = self.lock();
        let breaker = inner
            .breakers
            .get(target)
            .filter(|breaker| !breaker.is_at_rest());
        (
            format!("target:{target}"),
            breaker.and_then(|b| serde_json::to_string(b).ok()),
        )
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn restore_breaker(&mut self, record: &BreakerRecord) {
        let target = record
            .key
            .strip_prefix("target:")
            .and_then(|key| key.split_once('/'));
        let Some((provider, pool)) = target else {
            return;
        };
        if let (Ok(provider), Ok(pool), Ok(breaker)) = (
            provider.parse(),
            pool.parse(),
            serde_json::from_str(&record.state),
        ) {
            self.breakers.insert(TargetName { provider, pool }, breaker);
        }
    }

    fn signal(&mut self, target: &TargetName, signal: Signal, now: Timestamp) -> bool {
        if signal == Signal::Works && !self.breakers.contains_key(target) {
            return false;
        }
        let breaker = self.breakers.entry(target.clone()).or_default();
        let was_at_rest = breaker.is_at_rest();
        let has_opened = breaker.record(signal, now);
        if !was_at_rest || has_opened {
            self.picture = None;
        }
        has_opened
    }

    /// A mailbox provider that takes our mail again closes its breaker.
    fn delivered_to(&mut self, call: &Call<'_>, now: Timestamp) {
        if self.reputations.is_empty() {
            return;
        }
        let key = (call.target.clone(), call.mailbox_provider.clone());
        if let Some(breaker) = self.reputations.get_mut(&key) {
            breaker.record(Signal::Works, now);
            self.picture = None;
        }
    }

    fn take_in(&mut self, call: &Call<'_>, error: &SendError, now: Timestamp) -> Option<Alert> {
        let target = call.target.clone();
        let reason = || error.reply.to_string();
        let is_news = match &error.verdict {
            Verdict::Throttled { after } => {
                let until = later(now, after.unwrap_or(THROTTLE_DEFAULT));
                self.throttled.insert(target, until);
                None
            }
            Verdict::QuotaSpent { until } => {
                self.parked
                    .insert(target, until.unwrap_or_else(|| later(now, QUOTA_REST)));
                None
            }
            Verdict::ProviderUnusable => {
                let known = self.providers_out.insert(target.provider, reason());
                known.is_none().then_some(Alert::ProviderOut)
            }
            Verdict::PoolUnusable => {
                let known = self
                    .pools_out
                    .insert(target, (reason(), later(now, MISSING_FOR)));
                known.is_none().then_some(Alert::PoolOut)
            }
            Verdict::SenderUnusable => {
                self.forget(now);
                let key = (target, call.sender_domain.to_owned());
                let known = self.senders_out.insert(key, later(now, MISSING_FOR));
                known.is_none().then_some(Alert::SenderOut)
            }
            Verdict::Rejected(malote_core::provider::Fault::Reputation) => {
                self.forget(now);
                let key = (target, call.mailbox_provider.clone());
                self.reputations
                    .entry(key)
                    .or_default()
                    .record(Signal::Fails, now);
                None
            }
            Verdict::Rejected(malote_core::provider::Fault::NotPermitted) => {
                return Some(Alert::NotPermitted);
            }
            Verdict::Transient
            | Verdict::Deferred
            | Verdict::Ungroup
            | Verdict::Suppressed
            | Verdict::Rejected(_)
            | Verdict::Unknown => return None,
        };
        self.picture = None;
        is_news
    }

    /// Ends memories that are over where there are too many, and all if that is not enough.
    fn forget(&mut self, now: Timestamp) {
        if self.senders_out.len() >= MEMORY_MAX {
            self.senders_out.retain(|_, until| *until > now);
        }
        if self.senders_out.len() >= MEMORY_MAX {
            self.senders_out.clear();
        }
        if self.reputations.len() >= MEMORY_MAX {
            self.reputations.retain(|_, breaker| !breaker.is_at_rest());
        }
        if self.reputations.len() >= MEMORY_MAX {
            self.reputations.clear();
        }
    }

    fn draw(&mut self, now: Timestamp) -> (Health, Timestamp) {
        self.throttled.retain(|_, until| *until > now);
        self.parked.retain(|_, until| *until > now);
        self.pools_out.retain(|_, (_, until)| *until > now);
        self.senders_out.retain(|_, until| *until > now);
        let mut health = Health::new();
        // A picture is never trusted for longer than this, whatever has an end.
        let mut holds_until = later(now, Duration::from_secs(1));
        let mut holds = |until: Timestamp| holds_until = holds_until.min(until);
        for (provider, reason) in &self.providers_out {
            let why = Exclusion::ProviderOut {
                reason: reason.clone(),
            };
            health.exclude_provider(provider.clone(), why);
        }
        for switch in &self.switches {
            match switch {
                Switch::StreamPaused(_) => {}
                Switch::ProviderPaused(name) => {
                    health.exclude_provider(name.clone(), Exclusion::Paused)
                }
                Switch::ProviderDrained(name) => {
                    health.exclude_provider(name.clone(), Exclusion::Drained);
                }
            }
        }
        for (target, breaker) in &self.breakers {
            if let Pass::NotUntil(until) = breaker.peek(now) {
                holds(until);
                health.exclude_target(target.clone(), Exclusion::BreakerOpen { until });
            }
        }
        for (target, until) in &self.throttled {
            holds(*until);
            health.exclude_target(target.clone(), Exclusion::Throttled { until: *until });
        }
        for (target, until) in &self.parked {
            holds(*until);
            health.exclude_target(target.clone(), Exclusion::Parked { until: *until });
        }
        for (target, (reason, until)) in &self.pools_out {
            holds(*until);
            let why = Exclusion::PoolOut {
                reason: reason.clone(),
            };
            health.exclude_target(target.clone(), why);
        }
        for ((target, domain), until) in &self.senders_out {
            holds(*until);
            health.exclude_sender(target.clone(), domain, Exclusion::SenderOut);
        }
        for ((target, mailbox_provider), breaker) in &self.reputations {
            if let Pass::NotUntil(until) = breaker.peek(now) {
                holds(until);
                let why = Exclusion::ReputationOpen { until };
                health.exclude_mailbox_provider(target.clone(), mailbox_provider.clone(), why);
            }
        }
        (health, holds_until)
    }
}

fn later(from: Timestamp, by: Duration) -> Timestamp {
    from.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
