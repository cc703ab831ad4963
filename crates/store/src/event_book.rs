//! The port to what is told of deliveries after they were sent.

use async_trait::async_trait;
use jiff::Timestamp;
use malote_core::event::{Blame, ProviderEvent};
use malote_core::id::DeliveryId;
use malote_core::name::{ProviderName, TargetName};

use crate::{Leased, MessageRecord, StoreError};

/// The delivery that an event is about, and what was known of the event.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The delivery as it was before the event; for one that is not new as it is now.
    pub delivery: Leased,
    /// Its message.
    pub message: MessageRecord,
    /// The last call by which the provider got it; `None` for events of our own.
    pub call: Option<LastCall>,
    /// Whether the event is new.
    pub telling: Telling,
}

/// The last call by which a provider got a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastCall {
    /// Where it went.
    pub target: TargetName,
    /// When it began.
    pub started_at: Timestamp,
    /// Whether no other call for the delivery came after it: only then its failure is the delivery's.
    pub is_last: bool,
}

/// Whether an event is new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Telling {
    /// It was told for the first time and is on the timeline now.
    New,
    /// It was told before, and nobody said that what follows from it was done
    /// ([`EventBook::followed`]): a crash may have come between. What was told first counts.
    Unfollowed(FirstTold),
    /// It was told before, and what follows from it was done.
    Repeat,
    /// Its key is that of another event, of another delivery or kind: it changes nothing.
    Replay,
}

/// An event as it was told first, but for delivery and kind, which no repeat changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstTold {
    /// When it happened, by the clock of who told.
    pub at: Timestamp,
    /// Whose fault it was.
    pub blame: Option<Blame>,
    /// In words.
    pub detail: String,
}

/// A part of a webhook that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadRecord {
    /// Who told it.
    pub provider: ProviderName,
    /// When it came.
    pub at: Timestamp,
    /// Why it could not be read, and how it begins: at most 8 KiB.
    pub part: String,
}

/// Keeps what is told of deliveries after they were sent. Every write is durable when it returns.
#[async_trait]
pub trait EventBook: Send + Sync {
    /// Applies a provider's events to the timelines they belong to, each `(provider, dedup_key)`
    /// once, moving states only forward (complaint > hard bounce > ... > delivered > sent).
    /// Events are matched by our own id, else by the provider's id and recipient. An event may
    /// only touch a delivery whose attempts used that provider, and only if the recipient it
    /// names, if any, is that delivery's. A key keeps the delivery and the event that it was
    /// first said of: not every signature covers what a webhook says. A provider's bounce moves only
    /// what no other was called for since ([`LastCall::is_last`]). Returns for each event the
    /// delivery that it is about, or `None` for one that matches nothing.
    ///
    /// An event that matches nothing is not remembered, so that it may be applied later: a webhook
    /// can be faster than the settlement that tells the store of its attempt
    /// ([`EventBook::under_way`]).
    ///
    /// # Errors
    /// The whole batch is kept or none of it.
    async fn apply_events(
        &self,
        provider: &ProviderName,
        events: Vec<ProviderEvent>,
        now: Timestamp,
    ) -> Result<Vec<Option<Applied>>, StoreError>;

    /// Applies events that no provider told but the gateway itself saw, such as an unsubscribe on
    /// its own page: to the delivery that [`ProviderEvent::delivery`] names, in every other way as
    /// [`EventBook::apply_events`] does.
    ///
    /// # Errors
    /// The whole batch is kept or none of it.
    async fn apply_own_events(
        &self,
        events: Vec<ProviderEvent>,
        now: Timestamp,
    ) -> Result<Vec<Option<Applied>>, StoreError>;

    /// Which of these deliveries are under way: an event that names one of them and matches nothing
    /// may be about the call of this moment, and match once that is settled.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn under_way(&self, deliveries: Vec<DeliveryId>) -> Result<Vec<DeliveryId>, StoreError>;

    /// Notes that what follows from a provider's events was done and is durable: a repeat of one
    /// of these keys is a [`Telling::Repeat`] from now on. Keys that are not known are none.
    ///
    /// # Errors
    /// If it cannot be written.
    async fn followed(
        &self,
        provider: &ProviderName,
        dedup_keys: Vec<String>,
    ) -> Result<(), StoreError>;

    /// Keeps parts of webhooks that could not be read, at most 10,000, oldest dropped, and
    /// of each at most 8 KiB.
    ///
    /// # Errors
    /// If they cannot be kept.
    async fn keep_unreadable(
        &self,
        provider: &ProviderName,
        parts: Vec<String>,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// What [`EventBook::keep_unreadable`] kept, the newest `limit` of it, newest first.
    ///
    /// # Errors
    /// If it cannot be read.
    async fn unreadable(&self, limit: u16) -> Result<Vec<UnreadRecord>, StoreError>;
}
