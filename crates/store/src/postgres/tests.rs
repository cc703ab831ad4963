//! The suite on this engine, and what only this engine promises.

mod carry;
pub(crate) mod cluster;
mod conformance;
mod keys;
mod nodes;
mod open;
mod pooled;
mod versions;

use std::sync::Arc;

use malote_core::clock::FixedClock;
use prometheus::Registry;

use crate::conformance::mail::at;
use crate::postgres::tests::cluster::{Cluster, TestDatabase};
use crate::{PostgresSettings, PostgresShared, StoreError};

async fn try_open(settings: &PostgresSettings) -> Result<PostgresShared, StoreError> {
    let clock = Arc::new(FixedClock(at(0)));
    PostgresShared::open(settings, clock, &Registry::new()).await
}

/// A new engine on a database of its own, whose clock stands at `at(0)` as the node's does.
async fn fresh() -> (PostgresShared, TestDatabase) {
    let database = Cluster::of_all().database().await;
    let shared = try_open(&database.settings()).await.unwrap();
    stop_clock(&database).await;
    (shared, database)
}

/// Lets the database's clock stand where the nodes' does.
async fn stop_clock(database: &TestDatabase) {
    let stand_still = format!(
        "CREATE OR REPLACE FUNCTION malote.clock() RETURNS bigint LANGUAGE sql VOLATILE
         AS $$ SELECT {}::bigint $$",
        at(0).as_microsecond()
    );
    database.run(&stand_still).await;
}

async fn refusal(settings: &PostgresSettings) -> String {
    match try_open(settings).await {
        Ok(_) => panic!("the database opened"),
        Err(error) => error.to_string(),
    }
}
