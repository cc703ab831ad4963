//! What recipients say to the gateway itself: unsubscribe and, on its page, subscribe again.

mod turns;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_core::event::{EventKind, ProviderEvent};
use malote_core::id::DeliveryId;
use malote_core::ledger::MessageView;
use malote_core::name::MailboxProvider;
use malote_core::subscription::{Subscription, Subscriptions, Wish};
use malote_core::suppression::SOURCE_RECIPIENT;
use malote_core::ticket::TicketUse;
use malote_core::webhook::SinkUnavailable;
use malote_store::{
    Applied, MessageRecord, Return, StoreError, Suppression, SuppressionReason, SuppressionScope,
    Telling,
};

use crate::engine::Engine;
use crate::feedback::campaign_scopes;
use crate::metrics::HOSTED;
use crate::subscriptions::turns::{Course, Turns};

/// How a recipient spoke to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Means {
    /// By the link of List-Unsubscribe: one click, or its page.
    Link,
    /// By mail to the address of List-Unsubscribe.
    Mail,
}

impl Means {
    const ALL: [Self; 2] = [Self::Link, Self::Mail];

    /// What stands on the timeline and in the suppression, which is known by it again.
    const fn detail(self) -> &'static str {
        match self {
            Self::Link => "by the link of List-Unsubscribe",
            Self::Mail => "by mail to the address of List-Unsubscribe",
        }
    }
}

#[async_trait]
impl Subscriptions for Engine {
    async fn find(&self, ticket: &str) -> Result<Option<Subscription>, SinkUnavailable> {
        let Some(id) = self.linked(ticket) else {
            return Ok(None);
        };
        let now = self.clock.now();
        let found = async {
            let Some(place) = self.place(id).await? else {
                return Ok(None);
            };
            let entries = self.standing(&place, now).await?;
            Ok(Some(place.subscription(&entries)))
        };
        self.counted(found.await, "shown")
    }

    async fn ask(&self, ticket: &str, wish: Wish) -> Result<Option<Subscription>, SinkUnavailable> {
        let Some(id) = self.linked(ticket) else {
            return Ok(None);
        };
        let done = self.wish(id, (wish, Means::Link), self.clock.now()).await;
        self.counted(done, word(wish))
    }
}

impl Engine {
    /// The delivery that a link names. A link that is none of ours is counted and no more.
    fn linked(&self, ticket: &str) -> Option<DeliveryId> {
        let policy = self.policy.load();
        let keys = policy.unsubscribe.as_ref().map(|own| &own.keys);
        let ticket = keys.and_then(|keys| keys.read(ticket, TicketUse::UnsubscribeLink));
        if ticket.is_none() {
            self.metrics.links.with_label_values(&["unknown"]).inc();
        }
        ticket.map(|ticket| ticket.delivery)
    }

    fn counted(
        &self,
        result: Result<Option<Subscription>, StoreError>,
        what: &str,
    ) -> Result<Option<Subscription>, SinkUnavailable> {
        let found = result.map_err(|error| {
            tracing::error!(%error, "could not do what a recipient wants");
            SinkUnavailable
        })?;
        let outcome = if found.is_some() { what } else { "gone" };
        self.metrics.links.with_label_values(&[outcome]).inc();
        Ok(found)
    }

    /// Does what a recipient wants, once: the event and the suppression. Answers where it stands
    /// then, or `None` if the delivery is no longer kept.
    pub(crate) async fn wish(
        &self,
        id: DeliveryId,
        (wish, means): (Wish, Means),
        now: Timestamp,
    ) -> Result<Option<Subscription>, StoreError> {
        let Some(place) = self.place(id).await? else {
            return Ok(None);
        };
        let entries = self.standing(&place, now).await?;
        if wish == Wish::Unsubscribe && entries.is_empty() {
            let told = (&place.record.stream, HOSTED);
            let policy = self.policy.load();
            self.warn_of_spread(&policy, told, SuppressionReason::Unsubscribe);
        }
        let course = place.turns.course(wish, &entries);
        if course == Course::TellFirst {
            self.tell(&place, (wish, means), now).await?;
        }
        match wish {
            Wish::Unsubscribe => self.stop(&place, means, now).await?,
            Wish::Resubscribe if course != Course::Nothing => self.lift(place.returns(now)).await?,
            Wish::Resubscribe => {}
        }
        if course == Course::TellLast {
            self.tell(&place, (wish, means), now).await?;
        }
        let entries = self.standing(&place, now).await?;
        Ok(Some(place.subscription(&entries)))
    }

    async fn place(&self, id: DeliveryId) -> Result<Option<Place>, StoreError> {
        let (record, view) = (
            self.spool.message(id.message).await?,
            self.spool.view(id.message).await?,
        );
        let scopes = |record: &MessageRecord| campaign_scopes(&self.policy.load(), &record.stream);
        Ok(record.zip(view).and_then(|(record, view)| {
            let scopes = scopes(&record);
            Place::new(id, record, view, scopes)
        }))
    }

    /// What stops the recipient's mail.
    async fn standing(
        &self,
        place: &Place,
        now: Timestamp,
    ) -> Result<Vec<Suppression>, StoreError> {
        let recipient = std::slice::from_ref(&place.recipient);
        let mut entries = Vec::with_capacity(place.scopes.len());
        for scope in &place.scopes {
            let scope = std::slice::from_ref(scope);
            entries.extend(self.shared.suppressed(recipient, scope, now).await?);
        }
        Ok(entries.into_iter().flatten().collect())
    }

    /// Puts the event on the timeline.
    async fn tell(
        &self,
        place: &Place,
        (wish, means): (Wish, Means),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let kind = match wish {
            Wish::Unsubscribe => EventKind::Unsubscribed,
            Wish::Resubscribe => EventKind::Resubscribed,
        };
        let event = ProviderEvent {
            dedup_key: place.turns.key(place.id, wish),
            at: now,
            kind,
            blame: None,
            delivery: Some(place.id),
            provider_message_id: None,
            recipient: None,
            detail: means.detail().to_owned(),
            raw: Bytes::new(),
        };
        let label = event.kind.label().to_owned();
        let applied = self.spool.apply_own_events(vec![event], now).await?;
        let is_new = |one: &Applied| one.telling == Telling::New;
        if !applied.iter().flatten().any(is_new) {
            return Ok(());
        }
        self.ring_outlets();
        let mailbox = place.mailbox_provider.as_ref();
        let mailbox = mailbox.map_or("other", MailboxProvider::as_str);
        self.metrics
            .events
            .with_label_values(&[place.record.stream.as_str(), HOSTED, &label, mailbox])
            .inc();
        Ok(())
    }

    async fn stop(&self, place: &Place, means: Means, now: Timestamp) -> Result<(), StoreError> {
        let entry = |scope: &SuppressionScope| Suppression {
            address: place.recipient.clone().into(),
            scope: scope.clone(),
            reason: SuppressionReason::Unsubscribe,
            detail: means.detail().to_owned(),
            source: SOURCE_RECIPIENT.to_owned(),
            provider: None,
            credential: Some(place.record.credential.clone()),
            created_at: now,
            expires_at: None,
        };
        self.silence(place.scopes.iter().map(entry).collect(), now)
            .await
    }
}

/// A delivery whose recipient speaks to us.
struct Place {
    id: DeliveryId,
    record: MessageRecord,
    recipient: EmailAddress,
    mailbox_provider: Option<MailboxProvider>,
    /// What an unsubscribe stops.
    scopes: Vec<SuppressionScope>,
    turns: Turns,
}

impl Place {
    fn subscription(&self, entries: &[Suppression]) -> Subscription {
        Subscription {
            sender_domain: self.record.from.domain().to_owned(),
            is_stopped: !entries.is_empty(),
            can_resume: self.turns.course(Wish::Resubscribe, entries) != Course::Nothing,
        }
    }

    fn returns(&self, now: Timestamp) -> Vec<Return> {
        let one = |scope: &SuppressionScope| Return {
            address: self.recipient.clone().into(),
            scope: scope.clone(),
            at: now,
            source: SOURCE_RECIPIENT.to_owned(),
        };
        self.scopes.iter().map(one).collect()
    }

    fn new(
        id: DeliveryId,
        record: MessageRecord,
        view: MessageView,
        scopes: Vec<SuppressionScope>,
    ) -> Option<Self> {
        let delivery = view.deliveries.into_iter().find(|own| own.id == id)?;
        Some(Self {
            id,
            record,
            turns: Turns::of(&delivery),
            recipient: EmailAddress::parse(&delivery.recipient).ok()?,
            mailbox_provider: delivery.mailbox_provider,
            scopes,
        })
    }
}

/// What becomes of a link that is followed, for metrics.
pub(crate) const OUTCOMES: [&str; 5] = ["shown", "unsubscribed", "resubscribed", "gone", "unknown"];

const fn word(wish: Wish) -> &'static str {
    match wish {
        Wish::Unsubscribe => "unsubscribed",
        Wish::Resubscribe => "resubscribed",
    }
}
