//! Full disks, failing disks, failing operations, and a writer that is asked for too much.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use malote_core::clock::FixedClock;
use malote_core::event::State;
use malote_core::units::ByteSize;
use prometheus::Registry;
use tokio::task::JoinSet;

use super::{config, fresh};
use crate::conformance::mail::{self, at};
use crate::sqlite::Load;
use crate::sqlite::fault::Fault;
use crate::{AcceptOutcome, Spool, SqliteStore, StoreError};

async fn limit_pages(store: &SqliteStore, pages: i64) {
    let limited = store.write(Load::small(), move |tx| {
        tx.conn.pragma_update(None, "max_page_count", pages)?;
        Ok(())
    });
    limited.await.unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_mail_and_recovers_alone() {
    let (store, dir) = fresh().await;
    let lane = mail::tx_lane(&store).await;
    let session = mail::session(&store, at(0)).await;
    let database = config(&dir).path;
    // Where this stands no file can be written beside the database, as on a disk that is full.
    let in_the_way = database.with_extension("db.probe");
    std::fs::create_dir(&in_the_way).unwrap();
    assert_eq!(store.without_room().await, None, "nobody was refused");
    let sized = || {
        let mut message = mail::message(lane, at(0), &["a@x.test"]);
        message.body = vec![b'x'; 50_000].into();
        message.record.size_bytes = 50_000;
        message
    };
    mail::accept(&store, sized()).await;
    limit_pages(&store, 200).await;
    let mut kept = 1;
    let refused = loop {
        match store.accept(vec![sized()]).await {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 100);
    };
    assert_eq!(refused, StoreError::Full);
    assert_eq!(store.without_room().await, Some(database.as_path()));
    let leased = store.lease(session, lane, 100, at(0)).await.unwrap();
    assert_eq!(
        leased.len(),
        kept,
        "what was accepted is there and can leave"
    );
    let settled = leased
        .iter()
        .map(|one| mail::step(one.deliveries[0].id, State::Cancelled, None));
    store.settle(session, settled.collect()).await.unwrap();
    limit_pages(&store, 100_000).await;
    assert!(store.without_room().await.is_some());
    mail::accept(&store, sized()).await;
    assert_eq!(store.without_room().await, None, "mail was written");
    limit_pages(&store, 1).await;
    while store.accept(vec![sized()]).await.is_ok() {}
    assert!(store.without_room().await.is_some());
    std::fs::remove_dir(&in_the_way).unwrap();
    assert_eq!(store.without_room().await, None, "found without mail");
    assert_eq!(store.check_integrity().await.unwrap(), [""; 0]);
    assert!(store.is_open());
}

#[tokio::test]
async fn a_failing_operation_fails_nothing_else() {
    let (store, _dir) = fresh().await;
    let lane = mail::tx_lane(&store).await;
    let twin = mail::message(lane, at(0), &["twin@x.test"]);
    mail::accept(&store, twin.clone()).await;
    let mut tasks = JoinSet::new();
    for number in 0..64 {
        let message = if number % 4 == 0 {
            twin.clone()
        } else {
            mail::message(lane, at(0), &["a@x.test"])
        };
        let (store, is_twin) = (store.clone(), number % 4 == 0);
        tasks.spawn(async move { (is_twin, store.accept(vec![message]).await) });
    }
    while let Some(done) = tasks.join_next().await {
        let (is_twin, outcome) = done.unwrap();
        assert_eq!(
            outcome == Ok(vec![AcceptOutcome::Kept]),
            !is_twin,
            "{outcome:?}"
        );
    }
    let stats = store.stats(at(0)).await.unwrap();
    let key = ("tx".parse().unwrap(), State::Queued);
    assert_eq!(stats.by_state.get(&key), Some(&49));
}

fn counted() -> (SqliteStore, Arc<AtomicU32>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let calls = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&calls);
    let store = SqliteStore::open_with(
        config(&dir),
        Arc::new(FixedClock(at(0))),
        &Registry::new(),
        Arc::new(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
        }),
    );
    (store.unwrap(), calls, dir)
}

#[tokio::test]
async fn a_failed_sync_ends_the_store_and_is_never_tried_again() {
    let (store, calls, _dir) = counted();
    let lane = mail::tx_lane(&store).await;
    let id = mail::accept(&store, mail::message(lane, at(0), &["a@x.test"])).await;
    let failed = store.write(Load::small(), |_| -> Result<(), Fault> {
        Err(Fault::Disk("disk I/O error".into()))
    });
    assert_eq!(failed.await, Err(StoreError::Closed));
    let later = store.accept(vec![mail::message(lane, at(0), &["b@x.test"])]);
    assert_eq!(later.await, Err(StoreError::Closed));
    assert!(!store.is_open());
    assert!(store.body(id).await.unwrap().is_some(), "reading goes on");
    store.close().await;
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_panic_in_the_writer_ends_the_store() {
    let (store, calls, _dir) = counted();
    let failed = store.write(Load::small(), |_| -> Result<(), Fault> { panic!("a bug") });
    assert_eq!(failed.await, Err(StoreError::Closed));
    store.close().await;
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn more_than_the_queue_holds_is_refused_as_busy() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir);
    config.queue_bytes_max = ByteSize(1 << 20);
    let store = super::open(&config);
    let lane = mail::tx_lane(&store).await;
    let (entered, wait) = std::sync::mpsc::channel();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let blocker = {
        let store = store.clone();
        let held = std::sync::Mutex::new(held);
        tokio::spawn(async move {
            let work = move |_: &mut crate::sqlite::writer::Tx<'_>| -> Result<(), Fault> {
                entered.send(()).unwrap();
                held.lock().unwrap().recv().unwrap();
                Ok(())
            };
            store.write(Load::small(), work).await
        })
    };
    tokio::task::spawn_blocking(move || wait.recv().unwrap())
        .await
        .unwrap();
    let mut waiting = JoinSet::new();
    for _ in 0..40 {
        let mut message = mail::message(lane, at(0), &["a@x.test"]);
        message.body = vec![b'x'; 50_000].into();
        message.record.size_bytes = 50_000;
        let store = store.clone();
        waiting.spawn(async move { store.accept(vec![message]).await });
    }
    let first = waiting.join_next().await.unwrap().unwrap();
    assert_eq!(first, Err(StoreError::Busy));
    release.send(()).unwrap();
    blocker.await.unwrap().unwrap();
    let mut kept = 0;
    while let Some(done) = waiting.join_next().await {
        kept += u32::from(done.unwrap().is_ok());
    }
    assert!((15..40).contains(&kept), "{kept}");
}
