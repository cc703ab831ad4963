//! Opening: one process, the right key, a known version, files that only we may read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use malote_core::clock::FixedClock;
use malote_core::event::State;
use malote_core::id::DeliveryId;
use malote_core::ledger::Search;
use prometheus::Registry;
use rusqlite::Connection;

use super::{config, open, refusal, try_open};
use crate::conformance::mail::{self, at};
use crate::{QueueFilter, Shared, Spool, SqliteConfig, SqliteStore, StoreError, restore};

#[tokio::test]
async fn a_reopened_store_has_what_was_accepted_and_new_mail_gets_new_rows() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let mut ids = Vec::new();
    for _ in 0..3 {
        let store = open(&config);
        let lane = mail::tx_lane(&store).await;
        ids.push(mail::accept(&store, mail::message(lane, at(0), &["a@x.test"])).await);
        let store = if ids.len() == 2 {
            store.close().await;
            assert!(!store.is_open());
            let closed = store.accept(Vec::new()).await;
            assert_eq!(closed, Err(StoreError::Closed));
            store
        } else {
            store
        };
        drop(store);
    }
    let store = open(&config);
    for id in ids {
        assert!(store.body(id).await.unwrap().is_some());
    }
    assert_eq!(store.check_integrity().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_second_process_is_refused_until_the_first_has_gone() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let first = open(&config);
    assert!(refusal(&config).contains("another malote runs on"));
    first.close().await;
    assert!(try_open(&config).is_ok());
}

#[tokio::test]
async fn a_newer_or_foreign_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    open(&config).close().await;
    let conn = Connection::open(&config.path).unwrap();
    conn.pragma_update(None, "user_version", 99).unwrap();
    drop(conn);
    assert!(refusal(&config).contains("schema version 99"));
    let foreign = SqliteConfig::at(dir.path().join("foreign.db"));
    let conn = Connection::open(&foreign.path).unwrap();
    conn.execute_batch("CREATE TABLE t (x)").unwrap();
    drop(conn);
    assert!(refusal(&foreign).contains("none of malote's"));
    let text = SqliteConfig::at(dir.path().join("text.db"));
    fs::write(&text.path, "this is a text, and a long one ".repeat(100)).unwrap();
    assert!(refusal(&text).contains("not a database"));
}

#[tokio::test]
async fn a_wrong_or_missing_address_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    open(&config).close().await;
    let key = fs::read_to_string(config.key_path()).unwrap();
    for (content, said) in [
        (Some("0".repeat(64)), "is not the key"),
        (Some("short".into()), "holds no key"),
        (None, "is missing"),
    ] {
        match content {
            Some(content) => fs::write(config.key_path(), content).unwrap(),
            None => fs::remove_file(config.key_path()).unwrap(),
        }
        let text = refusal(&config);
        assert!(text.contains(said), "{text}");
    }
    fs::write(config.key_path(), key).unwrap();
    assert!(try_open(&config).is_ok());
}

#[tokio::test]
async fn only_the_owner_can_read_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let store = open(&config);
    let lane = mail::tx_lane(&store).await;
    let mut message = mail::message(lane, at(0), &["a@x.test"]);
    message.body = vec![b'x'; 100_000].into();
    message.record.size_bytes = 100_000;
    mail::accept(&store, message).await;
    let mut files = 0;
    let mut pending = vec![config.directory().to_owned()];
    while let Some(path) = pending.pop() {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
        if path.is_dir() {
            pending.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else {
            files += 1;
        }
    }
    assert!(files >= 5, "database, log, index, lock, key and a body");
}

#[tokio::test]
async fn bodies_that_no_message_names_are_swept_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let store = open(&config);
    let lane = mail::tx_lane(&store).await;
    let mut message = mail::message(lane, at(0), &["a@x.test"]);
    message.body = vec![b'x'; 100_000].into();
    message.record.size_bytes = 100_000;
    let id = mail::accept(&store, message).await;
    store.close().await;
    let stray = [
        config
            .bodies_dir()
            .join("ab/0192b3a0000070008000000000000aab"),
        config
            .bodies_dir()
            .join("ab/0192b3a0000070008000000000000aab.part"),
        config.bodies_dir().join("ab/core"),
    ];
    fs::create_dir_all(config.bodies_dir().join("ab")).unwrap();
    for path in &stray {
        fs::write(path, "x").unwrap();
    }
    fs::write(config.bodies_dir().join("readme"), "x").unwrap();
    let store = open(&config);
    assert!(!stray.iter().any(|path| path.exists()));
    assert!(store.body(id).await.unwrap().is_some());
}

fn read_only(config: &SqliteConfig) -> Result<SqliteStore, StoreError> {
    let clock = Arc::new(FixedClock(at(0)));
    SqliteStore::open_read_only(config.clone(), clock, &Registry::new())
}

#[tokio::test]
async fn a_store_opened_to_be_read_refuses_writes() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    assert!(read_only(&config).is_err());
    let store = open(&config);
    let lane = mail::tx_lane(&store).await;
    let id = mail::accept(&store, mail::message(lane, at(0), &["a@x.test"])).await;
    store.close().await;
    let reader = read_only(&config).unwrap();
    assert!(reader.view(id).await.unwrap().is_some());
    let query = Search {
        recipient: Some("a@x.test".parse().unwrap()),
        limit: 10,
        ..Search::default()
    };
    assert_eq!(reader.search(&query).await.unwrap().rows.len(), 1);
    let refused = reader.accept(vec![mail::message(lane, at(0), &["b@x.test"])]);
    assert!(refused.await.unwrap_err().to_string().contains("read only"));
    assert!(reader.set_breaker("x", None).await.is_err());
    assert!(!reader.is_open());
}

#[tokio::test]
async fn who_only_reads_makes_no_key_of_a_store_that_is_being_made() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    open(&config).close().await;
    fs::remove_file(config.key_path()).unwrap();
    let conn = Connection::open(&config.path).unwrap();
    let forget = "DELETE FROM meta WHERE key = 'address_key'";
    assert_eq!(conn.execute(forget, []).unwrap(), 1);
    let refusal = read_only(&config).err().unwrap().to_string();
    assert!(
        refusal.contains("only begun to make the store"),
        "{refusal}"
    );
    assert!(!config.key_path().exists());
}

async fn backed_up(to: &Path) -> (DeliveryId, DeliveryId) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&config(&dir));
    let session = mail::session(&store, at(0)).await;
    let lane = mail::tx_lane(&store).await;
    let mut ids = Vec::new();
    for size in [10, 100_000] {
        let mut message = mail::message(lane, at(0), &["a@x.test"]);
        message.body = vec![b'x'; size].into();
        message.record.size_bytes = size as u64;
        let message = mail::accept(&store, message).await;
        ids.push(DeliveryId { message, index: 0 });
    }
    store.lease(session, lane, 1, at(0)).await.unwrap();
    let report = store.backup(to).await.unwrap();
    assert_eq!(report.body_files, 1);
    assert!(
        store.backup(to).await.is_err(),
        "the directory is not empty"
    );
    (ids[0], ids[1])
}

#[tokio::test]
async fn a_restored_store_holds_what_was_pending_until_it_is_released() {
    let dir = tempfile::tempdir().unwrap();
    let backup = dir.path().join("backup");
    let (leased, queued) = backed_up(&backup).await;
    let to = SqliteConfig::at(dir.path().join("new/malote.db"));
    let report = restore(&backup, &to, at(50)).unwrap();
    assert_eq!((report.held, report.body_files), (2, 1));
    assert!(restore(&backup, &to, at(50)).is_err(), "a store is there");

    let store = open(&to);
    let session = mail::session(&store, at(60)).await;
    let lane = mail::tx_lane(&store).await;
    assert_eq!(
        store.lease(session, lane, 9, at(60)).await.unwrap().len(),
        0
    );
    for id in [leased, queued] {
        assert_eq!(mail::state_of(&store, id).await, State::Held);
    }
    let held = QueueFilter {
        state: Some(State::Held),
        ..QueueFilter::default()
    };
    let released = store.move_deliveries(&held, State::Queued, "restored", at(60));
    assert_eq!(released.await.unwrap(), [leased, queued]);
    let sent = store.lease(session, lane, 9, at(60)).await.unwrap();
    let sizes: Vec<_> = sent.iter().map(|one| one.body.len()).collect();
    assert_eq!(sizes, [10, 100_000]);
    assert!(sent.iter().all(|one| one.deliveries[0].damaged.is_none()));
}
