//! What only this engine promises.

use std::sync::Arc;

use malote_core::clock::FixedClock;
use malote_core::event::State;
use malote_core::id::DeliveryId;
use prometheus::Registry;

use crate::conformance::mail::{self, at};
use crate::{Spool, SqliteConfig, SqliteStore};

fn open(config: &SqliteConfig) -> SqliteStore {
    SqliteStore::open(
        config.clone(),
        Arc::new(FixedClock(at(0))),
        &Registry::new(),
    )
    .unwrap()
}

#[tokio::test]
async fn a_reopened_store_has_what_was_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let config = SqliteConfig::at(dir.path().join("var/malote.db"));
    let store = open(&config);
    let lane = mail::tx_lane(&store).await;
    let id = mail::accept(&store, mail::message(lane, at(0), &["a@x.test"])).await;
    drop(store);
    let store = open(&config);
    let session = mail::session(&store, at(1)).await;
    let leased = store.lease(session, lane, 10, at(1)).await.unwrap();
    assert_eq!(mail::recipients(&leased), ["a@x.test"]);
    let delivery = DeliveryId {
        message: id,
        index: 0,
    };
    store
        .settle(session, vec![mail::sent(delivery, "p-1", at(2))])
        .await
        .unwrap();
    assert_eq!(mail::state_of(&store, delivery).await, State::Sent);
    store.close().await;
}
