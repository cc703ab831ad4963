//! What follows from events, durable before the provider is told 2xx: suppressions within their
//! scope, and word to the sender. All of it may be had again, so a crash loses nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_core::event::{EventKind, State};
use malote_core::name::ProviderName;
use malote_core::provider::Reply;
use malote_core::suppression::source_of;
use malote_store::{
    Return, SoftBounce, StoreError, Suppression, SuppressionReason, SuppressionScope,
};

use crate::engine::Engine;
use crate::feedback::Told;
use crate::feedback::consequence::{Consequence, consequence};
use crate::notice::{Failure, is_notice_wanted};
use crate::policy::Policy;

/// What the events of one webhook ask for.
#[derive(Default)]
struct Due<'a> {
    entries: Vec<Suppression>,
    returns: Vec<Return>,
    soft_bounces: Vec<&'a Told<'a>>,
    /// Of the events that something follows from.
    dedup_keys: Vec<String>,
}

impl<'a> Due<'a> {
    fn of(policy: &Policy, told: &'a [Told<'a>]) -> Self {
        let mut due = Self::default();
        for one in told {
            due.add(policy, one);
        }
        due
    }

    fn add(&mut self, policy: &Policy, told: &'a Told<'a>) {
        let asked = consequence(policy, &told.event, &told.delivery.stream);
        if asked != Consequence::None || told.event.kind == EventKind::Bounced {
            self.dedup_keys.push(told.event.dedup_key.clone());
        }
        match asked {
            Consequence::None => {}
            Consequence::Suppress { scopes, reason } => {
                let detail = &told.event.detail;
                let entry = |scope| told.suppression(scope, reason, detail.clone());
                self.entries.extend(scopes.into_iter().map(entry));
            }
            Consequence::Lift(scopes) => {
                let back = |scope| told.back(scope);
                self.returns.extend(scopes.into_iter().map(back));
            }
            Consequence::CountSoftBounce => self.soft_bounces.push(told),
        }
    }
}

impl Engine {
    /// Has what follows from a provider's events, all of a webhook together, and notes that it
    /// was had.
    pub(super) async fn follow(
        &self,
        policy: &Policy,
        (provider, told): (&ProviderName, &[Told<'_>]),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut due = Due::of(policy, told);
        let full = self.full_mailboxes(policy, &due.soft_bounces, now).await?;
        due.entries.extend(full);
        self.silence(due.entries, now).await?;
        self.lift(due.returns).await?;
        for one in told.iter().filter(|one| is_news_to_the_sender(one)) {
            self.tell_sender(policy, one).await?;
        }
        if due.dedup_keys.is_empty() {
            return Ok(());
        }
        self.spool.followed(provider, due.dedup_keys).await
    }

    /// Suppresses addresses.
    pub(crate) async fn silence(
        &self,
        entries: Vec<Suppression>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let fresh = self.fresh(&entries, now).await?;
        self.shared.suppress(entries).await?;
        self.metrics.suppress(&fresh);
        Ok(())
    }

    /// The entries in whose scope nothing stands yet: services repeat themselves, and complain of
    /// who is suppressed already.
    async fn fresh(
        &self,
        entries: &[Suppression],
        now: Timestamp,
    ) -> Result<Vec<Suppression>, StoreError> {
        let mut by_scope: BTreeMap<_, Vec<(EmailAddress, &Suppression)>> = BTreeMap::new();
        for entry in entries {
            let of_scope = by_scope.entry(&entry.scope).or_default();
            of_scope.extend(entry.address.known().map(|known| (known.clone(), entry)));
        }
        let mut fresh = Vec::with_capacity(entries.len());
        for (scope, of_scope) in by_scope {
            let (addresses, of_scope): (Vec<_>, Vec<_>) = of_scope.into_iter().unzip();
            let scope = std::slice::from_ref(scope);
            let found = self.shared.suppressed(&addresses, scope, now).await?;
            let news = of_scope.into_iter().zip(found);
            let news = news.filter(|(_, found)| found.is_none());
            fresh.extend(news.map(|(entry, _)| entry.clone()));
        }
        Ok(fresh)
    }

    /// Lifts what earlier unsubscribes stopped, and nothing else.
    pub(crate) async fn lift(&self, returns: Vec<Return>) -> Result<(), StoreError> {
        if returns.is_empty() {
            return Ok(());
        }
        self.shared.lift_unsubscribes(returns).await
    }

    /// Counts soft bounces; the entries of those that were too many.
    async fn full_mailboxes(
        &self,
        policy: &Policy,
        told: &[&Told<'_>],
        now: Timestamp,
    ) -> Result<Vec<Suppression>, StoreError> {
        if told.is_empty() {
            return Ok(Vec::new());
        }
        let bounds = &policy.bounds;
        let since = now
            .checked_sub(bounds.soft_bounce_window)
            .unwrap_or(Timestamp::MIN);
        let bounces = told.iter().map(|one| SoftBounce {
            address: one.delivery.recipient.clone(),
            at: one.event.at,
            event: format!("{}/{}", one.provider, one.event.dedup_key),
        });
        let counts = self.shared.count_soft_bounces(bounces.collect(), since);
        let counted = told.iter().zip(counts.await?);
        let full = counted.filter(|(_, count)| *count >= bounds.soft_bounces_max);
        let entry = |(one, count): (&&Told<'_>, u32)| {
            let detail = format!("mailbox full {count} times: {}", one.event.detail);
            let reason = SuppressionReason::MailboxFull;
            Suppression {
                expires_at: now.checked_add(bounds.soft_bounce_suppression).ok(),
                ..one.suppression(SuppressionScope::Global, reason, detail)
            }
        };
        Ok(full.map(entry).collect())
    }

    /// A bounce after acceptance is a final failure like any other.
    async fn tell_sender(&self, policy: &Policy, told: &Told<'_>) -> Result<(), StoreError> {
        if !is_notice_wanted(policy, &told.message, told.delivery.notify) {
            return Ok(());
        }
        let id = told.delivery.id.message;
        let body = self.spool.body(id).await?.unwrap_or_default();
        let reply = Reply::none(&told.event.detail);
        let failure = Failure {
            record: &told.message,
            body: &body,
            delivery: (&told.delivery).into(),
            state: State::Bounced,
            reply: Some(&reply),
        };
        self.notify_failure(policy, &failure, told.now).await
    }
}

/// Whether an event is a bounce of what was taken before or is being taken, and no other provider
/// carries it since. A repeat finds the delivery bounced; who was told of it then is not told again.
fn is_news_to_the_sender(told: &Told<'_>) -> bool {
    let state = told.delivery.state;
    let is_last = told.call.as_ref().is_none_or(|call| call.is_last);
    let was_open = matches!(
        state,
        State::Sending | State::Sent | State::Unknown | State::Delivered
    );
    let was_open = is_last && was_open;
    let may_be_owed = !told.is_new && state == State::Bounced;
    told.event.kind == EventKind::Bounced && (was_open || may_be_owed)
}

impl Told<'_> {
    /// When it happened; a service's clock may be ahead.
    fn at(&self) -> Timestamp {
        self.event.at.min(self.now)
    }

    fn suppression(
        &self,
        scope: SuppressionScope,
        reason: SuppressionReason,
        detail: String,
    ) -> Suppression {
        Suppression {
            address: self.delivery.recipient.clone().into(),
            scope,
            reason,
            detail,
            source: source_of(self.provider),
            provider: Some(self.provider.clone()),
            credential: Some(self.message.credential.clone()),
            created_at: self.at(),
            expires_at: None,
        }
    }

    fn back(&self, scope: SuppressionScope) -> Return {
        Return {
            address: self.delivery.recipient.clone().into(),
            scope,
            at: self.at(),
            source: source_of(self.provider),
        }
    }
}
