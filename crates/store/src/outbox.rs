//! The port to the outbox: what of the feed waits to be told to each outlet.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use malote_core::feed::{FeedCursor, FeedEvent};
use malote_core::outlet::OutletName;

use crate::{NodeSession, StoreError};

/// How long an outlet that is no longer configured keeps what waits for it.
pub const ABSENT_OUTLET_KEPT: SignedDuration = SignedDuration::from_hours(3 * 24);

/// Keeps for each outlet a place in the feed and the events that it has yet to be told. One loop
/// works on an outlet at a time. Every method that writes returns only after the write is durable.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Notes which outlets are configured. A new one begins at the end of the feed; one that is
    /// back goes on where it was, with no failure counted against it. One that has been away for
    /// [`ABSENT_OUTLET_KEPT`] goes with all that waited for it; returns which, and how many events.
    ///
    /// # Errors
    /// If the change cannot be written; the same call again does the rest.
    async fn keep_outlets(
        &self,
        configured: &[OutletName],
        now: Timestamp,
    ) -> Result<Vec<(OutletName, u64)>, StoreError>;

    /// Every outlet that is kept, by name.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn outlets(&self) -> Result<Vec<OutletRecord>, StoreError>;

    /// One outlet; `None` if none of that name is kept.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn outlet(&self, name: &OutletName) -> Result<Option<OutletRecord>, StoreError>;

    /// Gives an outlet to a session, where several processes have the same outlets: only who holds
    /// it tells it. Returns whether this session holds it; one that does keeps it until it ends or
    /// lets go of it.
    ///
    /// # Errors
    /// If that cannot be written.
    async fn hold_outlet(
        &self,
        _outlet: &OutletName,
        _session: NodeSession,
    ) -> Result<bool, StoreError> {
        Ok(true)
    }

    /// Lets go of an outlet that a session holds, so that another process may tell it.
    ///
    /// # Errors
    /// If that cannot be written.
    async fn let_go_of_outlet(
        &self,
        _outlet: &OutletName,
        _session: NodeSession,
    ) -> Result<(), StoreError> {
        Ok(())
    }

    /// Adds events behind those that wait, and moves the outlet's place in the feed, all of it or
    /// nothing. Events that wait already, or are gone, are passed over.
    ///
    /// # Errors
    /// If there is no such outlet, or the change cannot be written.
    async fn enqueue(&self, outlet: &OutletName, wish: Enqueue) -> Result<Enqueued, StoreError>;

    /// Events that are due, the longest due first: of each message only the earliest that waits,
    /// so that a message's events are told in their order.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn outbox_due(
        &self,
        outlet: &OutletName,
        count_max: u32,
        now: Timestamp,
    ) -> Result<Vec<OutboxRow>, StoreError>;

    /// Writes what became of events that were due. What no longer waits is passed over.
    ///
    /// # Errors
    /// If the change cannot be written.
    async fn outbox_settle(
        &self,
        outlet: &OutletName,
        settled: OutboxSettled,
    ) -> Result<(), StoreError>;

    /// Sets an outlet aside until [`Outbox::enable_outlet`]; all that waits is kept. Returns
    /// whether there is such an outlet. One that is set aside already keeps its first reason.
    ///
    /// # Errors
    /// If the change cannot be written.
    async fn disable_outlet(
        &self,
        outlet: &OutletName,
        reason: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Puts an outlet to work again, with no failure counted against it. Returns whether there is
    /// such an outlet.
    ///
    /// # Errors
    /// If the change cannot be written.
    async fn enable_outlet(&self, outlet: &OutletName, now: Timestamp) -> Result<bool, StoreError>;
}

/// An outlet as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct OutletRecord {
    /// Its name.
    pub name: OutletName,
    /// Events up to this place have been looked at.
    pub cursor: FeedCursor,
    /// Events that wait to be told.
    pub waiting: u64,
    /// When the earliest of them became durable.
    pub oldest_at: Option<Timestamp>,
    /// Since when nothing could be told; `None` after a success.
    pub failing_since: Option<Timestamp>,
    /// The last failure, in words.
    pub last_error: Option<String>,
    /// When an operator last put it to work again.
    pub enabled_at: Option<Timestamp>,
    /// Why and since when it is set aside.
    pub disabled: Option<Disabled>,
    /// Since when it is no longer configured.
    pub absent_since: Option<Timestamp>,
}

/// Why an outlet is set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disabled {
    /// Since when.
    pub since: Timestamp,
    /// In words.
    pub reason: String,
}

/// Events for an outlet.
#[derive(Debug, Clone, PartialEq)]
pub struct Enqueue {
    /// The events, by their places in the feed.
    pub wanted: Vec<FeedCursor>,
    /// Where the outlet has looked up to; `None` leaves its place (a replay).
    pub next: Option<FeedCursor>,
    /// Most events that may wait for the outlet.
    pub waiting_max: u64,
    /// When they are due.
    pub now: Timestamp,
}

/// What became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    /// So many are new.
    Kept(u64),
    /// There is no room for all of them: nothing changed.
    Full,
}

/// An event that is due.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxRow {
    /// Its place in the feed.
    pub cursor: FeedCursor,
    /// The event; `None` if its record cannot be read.
    pub event: Option<FeedEvent>,
    /// How often it was told in vain.
    pub attempts: u32,
    /// When that was first tried.
    pub first_at: Option<Timestamp>,
}

/// What became of events, and how the outlet fares.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxSettled {
    /// Each event and where it goes from here.
    pub steps: Vec<(FeedCursor, OutboxStep)>,
    /// Since when nothing could be told; `None` after a success.
    pub failing_since: Option<Timestamp>,
    /// When.
    pub now: Timestamp,
}

/// Where an event goes from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutboxStep {
    /// The peer knows, or need not any more.
    Told,
    /// It will not be told; the reason in words.
    Dropped(String),
    /// It is due again.
    Again {
        /// When.
        due_at: Timestamp,
        /// Why, in words.
        error: String,
    },
}
