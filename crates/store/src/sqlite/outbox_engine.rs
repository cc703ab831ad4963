//! [`Outbox`] on SQLite: what each method hands to the writer or to a reader.

use async_trait::async_trait;
use jiff::Timestamp;
use malote_core::outlet::OutletName;

use crate::outbox::ABSENT_OUTLET_KEPT;
use crate::sqlite::{Load, SqliteStore, outbox};
use crate::{Enqueue, Enqueued, Outbox, OutboxRow, OutboxSettled, OutletRecord, StoreError};

/// Octets of one event in the writer's queue, about.
const ROW_BYTES: usize = 64;

fn load(count: usize) -> Load {
    Load {
        bytes: 512 + ROW_BYTES * count,
        operations: count,
        ..Load::small()
    }
}

#[async_trait]
impl Outbox for SqliteStore {
    async fn keep_outlets(
        &self,
        configured: &[OutletName],
        now: Timestamp,
    ) -> Result<Vec<(OutletName, u64)>, StoreError> {
        let configured = configured.to_vec();
        self.write(Load::small(), move |tx| {
            outbox::note_configured(tx, &configured, now)
        })
        .await?;
        let before = now
            .saturating_sub(ABSENT_OUTLET_KEPT)
            .map_err(|_| StoreError::Engine("time out of range".into()))?;
        let (mut gone, mut events) = (Vec::new(), 0);
        loop {
            let step = self.write(load(2_000), move |tx| outbox::drop_absent(tx, before));
            let Some((name, count, is_whole)) = step.await? else {
                return Ok(gone);
            };
            events += count;
            if is_whole {
                gone.push((name, std::mem::take(&mut events)));
            }
        }
    }

    async fn outlets(&self) -> Result<Vec<OutletRecord>, StoreError> {
        self.read(outbox::outlets).await
    }

    async fn outlet(&self, name: &OutletName) -> Result<Option<OutletRecord>, StoreError> {
        let name = name.clone();
        self.read(move |conn| outbox::outlet(conn, &name)).await
    }

    async fn enqueue(&self, outlet: &OutletName, wish: Enqueue) -> Result<Enqueued, StoreError> {
        let name = outlet.clone();
        self.write(load(wish.wanted.len()), move |tx| {
            outbox::enqueue(tx, &name, &wish)
        })
        .await
    }

    async fn outbox_due(
        &self,
        outlet: &OutletName,
        count_max: u32,
        now: Timestamp,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        let name = outlet.clone();
        self.read(move |conn| outbox::due(conn, &name, count_max, now))
            .await
    }

    async fn outbox_settle(
        &self,
        outlet: &OutletName,
        settled: OutboxSettled,
    ) -> Result<(), StoreError> {
        let name = outlet.clone();
        self.write(load(settled.steps.len()), move |tx| {
            outbox::settle(tx, &name, &settled)
        })
        .await
    }

    async fn disable_outlet(
        &self,
        outlet: &OutletName,
        reason: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (name, reason) = (outlet.clone(), reason.to_owned());
        self.write(Load::small(), move |tx| {
            outbox::disable(tx, &name, &reason, now)
        })
        .await
    }

    async fn enable_outlet(&self, outlet: &OutletName, now: Timestamp) -> Result<bool, StoreError> {
        let name = outlet.clone();
        self.write(Load::small(), move |tx| outbox::enable(tx, &name, now))
            .await
    }
}
