//! What nodes that died had under way, taken over while this one runs.

use std::sync::Arc;
use std::time::Duration;

use malote_store::TakenOver;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::recovery::settle_pending;

/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Engine {
    /// Looks until `shutdown`, where other nodes work on the same spool.
    pub(crate) async fn take_over(self: Arc<Self>, shutdown: CancellationToken) {
        if !self.spool.is_shared() {
            return;
        }
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.cancelled() => return,
            }
            match self.spool.take_over(self.session, self.clock.now()).await {
                Ok(taken) => self.inherit(taken, &shutdown).await,
                Err(error) => {
                    tracing::error!(%error, "could not look for what dead nodes left, it comes again");
                }
            }
        }
    }

    /// Settles what had begun, however long the store takes: it is ours, and nobody else looks for
    /// it while we live.
    async fn inherit(&self, taken: TakenOver, shutdown: &CancellationToken) {
        if taken.queued == 0 && taken.pending.is_empty() {
            return;
        }
        tracing::warn!(
            queued = taken.queued,
            pending = taken.pending.len(),
            "took over what a dead node had under way"
        );
        self.lane_added.notify_one();
        self.wake_all();
        while let Err(error) = settle_pending(self, taken.pending.clone()).await {
            tracing::error!(%error, "could not settle what a dead node had begun, it comes again");
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = shutdown.cancelled() => return,
            }
        }
        self.wake_all();
    }
}
