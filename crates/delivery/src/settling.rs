//! Writes what became of leases, and waits for a store that cannot write now: what is not settled
//! stays under way until the next start.

use std::time::Duration;

use jiff::Timestamp;
use malote_store::{LeasedMessage, Settlement, StoreError};

use crate::attempt::Carriage;
use crate::engine::Engine;
use crate::outcome::{self, Outcome};

/// Tries, one a second, before a full disk is left to the next start.
const TRIES_MAX: u32 = 600;

impl Engine {
    /// Gives leases back without an attempt, due after `wait`.
    pub(crate) async fn put_back(&self, leased: &[LeasedMessage], wait: Duration) {
        let now = self.clock.now();
        let deliveries = leased.iter().flat_map(|message| &message.deliveries);
        let batch = deliveries.map(|delivery| outcome::back(delivery, now, wait));
        if let Err(error) = self.settle(batch.collect()).await {
            tracing::error!(%error, "could not give leases back; the next start does");
        }
    }

    /// Settles outcomes after their consequences. Returns when the first of those that wait is due.
    pub(crate) async fn finish(
        &self,
        carriage: &Carriage<'_>,
        outcomes: Vec<Outcome>,
    ) -> Option<Timestamp> {
        if outcomes.is_empty() {
            return None;
        }
        let now = self.clock.now();
        let first_due = outcomes.iter().filter_map(Outcome::due_at).min();
        let mut batch = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            self.consequences(carriage, &outcome, now).await;
            batch.push(outcome.settlement);
        }
        if let Err(error) = self.settle(batch).await {
            tracing::error!(message.id = %carriage.record.id, %error, "could not settle; the next start decides");
        }
        first_due
    }

    pub(crate) async fn settle(&self, batch: Vec<Settlement>) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        patiently(|| self.spool.settle(self.session, batch.clone())).await?;
        self.ring_outlets();
        Ok(())
    }
}

/// Does it again, once a second, while the disk is full, the store busy or its
/// database away.
pub(crate) async fn patiently<T, F>(mut act: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    for _ in 0..TRIES_MAX {
        match act().await {
            Err(StoreError::Busy | StoreError::Full | StoreError::Unavailable(_)) => {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            result => return result,
        }
    }
    act().await
}
