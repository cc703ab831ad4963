//! Promises about events that come while a call is under way.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a broken promise of the engine under test is a panic"
)]

use malote_core::event::{EventKind, ProviderEvent, State};
use malote_core::id::DeliveryId;
use malote_core::name::ProviderName;

use crate::Spool;
use crate::conformance::mail::{self, at};
use crate::conformance::spool_events::{apply, ses, told};

/// A webhook may be faster than our own settlement of a journaled attempt.
pub async fn an_event_that_overtakes_its_settlement_is_kept(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let session = mail::session(spool, at(0)).await;
    let message = mail::accept(spool, mail::message(lane, at(0), &["a@x.test"])).await;
    let id = DeliveryId { message, index: 0 };
    spool.lease(session, lane, 1, at(0)).await.unwrap();
    let start = mail::start(id, 1, at(0));
    spool.start_attempts(vec![start]).await.unwrap();
    let event = ProviderEvent {
        delivery: Some(id),
        ..told("1", EventKind::Delivered)
    };
    assert_eq!(apply(spool, event).await, Some((id, State::Sending)));
    assert_eq!(mail::state_of(spool, id).await, State::Sending);
    let settlement = mail::sent(id, "p-1", at(2));
    spool.settle(session, vec![settlement]).await.unwrap();
    assert_eq!(mail::state_of(spool, id).await, State::Delivered);
}

/// Who was called before says what it delivered. That it bounced says nothing of who carries it now,
/// settled or under way.
pub async fn a_late_bounce_of_an_earlier_provider_moves_nothing(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let session = mail::session(spool, at(0)).await;
    let message = mail::accept(spool, mail::message(lane, at(0), &["a@x.test"])).await;
    let id = DeliveryId { message, index: 0 };
    let settle = async |target: &str, number: u32, outcome: &str, state: State| {
        let mut one = mail::sent(id, target, at(2));
        one.next.state = state;
        one.next.due_at = Some(at(2));
        let attempt = one.attempt.as_mut().unwrap();
        attempt.start.target = mail::target(target);
        attempt.start.number = number;
        attempt.outcome = outcome.into();
        spool.settle(session, vec![one]).await.unwrap();
    };
    let event = |key: &str, kind| ProviderEvent {
        delivery: Some(id),
        ..told(key, kind)
    };
    let bounce = |key| event(key, EventKind::Bounced);
    let other: ProviderName = "other".parse().unwrap();
    let is_last = async |provider: &ProviderName, event| {
        let applied = spool.apply_events(provider, vec![event], at(60)).await;
        let applied = applied.unwrap().remove(0);
        applied.map(|applied| applied.call.unwrap().is_last)
    };
    spool.lease(session, lane, 1, at(0)).await.unwrap();
    settle("ses", 1, "unknown", State::Deferred).await;
    spool.lease(session, lane, 1, at(3)).await.unwrap();
    assert_eq!(is_last(&ses(), bounce("1")).await, None, "who is called?");
    let mut start = mail::start(id, 2, at(3));
    start.target = mail::target("other");
    spool.start_attempts(vec![start]).await.unwrap();
    assert_eq!(is_last(&ses(), bounce("1")).await, Some(false));
    settle("other", 2, "sent", State::Sent).await;
    assert_eq!(mail::state_of(spool, id).await, State::Sent);
    assert_eq!(is_last(&ses(), bounce("2")).await, Some(false));
    assert_eq!(mail::state_of(spool, id).await, State::Sent);
    let delivered = event("3", EventKind::Delivered);
    assert_eq!(is_last(&other, delivered).await, Some(true));
    assert_eq!(is_last(&ses(), bounce("4")).await, Some(false));
    assert_eq!(mail::state_of(spool, id).await, State::Delivered);
    assert_eq!(is_last(&other, bounce("5")).await, Some(true));
    assert_eq!(mail::state_of(spool, id).await, State::Bounced);
}

/// What the target told stands where the call itself ended in nobody knowing: it is not sent again.
pub async fn what_was_told_of_a_call_that_ended_unknown_stands(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let session = mail::session(spool, at(0)).await;
    for (outcome, kind, then) in [
        ("unknown", EventKind::Delivered, State::Delivered),
        ("unknown", EventKind::Bounced, State::Bounced),
        ("unknown", EventKind::Opened, State::Deferred),
        ("transient", EventKind::Delivered, State::Deferred),
    ] {
        let message = mail::accept(spool, mail::message(lane, at(0), &["a@x.test"])).await;
        let id = DeliveryId { message, index: 0 };
        spool.lease(session, lane, 1, at(0)).await.unwrap();
        let start = mail::start(id, 1, at(0));
        spool.start_attempts(vec![start]).await.unwrap();
        let event = ProviderEvent {
            delivery: Some(id),
            ..told(&message.to_string(), kind)
        };
        assert_eq!(apply(spool, event).await, Some((id, State::Sending)));
        let mut again = mail::sent(id, "p-1", at(2));
        again.next.state = State::Deferred;
        again.next.due_at = Some(at(500));
        again.next.progress = Some("to be asked again".into());
        let attempt = again.attempt.as_mut().unwrap();
        attempt.outcome = outcome.into();
        attempt.provider_message_id = None;
        spool.settle(session, vec![again]).await.unwrap();
        assert_eq!(mail::state_of(spool, id).await, then, "{outcome}");
    }
    let leased = spool.lease(session, lane, 9, at(501)).await.unwrap();
    assert_eq!(mail::recipients(&leased).len(), 2);
}

/// So it does where the settlement says nothing of the call that was journaled: who would know broke
/// over it.
pub async fn what_was_told_of_a_call_without_an_outcome_stands(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let session = mail::session(spool, at(0)).await;
    let recipients = ["told@x.test", "other@x.test"];
    let message = mail::accept(spool, mail::message(lane, at(0), &recipients)).await;
    let [id, other] = [0, 1].map(|index| DeliveryId { message, index });
    spool.lease(session, lane, 2, at(0)).await.unwrap();
    let starts = [id, other].map(|id| mail::start(id, 1, at(0)));
    spool.start_attempts(starts.into()).await.unwrap();
    let event = ProviderEvent {
        delivery: Some(id),
        ..told("1", EventKind::Delivered)
    };
    assert_eq!(apply(spool, event).await, Some((id, State::Sending)));
    let again = [id, other].map(|id| mail::step(id, State::Deferred, Some(at(500))));
    spool.settle(session, again.into()).await.unwrap();
    assert_eq!(mail::state_of(spool, id).await, State::Delivered);
    let leased = spool.lease(session, lane, 9, at(501)).await.unwrap();
    assert_eq!(mail::recipients(&leased), ["other@x.test"]);
}

/// Of a call that is not journaled nothing is known before its settlement but that it may be under
/// way.
pub async fn an_event_that_overtakes_an_unjournaled_call_is_known_to_be_early(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let session = mail::session(spool, at(0)).await;
    let recipients = ["a@x.test", "b@x.test"];
    let message = mail::accept(spool, mail::message(lane, at(0), &recipients)).await;
    let [id, other] = [0, 1].map(|index| DeliveryId { message, index });
    let stranger = DeliveryId { index: 9, ..id };
    let named = vec![id, stranger, other];
    let under_way = async || spool.under_way(named.clone()).await.unwrap();
    assert_eq!(under_way().await, []);
    spool.lease(session, lane, 2, at(0)).await.unwrap();
    assert_eq!(under_way().await, [id, other]);
    let event = ProviderEvent {
        delivery: Some(id),
        ..told("1", EventKind::Delivered)
    };
    assert_eq!(apply(spool, event.clone()).await, None);
    let settlement = mail::sent(id, "p-1", at(2));
    spool.settle(session, vec![settlement]).await.unwrap();
    assert_eq!(under_way().await, [other]);
    assert_eq!(apply(spool, event).await, Some((id, State::Sent)));
    assert_eq!(mail::state_of(spool, id).await, State::Delivered);
}
