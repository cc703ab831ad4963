//! Several processes on one spool: each delivery to one of them, and what the dead leave to others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use malote_core::event::State;
use malote_core::id::DeliveryId;

use super::{open, open_with};
use crate::conformance::mail::{self, at};
use crate::conformance::spool_feed::{everything, page};
use crate::postgres::metrics::Operation;
use crate::postgres::spool::{in_transaction, on_connection, sessions};
use crate::postgres::tests::cluster::{Cluster, TestDatabase};
use crate::{LaneId, NodeSession, Outbox, PostgresSpool, Spool, StoreError};

/// Everything that one node gets of a lane, until there is nothing more.
async fn lease_all(spool: PostgresSpool, session: NodeSession, lane: LaneId) -> Vec<DeliveryId> {
    let mut mine = Vec::new();
    loop {
        let leased = spool.lease(session, lane, 16, at(1)).await.unwrap();
        let deliveries = leased.iter().flat_map(|message| &message.deliveries);
        mine.extend(deliveries.map(|delivery| delivery.id));
        // What another locks at this moment is passed over: only nothing due is the end.
        if leased.is_empty() && spool.next_due(lane).await.unwrap().is_none() {
            return mine;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_never_lease_the_same_delivery() {
    const MESSAGES: usize = 500;
    let database = Cluster::of_all().database().await;
    let nodes = [
        open(&database.settings()).await.spool,
        open(&database.settings()).await.spool,
    ];
    let lane = mail::tx_lane(&nodes[0]).await;
    for _ in 0..MESSAGES / 100 {
        let batch = (0..100).map(|_| mail::message(lane, at(0), &["a@x.test", "b@x.test"]));
        nodes[0].accept(batch.collect()).await.unwrap();
    }
    let mut leasers = tokio::task::JoinSet::new();
    for node in nodes {
        let session = mail::session(&node, at(0)).await;
        for _ in 0..2 {
            leasers.spawn(lease_all(node.clone(), session, lane));
        }
    }
    let all: Vec<_> = leasers.join_all().await.into_iter().flatten().collect();
    assert_eq!(all.len(), 2 * MESSAGES);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 2 * MESSAGES);
}

/// A node, and how often it was told that its session is lost.
async fn counting(database: &TestDatabase) -> (PostgresSpool, Arc<AtomicU32>) {
    let told = Arc::<AtomicU32>::default();
    let count = Arc::clone(&told);
    let on_lost = Arc::new(move |_: &str| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    (open_with(&database.settings(), on_lost).await.spool, told)
}

/// Ends a session as another node does that takes its process for dead.
async fn end(database: &TestDatabase, session: NodeSession) {
    database
        .run(&format!(
            "UPDATE malote.sessions SET ended_at = now() WHERE id = {}",
            session.0
        ))
        .await;
}

#[tokio::test]
async fn an_ended_session_leases_starts_and_takes_over_nothing_and_its_process_is_told() {
    let over = Err(StoreError::Engine("the session is over".into()));
    for first in ["lease", "start", "take over"] {
        let database = Cluster::of_all().database().await;
        let (spool, told) = counting(&database).await;
        let lane = mail::tx_lane(&spool).await;
        let session = mail::session(&spool, at(0)).await;
        for recipient in ["leased@x.test", "waits@x.test"] {
            mail::accept(&spool, mail::message(lane, at(0), &[recipient])).await;
        }
        let leased = spool.lease(session, lane, 1, at(0)).await.unwrap();
        let start = mail::start(leased[0].deliveries[0].id, 1, at(1));
        end(&database, session).await;
        let said = match first {
            "lease" => spool.lease(session, lane, 9, at(1)).await.map(drop),
            "start" => spool.start_attempts(vec![start.clone()]).await,
            _ => spool.take_over(session, at(1)).await.map(drop),
        };
        assert_eq!((&said, told.load(Ordering::Relaxed)), (&over, 1), "{first}");
        // From now on it knows by itself.
        assert!(spool.lease(session, lane, 9, at(2)).await.is_err());
        assert!(spool.start_attempts(vec![start]).await.is_err());
        assert!(spool.take_over(session, at(2)).await.is_err());
        assert_eq!(told.load(Ordering::Relaxed), 1, "once");

        let heir = open(&database.settings()).await.spool;
        let session = mail::session(&heir, at(3)).await;
        let again = heir.lease(session, lane, 9, at(3)).await.unwrap();
        let crashes = |one: &crate::LeasedMessage| one.deliveries[0].crashes;
        let mut crashes: Vec<_> = again.iter().map(crashes).collect();
        crashes.sort_unstable();
        assert_eq!(
            crashes,
            [0, 1],
            "one was leased once, none was begun: {first}"
        );
    }
}

#[tokio::test]
async fn what_a_dead_node_had_under_way_is_taken_over_and_it_can_settle_no_more() {
    let database = Cluster::of_all().database().await;
    let (dead, _) = counting(&database).await;
    let heir = open(&database.settings()).await.spool;
    let lane = mail::tx_lane(&dead).await;
    let lost = mail::session(&dead, at(0)).await;
    let session = mail::session(&heir, at(0)).await;
    let mut ids = Vec::new();
    for recipient in ["begun@x.test", "leased@x.test"] {
        let id = mail::accept(&dead, mail::message(lane, at(0), &[recipient])).await;
        ids.push(DeliveryId {
            message: id,
            index: 0,
        });
    }
    assert_eq!(dead.lease(lost, lane, 10, at(0)).await.unwrap().len(), 2);
    let start = mail::start(ids[0], 1, at(1));
    dead.start_attempts(vec![start.clone()]).await.unwrap();
    let nothing = heir.take_over(session, at(2)).await.unwrap();
    assert_eq!((nothing.queued, nothing.pending.len()), (0, 0));

    end(&database, lost).await;
    let taken = heir.take_over(session, at(3)).await.unwrap();
    assert_eq!(taken.queued, 1);
    assert_eq!(taken.pending.len(), 1);
    let pending = &taken.pending[0];
    assert_eq!((&pending.attempt, pending.delivery.id), (&start, ids[0]));
    assert_eq!((pending.delivery.calls, pending.delivery.crashes), (1, 1));

    let late = ids.iter().map(|id| mail::sent(*id, "p-1", at(4)));
    dead.settle(lost, late.collect()).await.unwrap();
    assert_eq!(mail::state_of(&heir, ids[0]).await, State::Sending);
    assert_eq!(mail::state_of(&heir, ids[1]).await, State::Queued);
    let again = mail::start(ids[1], 1, at(4));
    assert!(dead.start_attempts(vec![again]).await.is_err());
    let leased = heir.lease(session, lane, 10, at(4)).await.unwrap();
    assert_eq!(mail::recipients(&leased), ["leased@x.test"]);
    assert_eq!(leased[0].deliveries[0].crashes, 1);
    let unknown = mail::step(ids[0], State::Unknown, None);
    heir.settle(session, vec![unknown]).await.unwrap();
    assert_eq!(mail::state_of(&heir, ids[0]).await, State::Unknown);
}

#[tokio::test]
async fn a_node_that_no_longer_beats_is_taken_for_dead() {
    let database = Cluster::of_all().database().await;
    let dead = open(&database.settings()).await.spool;
    let heir = open(&database.settings()).await.spool;
    let lane = mail::tx_lane(&dead).await;
    let lost = mail::session(&dead, at(0)).await;
    let session = mail::session(&heir, at(0)).await;
    mail::accept(&dead, mail::message(lane, at(0), &["a@x.test"])).await;
    assert_eq!(dead.lease(lost, lane, 1, at(0)).await.unwrap().len(), 1);
    // Dropped, it beats no more and says nothing, as after a kill; nobody here knows that it ended.
    let elsewhere = Arc::clone(&dead.inner.core.presence);
    drop(dead);
    let died = tokio::time::Instant::now();
    while heir.take_over(session, at(1)).await.unwrap().queued == 0 {
        assert!(died.elapsed() < Duration::from_secs(20), "it never was");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(died.elapsed() > Duration::from_secs(8), "it could be alive");
    drop(elsewhere);
}

#[tokio::test]
async fn a_process_of_the_same_machine_that_has_ended_is_not_waited_for() {
    let database = Cluster::of_all().database().await;
    let dead = open(&database.settings()).await.spool;
    let heir = open(&database.settings()).await.spool;
    let lane = mail::tx_lane(&dead).await;
    let lost = mail::session(&dead, at(0)).await;
    let session = mail::session(&heir, at(0)).await;
    mail::accept(&dead, mail::message(lane, at(0), &["a@x.test"])).await;
    assert_eq!(dead.lease(lost, lane, 1, at(0)).await.unwrap().len(), 1);
    assert_eq!(heir.take_over(session, at(1)).await.unwrap().queued, 0);
    drop(dead);
    let died = tokio::time::Instant::now();
    while heir.take_over(session, at(1)).await.unwrap().queued == 0 {
        assert!(died.elapsed() < Duration::from_secs(5), "it was waited for");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_node_that_closes_leaves_its_leases_at_once() {
    let database = Cluster::of_all().database().await;
    let leaver = open(&database.settings()).await;
    let heir = open(&database.settings()).await.spool;
    let lane = mail::tx_lane(&heir).await;
    let lost = mail::session(&leaver.spool, at(0)).await;
    let session = mail::session(&heir, at(0)).await;
    mail::accept(&heir, mail::message(lane, at(0), &["a@x.test"])).await;
    assert_eq!(
        leaver
            .spool
            .lease(lost, lane, 1, at(0))
            .await
            .unwrap()
            .len(),
        1
    );
    leaver.close().await;
    assert!(leaver.spool.lease(lost, lane, 1, at(0)).await.is_err());
    assert_eq!(heir.take_over(session, at(1)).await.unwrap().queued, 1);
}

#[tokio::test]
async fn a_lease_that_nobody_waits_for_goes_back() {
    let (spool, _database) = super::fresh().await;
    let lane = mail::tx_lane(&spool).await;
    let session = mail::session(&spool, at(0)).await;
    mail::accept(&spool, mail::message(lane, at(0), &["a@x.test"])).await;
    for micros in [200, 1_000, 3_000, 10_000] {
        let lease = spool.lease(session, lane, 1, at(0));
        if let Ok(leased) = tokio::time::timeout(Duration::from_micros(micros), lease).await {
            // One that nobody waited for may still be on its way back.
            for one in leased.unwrap() {
                let back = mail::step(one.deliveries[0].id, State::Queued, Some(at(0)));
                spool.settle(session, vec![back]).await.unwrap();
            }
        }
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while spool.next_due(lane).await.unwrap().is_none() {
        assert!(tokio::time::Instant::now() < deadline, "it never came back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_feed_never_passes_an_event_that_is_being_written() {
    let (spool, database) = super::fresh().await;
    let lane = mail::tx_lane(&spool).await;
    let (mut client, connection) = tokio_postgres::connect(&database.url(), tokio_postgres::NoTls)
        .await
        .unwrap();
    let task = tokio::spawn(connection);
    let slow = client.transaction().await.unwrap();
    slow.batch_execute("SELECT nextval('malote.feed_places')")
        .await
        .unwrap();
    mail::accept(&spool, mail::message(lane, at(0), &["a@x.test"])).await;
    let early = page(&spool, &everything()).await;
    assert_eq!((early.events.len(), early.next.0), (0, 0));
    slow.rollback().await.unwrap();
    let late = page(&spool, &everything()).await;
    assert_eq!((late.events.len(), late.next.0), (1, 2));
    drop(client);
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_outlet_is_one_node_s_until_that_one_ends_or_lets_go() {
    let database = Cluster::of_all().database().await;
    let one = open(&database.settings()).await;
    let other = open(&database.settings()).await.spool;
    let hook = malote_core::outlet::OutletName::kept("shop/webhook-1".into());
    let first = mail::session(&one.spool, at(0)).await;
    let second = mail::session(&other, at(0)).await;
    assert!(
        !other.hold_outlet(&hook, second).await.unwrap(),
        "there is none"
    );
    other
        .keep_outlets(std::slice::from_ref(&hook), at(0))
        .await
        .unwrap();
    assert!(one.spool.hold_outlet(&hook, first).await.unwrap());
    assert!(one.spool.hold_outlet(&hook, first).await.unwrap());
    assert!(!other.hold_outlet(&hook, second).await.unwrap());
    other.let_go_of_outlet(&hook, second).await.unwrap();
    assert!(!other.hold_outlet(&hook, second).await.unwrap());
    one.spool.let_go_of_outlet(&hook, first).await.unwrap();
    assert!(other.hold_outlet(&hook, second).await.unwrap());
    other.let_go_of_outlet(&hook, second).await.unwrap();
    assert!(one.spool.hold_outlet(&hook, first).await.unwrap());
    one.close().await;
    assert!(other.hold_outlet(&hook, second).await.unwrap());
}

#[tokio::test]
async fn a_lease_whose_answer_was_lost_is_taken_back() {
    let (spool, _database) = super::fresh().await;
    let lane = mail::tx_lane(&spool).await;
    let session = mail::session(&spool, at(0)).await;
    for recipient in ["begun@x.test", "leased@x.test", "waits@x.test"] {
        mail::accept(&spool, mail::message(lane, at(0), &[recipient])).await;
    }
    let leased = spool.lease(session, lane, 2, at(0)).await.unwrap();
    let start = mail::start(leased[0].deliveries[0].id, 1, at(1));
    spool.start_attempts(vec![start.clone()]).await.unwrap();
    let core = &spool.inner.core;
    let ids = on_connection!(core, Operation::Session, |conn| sessions::under_way(
        conn, session.0
    ));
    let ids = ids.unwrap();
    assert_eq!(ids.len(), 2);
    let taken = in_transaction!(core, Operation::Session, |tx| sessions::take_strays(
        tx,
        core,
        &ids,
        (session.0, at(2))
    ));
    let taken = taken.unwrap();
    assert_eq!((taken.queued, taken.pending.len()), (1, 1));
    assert_eq!(taken.pending[0].attempt, start);
    let again = spool.lease(session, lane, 9, at(2)).await.unwrap();
    let again: Vec<_> = again.iter().flat_map(|one| &one.deliveries).collect();
    assert_eq!(
        again.len(),
        2,
        "the third is ours until its outcome is known"
    );
    assert!(again.iter().all(|one| one.id != start.delivery));
    let crashes: u32 = again.iter().map(|one| one.crashes).sum();
    assert_eq!(crashes, 1, "the one that was taken back");
}
