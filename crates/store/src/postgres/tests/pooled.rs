//! A pooler that gives every transaction another session may stand between.

use crate::Shared;
use crate::conformance::{shared, suppressions};
use crate::postgres::tests::cluster::{Cluster, KEY, settings};
use crate::postgres::tests::{keys, stop_clock, try_open};

#[tokio::test]
async fn the_engine_keeps_its_promises_behind_a_pooler_in_transaction_mode() {
    let mut cluster = Cluster::start(&[]);
    let pooler = cluster.pooler();
    let database = cluster.database().await;
    let settings = settings(&format!("{pooler}/{}", database.name()), KEY);
    let opened = tokio::join!(try_open(&settings), try_open(&settings));
    let (one, other) = (opened.0.unwrap(), opened.1.unwrap());
    stop_clock(&database).await;
    shared::concurrent_takers_share_one_quota(&one).await;
    assert_eq!(other.breakers().await, Ok(Vec::new()));
    shared::warm_up_breakers_and_switches_are_kept(&other).await;
    suppressions::a_suppression_stops_an_address_in_its_scope(&one).await;
    suppressions::soft_bounces_are_counted_in_their_window(&other).await;
    keys::a_key_is_reserved_completed_and_told(&one, &other).await;
}
