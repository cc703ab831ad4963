//! After an erasure no octet of the address is in the files.

use std::path::Path;

use malote_core::event::State;

use super::{config, open};
use crate::conformance::erase::senders_and_notices_are_erased;
use crate::conformance::mail::{accept, at, message, sent, session, tx_lane};
use crate::{Erasing, Erasure, Shared, Spool, Suppression, SuppressionReason, SuppressionScope};

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

#[tokio::test]
async fn nothing_is_left_of_a_sender_and_of_large_notices_in_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let store = open(&config);
    senders_and_notices_are_erased(&store).await;
    store.close().await;
    drop(store);
    assert_eq!(count_in(dir.path(), b"gone.person@x.test"), 0);
    let store = open(&config);
    assert_eq!(store.check_integrity().await.unwrap(), Vec::<String>::new());
}
