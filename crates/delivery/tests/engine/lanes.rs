//! Lanes: pauses, drains, due times, isolation, and suppression of what is queued.

use std::time::Duration;

use malote_core::clock::{Clock, SystemClock};
use malote_core::event::{EventKind, ProviderEvent, State};
use malote_core::ledger::Ledger;
use malote_core::provider::Verdict;
use malote_core::webhook::{EventSink, Webhook};
use malote_store::{Suppression, SuppressionReason, SuppressionScope, Switch};
use tokio::time::Instant;

use crate::rig::{Rig, Setup, events, mail, until};
use crate::script::{Act, Scripted};

#[tokio::test]
async fn a_campaign_provider_that_hangs_does_not_delay_transactional_mail() {
    let (a, c) = (Scripted::new("a"), Scripted::new("c"));
    let rig = Rig::start(&Setup::new(&[&a], &[&c])).await;
    c.always(Act::Hang);
    rig.submit_many("news", 200).await;
    until("campaign calls hang", || c.calls() >= 20).await;
    let started = Instant::now();
    let ids = rig.submit_many("tx", 20).await;
    rig.wait_for_all(&ids, State::Sent).await;
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_paused_stream_sends_nothing_until_it_is_resumed() {
    let (a, c) = (Scripted::new("a"), Scripted::new("c"));
    let setup = Setup::new(&[&a], &[&c]);
    let rig = Rig::start(&setup).await;
    let paused = Switch::StreamPaused("tx".parse().unwrap());
    rig.engine.set_switch(paused.clone(), true).await.unwrap();
    let ids = rig.submit_many("tx", 3).await;
    let rig = rig.restart(&setup).await;
    let other = rig.submit_many("news", 3).await;
    rig.wait_for_all(&other, State::Sent).await;
    assert_eq!(rig.count(&ids, State::Queued).await, 3);
    rig.engine.set_switch(paused, false).await.unwrap();
    rig.wait_for_all(&ids, State::Sent).await;
}

#[tokio::test]
async fn a_drained_provider_gets_nothing_new() {
    let (a, b) = (Scripted::new("a"), Scripted::new("b"));
    let rig = Rig::start(&Setup::new(&[&a, &b], &[])).await;
    let drained = Switch::ProviderDrained("a".parse().unwrap());
    rig.engine.set_switch(drained, true).await.unwrap();
    let ids = rig.submit_many("tx", 3).await;
    rig.wait_for_all(&ids, State::Sent).await;
    assert_eq!((a.calls(), b.calls()), (0, 3));
}

#[tokio::test]
async fn scheduled_mail_waits_for_its_time_and_can_be_taken_back_before() {
    let a = Scripted::new("a");
    let rig = Rig::start(&Setup::new(&[&a], &[])).await;
    let due_at = SystemClock::start().now() + Duration::from_millis(700);
    let scheduled = || {
        let mut mail = mail("tx", &["r@x.example"]);
        mail.send_at = Some(due_at);
        mail
    };
    let (kept, taken_back) = (
        rig.submit(scheduled()).await.id,
        rig.submit(scheduled()).await.id,
    );
    assert_eq!(rig.count(&[kept, taken_back], State::Scheduled).await, 2);
    let cancelled = rig.engine.cancel(taken_back, None).await.unwrap();
    assert_eq!((cancelled.cancelled, cancelled.too_late), (1, 0));
    let view = rig.wait_for(kept, State::Sent).await;
    assert!(view.deliveries[0].attempts[0].started_at >= due_at);
    assert_eq!(rig.count(&[taken_back], State::Cancelled).await, 1);
    assert_eq!(a.calls(), 1);
    assert_eq!(rig.engine.cancel(kept, None).await.unwrap().too_late, 1);
}

#[tokio::test]
async fn a_retry_that_falls_due_while_its_lane_is_idle_is_not_slept_over() {
    let a = Scripted::new("a");
    let mut setup = Setup::new(&[&a], &[]);
    setup.retry_first = Duration::from_millis(600);
    let rig = Rig::start(&setup).await;
    a.then([Act::TakeAfter(Duration::from_millis(100))]);
    a.then([Act::Fail(Verdict::Deferred), Act::Fail(Verdict::Deferred)]);
    let started = Instant::now();
    let ids = rig.submit_many("tx", 2).await;
    rig.wait_for_all(&ids, State::Sent).await;
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn an_idle_frozen_or_paused_lane_does_not_spin() {
    let a = Scripted::new("a");
    let rig = Rig::start(&Setup::new(&[&a], &[])).await;
    let paused = Switch::StreamPaused("tx".parse().unwrap());
    rig.engine.set_switch(paused, true).await.unwrap();
    rig.submit_many("tx", 5).await;
    let before = cpu_time();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let used = cpu_time().saturating_sub(before);
    assert!(used < Duration::from_millis(150), "{used:?} of 500 ms");
    assert_eq!(a.calls(), 0);
}

/// CPU time of this thread, on which the engine runs too, in clock ticks of 10 ms.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap_or_default();
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .filter_map(|f| f.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

#[tokio::test]
async fn mail_to_an_address_suppressed_while_it_was_queued_is_not_sent() {
    let a = Scripted::new("a");
    let rig = Rig::start(&Setup::new(&[&a], &[])).await;
    let paused = Switch::StreamPaused("tx".parse().unwrap());
    rig.engine.set_switch(paused.clone(), true).await.unwrap();
    let id = rig.submit(mail("tx", &["r@x.example"])).await.id;
    let entry = Suppression {
        address: "r@x.example".parse().unwrap(),
        source: "operator".into(),
        scope: SuppressionScope::Global,
        reason: SuppressionReason::Manual,
        detail: "asked to".into(),
        provider: None,
        credential: None,
        created_at: SystemClock::start().now(),
        expires_at: None,
    };
    rig.engine.suppress_all(vec![entry]).await.unwrap();
    rig.engine.set_switch(paused, false).await.unwrap();
    let view = rig.wait_for(id, State::Suppressed).await;
    assert_eq!(events(&view.deliveries[0]), ["accepted", "suppressed"]);
    assert_eq!(a.calls(), 0);
}

#[tokio::test]
async fn an_unsubscribe_from_a_campaign_does_not_stop_transactional_mail() {
    let (a, c) = (Scripted::new("a"), Scripted::new("c"));
    let rig = Rig::start(&Setup::new(&[&a], &[&c])).await;
    let news = rig.submit(mail("news", &["r@x.example"])).await.id;
    let view = rig.wait_for(news, State::Sent).await;
    let event = ProviderEvent {
        dedup_key: "1".into(),
        at: SystemClock::start().now(),
        kind: EventKind::Unsubscribed,
        blame: None,
        delivery: Some(view.deliveries[0].id),
        provider_message_id: None,
        recipient: None,
        detail: String::new(),
        raw: bytes::Bytes::new(),
    };
    let webhook = Webhook {
        events: vec![event],
        unreadable: Vec::new(),
    };
    rig.engine
        .apply(&"c".parse().unwrap(), webhook)
        .await
        .unwrap();
    let more = rig.submit(mail("news", &["r@x.example"])).await.id;
    rig.wait_for(more, State::Suppressed).await;
    let reset = rig.submit(mail("tx", &["r@x.example"])).await.id;
    rig.wait_for(reset, State::Sent).await;
    assert_eq!((a.calls(), c.calls()), (1, 1));
}

/// Messages that wait when the complaint comes.
const WAITING: usize = 500;

#[tokio::test]
async fn a_complaint_stops_everything_that_waits_for_who_complained() {
    let (a, c) = (Scripted::new("a"), Scripted::new("c"));
    let rig = Rig::start(&Setup::new(&[&a], &[&c])).await;
    let first = rig.submit(mail("news", &["r@x.example"])).await.id;
    let view = rig.wait_for(first, State::Sent).await;
    let paused = Switch::StreamPaused("news".parse().unwrap());
    rig.engine.set_switch(paused.clone(), true).await.unwrap();
    let mut waiting = Vec::with_capacity(WAITING);
    for _ in 0..WAITING {
        waiting.push(rig.submit(mail("news", &["R@x.example"])).await.id);
    }
    let other = rig.submit(mail("news", &["s@x.example"])).await.id;
    let event = ProviderEvent {
        dedup_key: "1".into(),
        at: SystemClock::start().now(),
        kind: EventKind::Complained,
        blame: None,
        delivery: Some(view.deliveries[0].id),
        provider_message_id: None,
        recipient: None,
        detail: "abuse".into(),
        raw: bytes::Bytes::new(),
    };
    let webhook = Webhook {
        events: vec![event],
        unreadable: Vec::new(),
    };
    let told = rig.engine.apply(&"c".parse().unwrap(), webhook).await;
    told.unwrap();
    let address = "r@x.example".parse().unwrap();
    let entries = rig.engine.suppressions_of(&address).await.unwrap();
    assert_eq!(entries[0].source, "provider:c");
    assert_eq!(entries[0].credential, Some("app".parse().unwrap()));
    rig.engine.set_switch(paused, false).await.unwrap();
    rig.wait_for_all(&waiting, State::Suppressed).await;
    rig.wait_for(other, State::Sent).await;
    assert_eq!(c.calls(), 2);
}
