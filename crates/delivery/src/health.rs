//! What the engine knows of its targets: breakers, throttles, spent quotas, providers that refuse
//! us, and the operator's switches. Gives the router one consistent picture.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use malote_core::clock::later;
use malote_core::name::{MailboxProvider, ProviderName, StreamName, TargetName};
use malote_core::provider::{SendError, Verdict};
use malote_core::stream::OnThrottle;
use malote_router::{Exclusion, Health};
use malote_store::{BreakerRecord, Shared, StoreError, Switch};

use crate::alert::Alert;
use crate::breaker::{Breaker, Ended, Pass, Signal};
use crate::step::throttle_wait;
use follow::target_key;
use kept::kept;
use outage::Outage;
use signal::signal_of;

pub(crate) use told::signal_of_event;

mod follow;
mod kept;
mod outage;
mod signal;
mod told;

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
    /// The same by what services tell later. Apart, since there a call that is taken says nothing.
    told: HashMap<(TargetName, MailboxProvider), Breaker>,
    throttled: HashMap<TargetName, Timestamp>,
    parked: HashMap<TargetName, Timestamp>,
    outages: HashMap<ProviderName, Outage>,
    pools_out: HashMap<TargetName, (String, Timestamp)>,
    senders_out: HashMap<(TargetName, String), Timestamp>,
    switches: BTreeSet<Switch>,
    /// How often a switch was set or cleared here.
    switch_changes: u64,
    /// Breakers whose state changed and is not kept yet, by key.
    unkept: BTreeMap<String, Option<String>>,
    /// The last change of a breaker that another node made, by key.
    followed: HashMap<String, i64>,
    /// The picture of the last change, and until when it holds.
    picture: Option<(Arc<Health>, Timestamp)>,
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
    /// When it began.
    pub started_at: Timestamp,
    /// Chance, 0.0 to 1.0, for the jitter of what it asks us to wait.
    pub chance: f64,
}

/// A call as a whole, as far as its target is concerned.
#[derive(Clone, Copy)]
pub(crate) struct WholeCall<'a> {
    pub(crate) target: &'a TargetName,
    pub(crate) probe: Option<&'a Probe<'a>>,
    pub(crate) started_at: Timestamp,
    pub(crate) ended_at: Timestamp,
}

/// The right to the one call that a resting target gets. A probe that ends without a word of the
/// target (no place free, a spent quota, a pause) makes room for another.
pub(crate) struct Probe<'a> {
    registry: &'a Registry,
    target: TargetName,
    taken_at: Timestamp,
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        let mut inner = self.registry.lock();
        if let Some(breaker) = inner.breakers.get_mut(&self.target) {
            breaker.give_back_probe(self.taken_at);
            inner.picture = None;
        }
    }
}

impl Registry {
    /// Takes over what an earlier process knew.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn restore(&self, shared: &dyn Shared, now: Timestamp) -> Result<(), StoreError> {
        let breakers = shared.breakers().await?;
        let switches = shared.switches().await?;
        let mut inner = self.lock();
        for BreakerRecord { key, state } in breakers {
            inner.adopt(&key, Some(&state), now);
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
        let (health, holds_until) = inner.draw(now, true);
        let picture = Arc::new(health);
        inner.picture = Some((Arc::clone(&picture), holds_until));
        picture
    }

    /// The picture for a stream: one that waits for throttled targets plans as if they were not,
    /// and does not go elsewhere meanwhile.
    pub(crate) fn picture_for(&self, on_throttle: OnThrottle, now: Timestamp) -> Arc<Health> {
        let mut inner = self.lock();
        let is_throttled = inner.throttled.values().any(|until| *until > now);
        match on_throttle {
            OnThrottle::Wait if is_throttled => Arc::new(inner.draw(now, false).0),
            OnThrottle::Wait | OnThrottle::Next => {
                drop(inner);
                self.picture(now)
            }
        }
    }

    /// Until when a target is throttled.
    pub(crate) fn throttled_until(&self, target: &TargetName, now: Timestamp) -> Option<Timestamp> {
        let until = self.lock().throttled.get(target).copied();
        until.filter(|until| *until > now)
    }

    /// Takes a pass of the target's breaker for one call of at most `call_max`; held until the call
    /// has said something. `Err` is when to come back.
    pub(crate) fn pass(
        &self,
        target: &TargetName,
        now: Timestamp,
        call_max: Duration,
    ) -> Result<Option<Probe<'_>>, Timestamp> {
        let mut inner = self.lock();
        let Some(breaker) = inner.breakers.get_mut(target) else {
            return Ok(None);
        };
        let was_at_rest = breaker.is_at_rest();
        let pass = breaker.pass(now, call_max);
        if !was_at_rest {
            inner.picture = None;
        }
        match pass {
            Pass::Yes => Ok(None),
            Pass::Probe => Ok(Some(Probe {
                registry: self,
                target: target.clone(),
                taken_at: now,
            })),
            Pass::NotUntil(until) => Err(until),
        }
    }

    /// Takes in what a whole call says of its target, by its result for each recipient: a call to
    /// many is one call. Returns what a human should see.
    pub(crate) fn call_ended<'e>(
        &self,
        call: &WholeCall<'_>,
        results: impl Iterator<Item = Option<&'e SendError>>,
    ) -> Option<Alert> {
        let ended = Ended {
            signal: signal_of(results.map(|error| error.map(|e| &e.verdict)))?,
            started_at: call.started_at,
            is_probe: call.probe.is_some(),
        };
        let has_opened = self.lock().signal(call.target, &ended, call.ended_at);
        has_opened.then_some(Alert::BreakerOpened)
    }

    /// Takes in what the outcome for one recipient says of account, pool, sender and mailbox
    /// provider. Returns what a human should see.
    pub fn record(
        &self,
        call: &Call<'_>,
        error: Option<&SendError>,
        now: Timestamp,
    ) -> Option<Alert> {
        let mut inner = self.lock();
        match error {
            None => {
                inner.provider_took(&call.target.provider, call.started_at);
                inner.delivered_to(call, now);
                None
            }
            Some(error) => inner.take_in(call, error, now),
        }
    }

    /// The breakers whose state changed since this was last asked, as the store keeps them; `None`
    /// is one at rest.
    #[must_use]
    pub fn take_unkept(&self) -> BTreeMap<String, Option<String>> {
        std::mem::take(&mut self.lock().unkept)
    }

    /// Ends the rests that limits of another configuration caused.
    pub(crate) fn unpark_all(&self) {
        let mut inner = self.lock();
        inner.parked.clear();
        inner.picture = None;
    }

    /// A quota or warm-up of ours is used up until then.
    pub fn park(&self, target: &TargetName, until: Timestamp) {
        let mut inner = self.lock();
        inner.parked.insert(target.clone(), until);
        inner.picture = None;
    }

    /// Sets or clears a switch here; the caller has made it durable.
    pub fn set_switch(&self, switch: Switch, is_on: bool) {
        let mut inner = self.lock();
        if is_on {
            inner.switches.insert(switch);
        } else {
            inner.switches.remove(&switch);
        }
        inner.switch_changes += 1;
        inner.picture = None;
    }

    /// How often a switch was set or cleared here: what [`Registry::follow_switches`] is told.
    pub(crate) fn switch_changes(&self) -> u64 {
        self.lock().switch_changes
    }

    /// Takes over the switches that the store holds, unless one was changed here since it was
    /// asked. Answers whether anything is different now.
    pub(crate) fn follow_switches(&self, known: u64, switches: Vec<Switch>) -> bool {
        let switches: BTreeSet<Switch> = switches.into_iter().collect();
        let mut inner = self.lock();
        if inner.switch_changes != known || inner.switches == switches {
            return false;
        }
        inner.switches = switches;
        inner.picture = None;
        true
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

    /// Whether the target's breaker lets nothing but a probe through.
    pub(crate) fn rests(&self, target: &TargetName) -> bool {
        let inner = self.lock();
        inner.breakers.get(target).is_some_and(Breaker::rests)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn signal(&mut self, target: &TargetName, ended: &Ended, now: Timestamp) -> bool {
        if ended.signal == Signal::Works && !self.breakers.contains_key(target) {
            return false;
        }
        let breaker = self.breakers.entry(target.clone()).or_default();
        let word = breaker.word();
        let has_opened = breaker.record(ended, now);
        if breaker.word() != word {
            self.unkept.insert(target_key(target), kept(breaker));
        }
        if has_opened || !breaker.is_at_rest() || word != breaker.word() {
            self.picture = None;
        }
        has_opened
    }

    /// What a mailbox provider thinks of a target.
    fn reputation(&mut self, call: &Call<'_>, signal: Signal, now: Timestamp) {
        let key = (call.target.clone(), call.mailbox_provider.clone());
        let breaker = self.reputations.entry(key).or_default();
        let word = breaker.word();
        let ended = Ended {
            signal,
            started_at: call.started_at,
            is_probe: false,
        };
        breaker.record_unasked(&ended, now);
        if breaker.word() != word {
            let key = format!("reputation:{}:{}", call.target, call.mailbox_provider);
            self.unkept.insert(key, kept(breaker));
        }
        self.picture = None;
    }

    /// A mailbox provider that takes our mail again closes its breaker.
    fn delivered_to(&mut self, call: &Call<'_>, now: Timestamp) {
        if self.reputations.is_empty() {
            return;
        }
        let key = (call.target.clone(), call.mailbox_provider.clone());
        if self.reputations.contains_key(&key) {
            self.reputation(call, Signal::Works, now);
        }
    }

    fn take_in(&mut self, call: &Call<'_>, error: &SendError, now: Timestamp) -> Option<Alert> {
        let target = call.target.clone();
        let reason = || error.reply.without_local_parts();
        let is_news = match &error.verdict {
            Verdict::Throttled { after } => {
                at_least(
                    &mut self.throttled,
                    target,
                    later(now, throttle_wait(*after, call.chance)),
                );
                None
            }
            Verdict::QuotaSpent { until } => {
                let until = until.unwrap_or_else(|| later(now, QUOTA_REST));
                at_least(&mut self.parked, target, until);
                None
            }
            Verdict::ProviderUnusable => {
                let times = (call.started_at, now);
                let begins = self.provider_refused(target.provider, reason(), times);
                begins.then_some(Alert::ProviderOut)
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
                self.reputation(call, Signal::Fails, now);
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

    fn draw(&mut self, now: Timestamp, heeds_throttles: bool) -> (Health, Timestamp) {
        self.throttled.retain(|_, until| *until > now);
        self.parked.retain(|_, until| *until > now);
        self.pools_out.retain(|_, (_, until)| *until > now);
        self.senders_out.retain(|_, until| *until > now);
        let mut health = Health::new();
        // A picture is never trusted for longer than this, whatever has an end.
        let mut holds_until = later(now, Duration::from_secs(1));
        let mut holds = |until: Timestamp| holds_until = holds_until.min(until);
        for (provider, outage) in &self.outages {
            if let Some(reason) = outage.why_out() {
                let reason = reason.to_owned();
                health.exclude_provider(provider.clone(), Exclusion::ProviderOut { reason });
            }
        }
        for switch in &self.switches {
            match switch {
                Switch::StreamPaused(stream) => health.pause_stream(stream.clone()),
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
        for (target, until) in self.throttled.iter().filter(|_| heeds_throttles) {
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
        for ((target, mailbox_provider), breaker) in self.reputations.iter().chain(&self.told) {
            if let Pass::NotUntil(until) = breaker.peek(now) {
                holds(until);
                let why = Exclusion::ReputationOpen { until };
                health.exclude_mailbox_provider(target.clone(), mailbox_provider.clone(), why);
            }
        }
        (health, holds_until)
    }
}

/// Rests a target until then, if it does not rest longer: answers of parallel calls come in any
/// order, and not each says for how long.
fn at_least(rests: &mut HashMap<TargetName, Timestamp>, target: TargetName, until: Timestamp) {
    let known = rests.entry(target).or_insert(until);
    *known = until.max(*known);
}

#[cfg(test)]
mod flapping;
#[cfg(test)]
mod tests;
