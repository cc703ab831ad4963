//! A store on this machine's disk as the source or target of a move.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use malote_core::id::MessageId;
use malote_core::secret::Secret;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension};
use tokio::sync::mpsc::Sender;

use crate::address_key::{AddressKey, KEY_BYTES};
use crate::migrate::{
    self, BODIES, BODY_MESSAGE, BODY_OCTETS, BODY_PIECE, BODY_SIZE, MARK, MOVED_TO, NUMBERS,
    PIECE_BYTES, Page, Pager, Pages, Row, Shape, Side, TABLES, Table, Value,
};
use crate::sqlite::body::{BodyFiles, Place, sync_dir};
use crate::sqlite::columns::damaged;
use crate::sqlite::fault::{Fault, of_io};
use crate::sqlite::{engine, expect_there, key, lock_files, prepare_files, schema};
use crate::{SqliteConfig, StoreError};

/// Page cache of the connection that moves.
const CACHE_BYTES: u64 = 32 << 20;

/// A store that nothing else works on.
pub(crate) struct SqliteSide {
    config: SqliteConfig,
    held: Arc<Mutex<Held>>,
    files: BodyFiles,
}

/// The connection, and the lock: whoever still uses the one has the other.
struct Held {
    conn: Connection,
    _lock: File,
}

/// The key of a store, as it stands in its file.
///
/// # Errors
/// If there is no store, its file of the key is missing, or holds none.
pub fn sqlite_address_key(config: &SqliteConfig) -> Result<Secret, StoreError> {
    expect_there(config)?;
    key::text(&config.key_path())
}

/// Refuses a store that is half of another one.
pub(crate) fn refuse_half(conn: &Connection) -> Result<(), StoreError> {
    match migrate::refusal(note(conn, MARK)?.as_deref(), None) {
        Some(text) => Err(migrate::refused(text)),
        None => Ok(()),
    }
}

/// Refuses a store that is half of another one, or whose mail has gone elsewhere.
pub(crate) fn refuse_moved(conn: &Connection) -> Result<(), StoreError> {
    let (mark, moved_to) = (note(conn, MARK)?, note(conn, MOVED_TO)?);
    match migrate::refusal(mark.as_deref(), moved_to.as_deref()) {
        Some(text) => Err(migrate::refused(text)),
        None => Ok(()),
    }
}

fn note(conn: &Connection, key: &str) -> Result<Option<String>, Fault> {
    let sql = "SELECT value FROM meta WHERE key = ?1";
    Ok(conn.query_row(sql, [key], |row| row.get(0)).optional()?)
}

fn set_note(conn: &Connection, key: &str, text: Option<&str>) -> rusqlite::Result<usize> {
    match text {
        Some(text) => conn.execute(
            "INSERT INTO meta (key, value) VALUES (?1, ?2)
             ON CONFLICT (key) DO UPDATE SET value = ?2",
            [key, text],
        ),
        None => conn.execute("DELETE FROM meta WHERE key = ?1", [key]),
    }
}

impl SqliteSide {
    /// Opens a store that is there.
    ///
    /// # Errors
    /// If there is none, a gateway runs on it, or it has another version or another key.
    pub(crate) fn source(config: &SqliteConfig, own: &[u8; KEY_BYTES]) -> Result<Self, StoreError> {
        if !config.path.is_file() {
            return Err(engine(config, &io::ErrorKind::NotFound.into()));
        }
        let lock = lock_files(config)?;
        let conn = schema::open_writer(&config.path, CACHE_BYTES)?;
        schema::refuse_other_version(&conn)?;
        let key = key::existing(&conn, &config.key_path())?;
        if key.fingerprint() != AddressKey::new(own)?.fingerprint() {
            return Err(migrate::refused(
                "the address key is not the one of the store",
            ));
        }
        Ok(Self::over(config, conn, lock))
    }

    /// Opens a store that is made new if there is none.
    ///
    /// # Errors
    /// If a gateway runs on it, it has another key, or it cannot be made.
    pub(crate) fn target(
        config: &SqliteConfig,
        own: &[u8; KEY_BYTES],
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let lock = prepare_files(config)?;
        let mut conn = schema::open_writer(&config.path, CACHE_BYTES)?;
        schema::migrate(&mut conn, now)?;
        key::keep(&config.key_path(), own)?;
        let key = key::open(&conn, &config.key_path())?;
        key::note(&conn, &key).map_err(Fault::from)?;
        sync_dir(config.directory()).map_err(|error| engine(config, &error))?;
        Ok(Self::over(config, conn, lock))
    }

    fn over(config: &SqliteConfig, conn: Connection, lock: File) -> Self {
        Self {
            config: config.clone(),
            held: Arc::new(Mutex::new(Held { conn, _lock: lock })),
            files: BodyFiles {
                dir: config.bodies_dir(),
            },
        }
    }

    /// Bodies up to this size stand in the table.
    fn inline_max(&self) -> u64 {
        self.config.inline_body_max.0.min(PIECE_BYTES as u64)
    }

    async fn with<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, Fault> + Send + 'static,
    {
        let held = Arc::clone(&self.held);
        let working = tokio::task::spawn_blocking(move || {
            work(&mut held.lock().unwrap_or_else(PoisonError::into_inner).conn)
        });
        Ok(working.await.map_err(|_| StoreError::Closed)??)
    }
}

#[async_trait]
impl Side for SqliteSide {
    fn place(&self) -> String {
        let path = fs::canonicalize(&self.config.path);
        let path = path.unwrap_or_else(|_| self.config.path.clone());
        format!("sqlite:{}", path.display())
    }

    fn read(&self) -> Pages {
        let (sender, pages) = migrate::pages();
        let (held, files) = (Arc::clone(&self.held), self.files.clone());
        // Ends with its tables, or when nobody takes its pages any more.
        drop(tokio::task::spawn_blocking(move || {
            let held = held.lock().unwrap_or_else(PoisonError::into_inner);
            let read = Reader {
                conn: &held.conn,
                files: &files,
                sender: &sender,
                pager: Pager::default(),
            }
            .all();
            if let Err(fault) = read {
                // Nobody may be there any more.
                drop(sender.blocking_send(Err(fault.into())));
            }
        }));
        pages
    }

    async fn note(&self, key: &'static str) -> Result<Option<String>, StoreError> {
        self.with(move |conn| note(conn, key)).await
    }

    async fn set_note(&self, key: &'static str, text: Option<String>) -> Result<(), StoreError> {
        self.with(move |conn| Ok(set_note(conn, key, text.as_deref()).map(drop)?))
            .await
    }

    async fn filled(&self) -> Result<Option<&'static str>, StoreError> {
        self.with(|conn| {
            for table in TABLES.iter().filter(|table| table.name != NUMBERS) {
                let sql = format!("SELECT 1 FROM {} LIMIT 1", table.name);
                if conn.prepare(&sql)?.exists([])? {
                    return Ok(Some(table.name));
                }
            }
            Ok(None)
        })
        .await
    }

    async fn begin(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn write(&self, page: Page, mark: String) -> Result<(), StoreError> {
        let (files, inline_max) = (self.files.clone(), self.inline_max());
        self.with(move |conn| {
            let table = &TABLES[page.table];
            let tx = conn.transaction()?;
            let (small, large): (Vec<Row>, Vec<Row>) = page.rows.into_iter().partition(|row| {
                let size = row.get(BODY_SIZE).and_then(Value::int).unwrap_or(0);
                table.name != BODIES || size.cast_unsigned() <= inline_max
            });
            write_pieces(&files, &large)?;
            for sql in table.sqlite_write {
                insert(
                    &tx,
                    &sql.replace("{inline}", &inline_max.to_string()),
                    &small,
                )?;
            }
            set_note(&tx, MARK, Some(&mark))?;
            Ok(tx.commit()?)
        })
        .await
    }

    async fn finish(&self) -> Result<(), StoreError> {
        self.with(|conn| {
            let tx = conn.transaction()?;
            tx.execute_batch(
                "DELETE FROM counters;
                 INSERT INTO counters (lane, state, n)
                    SELECT lane, state, count(*) FROM deliveries GROUP BY lane, state;
                 INSERT INTO meta (key, value)
                    SELECT 'body_bytes', coalesce(sum(size_bytes), 0) FROM messages
                        WHERE settled_at IS NULL
                    ON CONFLICT (key) DO UPDATE SET value = excluded.value;",
            )?;
            tx.commit()?;
            conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
            Ok(())
        })
        .await
    }

    async fn refuse_live(&self) -> Result<(), StoreError> {
        // The lock is ours.
        Ok(())
    }
}

/// Reads a store at one moment.
struct Reader<'a> {
    conn: &'a Connection,
    files: &'a BodyFiles,
    sender: &'a Sender<Result<Page, StoreError>>,
    pager: Pager,
}

impl Reader<'_> {
    fn all(mut self) -> Result<(), Fault> {
        let _moment = self.conn.unchecked_transaction()?;
        for (at, table) in TABLES.iter().enumerate() {
            if table.name == BODIES {
                self.bodies(at, table)?;
            } else {
                self.table(at, table)?;
            }
            let rest = self.pager.rest(at);
            self.send(rest)?;
        }
        Ok(())
    }

    fn send(&self, page: Option<Page>) -> Result<(), Fault> {
        let Some(page) = page else {
            return Ok(());
        };
        let sent = self.sender.blocking_send(Ok(page));
        sent.map_err(|_| Fault::Refused(StoreError::Closed))
    }

    fn push(&mut self, at: usize, row: Row) -> Result<(), Fault> {
        let page = self.pager.push(at, row);
        self.send(page)
    }

    fn table(&mut self, at: usize, table: &Table) -> Result<(), Fault> {
        let mut find = self.conn.prepare(table.sqlite_read)?;
        let mut found = find.query([])?;
        let mut number = 0;
        while let Some(row) = found.next()? {
            number += 1;
            let mut values = Row::with_capacity(table.columns.len());
            for (index, column) in table.columns.iter().enumerate() {
                let value = value(row.get_ref(index)?, column.kind.shape());
                let value = value.ok_or_else(|| {
                    let what = format!("{} cannot be read", column.name);
                    Fault::Refused(table.damaged(number, &values, &what))
                })?;
                values.push(value);
            }
            self.push(at, values)?;
        }
        Ok(())
    }

    fn bodies(&mut self, at: usize, table: &Table) -> Result<(), Fault> {
        let mut find = self.conn.prepare(table.sqlite_read)?;
        let mut found = find.query([])?;
        while let Some(row) = found.next()? {
            let id = MessageId::from_bytes(row.get(0)?);
            let of: (i64, i64) = (row.get(2)?, row.get(3)?);
            match Place::of(row.get(1)?)? {
                Place::Dropped => {}
                Place::Table => self.cut(at, (id, of), row.get_ref(4)?)?,
                Place::File => self.file(at, (id, of))?,
            }
        }
        Ok(())
    }

    fn cut(
        &mut self,
        at: usize,
        (id, of): (MessageId, (i64, i64)),
        body: ValueRef<'_>,
    ) -> Result<(), Fault> {
        let Some(body) = body.as_blob_or_null().map_err(|_| damaged("a body"))? else {
            return self.push(at, migrate::body_row(id, 0, of, Value::Null));
        };
        if body.is_empty() {
            return self.push(at, migrate::body_row(id, 0, of, Value::Blob(Bytes::new())));
        }
        for (piece, octets) in body.chunks(PIECE_BYTES).enumerate() {
            let octets = Value::Blob(Bytes::copy_from_slice(octets));
            self.push(at, migrate::body_row(id, piece, of, octets))?;
        }
        Ok(())
    }

    fn file(&mut self, at: usize, (id, of): (MessageId, (i64, i64))) -> Result<(), Fault> {
        let mut file = match File::open(self.files.path(id)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.push(at, migrate::body_row(id, 0, of, Value::Null));
            }
            Err(error) => return Err(of_io(&error)),
        };
        for piece in 0.. {
            let mut octets = Vec::with_capacity(PIECE_BYTES);
            let mut next = (&mut file).take(PIECE_BYTES as u64);
            next.read_to_end(&mut octets)
                .map_err(|error| of_io(&error))?;
            if octets.is_empty() && piece > 0 {
                break;
            }
            let is_last = octets.len() < PIECE_BYTES;
            self.push(
                at,
                migrate::body_row(id, piece, of, Value::Blob(octets.into())),
            )?;
            if is_last {
                break;
            }
        }
        Ok(())
    }
}

/// The value of a column; `None` if it is of another shape.
fn value(found: ValueRef<'_>, shape: Shape) -> Option<Value> {
    Some(match (found, shape) {
        (ValueRef::Null, _) => Value::Null,
        (ValueRef::Integer(number), Shape::Int) => Value::Int(number),
        (ValueRef::Real(number), Shape::Real) => Value::Real(number),
        (ValueRef::Text(text), Shape::Text) => {
            Value::Text(std::str::from_utf8(text).ok()?.replace('\0', "\u{fffd}"))
        }
        (ValueRef::Blob(blob), Shape::Blob) => Value::Blob(Bytes::copy_from_slice(blob)),
        (
            ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Text(_) | ValueRef::Blob(_),
            Shape::Int | Shape::Real | Shape::Text | Shape::Blob,
        ) => return None,
    })
}

fn insert(conn: &Connection, sql: &str, rows: &[Row]) -> Result<(), Fault> {
    let mut insert = conn.prepare_cached(sql)?;
    let count = insert.parameter_count();
    for row in rows {
        for (index, value) in row.iter().enumerate().take(count) {
            let value = match value {
                Value::Null => ValueRef::Null,
                Value::Int(number) => ValueRef::Integer(*number),
                Value::Real(number) => ValueRef::Real(*number),
                Value::Text(text) => ValueRef::Text(text.as_bytes()),
                Value::Blob(blob) => ValueRef::Blob(blob),
            };
            insert.raw_bind_parameter(index + 1, ToSqlOutput::Borrowed(value))?;
        }
        insert.raw_execute()?;
    }
    Ok(())
}

/// Writes pieces of bodies at their places in files, synced before the rows that count them.
fn write_pieces(files: &BodyFiles, rows: &[Row]) -> Result<(), Fault> {
    let mut open: Option<(PathBuf, File)> = None;
    for row in rows {
        let (Some(id), Some(piece), Some(octets)) = (
            row[BODY_MESSAGE]
                .blob()
                .and_then(|id| id[..].try_into().ok()),
            row[BODY_PIECE].int(),
            row[BODY_OCTETS].blob(),
        ) else {
            return Err(damaged("a piece of a body"));
        };
        let path = files.path(MessageId::from_bytes(id));
        if open.as_ref().is_none_or(|(name, _)| *name != path) {
            sync(open.take())?;
            let dir = path.parent().unwrap_or(&files.dir);
            files.make_dir(dir).map_err(|error| of_io(&error))?;
            let file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path);
            open = Some((path, file.map_err(|error| of_io(&error))?));
        }
        if let Some((_, file)) = &open {
            let place = piece.cast_unsigned() * PIECE_BYTES as u64;
            let written = file.write_all_at(octets, place);
            written.map_err(|error| of_io(&error))?;
        }
    }
    sync(open)
}

fn sync(file: Option<(PathBuf, File)>) -> Result<(), Fault> {
    let Some((path, file)) = file else {
        return Ok(());
    };
    let synced = file.sync_all().and_then(|()| match path.parent() {
        Some(dir) => sync_dir(dir),
        None => Ok(()),
    });
    synced.map_err(|error| of_io(&error))
}
