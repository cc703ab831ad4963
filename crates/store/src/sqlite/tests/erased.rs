//! After an erasure no octet of the address is in the files.

use std::path::Path;

use malote_core::event::State;
use malote_core::message::Channel;

use super::{config, open};
use crate::conformance::mail::{accept, at, message, sent, session, tx_lane};
use crate::{
    Erasing, Erasure, LaneId, NewMessage, Shared, Spool, Suppression, SuppressionReason,
    SuppressionScope,
};

/// How often this is in any file of the store.
fn count_in(dir: &Path, wanted: &[u8]) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            count += count_in(&path, wanted);
        } else {
            let octets = std::fs::read(&path).unwrap().to_ascii_lowercase();
            count += octets
                .windows(wanted.len())
                .filter(|own| *own == wanted)
                .count();
        }
    }
    count
}

#[tokio::test]
async fn no_octet_of_an_erased_address_is_left_in_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let store = open(&config);
    let lane = tx_lane(&store).await;
    for number in 0..300 {
        let own = ["Gone@x.test".to_owned(), format!("p{number}@y.test")];
        let to = &own[usize::from(number % 3 > 0)];
        let size = [10, 9_000, 400_000][number / 3 % 3];
        let mut mail = message(lane, at(0), &[to]);
        let text = format!("To: {to}\r\n\r\n{to}{}\r\n", "x".repeat(size));
        mail.record.size_bytes = text.len() as u64;
        mail.body = text.into();
        mail.record.tags = vec![format!("to {to}")];
        accept(&store, mail).await;
    }
    let session = session(&store, at(0)).await;
    loop {
        let leased = store.lease(session, lane, 100, at(0)).await.unwrap();
        if leased.is_empty() {
            break;
        }
        for delivery in leased.iter().flat_map(|message| &message.deliveries) {
            let mut done = sent(delivery.id, "p1", at(1));
            done.events[0].detail = format!("250 {} ok", delivery.recipient);
            store.settle(session, vec![done]).await.unwrap();
        }
    }
    let entry = Suppression {
        address: "gone@x.test".parse().unwrap(),
        scope: SuppressionScope::Global,
        reason: SuppressionReason::Complaint,
        detail: "gone@x.test complained".into(),
        source: "provider:ses".into(),
        provider: None,
        credential: None,
        created_at: at(0),
        expires_at: None,
    };
    store.suppress(vec![entry]).await.unwrap();
    assert!(count_in(dir.path(), b"gone@x.test") > 100);

    let gone = "gone@X.test".parse().unwrap();
    let erased = store.erase(&gone, Erasing::Erase).await.unwrap();
    assert_eq!((erased.deliveries, erased.bodies), (100, 100));
    assert_eq!(
        store
            .erase_suppressions(&gone, Erasing::Erase)
            .await
            .unwrap(),
        1
    );
    store.close().await;
    drop(store);
    assert_eq!(count_in(dir.path(), b"gone@x.test"), 0);
    let store = open(&config);
    assert_eq!(store.check_integrity().await.unwrap(), Vec::<String>::new());
    let stats = store.stats(at(2)).await.unwrap();
    assert_eq!(
        stats.by_state.get(&("tx".parse().unwrap(), State::Queued)),
        None
    );
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

#[tokio::test]
async fn nothing_is_left_of_a_sender_and_of_large_notices_that_name_somebody() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let store = open(&config);
    let lane = tx_lane(&store).await;
    let app = Channel::Http("192.0.2.1".parse().unwrap());
    let mut kept = Vec::new();
    for (channel, from, named, size) in [
        (Channel::Internal, "daemon@gw.test", "Gone@x.test", 400_000),
        (Channel::Internal, "daemon@gw.test", "Gone@x.test", 10),
        (app, "Gone@x.test", "Gone@x.test", 10),
        (app, "Gone@x.test", "Gone@x.test", 400_000),
        (app, "other@x.test", "nobody", 10),
    ] {
        let mail = mail_from(lane, (channel, from), (named, size));
        kept.push(accept(&store, mail).await);
    }
    let gone = "GONE@x.test".parse().unwrap();
    let early = store.erase(&gone, Erasing::Erase).await.unwrap();
    // What is on its way leaves in its sender's name.
    assert_eq!((early.under_way, early.bodies_later), (2, 2));
    let session = session(&store, at(0)).await;
    let leased = store.lease(session, lane, 100, at(0)).await.unwrap();
    let done = leased.iter().flat_map(|message| &message.deliveries);
    let done = done.map(|one| {
        let mut done = sent(one.id, "p1", at(1));
        if one.id.message != kept[4] {
            done.events[0].detail = "250 ok, from gone@x.test".into();
        }
        done
    });
    store.settle(session, done.collect()).await.unwrap();

    let counted = store.erase(&gone, Erasing::Count).await.unwrap();
    let erased = store.erase(&gone, Erasing::Erase).await.unwrap();
    assert_eq!(counted, erased);
    assert_eq!((erased.under_way, erased.deliveries), (0, 0));
    assert_eq!(erased.bodies, 4);
    let view = store.view(kept[2]).await.unwrap().unwrap();
    assert_eq!(view.mail_from.as_deref(), Some("erased@erased.invalid"));
    assert_eq!(view.deliveries[0].recipient, "reader@y.test");
    assert!(store.body(kept[4]).await.unwrap().is_some());
    store.close().await;
    drop(store);
    assert_eq!(count_in(dir.path(), b"gone@x.test"), 0);
    let store = open(&config);
    assert_eq!(store.check_integrity().await.unwrap(), Vec::<String>::new());
}
