//! The operator's hands on outlets.

use jiff::Timestamp;
use malote_core::feed::{FEED_LIMIT_MAX, FeedCursor, FeedQuery};
use malote_core::outlet::OutletName;
use malote_store::{Enqueue, Enqueued, OutletRecord, StoreError};

use crate::engine::Engine;
use crate::outbox::configured;
use crate::outbox::task::WAITING_MAX;

/// What a replay did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    /// Events that are told again.
    pub queued: u64,
    /// Whether the outbox was full before all of them were in it: the same replay again, when
    /// fewer wait, queues the rest.
    pub is_full: bool,
}

impl Engine {
    /// Every outlet that is configured, or was in the last days.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn outlets(&self) -> Result<Vec<OutletRecord>, StoreError> {
        self.spool.outlets().await
    }

    /// Puts an outlet to work again; `false` if there is none of that name.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn enable_outlet(&self, name: &OutletName) -> Result<bool, StoreError> {
        let is_there = self.spool.enable_outlet(name, self.clock.now()).await?;
        self.ring_outlets();
        Ok(is_there)
    }

    /// Sets an outlet aside until it is enabled; `false` if there is none of that name. Nothing
    /// that waits for it is lost.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn disable_outlet(&self, name: &OutletName) -> Result<bool, StoreError> {
        let reason = "disabled by an operator";
        self.spool
            .disable_outlet(name, reason, self.clock.now())
            .await
    }

    /// Tells an outlet again of what it wants among the events that became durable in this time,
    /// as far as it had come; `None` if no such outlet is configured.
    ///
    /// # Errors
    /// If the store cannot be read or written; what is queued by then stays queued.
    pub async fn replay_outlet(
        &self,
        name: &OutletName,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Replayed>, StoreError> {
        let outlet = configured(&self.policy.load(), name);
        let (Some(outlet), Some(record)) = (outlet, self.spool.outlet(name).await?) else {
            return Ok(None);
        };
        let mut query = FeedQuery {
            owner: Some(outlet.credential().clone()),
            since: Some(since),
            until: Some(until),
            limit: FEED_LIMIT_MAX,
            ..FeedQuery::default()
        };
        let mut replayed = Replayed {
            queued: 0,
            is_full: false,
        };
        loop {
            let page = self.spool.feed(&query).await?;
            let is_past = |cursor: &FeedCursor| *cursor <= record.cursor;
            let wanted = page.events.iter().filter(|event| outlet.wants(event));
            let wish = Enqueue {
                wanted: wanted.map(|event| event.cursor).filter(is_past).collect(),
                next: None,
                waiting_max: WAITING_MAX,
                now: self.clock.now(),
            };
            match self.spool.enqueue(name, wish).await? {
                Enqueued::Kept(count) => replayed.queued += count,
                Enqueued::Full => replayed.is_full = true,
            }
            if page.is_end || replayed.is_full || page.next >= record.cursor {
                break;
            }
            query.after = page.next;
        }
        self.ring_outlets();
        Ok(Some(replayed))
    }
}
