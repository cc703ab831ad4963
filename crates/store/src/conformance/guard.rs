//! Promises of what the reputation guard keeps: counts by campaign and hour, and decisions.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a broken promise of the engine under test is a panic"
)]

use crate::conformance::mail::at;
use crate::{GuardCount, GuardKey, GuardRecord, GuardState, GuardSum, GuardTally, Shared};

const HOUR: i64 = 3_600;

fn tally(sends: u64) -> GuardTally {
    GuardTally {
        sends,
        reported: sends / 2,
        bounces: 1,
        complaints: 2,
    }
}

fn count(stream: &str, campaign: &str, second: i64, sends: u64) -> GuardCount {
    GuardCount {
        stream: stream.parse().unwrap(),
        campaign: campaign.into(),
        at: at(second),
        tally: tally(sends),
    }
}

fn key(stream: &str, campaign: Option<&str>) -> GuardKey {
    GuardKey {
        stream: stream.parse().unwrap(),
        campaign: campaign.map(str::to_owned),
    }
}

fn record(key: &GuardKey, state: GuardState) -> GuardRecord {
    GuardRecord {
        key: key.clone(),
        state,
        since: at(7),
        reason: "guard: campaign 42: 3 hard bounces of 10 sends".into(),
        pace: 0.25,
        tally: tally(10),
    }
}

async fn sums(shared: &dyn Shared, stream: &str, since: i64) -> Vec<GuardSum> {
    let stream = stream.parse().unwrap();
    shared.guard_sums(&stream, at(since)).await.unwrap()
}

async fn campaigns(shared: &dyn Shared, stream: &str) -> Vec<String> {
    let sums = sums(shared, stream, -100 * HOUR).await;
    sums.into_iter().map(|sum| sum.campaign).collect()
}

/// Counts of one hour add up, hours before the window do not count, streams are apart.
pub async fn the_guard_s_counts_add_up_by_campaign_within_the_window(shared: &dyn Shared) {
    let counts = vec![
        count("news", "42", 0, 10),
        count("news", "42", HOUR - 1, 30),
        count("news", "42", HOUR, 20),
        count("news", "", 10, 5),
        count("other", "42", 10, 7),
    ];
    shared.add_guard_counts(counts).await.unwrap();
    let expected = GuardTally {
        sends: 60,
        reported: 30,
        bounces: 3,
        complaints: 6,
    };
    let sum = |campaign: &str, tally, busiest_hour| GuardSum {
        campaign: campaign.into(),
        tally,
        busiest_hour,
    };
    let all = [sum("", tally(5), 5), sum("42", expected, 40)];
    assert_eq!(sums(shared, "news", 1).await, all);
    let late = [sum("42", tally(20), 20)];
    assert_eq!(sums(shared, "news", HOUR).await, late);
    assert_eq!(sums(shared, "other", 0).await, [sum("42", tally(7), 7)]);
    assert_eq!(sums(shared, "third", 0).await, []);
}

/// A decision is kept as written, replaced, and removed; a stream's is not its campaign's.
pub async fn the_guard_s_decisions_are_kept(shared: &dyn Shared) {
    assert_eq!(shared.guard_records().await.unwrap(), []);
    let (campaign, stream) = (key("news", Some("42")), key("news", None));
    for state in [GuardState::Slowed, GuardState::Paused] {
        let written = record(&campaign, state);
        let set = shared.set_guard_record(&campaign, Some(written.clone()));
        set.await.unwrap();
        assert_eq!(shared.guard_records().await.unwrap(), [written]);
    }
    let written = record(&stream, GuardState::Resumed);
    let set = shared.set_guard_record(&stream, Some(written.clone()));
    set.await.unwrap();
    shared.set_guard_record(&campaign, None).await.unwrap();
    assert_eq!(shared.guard_records().await.unwrap(), [written]);
}

/// A stream begins anew without those of its campaigns that are slowed or paused.
pub async fn the_guard_s_window_begins_anew(shared: &dyn Shared) {
    let counts = ["", "1", "2", "3"].map(|campaign| count("news", campaign, 0, 9));
    shared.add_guard_counts(counts.into()).await.unwrap();
    for (name, state) in [("2", GuardState::Paused), ("3", GuardState::Resumed)] {
        let key = key("news", Some(name));
        let set = shared.set_guard_record(&key, Some(record(&key, state)));
        set.await.unwrap();
    }
    shared.reset_guard_counts(&key("news", None)).await.unwrap();
    assert_eq!(campaigns(shared, "news").await, ["2"]);
    let two = key("news", Some("2"));
    shared.reset_guard_counts(&two).await.unwrap();
    assert!(campaigns(shared, "news").await.is_empty());
}

/// Old hours go, and of too many campaigns those that were counted longest ago.
pub async fn the_guard_forgets_the_oldest_campaigns_first(shared: &dyn Shared) {
    let counts = [
        ("a", 0),
        ("b", 2 * HOUR),
        ("c", HOUR),
        ("c", 3 * HOUR),
        ("d", HOUR),
    ];
    let counts = counts.map(|(campaign, second)| count("news", campaign, second, 9));
    shared.add_guard_counts(counts.into()).await.unwrap();
    shared.forget_guard_counts(at(HOUR), 9).await.unwrap();
    assert_eq!(campaigns(shared, "news").await, ["b", "c", "d"]);
    shared.forget_guard_counts(at(HOUR), 2).await.unwrap();
    assert_eq!(campaigns(shared, "news").await, ["b", "c"]);
    shared.forget_guard_counts(at(3 * HOUR), 2).await.unwrap();
    assert_eq!(campaigns(shared, "news").await, ["c"]);
}
