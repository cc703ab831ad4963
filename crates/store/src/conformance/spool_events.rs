//! Promises about providers' events: each once, to the right delivery, states only forward.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a broken promise of the engine under test is a panic"
)]

use malote_core::event::{Blame, EventKind, ProviderEvent, State};
use malote_core::id::DeliveryId;
use malote_core::name::ProviderName;

use crate::conformance::mail::{self, at};
use crate::{FirstTold, LaneId, NodeSession, Spool, Telling, UnreadRecord};

pub(super) fn ses() -> ProviderName {
    "ses".parse().unwrap()
}

pub(super) fn told(key: &str, kind: EventKind) -> ProviderEvent {
    ProviderEvent {
        dedup_key: key.to_owned(),
        at: at(50),
        kind,
        blame: None,
        delivery: None,
        provider_message_id: None,
        recipient: None,
        detail: "told by the provider".into(),
        raw: bytes::Bytes::new(),
    }
}

/// Accepts, leases and settles as sent by `ses` under `provider_id`.
async fn sent(
    spool: &dyn Spool,
    (session, lane): (NodeSession, LaneId),
    recipients: &[&str],
    provider_id: &str,
) -> Vec<DeliveryId> {
    mail::accept(spool, mail::message(lane, at(0), recipients)).await;
    let leased = spool.lease(session, lane, 100, at(0)).await.unwrap();
    let ids: Vec<_> = leased[0].deliveries.iter().map(|one| one.id).collect();
    let settlements = ids.iter().map(|id| mail::sent(*id, provider_id, at(1)));
    spool.settle(session, settlements.collect()).await.unwrap();
    ids
}

pub(super) async fn apply(spool: &dyn Spool, event: ProviderEvent) -> Option<(DeliveryId, State)> {
    let applied = spool.apply_events(&ses(), vec![event], at(60)).await;
    let found = applied.unwrap().remove(0);
    found.map(|applied| (applied.delivery.id, applied.delivery.state))
}

/// A repeat is told from a new event by its key; what is known is never taken back.
pub async fn an_event_is_applied_once_and_moves_forward_only(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let session = mail::session(spool, at(0)).await;
    let id = sent(spool, (session, lane), &["a@x.test"], "p-1").await[0];
    let event = |key: &str, kind: EventKind| ProviderEvent {
        delivery: Some(id),
        ..told(key, kind)
    };
    let steps = [
        ("1", EventKind::Delivered, State::Sent, State::Delivered),
        ("2", EventKind::Opened, State::Delivered, State::Delivered),
        ("3", EventKind::Bounced, State::Delivered, State::Bounced),
        ("4", EventKind::Delivered, State::Bounced, State::Bounced),
        ("5", EventKind::Complained, State::Bounced, State::Bounced),
    ];
    for (key, kind, before, after) in steps {
        let applied = apply(spool, event(key, kind.clone())).await;
        assert_eq!(applied, Some((id, before)), "{kind:?}");
        assert_eq!(mail::state_of(spool, id).await, after, "{kind:?}");
    }
    let repeat = apply(spool, event("3", EventKind::Bounced)).await;
    assert_eq!(repeat, Some((id, State::Bounced)));
    let twice = vec![
        event("6", EventKind::Clicked),
        event("6", EventKind::Clicked),
    ];
    let applied = spool.apply_events(&ses(), twice, at(61)).await.unwrap();
    let news = applied.iter().flatten();
    let news: Vec<_> = news.map(|one| one.telling == Telling::New).collect();
    assert_eq!(news, [true, false]);
    let view = spool.view(id.message).await.unwrap().unwrap();
    assert_eq!(view.deliveries[0].events.len(), 8);
}

/// A key keeps the event that it was first said of: whoever has a signature that leaves the event out
/// cannot say anything else under it.
pub async fn a_known_key_says_nothing_of_another_event(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let session = mail::session(spool, at(0)).await;
    let one = sent(spool, (session, lane), &["a@x.test"], "p-1").await[0];
    let other = sent(spool, (session, lane), &["b@x.test"], "p-2").await[0];
    let event = |id, kind| ProviderEvent {
        delivery: Some(id),
        ..told("token", kind)
    };
    let telling = async |event| {
        let applied = spool.apply_events(&ses(), vec![event], at(60)).await;
        applied.unwrap().remove(0).unwrap().telling
    };
    let first = event(one, EventKind::Delivered);
    assert_eq!(telling(first.clone()).await, Telling::New);
    for replay in [
        event(other, EventKind::Bounced),
        event(other, EventKind::Delivered),
        event(one, EventKind::Bounced),
        ProviderEvent {
            provider_message_id: Some("p-2".into()),
            delivery: None,
            ..told("token", EventKind::Complained)
        },
    ] {
        assert_eq!(telling(replay.clone()).await, Telling::Replay, "{replay:?}");
    }
    assert_eq!(mail::state_of(spool, one).await, State::Delivered);
    assert_eq!(mail::state_of(spool, other).await, State::Sent);
    for (id, events) in [(one, 3), (other, 2)] {
        let view = spool.view(id.message).await.unwrap().unwrap();
        assert_eq!(view.deliveries[0].events.len(), events);
    }
    // In one batch, too.
    let batch = vec![
        ProviderEvent {
            dedup_key: "batch".into(),
            ..event(one, EventKind::Opened)
        },
        ProviderEvent {
            dedup_key: "batch".into(),
            ..event(other, EventKind::Bounced)
        },
    ];
    let applied = spool.apply_events(&ses(), batch, at(60)).await.unwrap();
    let tellings: Vec<_> = applied
        .into_iter()
        .flatten()
        .map(|one| one.telling)
        .collect();
    assert_eq!(tellings, [Telling::New, Telling::Replay]);
}

/// Until it is said that what follows from an event was done, a repeat gives it as it was told
/// first.
pub async fn a_repeat_gives_what_was_told_first_until_it_was_followed(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let session = mail::session(spool, at(0)).await;
    let id = sent(spool, (session, lane), &["a@x.test"], "p-1").await[0];
    let event = ProviderEvent {
        delivery: Some(id),
        blame: Some(Blame::MailboxFull),
        ..told("1", EventKind::Bounced)
    };
    let forged = ProviderEvent {
        at: at(55),
        blame: Some(Blame::Recipient),
        detail: "forged".into(),
        ..event.clone()
    };
    let apply = async |event: &ProviderEvent| {
        let applied = spool
            .apply_events(&ses(), vec![event.clone()], at(60))
            .await;
        applied.unwrap().remove(0).unwrap()
    };
    let new = apply(&event).await;
    assert_eq!(
        (new.telling, new.delivery.state),
        (Telling::New, State::Sent)
    );
    assert_eq!(new.message.id, id.message);
    let call = new.call.unwrap();
    assert_eq!((call.target, call.started_at), (mail::target("ses"), at(1)));
    let first = FirstTold {
        at: at(50),
        blame: Some(Blame::MailboxFull),
        detail: "told by the provider".into(),
    };
    for _ in 0..2 {
        let again = apply(&forged).await;
        assert_eq!(again.telling, Telling::Unfollowed(first.clone()));
        assert_eq!(again.delivery.state, State::Bounced);
    }
    let stranger = "mailgun".parse().unwrap();
    spool.followed(&stranger, vec!["1".into()]).await.unwrap();
    assert_eq!(apply(&event).await.telling, Telling::Unfollowed(first));
    let done = vec!["1".into(), "unknown".into()];
    spool.followed(&ses(), done).await.unwrap();
    assert_eq!(apply(&forged).await.telling, Telling::Repeat);
}

/// Whoever tells an old event again finds its message, so it is known as long as that is kept.
pub async fn an_event_is_known_as_long_as_messages_are_kept(spool: &dyn Spool) {
    const DAY: i64 = 86_400;
    let lane = mail::tx_lane(spool).await;
    let session = mail::session(spool, at(0)).await;
    let id = sent(spool, (session, lane), &["a@x.test"], "p-1").await[0];
    for (told_on, kept_for, telling) in [
        (-9 * DAY, 30, Telling::Repeat),
        (-31 * DAY, 30, Telling::New),
        (-6 * DAY, 1, Telling::Repeat),
        (-8 * DAY, 1, Telling::New),
    ] {
        let key = format!("{told_on}");
        let event = ProviderEvent {
            delivery: Some(id),
            ..told(&key, EventKind::Opened)
        };
        let apply = async |now: i64| {
            let events = vec![event.clone()];
            let applied = spool.apply_events(&ses(), events, at(now)).await.unwrap();
            applied[0].as_ref().unwrap().telling.clone()
        };
        assert_eq!(apply(told_on).await, Telling::New);
        spool.followed(&ses(), vec![key]).await.unwrap();
        let old = at(-kept_for * DAY);
        spool.retain(old, old).await.unwrap();
        assert_eq!(apply(0).await, telling, "{told_on} {kept_for}");
    }
}

/// Many events, of some deliveries several, are applied in their order.
pub async fn a_large_batch_is_applied_in_its_order(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let session = mail::session(spool, at(0)).await;
    let recipients: Vec<String> = (0..100).map(|n| format!("p{n}@x.test")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let ids = sent(spool, (session, lane), &recipients, "p-1").await;
    let mut events = Vec::new();
    for (kind, word) in [(EventKind::Delivered, "d"), (EventKind::Bounced, "b")] {
        for (number, id) in ids.iter().enumerate() {
            events.push(ProviderEvent {
                delivery: Some(*id),
                ..told(&format!("{word}{number}"), kind.clone())
            });
        }
    }
    let applied = spool.apply_events(&ses(), events, at(60)).await.unwrap();
    let states: Vec<_> = applied
        .iter()
        .flatten()
        .map(|one| one.delivery.state)
        .collect();
    let before = [State::Sent, State::Delivered].map(|state| vec![state; ids.len()]);
    assert_eq!(states, before.concat());
    let view = spool.view(ids[0].message).await.unwrap().unwrap();
    for delivery in &view.deliveries {
        assert_eq!(delivery.state, State::Bounced);
        let kinds: Vec<_> = delivery.events.iter().map(|event| &event.kind).collect();
        let (delivered, bounced) = (&EventKind::Delivered, &EventKind::Bounced);
        assert_eq!(kinds[2..], [delivered, bounced]);
    }
}

/// Whoever knows an id of ours still cannot speak for a provider that was never called.
pub async fn an_event_touches_only_deliveries_of_its_provider(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let session = mail::session(spool, at(0)).await;
    let id = sent(spool, (session, lane), &["a@x.test"], "p-1").await[0];
    let event = ProviderEvent {
        delivery: Some(id),
        provider_message_id: Some("p-1".into()),
        ..told("1", EventKind::Bounced)
    };
    let stranger = "mailgun".parse().unwrap();
    let applied = spool.apply_events(&stranger, vec![event.clone()], at(60));
    assert_eq!(applied.await.unwrap(), [None]);
    assert_eq!(mail::state_of(spool, id).await, State::Sent);
    let later = mail::accept(spool, mail::message(lane, at(5), &["b@x.test"])).await;
    let never_called = ProviderEvent {
        delivery: Some(DeliveryId {
            message: later,
            index: 0,
        }),
        ..told("2", EventKind::Bounced)
    };
    assert_eq!(apply(spool, never_called).await, None);
    let about_another = ProviderEvent {
        recipient: Some("other@x.test".parse().unwrap()),
        ..event.clone()
    };
    assert_eq!(apply(spool, about_another).await, None);
    assert_eq!(apply(spool, event).await, Some((id, State::Sent)));
}

/// A service that tells whole seconds, or whose clock is slow, is shown behind our own `sent`, with
/// the time that it told.
pub async fn a_timeline_tells_cause_before_effect(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let session = mail::session(spool, at(0)).await;
    let id = sent(spool, (session, lane), &["a@x.test"], "p-1").await[0];
    for (key, kind, when) in [
        ("1", EventKind::Opened, at(-60)),
        ("2", EventKind::Delivered, at(-60)),
        ("3", EventKind::Deferred, at(-61)),
    ] {
        let event = ProviderEvent {
            delivery: Some(id),
            at: when,
            ..told(key, kind)
        };
        apply(spool, event).await;
    }
    let view = spool.view(id.message).await.unwrap().unwrap();
    let shown = view.deliveries[0].events.iter();
    let shown: Vec<_> = shown.map(|event| (&event.kind, event.at)).collect();
    assert_eq!(
        shown,
        [
            (&EventKind::Accepted, at(0)),
            (&EventKind::Sent, at(1)),
            (&EventKind::Deferred, at(-61)),
            (&EventKind::Delivered, at(-60)),
            (&EventKind::Opened, at(-60)),
        ]
    );
}

/// What the gateway itself saw needs no provider, and is applied once too.
pub async fn an_event_of_our_own_names_its_delivery(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let session = mail::session(spool, at(0)).await;
    let id = sent(spool, (session, lane), &["a@x.test"], "p-1").await[0];
    let event = |delivery| ProviderEvent {
        delivery,
        ..told("1", EventKind::Unsubscribed)
    };
    let stranger = DeliveryId { index: 9, ..id };
    let batch = vec![
        event(Some(id)),
        event(Some(id)),
        event(Some(stranger)),
        event(None),
    ];
    let applied = spool.apply_own_events(batch, at(60)).await.unwrap();
    let found = applied
        .iter()
        .map(|one| one.as_ref().map(|applied| applied.delivery.id));
    let found: Vec<_> = found.collect();
    assert_eq!(found, [Some(id), Some(id), None, None]);
    let view = spool.view(id.message).await.unwrap().unwrap();
    let events = view.deliveries[0].events.iter();
    let ours = events.filter(|event| event.kind == EventKind::Unsubscribed);
    let tellers: Vec<_> = ours.map(|event| event.provider.clone()).collect();
    assert_eq!(tellers, [None]);
}

/// Recipients of one call share the provider's id; the event's recipient tells them apart.
pub async fn a_provider_s_id_finds_the_recipient_it_is_about(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let session = mail::session(spool, at(0)).await;
    let pair = sent(spool, (session, lane), &["a@x.test", "B@x.test"], "p-1").await;
    let alone = sent(spool, (session, lane), &["c@x.test"], "p-2").await[0];
    let event = |key: &str, id: &str, recipient: Option<&str>| ProviderEvent {
        provider_message_id: Some(id.to_owned()),
        recipient: recipient.map(|address| address.parse().unwrap()),
        blame: Some(Blame::Recipient),
        ..told(key, EventKind::Bounced)
    };
    assert_eq!(apply(spool, event("1", "p-1", None)).await, None);
    let found = apply(spool, event("2", "p-1", Some("b@x.test"))).await;
    assert_eq!(found, Some((pair[1], State::Sent)));
    assert_eq!(mail::state_of(spool, pair[0]).await, State::Sent);
    let found = apply(spool, event("3", "p-2", None)).await;
    assert_eq!(found, Some((alone, State::Sent)));
    assert_eq!(apply(spool, event("4", "p-3", None)).await, None);
    assert_eq!(
        apply(spool, event("5", "p-2", Some("x@x.test"))).await,
        None
    );
    // What matched nothing is not remembered: it may match when it comes again.
    let late = sent(spool, (session, lane), &["d@x.test"], "p-3").await[0];
    let found = apply(spool, event("4", "p-3", None)).await;
    assert_eq!(found, Some((late, State::Sent)));
}

/// Parts that nobody could read are kept, the newest first, and cut where they are long.
pub async fn unreadable_parts_are_kept(spool: &dyn Spool) {
    let parts = vec!["{".into(), "é".repeat(100_000), String::new()];
    spool.keep_unreadable(&ses(), parts, at(0)).await.unwrap();
    spool
        .keep_unreadable(&ses(), Vec::new(), at(0))
        .await
        .unwrap();
    let provider: ProviderName = "other".parse().unwrap();
    let last = vec!["a reason: {\"to\":7}".to_owned()];
    spool.keep_unreadable(&provider, last, at(1)).await.unwrap();
    let kept = spool.unreadable(4).await.unwrap();
    assert_eq!(
        kept[0],
        UnreadRecord {
            provider,
            at: at(1),
            part: "a reason: {\"to\":7}".into(),
        }
    );
    let parts: Vec<&str> = kept[1..].iter().map(|record| &*record.part).collect();
    assert_eq!(parts, ["", &"é".repeat(4 << 10), "{"]);
    assert!(
        kept[1..]
            .iter()
            .all(|own| own.at == at(0) && own.provider == ses())
    );
    assert_eq!(spool.unreadable(1).await.unwrap(), kept[..1]);
}
