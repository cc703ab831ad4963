//! The reputation guard: counts the bounces and complaints of each campaign, and slows, then pauses,
//! those that would cost the sender's reputation. Transactional mail is none of its business.

mod count;
mod decide;
mod hold;
mod keep;
mod list;
mod pace;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use malote_core::name::StreamName;
use malote_store::{GuardCount, GuardKey, GuardRecord, GuardState, GuardTally, Shared, StoreError};

use crate::engine::lock;
pub(crate) use count::reports_complaints;
pub use list::{GuardRow, Resumed, guard_rows};
use pace::{Meter, Turns};

/// Campaigns whose counts are kept, in memory between two ticks and in the store: those counted
/// longest ago go first.
const CAMPAIGNS_MAX: u32 = 10_000;
/// Longest name of a campaign, in octets; longer ones are cut.
const CAMPAIGN_BYTES_MAX: usize = 128;

/// What the guard knows between two looks into the store.
#[derive(Default)]
pub(crate) struct Guard {
    /// Counted since the last tick: a crash loses these, a second's worth.
    counts: Mutex<HashMap<(StreamName, String), GuardTally>>,
    records: ArcSwap<BTreeMap<GuardKey, Arc<GuardRecord>>>,
    turns: Turns,
    meter: Meter,
    forgotten_at: Mutex<Option<Timestamp>>,
    /// Held while decisions are made or undone: never both.
    decision: tokio::sync::Mutex<()>,
}

/// What stands in the way of a campaign's mail.
enum Hindrance {
    None,
    /// Every decision that slows it.
    Slowed(Vec<Arc<GuardRecord>>),
    Paused(Arc<GuardRecord>),
}

impl Guard {
    /// Takes up what was decided before.
    pub(crate) async fn restore(&self, shared: &dyn Shared) -> Result<(), StoreError> {
        let records = shared.guard_records().await?.into_iter();
        let records = records.map(|record| (record.key.clone(), Arc::new(record)));
        self.records.store(Arc::new(records.collect()));
        Ok(())
    }

    /// Counts. Of too many campaigns between two ticks the rest count for their stream only.
    fn count(&self, stream: &StreamName, campaign: Option<&str>, tally: &GuardTally) {
        let mut counts = lock(&self.counts);
        let mut key = (stream.clone(), campaign.unwrap_or_default().to_owned());
        if counts.len() >= CAMPAIGNS_MAX as usize && !counts.contains_key(&key) {
            key.1.clear();
        }
        counts.entry(key).or_default().add(tally);
    }

    /// Takes what was counted, for the store.
    fn take_counts(&self, at: Timestamp) -> Vec<GuardCount> {
        let counts = std::mem::take(&mut *lock(&self.counts)).into_iter();
        let counts = counts.map(|((stream, campaign), tally)| GuardCount {
            stream,
            campaign,
            at,
            tally,
        });
        counts.collect()
    }

    /// Gives back what the store did not take.
    fn give_back(&self, counts: &[GuardCount]) {
        for one in counts {
            let campaign = Some(one.campaign.as_str());
            self.count(&one.stream, campaign, &one.tally);
        }
    }

    fn hindrance(&self, stream: &StreamName, campaign: Option<&str>) -> Hindrance {
        let records = self.records.load();
        if records.is_empty() {
            return Hindrance::None;
        }
        let key = |campaign: Option<&str>| GuardKey {
            stream: stream.clone(),
            campaign: campaign.map(str::to_owned),
        };
        let keys = [Some(key(None)), campaign.map(|name| key(Some(name)))];
        let standing = keys.iter().flatten().filter_map(|key| records.get(key));
        let mut slowed = Vec::new();
        for record in standing {
            match record.state {
                GuardState::Paused => return Hindrance::Paused(Arc::clone(record)),
                GuardState::Slowed => slowed.push(Arc::clone(record)),
                GuardState::Resumed => {}
            }
        }
        if slowed.is_empty() {
            Hindrance::None
        } else {
            Hindrance::Slowed(slowed)
        }
    }

    /// Since when a campaign's mail counts anew, if somebody resumed it or its stream.
    fn resumed_at(&self, stream: &StreamName, campaign: Option<&str>) -> Option<Timestamp> {
        let records = self.records.load();
        let mut times = Vec::new();
        for campaign in [None, campaign.map(str::to_owned)] {
            let key = GuardKey {
                stream: stream.clone(),
                campaign,
            };
            let record = records.get(&key);
            times.extend(
                record
                    .filter(|r| r.state == GuardState::Resumed)
                    .map(|r| r.since),
            );
        }
        times.into_iter().max()
    }

    /// Puts a decision in force here, or ends it.
    fn put(&self, key: &GuardKey, record: Option<&GuardRecord>) {
        let mut records = BTreeMap::clone(&self.records.load());
        match record {
            Some(record) => records.insert(key.clone(), Arc::new(record.clone())),
            None => records.remove(key),
        };
        self.records.store(Arc::new(records));
        self.turns.forget(key);
    }

    /// Drops what was counted of what begins anew.
    fn drop_counts(&self, key: &GuardKey) {
        let records = self.records.load();
        let is_acted_on = |campaign: &str| {
            let key = GuardKey {
                stream: key.stream.clone(),
                campaign: Some(campaign.to_owned()),
            };
            records.get(&key).is_some_and(|record| acts(record.state))
        };
        lock(&self.counts).retain(|(stream, campaign), _| {
            let is_meant = match &key.campaign {
                Some(only) => campaign == only,
                None => !is_acted_on(campaign),
            };
            *stream != key.stream || !is_meant
        });
    }
}

/// Whether a decision slows or stops mail.
const fn acts(state: GuardState) -> bool {
    match state {
        GuardState::Slowed | GuardState::Paused => true,
        GuardState::Resumed => false,
    }
}

/// A campaign's name as it is kept; an empty one is none.
pub(crate) fn campaign_name(name: &str) -> Option<String> {
    let name = &name[..name.floor_char_boundary(CAMPAIGN_BYTES_MAX)];
    (!name.is_empty()).then(|| name.to_owned())
}
