//! Whether a later event has undone one that waits to be told: a retry, or an event that a service
//! told late, must not stand at a peer in place of what came after it.

use jiff::{SignedDuration, Timestamp};
use malote_core::address::EmailAddress;
use malote_core::feed::{FEED_LIMIT_MAX, FeedEvent, FeedQuery};
use malote_core::outlet::Outlet;
use malote_store::StoreError;

use crate::engine::Engine;

/// How far a service's clock may be off: what happened after an event may have become durable so
/// long before the event's own time.
const CLOCKS_APART_MAX: SignedDuration = SignedDuration::from_mins(10);
/// Pages of the feed that are looked through. One is enough but for an address that half the mail
/// goes to.
const PAGES_MAX: usize = 20;

impl Engine {
    /// Whether an event is known that undoes this one at the outlet's peer.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(super) async fn is_overtaken(
        &self,
        outlet: &dyn Outlet,
        event: &FeedEvent,
    ) -> Result<bool, StoreError> {
        let (Some(kind), Ok(recipient)) = (
            outlet.undone_by(&event.kind),
            EmailAddress::parse(&event.recipient),
        ) else {
            return Ok(false);
        };
        let mut query = FeedQuery {
            owner: Some(outlet.credential().clone()),
            recipient: Some(recipient),
            kinds: vec![kind],
            since: event.at.checked_sub(CLOCKS_APART_MAX).ok(),
            limit: FEED_LIMIT_MAX,
            ..FeedQuery::default()
        };
        let now = self.clock.now();
        for _ in 0..PAGES_MAX {
            let page = self.spool.feed(&query).await?;
            if page.events.iter().any(|other| undoes(other, event, now)) {
                return Ok(true);
            }
            if page.is_end {
                break;
            }
            query.after = page.next;
        }
        Ok(false)
    }
}

/// Whether `other` is the later one: by its own time, at the same time by when it was told. One that
/// is said to come from the future undoes nothing yet.
fn undoes(other: &FeedEvent, event: &FeedEvent, now: Timestamp) -> bool {
    (other.at, other.cursor) > (event.at, event.cursor) && other.at <= now
}
