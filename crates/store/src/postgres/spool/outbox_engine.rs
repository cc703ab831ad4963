//! [`Outbox`] on PostgreSQL.

use async_trait::async_trait;
use jiff::Timestamp;
use malote_core::outlet::OutletName;

use crate::outbox::ABSENT_OUTLET_KEPT;
use crate::postgres::metrics::Operation;
use crate::postgres::spool::{PostgresSpool, in_transaction, on_connection, outbox};
use crate::{
    Enqueue, Enqueued, NodeSession, Outbox, OutboxRow, OutboxSettled, OutletRecord, StoreError,
};

#[async_trait]
impl Outbox for PostgresSpool {
    async fn keep_outlets(
        &self,
        configured: &[OutletName],
        now: Timestamp,
    ) -> Result<Vec<(OutletName, u64)>, StoreError> {
        let core = &self.inner.core;
        in_transaction!(core, Operation::Outbox, |tx| outbox::note_configured(
            tx, configured, now
        ))?;
        let before = now
            .saturating_sub(ABSENT_OUTLET_KEPT)
            .map_err(|_| StoreError::Engine("time out of range".into()))?;
        let (mut gone, mut events) = (Vec::new(), 0);
        loop {
            let step = in_transaction!(core, Operation::Outbox, |tx| outbox::drop_absent(
                tx, before
            ));
            let Some((name, count, is_whole)) = step? else {
                return Ok(gone);
            };
            events += count;
            if is_whole {
                gone.push((name, std::mem::take(&mut events)));
            }
        }
    }

    async fn outlets(&self) -> Result<Vec<OutletRecord>, StoreError> {
        let core = &self.inner.core;
        on_connection!(core, Operation::Read, |conn| outbox::outlets(conn))
    }

    async fn outlet(&self, name: &OutletName) -> Result<Option<OutletRecord>, StoreError> {
        let core = &self.inner.core;
        on_connection!(core, Operation::Read, |conn| outbox::outlet(conn, name))
    }

    async fn hold_outlet(
        &self,
        outlet: &OutletName,
        session: NodeSession,
    ) -> Result<bool, StoreError> {
        let core = &self.inner.core;
        in_transaction!(core, Operation::Outbox, |tx| outbox::hold(
            tx, outlet, session.0
        ))
    }

    async fn let_go_of_outlet(
        &self,
        outlet: &OutletName,
        session: NodeSession,
    ) -> Result<(), StoreError> {
        let core = &self.inner.core;
        in_transaction!(core, Operation::Outbox, |tx| outbox::let_go(
            tx, outlet, session.0
        ))
    }

    async fn enqueue(&self, outlet: &OutletName, wish: Enqueue) -> Result<Enqueued, StoreError> {
        let core = &self.inner.core;
        in_transaction!(core, Operation::Outbox, |tx| outbox::enqueue(
            tx, outlet, &wish
        ))
    }

    async fn outbox_due(
        &self,
        outlet: &OutletName,
        count_max: u32,
        now: Timestamp,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        let core = &self.inner.core;
        on_connection!(core, Operation::Read, |conn| outbox::due(
            conn, outlet, count_max, now
        ))
    }

    async fn outbox_settle(
        &self,
        outlet: &OutletName,
        settled: OutboxSettled,
    ) -> Result<(), StoreError> {
        let core = &self.inner.core;
        in_transaction!(core, Operation::Outbox, |tx| outbox::settle(
            tx, outlet, &settled
        ))
    }

    async fn disable_outlet(
        &self,
        outlet: &OutletName,
        reason: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let core = &self.inner.core;
        in_transaction!(core, Operation::Outbox, |tx| outbox::disable(
            tx, outlet, reason, now
        ))
    }

    async fn enable_outlet(&self, outlet: &OutletName, now: Timestamp) -> Result<bool, StoreError> {
        let core = &self.inner.core;
        in_transaction!(core, Operation::Outbox, |tx| outbox::enable(
            tx, outlet, now
        ))
    }
}
