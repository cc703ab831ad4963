//! The port through which a message's life is read, and a message taken back.

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::address::EmailAddress;
use crate::event::{Blame, EventKind, State};
use crate::feed::{EventId, FeedPage, FeedQuery};
use crate::id::{DeliveryId, MessageId};
use crate::name::{CredentialName, MailboxProvider, PoolName, ProviderName, RouteName, StreamName};
use crate::provider::Reply;

/// Reads timelines. `owner` is the credential that asks: it sees its own messages only; `None` is
/// the operator.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// A message with all its deliveries, attempts and events; `None` if there is none that the
    /// owner may see.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn message(
        &self,
        id: MessageId,
        owner: Option<&CredentialName>,
    ) -> Result<Option<MessageView>, LedgerFault>;

    /// Deliveries, newest message first.
    ///
    /// # Errors
    /// If the cursor is not one of ours, or the store cannot be read.
    async fn search(&self, query: &Search) -> Result<SearchPage, LedgerFault>;

    /// Takes back every delivery of the message that has not left.
    ///
    /// # Errors
    /// If there is no such message, or the store cannot be written.
    async fn cancel(
        &self,
        id: MessageId,
        owner: Option<&CredentialName>,
    ) -> Result<Cancelled, LedgerFault>;

    /// Events in the order in which they became durable.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn feed(&self, query: &FeedQuery) -> Result<FeedPage, LedgerFault>;

    /// What services told of the message's events, as they told it: for the operator. Empty for
    /// a message that is not there.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn raw_events(&self, id: MessageId) -> Result<Vec<RawEvent>, LedgerFault>;
}

/// What a service told of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEvent {
    /// Which event.
    pub id: EventId,
    /// The service's own octets: JSON, a form, or a report's text.
    pub raw: Bytes,
}

/// Why the ledger could not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerFault {
    /// No message of that id that the owner may see.
    #[error("no such message")]
    NotFound,
    /// A cursor that this gateway did not give out.
    #[error("the cursor is not one of ours")]
    BadCursor,
    /// The store cannot be read or written.
    #[error("the store cannot be read now")]
    Unavailable,
}

/// How many deliveries a cancel reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    /// Taken back.
    pub cancelled: u32,
    /// Already gone, or settled.
    pub too_late: u32,
}

/// A message and everything that happened to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MessageView {
    /// Its id.
    pub id: MessageId,
    /// Who submitted it.
    pub credential: CredentialName,
    /// Its stream.
    pub stream: StreamName,
    /// What put it into that stream: a rule's name, or the built-in reason.
    pub stream_reason: String,
    /// MAIL FROM; `None` is `<>`.
    pub mail_from: Option<String>,
    /// Size in octets.
    pub size_bytes: u64,
    /// When the gateway took custody.
    pub accepted_at: Timestamp,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its metadata.
    pub metadata: BTreeMap<String, String>,
    /// Its deliveries, in the envelope's order.
    pub deliveries: Vec<DeliveryView>,
}

/// One delivery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeliveryView {
    /// Its id.
    pub id: DeliveryId,
    /// The recipient.
    pub recipient: String,
    /// Where it is in its life.
    pub state: State,
    /// The route it takes.
    pub route: Option<RouteName>,
    /// What put it on that route: a rule's name, or the stream.
    pub route_reason: String,
    /// Who runs the mailbox.
    pub mailbox_provider: Option<MailboxProvider>,
    /// The provider of the last attempt.
    pub provider: Option<ProviderName>,
    /// The pool of the last attempt.
    pub pool: Option<PoolName>,
    /// The provider's id.
    pub provider_message_id: Option<String>,
    /// When the next attempt is due, if one is planned.
    pub due_at: Option<Timestamp>,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptView>,
    /// Its events, cause before effect: what a service tells stands behind the attempt that it is
    /// about, whatever its clock says.
    pub events: Vec<EventView>,
}

/// One call to one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptView {
    /// Counted from 1.
    pub number: u32,
    /// When the call began.
    pub started_at: Timestamp,
    /// When its outcome was known.
    pub ended_at: Option<Timestamp>,
    /// The provider called.
    pub provider: ProviderName,
    /// The pool used.
    pub pool: PoolName,
    /// `sent`, or the verdict's word; `None` while it is under way.
    pub outcome: Option<String>,
    /// What the provider answered.
    pub reply: Option<Reply>,
    /// Why this target, and why the earlier ones of the plan were passed over.
    pub reason: String,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventView {
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// By whose fault, where something failed.
    #[serde(rename = "class")]
    pub blame: Option<Blame>,
    /// The provider that told, if one did.
    pub provider: Option<ProviderName>,
    /// In words.
    pub detail: String,
}

/// What to look for. All given conditions must hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Search {
    /// Only this credential's messages.
    pub owner: Option<CredentialName>,
    /// Only deliveries to this address.
    pub recipient: Option<EmailAddress>,
    /// Only this stream.
    pub stream: Option<StreamName>,
    /// Only deliveries in this state.
    pub state: Option<State>,
    /// Only messages with this tag.
    pub tag: Option<String>,
    /// Only messages accepted at or after this time.
    pub since: Option<Timestamp>,
    /// Where the last page ended.
    pub cursor: Option<String>,
    /// Rows a page, 1 to 200.
    pub limit: u16,
}

/// One page of deliveries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchPage {
    /// The rows.
    pub rows: Vec<SearchRow>,
    /// Where the next page begins; `None` on the last.
    pub next_cursor: Option<String>,
}

/// One delivery in a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchRow {
    /// The message.
    pub message: MessageId,
    /// The delivery.
    pub delivery: DeliveryId,
    /// When the gateway took custody.
    pub accepted_at: Timestamp,
    /// The stream.
    pub stream: StreamName,
    /// The recipient.
    pub recipient: String,
    /// Where it is in its life.
    pub state: State,
    /// The provider of the last attempt.
    pub provider: Option<ProviderName>,
    /// The last thing a provider said of it.
    pub last_reply: Option<String>,
}
