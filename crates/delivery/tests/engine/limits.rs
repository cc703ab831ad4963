//! Quotas, breakers and reloads.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::tz::TimeZone;
use malote_core::clock::{Clock, SystemClock};
use malote_core::event::State;
use malote_core::id::MessageId;
use malote_core::limits::{Limits, Warmup};
use malote_core::name::TargetName;
use malote_core::provider::Verdict;
use malote_core::stream::{Class, OnThrottle};
use malote_delivery::limits::{AccountLimits, Admission, Limiters, Wish};
use malote_store::Shared;

use crate::feedback::by_hand;
use crate::rig::{Rig, Setup, events, mail, outcomes, until};
use crate::script::{Act, Scripted};

fn per_day(units: u64) -> Limits {
    Limits {
        per_day: Some(units),
        ..Limits::default()
    }
}

#[tokio::test]
async fn a_quota_of_three_a_day_lets_three_through_also_over_a_restart() {
    let a = Scripted::new("a");
    let setup = Setup::new(&[&a], &[]).limits(per_day(3));
    let rig = Rig::start(&setup).await;
    let ids = rig.submit_many("tx", 5).await;
    until("three are sent", || a.calls() == 3).await;
    until("the quota rests the target", || !rig.target(&a).0).await;
    let rig = rig.restart(&setup).await;
    rig.submit_many("tx", 1).await;
    until("the quota rests the target", || !rig.target(&a).0).await;
    assert_eq!(a.calls(), 3);
    assert_eq!(rig.count(&ids, State::Sent).await, 3);
}

#[tokio::test]
async fn a_group_larger_than_what_is_left_of_a_quota_uses_it_up_one_by_one() {
    let a = Scripted::for_groups("a", 10);
    let rig = Rig::start(&Setup::new(&[&a], &[]).limits(per_day(3))).await;
    let recipients: Vec<String> = (0..5).map(|n| format!("r{n}@x.example")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let id = rig.submit(mail("tx", &recipients)).await.id;
    until("three are sent", || a.calls() == 3).await;
    until("the quota rests the target", || !rig.target(&a).0).await;
    assert_eq!(rig.count(&[id], State::Sent).await, 3);
    assert_eq!(a.calls(), 3);
}

#[tokio::test]
async fn reloads_neither_lose_units_of_a_quota_nor_let_more_calls_through() {
    let a = Scripted::new("a");
    let limits = Limits {
        concurrency: Some(2),
        ..per_day(1000)
    };
    let setup = Setup::new(&[&a], &[]).limits(limits);
    let rig = Rig::start(&setup).await;
    let mut ids = Vec::new();
    for _ in 0..30 {
        ids.extend(rig.submit_many("tx", 1).await);
        rig.wait_for_all(&ids[ids.len() - 1..], State::Sent).await;
        rig.engine.reload(setup.policy());
    }
    let now = SystemClock::start().now();
    let used = rig.store.quota_used("a", now - Duration::from_secs(7200));
    let used = used.await.unwrap();
    assert!((30..=40).contains(&used), "30 sent, {used} taken");
    rig.engine.close().await;
    let used = rig.store.quota_used("a", now - Duration::from_secs(7200));
    assert_eq!(used.await.unwrap(), 30, "the rest is given back at the end");

    a.always(Act::TakeAfter(Duration::from_millis(20)));
    let ids = rig.submit_many("tx", 20).await;
    for _ in 0..5 {
        rig.engine.reload(setup.policy());
        tokio::task::yield_now().await;
    }
    rig.wait_for_all(&ids, State::Sent).await;
    assert!(a.most_under_way() <= 2, "{}", a.most_under_way());
}

#[tokio::test]
async fn a_larger_quota_ends_the_rest_that_the_smaller_one_caused() {
    let a = Scripted::new("a");
    let setup = Setup::new(&[&a], &[]).limits(per_day(1));
    let rig = Rig::start(&setup).await;
    let first = rig.submit_many("tx", 1).await;
    rig.wait_for_all(&first, State::Sent).await;
    rig.submit_many("tx", 1).await;
    until("the quota rests the target", || !rig.target(&a).0).await;
    let third = rig.submit_many("tx", 1).await;
    rig.engine.reload(setup.limits(per_day(10)).policy());
    rig.wait_for_all(&third, State::Sent).await;
}

/// Submits one to `news`, and blocks the only thread of the runtime where its call has been journaled
/// and has not gone, until its time is over.
async fn hold_one_up(rig: &Rig) -> MessageId {
    let id = rig.submit(mail("news", &["r@x.example"])).await.id;
    while rig.view(id).await.deliveries[0].attempts.is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    std::thread::sleep(Duration::from_millis(300));
    id
}

#[tokio::test]
async fn a_call_held_up_past_its_time_is_not_made_and_is_no_word_of_the_provider() {
    let a = Scripted::new("a");
    let limits = Limits {
        // The next time is further away than a call waits for it.
        per_second: Some(0.15),
        ..per_day(1)
    };
    let rig = Rig::start(&Setup::new(&[], &[&a]).limits(limits)).await;
    let id = hold_one_up(&rig).await;
    let view = rig.wait_for(id, State::Queued).await;
    assert_eq!(outcomes(&view.deliveries[0]), ["a: throttled"]);
    assert_eq!(a.calls(), 0);
    for metric in ["malote_provider_call_seconds", "malote_calls_in_flight"] {
        assert!(rig.counted(metric, "a") < 0.5, "{metric}");
    }
    // Its quota of one was given back, or it would wait for a day.
    let view = rig.wait_for(id, State::Sent).await;
    assert!(!events(&view.deliveries[0]).contains(&"deferred"));
    assert_eq!(outcomes(&view.deliveries[0]), ["a: throttled", "a: sent"]);
}

#[tokio::test]
async fn who_is_suppressed_while_a_call_waits_for_another_time_is_not_written_to() {
    let a = Scripted::new("a");
    let limits = Limits {
        per_second: Some(0.5),
        ..Limits::default()
    };
    let rig = Rig::start(&Setup::new(&[], &[&a]).limits(limits)).await;
    let id = hold_one_up(&rig).await;
    let entry = by_hand("r@x.example", rig.clock.now());
    rig.store.suppress(vec![entry]).await.unwrap();
    let view = rig.wait_for(id, State::Suppressed).await;
    assert_eq!(outcomes(&view.deliveries[0]), ["a: suppressed"]);
    assert_eq!(a.calls(), 0);
}

#[tokio::test]
async fn a_breaker_opens_stays_open_over_a_restart_and_probes_before_it_ramps() {
    let (a, b) = (Scripted::new("a"), Scripted::new("b"));
    let setup = Setup::new(&[&a, &b], &[]);
    let rig = Rig::start(&setup).await;
    a.always(Act::Fail(Verdict::Transient));
    let ids = rig.submit_many("tx", 10).await;
    rig.wait_for_all(&ids, State::Sent).await;
    until("it opened", || rig.target(&a) == (false, "open")).await;
    let failed = a.calls();
    let rig = rig.restart(&setup).await;
    assert_eq!(rig.target(&a), (false, "open"));
    let ids = rig.submit_many("tx", 5).await;
    rig.wait_for_all(&ids, State::Sent).await;
    assert_eq!(a.calls(), failed, "nothing goes to it while it is open");
    rig.clock.advance(Duration::from_secs(5));
    assert_eq!(rig.target(&a), (false, "open"), "no probe has come back");
    a.always(Act::TakeAfter(Duration::from_millis(200)));
    let ids = rig.submit_many("tx", 10).await;
    rig.wait_for_all(&ids, State::Sent).await;
    assert_eq!(rig.target(&a).1, "ramp");
    assert!(a.most_under_way() <= 10 && a.calls() > failed);
}

#[tokio::test]
async fn a_reload_that_removes_a_provider_sends_what_is_queued_another_way() {
    let (a, b) = (Scripted::new("a"), Scripted::new("b"));
    let rig = Rig::start(&Setup::new(&[&a], &[])).await;
    let paused = malote_store::Switch::StreamPaused("tx".parse().unwrap());
    rig.engine.set_switch(paused.clone(), true).await.unwrap();
    let ids = rig.submit_many("tx", 3).await;
    rig.engine.reload(Setup::new(&[&b], &[]).policy());
    rig.engine.set_switch(paused, false).await.unwrap();
    rig.wait_for_all(&ids, State::Sent).await;
    assert_eq!((a.calls(), b.calls()), (0, 3));
}

#[tokio::test]
async fn a_warm_up_lets_no_more_through_than_the_cap_of_the_day() {
    let a = Scripted::new("a");
    let setup = Setup::new(&[&a], &[]);
    let mut policy = setup.policy();
    let warmup = Warmup {
        start: SystemClock::start().now().to_zoned(TimeZone::UTC).date(),
        day_1: 2,
        growth: 1.5,
        until: 1000,
    };
    let entry = policy.providers.get_mut(&"a".parse().unwrap()).unwrap();
    let pool = TargetName::default_pool();
    entry.pools.insert(pool, (Limits::default(), Some(warmup)));
    let rig = Rig::start(&setup).await;
    rig.engine.reload(policy);
    let ids = rig.submit_many("tx", 5).await;
    until("the cap rests the target", || !rig.target(&a).0).await;
    assert_eq!(rig.count(&ids, State::Sent).await, 2);
    assert_eq!(a.calls(), 2);
}

#[tokio::test]
async fn a_stream_that_waits_for_a_throttled_target_sends_nothing_by_the_next_one() {
    let (a, b) = (Scripted::new("a"), Scripted::new("b"));
    let mut setup = Setup::new(&[&a, &b], &[]);
    setup.on_throttle = OnThrottle::Wait;
    let rig = Rig::start(&setup).await;
    let after = Some(Duration::from_secs(1));
    a.then([Act::Fail(Verdict::Throttled { after })]);
    let first = rig.submit_many("tx", 1).await;
    until("it is throttled", || !rig.target(&a).0).await;
    let ids = rig.submit_many("tx", 3).await;
    rig.wait_for_all(&[first, ids].concat(), State::Sent).await;
    assert_eq!((a.calls(), b.calls()), (5, 0));
}

#[tokio::test]
async fn calls_that_wait_for_a_full_pool_leave_the_accounts_places_to_other_pools() {
    let rig = Rig::start(&Setup::new(&[], &[])).await;
    let calls = |concurrency| Limits {
        concurrency: Some(concurrency),
        ..Limits::default()
    };
    let target = |pool: &str| TargetName {
        provider: "a".parse().unwrap(),
        pool: pool.parse().unwrap(),
    };
    let account = AccountLimits {
        provider: "a".parse().unwrap(),
        limits: calls(4),
        pools: [(target("small"), (calls(1), None))].into(),
        is_shared_by_classes: false,
    };
    let limiters = Limiters::new(Arc::new(rig.store.clone()), &[account], None);
    let (small, other) = (target("small"), target("other"));
    let wish = |target, patience_ms| Wish {
        target,
        class: Class::Transactional,
        recipients: 1,
        patience: Duration::from_millis(patience_ms),
        now: SystemClock::start().now(),
    };
    let held = limiters.admit(&wish(&small, 100)).await.unwrap();
    assert!(matches!(held, Admission::Go(_)));
    let wishes = [wish(&small, 400); 3];
    let waiting = wishes.iter().map(|wish| limiters.admit(wish));
    let other = wish(&other, 200);
    let (waited, other) = tokio::join!(join_all(waiting), limiters.admit(&other));
    assert!(matches!(other.unwrap(), Admission::Go(_)));
    let is_later = |admission: Result<_, _>| matches!(admission, Ok(Admission::Later(_)));
    assert!(waited.into_iter().all(is_later));
}
