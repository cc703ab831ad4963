//! A lease between its commit and its caller.

use std::sync::Arc;

use crate::postgres::metrics::Operation;
use crate::postgres::spool::args::Id;
use crate::postgres::spool::lease::{self, Taken, Wish};
use crate::postgres::spool::{Core, in_transaction, rows};
use crate::{LeasedMessage, StoreError};

/// Leased deliveries on their way to the caller: dropped on the way, they go back to the queue.
pub(crate) struct Leasehold {
    core: Arc<Core>,
    session: i64,
    pub(crate) taken: Vec<Taken>,
}

impl Leasehold {
    /// Leases in a task of its own: a caller that goes away in the middle of the commit would
    /// leave nobody to give back what was leased.
    pub(crate) async fn take(core: &Arc<Core>, wish: Wish) -> Result<Self, StoreError> {
        let core = Arc::clone(core);
        let leasing = tokio::spawn(async move {
            let taken = in_transaction!(core, Operation::Lease, |tx| lease::lease(
                tx, &core.own, wish
            ))?;
            Ok(Self {
                core,
                session: wish.session,
                taken,
            })
        });
        leasing.await.map_err(|_| StoreError::Closed)?
    }

    /// Says that the caller has these; the others were set aside.
    pub(crate) fn hand_over(mut self, leased: &[LeasedMessage]) {
        let deliveries = leased.iter().flat_map(|message| &message.deliveries);
        let held = &self.core.held;
        held.add(deliveries.map(|delivery| rows::key(delivery.id)));
        self.taken.clear();
    }
}

impl Drop for Leasehold {
    fn drop(&mut self) {
        let ids: Vec<(Id, i32)> = std::mem::take(&mut self.taken)
            .into_iter()
            .flat_map(|one| {
                let message = one.message;
                one.deliveries
                    .into_iter()
                    .map(move |(idx, _)| (message, idx))
            })
            .collect();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if ids.is_empty() {
            return;
        }
        let (core, session) = (Arc::clone(&self.core), self.session);
        runtime.spawn(async move {
            let given = in_transaction!(core, Operation::Lease, |tx| lease::give_back(
                tx, session, &ids
            ));
            if let Err(error) = given {
                // They stay leased until the session ends.
                tracing::warn!(%error, "could not give a lease back");
            }
        });
    }
}
