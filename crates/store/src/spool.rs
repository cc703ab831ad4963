//! The port to the spool: messages, deliveries, attempts, events and idempotency.

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use malote_core::event::State;
use malote_core::feed::{FeedPage, FeedQuery};
use malote_core::id::{DeliveryId, MessageId};
use malote_core::ledger::{MessageView, RawEvent, Search, SearchPage};
use malote_core::name::{CredentialName, ProviderName};

use crate::erasure::Erasure;
use crate::event_book::EventBook;
use crate::outbox::Outbox;
use crate::record::{
    AcceptOutcome, AttemptStart, IdempotencyRecord, Lane, LaneDepth, LaneId, Leased, LeasedMessage,
    MessageRecord, NewMessage, NodeSession, PendingAttempt, QueueFilter, QueueStats, Settlement,
    TakenOver,
};

/// Why the store did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No space, no inodes, or a read-only disk: nothing was kept, space may come back.
    #[error("the disk is full or not writable")]
    Full,
    /// The bounded queue to the writer is full: come back.
    #[error("the store is busy")]
    Busy,
    /// The store has been closed, or its writer died after an I/O error.
    #[error("the store is closed")]
    Closed,
    /// The database does not answer, or the way to it is cut: it comes back by itself. What was
    /// asked for may have been done all the same.
    #[error("the database cannot be reached: {0}")]
    Unavailable(String),
    /// A page was asked for by a cursor that is none of ours.
    #[error("the cursor is not one of ours")]
    BadCursor,
    /// A record cannot be read: named, set aside, and the others go on.
    #[error("damaged record: {0}")]
    Damaged(String),
    /// Anything else the engine says. The text is for the log, never for a peer.
    #[error("{0}")]
    Engine(String),
}

/// Events of the feed that [`Spool::last_told`] looks at, from the end.
pub const TOLD_LOOKED_AT_MAX: i64 = 100_000;

/// Keeps messages from accept to retention. Every method that writes returns only after the write
/// is durable (one group commit may cover many callers).
#[async_trait]
pub trait Spool: Outbox + Erasure + EventBook {
    /// Keeps messages with their deliveries, first events and idempotency records.
    ///
    /// # Errors
    /// The whole batch is kept or none of it.
    async fn accept(&self, batch: Vec<NewMessage>) -> Result<Vec<AcceptOutcome>, StoreError>;

    /// The message under this credential's idempotency key, if it is younger than 24 h.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn idempotent(
        &self,
        credential: &CredentialName,
        key: &str,
    ) -> Result<Option<IdempotencyRecord>, StoreError>;

    /// The number of a lane, given out for ever on first use.
    ///
    /// # Errors
    /// If a new lane cannot be kept.
    async fn lane(&self, lane: &Lane) -> Result<LaneId, StoreError>;

    /// Every lane ever used, with what waits in it.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn lanes(&self, now: Timestamp) -> Result<Vec<LaneDepth>, StoreError>;

    /// Leases up to `count_max` deliveries of `lane` that are due, new mail and old backlog in
    /// turn. They become `sending` and belong to `session` until settled or until the session
    /// dies. All due deliveries of one message in one lane are leased together where they fit.
    /// Fewer than `count_max` may come back although more are due, since the bodies of one lease
    /// are bounded. If the future is dropped, what it leased goes back to the queue.
    ///
    /// # Errors
    /// If the lease cannot be written; then nothing was leased.
    async fn lease(
        &self,
        session: NodeSession,
        lane: LaneId,
        count_max: u32,
        now: Timestamp,
    ) -> Result<Vec<LeasedMessage>, StoreError>;

    /// When the earliest delivery of `lane` that is not yet due becomes due. Mail that is due and
    /// not leased answers with its own, past, due time, so that none is slept over.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn next_due(&self, lane: LaneId) -> Result<Option<Timestamp>, StoreError>;

    /// Journals attempts that are about to start: a restart that finds a start without an outcome
    /// knows that the outcome is unknown.
    ///
    /// # Errors
    /// If the journal cannot be written; then the call must not be made.
    async fn start_attempts(&self, batch: Vec<AttemptStart>) -> Result<(), StoreError>;

    /// Writes outcomes and what follows from them: state, due time, attempt and events, one
    /// transaction. A settlement of a delivery that the session no longer leases is dropped. What a
    /// provider told while the call was under way counts where the call was taken or its outcome is
    /// unknown. A settlement without an attempt ends those that were journaled and have no outcome.
    ///
    /// # Errors
    /// The whole batch is kept or none of it.
    async fn settle(&self, session: NodeSession, batch: Vec<Settlement>) -> Result<(), StoreError>;

    /// Opens a session for this process. Leases of every earlier session of this node are given
    /// back: without an attempt's start on record they are queued again; those with one are
    /// returned for the engine to decide.
    ///
    /// # Errors
    /// If the store cannot be written.
    async fn open_session(
        &self,
        now: Timestamp,
    ) -> Result<(NodeSession, Vec<PendingAttempt>), StoreError>;

    /// Whether other processes may work on the same spool: then every start of an attempt is
    /// journaled, and what a dead process leaves is looked for.
    fn is_shared(&self) -> bool {
        false
    }

    /// What tells this node's own store from any other; `None` where other processes may work on the
    /// same spool.
    fn home(&self) -> Option<&str> {
        None
    }

    /// Takes over leases of processes that have died, as [`Spool::open_session`] does for earlier
    /// sessions of this one; to be called about once a second where the spool is shared.
    ///
    /// # Errors
    /// If the store cannot be written, or `session` is over.
    async fn take_over(
        &self,
        _session: NodeSession,
        _now: Timestamp,
    ) -> Result<TakenOver, StoreError> {
        Ok(TakenOver::default())
    }

    /// A message's metadata without its body.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn message(&self, id: MessageId) -> Result<Option<MessageRecord>, StoreError>;

    /// A message's body; `None` once retention has dropped it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if its checksum does not hold.
    async fn body(&self, id: MessageId) -> Result<Option<Bytes>, StoreError>;

    /// A message with everything that happened to it.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn view(&self, id: MessageId) -> Result<Option<MessageView>, StoreError>;

    /// Events in the order in which they became durable. Every event of a timeline is in the feed
    /// from the commit that wrote it until its message goes, but for those of mail that the
    /// gateway itself made. A call looks at a bounded number of events; a reader that goes on from
    /// [`FeedPage::next`] misses nothing and sees nothing twice, whatever is written meanwhile.
    /// Places given out before a restore from a backup are never given out again.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn feed(&self, query: &FeedQuery) -> Result<FeedPage, StoreError>;

    /// What services told of a message's events, as they told it: where
    /// [`ProviderEvent::raw`](malote_core::event::ProviderEvent::raw) was not empty.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn raw_events(&self, id: MessageId) -> Result<Vec<RawEvent>, StoreError>;

    /// When each provider last told something that was not of our own making, as far as the last
    /// [`TOLD_LOOKED_AT_MAX`] events of the feed show it.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn last_told(&self) -> Result<Vec<(ProviderName, Timestamp)>, StoreError>;

    /// Deliveries, newest message first.
    ///
    /// # Errors
    /// If the store cannot be read, or the cursor is none of ours ([`StoreError::BadCursor`]).
    async fn search(&self, query: &Search) -> Result<SearchPage, StoreError>;

    /// Moves every delivery that `filter` selects and that may move (not settled, not under way)
    /// into `to` with an event, and returns which. `to` is `Cancelled`, `Held`, `Queued`
    /// (release, retry now: also from `Unknown`, `Quarantined`, `Bounced` and `Expired` if the
    /// body is still there), `Suppressed` or `Sent` (an operator resolves an unknown).
    ///
    /// Settled and scheduled mail is released only by a filter that names delivery, message or
    /// state: "retry the stream" never sends bounced mail again. A release begins an expired
    /// message's time anew. Large moves are written in parts.
    ///
    /// # Errors
    /// If the change cannot be written; then parts of it may have moved, and the same call again
    /// moves the rest.
    async fn move_deliveries(
        &self,
        filter: &QueueFilter,
        to: State,
        reason: &str,
        now: Timestamp,
    ) -> Result<Vec<DeliveryId>, StoreError>;

    /// What waits beyond its message's `expires_at`, at most `count_max`; what of so many cannot be
    /// read is set aside instead. What follows from its end is to be durable before [`Spool::expire`]
    /// ends it: nothing comes back for it after that.
    ///
    /// # Errors
    /// If the store cannot be read, or what is set aside cannot be written.
    async fn overdue(&self, count_max: u32, now: Timestamp) -> Result<Vec<Leased>, StoreError>;

    /// Settles as `expired` those of `overdue` that wait beyond their message's `expires_at` still,
    /// and as `queued` what was `scheduled` and is due; returns the expired ones, in their order.
    /// Looks at no other delivery, and for what waits of `count_max` messages: of which nothing does
    /// is looked at again in five minutes.
    ///
    /// # Errors
    /// If the change cannot be written.
    async fn expire(
        &self,
        overdue: &[DeliveryId],
        count_max: u32,
        now: Timestamp,
    ) -> Result<Vec<Leased>, StoreError>;

    /// Drops bodies of messages settled before `bodies_before`, and everything of messages settled
    /// before `all_before`; forgets the events that were told before that, too, but none of the last
    /// seven days. Returns how many bodies and messages went, bounded per call.
    ///
    /// # Errors
    /// If the change cannot be written.
    async fn retain(
        &self,
        bodies_before: Timestamp,
        all_before: Timestamp,
    ) -> Result<(u64, u64), StoreError>;

    /// Counts by lane and state, from counters, never by scanning.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn stats(&self, now: Timestamp) -> Result<QueueStats, StoreError>;
}
