//! The way of events out: one loop for each outlet moves what it wants of the feed into its outbox
//! and tells it, in each message's order.

mod mail;
mod operator;
mod overtaken;
mod step;
mod task;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use malote_core::outlet::{Outlet, OutletName};
use malote_store::StoreError;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use operator::Replayed;

use crate::engine::Engine;
use crate::policy::Policy;
use step::Outcome;
use task::OutletTask;

/// How often it is looked for outlets that have been away for too long.
const TIDY_EVERY: Duration = Duration::from_secs(600);
/// Rest after the store failed.
const STORE_REST: Duration = Duration::from_secs(1);

/// Rings the bell of the feed: events became durable.
pub(crate) fn ring(bell: &watch::Sender<u64>) {
    bell.send_modify(|count| *count = count.wrapping_add(1));
}

impl Engine {
    /// Tells outlets of events until `shutdown`, then lets what is under way end for `drain_max`;
    /// what is not told by then is told after the next start.
    pub async fn tell_outlets(self: Arc<Self>, shutdown: CancellationToken) {
        let mut tasks = JoinSet::new();
        let mut running = HashMap::new();
        loop {
            let changed = self.outlets_changed.notified();
            let rest = match self.keep_outlets().await {
                Ok(()) => {
                    self.begin_tasks(&mut tasks, &mut running, &shutdown);
                    TIDY_EVERY
                }
                Err(error) => {
                    tracing::error!(%error, "could not note which outlets there are, it comes again");
                    STORE_REST
                }
            };
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(rest) => {}
                Some(ended) = tasks.join_next_with_id() => {
                    let id = match ended {
                        Ok((id, ())) => id,
                        Err(error) => {
                            tracing::error!(%error, "an outlet's loop broke down and begins anew");
                            tokio::time::sleep(STORE_REST).await;
                            error.id()
                        }
                    };
                    running.retain(|_, running| *running != id);
                }
                () = shutdown.cancelled() => break,
            }
        }
        let drain_max = self.policy.load().bounds.drain_max;
        let ended = tokio::time::timeout(drain_max, async {
            while tasks.join_next().await.is_some() {}
        });
        if ended.await.is_err() {
            tracing::warn!("stopped while outlets were told; they are told again");
        }
    }

    async fn keep_outlets(&self) -> Result<(), StoreError> {
        let policy = self.policy.load_full();
        let names: Vec<OutletName> = policy.outlets.iter().map(|o| o.name().clone()).collect();
        for (outlet, events) in self.spool.keep_outlets(&names, self.clock.now()).await? {
            tracing::warn!(%outlet, events, "dropped what waited for an outlet that is no longer configured");
            self.metrics
                .forget_outlet(&outlet, &Outcome::ALL.map(Outcome::as_str));
        }
        Ok(())
    }

    fn begin_tasks(
        self: &Arc<Self>,
        tasks: &mut JoinSet<()>,
        running: &mut HashMap<OutletName, tokio::task::Id>,
        shutdown: &CancellationToken,
    ) {
        for outlet in &self.policy.load().outlets {
            let name = outlet.name();
            if !running.contains_key(name) {
                for outcome in Outcome::ALL {
                    self.metrics.outlet_told(name, outcome.as_str());
                }
                let task = OutletTask::new(self, name.clone(), shutdown.clone());
                running.insert(name.clone(), tasks.spawn(task.run()).id());
            }
        }
    }

    /// Events became durable: outlets need not wait for their next look.
    pub(crate) fn ring_outlets(&self) {
        ring(&self.feed_bell);
    }

    /// Takes the counts of outlets that metrics need.
    pub(crate) async fn measure_outlets(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        for record in self.spool.outlets().await? {
            let age = record.oldest_at.map(|at| now.duration_since(at).as_secs());
            let waiting = i64::try_from(record.waiting).unwrap_or(i64::MAX);
            let name = &record.name;
            self.metrics
                .outlet_waiting
                .with_label_values(&[name.as_str()])
                .set(waiting);
            self.metrics
                .outlet_oldest
                .with_label_values(&[name.as_str()])
                .set(age.unwrap_or(0).max(0));
            self.metrics
                .outlet_disabled
                .with_label_values(&[name.as_str()])
                .set(i64::from(record.disabled.is_some()));
        }
        Ok(())
    }
}

/// The outlet of this name, as it is configured now.
fn configured(policy: &Policy, name: &OutletName) -> Option<Arc<dyn Outlet>> {
    let mut outlets = policy.outlets.iter();
    outlets.find(|outlet| outlet.name() == name).map(Arc::clone)
}
