//! Windows, rates and places.

use malote_core::clock::SystemClock;
use malote_store::{SqliteConfig, SqliteStore};
use prometheus::Registry;

use super::*;

mod rates;

/// What one node has.
fn alone() -> (Arc<dyn Shared>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let config = SqliteConfig::at(dir.path().join("malote.db"));
    let clock = Arc::new(SystemClock::start());
    let store = SqliteStore::open(config, clock, &Registry::new()).unwrap();
    (Arc::new(store), dir)
}

fn account(limits: &Limits, is_shared_by_classes: bool) -> Account {
    Account::new(
        "a".into(),
        limits,
        limits.calls_max(),
        is_shared_by_classes,
        RatesByClass::new(),
    )
}

fn target() -> TargetName {
    TargetName {
        provider: "ses".parse().unwrap(),
        pool: "tx".parse().unwrap(),
    }
}

fn wish(target: &TargetName, class: Class, recipients: u32) -> Wish<'_> {
    Wish {
        target,
        class,
        recipients,
        patience: Duration::ZERO,
        now: "2026-11-22T01:30:00Z".parse().unwrap(),
    }
}

#[test]
fn a_day_is_rolling_or_begins_at_midnight_somewhere() {
    let now: Timestamp = "2026-11-22T01:30:00Z".parse().unwrap();
    let since = |day: &str| {
        let day = DayRule::try_from(day.to_owned()).unwrap();
        let limits = Limits {
            per_day: Some(100),
            day,
            ..Limits::default()
        };
        quota_windows(&limits, Class::Transactional, now)[0]
            .0
            .to_string()
    };
    assert_eq!(since("rolling"), "2026-11-21T01:30:00Z");
    assert_eq!(since("utc"), "2026-11-22T00:00:00Z");
    assert_eq!(since("America/Sao_Paulo"), "2026-11-21T03:00:00Z");
}

#[tokio::test]
async fn a_spent_day_is_free_again_at_its_midnight() {
    for (day, free_at) in [
        ("rolling", "2026-11-23T02:00:00Z"),
        ("utc", "2026-11-23T00:00:00Z"),
        ("America/Sao_Paulo", "2026-11-22T03:00:00Z"),
    ] {
        let (shared, _dir) = alone();
        let limits = Limits {
            per_day: Some(1),
            day: DayRule::try_from(day.to_owned()).unwrap(),
            ..Limits::default()
        };
        let account = account(&limits, false);
        let target = target();
        let wish = wish(&target, Class::Transactional, 1);
        assert_eq!(account.spend(&*shared, &wish).await, Ok(None));
        let spent = account.spend(&*shared, &wish).await.unwrap();
        assert_eq!(spent.unwrap().to_string(), free_at, "{day}");
    }
}

#[tokio::test]
async fn who_waits_for_a_quota_has_nothing_of_it_in_hand() {
    let (shared, _dir) = alone();
    let limits = Limits {
        per_day: Some(1_000),
        ..Limits::default()
    };
    let node = || account(&limits, true);
    let (one, other, target) = (node(), node(), target());
    let spend = async |account: &Account, class, recipients| {
        let wish = wish(&target, class, recipients);
        account.spend(&*shared, &wish).await.unwrap()
    };
    // Takes five, of which four stay in hand; then the rest goes to campaigns.
    assert_eq!(spend(&one, Class::Transactional, 1).await, None);
    assert_eq!(spend(&one, Class::Campaign, 995).await, None);
    assert!(spend(&other, Class::Campaign, 1).await.is_some());
    assert_eq!(spend(&one, Class::Campaign, 1).await, None);
    // The three that are left are nobody's yet.
    assert_eq!(spend(&other, Class::Campaign, 3).await, None);
    assert!(spend(&one, Class::Transactional, 1).await.is_some());
}

#[tokio::test]
async fn what_is_too_little_for_a_call_of_many_is_left_to_others() {
    let (shared, _dir) = alone();
    let limits = Limits {
        per_day: Some(10),
        ..Limits::default()
    };
    let node = || account(&limits, false);
    let (one, other, target) = (node(), node(), target());
    let spend = async |account: &Account, recipients| {
        let wish = wish(&target, Class::Campaign, recipients);
        account.spend(&*shared, &wish).await.unwrap()
    };
    assert!(spend(&one, 50).await.is_some());
    assert_eq!(spend(&other, 10).await, None);
    assert!(spend(&one, 1).await.is_some(), "none is left");
}

#[test]
fn campaign_streams_see_caps_without_the_reserve() {
    let limits = Limits {
        per_hour: Some(10),
        per_day: Some(100),
        transactional_reserve: Some(0.2),
        ..Limits::default()
    };
    let caps = |class| {
        let windows = quota_windows(&limits, class, Timestamp::UNIX_EPOCH);
        windows.into_iter().map(|(_, cap)| cap).collect::<Vec<_>>()
    };
    assert_eq!(caps(Class::Transactional), [10, 100]);
    assert_eq!(caps(Class::Campaign), [8, 80]);
}

#[tokio::test]
async fn what_is_left_to_campaigns_is_what_they_are_admitted_for() {
    let (shared, _dir) = alone();
    let limits = Limits {
        per_day: Some(100),
        transactional_reserve: Some(0.2),
        ..Limits::default()
    };
    let target = target();
    let account = AccountLimits {
        provider: target.provider.clone(),
        limits,
        pools: BTreeMap::new(),
        is_shared_by_classes: true,
    };
    let limiters = Limiters::new(shared, &[account], None);
    let now = wish(&target, Class::Campaign, 1).now;
    for (class, recipients, is_admitted, left, left_to_campaigns) in [
        (Class::Campaign, 30, true, 70, 50),
        (Class::Campaign, 51, false, 70, 50),
        (Class::Campaign, 50, true, 20, 0),
        (Class::Transactional, 20, true, 0, 0),
    ] {
        let admission = limiters.admit(&wish(&target, class, recipients)).await;
        assert_eq!(matches!(admission, Ok(Admission::Go(_))), is_admitted);
        let quotas = limiters.quotas(now).await.unwrap();
        let left_to = [Class::Transactional, Class::Campaign].map(|c| quotas[0].left_to(c));
        assert_eq!(left_to, [left, left_to_campaigns]);
    }
}

#[tokio::test]
async fn a_pool_with_limits_but_no_concurrency_has_that_of_its_account() {
    let (shared, _dir) = alone();
    let target = target();
    let account = AccountLimits {
        provider: target.provider.clone(),
        limits: Limits {
            concurrency: Some(40),
            ..Limits::default()
        },
        pools: [(target.clone(), (Limits::default(), None))].into(),
        is_shared_by_classes: false,
    };
    let limiters = Limiters::new(shared, &[account], None);
    let call = wish(&target, Class::Transactional, 1);
    let mut held = Vec::new();
    for _ in 0..40 {
        let Ok(Admission::Go(permit)) = limiters.admit(&call).await else {
            panic!("{} calls under way", held.len());
        };
        held.push(permit);
    }
    let more = limiters.admit(&call).await;
    assert!(matches!(more, Ok(Admission::Later(_))));
}

#[tokio::test]
async fn campaign_calls_never_hold_every_place() {
    let limits = Limits {
        concurrency: Some(4),
        ..Limits::default()
    };
    let account = account(&limits, true);
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(account.place(Class::Campaign).await);
    }
    let fourth = tokio::time::timeout(Duration::from_millis(20), account.place(Class::Campaign));
    assert!(fourth.await.is_err(), "a fourth campaign call waits");
    let transactional =
        tokio::time::timeout(Duration::from_secs(5), account.place(Class::Transactional));
    assert!(transactional.await.is_ok(), "a transactional call does not");
}
