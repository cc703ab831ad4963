//! What stays behind is known by name: a table or column that is new moves, or is written down here.

use std::collections::BTreeSet;

use rusqlite::Connection;
use tokio_postgres::NoTls;

use super::{config, postgres, sqlite};
use crate::migrate::TABLES;
use crate::postgres::tests::cluster::Cluster;

/// A column of a table.
type Place = (String, String);

/// Tables of SQLite that do not move, and why.
const LEFT_OF_SQLITE: [(&str, &str); 2] = [
    ("migrations", "which schema this file has"),
    ("counters", "counted anew from what moved"),
];

/// Tables of PostgreSQL that do not move, and why.
const LEFT_OF_POSTGRES: [(&str, &str); 8] = [
    ("migrations", "which schema this database has"),
    ("meta", "what this database is: schema, key, cluster, marks"),
    ("counts", "counted anew from what moved"),
    ("sessions", "who works on this queue now"),
    ("nodes", "who shares this database now"),
    ("rates", "what was taken in the last second"),
    (
        "quota_accounts",
        "a lock for each account, made when it is used",
    ),
    ("keys", "of nodes that each keep a queue of their own"),
];

/// Columns that are about work under way in one place.
const COLUMNS_LEFT: [(&str, &str, &str); 4] = [
    ("outlets", "session", "which gateway tells it now"),
    (
        "breakers",
        "epoch",
        "the order of changes that nodes follow",
    ),
    ("breakers", "probe_until", "a probe under way"),
    (
        "suppressions",
        "written_by",
        "a transaction of this database",
    ),
];

/// Every column that statements write.
fn written<'a>(statements: impl Iterator<Item = &'a str>) -> BTreeSet<Place> {
    let mut places = BTreeSet::new();
    for insert in statements.flat_map(|sql| sql.split("INSERT INTO ").skip(1)) {
        let (name, rest) = insert.split_once(" (").unwrap();
        let name = name.trim_start_matches("malote.");
        let (columns, _) = rest.split_once(')').unwrap();
        let columns = columns.split(',').map(str::trim);
        places.extend(columns.map(|column| (name.to_owned(), column.to_owned())));
    }
    places
}

/// What neither moves nor is said to stay, and what is said to stay and is not there.
fn assert_accounted(is: &BTreeSet<Place>, moves: &BTreeSet<Place>, left: &[(&str, &str)]) {
    let stays = |(table, column): &Place| {
        left.iter().any(|(own, _)| own == table)
            || COLUMNS_LEFT
                .iter()
                .any(|(own, name, _)| own == table && name == column)
    };
    let forgotten: Vec<&Place> = is.difference(moves).filter(|place| !stays(place)).collect();
    assert!(forgotten.is_empty(), "moves not: {forgotten:?}");
    for (table, why) in left {
        let is_there = is.iter().any(|(own, _)| own == table);
        assert!(is_there, "no table {table}: {why}");
    }
}

#[tokio::test]
async fn every_column_of_sqlite_moves_or_is_said_to_stay() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir, "from");
    sqlite(&config).unwrap().close().await;
    let file = Connection::open(&config.path).unwrap();
    let sql = "SELECT t.name, c.name FROM sqlite_master t JOIN pragma_table_info(t.name) c
        WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'";
    let mut find = file.prepare(sql).unwrap();
    let found = find.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    let is: BTreeSet<Place> = found.unwrap().collect::<Result<_, _>>().unwrap();
    let moves = written(
        TABLES
            .iter()
            .flat_map(|table| table.sqlite_write.iter().copied()),
    );
    assert_accounted(&is, &moves, &LEFT_OF_SQLITE);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_column_of_postgres_moves_or_is_said_to_stay() {
    let database = Cluster::of_all().database().await;
    postgres(&database).await.unwrap().close().await;
    let (client, connection) = tokio_postgres::connect(&database.url(), NoTls)
        .await
        .unwrap();
    let task = tokio::spawn(connection);
    let sql = "SELECT c.relname::text, a.attname::text
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'malote'::regnamespace AND c.relkind IN ('r', 'p')
            AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped";
    let found = client.query(sql, &[]).await.unwrap();
    drop(client);
    task.await.unwrap().unwrap();
    let is: BTreeSet<Place> = found.iter().map(|row| (row.get(0), row.get(1))).collect();
    let moves = written(TABLES.iter().map(|table| table.postgres_write));
    assert_accounted(&is, &moves, &LEFT_OF_POSTGRES);
}
