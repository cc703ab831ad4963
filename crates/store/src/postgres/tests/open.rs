//! Which databases are refused, and that several nodes may make the tables at once.

use std::sync::Arc;

use malote_core::clock::FixedClock;

use crate::conformance::mail::at;
use crate::conformance::{shared, suppressions};
use crate::postgres::tests::cluster::{Cluster, KEY, settings, settings_in};
use crate::postgres::tests::{refusal, stop_clock, try_open};
use crate::{PostgresShared, Shared};

#[tokio::test]
async fn nodes_that_start_at_once_make_the_tables_once() {
    let database = Cluster::of_all().database().await;
    let settings = database.settings();
    let opened = tokio::join!(
        try_open(&settings),
        try_open(&settings),
        try_open(&settings),
    );
    for shared in [opened.0, opened.1, opened.2] {
        assert_eq!(shared.unwrap().switches().await, Ok(Vec::new()));
    }
}

#[tokio::test]
async fn another_address_key_is_refused() {
    let database = Cluster::of_all().database().await;
    drop(try_open(&database.settings()).await.unwrap());
    let other = settings(&database.url(), &KEY.replace('0', "f"));
    let said = refusal(&other).await;
    assert!(said.contains("give every node the same key"), "{said}");
    drop(try_open(&database.settings()).await.unwrap());
}

#[tokio::test]
async fn another_cluster_with_the_same_key_is_refused_with_both_names() {
    let database = Cluster::of_all().database().await;
    drop(try_open(&database.settings()).await.unwrap());
    let other = settings_in(&database.url(), KEY, "staging");
    let clock = Arc::new(FixedClock(at(0)));
    let look = PostgresShared::look_at(&other, clock).await;
    for said in [refusal(&other).await, look.unwrap_err().to_string()] {
        assert!(said.contains("the cluster \"malote\""), "{said}");
        assert!(said.contains("this gateway to \"staging\""), "{said}");
        assert!(said.contains("a database of its own"), "{said}");
    }
    drop(try_open(&database.settings()).await.unwrap());
}

#[tokio::test]
async fn tables_of_a_newer_malote_are_refused() {
    let database = Cluster::of_all().database().await;
    drop(try_open(&database.settings()).await.unwrap());
    database
        .run("INSERT INTO malote.migrations (part, version, name) VALUES ('shared', 99, 'x')")
        .await;
    let said = refusal(&database.settings()).await;
    assert!(said.contains("start the newer malote"), "{said}");
}

#[tokio::test]
async fn a_role_that_commits_without_sync_is_refused() {
    let database = Cluster::of_all().database().await;
    database
        .run(
            "CREATE ROLE hasty LOGIN SUPERUSER;
             ALTER ROLE hasty SET synchronous_commit = off",
        )
        .await;
    let said = refusal(&settings(&database.url_for("hasty"), KEY)).await;
    assert!(said.contains("synchronous_commit is off"), "{said}");
}

#[tokio::test]
async fn a_server_without_fsync_is_refused() {
    let cluster = Cluster::start(&["fsync=off"]);
    let database = cluster.database().await;
    let said = refusal(&database.settings()).await;
    assert!(said.contains("fsync is off"), "{said}");
}

#[tokio::test]
async fn a_database_or_server_that_could_forget_is_refused_with_the_setting() {
    let database = Cluster::of_all().database().await;
    let name = database.name();
    database
        .run(&format!(
            "ALTER DATABASE {name} SET synchronous_commit = off"
        ))
        .await;
    let said = refusal(&database.settings()).await;
    assert!(said.contains("synchronous_commit is off"), "{said}");
    for setting in ["full_page_writes", "synchronous_commit"] {
        let cluster = Cluster::start(&[&format!("{setting}=off")]);
        let database = cluster.database().await;
        let said = refusal(&database.settings()).await;
        assert!(said.contains(&format!("{setting} is off")), "{said}");
    }
}

#[tokio::test]
async fn a_role_needs_no_more_than_the_tables_once_they_are_there() {
    let database = Cluster::of_all().database().await;
    drop(try_open(&database.settings()).await.unwrap());
    stop_clock(&database).await;
    database
        .run(
            "CREATE ROLE modest LOGIN;
             REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA malote FROM PUBLIC;
             GRANT USAGE ON SCHEMA malote TO modest;
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA malote TO modest;
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA malote TO modest;
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA malote TO modest",
        )
        .await;
    let modest = try_open(&settings(&database.url_for("modest"), KEY)).await;
    let modest = modest.unwrap();
    shared::warm_up_breakers_and_switches_are_kept(&modest).await;
    shared::units_given_back_can_be_taken_again(&modest).await;
    suppressions::soft_bounces_are_counted_in_their_window(&modest).await;
    let database = Cluster::of_all().database().await;
    let said = refusal(&settings(&database.url_for("modest"), KEY)).await;
    assert!(
        said.contains("CREATE SCHEMA malote AUTHORIZATION"),
        "{said}"
    );
}
