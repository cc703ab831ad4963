//! Kills and power cuts, emulated by opening a copy of the files as they were at that moment.

use std::fs;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use malote_core::id::MessageId;
use tempfile::TempDir;

use super::{config, fresh, open};
use crate::conformance::mail::{self, at};
use crate::{Spool, SqliteConfig};

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(&path, &target);
        } else if path.extension().is_none_or(|ext| ext != "db-shm") {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// The store as a kill at this moment would leave it.
fn killed(config: &SqliteConfig) -> (SqliteConfig, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    copy_dir(config.directory(), &dir.path().join("var"));
    (super::config(&dir), dir)
}

fn log_of(config: &SqliteConfig) -> std::path::PathBuf {
    config.path.with_extension("db-wal")
}

#[tokio::test]
async fn a_kill_at_any_moment_loses_nothing_that_was_acknowledged() {
    let (store, dir) = fresh().await;
    let config = config(&dir);
    let lane = mail::tx_lane(&store).await;
    let mut acknowledged = Vec::new();
    for round in 0..12 {
        let size = if round % 4 == 3 { 100_000 } else { 1_000 };
        let mut message = mail::message(lane, at(round), &["a@x.test", "b@x.test"]);
        message.body = vec![b'x'; size].into();
        message.record.size_bytes = size as u64;
        acknowledged.push(mail::accept(&store, message).await);
        let (copy, _kept) = killed(&config);
        let after = open(&copy);
        assert_eq!(after.check_integrity().await.unwrap(), [""; 0]);
        for id in &acknowledged {
            assert!(after.body(*id).await.unwrap().is_some());
        }
        let session = mail::session(&after, at(100)).await;
        let leased = after.lease(session, lane, 100, at(100)).await.unwrap();
        assert_eq!(leased.len(), acknowledged.len());
    }
}

#[tokio::test]
async fn a_torn_log_keeps_everything_before_the_tear() {
    let (store, dir) = fresh().await;
    let config = config(&dir);
    let lane = mail::tx_lane(&store).await;
    let mut acknowledged: Vec<(MessageId, u64)> = Vec::new();
    for round in 0..6 {
        let message = mail::message(lane, at(round), &["a@x.test"]);
        let id = mail::accept(&store, message).await;
        let length = fs::metadata(log_of(&config)).unwrap().len();
        acknowledged.push((id, length));
    }
    let (whole, _kept) = killed(&config);
    drop(store);
    let end = fs::metadata(log_of(&whole)).unwrap().len();
    let begin = acknowledged[0].1;
    let cuts = (begin..end).step_by(997).chain([end - 1, end]);
    for cut in cuts {
        let (torn, _kept) = killed(&whole);
        let log = fs::OpenOptions::new()
            .write(true)
            .open(log_of(&torn))
            .unwrap();
        log.set_len(cut).unwrap();
        let after = open(&torn);
        assert_eq!(after.check_integrity().await.unwrap(), [""; 0], "{cut}");
        for (id, length) in &acknowledged {
            let is_there = after.body(*id).await.unwrap().is_some();
            assert_eq!(
                is_there,
                *length <= cut,
                "cut at {cut}, written at {length}"
            );
        }
    }
}

#[tokio::test]
async fn a_lease_whose_caller_went_away_goes_back_to_the_queue() {
    let (store, _dir) = fresh().await;
    let lane = mail::tx_lane(&store).await;
    let session = mail::session(&store, at(0)).await;
    mail::accept(&store, mail::message(lane, at(0), &["a@x.test"])).await;
    for _ in 0..20 {
        let mut leasing = pin!(store.lease(session, lane, 10, at(1)));
        // Polled once: handed to the writer, and then forgotten.
        std::future::poll_fn(|context| {
            let is_ready = Future::poll(leasing.as_mut(), context).is_ready();
            std::task::Poll::Ready(is_ready)
        })
        .await;
    }
    let found = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            let leased = store.lease(session, lane, 10, at(1)).await.unwrap();
            if let Some(one) = leased.into_iter().next() {
                return one;
            }
        }
    });
    assert_eq!(found.await.unwrap().deliveries[0].crashes, 0);
}
