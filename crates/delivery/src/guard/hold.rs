//! What becomes of a delivery whose campaign is slowed or paused.

use jiff::Timestamp;
use malote_core::event::{EventKind, State};
use malote_store::{GuardRecord, Leased, QueueFilter};

use super::pace::Turn;
use super::{Guard, Hindrance};
use crate::attempt::Carriage;
use crate::engine::Engine;
use crate::intake::is_internal;
use crate::outcome::{self, Outcome};
use crate::progress::Progress;

/// How the reason of every hold by the guard begins.
pub(super) const HELD_BECAUSE: &str = "guard: ";

impl Engine {
    /// What becomes of a delivery that the guard does not let pass now. Neither costs an attempt;
    /// what is held does not expire.
    pub(crate) fn guarded(
        &self,
        carriage: &Carriage<'_>,
        delivery: &Leased,
        now: Timestamp,
    ) -> Option<Outcome> {
        carriage.stream.guard?;
        let record = carriage.record;
        if is_internal(record.channel) {
            return None;
        }
        let campaign = record.campaign.as_deref();
        match self.guard.hindrance(&carriage.stream.name, campaign) {
            Hindrance::None => None,
            Hindrance::Paused(record) => Some(held(delivery.clone(), &record.reason, now)),
            Hindrance::Slowed(records) => {
                let records = records.iter().map(AsRef::as_ref);
                slowed(&self.guard, records.collect(), delivery, now)
            }
        }
    }

    /// Lets a message go that was held in the moment in which its campaign was resumed: the release
    /// did not see it yet.
    pub(crate) async fn let_go_if_resumed(&self, carriage: &Carriage<'_>) {
        let record = carriage.record;
        let campaign = record.campaign.as_deref();
        let hindrance = self.guard.hindrance(&carriage.stream.name, campaign);
        if matches!(hindrance, Hindrance::Paused(_)) {
            return;
        }
        let filter = QueueFilter {
            message: Some(record.id),
            state: Some(State::Held),
            held_because: Some(HELD_BECAUSE.to_owned()),
            ..QueueFilter::default()
        };
        let reason = "the guard was resumed";
        let now = self.clock.now();
        let moved = self
            .spool
            .move_deliveries(&filter, State::Queued, reason, now);
        if let Err(error) = moved.await {
            tracing::error!(message.id = %record.id, %error, "could not release; `malote queue release` does");
        }
        self.wake_all();
    }
}

/// The guard has paused its campaign: it waits for a person, outside the queue.
fn held(delivery: Leased, why: &str, now: Timestamp) -> Outcome {
    let progress = delivery.progress.clone();
    let mut outcome = outcome::settled(delivery, State::Held, (EventKind::Held, None, why), now);
    outcome.settlement.next.progress = progress;
    outcome
}

/// Waits for its turn, and says so on the timeline once.
fn slowed(
    guard: &Guard,
    records: Vec<&GuardRecord>,
    delivery: &Leased,
    now: Timestamp,
) -> Option<Outcome> {
    let mut progress = Progress::read(delivery.progress.as_deref());
    if progress.has_turn {
        return None;
    }
    let (mut due_at, mut has_turn) = (now, true);
    for record in &records {
        match guard.turns.take(&record.key, record.pace, now) {
            Turn::Now => {}
            Turn::At(at) => due_at = due_at.max(at),
            Turn::AskAgain(at) => (due_at, has_turn) = (due_at.max(at), false),
        }
    }
    if due_at == now {
        return None;
    }
    let was_told = progress.was_slowed;
    progress.has_turn = has_turn;
    progress.was_slowed = true;
    let wait = due_at.duration_since(now).unsigned_abs();
    if was_told {
        return Some(outcome::wait_one(delivery.clone(), &progress, now, wait));
    }
    let reason = records.first().map_or("", |record| record.reason.as_str());
    let told = (EventKind::Deferred, reason);
    let delivery = delivery.clone();
    Some(outcome::wait_with(delivery, progress, (now, wait), told))
}
