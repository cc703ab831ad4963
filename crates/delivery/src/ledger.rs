//! Reads timelines for those who may see them, and takes messages back.

use async_trait::async_trait;
use malote_core::event::State;
use malote_core::feed::{FeedPage, FeedQuery};
use malote_core::id::MessageId;
use malote_core::ledger::{
    Cancelled, Ledger, LedgerFault, MessageView, RawEvent, Search, SearchPage,
};
use malote_core::name::CredentialName;
use malote_store::{QueueFilter, StoreError};

use crate::engine::Engine;

#[async_trait]
impl Ledger for Engine {
    async fn message(
        &self,
        id: MessageId,
        owner: Option<&CredentialName>,
    ) -> Result<Option<MessageView>, LedgerFault> {
        let view = self.spool.view(id).await.map_err(fault)?;
        Ok(view.filter(|view| owner.is_none_or(|owner| *owner == view.credential)))
    }

    async fn search(&self, query: &Search) -> Result<SearchPage, LedgerFault> {
        self.spool.search(query).await.map_err(fault)
    }

    async fn cancel(
        &self,
        id: MessageId,
        owner: Option<&CredentialName>,
    ) -> Result<Cancelled, LedgerFault> {
        let view = self
            .message(id, owner)
            .await?
            .ok_or(LedgerFault::NotFound)?;
        let filter = QueueFilter {
            message: Some(id),
            owner: owner.cloned(),
            ..QueueFilter::default()
        };
        let moved = self
            .spool
            .move_deliveries(&filter, State::Cancelled, "cancelled", self.clock.now())
            .await
            .map_err(fault)?;
        let count = |deliveries: usize| u32::try_from(deliveries).unwrap_or(u32::MAX);
        let too_late = view.deliveries.len().saturating_sub(moved.len());
        Ok(Cancelled {
            cancelled: count(moved.len()),
            too_late: count(too_late),
        })
    }

    async fn feed(&self, query: &FeedQuery) -> Result<FeedPage, LedgerFault> {
        self.spool.feed(query).await.map_err(fault)
    }

    async fn raw_events(&self, id: MessageId) -> Result<Vec<RawEvent>, LedgerFault> {
        self.spool.raw_events(id).await.map_err(fault)
    }
}

/// What the doors are told of a fault of the store.
pub(crate) fn fault(error: StoreError) -> LedgerFault {
    match error {
        StoreError::BadCursor => LedgerFault::BadCursor,
        StoreError::Full | StoreError::Busy | StoreError::Closed | StoreError::Unavailable(_) => {
            LedgerFault::Unavailable
        }
        StoreError::Damaged(_) | StoreError::Engine(_) => {
            tracing::error!(%error, "could not read the store");
            LedgerFault::Unavailable
        }
    }
}
