//! What is not moved, and what is not started on.

use std::sync::atomic::{AtomicBool, Ordering};

use malote_core::event::State;
use malote_core::secret::Secret;
use rusqlite::Connection;

use super::{config, cut, filled, migration, over, postgres, run, run_again, sqlite, sqlite_again};
use crate::conformance::mail;
use crate::migrate::{Doing, Progress, Stage};
use crate::postgres::tests::cluster::{Cluster, settings};
use crate::{Migration, QueueFilter, Spool};

/// Another key than the one of the stores.
const OTHER_KEY: &str = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

async fn refusal(migration: &Migration) -> String {
    match run(migration).await {
        Ok(_) => panic!("it was moved"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_a_gateway_works_on_is_not_moved() {
    let dir = tempfile::tempdir().unwrap();
    let from = filled(&dir).await;
    let database = Cluster::of_all().database().await;
    let running = sqlite(&from).unwrap();
    let said = refusal(&over(&from, &database)).await;
    assert!(said.contains("another malote runs on"), "{said}");
    running.close().await;
    run(&over(&from, &database)).await.unwrap();

    let store = postgres(&database).await.unwrap();
    let (session, _) = store.spool.open_session(mail::at(0)).await.unwrap();
    let back = config(&dir, "back");
    let away = migration(Stage::from(database.settings()), Stage::from(back.clone()));
    let said = refusal(&away).await;
    assert!(said.contains("a gateway works on"), "{said}");
    // One that lives and does not beat is seen by its connections.
    let old = "UPDATE malote.sessions SET beat_at = now() - interval '1 hour'";
    database.run(old).await;
    let said = refusal(&away).await;
    assert!(said.contains("another malote is connected"), "{said}");
    let leased = store.spool.lease(session, crate::LaneId(1), 1, mail::at(0));
    leased.await.unwrap();
    store.close().await;
    drop(store);
    run_again(&away).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_came_and_went_meanwhile_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let from = filled(&dir).await;
    let database = Cluster::of_all().database().await;
    run(&over(&from, &database)).await.unwrap();
    let back = config(&dir, "back");
    let away = migration(Stage::from(database.settings()), Stage::from(back.clone()));
    let once = AtomicBool::new(true);
    let visit = "INSERT INTO malote.sessions (node, ended_at) VALUES (gen_random_uuid(), now())";
    let tell = |progress: Progress| {
        if progress.doing == Doing::Verifying && once.swap(false, Ordering::Relaxed) {
            let handle = tokio::runtime::Handle::current();
            tokio::task::block_in_place(|| handle.block_on(database.run(visit)));
        }
    };
    let error = away.run(mail::at(0), &tell).await.unwrap_err();
    assert!(error.to_string().contains("or did meanwhile"), "{error}");
    assert!(run_again(&away).await.unwrap().is_continued);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_holds_something_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let from = filled(&dir).await;
    let database = Cluster::of_all().database().await;
    let store = postgres(&database).await.unwrap();
    mail::tx_lane(&store.spool).await;
    store.close().await;
    drop(store);
    let said = run_again(&over(&from, &database)).await.unwrap_err();
    let said = said.to_string();
    assert!(
        said.contains("is not empty, its table lanes has rows"),
        "{said}"
    );

    let database = Cluster::of_all().database().await;
    let wrong = Migration {
        address_key: Secret::new(OTHER_KEY),
        ..over(&from, &database)
    };
    let said = refusal(&wrong).await;
    assert!(said.contains("is not the one of the store"), "{said}");
    cut(&over(&from, &database), Doing::Copying, "messages").await;
    let strange = Migration {
        to: Stage::from(settings(&database.url(), OTHER_KEY)),
        ..over(&from, &database)
    };
    let said = run_again(&strange).await.unwrap_err().to_string();
    assert!(said.contains("address_key is not the key"), "{said}");
    let another = tempfile::tempdir().unwrap();
    let second = filled(&another).await;
    let said = run_again(&over(&second, &database)).await.unwrap_err();
    let said = said.to_string();
    assert!(said.contains("is half of another store"), "{said}");
    let itself = migration(Stage::from(second.clone()), Stage::from(second));
    let said = refusal(&itself).await;
    assert!(said.contains("another malote runs on"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_since_the_cut_goes_over_and_what_changed_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let from = filled(&dir).await;
    let database = Cluster::of_all().database().await;
    cut(&over(&from, &database), Doing::Copying, "messages").await;
    let store = sqlite_again(&from).await.unwrap();
    let lane = mail::tx_lane(&store).await;
    mail::accept(&store, mail::message(lane, mail::at(0), &["new@x.test"])).await;
    store.close().await;
    cut(&over(&from, &database), Doing::Verifying, "messages").await;

    let store = sqlite_again(&from).await.unwrap();
    let filter = QueueFilter {
        stream: Some("tx".parse().unwrap()),
        ..QueueFilter::default()
    };
    let moved = store.move_deliveries(&filter, State::Cancelled, "", mail::at(1));
    assert!(!moved.await.unwrap().is_empty());
    store.close().await;
    let error = run_again(&over(&from, &database)).await.unwrap_err();
    let said = error.to_string();
    assert!(said.contains("has changed in messages"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_row_is_named_and_nothing_is_half() {
    let dir = tempfile::tempdir().unwrap();
    let from = filled(&dir).await;
    let broken = |sql: &str| {
        let conn = Connection::open(&from.path).unwrap();
        assert!(conn.execute(sql, []).unwrap() > 0, "{sql}");
    };
    for (damage, mended, said) in [
        (
            "UPDATE bodies SET body = CAST(x'79' || substr(body, 2) AS BLOB) WHERE message = 5",
            "UPDATE bodies SET body = CAST(x'00' || substr(body, 2) AS BLOB) WHERE message = 5",
            "the body does not match its checksum",
        ),
        (
            "UPDATE deliveries SET state = 77 WHERE id = 5 << 16",
            "UPDATE deliveries SET state = 1 WHERE id = 5 << 16",
            "state cannot be read",
        ),
    ] {
        broken(damage);
        let database = Cluster::of_all().database().await;
        let error = refusal(&over(&from, &database)).await;
        assert!(
            error.contains("(message ") && error.contains(said),
            "{error}"
        );
        let half = postgres(&database).await.err().unwrap().to_string();
        assert!(half.contains("whose move was cut"), "{half}");
        // The source is as it was: a gateway starts on it.
        sqlite(&from).unwrap().close().await;
        broken(mended);
        if said.starts_with("state") {
            run(&over(&from, &database)).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_does_not_start_on_what_was_moved_away() {
    let dir = tempfile::tempdir().unwrap();
    let from = filled(&dir).await;
    let database = Cluster::of_all().database().await;
    run(&over(&from, &database)).await.unwrap();
    let said = sqlite(&from).err().unwrap().to_string();
    assert!(said.contains("was moved to postgres:"), "{said}");
    let said = refusal(&over(&from, &database)).await;
    assert!(said.contains("was moved to postgres:"), "{said}");
    let back = config(&dir, "back");
    let away = migration(Stage::from(database.settings()), Stage::from(back.clone()));
    run(&away).await.unwrap();
    let said = postgres(&database).await.err().unwrap().to_string();
    assert!(said.contains("was moved to sqlite:"), "{said}");
    sqlite(&back).unwrap().close().await;
}
