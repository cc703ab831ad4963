//! When a queue will be empty and when a quota will be spent, at the pace of the last minutes.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::Duration;

use jiff::Timestamp;
use malote_core::event::State;
use malote_core::name::StreamName;
use malote_core::stream::Class;
use malote_store::{QueueStats, StoreError};

use crate::engine::{Engine, lock};
use crate::limits::QuotaLeft;

/// Time after which an old pace weighs a third of what it did.
const MEMORY: Duration = Duration::from_secs(120);
/// One a day; what is slower is not a pace.
const PACE_MIN: f64 = 1.0 / 86_400.0;
/// What waits to be sent without anybody's help.
const WAITING: [State; 3] = [State::Queued, State::Scheduled, State::Deferred];

/// Paces of counters that only grow: a moving average of their increase a second.
#[derive(Debug)]
pub(crate) struct Paces<K> {
    last: HashMap<K, Sample>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Timestamp,
    count: u64,
    per_second: Option<f64>,
}

impl<K> Default for Paces<K> {
    fn default() -> Self {
        Self {
            last: HashMap::new(),
        }
    }
}

impl<K: Eq + Hash> Paces<K> {
    /// Takes a counter's value and tells its pace; `None` at the first one.
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts are far below 2^52, and a forecast is no invoice"
    )]
    pub(crate) fn take(&mut self, key: K, count: u64, at: Timestamp) -> Option<f64> {
        let Some(last) = self.last.get_mut(&key) else {
            let per_second = None;
            self.last.insert(
                key,
                Sample {
                    at,
                    count,
                    per_second,
                },
            );
            return None;
        };
        let seconds = at.duration_since(last.at).as_secs_f64();
        if seconds <= 0.0 {
            return last.per_second;
        }
        let now = count.saturating_sub(last.count) as f64 / seconds;
        let weight = 1.0 - (-seconds / MEMORY.as_secs_f64()).exp();
        let per_second = last
            .per_second
            .map_or(now, |before| before + weight * (now - before));
        *last = Sample {
            at,
            count,
            per_second: Some(per_second),
        };
        Some(per_second)
    }

    /// The same of a counter that is not there before it counts: one that is new now stood at 0
    /// when counters were last looked at.
    fn take_since(
        &mut self,
        last_look: Option<Timestamp>,
        key: K,
        count: u64,
        at: Timestamp,
    ) -> Option<f64>
    where
        K: Clone,
    {
        if let Some(last_look) = last_look.filter(|_| !self.last.contains_key(&key)) {
            self.take(key.clone(), 0, last_look);
        }
        self.take(key, count, at)
    }

    /// Forgets what is no longer configured.
    pub(crate) fn keep(&mut self, is_known: impl Fn(&K) -> bool) {
        self.last.retain(|key, _| is_known(key));
    }
}

/// Seconds until so many are through, or used up, at this pace; infinite if nothing moves.
#[expect(clippy::cast_precision_loss, reason = "a forecast is no invoice")]
pub(crate) fn seconds_left(count: u64, per_second: f64) -> f64 {
    if count == 0 {
        return 0.0;
    }
    if per_second < PACE_MIN {
        return f64::INFINITY;
    }
    count as f64 / per_second
}

/// What the forecasts go by.
#[derive(Debug, Default)]
pub(crate) struct Forecaster {
    streams: Paces<StreamName>,
    accounts: Paces<String>,
    /// Which stream's mail goes to which account.
    ways: Paces<(String, String)>,
    last_look: Option<Timestamp>,
}

/// A quota and the recipients a second that use it.
#[derive(Debug, Clone, Copy)]
struct Used<'a> {
    quota: &'a QuotaLeft,
    pace: f64,
}

/// When a quota will be spent.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spent<'a> {
    quota: &'a QuotaLeft,
    seconds: f64,
}

/// The quota that each of these streams' mail meets first, by the accounts it goes to and what its
/// class may use of them.
fn first_quotas<'a, 'b>(
    used: &[Used<'a>],
    ways: impl Iterator<Item = (&'b str, Class, &'b str)>,
) -> BTreeMap<&'b str, Spent<'a>> {
    let mut first: BTreeMap<&str, Spent<'_>> = BTreeMap::new();
    for (stream, class, account) in ways {
        for Used { quota, pace } in used.iter().filter(|used| used.quota.account == account) {
            let seconds = seconds_left(quota.left_to(class), *pace);
            let spent = Spent { quota, seconds };
            let known = first.entry(stream).or_insert(spent);
            if spent.seconds < known.seconds {
                *known = spent;
            }
        }
    }
    first
}

impl Engine {
    /// Works out when queues are empty, when quotas are spent, and which of them a queue meets first.
    pub(crate) async fn forecast(&self, stats: &QueueStats) -> Result<(), StoreError> {
        let now = self.clock.now();
        let policy = self.policy.load_full();
        let limiters = self.limiters.load_full();
        let quotas = limiters.quotas(now).await?;
        let mut forecaster = lock(&self.forecaster);
        for stream in policy.streams.keys() {
            let waiting: u64 = WAITING
                .iter()
                .filter_map(|state| stats.by_state.get(&(stream.clone(), *state)))
                .sum();
            let sent = self.metrics.to_sent.with_label_values(&[stream.as_str()]);
            let sent = sent.get_sample_count();
            if let Some(pace) = forecaster.streams.take(stream.clone(), sent, now) {
                let finish = self
                    .metrics
                    .queue_finish
                    .with_label_values(&[stream.as_str()]);
                finish.set(seconds_left(waiting, pace));
            }
        }
        forecaster
            .streams
            .keep(|stream| policy.streams.contains_key(stream));
        let mut paces = HashMap::new();
        for (account, sent) in limiters.sent() {
            let pace = forecaster.accounts.take(account.clone(), sent, now);
            paces.insert(account, pace);
        }
        forecaster
            .accounts
            .keep(|account| paces.contains_key(account));
        let sent = self.metrics.sent_by_account();
        let mut ways = Vec::new();
        let last_look = forecaster.last_look.replace(now);
        for (way, count) in &sent {
            let pace = forecaster
                .ways
                .take_since(last_look, way.clone(), *count, now);
            let (stream, account) = way;
            let name = StreamName::try_from(stream.as_str()).ok();
            let configured = name.and_then(|name| policy.streams.get(&name));
            if let Some(configured) = configured.filter(|_| pace >= Some(PACE_MIN)) {
                ways.push((stream.as_str(), configured.class, account.as_str()));
            }
        }
        forecaster.ways.keep(|way| sent.contains_key(way));
        drop(forecaster);
        self.show_quotas(&quotas, &paces, &ways);
        Ok(())
    }

    fn show_quotas(
        &self,
        quotas: &[QuotaLeft],
        paces: &HashMap<String, Option<f64>>,
        ways: &[(&str, Class, &str)],
    ) {
        self.metrics.quota_left.reset();
        self.metrics.quota_in_hand.reset();
        self.metrics.quota_spent_in.reset();
        self.metrics.first_quota.reset();
        let mut used = Vec::new();
        for quota in quotas {
            let labels = [quota.account.as_str(), quota.window];
            let number = |units: u64| i64::try_from(units).unwrap_or(i64::MAX);
            let left = self.metrics.quota_left.with_label_values(&labels);
            left.set(number(quota.left));
            let in_hand = self.metrics.quota_in_hand.with_label_values(&labels[..1]);
            in_hand.set(number(quota.in_hand));
            if let Some(pace) = paces.get(&quota.account).copied().flatten() {
                let spent_in = self.metrics.quota_spent_in.with_label_values(&labels);
                spent_in.set(seconds_left(quota.left, pace));
                used.push(Used { quota, pace });
            }
        }
        for (stream, Spent { quota, seconds }) in first_quotas(&used, ways.iter().copied()) {
            let labels = [stream, quota.account.as_str(), quota.window];
            let first = self.metrics.first_quota.with_label_values(&labels);
            first.set(seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_steady_counter_has_its_pace_and_a_stopped_one_loses_it() {
        let mut paces = Paces::default();
        assert_eq!(paces.take("a", 100, at(0)), None);
        for step in 1..=60_u64 {
            let pace = paces.take("a", 100 + step * 50, at(10 * step as i64));
            assert!((pace.unwrap() - 5.0).abs() < 1e-9);
        }
        let mut pace = 0.0;
        for step in 61..=120 {
            pace = paces.take("a", 3_100, at(10 * step)).unwrap();
        }
        assert!(pace < 0.05, "{pace}");
        assert_eq!(
            paces.take("a", 3_100, at(1_200)),
            Some(pace),
            "no time, no news"
        );
        paces.keep(|key| *key != "a");
        assert_eq!(paces.take("a", 0, at(1_300)), None);
    }

    #[test]
    fn a_counter_that_was_not_there_stood_at_nothing() {
        let mut paces = Paces::default();
        assert_eq!(paces.take_since(None, "a", 50, at(0)), None);
        assert_eq!(paces.take_since(Some(at(0)), "b", 50, at(10)), Some(5.0));
        assert_eq!(paces.take_since(Some(at(0)), "a", 50, at(10)), Some(0.0));
    }

    #[test]
    fn a_counter_that_began_anew_is_no_negative_pace() {
        let mut paces = Paces::default();
        paces.take("a", 1_000, at(0));
        assert_eq!(paces.take("a", 0, at(10)), Some(0.0));
    }

    #[test]
    fn a_stream_meets_the_first_quota_of_the_accounts_it_goes_to() {
        let quota = |account: &str, window, left, left_to_campaigns| QuotaLeft {
            account: account.to_owned(),
            window,
            cap: 100,
            left,
            left_to_campaigns,
            in_hand: 0,
        };
        // A fifth of b's 100 is kept for transactional streams, of which 30 are used.
        let quotas = [
            quota("a", "hour", 90, 90),
            quota("a", "day", 60, 60),
            quota("b/x", "day", 70, 50),
            quota("c", "day", 10, 10),
        ];
        let used = quotas.each_ref().map(|quota| Used { quota, pace: 1.0 });
        let (tx, news) = (Class::Transactional, Class::Campaign);
        let first = first_quotas(
            &used,
            [
                ("tx", tx, "a"),
                ("tx", tx, "a/default"),
                ("tx", tx, "b/x"),
                ("news", news, "a"),
                ("news", news, "b/x"),
                ("idle", tx, "d"),
            ]
            .into_iter(),
        );
        let first: Vec<_> = first
            .iter()
            .map(|(stream, s)| {
                (
                    *stream,
                    s.quota.account.as_str(),
                    s.quota.window,
                    s.seconds as u64,
                )
            })
            .collect();
        assert_eq!(first, [("news", "b/x", "day", 50), ("tx", "a", "day", 60)]);
    }

    #[test]
    fn what_does_not_move_never_ends() {
        for (count, pace, seconds) in [
            (0, 0.0, 0.0),
            (0, 9.0, 0.0),
            (100, 10.0, 10.0),
            (100, 0.0, f64::INFINITY),
            (1, 1e-9, f64::INFINITY),
        ] {
            assert_eq!(
                seconds_left(count, pace).to_bits(),
                f64::to_bits(seconds),
                "{count} {pace}"
            );
        }
    }
}
