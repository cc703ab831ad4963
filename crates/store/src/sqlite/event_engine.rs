//! [`EventBook`] on SQLite: what each method hands to the writer.

use async_trait::async_trait;
use jiff::Timestamp;
use malote_core::event::ProviderEvent;
use malote_core::id::DeliveryId;
use malote_core::name::ProviderName;

use crate::sqlite::spool_engine::settlements;
use crate::sqlite::{SqliteStore, events};
use crate::{Applied, EventBook, StoreError, UnreadRecord};

#[async_trait]
impl EventBook for SqliteStore {
    async fn apply_events(
        &self,
        provider: &ProviderName,
        events: Vec<ProviderEvent>,
        now: Timestamp,
    ) -> Result<Vec<Option<Applied>>, StoreError> {
        let provider = provider.clone();
        let load = settlements(events.len());
        self.write(load, move |tx| {
            events::apply(tx, Some(&provider), &events, now)
        })
        .await
    }

    async fn apply_own_events(
        &self,
        events: Vec<ProviderEvent>,
        now: Timestamp,
    ) -> Result<Vec<Option<Applied>>, StoreError> {
        let load = settlements(events.len());
        self.write(load, move |tx| events::apply(tx, None, &events, now))
            .await
    }

    async fn under_way(&self, deliveries: Vec<DeliveryId>) -> Result<Vec<DeliveryId>, StoreError> {
        self.read(move |conn| events::under_way(conn, &deliveries))
            .await
    }

    async fn followed(
        &self,
        provider: &ProviderName,
        dedup_keys: Vec<String>,
    ) -> Result<(), StoreError> {
        let provider = provider.clone();
        let load = settlements(dedup_keys.len());
        self.write(load, move |tx| {
            events::followed(tx.conn, &provider, &dedup_keys)
        })
        .await
    }

    async fn keep_unreadable(
        &self,
        provider: &ProviderName,
        parts: Vec<String>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let provider = provider.clone();
        let load = settlements(parts.len());
        self.write(load, move |tx| {
            events::keep_unreadable(tx, &provider, &parts, now)
        })
        .await
    }

    async fn unreadable(&self, limit: u16) -> Result<Vec<UnreadRecord>, StoreError> {
        self.read(move |conn| events::unreadable(conn, limit)).await
    }
}
