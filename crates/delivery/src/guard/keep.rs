//! The guard's tick: counts go to the store, and what they come to is decided and made durable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use malote_core::guard::GuardPolicy;
use malote_core::name::StreamName;
use malote_store::{
    GuardCount, GuardKey, GuardRecord, GuardState, GuardSum, GuardTally, StoreError,
};

use super::decide::{self, Change, Finding};
use super::hold::HELD_BECAUSE;
use super::{CAMPAIGNS_MAX, acts};
use crate::engine::{Engine, lock};

/// How long counts are kept: the longest window.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600 + 3600);
/// How often old ones are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(600);

impl Engine {
    /// Writes what was counted and decides anew about every stream that it concerns.
    pub(crate) async fn keep_guard(&self) -> Result<(), StoreError> {
        let _decision = self.guard.decision.lock().await;
        let now = self.clock.now();
        let counted = self.write_guard_counts(now).await?;
        // Another node may have decided, or an operator there.
        self.guard.restore(self.shared.as_ref()).await?;
        let records = self.guard.records.load_full();
        let policy = self.policy.load_full();
        let concerned: BTreeSet<&StreamName> = records
            .values()
            .filter(|record| record.state != GuardState::Paused)
            .map(|record| &record.key.stream)
            .chain(counted.iter().map(|count| &count.stream))
            .collect();
        for name in concerned {
            if let Some(guard) = policy.streams.get(name).and_then(|stream| stream.guard) {
                self.judge(name, &guard, now).await?;
            }
        }
        self.measure_guard(
            policy
                .streams
                .values()
                .filter(|s| s.guard.is_some())
                .map(|s| &s.name),
        );
        let forgotten_at = *lock(&self.guard.forgotten_at);
        if forgotten_at.is_none_or(|at| now.duration_since(at).unsigned_abs() >= FORGET_EVERY) {
            let before = now.checked_sub(KEPT).unwrap_or(Timestamp::MIN);
            self.shared
                .forget_guard_counts(before, CAMPAIGNS_MAX)
                .await?;
            *lock(&self.guard.forgotten_at) = Some(now);
        }
        Ok(())
    }

    /// Makes durable what was counted; what cannot be written is counted still.
    pub(crate) async fn write_guard_counts(
        &self,
        now: Timestamp,
    ) -> Result<Vec<GuardCount>, StoreError> {
        let counts = self.guard.take_counts(now);
        if counts.is_empty() {
            return Ok(counts);
        }
        if let Err(error) = self.shared.add_guard_counts(counts.clone()).await {
            self.guard.give_back(&counts);
            return Err(error);
        }
        self.guard.meter.tidy(now);
        let mut of_stream: BTreeMap<&StreamName, u64> = BTreeMap::new();
        for count in &counts {
            *of_stream.entry(&count.stream).or_default() += count.tally.sends;
            let key = GuardKey {
                stream: count.stream.clone(),
                campaign: Some(count.campaign.clone()),
            };
            self.guard.meter.note(&key, count.tally.sends, now);
        }
        for (stream, sends) in of_stream {
            let key = GuardKey {
                stream: stream.clone(),
                campaign: None,
            };
            self.guard.meter.note(&key, sends, now);
        }
        Ok(counts)
    }

    /// Decides about each campaign of a stream, then about the stream by what is left of them: one
    /// bad campaign that is slowed or paused does not slow the others.
    async fn judge(
        &self,
        stream: &StreamName,
        policy: &GuardPolicy,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let since = now.checked_sub(policy.window).unwrap_or(Timestamp::MIN);
        let sums = self.shared.guard_sums(stream, since).await?;
        let key = |campaign: Option<&str>| GuardKey {
            stream: stream.clone(),
            campaign: campaign.map(str::to_owned),
        };
        let mut campaigns: BTreeMap<GuardKey, (GuardTally, u64)> = sums
            .iter()
            .filter(|sum| !sum.campaign.is_empty())
            .map(|sum| (key(Some(&sum.campaign)), (sum.tally, sum.busiest_hour)))
            .collect();
        // What is slowed and no longer counted goes on.
        let records = self.guard.records.load_full();
        let known = records
            .keys()
            .filter(|key| key.stream == *stream && key.campaign.is_some());
        for key in known {
            campaigns.entry(key.clone()).or_default();
        }
        for (key, counted) in campaigns {
            self.judge_one(&key, policy, counted, now).await?;
        }
        let (tally, busiest) = of_stream(&sums, |campaign| self.acts_on(&key(Some(campaign))));
        self.judge_one(&key(None), policy, (tally, busiest), now)
            .await
    }

    fn acts_on(&self, key: &GuardKey) -> bool {
        let records = self.guard.records.load();
        records.get(key).is_some_and(|record| acts(record.state))
    }

    async fn judge_one(
        &self,
        key: &GuardKey,
        policy: &GuardPolicy,
        (tally, busiest_hour): (GuardTally, u64),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let before = self.guard.records.load().get(key).cloned();
        let standing = before.as_ref().map(|record| (record.state, &record.tally));
        let record = |state, finding: Finding, pace| GuardRecord {
            key: key.clone(),
            state,
            since: now,
            reason: reason(key, &finding),
            pace,
            tally,
        };
        match decide::next(policy, standing, &tally) {
            Some(Change::Slow(finding)) => {
                let share = policy.slow_to;
                let pace = self.guard.meter.slowed(key, share, busiest_hour, now);
                let record = record(GuardState::Slowed, finding, pace);
                self.decide(key, Some(record)).await
            }
            Some(Change::Pause(finding)) => {
                let record = record(GuardState::Paused, finding, 0.0);
                self.decide(key, Some(record)).await
            }
            Some(Change::Open) => self.decide(key, None).await,
            None => {
                let window_is_over = |record: &GuardRecord| {
                    record.state == GuardState::Resumed
                        && now.duration_since(record.since).unsigned_abs() > policy.window
                };
                if before.as_deref().is_some_and(window_is_over) {
                    self.decide(key, None).await?;
                }
                Ok(())
            }
        }
    }

    /// Makes a decision durable, puts it in force and tells a human.
    async fn decide(&self, key: &GuardKey, record: Option<GuardRecord>) -> Result<(), StoreError> {
        self.shared.set_guard_record(key, record.clone()).await?;
        self.guard.put(key, record.as_ref());
        let stream = key.stream.as_str();
        let campaign = key.campaign.as_deref().unwrap_or_default();
        match record {
            Some(record) => tracing::error!(
                alert = "guard",
                stream,
                campaign,
                state = record.state.as_str(),
                reason = record.reason,
                pace = record.pace,
                "the guard acted; `malote guard` shows the numbers"
            ),
            None => tracing::info!(stream, campaign, "the guard lets it go on as before"),
        }
        Ok(())
    }

    fn measure_guard<'a>(&self, streams: impl Iterator<Item = &'a StreamName>) {
        let records = self.guard.records.load();
        for stream in streams {
            for state in [GuardState::Slowed, GuardState::Paused] {
                let own = |record: &&Arc<GuardRecord>| {
                    record.key.stream == *stream && record.state == state
                };
                let count = records.values().filter(own).count();
                self.metrics
                    .guard
                    .with_label_values(&[stream.as_str(), state.as_str()])
                    .set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
    }
}

/// A stream's own counts: those of its campaigns but the slowed and paused ones, and of mail
/// without a campaign; and the most that one of them sent in an hour.
pub(super) fn of_stream(
    sums: &[GuardSum],
    is_acted_on: impl Fn(&str) -> bool,
) -> (GuardTally, u64) {
    let (mut tally, mut busiest) = (GuardTally::default(), 0);
    for sum in sums.iter().filter(|sum| !is_acted_on(&sum.campaign)) {
        tally.add(&sum.tally);
        busiest = busiest.max(sum.busiest_hour);
    }
    (tally, busiest)
}

/// How the reasons about a campaign, or about a stream, begin.
pub(super) fn begin(key: &GuardKey) -> String {
    let what = if key.campaign.is_some() {
        "campaign"
    } else {
        "stream"
    };
    format!("{HELD_BECAUSE}{what} ")
}

fn reason(key: &GuardKey, finding: &Finding) -> String {
    let name = key.campaign.as_deref().unwrap_or(key.stream.as_str());
    format!("{}{name}: {finding}", begin(key))
}
