//! What an operator sees of the guard, and letting go what it paused.

use std::collections::BTreeMap;

use jiff::Timestamp;
use malote_core::event::State;
use malote_core::id::DeliveryId;
use malote_core::name::StreamName;
use malote_core::stream::Stream;
use malote_store::{
    GuardKey, GuardRecord, GuardState, GuardTally, QueueFilter, Shared, StoreError,
};

use super::{acts, keep};
use crate::engine::Engine;

/// A campaign or a stream as the guard sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct GuardRow {
    /// What.
    pub key: GuardKey,
    /// Counts within the stream's window. Those of a stream are without its slowed and paused
    /// campaigns.
    pub tally: GuardTally,
    /// What was decided; `None` if nothing was.
    pub state: Option<GuardState>,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Why.
    pub reason: Option<String>,
    /// Recipients a second, while slowed.
    pub pace: Option<f64>,
}

impl GuardRow {
    /// Complaints, where they could be told; `None` if nobody would tell of any.
    #[must_use]
    pub const fn complaints(&self) -> Option<u64> {
        match (self.tally.reported, self.tally.complaints) {
            (0, 0) => None,
            (_, complaints) => Some(complaints),
        }
    }
}

/// What a resume did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumed {
    /// Whether the guard had slowed or paused it.
    pub was_stopped: bool,
    /// What was held and goes on.
    pub released: Vec<DeliveryId>,
}

/// Everything that the guard counts and has decided: what it stopped first, then by sends.
///
/// # Errors
/// If the store cannot be read.
pub async fn guard_rows(
    shared: &dyn Shared,
    streams: &BTreeMap<StreamName, Stream>,
    now: Timestamp,
) -> Result<Vec<GuardRow>, StoreError> {
    let records = shared.guard_records().await?;
    let mut records: BTreeMap<GuardKey, GuardRecord> = records
        .into_iter()
        .map(|record| (record.key.clone(), record))
        .collect();
    let mut rows = Vec::new();
    for (name, stream) in streams {
        let Some(policy) = stream.guard else { continue };
        let since = now.checked_sub(policy.window).unwrap_or(Timestamp::MIN);
        let sums = shared.guard_sums(name, since).await?;
        let key = |campaign: Option<&str>| GuardKey {
            stream: name.clone(),
            campaign: campaign.map(str::to_owned),
        };
        let (tally, _) = keep::of_stream(&sums, |campaign| {
            let record = records.get(&key(Some(campaign)));
            record.is_some_and(|record| acts(record.state))
        });
        if tally != GuardTally::default() {
            rows.push(row(key(None), tally, records.remove(&key(None))));
        }
        for sum in sums.iter().filter(|sum| !sum.campaign.is_empty()) {
            let key = key(Some(&sum.campaign));
            let record = records.remove(&key);
            rows.push(row(key, sum.tally, record));
        }
    }
    // Decided, and not counted any more.
    let rest = records.into_values();
    rows.extend(rest.map(|record| row(record.key.clone(), GuardTally::default(), Some(record))));
    rows.sort_by(|a, b| {
        let rank = |row: &GuardRow| (row.state.filter(|state| acts(*state)), row.tally.sends);
        rank(b).cmp(&rank(a)).then_with(|| a.key.cmp(&b.key))
    });
    Ok(rows)
}

fn row(key: GuardKey, tally: GuardTally, record: Option<GuardRecord>) -> GuardRow {
    let slowed = record
        .as_ref()
        .filter(|record| record.state == GuardState::Slowed);
    GuardRow {
        key,
        tally,
        pace: slowed.map(|record| record.pace),
        state: record.as_ref().map(|record| record.state),
        since: record.as_ref().map(|record| record.since),
        reason: record.map(|record| record.reason),
    }
}

impl Engine {
    /// As [`guard_rows`], with what was counted up to now.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub async fn guard_rows(&self) -> Result<Vec<GuardRow>, StoreError> {
        self.keep_guard().await?;
        let policy = self.policy.load_full();
        guard_rows(self.shared.as_ref(), &policy.streams, self.clock.now()).await
    }

    /// Lets a campaign or a stream go on and counts it anew: what was sent before no longer counts.
    /// What the guard held of it is released, whatever the guard knows of it now.
    ///
    /// # Errors
    /// If the change cannot be written; then the same call again does the rest.
    pub async fn resume_guard(&self, key: &GuardKey) -> Result<Resumed, StoreError> {
        let _decision = self.guard.decision.lock().await;
        let now = self.clock.now();
        self.guard.restore(self.shared.as_ref()).await?;
        let standing = self.guard.records.load().get(key).cloned();
        let was_stopped = standing.is_some_and(|record| acts(record.state));
        if was_stopped {
            self.guard.drop_counts(key);
            self.shared.reset_guard_counts(key).await?;
            let record = GuardRecord {
                key: key.clone(),
                state: GuardState::Resumed,
                since: now,
                reason: "resumed by an operator".to_owned(),
                pace: 0.0,
                tally: GuardTally::default(),
            };
            let written = self.shared.set_guard_record(key, Some(record.clone()));
            written.await?;
            self.guard.put(key, Some(&record));
        }
        let filter = QueueFilter {
            stream: Some(key.stream.clone()),
            campaign: key.campaign.clone(),
            held_because: Some(keep::begin(key)),
            state: Some(State::Held),
            ..QueueFilter::default()
        };
        let reason = "released by an operator: the guard was resumed";
        let moved = self
            .spool
            .move_deliveries(&filter, State::Queued, reason, now);
        let released = moved.await?;
        self.wake_all();
        Ok(Resumed {
            was_stopped,
            released,
        })
    }
}
