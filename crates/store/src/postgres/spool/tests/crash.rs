//! Crashes of the server, and a server that takes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use malote_core::id::MessageId;

use super::open;
use crate::conformance::mail::{self, at};
use crate::postgres::tests::cluster::Cluster;
use crate::{LaneId, PostgresSpool, Spool, StoreError};

/// Accepts until told to stop; the messages that were acknowledged.
async fn accept_on(
    spool: PostgresSpool,
    lane: LaneId,
    stop: Arc<AtomicBool>,
    acknowledged: tokio::sync::mpsc::UnboundedSender<MessageId>,
) {
    while !stop.load(Ordering::Relaxed) {
        let mut message = mail::message(lane, at(0), &["a@x.test"]);
        if message.record.id.as_bytes()[15].is_multiple_of(8) {
            message.body = vec![b'x'; 300_000].into();
        }
        message.record.size_bytes = message.body.len() as u64;
        let id = message.record.id;
        if spool.accept(vec![message]).await.is_ok() {
            acknowledged.send(id).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_server_loses_nothing_that_was_acknowledged() {
    let mut cluster = Cluster::start(&[]);
    let database = cluster.database().await;
    let spool = open(&database.settings()).await.spool;
    let lane = mail::tx_lane(&spool).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, mut acknowledged) = tokio::sync::mpsc::unbounded_channel();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (spool, stop, sender) = (spool.clone(), Arc::clone(&stop), sender.clone());
        callers.spawn(accept_on(spool, lane, stop, sender));
    }
    let mut ids = Vec::new();
    for _ in 0..2 {
        for _ in 0..100 {
            ids.push(acknowledged.recv().await.unwrap());
        }
        cluster = tokio::task::spawn_blocking(move || {
            cluster.kill();
            cluster.start_again();
            cluster
        })
        .await
        .unwrap();
    }
    ids.push(acknowledged.recv().await.unwrap());
    stop.store(true, Ordering::Relaxed);
    callers.join_all().await;
    while let Ok(id) = acknowledged.try_recv() {
        ids.push(id);
    }
    for id in &ids {
        let body = spool.body(*id).await.unwrap();
        assert!(body.is_some(), "{id} is lost, one of {}", ids.len());
    }
}

#[tokio::test]
async fn a_server_that_takes_no_writes_keeps_nothing_and_says_so() {
    let (spool, database) = super::fresh().await;
    let lane = mail::tx_lane(&spool).await;
    // As a full disk says it.
    database
        .run(
            "CREATE FUNCTION malote.no_space() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END $$;
             CREATE TRIGGER no_space BEFORE INSERT ON malote.bodies
                FOR EACH ROW EXECUTE FUNCTION malote.no_space()",
        )
        .await;
    let message = mail::message(lane, at(0), &["a@x.test"]);
    let id = message.record.id;
    let refused = spool.accept(vec![message.clone()]).await;
    assert_eq!(refused, Err(StoreError::Full));
    assert_eq!(spool.message(id).await.unwrap(), None);
    database.run("DROP TRIGGER no_space ON malote.bodies").await;
    mail::accept(&spool, message).await;
}
