//! Damaged records: named, set aside, and everything else goes on.

use std::fs;

use malote_core::event::State;
use malote_core::id::{DeliveryId, MessageId};
use rusqlite::Connection;

use super::{config, open};
use crate::conformance::mail::{self, at};
use crate::{Spool, SqliteConfig, StoreError};

/// Three messages: a small body, a large one, and a small one that stays whole.
async fn three(config: &SqliteConfig) -> Vec<MessageId> {
    let store = open(config);
    let lane = mail::tx_lane(&store).await;
    let mut ids = Vec::new();
    for size in [1_000, 100_000, 1_000] {
        let mut message = mail::message(lane, at(0), &["a@x.test"]);
        message.body = vec![b'x'; size].into();
        message.record.size_bytes = size as u64;
        ids.push(mail::accept(&store, message).await);
    }
    store.close().await;
    ids
}

#[tokio::test]
async fn a_flipped_bit_in_a_body_damages_that_message_only() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let ids = three(&config).await;
    let conn = Connection::open(&config.path).unwrap();
    let flip = "UPDATE bodies SET body = CAST(x'79' || substr(body, 2) AS BLOB) WHERE message = 1";
    assert_eq!(conn.execute(flip, []).unwrap(), 1);
    drop(conn);
    let name = ids[1].simple();
    let file = config.bodies_dir().join(&name[30..]).join(&name);
    let mut body = fs::read(&file).unwrap();
    body[50_000] ^= 1;
    fs::write(&file, body).unwrap();

    let store = open(&config);
    for id in &ids[..2] {
        let read = store.body(*id).await;
        assert!(matches!(read, Err(StoreError::Damaged(_))), "{read:?}");
    }
    let session = mail::session(&store, at(1)).await;
    let lane = mail::tx_lane(&store).await;
    let leased = store.lease(session, lane, 10, at(1)).await.unwrap();
    let damaged: Vec<_> = leased
        .iter()
        .map(|one| one.deliveries[0].damaged.is_some())
        .collect();
    assert_eq!(damaged, [true, true, false]);
    assert!(leased[0].body.is_empty() && leased[2].body.len() == 1_000);
}

#[tokio::test]
async fn a_missing_or_shortened_body_is_damaged_too() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let ids = three(&config).await;
    let conn = Connection::open(&config.path).unwrap();
    conn.execute("DELETE FROM bodies WHERE message = 1", [])
        .unwrap();
    drop(conn);
    let name = ids[1].simple();
    fs::write(config.bodies_dir().join(&name[30..]).join(&name), "x").unwrap();
    let store = open(&config);
    for id in &ids[..2] {
        assert!(matches!(store.body(*id).await, Err(StoreError::Damaged(_))));
    }
    assert!(store.body(ids[2]).await.unwrap().is_some());
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_quarantined_and_the_others_are_leased() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let ids = three(&config).await;
    let conn = Connection::open(&config.path).unwrap();
    conn.execute_batch(
        "UPDATE messages SET credential = 'not a name' WHERE pk = 1;
         UPDATE deliveries SET recipient = 'no address' WHERE id = 2 << 16;",
    )
    .unwrap();
    drop(conn);
    let store = open(&config);
    let session = mail::session(&store, at(1)).await;
    let lane = mail::tx_lane(&store).await;
    let leased = store.lease(session, lane, 10, at(1)).await.unwrap();
    assert_eq!(leased.len(), 1);
    assert_eq!(leased[0].record.id, ids[2]);
    let second = DeliveryId {
        message: ids[1],
        index: 0,
    };
    assert_eq!(mail::state_of(&store, second).await, State::Quarantined);
    let stats = store.stats(at(1)).await.unwrap();
    let key = ("tx".parse().unwrap(), State::Quarantined);
    assert_eq!(stats.by_state.get(&key), Some(&2));
    assert_eq!(
        store.lease(session, lane, 10, at(1)).await.unwrap().len(),
        0
    );
}

#[tokio::test]
async fn a_pending_attempt_that_cannot_be_read_does_not_keep_the_store_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let store = open(&config);
    let lane = mail::tx_lane(&store).await;
    let session = mail::session(&store, at(0)).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let message = mail::accept(&store, mail::message(lane, at(0), &["a@x.test"])).await;
        ids.push(DeliveryId { message, index: 0 });
    }
    store.lease(session, lane, 10, at(0)).await.unwrap();
    let starts = ids.iter().map(|id| mail::start(*id, 1, at(0)));
    store.start_attempts(starts.collect()).await.unwrap();
    store.close().await;
    let conn = Connection::open(&config.path).unwrap();
    conn.execute_batch(
        "UPDATE attempts SET provider = 'not a name' WHERE delivery = 1 << 16;
         UPDATE deliveries SET attempts = -1 WHERE id = 2 << 16;",
    )
    .unwrap();
    drop(conn);
    let store = open(&config);
    let (_, pending) = store.open_session(at(1)).await.unwrap();
    let found: Vec<_> = pending.iter().map(|one| one.delivery.id).collect();
    assert_eq!(found, [ids[2]]);
    let stats = store.stats(at(1)).await.unwrap();
    let key = ("tx".parse().unwrap(), State::Quarantined);
    assert_eq!(stats.by_state.get(&key), Some(&2));
}

#[tokio::test]
async fn what_is_overdue_and_cannot_be_read_is_set_aside_so_many_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let store = open(&config);
    let lane = mail::tx_lane(&store).await;
    let recipients: Vec<String> = (0..300).map(|n| format!("r{n}@x.test")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let message = mail::message(lane, at(0), &recipients);
    let over = message.record.expires_at;
    let message = mail::accept(&store, message).await;
    store.close().await;
    let conn = Connection::open(&config.path).unwrap();
    let damage = "UPDATE deliveries SET recipient = 'no address' WHERE id % 65536 < 299";
    assert_eq!(conn.execute(damage, []).unwrap(), 299);
    drop(conn);
    let store = open(&config);
    let count = async |state: State| {
        let stats = store.stats(at(1)).await.unwrap();
        let key = ("tx".parse().unwrap(), state);
        stats.by_state.get(&key).copied().unwrap_or_default()
    };
    let index = 299;
    let last = DeliveryId { message, index };
    let expired = store.expire(&[last], 500, over).await.unwrap();
    assert_eq!(expired.len(), 1);
    assert_eq!(
        count(State::Queued).await,
        299,
        "it looks at what it is given"
    );
    assert_eq!(store.overdue(200, over).await.unwrap(), []);
    assert_eq!(count(State::Quarantined).await, 200);
    assert_eq!(store.overdue(200, over).await.unwrap(), []);
    assert_eq!(count(State::Queued).await, 0);
}
