//! The pace of a campaign: how fast it is sent, and whose turn it is while it is slowed.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use malote_core::clock::later;
use malote_store::GuardKey;

use crate::engine::lock;

/// Seconds over which a pace is measured.
const MEASURED_S: i64 = 60;
/// Campaigns measured at once.
const MEASURED_MAX: usize = 10_000;
/// Slowest pace, recipients a second: what is slowed goes on, however little was sent before.
const PACE_MIN: f64 = 1.0 / 60.0;
/// How far ahead turns are given out; what comes after that asks again then.
const AHEAD_MAX: Duration = Duration::from_secs(3600);

/// Sends of the last minute.
#[derive(Default)]
pub(super) struct Meter(Mutex<HashMap<GuardKey, VecDeque<(i64, u64)>>>);

impl Meter {
    /// Notes sends of the second that ends now.
    pub(super) fn note(&self, key: &GuardKey, sends: u64, now: Timestamp) {
        let mut measured = lock(&self.0);
        if sends == 0 || (measured.len() >= MEASURED_MAX && !measured.contains_key(key)) {
            return;
        }
        let seconds = measured.entry(key.clone()).or_default();
        seconds.push_back((now.as_second(), sends));
    }

    /// Forgets what is older than a minute.
    pub(super) fn tidy(&self, now: Timestamp) {
        let oldest = now.as_second() - MEASURED_S;
        lock(&self.0).retain(|_, seconds| {
            while seconds.front().is_some_and(|(at, _)| *at <= oldest) {
                seconds.pop_front();
            }
            !seconds.is_empty()
        });
    }

    /// Recipients a second since the first send of the last minute.
    #[expect(clippy::cast_precision_loss, reason = "counts of a minute")]
    fn pace(&self, key: &GuardKey, now: Timestamp) -> f64 {
        let measured = lock(&self.0);
        let Some((first, _)) = measured.get(key).and_then(VecDeque::front) else {
            return 0.0;
        };
        let seconds = (now.as_second() - first + 1).max(1);
        let sends: u64 = measured[key].iter().map(|(_, sends)| sends).sum();
        sends as f64 / seconds as f64
    }

    /// The pace of what is slowed: a share of what it was in the last minute, or in its busiest
    /// hour where that was faster.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub(super) fn slowed(
        &self,
        key: &GuardKey,
        share: f64,
        busiest_hour: u64,
        now: Timestamp,
    ) -> f64 {
        let pace = self.pace(key, now).max(busiest_hour as f64 / 3600.0);
        (pace * share).max(PACE_MIN)
    }
}

/// When a delivery of a slowed campaign may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// At once.
    Now,
    /// Then; the turn is its own.
    At(Timestamp),
    /// Too many are before it: it asks again then.
    AskAgain(Timestamp),
}

/// The next free turn of each slowed campaign. In memory only: after a restart turns that were
/// given out stay with the deliveries, and new ones begin now.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<GuardKey, Timestamp>>);

impl Turns {
    pub(super) fn take(&self, key: &GuardKey, pace: f64, now: Timestamp) -> Turn {
        let mut turns = lock(&self.0);
        let free_at = turns.get(key).copied().unwrap_or(now).max(now);
        if free_at.duration_since(now).unsigned_abs() > AHEAD_MAX {
            return Turn::AskAgain(later(now, AHEAD_MAX));
        }
        let gap = Duration::from_secs_f64(1.0 / pace.max(PACE_MIN));
        turns.insert(key.clone(), later(free_at, gap));
        if free_at == now {
            Turn::Now
        } else {
            Turn::At(free_at)
        }
    }

    pub(super) fn forget(&self, key: &GuardKey) {
        lock(&self.0).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn key() -> GuardKey {
        GuardKey {
            stream: "news".parse().unwrap(),
            campaign: Some("42".into()),
        }
    }

    #[test]
    fn turns_follow_each_other_at_the_pace_for_an_hour_ahead() {
        let turns = Turns::default();
        assert_eq!(turns.take(&key(), 0.5, at(0)), Turn::Now);
        assert_eq!(turns.take(&key(), 0.5, at(0)), Turn::At(at(2)));
        assert_eq!(turns.take(&key(), 0.5, at(1)), Turn::At(at(4)));
        assert_eq!(turns.take(&key(), 0.5, at(9)), Turn::Now);
        let mut last = Turn::Now;
        for _ in 0..2_000 {
            last = turns.take(&key(), 0.5, at(9));
        }
        assert_eq!(last, Turn::AskAgain(at(9 + 3600)));
        turns.forget(&key());
        assert_eq!(turns.take(&key(), 0.5, at(9)), Turn::Now);
    }

    #[test]
    fn a_slowed_pace_is_a_share_of_the_last_minute_s_or_of_the_busiest_hour_s() {
        let meter = Meter::default();
        let slowed = |busiest, now| meter.slowed(&key(), 0.1, busiest, at(now));
        assert!((slowed(0, 0) - PACE_MIN).abs() < 1e-9);
        assert!((slowed(36_000, 0) - 1.0).abs() < 1e-9);
        for second in 0..10 {
            meter.note(&key(), 50, at(second));
        }
        assert!((slowed(3_600, 9) - 5.0).abs() < 1e-9);
        meter.tidy(at(64));
        assert!((slowed(0, 64) - 250.0 / 60.0 / 10.0).abs() < 0.1);
        meter.tidy(at(200));
        assert!((slowed(3_600, 200) - 0.1).abs() < 1e-9);
    }
}
