//! [`EventBook`] on PostgreSQL: what each method runs in a transaction.

use async_trait::async_trait;
use jiff::Timestamp;
use malote_core::event::ProviderEvent;
use malote_core::id::DeliveryId;
use malote_core::name::ProviderName;

use crate::postgres::metrics::Operation;
use crate::postgres::spool::{PostgresSpool, in_transaction, on_connection, told};
use crate::{Applied, EventBook, StoreError, UnreadRecord};

#[async_trait]
impl EventBook for PostgresSpool {
    async fn apply_events(
        &self,
        provider: &ProviderName,
        events: Vec<ProviderEvent>,
        now: Timestamp,
    ) -> Result<Vec<Option<Applied>>, StoreError> {
        in_transaction!(self.inner.core, Operation::Event, |tx| told::apply(
            tx,
            Some(provider),
            &events,
            now
        ))
    }

    async fn apply_own_events(
        &self,
        events: Vec<ProviderEvent>,
        now: Timestamp,
    ) -> Result<Vec<Option<Applied>>, StoreError> {
        in_transaction!(self.inner.core, Operation::Event, |tx| told::apply(
            tx, None, &events, now
        ))
    }

    async fn under_way(&self, deliveries: Vec<DeliveryId>) -> Result<Vec<DeliveryId>, StoreError> {
        let core = &self.inner.core;
        on_connection!(core, Operation::Read, |conn| told::under_way(
            conn,
            &deliveries
        ))
    }

    async fn followed(
        &self,
        provider: &ProviderName,
        dedup_keys: Vec<String>,
    ) -> Result<(), StoreError> {
        in_transaction!(self.inner.core, Operation::Event, |tx| told::followed(
            tx,
            provider,
            &dedup_keys
        ))
    }

    async fn keep_unreadable(
        &self,
        provider: &ProviderName,
        parts: Vec<String>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        in_transaction!(self.inner.core, Operation::Event, |tx| {
            told::keep_unreadable(tx, provider, &parts, now)
        })
    }

    async fn unreadable(&self, limit: u16) -> Result<Vec<UnreadRecord>, StoreError> {
        let core = &self.inner.core;
        on_connection!(core, Operation::Read, |conn| told::unreadable(conn, limit))
    }
}
