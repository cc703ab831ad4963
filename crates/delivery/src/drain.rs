//! Draining: a gateway that is about to be stopped takes no new mail. Where others work on the same
//! queue it leaves them what waits; where the queue is its own it goes on until that is empty.

use std::sync::Arc;

use malote_core::event::State;
use malote_core::intake::Openness;
use malote_store::StoreError;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;

/// States that hold a drain up, where the queue is the node's own.
const WAITING: [State; 4] = [
    State::Queued,
    State::Scheduled,
    State::Sending,
    State::Deferred,
];

/// How far a drain has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainProgress {
    /// Whether the doors take new mail.
    pub openness: Openness,
    /// Messages under way.
    pub under_way: u32,
    /// Deliveries that the node has yet to send; 0 where others work on the same queue.
    pub waiting: u64,
}

impl DrainProgress {
    /// Whether the process may end, and nobody misses it.
    #[must_use]
    pub const fn is_drained(&self) -> bool {
        matches!(self.openness, Openness::Closed) && self.under_way == 0 && self.waiting == 0
    }
}

impl Engine {
    /// Begins a drain: the doors close after `drain_notice`, and what others can do is left to them.
    pub fn drain(&self) {
        let begins = self.openness.send_if_modified(|openness| {
            let is_open = *openness == Openness::Open;
            if is_open {
                *openness = Openness::Closing;
            }
            is_open
        });
        if begins {
            tracing::info!("draining: not ready for mail any more");
        }
    }

    /// Ends a drain: the gateway serves again.
    pub fn undrain(&self) {
        self.openness.send_replace(Openness::Open);
        self.wake_all();
    }

    /// Whether the doors take new mail.
    #[must_use]
    pub fn openness(&self) -> watch::Receiver<Openness> {
        self.openness.subscribe()
    }

    /// How far a drain has come.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn drain_progress(&self) -> Result<DrainProgress, StoreError> {
        let waiting = if self.spool.is_shared() {
            0
        } else {
            let stats = self.spool.stats(self.clock.now()).await?;
            let counts = stats.by_state.iter();
            let counts = counts.filter(|((_, state), _)| WAITING.contains(state));
            counts.map(|(_, count)| count).sum()
        };
        Ok(DrainProgress {
            openness: *self.openness.borrow(),
            under_way: self.workers.under_way(),
            waiting,
        })
    }

    /// Whether this node sends nothing more, since others do.
    pub(crate) fn leaves_to_others(&self) -> bool {
        self.spool.is_shared() && *self.openness.borrow() != Openness::Open
    }

    /// Closes the doors of drains when their time has come, until `shutdown`.
    pub(crate) async fn close_doors(self: Arc<Self>, shutdown: CancellationToken) {
        let mut openness = self.openness.subscribe();
        loop {
            tokio::select! {
                begun = openness.wait_for(|openness| *openness == Openness::Closing) => {
                    if begun.is_err() {
                        return;
                    }
                }
                () = shutdown.cancelled() => return,
            }
            let notice = self.policy.load().bounds.drain_notice;
            tokio::select! {
                () = tokio::time::sleep(notice) => self.close_now(),
                _ = openness.wait_for(|openness| *openness != Openness::Closing) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    fn close_now(&self) {
        self.openness.send_if_modified(|openness| {
            let is_closing = *openness == Openness::Closing;
            if is_closing {
                *openness = Openness::Closed;
            }
            is_closing
        });
    }
}
