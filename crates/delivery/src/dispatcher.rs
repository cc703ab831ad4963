//! Takes due mail out of its lanes. One task per lane, so that no lane waits for another; each has
//! a bounded number of calls under way.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use malote_core::name::{MailboxProvider, TargetName};
use malote_router::Exclusion;
use malote_store::{Lane, LaneId, LeasedMessage, StoreError};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::policy::Policy;
use crate::workers::Places;

/// Deliveries a lease at most.
const LEASE_MAX: u32 = 128;
/// Messages a lane may have under way at most.
const UNDER_WAY_MAX: usize = 512;
/// Messages under way per call that the targets allow: while one waits for its commit, another calls.
const UNDER_WAY_PER_CALL: u32 = 4;
/// Seconds of a target's rate that may be under way.
const RATE_AHEAD_S: f64 = 4.0;
/// Longest sleep of an idle lane; bells and due times end it earlier.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Longest sleep of a frozen lane: what froze it may end without a bell.
const FROZEN_MAX: Duration = Duration::from_secs(1);
/// Rest after the store failed.
const STORE_REST: Duration = Duration::from_secs(1);

/// One lane's task.
struct LaneTask {
    engine: Arc<Engine>,
    lane: Lane,
    id: LaneId,
    bell: Arc<Notify>,
    calls: JoinSet<()>,
    shutdown: CancellationToken,
}

impl Engine {
    /// Dispatches until `shutdown`, then lets calls under way end for `drain_max` and leaves the
    /// rest to their leases.
    pub async fn dispatch(self: Arc<Self>, shutdown: CancellationToken) {
        let mut lanes = JoinSet::new();
        let mut running = HashSet::new();
        loop {
            let added = self.lane_added.notified();
            match self.spool.lanes(self.clock.now()).await {
                Ok(depths) => {
                    for depth in depths {
                        if running.insert(depth.id) {
                            let task = LaneTask {
                                engine: Arc::clone(&self),
                                bell: self.bell(depth.id),
                                lane: depth.lane,
                                id: depth.id,
                                calls: JoinSet::new(),
                                shutdown: shutdown.clone(),
                            };
                            lanes.spawn(task.run());
                        }
                    }
                }
                Err(error) => tracing::error!(%error, "could not read the lanes"),
            }
            tokio::select! {
                () = added => {}
                () = tokio::time::sleep(IDLE_MAX) => {}
                () = shutdown.cancelled() => break,
            }
        }
        let drain_max = self.policy.load().bounds.drain_max;
        let ended = timeout(drain_max, async {
            while lanes.join_next().await.is_some() {}
        });
        if ended.await.is_err() {
            tracing::warn!(
                "stopped with calls under way; their outcome is decided at the next start"
            );
        }
    }
}

impl LaneTask {
    async fn run(mut self) {
        while !self.shutdown.is_cancelled() {
            while self.calls.try_join_next().is_some() {}
            let policy = self.engine.policy.load_full();
            let now = self.engine.clock.now();
            if let Some(wait) = self.frozen_for(&policy, now) {
                self.sleep(wait.min(FROZEN_MAX)).await;
                continue;
            }
            let max = self.under_way_max(&policy);
            let room = max.saturating_sub(self.calls.len());
            if room < max.div_ceil(4) {
                self.calls.join_next().await;
                continue;
            }
            let count = u32::try_from(room).unwrap_or(LEASE_MAX).min(LEASE_MAX);
            let Some(places) = self.places(count).await else {
                continue;
            };
            let lease = self
                .engine
                .spool
                .lease(self.engine.session, self.id, places.count(), now);
            match lease.await {
                Ok(leased) if leased.is_empty() => {
                    drop(places);
                    self.idle(now).await;
                }
                Ok(leased) => self.send_off(&policy, leased, places).await,
                Err(error) => self.store_failed(&error).await,
            }
        }
        while self.calls.join_next().await.is_some() {}
    }

    /// Places for messages under way; `None` on shutdown.
    async fn places(&self, count: u32) -> Option<Places> {
        tokio::select! {
            places = self.engine.workers.take(self.lane.class, count) => places,
            () = self.shutdown.cancelled() => None,
        }
    }

    /// Starts the calls of a lease.
    async fn send_off(
        &mut self,
        policy: &Arc<Policy>,
        leased: Vec<LeasedMessage>,
        mut places: Places,
    ) {
        let now = self.engine.clock.now();
        let deliveries: usize = leased.iter().map(|message| message.deliveries.len()).sum();
        self.engine
            .metrics
            .lease_size
            .observe(f64::from(u32::try_from(deliveries).unwrap_or(u32::MAX)));
        let addresses: Vec<_> = leased
            .iter()
            .flat_map(|message| message.deliveries.iter().map(|d| d.recipient.clone()))
            .collect();
        let scopes = policy.scopes_of(&self.lane.stream, self.lane.class);
        let mut suppressed = match self
            .engine
            .shared
            .suppressed(&addresses, &scopes, now)
            .await
        {
            Ok(suppressed) => suppressed.into_iter(),
            // Nothing may leave unchecked: the leases go back when the session ends.
            Err(error) => {
                self.engine.put_back(&leased, now, STORE_REST).await;
                return self.store_failed(&error).await;
            }
        };
        for message in leased {
            let of_message = suppressed.by_ref().take(message.deliveries.len()).collect();
            let engine = Arc::clone(&self.engine);
            let policy = Arc::clone(policy);
            let (lane, bell) = (self.lane.clone(), Arc::clone(&self.bell));
            let place = places.split();
            self.calls.spawn(async move {
                let _place = place;
                let is_due_again = engine.carry(&policy, &lane, message, of_message).await;
                if is_due_again {
                    bell.notify_one();
                }
            });
        }
    }

    /// Waits for the bell, for the next due time, or for a call to end (whose delivery may be due
    /// again).
    async fn idle(&mut self, now: Timestamp) {
        let wait = match self.engine.spool.next_due(self.id).await {
            Ok(Some(due_at)) => {
                let ms = due_at
                    .duration_since(now)
                    .as_millis()
                    .clamp(0, i128::from(u32::MAX));
                Duration::from_millis(u64::try_from(ms).unwrap_or(0) + 1)
            }
            Ok(None) => IDLE_MAX,
            Err(error) => return self.store_failed(&error).await,
        };
        self.sleep(wait.min(IDLE_MAX)).await;
    }

    async fn store_failed(&self, error: &StoreError) {
        tracing::error!(stream = %self.lane.stream, %error, "the store failed, the lane rests");
        self.sleep_without_bell(STORE_REST).await;
    }

    async fn sleep(&self, wait: Duration) {
        tokio::select! {
            () = self.bell.notified() => {}
            () = tokio::time::sleep(wait) => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    async fn sleep_without_bell(&self, wait: Duration) {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    /// How long nothing of this lane can leave: its stream is paused or gone, or every target of
    /// its route is out.
    fn frozen_for(&self, policy: &Policy, now: Timestamp) -> Option<Duration> {
        if !policy.streams.contains_key(&self.lane.stream)
            || self.engine.registry.is_paused(&self.lane.stream)
        {
            return Some(FROZEN_MAX);
        }
        let picture = self.engine.registry.picture(now);
        let nobody = MailboxProvider::other();
        let exclusions: Option<Vec<Exclusion>> = self
            .targets(policy)
            .iter()
            .map(|target| picture.exclusion(target, "", &nobody))
            .collect();
        let earliest = exclusions?.iter().filter_map(Exclusion::retry_at).min();
        let wait = earliest.map_or(FROZEN_MAX, |at| at.duration_since(now).unsigned_abs());
        Some(wait.max(Duration::from_millis(1)))
    }

    fn under_way_max(&self, policy: &Policy) -> usize {
        let limiters = self.engine.limiters.load();
        let calls = self.targets(policy).into_iter().map(|target| {
            let by_calls = limiters
                .concurrency(&target)
                .saturating_mul(UNDER_WAY_PER_CALL);
            let rate = policy.rate_of(&target);
            by_calls.min(rate.map_or(u32::MAX, |rate| whole(rate * RATE_AHEAD_S)))
        });
        let sum = calls.fold(0_u32, u32::saturating_add);
        usize::try_from(sum)
            .unwrap_or(UNDER_WAY_MAX)
            .clamp(4, UNDER_WAY_MAX)
    }

    fn targets(&self, policy: &Policy) -> Vec<TargetName> {
        policy
            .router
            .targets_of(&self.lane.route, &self.lane.stream)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are 0.01 to 100000, checked by the configuration"
)]
fn whole(number: f64) -> u32 {
    number.ceil().max(1.0) as u32
}
