//! One outlet's loop: move, tell, settle.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use malote_core::feed::{FeedCursor, FeedEvent, FeedQuery};
use malote_core::id::MessageId;
use malote_core::outlet::{Outlet, OutletName, TELL_WAIT_MAX, Told, Untold};
use malote_store::{
    Enqueue, Enqueued, OutboxRow, OutboxSettled, OutboxStep, OutletRecord, StoreError,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::outbox::step::{BEHIND_AFTER, FAILURES_FREE, NextStep, Outcome, Situation, next_step};
use crate::outbox::{STORE_REST, configured};
use crate::settling::patiently;

/// Events told to one outlet at once.
const TELLS_MAX: usize = 8;
/// Events read of the feed at once.
const PAGE: u16 = 500;
/// Pages of one turn: then what is due gets its turn.
const PAGES_MAX: usize = 20;
/// Events that wait for one outlet at most; beyond, its place in the feed waits.
pub(crate) const WAITING_MAX: u64 = 1_000_000;
/// How often it is looked for events without a bell.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// Least time between two looks, so that busy mail does not make a busy loop.
const TURN_REST: Duration = Duration::from_millis(20);
/// How long a place in the feed behind which nothing is wanted stays in memory only: after a crash
/// so much is looked at again.
const PLACE_KEPT_EVERY: Duration = Duration::from_secs(10);

/// One outlet's loop.
pub(super) struct OutletTask {
    engine: Arc<Engine>,
    name: OutletName,
    shutdown: CancellationToken,
    tells: JoinSet<Answer>,
    /// Messages of which an event is being told, and its recipient if another event can undo it.
    under_way: BTreeMap<MessageId, Option<String>>,
    /// Whether this node is the one that tells it, where several have it.
    is_held: bool,
    /// How far the feed has been looked at, and when that was last made durable.
    place: Option<(FeedCursor, Timestamp)>,
    failures: u32,
    is_unusable: bool,
    is_behind: bool,
    is_full: bool,
    rests_until: Option<Timestamp>,
    enabled_at: Option<Timestamp>,
}

/// What became of one event.
struct Answer {
    row: OutboxRow,
    message: MessageId,
    said: Said,
}

enum Said {
    /// By its peer.
    Peer(Result<(), Untold>),
    /// Nothing: a later event undid this one.
    Overtaken,
    /// Nothing: our own store could not say whether one did.
    Unasked(StoreError),
}

impl OutletTask {
    pub(super) fn new(engine: &Arc<Engine>, name: OutletName, shutdown: CancellationToken) -> Self {
        Self {
            engine: Arc::clone(engine),
            name,
            shutdown,
            tells: JoinSet::new(),
            under_way: BTreeMap::new(),
            is_held: false,
            place: None,
            failures: 0,
            is_unusable: false,
            is_behind: false,
            is_full: false,
            rests_until: None,
            enabled_at: None,
        }
    }

    pub(super) async fn run(mut self) {
        let mut bell = self.engine.feed_bell.subscribe();
        while !self.shutdown.is_cancelled() {
            let Some(outlet) = configured(&self.engine.policy.load(), &self.name) else {
                break;
            };
            if let Err(error) = self.turn(&outlet).await {
                tracing::error!(outlet = %self.name, %error, "could not go on with an outlet, it comes again");
                tokio::time::sleep(STORE_REST).await;
            }
            tokio::select! {
                () = self.shutdown.cancelled() => break,
                Some(first) = self.tells.join_next(), if !self.tells.is_empty() => {
                    self.settle(first.into_iter().collect()).await;
                }
                _ = bell.changed() => tokio::time::sleep(TURN_REST).await,
                () = tokio::time::sleep(POLL_EVERY) => {}
            }
        }
        // Each ends by itself; who waits for this loop does not wait for ever.
        while let Some(answer) = self.tells.join_next().await {
            self.settle(answer.into_iter().collect()).await;
        }
    }

    async fn turn(&mut self, outlet: &Arc<dyn Outlet>) -> Result<(), StoreError> {
        if self.engine.leaves_to_others() {
            return self.let_go().await;
        }
        let spool = &self.engine.spool;
        self.is_held = spool.hold_outlet(&self.name, self.engine.session).await?;
        if !self.is_held {
            // Another node moves its place in the feed on; what we knew of it is over.
            self.place = None;
            return Ok(());
        }
        let Some(record) = spool.outlet(&self.name).await? else {
            return Ok(());
        };
        if record.enabled_at != self.enabled_at {
            self.enabled_at = record.enabled_at;
            (self.failures, self.is_unusable, self.rests_until) = (0, false, None);
        }
        if record.disabled.is_some() {
            return Ok(());
        }
        self.move_on(outlet, &record).await?;
        self.tell_due(outlet).await
    }

    /// Leaves the outlet to other nodes once what is being told is settled.
    async fn let_go(&mut self) -> Result<(), StoreError> {
        if self.is_held && self.tells.is_empty() {
            let spool = &self.engine.spool;
            spool
                .let_go_of_outlet(&self.name, self.engine.session)
                .await?;
            self.is_held = false;
            self.place = None;
        }
        Ok(())
    }

    /// Puts what the outlet wants of the feed into its outbox.
    async fn move_on(
        &mut self,
        outlet: &Arc<dyn Outlet>,
        record: &OutletRecord,
    ) -> Result<(), StoreError> {
        let now = self.engine.clock.now();
        let (mut place, mut kept_at) = self.place.unwrap_or((record.cursor, now));
        for _ in 0..PAGES_MAX {
            let query = FeedQuery {
                after: place,
                owner: Some(outlet.credential().clone()),
                limit: PAGE,
                ..FeedQuery::default()
            };
            let page = self.engine.spool.feed(&query).await?;
            let wanted: Vec<FeedCursor> = page
                .events
                .iter()
                .filter(|event| outlet.wants(event))
                .map(|event| event.cursor)
                .collect();
            let is_old = now.duration_since(kept_at).unsigned_abs() >= PLACE_KEPT_EVERY;
            if !wanted.is_empty() || (is_old && page.next != record.cursor) {
                let wish = Enqueue {
                    wanted,
                    next: Some(page.next),
                    waiting_max: WAITING_MAX,
                    now,
                };
                match self.engine.spool.enqueue(&self.name, wish).await? {
                    Enqueued::Kept(_) => {
                        kept_at = now;
                        self.is_full = false;
                    }
                    Enqueued::Full => {
                        if !self.is_full {
                            tracing::error!(outlet = %self.name, "the outbox is full: its place in the feed waits");
                        }
                        self.is_full = true;
                        break;
                    }
                }
            }
            place = page.next;
            if page.is_end {
                break;
            }
        }
        self.place = Some((place, kept_at));
        Ok(())
    }

    /// Begins to tell what is due, as far as there is room.
    async fn tell_due(&mut self, outlet: &Arc<dyn Outlet>) -> Result<(), StoreError> {
        let now = self.engine.clock.now();
        if self.rests_until.is_some_and(|until| until > now) {
            return Ok(());
        }
        let is_probing = self.is_unusable || self.failures >= FAILURES_FREE;
        let most = if is_probing { 1 } else { TELLS_MAX };
        let room = most.saturating_sub(self.tells.len());
        if room == 0 {
            return Ok(());
        }
        let count_max = u32::try_from(room + self.under_way.len()).unwrap_or(u32::MAX);
        let due = self.engine.spool.outbox_due(&self.name, count_max, now);
        let mut unreadable = Vec::new();
        for row in due.await? {
            let Some(event) = row.event.clone() else {
                unreadable.push(row.cursor);
                continue;
            };
            let message = event.id.delivery.message;
            let can_be_undone = outlet.undone_by(&event.kind).is_some();
            let recipient = can_be_undone.then(|| event.recipient.to_lowercase());
            if self.tells.len() < most && !self.is_under_way(message, recipient.as_ref()) {
                self.under_way.insert(message, recipient);
                let tell = tell(Arc::clone(&self.engine), Arc::clone(outlet), row, event);
                self.tells.spawn(tell);
            }
        }
        self.drop_unreadable(unreadable, now).await
    }

    /// Whether an event has to wait for one that is being told.
    fn is_under_way(&self, message: MessageId, recipient: Option<&String>) -> bool {
        let mut recipients = self.under_way.values().flatten();
        self.under_way.contains_key(&message)
            || recipient.is_some_and(|wanted| recipients.any(|own| own == wanted))
    }

    async fn drop_unreadable(
        &self,
        events: Vec<FeedCursor>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        let record = self.engine.spool.outlet(&self.name).await?;
        let mut steps = Vec::with_capacity(events.len());
        for event in events {
            tracing::error!(outlet = %self.name, feed = event.0, "dropped an event that cannot be read");
            self.count(Outcome::Unreadable);
            let why = "its record cannot be read".to_owned();
            steps.push((event, OutboxStep::Dropped(why)));
        }
        let settled = OutboxSettled {
            steps,
            failing_since: record.and_then(|record| record.failing_since),
            now,
        };
        self.engine.spool.outbox_settle(&self.name, settled).await
    }

    /// Writes what became of the first answer and of all that are there with it.
    async fn settle(&mut self, mut answers: Vec<Answer>) {
        while let Some(answer) = self.tells.try_join_next() {
            answers.extend(answer);
        }
        for answer in &answers {
            self.under_way.remove(&answer.message);
        }
        if let Err(error) = self.write(&answers).await {
            tracing::error!(outlet = %self.name, %error, "could not settle; the events are told again");
        }
    }

    async fn write(&mut self, answers: &[Answer]) -> Result<(), StoreError> {
        let record = patiently(|| self.engine.spool.outlet(&self.name)).await?;
        let Some(record) = record else {
            return Ok(());
        };
        let now = self.engine.clock.now();
        let mut settled = OutboxSettled {
            steps: Vec::with_capacity(answers.len()),
            failing_since: record.failing_since,
            now,
        };
        let mut disable = None;
        let mut unasked = None;
        for answer in answers {
            let said = match &answer.said {
                Said::Peer(said) => said,
                Said::Overtaken => {
                    self.count(Outcome::Overtaken);
                    settled.steps.push((answer.row.cursor, OutboxStep::Told));
                    continue;
                }
                Said::Unasked(error) => {
                    unasked = Some(error);
                    continue;
                }
            };
            let step = next_step(&Situation {
                answer: said,
                attempts: answer.row.attempts,
                first_at: answer.row.first_at,
                failing_since: settled.failing_since,
                failures: self.failures,
                enabled_at: record.enabled_at,
                now,
                chance: rand::random(),
            });
            self.note((&answer.row, said), &step, now);
            settled.failing_since = step.failing_since;
            settled.steps.push((answer.row.cursor, step.event));
            disable = step.disable.or(disable);
        }
        if let Some(error) = unasked {
            self.rest_for_the_store(error, now);
        }
        patiently(|| self.engine.spool.outbox_settle(&self.name, settled.clone())).await?;
        if let Some(reason) = disable {
            let set_aside = || self.engine.spool.disable_outlet(&self.name, &reason, now);
            patiently(set_aside).await?;
            tracing::error!(alert = "outlet_disabled", outlet = %self.name, reason, "an outlet is set aside until it is enabled");
        }
        Ok(())
    }

    /// What could not be asked about waits as it is: that is no failure of its peer.
    fn rest_for_the_store(&mut self, error: &StoreError, now: Timestamp) {
        tracing::error!(outlet = %self.name, %error, "could not look for later events, what is due waits");
        self.rests_until = self.rests_until.max(now.checked_add(STORE_REST).ok());
    }

    /// What an answer says of the outlet, for the turns to come and for the operator.
    fn note(
        &mut self,
        (row, said): (&OutboxRow, &Result<(), Untold>),
        step: &NextStep,
        now: Timestamp,
    ) {
        self.count(step.outcome);
        let event = row.event.as_ref().map(|event| event.id.to_string());
        let event = event.unwrap_or_default();
        match &step.event {
            OutboxStep::Told => tracing::debug!(outlet = %self.name, event, "told an event"),
            OutboxStep::Dropped(reason) => {
                tracing::warn!(outlet = %self.name, event, reason, "dropped an event that an outlet was not told");
            }
            OutboxStep::Again { due_at, error } => {
                tracing::debug!(outlet = %self.name, event, %due_at, error, "an event is told later");
            }
        }
        let is_unusable = step.outcome == Outcome::Unusable;
        if is_unusable && !self.is_unusable {
            let reason = said.as_ref().err().map(ToString::to_string);
            tracing::error!(alert = "outlet_unusable", outlet = %self.name, reason, "an outlet takes nothing");
        } else if self.is_unusable && step.failing_since.is_none() {
            tracing::info!(outlet = %self.name, "an outlet takes events again");
        }
        self.is_unusable = is_unusable;
        self.warn_if_behind(step, now);
        self.failures = step.failures;
        self.rests_until = match step.rest {
            Duration::ZERO => None,
            rest => now.checked_add(rest).ok(),
        };
    }

    /// Says once, long before anything is given up, that nothing could be told for some time.
    fn warn_if_behind(&mut self, step: &NextStep, now: Timestamp) {
        let is_behind = step
            .failing_since
            .is_some_and(|since| now.duration_since(since) >= BEHIND_AFTER);
        if is_behind && !self.is_behind {
            tracing::error!(alert = "outlet_behind", outlet = %self.name, "nothing could be told to an outlet for an hour");
        }
        self.is_behind = is_behind;
    }

    fn count(&self, outcome: Outcome) {
        let metrics = &self.engine.metrics;
        metrics.outlet_told(&self.name, outcome.as_str()).inc();
    }
}

/// Tells one event, unless a later one undid it. Always answers, also where it breaks: its message
/// is under way until then.
async fn tell(
    engine: Arc<Engine>,
    outlet: Arc<dyn Outlet>,
    row: OutboxRow,
    event: FeedEvent,
) -> Answer {
    let said = ask(&engine, outlet.as_ref(), &row, &event);
    let said = AssertUnwindSafe(said).catch_unwind().await;
    Answer {
        message: event.id.delivery.message,
        row,
        said: said.unwrap_or_else(|_| {
            engine.metrics.panics.inc();
            Said::Peer(Err(later("the gateway broke over it")))
        }),
    }
}

async fn ask(
    engine: &Arc<Engine>,
    outlet: &dyn Outlet,
    row: &OutboxRow,
    event: &FeedEvent,
) -> Said {
    let is_overtaken = engine.is_overtaken(outlet, event);
    match tokio::time::timeout(TELL_WAIT_MAX, is_overtaken).await {
        Ok(Ok(true)) => Said::Overtaken,
        Ok(Ok(false)) => Said::Peer(ask_peer(engine, outlet, row, event).await),
        Ok(Err(error)) => Said::Unasked(error),
        Err(_) => Said::Unasked(StoreError::Busy),
    }
}

async fn ask_peer(
    engine: &Arc<Engine>,
    outlet: &dyn Outlet,
    row: &OutboxRow,
    event: &FeedEvent,
) -> Result<(), Untold> {
    let attempt = row.attempts.saturating_add(1);
    match tokio::time::timeout(TELL_WAIT_MAX, outlet.tell(event, attempt)).await {
        Ok(Ok(Told::Done(what))) => {
            tracing::debug!(outlet = %outlet.name(), what, "an outlet's peer answered");
            Ok(())
        }
        Ok(Ok(Told::ByMail(mail))) => engine.take_outlet_mail(outlet, event, mail).await,
        Ok(Err(untold)) => Err(untold),
        Err(_) => Err(later("no answer in 60 s")),
    }
}

fn later(why: &str) -> Untold {
    Untold::Later {
        after: None,
        why: why.to_owned(),
    }
}
