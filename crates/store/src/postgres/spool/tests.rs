//! The suite on this engine, and what only this engine promises.

mod conformance;
mod crash;
mod erased;
mod history;
mod nodes;
mod pooled;

use std::sync::Arc;

use malote_core::clock::FixedClock;
use prometheus::Registry;

use crate::conformance::mail::at;
use crate::postgres::tests::cluster::{Cluster, TestDatabase};
use crate::{OnFatal, PostgresSettings, PostgresSpool, PostgresStore};

async fn open(settings: &PostgresSettings) -> PostgresStore {
    open_with(settings, Arc::new(|text| panic!("{text}"))).await
}

async fn open_with(settings: &PostgresSettings, on_lost: OnFatal) -> PostgresStore {
    let clock = Arc::new(FixedClock(at(0)));
    PostgresStore::open_with(settings, clock, &Registry::new(), on_lost)
        .await
        .unwrap()
}

/// A new engine on a database of its own.
async fn fresh() -> (PostgresSpool, TestDatabase) {
    let database = Cluster::of_all().database().await;
    let store = open(&database.settings()).await;
    (store.spool, database)
}
