//! The embedded engine of both traits: SQLite, one writer, group commit.
//!
//! One thread writes ([`writer`]); callers hand it operations through a bounded queue ([`queue`])
//! and hear of them after the commit. Reads have connections of their own ([`readers`]).

mod accept;
mod backup;
mod body;
mod columns;
mod erase;
mod event_engine;
mod events;
mod fault;
mod feed;
mod guard;
mod key;
mod lease;
mod migrate;
mod moves;
mod outbox;
mod outbox_engine;
mod queue;
mod quota;
mod readers;
mod retain;
mod room;
mod rows;
mod schema;
mod search;
mod settle;
mod shared_engine;
mod spool_engine;
mod states;
mod suppression;
mod timeline;
mod view;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use malote_core::clock::Clock;
use prometheus::Registry;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::address_key::AddressKey;
use crate::config::SqliteConfig;
use crate::hash_filter::HashFilter;
use crate::metrics::Metrics;
use crate::sqlite::body::BodyFiles;
use crate::sqlite::fault::Fault;
use crate::sqlite::queue::{Operation, Queue, Queued, Urgency};
use crate::sqlite::readers::Readers;
use crate::sqlite::room::Room;
use crate::sqlite::writer::{Memory, Tx, Writer};
use crate::{Lane, LaneId, Return, StoreError};

pub use crate::sqlite::backup::{BackupReport, RestoreReport, restore};
pub(crate) use crate::sqlite::migrate::SqliteSide;
pub use crate::sqlite::migrate::sqlite_address_key;
pub(crate) use crate::sqlite::states::Spent;
pub use crate::sqlite::writer::OnFatal;

/// Large bodies written to files at once; more callers wait for their turn.
const BODY_WRITERS_MAX: usize = 8;

/// The store on one node's disk. Clones share everything.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    config: SqliteConfig,
    /// `None` if the store was opened to be read only.
    queue: Option<Arc<Queue>>,
    readers: Arc<Readers>,
    files: BodyFiles,
    room: Arc<Room>,
    key: AddressKey,
    /// `None` if the store was opened to be read only.
    home: Option<String>,
    /// What may be suppressed; `None` if the store was opened to be read only, since then another
    /// process may write.
    suppressed: Option<Arc<HashFilter>>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    on_fatal: OnFatal,
    lanes: RwLock<HashMap<Lane, LaneId>>,
    body_writers: tokio::sync::Semaphore,
    /// Held shared while bodies' files are removed, alone while a backup copies them.
    removal: tokio::sync::RwLock<()>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// How much of the writer an operation takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) urgency: Urgency,
    pub(crate) bytes: usize,
    pub(crate) operations: usize,
}

impl Load {
    pub(crate) const fn small() -> Self {
        Self {
            urgency: Urgency::Settle,
            bytes: 512,
            operations: 1,
        }
    }

    /// Of this many small rows.
    pub(crate) const fn of(rows: usize) -> Self {
        Self {
            urgency: Urgency::Settle,
            bytes: 512 * (1 + rows),
            operations: rows,
        }
    }
}

impl SqliteStore {
    /// Opens the store, made new if there is none, and brings it to this program's version.
    /// When the disk fails later, the process is aborted: see [`SqliteStore::open_with`].
    ///
    /// # Errors
    /// If another process has it open, it is newer than this program or none of ours, its address
    /// key is wrong or missing, or files cannot be made. The text is for the operator.
    pub fn open(
        config: SqliteConfig,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Result<Self, StoreError> {
        let abort: OnFatal = Arc::new(|_| std::process::abort());
        Self::open_with(config, clock, registry, abort)
    }

    /// As [`SqliteStore::open`]; `on_fatal` is called when a write or sync has failed, and has to
    /// end the process: what is on disk is whole, what is in memory may not be believed.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub fn open_with(
        config: SqliteConfig,
        clock: Arc<dyn Clock>,
        registry: &Registry,
        on_fatal: OnFatal,
    ) -> Result<Self, StoreError> {
        let metrics = Arc::new(Metrics::register(registry)?);
        let lock = prepare_files(&config)?;
        let mut conn = schema::open_writer(&config.path, config.cache.0)?;
        schema::migrate(&mut conn, clock.now())?;
        migrate::refuse_moved(&conn)?;
        let key = key::open(&conn, &config.key_path())?;
        key::note(&conn, &key).map_err(Fault::from)?;
        let home = schema::home(&conn).map_err(Fault::from)?;
        body::sync_dir(config.directory()).map_err(|error| engine(&config, &error))?;
        let files = BodyFiles {
            dir: config.bodies_dir(),
        };
        let swept = files.sweep(&conn)?;
        if swept > 0 {
            tracing::info!(files = swept, "removed bodies that no message names");
        }
        let suppressed = Arc::new(suppression::filter(&conn)?);
        let queue = Arc::new(Queue::new(size(config.queue_bytes_max.0)));
        let room = Arc::new(Room::of(&config.path));
        let writer = Writer {
            memory: Memory::load(&conn).map_err(Fault::from)?,
            conn,
            room: Arc::clone(&room),
            queue: Arc::clone(&queue),
            metrics: Arc::clone(&metrics),
            on_fatal: Arc::clone(&on_fatal),
            uncopied_bytes: 0,
        };
        let readers = Readers::open(&config.path, config.readers)?;
        let thread = std::thread::Builder::new()
            .name("malote-store".into())
            .spawn(move || {
                writer.run();
                drop(lock);
            })
            .map_err(|error| engine(&config, &error))?;
        Ok(Self {
            inner: Arc::new(Inner {
                queue: Some(queue),
                readers,
                files,
                room,
                key,
                home: Some(home),
                suppressed: Some(suppressed),
                clock,
                metrics,
                on_fatal,
                lanes: RwLock::default(),
                body_writers: tokio::sync::Semaphore::new(BODY_WRITERS_MAX),
                removal: tokio::sync::RwLock::default(),
                thread: Mutex::new(Some(thread)),
                config,
            }),
        })
    }

    /// Opens a store that is there, to be read only: for the command line while no gateway runs.
    /// Every method that writes answers an error.
    ///
    /// # Errors
    /// If there is none, it has another version, or its address key is wrong or missing.
    pub fn open_read_only(
        config: SqliteConfig,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Result<Self, StoreError> {
        expect_there(&config)?;
        let conn = schema::open_reader(&config.path)?;
        schema::refuse_other_version(&conn)?;
        migrate::refuse_half(&conn)?;
        let key = key::existing(&conn, &config.key_path())?;
        Ok(Self {
            inner: Arc::new(Inner {
                queue: None,
                readers: Readers::open(&config.path, config.readers)?,
                files: BodyFiles {
                    dir: config.bodies_dir(),
                },
                room: Arc::new(Room::of(&config.path)),
                key,
                home: None,
                suppressed: None,
                clock,
                metrics: Arc::new(Metrics::register(registry)?),
                on_fatal: Arc::new(|_| {}),
                lanes: RwLock::default(),
                body_writers: tokio::sync::Semaphore::new(BODY_WRITERS_MAX),
                removal: tokio::sync::RwLock::default(),
                thread: Mutex::new(None),
                config,
            }),
        })
    }

    /// Takes nothing more in, finishes what is in the queue, and lets go of the files.
    pub async fn close(&self) {
        let inner = Arc::clone(&self.inner);
        let closing = tokio::task::spawn_blocking(move || {
            inner.end_writer();
            inner.readers.close();
        });
        if closing.await.is_err() {
            tracing::error!("could not wait for the store's writer");
        }
    }

    /// Whether the store still takes writes.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let queue = self.inner.queue.as_ref();
        queue.is_some_and(|queue| !queue.is_closed())
    }

    /// The database whose disk has no room for mail, if the last write found none and there still
    /// is none.
    pub async fn without_room(&self) -> Option<&Path> {
        let room = Arc::clone(&self.inner.room);
        let is_missing = tokio::task::spawn_blocking(move || room.is_missing()).await;
        let path = self.inner.config.path.as_path();
        is_missing.unwrap_or(false).then_some(path)
    }

    /// What SQLite finds wrong with pages and indexes; empty if nothing. Reads the whole file.
    ///
    /// # Errors
    /// If it cannot be read at all.
    pub async fn check_integrity(&self) -> Result<Vec<String>, StoreError> {
        self.inner.readers.read(schema::integrity).await
    }

    /// What tells this store from any other: a hash of its address key, which is made at random.
    pub(crate) fn fingerprint(&self) -> String {
        self.inner.key.fingerprint_text()
    }

    /// Returns that are kept ([`crate::Shared::lift_unsubscribes`]) behind the one of this hash, each
    /// with its own.
    pub(crate) async fn returns(
        &self,
        after: Option<[u8; 16]>,
        count_max: u32,
    ) -> Result<Vec<([u8; 16], Return)>, StoreError> {
        self.read(move |conn| suppression::returns(conn, after, count_max))
            .await
    }

    /// What was spent of quotas and warm-ups.
    pub(crate) async fn spent(&self) -> Result<Spent, StoreError> {
        self.read(states::spent).await
    }

    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        self.inner.readers.read(work).await
    }

    async fn write<T, F>(&self, load: Load, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T, Fault> + Send + 'static,
    {
        self.write_or(load, work, drop).await
    }

    /// Hands an operation to the writer and waits for its commit. A caller that goes away does not
    /// stop it; `abandoned` is given what nobody waits for any more.
    async fn write_or<T, F>(&self, load: Load, work: F, abandoned: fn(T)) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T, Fault> + Send + 'static,
    {
        let queue = self.queue()?;
        let (caller, answer) = oneshot::channel();
        let pushed = queue.push(Queued {
            job: Box::new(Operation {
                work,
                output: None,
                caller: Some(caller),
                abandoned,
            }),
            urgency: load.urgency,
            bytes: load.bytes,
            operations: load.operations.max(1),
        });
        match pushed {
            Ok(bytes) => self
                .inner
                .metrics
                .queue_bytes
                .set(columns::signed(bytes as u64)),
            Err(error) => {
                self.inner.metrics.count(&error);
                return Err(error);
            }
        }
        answer.await.map_err(|_| StoreError::Closed)?
    }

    fn queue(&self) -> Result<&Arc<Queue>, StoreError> {
        self.inner.queue.as_ref().ok_or_else(read_only)
    }
}

impl Inner {
    fn end_writer(&self) {
        if let Some(queue) = &self.queue {
            queue.close();
        }
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // The writer catches its own panics; one that dies all the same has said so.
        if let Some(thread) = thread {
            drop(thread.join());
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end_writer();
    }
}

/// Makes the directories and an empty database file that only we may read, and locks the store.
fn prepare_files(config: &SqliteConfig) -> Result<File, StoreError> {
    let directory = |path: &Path| {
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path);
        made.map_err(|error| engine(config, &error))
    };
    directory(config.directory())?;
    let lock = lock_files(config)?;
    directory(&config.bodies_dir())?;
    let database = private(&config.path);
    drop(database.map_err(|error| engine(config, &error))?);
    Ok(lock)
}

/// A file that only we may read, made if there is none.
fn private(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

/// Locks the store: no other process works on it while the file is open.
fn lock_files(config: &SqliteConfig) -> Result<File, StoreError> {
    let locked = || -> io::Result<File> {
        let lock = private(&config.lock_path())?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::ResourceBusy.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    };
    locked().map_err(|error| {
        if error.kind() == io::ErrorKind::ResourceBusy {
            StoreError::Engine(format!(
                "another malote runs on {}: one process per store",
                config.path.display()
            ))
        } else {
            engine(config, &error)
        }
    })
}

fn read_only() -> StoreError {
    StoreError::Engine("the store was opened to be read only".into())
}

/// Says why a store cannot be read, before SQLite says less of it.
fn expect_there(config: &SqliteConfig) -> Result<(), StoreError> {
    let path = config.path.display();
    let Err(error) = std::fs::File::open(&config.path) else {
        return Ok(());
    };
    let kind = error.kind();
    Err(StoreError::Engine(if kind == io::ErrorKind::NotFound {
        format!("there is no store at {path}")
    } else if kind == io::ErrorKind::PermissionDenied {
        format!("{path}: permission denied: run this as the gateway's user")
    } else {
        format!("{path}: {error}")
    }))
}

fn engine(config: &SqliteConfig, error: &io::Error) -> StoreError {
    StoreError::Engine(format!("{}: {error}", config.path.display()))
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
