//! Mail and lanes for the suite, and the steps that most promises begin with.
#![expect(
    clippy::unwrap_used,
    reason = "a broken promise of the engine under test is a panic"
)]

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use malote_core::event::{EventKind, State};
use malote_core::id::{DeliveryId, MessageId};
use malote_core::message::{Channel, DsnParameters};
use malote_core::name::TargetName;
use malote_core::provider::Reply;
use malote_core::stream::Class;

use crate::{
    AcceptOutcome, AttemptOutcome, AttemptStart, EventRecord, Lane, LaneId, Leased, LeasedMessage,
    MessageRecord, NewDelivery, NewMessage, NextStep, NodeSession, Settlement, Spool,
};

/// A moment of the suite's own time: seconds after 2026-11-22.
///
/// # Panics
/// If the time is out of range.
#[must_use]
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_795_305_600 + seconds).unwrap()
}

/// A lane of the suite.
///
/// # Panics
/// If the stream's name is none.
#[must_use]
pub fn lane_key(class: Class, stream: &str) -> Lane {
    Lane {
        class,
        stream: stream.parse().unwrap(),
        route: stream.parse().unwrap(),
    }
}

/// The number of the suite's usual lane: transactional, stream `tx`.
///
/// # Panics
/// If the engine breaks its promise.
pub async fn tx_lane(spool: &dyn Spool) -> LaneId {
    let key = lane_key(Class::Transactional, "tx");
    spool.lane(&key).await.unwrap()
}

/// A message to these recipients, accepted and due at `now`, of stream `tx`.
///
/// # Panics
/// If an address is none.
#[must_use]
pub fn message(lane: LaneId, now: Timestamp, recipients: &[&str]) -> NewMessage {
    let body = Bytes::from(format!(
        "Subject: {}\r\n\r\nHello\r\n",
        recipients.join(" ")
    ));
    let record = MessageRecord {
        id: MessageId::new(now),
        credential: "shop".parse().unwrap(),
        channel: Channel::Smtp("192.0.2.1".parse().unwrap()),
        stream: "tx".parse().unwrap(),
        class: Class::Transactional,
        stream_reason: "the credential's only stream".into(),
        mail_from: Some("bounce@shop.test".parse().unwrap()),
        from: "hello@shop.test".parse().unwrap(),
        message_id_header: "<1@shop.test>".into(),
        campaign: None,
        tracking_hash: None,
        one_click: None,
        tags: Vec::new(),
        metadata: BTreeMap::new(),
        tracking: malote_core::tracking::Tracking::default(),
        asked_fields: BTreeMap::new(),
        dsn: DsnParameters::default(),
        size_bytes: body.len() as u64,
        accepted_at: now,
        expires_at: now.checked_add(SignedDuration::from_hours(24)).unwrap(),
    };
    NewMessage {
        record,
        body,
        deliveries: recipients
            .iter()
            .map(|recipient| delivery(lane, now, recipient))
            .collect(),
        idempotency: None,
    }
}

/// A queued delivery.
#[must_use]
pub fn delivery(lane: LaneId, now: Timestamp, recipient: &str) -> NewDelivery {
    NewDelivery {
        recipient: recipient.to_owned(),
        notify: None,
        orcpt: None,
        lane,
        route_reason: "the stream's route".into(),
        mailbox_provider: None,
        state: State::Queued,
        due_at: now,
        events: vec![event(now, EventKind::Accepted)],
    }
}

/// An event of the gateway itself.
#[must_use]
pub fn event(at: Timestamp, kind: EventKind) -> EventRecord {
    EventRecord {
        at,
        kind,
        blame: None,
        provider: None,
        detail: String::new(),
    }
}

/// A target by its provider's name.
///
/// # Panics
/// If the name is none.
#[must_use]
pub fn target(provider: &str) -> TargetName {
    TargetName {
        provider: provider.parse().unwrap(),
        pool: TargetName::default_pool(),
    }
}

/// The start of an attempt.
#[must_use]
pub fn start(delivery: DeliveryId, number: u32, at: Timestamp) -> AttemptStart {
    AttemptStart {
        delivery,
        number,
        target: target("ses"),
        at,
        reason: "first of the route".into(),
    }
}

/// A settlement without an attempt.
#[must_use]
pub fn step(delivery: DeliveryId, state: State, due_at: Option<Timestamp>) -> Settlement {
    Settlement {
        delivery,
        attempt: None,
        next: NextStep {
            state,
            due_at,
            attempts: 0,
            progress: None,
            lane: None,
        },
        events: Vec::new(),
    }
}

/// A settlement of a first attempt that `ses` took under this id.
#[must_use]
pub fn sent(delivery: DeliveryId, provider_id: &str, at: Timestamp) -> Settlement {
    let mut settlement = step(delivery, State::Sent, None);
    settlement.next.attempts = 1;
    settlement.attempt = Some(AttemptOutcome {
        start: start(delivery, 1, at),
        ended_at: at,
        outcome: "sent".into(),
        reply: Reply::new(Some(200), None, "ok"),
        provider_message_id: Some(provider_id.to_owned()),
    });
    settlement.events = vec![event(at, EventKind::Sent)];
    settlement
}

/// Accepts one message and returns its id.
///
/// # Panics
/// If it is not kept.
pub async fn accept(spool: &dyn Spool, message: NewMessage) -> MessageId {
    let id = message.record.id;
    let outcomes = spool.accept(vec![message]).await.unwrap();
    assert_eq!(outcomes, [AcceptOutcome::Kept]);
    id
}

/// Expires what is overdue, at most so many.
///
/// # Panics
/// If the engine breaks its promise.
pub async fn expire(spool: &dyn Spool, count_max: u32, now: Timestamp) -> Vec<Leased> {
    let overdue = spool.overdue(count_max, now).await.unwrap();
    let ids: Vec<_> = overdue.iter().map(|one| one.id).collect();
    let expired = spool.expire(&ids, count_max, now).await.unwrap();
    assert!(expired.iter().map(|one| one.id).eq(ids));
    expired
}

/// Opens a session in which nothing is pending.
///
/// # Panics
/// If something is.
pub async fn session(spool: &dyn Spool, now: Timestamp) -> NodeSession {
    let (session, pending) = spool.open_session(now).await.unwrap();
    assert_eq!(pending, []);
    session
}

/// The recipients of a lease, in its order.
#[must_use]
pub fn recipients(leased: &[LeasedMessage]) -> Vec<String> {
    leased
        .iter()
        .flat_map(|message| &message.deliveries)
        .map(|delivery| delivery.recipient.to_string())
        .collect()
}

/// The state of one delivery.
///
/// # Panics
/// If there is no such delivery.
pub async fn state_of(spool: &dyn Spool, delivery: DeliveryId) -> State {
    let view = spool.view(delivery.message).await.unwrap().unwrap();
    view.deliveries[usize::from(delivery.index)].state
}
