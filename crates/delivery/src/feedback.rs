//! Providers' events and their consequences: the timeline, suppression within its scope, and word
//! to the sender. All durable before the provider is told 2xx.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use malote_core::event::{Blame, EventKind, ProviderEvent, State};
use malote_core::name::{CredentialName, MailboxProvider, ProviderName, StreamName};
use malote_core::provider::Reply;
use malote_core::stream::Class;
use malote_core::suppression::source_of;
use malote_core::webhook::{EventSink, SinkUnavailable, Webhook};
use malote_store::{Applied, Leased, StoreError, Suppression, SuppressionReason, SuppressionScope};

use crate::breaker::Signal;
use crate::engine::Engine;
use crate::health::{signal_of_event, target_of};
use crate::metrics::COMPLAINT;
use crate::notice::Failure;
use crate::policy::Policy;

/// How long an event that came before its settlement is kept waiting; the strictest service wants
/// an answer within 5 s.
pub(crate) const EARLY_WAIT: Duration = Duration::from_secs(1);

/// What an event asks for besides its place on the timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Consequence {
    None,
    Suppress {
        scopes: Vec<SuppressionScope>,
        reason: SuppressionReason,
    },
    /// Lift what an unsubscribe stopped.
    Lift(Vec<SuppressionScope>),
    CountSoftBounce,
}

#[async_trait]
impl EventSink for Engine {
    async fn apply(
        &self,
        provider: &ProviderName,
        webhook: Webhook,
    ) -> Result<(), SinkUnavailable> {
        let now = self.clock.now();
        self.apply_webhook(provider, webhook, now)
            .await
            .map_err(|error| {
                tracing::error!(%provider, %error, "could not store a provider's events");
                SinkUnavailable
            })
    }
}

impl Engine {
    /// Says of each provider when it last told something, as an earlier process or another node
    /// has heard it.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(crate) async fn recall_last_told(&self) -> Result<(), StoreError> {
        let policy = self.policy.load();
        for (provider, at) in self.spool.last_told().await? {
            // A name that is configured no more is no label.
            if policy.providers.contains_key(&provider) {
                let last = self
                    .metrics
                    .last_event
                    .with_label_values(&[provider.as_str()]);
                last.set(at.as_second());
            }
        }
        Ok(())
    }

    pub(crate) async fn apply_webhook(
        &self,
        provider: &ProviderName,
        webhook: Webhook,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if !webhook.unreadable.is_empty() {
            tracing::warn!(%provider, parts = webhook.unreadable.len(), "set unreadable events aside");
            self.spool
                .keep_unreadable(provider, webhook.unreadable, now)
                .await?;
        }
        if webhook.events.is_empty() {
            return Ok(());
        }
        let applied = self.apply_each(provider, &webhook.events, now).await?;
        self.metrics
            .last_event
            .with_label_values(&[provider.as_str()])
            .set(now.as_second());
        self.ring_outlets();
        let policy = self.policy.load_full();
        for (event, applied) in webhook.events.iter().zip(applied) {
            match applied {
                Some(Applied { delivery, is_new }) => {
                    self.follow(
                        &policy,
                        &Told {
                            provider,
                            event,
                            delivery: &delivery,
                            is_new,
                            now,
                        },
                    )
                    .await?;
                }
                None => self
                    .metrics
                    .unmatched
                    .with_label_values(&[provider.as_str()])
                    .inc(),
            }
        }
        Ok(())
    }

    /// Applies events; those that carry our own id and match nothing once more after a moment: a
    /// webhook can be faster than the settlement of the call that caused it.
    async fn apply_each(
        &self,
        provider: &ProviderName,
        events: &[ProviderEvent],
        now: Timestamp,
    ) -> Result<Vec<Option<Applied>>, StoreError> {
        let mut applied = self
            .spool
            .apply_events(provider, events.to_vec(), now)
            .await?;
        let is_early = |(event, found): &(&ProviderEvent, &Option<Applied>)| {
            event.delivery.is_some() && found.is_none()
        };
        let early: Vec<ProviderEvent> = events
            .iter()
            .zip(&applied)
            .filter(is_early)
            .map(|(event, _)| event.clone())
            .collect();
        if early.is_empty() {
            return Ok(applied);
        }
        tokio::time::sleep(EARLY_WAIT).await;
        let mut again = self
            .spool
            .apply_events(provider, early, now)
            .await?
            .into_iter();
        for (event, found) in events.iter().zip(&mut applied) {
            if event.delivery.is_some() && found.is_none() {
                *found = again.next().flatten();
            }
        }
        Ok(applied)
    }

    /// The consequences of one event. A repeated event has them again: each may be repeated.
    async fn follow(&self, policy: &Policy, told: &Told<'_>) -> Result<(), StoreError> {
        let Told {
            provider,
            event,
            delivery,
            now,
            ..
        } = *told;
        match consequence(policy, event, &delivery.stream) {
            Consequence::None => {}
            Consequence::Suppress { scopes, reason } => {
                if reason == SuppressionReason::Complaint && is_transactional(policy, delivery) {
                    tracing::error!(%provider, stream = %delivery.stream, "a complaint about transactional mail");
                    self.metrics
                        .alerts
                        .with_label_values(&[COMPLAINT, provider.as_str()])
                        .inc();
                }
                let owner = self.owner_of(delivery).await?;
                let entry = |scope| Suppression {
                    credential: owner.clone(),
                    ..told.suppression(scope, reason, event.detail.clone())
                };
                self.silence(scopes.into_iter().map(entry).collect(), now)
                    .await?;
            }
            Consequence::Lift(scopes) => self.lift(&delivery.recipient, &scopes).await?,
            Consequence::CountSoftBounce => self.count_soft_bounce(policy, told).await?,
        }
        self.count_event(told).await?;
        self.count_told(policy, told).await?;
        self.heed_reputation(told).await?;
        if event.kind == EventKind::Bounced
            && event.blame == Some(Blame::Content)
            && let Some(record) = self.spool.message(delivery.id.message).await?
        {
            self.warn_of_content(&record, now);
        }
        let was_open = matches!(
            delivery.state,
            State::Sent | State::Unknown | State::Delivered
        );
        if event.kind == EventKind::Bounced && was_open {
            self.tell_sender(policy, told).await?;
        }
        Ok(())
    }

    /// Whose mail it is.
    async fn owner_of(&self, delivery: &Leased) -> Result<Option<CredentialName>, StoreError> {
        let record = self.spool.message(delivery.id.message).await?;
        Ok(record.map(|record| record.credential))
    }

    pub(crate) async fn silence(
        &self,
        entries: Vec<Suppression>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut fresh = Vec::with_capacity(entries.len());
        for entry in &entries {
            self.quiet.add_entry(entry, now);
            // Services repeat themselves, and complain of who is suppressed already.
            let address = entry.address.known().map(std::slice::from_ref);
            let scope = std::slice::from_ref(&entry.scope);
            let known = self
                .shared
                .suppressed(address.unwrap_or_default(), scope, now);
            if known.await?.iter().all(Option::is_none) {
                fresh.push(entry.clone());
            }
        }
        self.shared.suppress(entries).await?;
        self.metrics.suppress(&fresh);
        Ok(())
    }

    async fn count_soft_bounce(&self, policy: &Policy, told: &Told<'_>) -> Result<(), StoreError> {
        let bounds = &policy.bounds;
        let since = told
            .now
            .checked_sub(bounds.soft_bounce_window)
            .unwrap_or(Timestamp::MIN);
        let address = &told.delivery.recipient;
        let count = self
            .shared
            .count_soft_bounce(address, told.event.at, since)
            .await?;
        if count < bounds.soft_bounces_max {
            return Ok(());
        }
        let detail = format!("mailbox full {count} times: {}", told.event.detail);
        let entry = told.suppression(
            SuppressionScope::Global,
            SuppressionReason::MailboxFull,
            detail,
        );
        let expires_at = told.now.checked_add(bounds.soft_bounce_suppression).ok();
        let credential = self.owner_of(told.delivery).await?;
        self.silence(
            vec![Suppression {
                credential,
                expires_at,
                ..entry
            }],
            told.now,
        )
        .await
    }

    /// A block counts against the target at that mailbox provider, a delivery for it.
    async fn heed_reputation(&self, told: &Told<'_>) -> Result<(), StoreError> {
        let signal = signal_of_event(told.event);
        let (Some(signal), Some(mailbox)) = (signal, &told.delivery.mailbox_provider) else {
            return Ok(());
        };
        if signal == Signal::Works && !self.registry.is_doubted(told.provider, mailbox) {
            return Ok(());
        }
        let id = told.delivery.id;
        let view = self.spool.view(id.message).await?;
        if let Some(target) = view.and_then(|view| target_of(&view, id, told.provider)) {
            self.registry.told(&target, mailbox, signal, told.now);
        }
        Ok(())
    }

    async fn count_event(&self, told: &Told<'_>) -> Result<(), StoreError> {
        let Told {
            provider,
            event,
            delivery,
            now,
            ..
        } = *told;
        let kind = event.kind.label();
        let mailbox = delivery
            .mailbox_provider
            .as_ref()
            .map_or("other", MailboxProvider::as_str);
        self.metrics
            .events
            .with_label_values(&[delivery.stream.as_str(), provider.as_str(), kind, mailbox])
            .inc();
        self.metrics.tell(provider, &delivery.stream, event, now);
        if event.kind == EventKind::Delivered
            && let Some(record) = self.spool.message(delivery.id.message).await?
        {
            let at = event
                .at
                .clamp(record.accepted_at, now.max(record.accepted_at));
            let took = at.duration_since(record.accepted_at).as_secs_f64();
            self.metrics
                .to_delivered
                .with_label_values(&[delivery.stream.as_str(), provider.as_str(), mailbox])
                .observe(took);
        }
        Ok(())
    }

    /// A bounce after acceptance is a final failure like any other.
    async fn tell_sender(&self, policy: &Policy, told: &Told<'_>) -> Result<(), StoreError> {
        let id = told.delivery.id.message;
        let Some(record) = self.spool.message(id).await? else {
            return Ok(());
        };
        let body = self.spool.body(id).await?.unwrap_or_default();
        let reply = Reply::none(&told.event.detail);
        let failure = Failure {
            record: &record,
            body: &body,
            delivery: told.delivery,
            state: State::Bounced,
            reply: Some(&reply),
        };
        self.notify_failure(policy, &failure, told.now).await
    }
}

/// One event of a provider and the delivery it belongs to.
#[derive(Clone, Copy)]
pub(crate) struct Told<'a> {
    provider: &'a ProviderName,
    pub(crate) event: &'a ProviderEvent,
    pub(crate) delivery: &'a Leased,
    /// Whether it was told for the first time.
    pub(crate) is_new: bool,
    now: Timestamp,
}

impl Told<'_> {
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
            credential: None,
            created_at: self.now,
            expires_at: None,
        }
    }
}

fn is_transactional(policy: &Policy, delivery: &Leased) -> bool {
    let stream = policy.streams.get(&delivery.stream);
    stream.is_some_and(|stream| stream.class == Class::Transactional)
}

/// What an event asks for. Among bounces only the recipient's own fault suppresses at once; an
/// unsubscribe or complaint reaches the campaign stream it came from, and from anywhere else every
/// campaign stream; transactional mail is stopped by neither.
fn consequence(policy: &Policy, event: &ProviderEvent, stream: &StreamName) -> Consequence {
    match (&event.kind, event.blame) {
        (EventKind::Bounced, Some(Blame::Recipient)) => Consequence::Suppress {
            scopes: vec![SuppressionScope::Global],
            reason: SuppressionReason::HardBounce,
        },
        (EventKind::Bounced, Some(Blame::MailboxFull)) => Consequence::CountSoftBounce,
        (EventKind::Complained, _) => Consequence::Suppress {
            scopes: campaign_scopes(policy, stream),
            reason: SuppressionReason::Complaint,
        },
        (EventKind::Unsubscribed, _) => Consequence::Suppress {
            scopes: campaign_scopes(policy, stream),
            reason: SuppressionReason::Unsubscribe,
        },
        (EventKind::Resubscribed, _) => Consequence::Lift(campaign_scopes(policy, stream)),
        (
            EventKind::Bounced
            | EventKind::Accepted
            | EventKind::Sent
            | EventKind::Delivered
            | EventKind::Deferred
            | EventKind::FailedOver
            | EventKind::Opened
            | EventKind::Clicked
            | EventKind::Suppressed
            | EventKind::Rejected
            | EventKind::Held
            | EventKind::Released
            | EventKind::Expired
            | EventKind::Cancelled
            | EventKind::Unknown
            | EventKind::ResendRisk
            | EventKind::Quarantined
            | EventKind::Other(_),
            _,
        ) => Consequence::None,
    }
}

pub(crate) fn campaign_scopes(policy: &Policy, stream: &StreamName) -> Vec<SuppressionScope> {
    let is_campaign = |name: &StreamName| {
        policy
            .streams
            .get(name)
            .is_some_and(|s| s.class == Class::Campaign)
    };
    if is_campaign(stream) {
        return vec![SuppressionScope::Stream(stream.clone())];
    }
    let campaigns = policy.streams.keys().filter(|name| is_campaign(name));
    campaigns.cloned().map(SuppressionScope::Stream).collect()
}
