//! What is told later: each event counts once, what follows from it is had for certain, and of a
//! webhook all together.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use malote_core::clock::{Clock as _, SystemClock};
use malote_core::credential::OnFinalFailure;
use malote_core::event::{Blame, EventKind, ProviderEvent, State};
use malote_core::id::DeliveryId;
use malote_core::limits::Limits;
use malote_core::provider::Verdict;
use malote_core::stream::Class;
use malote_core::suppression::{Put, Suppressions as _};
use malote_core::webhook::{EventSink, Unread, Webhook};
use malote_store::{
    EventBook as _, Return, Shared as _, Suppression, SuppressionReason, SuppressionScope,
};

use crate::rig::{Rig, Setup, mail, until};
use crate::script::{Act, Scripted};

pub(crate) fn event(
    id: DeliveryId,
    key: &str,
    kind: EventKind,
    blame: Option<Blame>,
) -> ProviderEvent {
    ProviderEvent {
        dedup_key: key.into(),
        at: SystemClock::start().now(),
        kind,
        blame,
        delivery: Some(id),
        provider_message_id: None,
        recipient: None,
        detail: "told".into(),
        raw: bytes::Bytes::new(),
    }
}

pub(crate) async fn tell(rig: &Rig, provider: &str, events: Vec<ProviderEvent>) {
    let unreadable = Vec::new();
    let webhook = Webhook { events, unreadable };
    let told = rig.engine.apply(&provider.parse().unwrap(), webhook).await;
    told.unwrap();
}

/// A message to this recipient that `stream`'s provider took.
pub(crate) async fn sent(rig: &Rig, stream: &str, recipient: &str) -> DeliveryId {
    let id = rig.submit(mail(stream, &[recipient])).await.id;
    rig.wait_for(id, State::Sent).await.deliveries[0].id
}

async fn is_stopped(rig: &Rig, recipient: &str) -> bool {
    rig.is_suppressed(recipient, "news", Class::Campaign).await
}

#[tokio::test]
async fn what_is_told_while_its_call_is_under_way_is_asked_for_again() {
    let (a, c) = (Scripted::new("a"), Scripted::new("c"));
    let rig = Rig::start(&Setup::new(&[&a], &[&c])).await;
    let taken = sent(&rig, "tx", "taken@x.example").await;
    a.then([Act::TakeAfter(Duration::from_secs(4))]);
    let message = rig.submit(mail("tx", &["r@x.example"])).await.id;
    until("the call is under way", || a.calls() == 2).await;
    let id = DeliveryId { message, index: 0 };
    let webhook = || Webhook {
        events: vec![
            event(taken, "1", EventKind::Complained, None),
            event(id, "2", EventKind::Delivered, None),
        ],
        unreadable: vec![Unread::new("no event", "{}")],
    };
    let unreadable = async || rig.engine.unreadable(9).await.unwrap().len();
    let provider = "a".parse().unwrap();
    let early = rig.engine.apply(&provider, webhook()).await;
    assert!(early.is_err(), "answered as if it were kept");
    assert_eq!(unreadable().await, 0, "kept with each repeat");
    // What came with it is not put off.
    assert!(is_stopped(&rig, "taken@x.example").await);
    assert_eq!(
        rig.counted("malote_provider_events_unmatched_total", "a"),
        0.0
    );
    rig.wait_for(message, State::Sent).await;
    rig.engine.apply(&provider, webhook()).await.unwrap();
    rig.wait_for(message, State::Delivered).await;
    assert_eq!(unreadable().await, 1);
}

fn with_notices(tx: &[&Arc<Scripted>], news: &[&Arc<Scripted>]) -> Setup {
    let mut setup = Setup::new(tx, news);
    setup.on_final_failure = OnFinalFailure::Dsn;
    setup
}

#[tokio::test]
async fn the_sender_is_told_of_the_bounce_of_who_carried_the_mail_last() {
    let (a, b) = (Scripted::new("a"), Scripted::new("b"));
    let rig = Rig::start(&with_notices(&[&a, &b], &[])).await;
    a.then([Act::Fail(Verdict::Unknown), Act::Fail(Verdict::Unknown)]);
    let id = sent(&rig, "tx", "r@x.example").await;
    assert_eq!((a.calls(), b.calls()), (2, 1));
    let bounce = |key| event(id, key, EventKind::Bounced, None);
    tell(&rig, "a", vec![bounce("1")]).await;
    rig.wait_for(id.message, State::Sent).await;
    let told = || rig.counted("malote_dsns_total", "queued");
    assert_eq!(told(), 0.0);
    tell(&rig, "b", vec![bounce("2")]).await;
    rig.wait_for(id.message, State::Bounced).await;
    assert_eq!(told(), 1.0);
}

#[tokio::test]
async fn the_sender_is_told_of_a_bounce_that_overtakes_its_call() {
    let (a, c) = (Scripted::new("a"), Scripted::new("c"));
    let rig = Rig::start(&with_notices(&[&a], &[&c])).await;
    c.then([Act::TakeAfter(Duration::from_secs(1))]);
    let message = rig.submit(mail("news", &["r@x.example"])).await.id;
    until("the call is under way", || c.calls() == 1).await;
    let id = DeliveryId { message, index: 0 };
    let bounce = event(id, "1", EventKind::Bounced, None);
    tell(&rig, "c", vec![bounce]).await;
    rig.wait_for(message, State::Bounced).await;
    assert_eq!(rig.counted("malote_dsns_total", "queued"), 1.0);
}

#[tokio::test]
async fn a_repeat_counts_nothing_twice() {
    let (a, c) = (Scripted::new("a"), Scripted::new("c"));
    let rig = Rig::start(&Setup::new(&[&a], &[&c])).await;
    let id = sent(&rig, "tx", "r@x.example").await;
    let full = event(id, "full", EventKind::Bounced, Some(Blame::MailboxFull));
    let complaint = event(id, "spam", EventKind::Complained, None);
    let content = event(id, "content", EventKind::Bounced, Some(Blame::Content));
    for second in 0..8 {
        // Returned mail is told with the time at which it came.
        let mut again = [full.clone(), complaint.clone(), content.clone()];
        for event in &mut again {
            event.at += Duration::from_secs(second);
        }
        tell(&rig, "a", again.to_vec()).await;
    }
    for (name, label, count) in [
        ("malote_provider_events_total", "bounced", 2.0),
        ("malote_provider_events_total", "complained", 1.0),
        ("malote_feedback_events_total", "a", 3.0),
        ("malote_feedback_lag_seconds", "a", 3.0),
        ("malote_alerts_total", "complaint", 1.0),
        ("malote_content_refused_total", "tx", 1.0),
        ("malote_suppressions_total", "complaint", 1.0),
        ("malote_suppressions_total", "mailbox_full", 0.0),
        ("malote_provider_events_repeated_total", "repeat", 21.0),
        ("malote_provider_events_repeated_total", "replay", 0.0),
    ] {
        assert_eq!(rig.counted(name, label), count, "{name} {label}");
    }
    assert!(
        !rig.is_suppressed("r@x.example", "tx", Class::Transactional)
            .await
    );
}

#[tokio::test]
async fn what_a_crash_cut_off_follows_from_what_was_told_first() {
    let (a, c) = (Scripted::new("a"), Scripted::new("c"));
    let rig = Rig::start(&Setup::new(&[&a], &[&c])).await;
    let complains = sent(&rig, "news", "complains@x.example").await;
    let full = sent(&rig, "news", "full@x.example").await;
    let complaint = event(complains, "1", EventKind::Complained, None);
    let bounce = event(full, "2", EventKind::Bounced, Some(Blame::MailboxFull));
    // Durable, and then nothing more was done.
    let events = vec![complaint.clone(), bounce.clone()];
    let applied = rig
        .store
        .apply_events(&"c".parse().unwrap(), events, complaint.at)
        .await;
    assert_eq!(applied.unwrap().iter().flatten().count(), 2);
    assert!(!is_stopped(&rig, "complains@x.example").await);
    let forged = ProviderEvent {
        blame: Some(Blame::Recipient),
        ..bounce
    };
    tell(&rig, "c", vec![complaint.clone(), forged]).await;
    assert!(is_stopped(&rig, "complains@x.example").await);
    assert!(!is_stopped(&rig, "full@x.example").await);
    // What was had is not had again.
    let address = "complains@x.example".parse().unwrap();
    rig.engine.unsuppress(&address, None).await.unwrap();
    tell(&rig, "c", vec![complaint]).await;
    assert!(!is_stopped(&rig, "complains@x.example").await);
}

#[tokio::test]
async fn of_an_unsubscribe_and_a_return_the_later_counts_however_they_come() {
    let (a, c) = (Scripted::new("a"), Scripted::new("c"));
    let rig = Rig::start(&Setup::new(&[&a], &[&c])).await;
    let now = SystemClock::start().now();
    let at = |second: i64| now + jiff::SignedDuration::from_secs(second - 60);
    let (left, back) = (EventKind::Unsubscribed, EventKind::Resubscribed);
    for (name, first, second, is_left) in [
        ("in-order", (&left, 1), (&back, 2), false),
        ("late-unsubscribe", (&back, 2), (&left, 1), false),
        ("late-return", (&left, 2), (&back, 1), true),
        ("again", (&back, 1), (&left, 2), true),
    ] {
        let recipient = format!("{name}@x.example");
        let id = sent(&rig, "news", &recipient).await;
        for (kind, second) in [first, second] {
            let event = ProviderEvent {
                at: at(second),
                ..event(id, &format!("{name}{second}"), kind.clone(), None)
            };
            tell(&rig, "c", vec![event]).await;
        }
        assert_eq!(is_stopped(&rig, &recipient).await, is_left, "{name}");
    }
}

/// Bounces of one webhook.
const BOUNCES: usize = 2_000;
/// Recipients of a message.
const RECIPIENTS: usize = 500;
/// Transactions of the store's writer in which all of them are followed: the events, the
/// suppressions, and the note that they were followed; and one that somebody else had meanwhile.
const COMMITS_MAX: f64 = 4.0;

#[tokio::test]
async fn a_webhook_is_followed_in_a_few_transactions_however_much_it_tells() {
    let (a, c) = (Scripted::for_groups("a", 500), Scripted::new("c"));
    let rig = Rig::start(&Setup::new(&[&a], &[&c])).await;
    let mut events = Vec::with_capacity(BOUNCES);
    for message in 0..BOUNCES / RECIPIENTS {
        let recipients: Vec<String> = (0..RECIPIENTS)
            .map(|n| format!("r{message}-{n}@x.example"))
            .collect();
        let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
        let id = rig.submit(mail("tx", &recipients)).await.id;
        let view = rig.wait_for(id, State::Sent).await;
        let bounce = |id: DeliveryId| {
            event(
                id,
                &id.to_string(),
                EventKind::Bounced,
                Some(Blame::Recipient),
            )
        };
        events.extend(view.deliveries.iter().map(|delivery| bounce(delivery.id)));
    }
    let commits = || rig.counted("malote_store_commit_seconds", "");
    let before = commits();
    tell(&rig, "a", events.clone()).await;
    let took = commits() - before;
    assert!(took <= COMMITS_MAX, "{took} transactions");
    for message in 0..BOUNCES / RECIPIENTS {
        for n in 0..RECIPIENTS {
            let recipient = format!("r{message}-{n}@x.example");
            assert!(is_stopped(&rig, &recipient).await, "{recipient}");
        }
    }
    // Told again, nothing follows any more.
    let before = commits();
    tell(&rig, "a", events).await;
    let took = commits() - before;
    assert!(took <= COMMITS_MAX - 2.0, "{took} transactions");
}

/// An operator's entry.
pub(crate) fn by_hand(recipient: &str, at: Timestamp) -> Suppression {
    Suppression {
        address: recipient
            .parse::<malote_core::address::EmailAddress>()
            .unwrap()
            .into(),
        scope: SuppressionScope::Global,
        reason: SuppressionReason::Manual,
        detail: String::new(),
        source: "import".into(),
        provider: None,
        credential: None,
        created_at: at,
        expires_at: None,
    }
}

#[tokio::test]
async fn an_entry_that_is_put_stands_since_now_at_the_latest_or_is_not_said_to() {
    let (a, c) = (Scripted::new("a"), Scripted::new("c"));
    let rig = Rig::start(&Setup::new(&[&a], &[&c])).await;
    let now = rig.clock.now();
    let news = SuppressionScope::Stream("news".parse().unwrap());
    let left = |at| Suppression {
        scope: news.clone(),
        reason: SuppressionReason::Unsubscribe,
        ..by_hand("r@x.example", at)
    };
    let back = Return {
        address: "r@x.example".parse().unwrap(),
        scope: news.clone(),
        at: now - Duration::from_secs(60),
        source: "recipient".into(),
    };
    rig.store.lift_unsubscribes(vec![back]).await.unwrap();
    let before = left(now - Duration::from_secs(90));
    assert_eq!(rig.engine.put(before).await, Ok(Put::Outlived));
    assert!(!is_stopped(&rig, "r@x.example").await);
    let to_come = left(now + Duration::from_secs(86_400));
    let Ok(Put::Added(stands)) = rig.engine.put(to_come).await else {
        panic!("nothing stands");
    };
    assert!(stands.created_at <= rig.clock.now());
    assert!(is_stopped(&rig, "r@x.example").await);
}

/// Entries of an import, and of one page of it.
const IMPORTED: usize = 150_000;
const PAGE: usize = 10_000;

/// A provider that takes one call at a time and is busy for this long.
async fn busy(for_: Duration) -> (std::sync::Arc<Scripted>, Rig) {
    let (a, c) = (Scripted::new("a"), Scripted::new("c"));
    c.then([Act::TakeAfter(for_)]);
    let limits = Limits {
        concurrency: Some(1),
        ..Limits::default()
    };
    let rig = Rig::start(&Setup::new(&[&a], &[&c]).limits(limits)).await;
    rig.submit(mail("news", &["first@x.example"])).await;
    until("the first is under way", || c.calls() == 1).await;
    (c, rig)
}

#[tokio::test]
async fn what_is_suppressed_while_it_is_leased_does_not_leave_however_long_the_list() {
    let (c, rig) = busy(Duration::from_secs(4)).await;
    let own = rig.submit(mail("news", &["own@x.example"])).await.id;
    let foreign = rig.submit(mail("news", &["foreign@x.example"])).await.id;
    let now = rig.clock.now();
    // Another node writes past this engine.
    let entries = vec![by_hand("foreign@x.example", now)];
    rig.store.suppress(entries).await.unwrap();
    let own_entry = by_hand("own@x.example", now);
    rig.engine.suppress_all(vec![own_entry]).await.unwrap();
    assert_eq!(c.calls(), 1);
    for page in 0..IMPORTED / PAGE {
        let entry = |n| by_hand(&format!("i{page}-{n}@list.example"), now);
        let entries = (0..PAGE).map(entry).collect();
        rig.engine.suppress_all(entries).await.unwrap();
    }
    rig.wait_for(own, State::Suppressed).await;
    rig.wait_for(foreign, State::Suppressed).await;
    assert_eq!(c.calls(), 1);
}

#[tokio::test]
async fn what_another_node_lifts_is_lifted() {
    let (c, rig) = busy(Duration::from_millis(500)).await;
    let entry = by_hand("back@x.example", rig.clock.now());
    rig.engine.suppress_all(vec![entry]).await.unwrap();
    let address = "back@x.example".parse().unwrap();
    assert_eq!(rig.store.unsuppress(&address, None).await.unwrap(), 1);
    sent(&rig, "news", "back@x.example").await;
    assert_eq!(c.calls(), 2);
}
