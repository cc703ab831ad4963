//! A store that holds everything, moved and moved back; and what is refused on the way.

mod fill;
mod left;
mod refused;

use std::sync::Arc;

use malote_core::clock::FixedClock;
use malote_core::event::State;
use malote_core::feed::FeedCursor;
use malote_core::secret::Secret;
use prometheus::Registry;
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::conformance::mail::{self, at};
use crate::conformance::spool_feed::{everything, page};
use crate::migrate::{Doing, Migration, Moved, Progress, Row, Side, Stage, TABLES, Value};
use crate::postgres::tests::cluster::{Cluster, KEY, TestDatabase};
use crate::sqlite::SqliteSide;
use crate::{OnFatal, PostgresStore, Spool, SqliteConfig, SqliteStore, StoreError};

fn config(dir: &TempDir, name: &str) -> SqliteConfig {
    SqliteConfig::at(dir.path().join(name).join("malote.db"))
}

fn fatal() -> OnFatal {
    Arc::new(|text| panic!("{text}"))
}

fn sqlite(config: &SqliteConfig) -> Result<SqliteStore, StoreError> {
    let clock = Arc::new(FixedClock(at(0)));
    SqliteStore::open_with(config.clone(), clock, &Registry::new(), fatal())
}

/// Opens a store once a move that was cut has let go of it.
async fn sqlite_again(config: &SqliteConfig) -> Result<SqliteStore, StoreError> {
    loop {
        match sqlite(config) {
            Err(error) if error.to_string().contains("another malote") => {
                tokio::task::yield_now().await;
            }
            result => return result,
        }
    }
}

async fn postgres(database: &TestDatabase) -> Result<PostgresStore, StoreError> {
    let clock = Arc::new(FixedClock(at(0)));
    PostgresStore::open_with(&database.settings(), clock, &Registry::new(), fatal()).await
}

/// A store with the suite's key that holds everything, and is closed.
async fn filled(dir: &TempDir) -> SqliteConfig {
    let config = config(dir, "from");
    std::fs::create_dir_all(config.directory()).unwrap();
    std::fs::write(config.key_path(), KEY).unwrap();
    let store = sqlite(&config).unwrap();
    fill::everything_of(&store, &store).await;
    store.close().await;
    config
}

fn migration(from: Stage, to: Stage) -> Migration {
    Migration {
        from,
        to,
        address_key: Secret::new(KEY),
    }
}

fn over(config: &SqliteConfig, database: &TestDatabase) -> Migration {
    let from = Stage::from(config.clone());
    migration(from, Stage::from(database.settings()))
}

async fn run(migration: &Migration) -> Result<Moved, StoreError> {
    migration.run(at(0), &|_| {}).await
}

/// Runs a move once a run before it, which was cut, has let go of both stores.
async fn run_again(migration: &Migration) -> Result<Moved, StoreError> {
    let begun = tokio::time::Instant::now();
    loop {
        match run(migration).await {
            Err(StoreError::Engine(text))
                if text.contains("another malote") && begun.elapsed().as_secs() < 30 =>
            {
                tokio::task::yield_now().await;
            }
            result => return result,
        }
    }
}

/// Runs a move and cuts it once it is at a table; the pages before it are there.
async fn cut(migration: &Migration, doing: Doing, table: &'static str) {
    let begun = tokio::time::Instant::now();
    loop {
        let reached = Notify::new();
        let tell = |progress: Progress| {
            if progress.doing == doing && progress.table == table {
                reached.notify_one();
            }
        };
        tokio::select! {
            biased;
            () = reached.notified() => return,
            done = migration.run(at(0), &tell) => {
                let text = done.map(drop).unwrap_err().to_string();
                // The run before this one has not let go yet.
                assert!(text.contains("another malote"), "{text}");
                assert!(begun.elapsed().as_secs() < 30, "{text}");
            }
        }
    }
}

/// Every row of a store.
async fn rows(config: &SqliteConfig) -> Vec<(&'static str, Row)> {
    let key = crate::address_key::of_text(KEY).unwrap();
    let side = SqliteSide::source(config, &key).unwrap();
    let mut pages = side.read();
    let mut rows = Vec::new();
    while let Some(page) = pages.recv().await {
        let page = page.unwrap();
        let name = TABLES[page.table].name;
        rows.extend(page.rows.into_iter().map(|row| (name, row)));
    }
    rows
}

fn assert_same(before: &[(&str, Row)], after: &[(&str, Row)]) {
    let sorted = |rows: &[(&'_ str, Row)]| {
        let mut texts: Vec<String> = rows.iter().map(|row| format!("{row:?}")).collect();
        texts.sort_unstable();
        texts
    };
    for (before, after) in sorted(before).iter().zip(&sorted(after)) {
        assert_eq!(before, after);
    }
    assert_eq!(before.len(), after.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_goes_over_and_back_is_the_same_row_by_row() {
    let dir = tempfile::tempdir().unwrap();
    let from = filled(&dir).await;
    let before = rows(&from).await;
    for table in &TABLES {
        let has_rows = before.iter().any(|(name, _)| *name == table.name);
        assert!(has_rows, "nothing in {}", table.name);
    }
    let database = Cluster::of_all().database().await;
    let moved = run(&over(&from, &database)).await.unwrap();
    assert!(!moved.is_continued);
    let back = config(&dir, "back");
    let again = migration(Stage::from(database.settings()), Stage::from(back.clone()));
    let returned = run(&again).await.unwrap();
    assert_eq!(moved.tables, returned.tables);
    assert_same(&before, &rows(&back).await);
    // What is derived is there, too.
    let store = sqlite(&back).unwrap();
    let stats = store.stats(at(0)).await.unwrap();
    let states = before.iter().filter(|(name, _)| *name == "deliveries");
    let waiting = states.filter(|(_, row)| row[3] == Value::Int(1)).count() as u64;
    let queued = stats
        .by_state
        .iter()
        .filter(|((_, state), _)| *state == State::Queued);
    assert_eq!(queued.map(|(_, n)| n).sum::<u64>(), waiting);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_and_what_was_under_way_go_on_where_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let from = filled(&dir).await;
    let store =
        SqliteStore::open_read_only(from.clone(), Arc::new(FixedClock(at(0))), &Registry::new())
            .unwrap();
    let mut query = everything();
    query.limit = 40;
    let first = page(&store, &query).await;
    query.after = first.next;
    let next = page(&store, &query).await;
    query.limit = 1_000;
    query.after = FeedCursor(0);
    let end = loop {
        let one = page(&store, &query).await;
        query.after = one.next;
        if one.is_end {
            break one.next;
        }
    };
    drop(store);
    let database = Cluster::of_all().database().await;
    run(&over(&from, &database)).await.unwrap();
    let store = postgres(&database).await.unwrap();
    query.limit = 40;
    query.after = first.next;
    assert_eq!(page(&store.spool, &query).await, next);

    // Nothing that comes now stands before where somebody has read to.
    query.after = end;
    assert_eq!(page(&store.spool, &query).await.events, []);
    let (session, pending) = store.spool.open_session(at(100)).await.unwrap();
    let mut names: Vec<String> = pending
        .iter()
        .map(|one| one.delivery.recipient.to_string())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["started@x.test", "told@x.test"]);
    let lanes = store.spool.lanes(at(100)).await.unwrap();
    let busy = lanes.iter().find(|one| one.lane.stream.as_str() == "busy");
    let leased = store.spool.lease(session, busy.unwrap().id, 9, at(100));
    let leased = leased.await.unwrap();
    assert_eq!(mail::recipients(&leased), ["leased@x.test"]);
    assert_eq!(leased[0].deliveries[0].crashes, 1);
    let id = leased[0].deliveries[0].id;
    let sent = mail::sent(id, "p-over", at(101));
    store.spool.settle(session, vec![sent]).await.unwrap();
    let told = page(&store.spool, &query).await;
    assert_eq!(told.events.len(), 1);
    assert!(told.events[0].cursor > end);
    // A lane and an outlet that are new get numbers that nobody has.
    let key = mail::lane_key(malote_core::stream::Class::Campaign, "later");
    let lane = store.spool.lane(&key).await.unwrap();
    assert!(lanes.iter().all(|one| one.id != lane));
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_was_cut_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let from = filled(&dir).await;
    let before = rows(&from).await;
    let database = Cluster::of_all().database().await;
    let there = over(&from, &database);
    for (doing, table) in [
        (Doing::Copying, "messages"),
        (Doing::Copying, "bodies"),
        (Doing::Copying, "events"),
        (Doing::Verifying, "deliveries"),
    ] {
        cut(&there, doing, table).await;
        let said = postgres(&database).await.err().unwrap().to_string();
        assert!(said.contains("whose move was cut"), "{said}");
    }
    assert!(run_again(&there).await.unwrap().is_continued);
    let back = config(&dir, "back");
    let again = migration(Stage::from(database.settings()), Stage::from(back.clone()));
    for table in ["bodies", "outbox"] {
        cut(&again, Doing::Copying, table).await;
        let said = sqlite_again(&back).await.err().unwrap().to_string();
        assert!(said.contains("whose move was cut"), "{said}");
    }
    assert!(run_again(&again).await.unwrap().is_continued);
    assert_same(&before, &rows(&back).await);
}
