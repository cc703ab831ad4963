//! Takes due mail out of its lanes. One task per lane, so that no lane waits for another; each has
//! a bounded number of calls under way.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use malote_core::name::{MailboxProvider, TargetName};
use malote_router::Exclusion;
use malote_store::{Lane, LaneDepth, LaneId, LeasedMessage, StoreError};
use tokio::sync::{Notify, OwnedSemaphorePermit};
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
/// The same where other nodes work on the spool, whose mail rings no bell here.
const IDLE_SHARED_MAX: Duration = Duration::from_secs(1);
/// Longest sleep of a frozen lane: what froze it may end without a bell.
const FROZEN_MAX: Duration = Duration::from_secs(1);
/// Crashes after which a message is carried alone. The store counts every lease that a crash ended,
/// those of innocent messages too. One or two crashes say nothing; in a loop of crashes their cause
/// is soon the only one that is under way each time, and reaches the number that quarantines it,
/// while the others wait in the queue, where a crash does not count.
const SUSPECT_CRASHES: u32 = 3;
/// How long such a message waits while another one is under way.
const SUSPECT_REST: Duration = Duration::from_millis(500);
/// Rest after the store failed.
const STORE_REST: Duration = Duration::from_secs(1);

/// Rest of mail that is due by the clock and was not leased.
const DUE_REST: Duration = Duration::from_millis(20);

/// One lane's task.
struct LaneTask {
    engine: Arc<Engine>,
    lane: Lane,
    id: LaneId,
    bell: Arc<Notify>,
    /// Messages under way; each ends with when it is due again.
    calls: JoinSet<Option<Timestamp>>,
    shutdown: CancellationToken,
}

impl Engine {
    /// Dispatches until `shutdown`, then lets calls under way end for `drain_max` and leaves the
    /// rest to their leases.
    pub async fn dispatch(self: Arc<Self>, shutdown: CancellationToken) {
        let mut lanes = JoinSet::new();
        let mut running = HashMap::new();
        loop {
            let added = self.lane_added.notified();
            let rest = match self.spool.lanes(self.clock.now()).await {
                Ok(depths) => {
                    for depth in depths {
                        if !running.values().any(|id| *id == depth.id) {
                            let id = depth.id;
                            let task = LaneTask::new(&self, depth, &shutdown);
                            running.insert(lanes.spawn(task.run()).id(), id);
                        }
                    }
                    self.idle_max()
                }
                Err(error) => {
                    tracing::error!(%error, "could not read the lanes");
                    STORE_REST
                }
            };
            tokio::select! {
                () = added => {}
                () = tokio::time::sleep(rest) => {}
                Some(Err(ended)) = lanes.join_next() => {
                    // A lane never ends by itself; begun anew it goes on with what is queued.
                    tracing::error!(error = %ended, "a lane broke down and begins anew");
                    running.remove(&ended.id());
                    tokio::time::sleep(STORE_REST).await;
                }
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

impl Engine {
    fn idle_max(&self) -> Duration {
        if self.spool.is_shared() {
            IDLE_SHARED_MAX
        } else {
            IDLE_MAX
        }
    }
}

impl LaneTask {
    fn new(engine: &Arc<Engine>, depth: LaneDepth, shutdown: &CancellationToken) -> Self {
        Self {
            engine: Arc::clone(engine),
            bell: engine.bell(depth.id),
            lane: depth.lane,
            id: depth.id,
            calls: JoinSet::new(),
            shutdown: shutdown.clone(),
        }
    }

    async fn run(mut self) {
        while !self.shutdown.is_cancelled() {
            while self.calls.try_join_next().is_some() {}
            let policy = self.engine.policy.load_full();
            if self.is_frozen(&policy).await {
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
            // Places may have been long in coming: the stream may be paused by now, or the
            // configuration another one.
            let policy = self.engine.policy.load_full();
            if self.frozen_for(&policy, self.engine.clock.now()).is_some() {
                continue;
            }
            self.lease(&policy, places).await;
        }
        while self.calls.join_next().await.is_some() {}
    }

    /// Sleeps a while if nothing of this lane can leave.
    async fn is_frozen(&self, policy: &Policy) -> bool {
        let Some(wait) = self.frozen_for(policy, self.engine.clock.now()) else {
            return false;
        };
        self.sleep(wait.min(FROZEN_MAX)).await;
        true
    }

    async fn lease(&mut self, policy: &Arc<Policy>, places: Places) {
        let now = self.engine.clock.now();
        let engine = &self.engine;
        let lease = engine
            .spool
            .lease(engine.session, self.id, places.count(), now);
        match lease.await {
            Ok(leased) if leased.is_empty() => {
                drop(places);
                self.idle().await;
            }
            Ok(leased) => self.send_off(policy, leased, places).await,
            Err(error) => self.store_failed(&error).await,
        }
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
        let (leased, mut suspect) = self.without_suspects(leased).await;
        let deliveries: usize = leased.iter().map(|message| message.deliveries.len()).sum();
        let size = f64::from(u32::try_from(deliveries).unwrap_or(u32::MAX));
        self.engine.metrics.lease_size.observe(size);
        let addresses: Vec<_> = leased
            .iter()
            .flat_map(|message| message.deliveries.iter().map(|d| d.recipient.clone()))
            .collect();
        let scopes = policy.scopes_of(&self.lane.stream, self.lane.class);
        let now = self.engine.clock.now();
        let suppressed = self
            .engine
            .shared
            .suppressed(&addresses, &scopes, now)
            .await;
        let mut suppressed = match suppressed {
            Ok(suppressed) => suppressed.into_iter(),
            // Nothing may leave unchecked.
            Err(error) => {
                self.engine.put_back(&leased, STORE_REST).await;
                return self.store_failed(&error).await;
            }
        };
        for message in leased {
            let of_message = suppressed.by_ref().take(message.deliveries.len()).collect();
            let held = (places.split(), suspect.take_if(|_| is_suspect(&message)));
            let engine = Arc::clone(&self.engine);
            let (policy, lane) = (Arc::clone(policy), self.lane.clone());
            self.calls.spawn(async move {
                let _held = held;
                engine
                    .carry_safely(&policy, &lane, message, of_message)
                    .await
            });
        }
    }

    /// Leaves one suspect of a lease at most, with the right to be the only one under way, and
    /// gives the others back before it starts: what is not leased does not count a crash.
    async fn without_suspects(
        &self,
        leased: Vec<LeasedMessage>,
    ) -> (Vec<LeasedMessage>, Option<OwnedSemaphorePermit>) {
        let (mut suspects, mut leased): (Vec<_>, Vec<_>) = leased.into_iter().partition(is_suspect);
        if suspects.is_empty() {
            return (leased, None);
        }
        let alone = Arc::clone(&self.engine.suspects).try_acquire_owned().ok();
        if alone.is_some() {
            leased.extend(suspects.pop());
        }
        self.engine.put_back(&suspects, SUSPECT_REST).await;
        (leased, alone)
    }

    /// Waits for the bell, for the next due time, or for a call to end whose delivery is due
    /// earlier than that.
    async fn idle(&mut self) {
        let due_at = match self.engine.spool.next_due(self.id).await {
            Ok(due_at) => due_at,
            Err(error) => return self.store_failed(&error).await,
        };
        let started = tokio::time::Instant::now();
        let mut wait = due_at.map_or(self.engine.idle_max(), |at| self.until(at));
        loop {
            tokio::select! {
                () = self.bell.notified() => return,
                () = tokio::time::sleep_until(started + wait) => return,
                () = self.shutdown.cancelled() => return,
                Some(ended) = self.calls.join_next() => {
                    if let Ok(Some(due_at)) = ended {
                        wait = wait.min(started.elapsed() + self.until(due_at));
                    }
                }
            }
        }
    }

    /// How long to sleep for mail that is due then.
    fn until(&self, due_at: Timestamp) -> Duration {
        let now = self.engine.clock.now();
        if due_at <= now {
            return DUE_REST;
        }
        // Rounded up, so that the lane does not wake just before it is due.
        let wait = due_at.duration_since(now).unsigned_abs() + Duration::from_millis(1);
        wait.min(self.engine.idle_max())
    }

    async fn store_failed(&self, error: &StoreError) {
        tracing::error!(stream = %self.lane.stream, %error, "the store failed, the lane rests");
        tokio::select! {
            () = tokio::time::sleep(STORE_REST) => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    async fn sleep(&self, wait: Duration) {
        tokio::select! {
            () = self.bell.notified() => {}
            () = tokio::time::sleep(wait) => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    /// How long nothing of this lane can leave: it is left to other nodes, its stream is paused or
    /// gone, or every target of its route is out.
    fn frozen_for(&self, policy: &Policy, now: Timestamp) -> Option<Duration> {
        if self.engine.leaves_to_others()
            || !policy.streams.contains_key(&self.lane.stream)
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

/// Whether a message was under way in so many crashes that it may be their cause.
fn is_suspect(message: &LeasedMessage) -> bool {
    let crashes = message.deliveries.iter().map(|delivery| delivery.crashes);
    crashes.max().unwrap_or(0) >= SUSPECT_CRASHES
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are 0.01 to 100000, checked by the configuration"
)]
fn whole(number: f64) -> u32 {
    number.ceil().max(1.0) as u32
}
