//! Backup of a running store into a directory, and restore with pending mail held.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::StoreError;
use crate::config::SqliteConfig;
use crate::sqlite::body::{entries, sync_dir, write_synced};
use crate::sqlite::fault::{Fault, of_io};
use crate::sqlite::writer::{self, NEXT_FEED};
use crate::sqlite::{SqliteStore, columns, key, prepare_files, schema};

/// The database's name in a backup's directory; the rest stands beside it as it does in a store.
const NAME: &str = "malote.db";

/// Places of the feed that a restore leaves out: more than can have been given out since the
/// backup, so that who went on from one of them misses nothing that comes now.
const FEED_LEAP: i64 = 1 << 40;

/// What a backup holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupReport {
    /// Octets of the database.
    pub database_bytes: u64,
    /// Bodies that stand in files.
    pub body_files: u64,
}

/// What a restore did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoreReport {
    /// Deliveries that were pending, now held until released.
    pub held: u64,
    /// Bodies that stand in files.
    pub body_files: u64,
}

impl SqliteStore {
    /// Copies the store as it is at one moment into a directory that is new or empty, while it
    /// goes on working: database, address key and bodies. The directory is as secret as the store.
    ///
    /// # Errors
    /// If the directory holds something, or cannot be written; then what was written is no backup.
    pub async fn backup(&self, to: &Path) -> Result<BackupReport, StoreError> {
        // Bodies that the copied rows name must not go before they are copied too.
        let _kept = self.inner.removal.write().await;
        let (config, to) = (self.inner.config.clone(), to.to_owned());
        let copying = tokio::task::spawn_blocking(move || copy(&config, &to));
        Ok(copying.await.map_err(|_| StoreError::Closed)??)
    }
}

fn copy(config: &SqliteConfig, to: &Path) -> Result<BackupReport, Fault> {
    let target = SqliteConfig::at(to.join(NAME));
    make_empty(to)?;
    let source = schema::open_reader(&config.path)?;
    let file = target.path.to_str();
    let file = file.ok_or_else(|| refused("the backup's path is not UTF-8"))?;
    source.execute("VACUUM INTO ?1", [file])?;
    copy_file(&config.key_path(), &target.key_path())?;
    let body_files = copy_bodies(&config.bodies_dir(), &target.bodies_dir())?;
    let database_bytes = make_private(&target.path)?;
    sync(to)?;
    Ok(BackupReport {
        database_bytes,
        body_files,
    })
}

/// Makes a new store out of a backup. What was waiting or under way is held, since it may have
/// been sent after the backup was made; an operator releases it.
///
/// # Errors
/// If there is a store at `to` already, `from` holds no backup that this program can read, or
/// something cannot be written.
pub fn restore(
    from: &Path,
    to: &SqliteConfig,
    now: Timestamp,
) -> Result<RestoreReport, StoreError> {
    let source = SqliteConfig::at(from.join(NAME));
    if to.path.exists() || to.key_path().exists() {
        return Err(StoreError::Engine(format!(
            "{} is there already: restore to a new path",
            to.path.display()
        )));
    }
    let reader = schema::open_reader(&source.path)?;
    schema::refuse_foreign(&reader)?;
    key::existing(&reader, &source.key_path())?;
    drop(reader);
    let lock = prepare_files(to)?;
    let report = restore_files(&source, to, now)?;
    drop(lock);
    Ok(report)
}

fn restore_files(
    source: &SqliteConfig,
    to: &SqliteConfig,
    now: Timestamp,
) -> Result<RestoreReport, Fault> {
    copy_file(&source.key_path(), &to.key_path())?;
    let body_files = copy_bodies(&source.bodies_dir(), &to.bodies_dir())?;
    copy_file(&source.path, &to.path)?;
    let mut conn = schema::open_writer(&to.path, to.cache.0)?;
    schema::migrate(&mut conn, now)?;
    let held = hold_pending(&mut conn, now)?;
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    sync(to.directory())?;
    Ok(RestoreReport { held, body_files })
}

fn hold_pending(conn: &mut Connection, now: Timestamp) -> Result<u64, Fault> {
    let tx = conn.transaction()?;
    let pending = "state IN (0, 1, 2, 5)";
    let next = writer::next_id(&tx, "SELECT max(id) FROM feed", NEXT_FEED)? + FEED_LEAP;
    tx.execute(
        "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2",
        params![NEXT_FEED, next],
    )?;
    tx.execute(
        &format!(
            "INSERT INTO feed (id, delivery, seq, at)
             SELECT ?2 + row_number() OVER (ORDER BY d.id), d.id,
                coalesce((SELECT max(seq) FROM events WHERE delivery = d.id), 0) + 1, ?1
             FROM deliveries d WHERE {pending}"
        ),
        params![columns::micros(now), next],
    )?;
    tx.execute(
        "INSERT INTO events (delivery, seq, at, kind, detail, feed)
         SELECT delivery, seq, at, 'held', 'restored from a backup: it may have been sent since', id
         FROM feed WHERE id > ?1",
        [next],
    )?;
    let held = tx.execute(
        &format!(
            "UPDATE deliveries SET state = 6, due_at = NULL, session = NULL, prior_state = NULL
             WHERE {pending}"
        ),
        [],
    )?;
    tx.execute_batch(
        "DELETE FROM counters;
         INSERT INTO counters (lane, state, n)
            SELECT lane, state, count(*) FROM deliveries GROUP BY lane, state;",
    )?;
    tx.commit()?;
    Ok(held as u64)
}

fn refused(text: &str) -> Fault {
    Fault::Refused(StoreError::Engine(text.to_owned()))
}

fn make_empty(dir: &Path) -> Result<(), Fault> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| of_io(&error))?;
    if entries(dir)?.is_empty() {
        Ok(())
    } else {
        Err(refused("the backup's directory is not empty"))
    }
}

fn copy_file(from: &Path, to: &Path) -> Result<(), Fault> {
    let copied = || -> io::Result<()> {
        let mut source = fs::File::open(from)?;
        write_synced(to, &[])?;
        let mut target = fs::OpenOptions::new().write(true).open(to)?;
        io::copy(&mut source, &mut target)?;
        target.sync_all()
    };
    copied().map_err(|error| of_io(&error))
}

fn copy_bodies(from: &Path, to: &Path) -> Result<u64, Fault> {
    let mut copied = 0;
    make_dir(to)?;
    for dir in entries(from)? {
        let Some(name) = dir.file_name() else {
            continue;
        };
        let target = to.join(name);
        make_dir(&target)?;
        for file in entries(&dir)? {
            let name = file.file_name().unwrap_or_default();
            // Parts of files are bodies that nobody was promised anything about.
            if name.to_str().is_some_and(|name| name.len() == 32) {
                copy_file(&file, &target.join(name))?;
                copied += 1;
            }
        }
        sync(&target)?;
    }
    sync(to)?;
    Ok(copied)
}

fn make_dir(dir: &Path) -> Result<(), Fault> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| of_io(&error))
}

/// SQLite makes files by the umask; what it made is for us alone.
fn make_private(path: &Path) -> Result<u64, Fault> {
    use std::os::unix::fs::PermissionsExt;
    let made = || -> io::Result<u64> {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        let file = fs::File::open(path)?;
        file.sync_all()?;
        Ok(file.metadata()?.len())
    };
    made().map_err(|error| of_io(&error))
}

fn sync(dir: &Path) -> Result<(), Fault> {
    sync_dir(dir).map_err(|error| of_io(&error))
}
