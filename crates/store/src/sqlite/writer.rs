//! The one thread that writes: a transaction covers everything that came while the last one synced.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use malote_core::event::State;
use rusqlite::{Connection, OptionalExtension};

use crate::StoreError;
use crate::metrics::Metrics;
use crate::sqlite::columns::state_number;
use crate::sqlite::fault::Fault;
use crate::sqlite::queue::{Queue, Queued};
use crate::sqlite::room::Room;
use crate::sqlite::schema::LOCK_WAIT;

/// Called when the disk has failed. Nothing that this process holds in memory may be believed
/// after it, and a failed sync must never be tried again, so the process has to end.
pub type OnFatal = Arc<dyn Fn(&str) + Send + Sync>;

/// Estimated growth of the log after which it is copied into the database.
const CHECKPOINT_BYTES: usize = 16 << 20;
/// Rows and index entries that one change writes besides its body, about.
const CHANGE_BYTES: usize = 2 << 10;
/// Pages in the log at which readers are waited for, so that it cannot grow for ever.
const LOG_PAGES_MAX: i64 = 65_536;
/// How long they are waited for: enough for the gateway's own. A backup reads for minutes, and no
/// write may wait for it; the log grows until it ends.
const READERS_WAIT: Duration = Duration::from_millis(50);

/// The transaction that operations run in.
pub(crate) struct Tx<'a> {
    pub(crate) conn: &'a Connection,
    pub(crate) memory: &'a mut Memory,
}

/// What the writer knows without asking the database; rolled back with the transaction.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    /// The row id of the next message.
    next_message: i64,
    /// The next place in the feed.
    next_feed: i64,
    /// Counts leases, to let new mail and backlog begin in turn.
    pub(crate) leases: u64,
    /// Changes of the counters by lane and state, written before the commit.
    counts: BTreeMap<(i64, i64), i64>,
    /// Change of the octets of unsettled bodies, written before the commit.
    body_bytes: i64,
}

impl Memory {
    pub(crate) fn load(conn: &Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            next_message: next_id(conn, "SELECT max(pk) FROM messages", "next_message")?,
            next_feed: next_id(conn, "SELECT max(id) FROM feed", NEXT_FEED)?,
            ..Self::default()
        })
    }

    /// A row id that no message had before.
    pub(crate) fn next_message(&mut self) -> i64 {
        let pk = self.next_message;
        self.next_message += 1;
        pk
    }

    /// A place in the feed that no event had before.
    pub(crate) fn next_feed(&mut self) -> i64 {
        let place = self.next_feed;
        self.next_feed += 1;
        place
    }

    /// Notes that deliveries appeared in, or left, a state of a lane.
    pub(crate) fn count(&mut self, lane: i64, state: State, change: i64) {
        *self.counts.entry((lane, state_number(state))).or_insert(0) += change;
    }

    /// Notes that a body became unsettled, or settled.
    pub(crate) fn count_body(&mut self, change: i64) {
        self.body_bytes += change;
    }

    fn write_counts(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        for ((lane, state), change) in &self.counts {
            if *change != 0 {
                conn.prepare_cached(
                    "INSERT INTO counters (lane, state, n) VALUES (?1, ?2, ?3)
                     ON CONFLICT (lane, state) DO UPDATE SET n = n + ?3",
                )?
                .execute((lane, state, change))?;
            }
        }
        if self.body_bytes != 0 {
            conn.prepare_cached(
                "INSERT INTO meta (key, value) VALUES ('body_bytes', ?1)
                 ON CONFLICT (key) DO UPDATE SET value = value + ?1",
            )?
            .execute([self.body_bytes])?;
        }
        self.counts.clear();
        self.body_bytes = 0;
        Ok(())
    }
}

/// Under which the next place in the feed is kept where the last ones are gone.
pub(crate) const NEXT_FEED: &str = "next_feed";

/// A row id above every one that is there, and every one that retention took.
pub(crate) fn next_id(conn: &Connection, last: &str, kept: &str) -> rusqlite::Result<i64> {
    let last = conn.query_row(last, [], |row| row.get::<_, Option<i64>>(0))?;
    let kept = conn
        .query_row("SELECT value FROM meta WHERE key = ?1", [kept], |row| {
            row.get::<_, i64>(0)
        })
        .optional()?;
    Ok(kept.unwrap_or(1).max(last.unwrap_or(0) + 1))
}

/// The writing thread's own.
pub(crate) struct Writer {
    pub(crate) conn: Connection,
    pub(crate) memory: Memory,
    pub(crate) room: Arc<Room>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) on_fatal: OnFatal,
    pub(crate) uncopied_bytes: usize,
}

impl Writer {
    /// Works until the queue is closed and drained, or the disk fails.
    pub(crate) fn run(mut self) {
        let queue = Arc::clone(&self.queue);
        let outcome = catch_unwind(AssertUnwindSafe(|| self.work()));
        let died = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(text)) => Some(text),
            Err(_) => Some("the writer panicked".to_owned()),
        };
        queue.abandon();
        if let Some(text) = died {
            tracing::error!(error = %text, "lost the store's disk");
            (self.on_fatal)(&text);
        }
    }

    fn work(&mut self) -> Result<(), String> {
        loop {
            let batch = self.queue.take_batch();
            if batch.is_empty() {
                // A clean end leaves one file and no log behind.
                return self.copy_log("TRUNCATE");
            }
            let bytes = batch.iter().map(|queued| queued.bytes).sum();
            let changes: usize = batch.iter().map(|queued| queued.operations).sum();
            let outcome = self.commit(batch);
            let waiting = self.queue.release(bytes);
            self.metrics
                .queue_bytes
                .set(i64::try_from(waiting).unwrap_or(i64::MAX));
            outcome?;
            self.uncopied_bytes += bytes + changes * CHANGE_BYTES;
            if self.uncopied_bytes > CHECKPOINT_BYTES {
                self.uncopied_bytes = 0;
                self.copy_log("PASSIVE")?;
            }
        }
    }

    /// Runs a batch and answers its callers. Without savepoints at first, since they cost and
    /// faults are rare; a fault rolls everything back, and each operation runs by itself.
    fn commit(&mut self, mut batch: Vec<Queued>) -> Result<(), String> {
        let started = Instant::now();
        self.metrics.batch_operations.observe(batch.len() as f64);
        let outcome = match self.together(&mut batch) {
            Ok(()) => {
                if batch.iter().any(|queued| queued.urgency.is_accept()) {
                    self.room.was_found();
                }
                for queued in &mut batch {
                    queued.job.reply(Ok(()));
                }
                Ok(())
            }
            Err(Fault::Full) => self.without_accepts(batch),
            Err(Fault::Refused(_)) => self.one_by_one(batch),
            Err(Fault::Disk(text)) => self.lose(batch, text),
        };
        self.metrics
            .commit_seconds
            .observe(started.elapsed().as_secs_f64());
        outcome
    }

    fn together(&mut self, batch: &mut [Queued]) -> Result<(), Fault> {
        let before = self.memory.clone();
        let outcome = self.transaction(|tx| {
            for queued in batch.iter_mut() {
                queued.job.run(tx)?;
            }
            Ok(())
        });
        if outcome.is_err() {
            self.memory = before;
        }
        outcome
    }

    /// A full disk refuses new mail first: what settles mail makes room.
    fn without_accepts(&mut self, batch: Vec<Queued>) -> Result<(), String> {
        let (mut accepts, others): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .partition(|queued| queued.urgency.is_accept());
        for queued in &mut accepts {
            self.refuse(queued, StoreError::Full);
        }
        if others.is_empty() {
            return Ok(());
        }
        self.one_by_one(others)
    }

    fn one_by_one(&mut self, mut batch: Vec<Queued>) -> Result<(), String> {
        let before = self.memory.clone();
        let mut results = Vec::with_capacity(batch.len());
        let outcome = self.transaction(|tx| {
            results.clear();
            for queued in &mut batch {
                results.push(run_apart(queued, tx)?);
            }
            Ok(())
        });
        match outcome {
            Ok(()) => {
                for (queued, result) in batch.iter_mut().zip(results) {
                    match result {
                        Ok(()) => queued.job.reply(Ok(())),
                        Err(error) => self.refuse(queued, error),
                    }
                }
                Ok(())
            }
            Err(Fault::Disk(text)) => self.lose(batch, text),
            Err(fault @ (Fault::Full | Fault::Refused(_))) => {
                self.memory = before;
                let error = StoreError::from(fault);
                for queued in &mut batch {
                    self.refuse(queued, error.clone());
                }
                Ok(())
            }
        }
    }

    fn transaction(
        &mut self,
        run: impl FnOnce(&mut Tx<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let conn = &self.conn;
        conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut tx = Tx {
            conn,
            memory: &mut self.memory,
        };
        let outcome = run(&mut tx)
            .and_then(|()| Ok(self.memory.write_counts(conn)?))
            .and_then(|()| {
                conn.prepare_cached("COMMIT")?.execute([])?;
                Ok(())
            });
        // Some faults make SQLite roll back by itself.
        if outcome.is_err() && !conn.is_autocommit() {
            conn.execute_batch("ROLLBACK")?;
        }
        outcome
    }

    fn refuse(&self, queued: &mut Queued, error: StoreError) {
        self.metrics.count(&error);
        if error == StoreError::Full {
            self.room.was_missing(Instant::now());
        }
        queued.job.reply(Err(error));
    }

    fn lose(&self, mut batch: Vec<Queued>, text: String) -> Result<(), String> {
        self.queue.close();
        for queued in &mut batch {
            self.refuse(queued, StoreError::Closed);
        }
        Err(text)
    }

    /// Copies the log into the database. A full disk leaves the log as it is; the next turn comes.
    fn copy_log(&self, mode: &str) -> Result<(), String> {
        let copy = |mode: &str| {
            let sql = format!("PRAGMA wal_checkpoint({mode})");
            self.conn.query_row(&sql, [], |row| row.get::<_, i64>(1))
        };
        let outcome = copy(mode).and_then(|pages| {
            if pages <= LOG_PAGES_MAX {
                return Ok(pages);
            }
            self.conn.busy_timeout(READERS_WAIT)?;
            let restarted = copy("RESTART");
            self.conn.busy_timeout(LOCK_WAIT)?;
            restarted
        });
        match outcome.map_err(Fault::from) {
            Ok(_) => Ok(()),
            Err(Fault::Disk(text)) => Err(text),
            Err(fault @ (Fault::Full | Fault::Refused(_))) => {
                let error = StoreError::from(fault);
                self.metrics.count(&error);
                tracing::warn!(error = %error, "could not copy the store's log");
                Ok(())
            }
        }
    }
}

/// Runs one operation so that its failure undoes nothing else.
fn run_apart(queued: &mut Queued, tx: &mut Tx<'_>) -> Result<Result<(), StoreError>, Fault> {
    let before = tx.memory.clone();
    tx.conn.prepare_cached("SAVEPOINT operation")?.execute([])?;
    let result = match queued.job.run(tx) {
        Ok(()) => Ok(()),
        Err(Fault::Refused(error)) => {
            *tx.memory = before;
            tx.conn.execute_batch("ROLLBACK TO operation")?;
            Err(error)
        }
        Err(fault @ (Fault::Full | Fault::Disk(_))) => return Err(fault),
    };
    tx.conn.prepare_cached("RELEASE operation")?.execute([])?;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use prometheus::Registry;

    use super::*;
    use crate::sqlite::schema;

    #[test]
    fn writes_do_not_wait_for_a_long_reader_however_long_the_log_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("malote.db");
        let mut conn = schema::open_writer(&path, 4 << 20).unwrap();
        schema::migrate(&mut conn, Timestamp::UNIX_EPOCH).unwrap();
        conn.execute_batch("PRAGMA synchronous = OFF; CREATE TABLE large (content BLOB);")
            .unwrap();
        let reader = schema::open_reader(&path).unwrap();
        reader.execute_batch("BEGIN").unwrap();
        let count = "SELECT count(*) FROM large";
        let rows: i64 = reader.query_row(count, [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 0);
        let insert = "INSERT INTO large VALUES (zeroblob(?1))";
        conn.execute(insert, [(LOG_PAGES_MAX + 1) * 4096]).unwrap();

        let writer = Writer {
            memory: Memory::load(&conn).unwrap(),
            conn,
            room: Arc::new(Room::of(&path)),
            queue: Arc::new(Queue::new(1)),
            metrics: Arc::new(Metrics::register(&Registry::new()).unwrap()),
            on_fatal: Arc::new(|text| panic!("{text}")),
            uncopied_bytes: 0,
        };
        let began = Instant::now();
        writer.copy_log("PASSIVE").unwrap();
        assert!(began.elapsed() < LOCK_WAIT / 2, "{:?}", began.elapsed());
        let pages = |sql: &str| writer.conn.query_row(sql, [], |row| row.get::<_, i64>(1));
        let passive = "PRAGMA wal_checkpoint(PASSIVE)";
        assert!(pages(passive).unwrap() > LOG_PAGES_MAX);

        drop(reader);
        writer.copy_log("PASSIVE").unwrap();
        writer.conn.execute(insert, [1]).unwrap();
        assert!(
            pages(passive).unwrap() < LOG_PAGES_MAX,
            "the log began anew"
        );
    }
}
