//! Messages as intake makes them, and settlements as the engine does.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use malote_core::event::{EventKind, State};
use malote_core::id::{DeliveryId, MessageId};
use malote_core::message::{Channel, DsnParameters};
use malote_core::name::TargetName;
use malote_core::provider::Reply;
use malote_core::stream::Class;
use malote_core::tracking::Tracking;
use malote_store::{
    AttemptOutcome, AttemptStart, EventRecord, LeasedMessage, MessageRecord, NewDelivery,
    NewMessage, NextStep, Settlement,
};

use crate::Fault;
use crate::store::Store;

/// How long a message may be on its way.
const LIFE: SignedDuration = SignedDuration::from_hours(24);

/// Carries a message of a lease: its attempt is journaled where the store is shared, and settled.
pub(crate) async fn carry(store: &Store, message: &LeasedMessage) -> Result<(), Fault> {
    for delivery in &message.deliveries {
        let start = AttemptStart {
            delivery: delivery.id,
            number: delivery.calls + 1,
            target: TargetName {
                provider: "sink".parse()?,
                pool: TargetName::default_pool(),
            },
            at: store.clock.now(),
            reason: "first of the route".into(),
        };
        if store.spool.is_shared() {
            store.spool.start_attempts(vec![start.clone()]).await?;
        }
        let settlement = sent(delivery.id, start, store.clock.now());
        store.spool.settle(store.session, vec![settlement]).await?;
    }
    Ok(())
}

fn sent(delivery: DeliveryId, start: AttemptStart, now: Timestamp) -> Settlement {
    let provider = start.target.provider.clone();
    Settlement {
        delivery,
        attempt: Some(AttemptOutcome {
            ended_at: now,
            outcome: "sent".into(),
            reply: Reply::new(Some(250), None, "2.0.0 Ok: queued as 4fXyZ12Q3Rz4"),
            provider_message_id: Some(format!("{}@sink.example", delivery.message)),
            start,
        }),
        next: NextStep {
            state: State::Sent,
            due_at: None,
            attempts: 1,
            progress: None,
            lane: None,
        },
        events: vec![EventRecord {
            provider: Some(provider),
            ..event(now, EventKind::Sent)
        }],
    }
}

fn event(at: Timestamp, kind: EventKind) -> EventRecord {
    EventRecord {
        at,
        kind,
        blame: None,
        provider: None,
        detail: "in stream bulk by its credential".into(),
    }
}

/// A message to one recipient with a body of so many octets, due now.
pub(crate) fn message(store: &Store, number: usize, octets: usize) -> Result<NewMessage, Fault> {
    let now = store.clock.now();
    let id = MessageId::new(now);
    let body = Bytes::from(text(number, octets));
    let record = MessageRecord {
        id,
        credential: "bench".parse()?,
        channel: Channel::Smtp("127.0.0.1".parse()?),
        stream: "bulk".parse()?,
        class: Class::Transactional,
        stream_reason: "the credential's only stream".into(),
        mail_from: Some("bench@sender.example".parse()?),
        from: "bench@sender.example".parse()?,
        message_id_header: format!("<{id}@sender.example>"),
        campaign: None,
        tracking_hash: None,
        one_click: None,
        tags: Vec::new(),
        metadata: BTreeMap::new(),
        tracking: Tracking::default(),
        asked_fields: BTreeMap::new(),
        dsn: DsnParameters::default(),
        size_bytes: body.len() as u64,
        accepted_at: now,
        expires_at: now.checked_add(LIFE)?,
    };
    let delivery = NewDelivery {
        recipient: format!("someone{number}@recipient.example"),
        notify: None,
        orcpt: None,
        lane: store.lane,
        route_reason: "the stream's route".into(),
        mailbox_provider: None,
        state: State::Queued,
        due_at: now,
        events: vec![event(now, EventKind::Accepted)],
    };
    Ok(NewMessage {
        record,
        body,
        deliveries: vec![delivery],
        idempotency: None,
    })
}

/// Text that no two messages have in common and that compresses as little as encoded mail does.
fn text(number: usize, octets: usize) -> Vec<u8> {
    let mut seed = number as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let mut text = b"Subject: news\r\n\r\n".to_vec();
    while text.len() < octets {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        text.extend_from_slice(format!("{seed:016x}").as_bytes());
    }
    text.truncate(octets);
    text
}

/// Takes one message in.
pub(crate) async fn accept(store: &Store, number: usize, octets: usize) -> Result<(), Fault> {
    store
        .spool
        .accept(vec![message(store, number, octets)?])
        .await?;
    Ok(())
}

/// Takes many in, so many at once in one call.
pub(crate) async fn fill(
    store: &Arc<Store>,
    numbers: std::ops::Range<usize>,
    (octets, at_once): (usize, usize),
) -> Result<(), Fault> {
    for first in numbers.clone().step_by(at_once) {
        let last = (first + at_once).min(numbers.end);
        let batch = (first..last).map(|number| message(store, number, octets));
        store
            .spool
            .accept(batch.collect::<Result<_, Fault>>()?)
            .await?;
    }
    Ok(())
}
