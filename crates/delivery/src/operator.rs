//! The operator's hands: switches, the queue, unknown outcomes and explanations.

use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_core::event::State;
use malote_core::id::{DeliveryId, MessageId};
use malote_core::name::{CredentialName, MailboxProvider, StreamName, TargetName};
use malote_router::{
    DeliveryFacts, Draw, Exclusion, ExplainedDelivery, Explanation, Health, MessageFacts,
    PlanFacts, Router, STREAM_HEADER, StreamReason,
};
use malote_store::{QueueFilter, QueueStats, Spool, StoreError, Switch};
use serde::Serialize;

use crate::engine::Engine;
use crate::header::Header;

/// How an operator settles an unknown outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// It was sent.
    Sent,
    /// It was not: send it again.
    Resend,
}

/// A target as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TargetStatus {
    /// The target, `provider/pool`.
    pub target: String,
    /// The adapter.
    pub kind: &'static str,
    /// Whether it takes mail now. A target whose breaker is open does not, also when its probe is due.
    pub is_up: bool,
    /// Why not.
    pub why: Option<String>,
    /// closed, open, half_open or ramp.
    pub breaker: &'static str,
}

/// A message that was never sent, to be explained.
#[derive(Debug, Clone)]
pub struct Hypothesis {
    /// Who would submit it.
    pub credential: CredentialName,
    /// The stream that the API call would ask for.
    pub stream: Option<StreamName>,
    /// The address in From.
    pub from: EmailAddress,
    /// Whom to.
    pub recipients: Vec<EmailAddress>,
    /// Its header fields.
    pub headers: Vec<(String, String)>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its metadata.
    pub metadata: std::collections::BTreeMap<String, String>,
    /// Its size in octets.
    pub size_bytes: u64,
}

impl Engine {
    /// Sets or clears a switch, durably.
    ///
    /// # Errors
    /// If it cannot be written; then nothing changed.
    pub async fn set_switch(&self, switch: Switch, is_on: bool) -> Result<(), StoreError> {
        self.shared.set_switch(switch.clone(), is_on).await?;
        self.registry.set_switch(switch, is_on);
        self.wake_all();
        Ok(())
    }

    /// Sends again now what waits, is held or has failed, as far as its body is still there.
    ///
    /// # Errors
    /// If the change cannot be written.
    pub async fn retry(&self, filter: &QueueFilter) -> Result<Vec<DeliveryId>, StoreError> {
        let now = self.clock.now();
        let moved =
            self.spool
                .move_deliveries(filter, State::Queued, "retried by an operator", now);
        let moved = moved.await?;
        self.wake_all();
        Ok(moved)
    }

    /// Takes back what has not left.
    ///
    /// # Errors
    /// If the change cannot be written.
    pub async fn cancel_all(&self, filter: &QueueFilter) -> Result<Vec<DeliveryId>, StoreError> {
        let now = self.clock.now();
        self.spool
            .move_deliveries(filter, State::Cancelled, "cancelled by an operator", now)
            .await
    }

    /// Holds what has not left until it is released.
    ///
    /// # Errors
    /// If the change cannot be written.
    pub async fn hold(&self, filter: &QueueFilter) -> Result<Vec<DeliveryId>, StoreError> {
        let now = self.clock.now();
        self.spool
            .move_deliveries(filter, State::Held, "held by an operator", now)
            .await
    }

    /// Lets go what is held; whatever else the filter says, only that.
    ///
    /// # Errors
    /// If the change cannot be written.
    pub async fn release(&self, filter: &QueueFilter) -> Result<Vec<DeliveryId>, StoreError> {
        let filter = QueueFilter {
            state: Some(State::Held),
            ..filter.clone()
        };
        let now = self.clock.now();
        let moved = self
            .spool
            .move_deliveries(&filter, State::Queued, "released by an operator", now)
            .await?;
        self.wake_all();
        Ok(moved)
    }

    /// Settles an unknown outcome.
    ///
    /// # Errors
    /// If the change cannot be written.
    pub async fn resolve(
        &self,
        delivery: DeliveryId,
        resolution: Resolution,
    ) -> Result<bool, StoreError> {
        let filter = QueueFilter {
            delivery: Some(delivery),
            state: Some(State::Unknown),
            ..QueueFilter::default()
        };
        let (to, reason) = match resolution {
            Resolution::Sent => (State::Sent, "an operator says that it was sent"),
            Resolution::Resend => (State::Queued, "an operator says that it was not sent"),
        };
        let moved = self
            .spool
            .move_deliveries(&filter, to, reason, self.clock.now())
            .await?;
        self.wake_all();
        Ok(!moved.is_empty())
    }

    /// How much waits where.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn queue_stats(&self) -> Result<QueueStats, StoreError> {
        self.spool.stats(self.clock.now()).await
    }

    /// Every target that a route names, with its state.
    #[must_use]
    pub fn targets(&self) -> Vec<TargetStatus> {
        let policy = self.policy.load();
        let picture = self.registry.picture(self.clock.now());
        let nobody = MailboxProvider::other();
        let status = |target: &TargetName| {
            let why = picture.exclusion(target, "", &nobody);
            let why = match (why, self.registry.rests(target)) {
                (None, true) => Some("its breaker is open, the next mail is the probe".to_owned()),
                // A ramp lets so many calls a second through: the target takes mail.
                (Some(Exclusion::BreakerOpen { .. }), false) => None,
                (why, _) => why.map(|why| why.to_string()),
            };
            let kind = policy
                .providers
                .get(&target.provider)
                .map_or("", |p| p.provider.kind());
            TargetStatus {
                target: target.to_string(),
                kind,
                is_up: why.is_none(),
                why,
                breaker: self.registry.breaker_word(target),
            }
        };
        policy.router.targets().iter().map(status).collect()
    }

    /// Why a kept message would go where it goes if it were decided now.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn explain(&self, id: MessageId) -> Result<Option<Explanation>, StoreError> {
        let Some(message) = Hypothesis::of_kept(self.spool.as_ref(), id).await? else {
            return Ok(None);
        };
        Ok(Some(self.explain_hypothesis(&message).await))
    }

    /// Why a message like this would go where it would go.
    pub async fn explain_hypothesis(&self, message: &Hypothesis) -> Explanation {
        let policy = self.policy.load_full();
        let now = self.clock.now();
        let mut mailboxes = Vec::with_capacity(message.recipients.len());
        for recipient in &message.recipients {
            let lookup = self.mx.mailbox_provider(&policy.router, recipient.domain());
            mailboxes.push(lookup.await);
        }
        let health = self.registry.picture(now);
        message.explain(&policy.router, &health, &mailboxes, now)
    }
}

impl Hypothesis {
    /// A kept message as if it were submitted again, with the stream that it asked for.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn of_kept(spool: &dyn Spool, id: MessageId) -> Result<Option<Self>, StoreError> {
        let Some(record) = spool.message(id).await? else {
            return Ok(None);
        };
        let Some(view) = spool.view(id).await? else {
            return Ok(None);
        };
        let body = spool.body(id).await?.unwrap_or_default();
        let headers = Header::parse(&body).map(|header| {
            let fields = header.iter();
            fields
                .map(|(name, value)| (name.to_owned(), value.into_owned()))
                .collect()
        });
        let mut headers: Vec<(String, String)> = headers.unwrap_or_default();
        // The kept body is the one that leaves, without the header that asked for a stream.
        let was = |reason: StreamReason| record.stream_reason == reason.to_string();
        if was(StreamReason::Header) {
            headers.push((STREAM_HEADER.to_owned(), record.stream.to_string()));
        }
        let asked = was(StreamReason::Asked).then(|| record.stream.clone());
        let recipients = view
            .deliveries
            .iter()
            .filter_map(|d| EmailAddress::parse(&d.recipient).ok());
        Ok(Some(Self {
            credential: record.credential,
            stream: asked,
            from: record.from,
            recipients: recipients.collect(),
            headers,
            tags: record.tags,
            metadata: record.metadata,
            size_bytes: record.size_bytes,
        }))
    }

    /// Why the message would go where it would go. `mailboxes` says who runs each recipient's
    /// mailbox, in their order; one that is not told counts as `other`.
    #[must_use]
    pub fn explain(
        &self,
        router: &Router,
        health: &Health,
        mailboxes: &[MailboxProvider],
        now: Timestamp,
    ) -> Explanation {
        let facts = self.facts(now);
        let stream = router.stream(&facts);
        let mut deliveries = Vec::new();
        let mut is_paused = false;
        if let Ok(name) = &stream.stream {
            is_paused = health.is_paused(name);
            let mailbox = |index| mailboxes.get(index).cloned();
            let recipients = self.recipients.iter().enumerate();
            deliveries.extend(recipients.map(|(index, recipient)| {
                let facts = DeliveryFacts {
                    message: &facts,
                    stream: name,
                    recipient,
                    mailbox_provider: &mailbox(index).unwrap_or_else(MailboxProvider::other),
                };
                self.explain_delivery(router, health, &facts)
            }));
        }
        Explanation {
            stream,
            is_paused,
            deliveries,
        }
    }

    fn explain_delivery(
        &self,
        router: &Router,
        health: &Health,
        facts: &DeliveryFacts<'_>,
    ) -> ExplainedDelivery {
        let route = router.route(facts);
        let plan_facts = PlanFacts {
            stream: facts.stream,
            recipient: facts.recipient,
            mailbox_provider: facts.mailbox_provider,
            sender_domain: self.from.domain(),
            campaign: facts.message.campaign(),
            size_bytes: self.size_bytes,
            needs_smtputf8: facts.recipient.needs_smtputf8(),
        };
        let plan = route
            .route
            .as_ref()
            .map(|name| router.plan(name, &plan_facts, health, Draw::default()));
        ExplainedDelivery {
            recipient: facts.recipient.to_string(),
            mailbox_provider: facts.mailbox_provider.clone(),
            route,
            plan,
        }
    }

    fn facts(&self, now: Timestamp) -> MessageFacts<'_> {
        MessageFacts {
            credential: &self.credential,
            asked_stream: self.stream.as_ref(),
            sender: Some(&self.from),
            headers: &self.headers,
            tags: &self.tags,
            metadata: &self.metadata,
            size_bytes: self.size_bytes,
            email_id_recipients: self.recipients.len() as u64,
            now,
        }
    }
}
