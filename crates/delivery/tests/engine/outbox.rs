//! Events out: each told in its message's order, none lost, none told to another's outlet.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use malote_core::clock::Clock;
use malote_core::event::{EventKind, ProviderEvent, State};
use malote_core::outlet::{Outlet, OutletName};
use malote_store::{Outbox, OutletRecord};
use tokio::time::Instant;

use crate::feedback::{event, sent, tell};
use crate::listener::{Listener, Say};
use crate::rig::{DEADLINE, Rig, Setup, mail, until};
use crate::script::Scripted;

const DAY: Duration = Duration::from_secs(86_400);

fn setup(listeners: &[&Arc<Listener>]) -> Setup {
    let a = Scripted::new("a");
    Setup::new(&[&a], &[]).outlets(listeners)
}

async fn record(rig: &Rig, name: &OutletName) -> OutletRecord {
    rig.store.outlet(name).await.unwrap().unwrap()
}

/// Waits until an outlet's record is as wanted.
async fn until_kept(
    rig: &Rig,
    listener: &Listener,
    what: &str,
    is_so: impl Fn(&OutletRecord) -> bool,
) {
    let started = Instant::now();
    loop {
        let found = rig.store.outlet(listener.name()).await.unwrap();
        if found.as_ref().is_some_and(&is_so) {
            return;
        }
        assert!(started.elapsed() < DEADLINE, "never {what}: {found:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the first event that waits was told so often in vain.
async fn until_tried(rig: &Rig, listener: &Listener, attempts: u32) {
    let started = Instant::now();
    let far = rig.clock.now().checked_add(DAY).unwrap();
    loop {
        let due = rig.store.outbox_due(listener.name(), 1, far).await.unwrap();
        if due.first().is_some_and(|row| row.attempts == attempts) {
            return;
        }
        assert!(
            started.elapsed() < DEADLINE,
            "never tried {attempts} times: {due:?}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn send(rig: &Rig, recipient: &str) {
    let id = rig.submit(mail("tx", &[recipient])).await.id;
    rig.wait_for(id, State::Sent).await;
}

async fn begun(setup: &Setup, listeners: &[&Arc<Listener>]) -> Rig {
    let rig = Rig::start(setup).await;
    for listener in listeners {
        until_kept(&rig, listener, "kept", |_| true).await;
    }
    rig
}

#[tokio::test]
async fn events_are_told_in_their_message_s_order_and_only_to_whom_they_belong() {
    let (app, other) = (Listener::new("app", "a"), Listener::new("other", "a"));
    app.deaf_to("delivered");
    app.always(Say::YesAfter(Duration::from_millis(50)));
    let rig = begun(&setup(&[&app, &other]), &[&app, &other]).await;
    for n in 0..20 {
        send(&rig, &format!("r{n}@x.example")).await;
    }
    until("all are told", || app.heard().len() == 40).await;
    for n in 0..20 {
        let recipient = format!("r{n}@x.example");
        let words = app.words();
        let of_one: Vec<_> = words
            .iter()
            .filter(|word| word.starts_with(&recipient))
            .collect();
        assert_eq!(
            of_one,
            [
                &format!("{recipient} accepted"),
                &format!("{recipient} sent")
            ]
        );
    }
    assert!(app.heard().iter().all(|one| one.attempt == 1));
    assert!(
        (2..=8).contains(&app.most_under_way()),
        "{}",
        app.most_under_way()
    );
    until_kept(&rig, &app, "empty", |record| record.waiting == 0).await;
    assert_eq!(other.heard(), []);
}

#[tokio::test]
async fn a_later_event_waits_while_an_earlier_one_of_its_message_is_tried_again() {
    let app = Listener::new("app", "a");
    app.then([Say::Later(None), Say::Panic, Say::Later(None)]);
    let rig = begun(&setup(&[&app]), &[&app]).await;
    send(&rig, "r@x.example").await;
    for attempts in 1..=3 {
        until_tried(&rig, &app, attempts).await;
        rig.clock.advance(Duration::from_secs(60));
    }
    until("both are told", || app.heard().len() == 5).await;
    let heard: Vec<_> = app
        .heard()
        .into_iter()
        .map(|one| (one.word, one.attempt))
        .collect();
    let accepted = |attempt: u32| ("accepted".to_owned(), attempt);
    assert_eq!(
        heard,
        [
            accepted(1),
            accepted(2),
            accepted(3),
            accepted(4),
            ("sent".to_owned(), 1)
        ]
    );
    until_kept(&rig, &app, "well", |record| record.failing_since.is_none()).await;
}

#[tokio::test]
async fn a_wait_that_a_peer_asks_for_is_kept_for_the_whole_outlet() {
    let app = Listener::new("app", "a");
    app.then([Say::Later(Some(Duration::from_secs(600)))]);
    let rig = begun(&setup(&[&app]), &[&app]).await;
    send(&rig, "r@x.example").await;
    until_kept(&rig, &app, "failing", |record| {
        record.failing_since.is_some()
    })
    .await;
    send(&rig, "s@x.example").await;
    rig.clock.advance(Duration::from_secs(500));
    until_kept(&rig, &app, "queued", |record| record.waiting == 4).await;
    assert_eq!(app.heard().len(), 1);
    rig.clock.advance(Duration::from_secs(101));
    until("all are told", || app.heard().len() == 5).await;
}

#[tokio::test]
async fn a_restart_and_a_crash_keep_what_waits() {
    let app = Listener::new("app", "a");
    app.always(Say::Later(None));
    let setup = setup(&[&app]);
    let rig = begun(&setup, &[&app]).await;
    send(&rig, "r@x.example").await;
    until_kept(&rig, &app, "waiting", |record| record.waiting == 2).await;
    let rig = rig.restart(&setup).await;
    send(&rig, "s@x.example").await;
    until_kept(&rig, &app, "waiting", |record| record.waiting == 4).await;
    let rig = rig.crash(&setup).await;
    app.always(Say::Yes);
    rig.clock.advance(Duration::from_secs(60));
    until_kept(&rig, &app, "empty", |record| record.waiting == 0).await;
    let heard = app.heard();
    let ids: std::collections::BTreeSet<_> = heard.iter().map(|one| &one.id).collect();
    assert_eq!(ids.len(), 4, "{heard:?}");
}

#[tokio::test]
async fn an_outlet_that_fails_for_three_days_is_set_aside_until_it_is_enabled() {
    let (app, witness) = (Listener::new("app", "a"), Listener::new("app", "b"));
    app.always(Say::Later(None));
    let rig = begun(&setup(&[&app, &witness]), &[&app, &witness]).await;
    send(&rig, "r@x.example").await;
    until_tried(&rig, &app, 1).await;
    rig.clock.advance(3 * DAY);
    until_kept(&rig, &app, "set aside", |record| record.disabled.is_some()).await;
    let tried = app.heard().len();
    app.always(Say::Yes);
    send(&rig, "s@x.example").await;
    rig.clock.advance(DAY);
    send(&rig, "t@x.example").await;
    until("the other is told", || witness.heard().len() == 6).await;
    assert_eq!(app.heard().len(), tried, "told although it is set aside");
    assert!(rig.engine.enable_outlet(app.name()).await.unwrap());
    until("all are told", || app.heard().len() == tried + 6).await;
    until_kept(&rig, &app, "empty", |record| record.waiting == 0).await;
    assert_eq!(record(&rig, app.name()).await.disabled, None);
}

#[tokio::test]
async fn an_event_is_given_up_after_three_days_while_others_are_told() {
    given_up(Say::Later(None)).await;
    given_up(Say::Busy(Duration::from_secs(60))).await;
}

async fn given_up(say: Say) {
    let app = Listener::new("app", "a");
    app.of("poor@x.example", say);
    let rig = begun(&setup(&[&app]), &[&app]).await;
    send(&rig, "poor@x.example").await;
    until_tried(&rig, &app, 1).await;
    rig.clock.advance(DAY);
    send(&rig, "fine@x.example").await;
    until("the other is told", || {
        app.words().iter().any(|w| w == "fine@x.example sent")
    })
    .await;
    rig.clock.advance(2 * DAY);
    // The first event is given up; the second has its own three days.
    until_kept(&rig, &app, "given up", |record| record.waiting == 1).await;
    rig.clock.advance(Duration::from_secs(60));
    until("the next is tried", || {
        app.words().iter().any(|w| w == "poor@x.example sent")
    })
    .await;
    let left = record(&rig, app.name()).await;
    assert_eq!((left.waiting, left.disabled), (1, None));
}

#[tokio::test]
async fn a_peer_that_asks_for_time_for_three_days_is_set_aside_and_nothing_is_lost() {
    let app = Listener::new("app", "a");
    app.always(Say::Busy(Duration::from_secs(60)));
    let rig = begun(&setup(&[&app]), &[&app]).await;
    send(&rig, "r@x.example").await;
    for attempts in 1..=3 {
        until_tried(&rig, &app, attempts).await;
        let kept = record(&rig, app.name()).await;
        assert!(kept.failing_since.is_some() && kept.disabled.is_none());
        rig.clock.advance(DAY);
    }
    until_kept(&rig, &app, "set aside", |record| record.disabled.is_some()).await;
    assert_eq!(record(&rig, app.name()).await.waiting, 2);
    app.always(Say::Yes);
    assert!(rig.engine.enable_outlet(app.name()).await.unwrap());
    rig.clock.advance(DAY);
    until_kept(&rig, &app, "empty", |record| record.waiting == 0).await;
    let words: Vec<_> = app.words().split_off(4);
    assert_eq!(words, ["r@x.example accepted", "r@x.example sent"]);
}

#[tokio::test]
async fn what_a_peer_never_takes_is_dropped_and_the_next_goes_on() {
    let app = Listener::new("app", "a");
    app.then([Say::Never]);
    let rig = begun(&setup(&[&app]), &[&app]).await;
    send(&rig, "r@x.example").await;
    until_kept(&rig, &app, "empty", |record| {
        record.waiting == 0 && record.last_error.is_some()
    })
    .await;
    let words = app.words();
    assert_eq!(words, ["r@x.example accepted", "r@x.example sent"]);
}

#[tokio::test]
async fn an_unusable_outlet_is_probed_with_one_event_every_five_minutes() {
    let (app, witness) = (Listener::new("app", "a"), Listener::new("app", "b"));
    app.always(Say::Unusable);
    let rig = begun(&setup(&[&app, &witness]), &[&app, &witness]).await;
    send(&rig, "r@x.example").await;
    until_kept(&rig, &app, "failing", |record| {
        record.failing_since.is_some()
    })
    .await;
    for n in 0..5 {
        send(&rig, &format!("s{n}@x.example")).await;
    }
    until_kept(&rig, &app, "queued", |record| record.waiting == 12).await;
    assert_eq!(app.heard().len(), 1);
    rig.clock.advance(Duration::from_secs(301));
    until("it is probed", || app.heard().len() == 2).await;
    send(&rig, "last@x.example").await;
    until("the other is told", || witness.heard().len() == 14).await;
    assert_eq!(app.heard().len(), 2, "one probe");
    app.always(Say::Yes);
    rig.clock.advance(Duration::from_secs(301));
    until_kept(&rig, &app, "empty", |record| record.waiting == 0).await;
}

#[tokio::test]
async fn an_outlet_s_mail_leaves_by_its_provider_and_makes_no_events() {
    let (a, b) = (Scripted::new("a"), Scripted::new("b"));
    let app = Listener::new("app", "a");
    app.deaf_to("accepted");
    app.then([Say::Mail("nobody"), Say::Mail("b")]);
    let rig = begun(&Setup::new(&[&a], &[&b]).outlets(&[&app]), &[&app]).await;
    send(&rig, "r@x.example").await;
    until_kept(&rig, &app, "unusable", |record| {
        record
            .last_error
            .as_ref()
            .is_some_and(|why| why.contains("no provider nobody"))
    })
    .await;
    rig.clock.advance(Duration::from_secs(301));
    until("it is sent", || b.calls() == 1).await;
    let seen = b.seen().remove(0);
    assert_eq!(seen.recipients, ["feedback@mautic.example"]);
    assert!(seen.body.contains("r@x.example"), "{}", seen.body);
    until_kept(&rig, &app, "empty", |record| record.waiting == 0).await;
    send(&rig, "s@x.example").await;
    until("the next is told", || app.heard().len() == 3).await;
    assert_eq!(
        app.words(),
        ["r@x.example sent", "r@x.example sent", "s@x.example sent"]
    );
    assert_eq!(a.calls(), 2);
}

#[tokio::test]
async fn a_replay_tells_the_events_of_its_time_again() {
    let app = Listener::new("app", "a");
    let rig = begun(&setup(&[&app]), &[&app]).await;
    send(&rig, "early@x.example").await;
    until("it is told", || app.heard().len() == 2).await;
    rig.clock.advance(Duration::from_secs(7_200));
    let from = rig.clock.now();
    send(&rig, "r@x.example").await;
    let to = rig.clock.now();
    until("it is told", || app.heard().len() == 4).await;
    rig.clock.advance(Duration::from_secs(7_200));
    send(&rig, "late@x.example").await;
    until_kept(&rig, &app, "empty", |record| record.waiting == 0).await;
    until("all are told", || app.heard().len() == 6).await;
    let replayed = rig
        .engine
        .replay_outlet(app.name(), from, to)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((replayed.queued, replayed.is_full), (2, false));
    until("they are told again", || app.heard().len() == 8).await;
    let heard = app.heard();
    assert_eq!(heard[6..], heard[2..4]);
    let unknown = OutletName::kept("app/nobody".into());
    assert_eq!(
        rig.engine.replay_outlet(&unknown, from, to).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn an_outlet_that_leaves_the_configuration_is_told_nothing_and_goes_on_when_it_is_back() {
    let app = Listener::new("app", "a");
    let with = setup(&[&app]);
    let rig = begun(&with, &[&app]).await;
    rig.engine.reload(setup(&[]).policy());
    until_kept(&rig, &app, "away", |record| record.absent_since.is_some()).await;
    send(&rig, "r@x.example").await;
    rig.engine.reload(with.policy());
    until("it is told what it missed", || app.heard().len() == 2).await;
}

const LEFT: EventKind = EventKind::Unsubscribed;
const BACK: EventKind = EventKind::Resubscribed;

/// A service tells this of a recipient, about a message of its own, which a suppression of campaigns
/// does not stop.
async fn told(rig: &Rig, recipient: &str, kind: EventKind, at: Timestamp) {
    let id = sent(rig, "tx", recipient).await;
    let event = ProviderEvent {
        at,
        ..event(id, &format!("{id}"), kind, None)
    };
    tell(rig, "a", vec![event]).await;
}

/// A peer that keeps what it hears last, and one that hears everything.
async fn two_peers() -> (Rig, Arc<Listener>, Arc<Listener>) {
    let (keeper, app) = (Listener::new("app", "a"), Listener::new("app", "b"));
    keeper.keeps_the_last();
    for listener in [&keeper, &app] {
        listener.deaf_to("accepted");
        listener.deaf_to("sent");
    }
    let setup = setup(&[&keeper, &app]);
    let rig = begun(&setup, &[&keeper, &app]).await;
    (rig, keeper, app)
}

#[tokio::test]
async fn a_word_that_waits_is_not_told_once_the_recipient_has_taken_it_back() {
    for (first, second) in [(LEFT, BACK), (BACK, LEFT)] {
        let (rig, keeper, app) = two_peers().await;
        let now = rig.clock.now();
        keeper.then([Say::Busy(Duration::from_secs(600))]);
        told(
            &rig,
            "r@x.example",
            first.clone(),
            now - SignedDuration::from_secs(9),
        )
        .await;
        until_tried(&rig, &keeper, 1).await;
        told(
            &rig,
            "R@x.example",
            second.clone(),
            now - SignedDuration::from_secs(8),
        )
        .await;
        until_kept(&rig, &keeper, "queued", |record| record.waiting == 2).await;
        rig.clock.advance(Duration::from_secs(601));
        until_kept(&rig, &keeper, "empty", |record| record.waiting == 0).await;
        let words = [
            format!("r@x.example {}", first.as_str()),
            format!("R@x.example {}", second.as_str()),
        ];
        assert_eq!(keeper.words(), words);
        until("the other is told", || app.heard().len() == 2).await;
        assert_eq!(app.words(), words);
    }
}

#[tokio::test]
async fn a_word_that_is_told_late_does_not_undo_what_came_after_it() {
    let overtaken = |rig: &Rig| rig.counted("malote_outlet_told_total", "overtaken");
    for (late, later) in [(LEFT, BACK), (BACK, LEFT)] {
        let (rig, keeper, app) = two_peers().await;
        let now = rig.clock.now();
        let at = |second: i64| now - SignedDuration::from_secs(60 - second);
        told(&rig, "r@x.example", later.clone(), at(8)).await;
        until("it is told", || keeper.heard().len() == 1).await;
        told(&rig, "r@x.example", late.clone(), at(7)).await;
        until("it is passed over", || overtaken(&rig) == 1.0).await;
        // Another recipient's word, and a newer one, are told.
        told(&rig, "s@x.example", late.clone(), at(7)).await;
        until("it is told", || keeper.heard().len() == 2).await;
        told(&rig, "r@x.example", late.clone(), at(9)).await;
        until("it is told", || keeper.heard().len() == 3).await;
        let expected = [("r", &later), ("s", &late), ("r", &late)];
        let expected = expected.map(|(who, kind)| format!("{who}@x.example {}", kind.as_str()));
        assert_eq!(keeper.words(), expected);
        until("the other is told", || app.heard().len() == 4).await;
    }
}

#[tokio::test]
async fn a_word_waits_while_another_of_its_recipient_is_being_told() {
    let (rig, keeper, _app) = two_peers().await;
    keeper.always(Say::YesAfter(Duration::from_millis(500)));
    let now = rig.clock.now();
    told(
        &rig,
        "r@x.example",
        LEFT,
        now - SignedDuration::from_secs(2),
    )
    .await;
    until("it is being told", || keeper.heard().len() == 1).await;
    told(
        &rig,
        "r@x.example",
        BACK,
        now - SignedDuration::from_secs(1),
    )
    .await;
    until("it is told", || keeper.heard().len() == 2).await;
    until_kept(&rig, &keeper, "empty", |record| record.waiting == 0).await;
    assert_eq!(keeper.most_under_way(), 1);
}

#[tokio::test]
async fn what_breaks_before_its_peer_is_asked_is_told_later() {
    let (rig, keeper, _app) = two_peers().await;
    // Once when it is due, and once when it is looked for what undid it.
    keeper.breaks_in(2);
    let now = rig.clock.now();
    told(&rig, "r@x.example", LEFT, now).await;
    until_tried(&rig, &keeper, 1).await;
    assert_eq!(keeper.words(), [""; 0]);
    rig.clock.advance(Duration::from_secs(60));
    until("it is told", || keeper.heard().len() == 1).await;
    until_kept(&rig, &keeper, "empty", |record| record.waiting == 0).await;
    assert_eq!(rig.counted("malote_adapter_panics_total", ""), 1.0);
}
