//! The tables, their versions, and the settings of a connection.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::StoreError;
use crate::sqlite::fault::Fault;

/// "MALO": tells our files from any other SQLite file.
pub(crate) const APPLICATION_ID: i64 = 0x4D41_4C4F;

/// One step per version, applied in order and never changed after a release.
const MIGRATIONS: [(&str, &str); 5] = [
    ("first tables", include_str!("schema_1.sql")),
    ("feed and outbox", include_str!("schema_2.sql")),
    ("reputation guard", include_str!("schema_3.sql")),
    ("sources and erasure", include_str!("schema_4.sql")),
    ("what event keys stand for", include_str!("schema_5.sql")),
];

/// The version that this program writes.
pub(crate) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Distinct statements a connection keeps compiled.
const STATEMENTS_MAX: usize = 128;
/// A reader of another process (the CLI, a backup) may hold a lock for as long as a checkpoint.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Opens the connection that writes.
pub(crate) fn open_writer(path: &Path, cache_bytes: u64) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(Fault::from)?;
    settle_in(&conn, cache_bytes).map_err(Fault::from)?;
    refuse_foreign(&conn)?;
    // What is deleted from a page that is written anyway is overwritten: it costs no write more.
    // A commit is on disk when it returns. Checkpoints are run by the writer itself, because
    // SQLite's automatic ones swallow the error of a failed sync.
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;
         PRAGMA journal_size_limit = 67108864; PRAGMA foreign_keys = OFF;
         PRAGMA secure_delete = FAST;",
    )
    .map_err(Fault::from)?;
    Ok(conn)
}

/// Opens a connection that can only read.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(Fault::from)?;
    settle_in(&conn, 4 << 20).map_err(Fault::from)?;
    Ok(conn)
}

fn settle_in(conn: &Connection, cache_bytes: u64) -> rusqlite::Result<()> {
    conn.busy_timeout(LOCK_WAIT)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // Without it SQLite plans a statement anew for other parameters, which costs a tenth of a
    // message's CPU; every plan here is the same for all of them.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    let cache_kib = i64::try_from(cache_bytes / 1024).unwrap_or(i64::MAX);
    conn.pragma_update(None, "cache_size", -cache_kib)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "trusted_schema", false)
}

/// Refuses files of other programs and of newer versions of this one.
pub(crate) fn refuse_foreign(conn: &Connection) -> Result<(), StoreError> {
    let (application, version, tables) = identity(conn).map_err(Fault::from)?;
    if application != APPLICATION_ID && (application != 0 || tables != 0) {
        return Err(StoreError::Engine(
            "the file is a database, but none of malote's".into(),
        ));
    }
    if version > VERSION {
        return Err(StoreError::Engine(format!(
            "the store has schema version {version}, this program knows up to {VERSION}: \
             start the newer malote, or restore a backup from before the upgrade"
        )));
    }
    Ok(())
}

fn identity(conn: &Connection) -> rusqlite::Result<(i64, i64, i64)> {
    let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
    Ok((
        number("PRAGMA application_id")?,
        number("PRAGMA user_version")?,
        number("SELECT count(*) FROM sqlite_schema")?,
    ))
}

/// Brings the tables to this program's version, all steps in one transaction.
pub(crate) fn migrate(conn: &mut Connection, now: Timestamp) -> Result<(), StoreError> {
    let tx = conn.transaction().map_err(Fault::from)?;
    let apply = || -> rusqlite::Result<()> {
        let (_, version, _) = identity(&tx)?;
        for (number, (name, sql)) in (1_i64..).zip(MIGRATIONS) {
            if number > version {
                tx.execute_batch(sql)?;
                tx.execute(
                    "INSERT INTO migrations (version, name, applied_at) VALUES (?1, ?2, ?3)",
                    (number, name, now.as_microsecond()),
                )?;
            }
        }
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", VERSION)
    };
    apply().map_err(Fault::from)?;
    Ok(tx.commit().map_err(Fault::from)?)
}

/// What tells the store from any other; made at random at its first start.
pub(crate) fn home(conn: &Connection) -> rusqlite::Result<String> {
    conn.execute(
        "INSERT INTO meta (key, value) VALUES ('home', randomblob(16)) ON CONFLICT (key) DO NOTHING",
        [],
    )?;
    let sql = "SELECT lower(hex(value)) FROM meta WHERE key = 'home'";
    conn.query_row(sql, [], |row| row.get(0))
}

/// Refuses a store that a read-only program of this version cannot read.
pub(crate) fn refuse_other_version(conn: &Connection) -> Result<(), StoreError> {
    refuse_foreign(conn)?;
    let (_, version, _) = identity(conn).map_err(Fault::from)?;
    if version == VERSION {
        return Ok(());
    }
    Err(StoreError::Engine(format!(
        "the store has schema version {version}, this program reads {VERSION}: \
         start the gateway once to bring it up"
    )))
}

/// What SQLite finds wrong with pages and indexes; empty if nothing.
pub(crate) fn integrity(conn: &Connection) -> Result<Vec<String>, Fault> {
    let mut check = conn.prepare("PRAGMA quick_check(100)")?;
    let rows = check.query_map([], |row| row.get::<_, String>(0))?;
    let mut faults = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    faults.retain(|line| line != "ok");
    Ok(faults)
}
