//! Promises of erasing a recipient.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a broken promise of the engine under test is a panic"
)]

use bytes::Bytes;
use malote_core::address::EmailAddress;
use malote_core::event::{EventKind, ProviderEvent, State};
use malote_core::id::{DeliveryId, MessageId};
use malote_core::ledger::Search;
use malote_core::message::Channel;

use crate::conformance::mail::{accept, at, message, sent, session, tx_lane};
use crate::{Erased, Erasing, LaneId, NewMessage, QueueFilter, Spool};

const GONE: &str = "Gone.Person@x.test";

fn gone() -> EmailAddress {
    GONE.parse().unwrap()
}

/// A settled message with the address in everything that is kept.
async fn told_of(spool: &dyn Spool, recipients: &[&str]) -> MessageId {
    let lane = tx_lane(spool).await;
    let mut mail = message(lane, at(0), recipients);
    mail.deliveries[0].orcpt = Some(format!("rfc822;{GONE}"));
    mail.record.tags = vec![format!("to-{GONE}")];
    mail.record.metadata.insert("who".into(), GONE.into());
    let id = accept(spool, mail).await;
    let session = session(spool, at(0)).await;
    let leased = spool.lease(session, lane, 10, at(0)).await.unwrap();
    for delivery in leased.iter().flat_map(|message| &message.deliveries) {
        let mut done = sent(delivery.id, "p1", at(1));
        let reply = format!("250 <{GONE}> ok");
        if let Some(attempt) = &mut done.attempt {
            attempt.reply = malote_core::provider::Reply::new(Some(250), None, &reply);
        }
        done.events[0].detail = reply;
        spool.settle(session, vec![done]).await.unwrap();
    }
    let event = complaint(DeliveryId {
        message: id,
        index: 0,
    });
    let provider = "ses".parse().unwrap();
    spool
        .apply_events(&provider, vec![event], at(2))
        .await
        .unwrap();
    let part = format!("{{\"to\":\"{GONE}\"}}");
    spool
        .keep_unreadable(&provider, vec![part], at(2))
        .await
        .unwrap();
    id
}

fn complaint(delivery: DeliveryId) -> ProviderEvent {
    ProviderEvent {
        dedup_key: format!("{delivery}"),
        at: at(2),
        kind: EventKind::Complained,
        blame: None,
        delivery: Some(delivery),
        provider_message_id: None,
        recipient: None,
        detail: format!("{GONE} complained"),
        raw: Bytes::from(format!("{{\"recipient\":\"{GONE}\",\"ip\":\"192.0.2.7\"}}")),
    }
}

/// From delivery, events, attempts, metadata and body; a count before changes nothing.
pub async fn an_erased_recipient_is_gone_from_all_that_is_kept(spool: &dyn Spool) {
    let id = told_of(spool, &[GONE]).await;
    let lane = tx_lane(spool).await;
    let other = accept(spool, message(lane, at(3), &["gone.person@x.test.example"])).await;
    let before = spool.view(id).await.unwrap();
    let counted = spool.erase(&gone(), Erasing::Count).await.unwrap();
    assert_eq!(spool.view(id).await.unwrap(), before);
    assert!(spool.body(id).await.unwrap().is_some());
    let erased = spool.erase(&gone(), Erasing::Erase).await.unwrap();
    assert_eq!(erased, counted);
    assert_eq!(
        (erased.deliveries, erased.bodies, erased.raw_events),
        (1, 1, 1)
    );
    assert!(erased.texts >= 5, "{erased:?}");

    let view = spool.view(id).await.unwrap().unwrap();
    let said = format!("{view:?} {}", serde_json::to_string(&view).unwrap());
    assert!(!said.to_lowercase().contains(&gone().key()), "{said}");
    assert!(view.deliveries[0].recipient.starts_with("hash:"));
    assert_eq!(view.deliveries[0].state, State::Sent);
    assert_eq!(spool.body(id).await.unwrap(), None);
    assert_eq!(spool.raw_events(id).await.unwrap(), []);
    let unread = spool.unreadable(1).await.unwrap();
    assert!(unread[0].part.starts_with("{\"to\":\"hash:"), "{unread:?}");
    let search = Search {
        recipient: Some(gone()),
        limit: 10,
        ..Search::default()
    };
    assert!(spool.search(&search).await.unwrap().rows.is_empty());
    let kept = spool.view(other).await.unwrap().unwrap();
    assert_eq!(kept.deliveries[0].recipient, "gone.person@x.test.example");
    let again = spool.erase(&gone(), Erasing::Erase).await.unwrap();
    assert_eq!(again, Erased::default());
}

/// Mail on its way is left, and told; a body for others goes once the message is settled.
pub async fn a_body_for_others_goes_when_its_message_is_settled(spool: &dyn Spool) {
    let lane = tx_lane(spool).await;
    let id = accept(spool, message(lane, at(0), &[GONE, "ann@x.test"])).await;
    let waiting = spool.erase(&gone(), Erasing::Erase).await.unwrap();
    assert_eq!((waiting.deliveries, waiting.under_way), (0, 1));
    let filter = QueueFilter {
        recipient: Some(gone()),
        ..QueueFilter::default()
    };
    let cancelled = spool
        .move_deliveries(&filter, State::Cancelled, "erased", at(1))
        .await;
    assert_eq!(cancelled.unwrap().len(), 1);
    let erased = spool.erase(&gone(), Erasing::Erase).await.unwrap();
    assert_eq!(
        (erased.deliveries, erased.bodies, erased.bodies_later),
        (1, 0, 1)
    );
    assert!(spool.body(id).await.unwrap().is_some());
    let session = session(spool, at(1)).await;
    let leased = spool.lease(session, lane, 10, at(1)).await.unwrap();
    let ann = leased[0].deliveries[0].id;
    spool
        .settle(session, vec![sent(ann, "p2", at(2))])
        .await
        .unwrap();
    let (bodies, messages) = spool.retain(at(-100), at(-100)).await.unwrap();
    assert_eq!((bodies, messages), (1, 0));
    assert_eq!(spool.body(id).await.unwrap(), None);
}

/// An erased delivery is never queued again, and a service's later word of it is not kept.
pub async fn an_erased_delivery_stays_as_it_is(spool: &dyn Spool) {
    let id = told_of(spool, &[GONE, "ann@x.test"]).await;
    spool.erase(&gone(), Erasing::Erase).await.unwrap();
    let delivery = DeliveryId {
        message: id,
        index: 0,
    };
    let before = spool.view(id).await.unwrap().unwrap();
    for recipient in [None, Some(gone())] {
        let event = ProviderEvent {
            dedup_key: format!("late {recipient:?}"),
            recipient,
            ..complaint(delivery)
        };
        let provider = "ses".parse().unwrap();
        let applied = spool
            .apply_events(&provider, vec![event], at(9))
            .await
            .unwrap();
        assert_eq!(applied, [None]);
    }
    let filter = QueueFilter {
        delivery: Some(delivery),
        ..QueueFilter::default()
    };
    let moved = spool
        .move_deliveries(&filter, State::Queued, "again", at(9))
        .await;
    assert_eq!(moved.unwrap(), []);
    let after = spool.view(id).await.unwrap().unwrap();
    assert_eq!(after.deliveries[0], before.deliveries[0]);
}

/// The hash that stands for an address finds it until it is erased.
pub async fn a_recipient_is_found_by_its_hash_until_it_is_erased(spool: &dyn Spool) {
    told_of(spool, &[GONE]).await;
    let hash = spool.recipient_hash(&gone());
    assert_eq!(spool.recipient_of(hash).await.unwrap(), Some(gone()));
    assert_eq!(spool.recipient_of([0; 16]).await.unwrap(), None);
    spool.erase(&gone(), Erasing::Erase).await.unwrap();
    assert_eq!(spool.recipient_of(hash).await.unwrap(), None);
}

/// A message to somebody else from this address, by the gateway itself or by an app, whose body names
/// that one.
fn mail_from(
    lane: LaneId,
    (channel, from): (Channel, &str),
    (named, size): (&str, usize),
) -> NewMessage {
    let mut mail = message(lane, at(0), &["reader@y.test"]);
    mail.record.channel = channel;
    mail.record.from = from.parse().unwrap();
    mail.record.mail_from = Some(from.parse().unwrap());
    let text = format!("Subject: {named}\r\n\r\n{}\r\n", "x".repeat(size));
    mail.record.size_bytes = text.len() as u64;
    mail.body = text.into();
    mail
}

/// A settled message from the address, and the gateway's own that names it however large it is.
pub async fn senders_and_notices_are_erased(spool: &dyn Spool) {
    let lane = tx_lane(spool).await;
    let app = Channel::Http("192.0.2.1".parse().unwrap());
    let mut kept = Vec::new();
    for (channel, from, named, size) in [
        (Channel::Internal, "daemon@gw.test", GONE, 400_000),
        (Channel::Internal, "daemon@gw.test", GONE, 10),
        (app, GONE, GONE, 10),
        (app, GONE, GONE, 400_000),
        (app, "other@x.test", "nobody", 10),
    ] {
        let mail = mail_from(lane, (channel, from), (named, size));
        kept.push(accept(spool, mail).await);
    }
    let gone = gone();
    let early = spool.erase(&gone, Erasing::Erase).await.unwrap();
    // What is on its way leaves in its sender's name.
    assert_eq!((early.under_way, early.bodies_later), (2, 2));
    let session = session(spool, at(0)).await;
    let leased = spool.lease(session, lane, 100, at(0)).await.unwrap();
    let done = leased.iter().flat_map(|message| &message.deliveries);
    let done = done.map(|one| {
        let mut done = sent(one.id, "p1", at(1));
        if one.id.message != kept[4] {
            done.events[0].detail = "250 ok, from gone.person@x.test".into();
        }
        done
    });
    spool.settle(session, done.collect()).await.unwrap();

    let counted = spool.erase(&gone, Erasing::Count).await.unwrap();
    let erased = spool.erase(&gone, Erasing::Erase).await.unwrap();
    assert_eq!(counted, erased);
    assert_eq!((erased.under_way, erased.deliveries), (0, 0));
    assert_eq!(erased.bodies, 4);
    let view = spool.view(kept[2]).await.unwrap().unwrap();
    assert_eq!(view.mail_from.as_deref(), Some("erased@erased.invalid"));
    assert_eq!(view.deliveries[0].recipient, "reader@y.test");
    assert!(spool.body(kept[4]).await.unwrap().is_some());
}
