//! What goes into the spool and what comes out of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_core::event::{Blame, EventKind, State};
use malote_core::id::{DeliveryId, MessageId};
use malote_core::message::{Channel, DsnParameters, Notify};
use malote_core::name::{
    CredentialName, MailboxProvider, ProviderName, RouteName, StreamName, TargetName,
};
use malote_core::provider::Reply;
use malote_core::stream::Class;
use malote_core::tracking::Tracking;
use serde::{Deserialize, Serialize};

/// A process that leases; a new one at every start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeSession(pub i64);

/// The number of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub i64);

/// Deliveries that queue behind each other: one class, stream and route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// The class.
    pub class: Class,
    /// The stream.
    pub stream: StreamName,
    /// The route.
    pub route: RouteName,
}

/// A lane and what waits in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneDepth {
    /// Its number.
    pub id: LaneId,
    /// Its key.
    pub lane: Lane,
    /// Deliveries that wait (queued, deferred, scheduled).
    pub waiting: u64,
    /// When the oldest delivery that is due became due.
    pub oldest_due_at: Option<Timestamp>,
}

/// A message on its way into the store.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Everything but body and deliveries.
    pub record: MessageRecord,
    /// The message as it will leave.
    pub body: Bytes,
    /// One per recipient, indexes from 0 without gaps.
    pub deliveries: Vec<NewDelivery>,
    /// The idempotency record to keep with it.
    pub idempotency: Option<IdempotencyRecord>,
}

/// What is kept of a message besides its body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MessageRecord {
    /// Its id.
    pub id: MessageId,
    /// Who submitted it.
    pub credential: CredentialName,
    /// Through which door.
    pub channel: Channel,
    /// Its stream.
    pub stream: StreamName,
    /// Its class when it was accepted.
    pub class: Class,
    /// What put it into that stream.
    pub stream_reason: String,
    /// MAIL FROM; `None` is `<>`.
    pub mail_from: Option<EmailAddress>,
    /// The address in From.
    pub from: EmailAddress,
    /// The Message-ID field's value with angle brackets.
    pub message_id_header: String,
    /// The campaign: Mautic's X-EMAIL-ID, or metadata `campaign`.
    pub campaign: Option<String>,
    /// Mautic's tracking hash, read from Return-Path or MAIL FROM.
    pub tracking_hash: Option<String>,
    /// The https address of List-Unsubscribe, if List-Unsubscribe-Post says that it takes one-click
    /// posts (RFC 8058); at most 2,048 octets.
    pub one_click: Option<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// Metadata.
    pub metadata: BTreeMap<String, String>,
    /// What it wants tracked.
    #[serde(default)]
    pub tracking: Tracking,
    /// Header fields that route rules ask of and that left intake otherwise than the client sent
    /// them, by lower-case name: the client's values. At most 8 KiB.
    #[serde(default)]
    pub asked_fields: BTreeMap<String, Vec<String>>,
    /// DSN parameters of MAIL FROM.
    pub dsn: DsnParameters,
    /// Octets of the body.
    pub size_bytes: u64,
    /// When custody was taken.
    pub accepted_at: Timestamp,
    /// When it is too old to be sent.
    pub expires_at: Timestamp,
}

/// One delivery on its way into the store.
#[derive(Debug, Clone, PartialEq)]
pub struct NewDelivery {
    /// The recipient as text; not parseable only if `state` is `Bounced`.
    pub recipient: String,
    /// `NOTIFY=`.
    pub notify: Option<Notify>,
    /// `ORCPT=`.
    pub orcpt: Option<String>,
    /// Where it queues.
    pub lane: LaneId,
    /// What put it on that route.
    pub route_reason: String,
    /// Who runs the mailbox, as far as known now.
    pub mailbox_provider: Option<MailboxProvider>,
    /// `Queued`, `Scheduled`, `Held`, `Suppressed` or `Bounced`.
    pub state: State,
    /// When it is due.
    pub due_at: Timestamp,
    /// Its first events.
    pub events: Vec<EventRecord>,
}

/// An event as the gateway itself writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// Whose fault it is, for bounces.
    pub blame: Option<Blame>,
    /// The provider it concerns.
    pub provider: Option<ProviderName>,
    /// In words, bounded.
    pub detail: String,
}

/// What became of one message of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcceptOutcome {
    /// Kept.
    Kept,
    /// Its idempotency key was taken by this record in the meantime; nothing was kept.
    Repeat(IdempotencyRecord),
}

/// What an idempotency key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// Whose key.
    pub credential: CredentialName,
    /// The key.
    pub key: String,
    /// SHA-256 of target and body; `None` if the body is not compared.
    pub fingerprint: Option<[u8; 32]>,
    /// The message it made.
    pub message: MessageId,
    /// When.
    pub created_at: Timestamp,
}

/// A message with those of its deliveries that were leased together.
#[derive(Debug, Clone)]
pub struct LeasedMessage {
    /// The message.
    pub record: MessageRecord,
    /// Its body; empty with [`Leased::damaged`] set if it cannot be read.
    pub body: Bytes,
    /// How many deliveries the message has in all.
    pub deliveries_total: u16,
    /// The leased ones.
    pub deliveries: Vec<Leased>,
}

/// A delivery as the engine needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Leased {
    /// Its id.
    pub id: DeliveryId,
    /// Its stream.
    pub stream: StreamName,
    /// The recipient.
    pub recipient: EmailAddress,
    /// `NOTIFY=`.
    pub notify: Option<Notify>,
    /// `ORCPT=`.
    pub orcpt: Option<String>,
    /// Who runs the mailbox, as far as known at accept.
    pub mailbox_provider: Option<MailboxProvider>,
    /// The state it was in before this lease or event.
    pub state: State,
    /// Attempts that counted.
    pub attempts: u32,
    /// Calls in all; the next attempt has this number plus one.
    pub calls: u32,
    /// The engine's own notes of earlier attempts, as it gave them in [`NextStep::progress`].
    pub progress: Option<String>,
    /// Leases that ended by a crash of the process, whether or not an attempt's start was
    /// journaled; an operator's release sets it back to 0.
    pub crashes: u32,
    /// Why body or record cannot be used, if so: quarantine it.
    pub damaged: Option<String>,
}

/// An attempt that is about to start.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptStart {
    /// The delivery.
    pub delivery: DeliveryId,
    /// Its number.
    pub number: u32,
    /// Where it goes.
    pub target: TargetName,
    /// When.
    pub at: Timestamp,
    /// Why this target.
    pub reason: String,
}

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptOutcome {
    /// The start, written now if it was not journaled.
    pub start: AttemptStart,
    /// When it ended.
    pub ended_at: Timestamp,
    /// `sent` or the verdict's word.
    pub outcome: String,
    /// What the provider answered.
    pub reply: Reply,
    /// The provider's id, when sent.
    pub provider_message_id: Option<String>,
}

/// Where a delivery goes from here.
#[derive(Debug, Clone, PartialEq)]
pub struct NextStep {
    /// Its state.
    pub state: State,
    /// When it is due, if it waits.
    pub due_at: Option<Timestamp>,
    /// Attempts that counted so far.
    pub attempts: u32,
    /// The engine's notes for the next attempt.
    pub progress: Option<String>,
    /// The lane to wait in, if another than before.
    pub lane: Option<LaneId>,
}

/// One delivery's outcome and what follows from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Settlement {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The attempt that ended; `None` if it goes back without one (no target free, paused).
    pub attempt: Option<AttemptOutcome>,
    /// Where it goes from here.
    pub next: NextStep,
    /// What to write on its timeline.
    pub events: Vec<EventRecord>,
}

/// A lease of an earlier session that had an attempt under way.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingAttempt {
    /// The delivery; it belongs to the new session now.
    pub delivery: Leased,
    /// The attempt whose outcome nobody knows.
    pub attempt: AttemptStart,
}

/// What was left by processes that died.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TakenOver {
    /// Deliveries that are back in the queue: their attempts had not begun.
    pub queued: u64,
    /// Attempts that had begun; their deliveries belong to the session that took over.
    pub pending: Vec<PendingAttempt>,
}

/// Which deliveries an operator means. All given conditions must hold; none given means none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct QueueFilter {
    /// This delivery.
    pub delivery: Option<DeliveryId>,
    /// All deliveries of this message.
    pub message: Option<MessageId>,
    /// All of this stream.
    pub stream: Option<StreamName>,
    /// All to this address.
    pub recipient: Option<EmailAddress>,
    /// All in this state.
    pub state: Option<State>,
    /// Only if the message is this credential's.
    pub owner: Option<CredentialName>,
    /// Only if the message is of this campaign.
    pub campaign: Option<String>,
    /// Only if the reason of its last hold begins with this.
    pub held_because: Option<String>,
}

/// How much waits where.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct QueueStats {
    /// Deliveries by stream and state, waiting states and `unknown`, `held`, `quarantined` only.
    pub by_state: BTreeMap<(StreamName, State), u64>,
    /// Octets of bodies that are not settled.
    pub body_bytes: u64,
    /// When the oldest due delivery of each stream became due.
    pub oldest_due_at: BTreeMap<StreamName, Timestamp>,
}
