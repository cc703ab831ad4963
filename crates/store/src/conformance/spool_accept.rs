//! Promises of accept: all of it or none, each key once, every octet as it was given.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a broken promise of the engine under test is a panic"
)]

use bytes::Bytes;
use malote_core::event::EventKind;
use malote_core::id::MessageId;
use malote_core::message::{Channel, DsnParameters, Notify};
use malote_core::stream::Class;

use crate::conformance::mail::{self, at};
use crate::{AcceptOutcome, IdempotencyRecord, NewMessage, Spool};

/// Record, body and deliveries are leased as they were accepted.
pub async fn accepted_mail_comes_back_as_it_was_given(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let mut message = mail::message(lane, at(0), &["a@x.test", "Jörg@x.test"]);
    let record = &mut message.record;
    record.channel = Channel::Http("2001:db8::1".parse().unwrap());
    record.mail_from = None;
    record.campaign = Some("42".into());
    record.tracking_hash = Some("5f3a".into());
    record.tags = vec!["welcome".into(), "br".into()];
    record.metadata.insert("order".into(), "\"7\" é".into());
    record.dsn = DsnParameters {
        ret_full: true,
        envid: Some("e+3D1".into()),
    };
    message.deliveries[1].notify = Some(Notify {
        success: true,
        failure: false,
        delay: true,
    });
    message.deliveries[1].orcpt = Some("rfc822;j@x.test".into());
    message.deliveries[1].mailbox_provider = Some("google".parse().unwrap());
    let (record, body) = (message.record.clone(), message.body.clone());
    let id = mail::accept(spool, message).await;

    assert_eq!(spool.message(id).await.unwrap(), Some(record.clone()));
    assert_eq!(spool.body(id).await.unwrap(), Some(body.clone()));
    let session = mail::session(spool, at(0)).await;
    let leased = spool.lease(session, lane, 10, at(0)).await.unwrap();
    assert_eq!(leased.len(), 1);
    assert_eq!((&leased[0].record, &leased[0].body), (&record, &body));
    assert_eq!(leased[0].deliveries_total, 2);
    let second = &leased[0].deliveries[1];
    assert_eq!(second.recipient.as_str(), "Jörg@x.test");
    assert_eq!(second.orcpt.as_deref(), Some("rfc822;j@x.test"));
    assert!(second.notify.unwrap().success && !second.notify.unwrap().failure);
    assert_eq!(second.mailbox_provider, Some("google".parse().unwrap()));
    assert_eq!((second.attempts, second.calls, second.crashes), (0, 0, 0));
    assert_eq!(spool.message(MessageId::new(at(0))).await.unwrap(), None);
}

/// Bodies of a megabyte, and of no octet at all, are kept.
pub async fn a_large_body_comes_back_as_it_was_given(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    for size in [0, 64 << 10, (64 << 10) + 1, 1 << 20] {
        let mut message = mail::message(lane, at(0), &["a@x.test"]);
        let octets = (0..size).map(|n: u32| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]);
        message.body = octets.collect::<Vec<u8>>().into();
        message.record.size_bytes = u64::from(size);
        let body = message.body.clone();
        let id = mail::accept(spool, message).await;
        assert_eq!(spool.body(id).await.unwrap(), Some(body), "{size}");
    }
}

/// One message that cannot be kept refuses the whole batch, and nothing of it is found.
pub async fn a_batch_is_kept_or_refused_as_a_whole(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let first = mail::message(lane, at(0), &["a@x.test"]);
    let id = first.record.id;
    let twin = NewMessage {
        body: Bytes::from_static(b"Subject: other\r\n\r\n"),
        ..first.clone()
    };
    assert!(spool.accept(vec![first.clone(), twin]).await.is_err());
    assert_eq!(spool.message(id).await.unwrap(), None);
    assert_eq!(spool.stats(at(0)).await.unwrap().by_state.len(), 0);
    mail::accept(spool, first).await;
}

fn keyed(message: &NewMessage, key: &str) -> IdempotencyRecord {
    IdempotencyRecord {
        credential: message.record.credential.clone(),
        key: key.to_owned(),
        fingerprint: Some([7; 32]),
        message: message.record.id,
        created_at: message.record.accepted_at,
    }
}

/// The second message under a credential's key is not kept; its caller hears of the first.
pub async fn a_repeated_key_keeps_nothing(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let mut first = mail::message(lane, at(0), &["a@x.test"]);
    first.idempotency = Some(keyed(&first, "k"));
    let mut second = mail::message(lane, at(1), &["b@x.test"]);
    second.idempotency = Some(keyed(&second, "k"));
    let mut foreign = mail::message(lane, at(1), &["c@x.test"]);
    foreign.record.credential = "blog".parse().unwrap();
    foreign.idempotency = Some(keyed(&foreign, "k"));
    let kept = keyed(&first, "k");
    let repeated = second.record.id;

    let batch = vec![first, second, foreign];
    let outcomes = spool.accept(batch).await.unwrap();
    let repeat = AcceptOutcome::Repeat(kept.clone());
    assert_eq!(outcomes, [AcceptOutcome::Kept, repeat, AcceptOutcome::Kept]);
    assert_eq!(spool.message(repeated).await.unwrap(), None);
    let shop = "shop".parse().unwrap();
    assert_eq!(spool.idempotent(&shop, "k").await.unwrap(), Some(kept));
    assert_eq!(spool.idempotent(&shop, "other").await.unwrap(), None);
}

/// A key older than a day stands for nothing any more.
pub async fn a_key_is_forgotten_after_a_day(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let day = 24 * 3_600;
    let mut old = mail::message(lane, at(-day - 1), &["a@x.test"]);
    old.idempotency = Some(keyed(&old, "k"));
    mail::accept(spool, old).await;
    let shop = "shop".parse().unwrap();
    assert_eq!(spool.idempotent(&shop, "k").await.unwrap(), None);
    let mut new = mail::message(lane, at(0), &["a@x.test"]);
    new.idempotency = Some(keyed(&new, "k"));
    let kept = new.idempotency.clone();
    mail::accept(spool, new).await;
    assert_eq!(spool.idempotent(&shop, "k").await.unwrap(), kept);
}

/// The same lane has the same number for ever, another lane another.
pub async fn a_lane_keeps_its_number(spool: &dyn Spool) {
    let tx = mail::lane_key(Class::Transactional, "tx");
    let news = mail::lane_key(Class::Campaign, "news");
    let first = spool.lane(&tx).await.unwrap();
    assert_ne!(spool.lane(&news).await.unwrap(), first);
    assert_eq!(spool.lane(&tx).await.unwrap(), first);
    let depths = spool.lanes(at(0)).await.unwrap();
    let keys: Vec<_> = depths.into_iter().map(|depth| depth.lane).collect();
    assert_eq!(keys, [tx, news]);
    let id = mail::accept(spool, mail::message(first, at(0), &["a@x.test"])).await;
    let view = spool.view(id).await.unwrap().unwrap();
    assert_eq!(view.deliveries[0].route, Some("tx".parse().unwrap()));
    assert_eq!(view.deliveries[0].events[0].kind, EventKind::Accepted);
}
