//! A few connections that only read, on threads that may block.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::StoreError;
use crate::sqlite::fault::Fault;
use crate::sqlite::schema;

/// The reading connections.
pub(crate) struct Readers {
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(crate) fn open(path: &Path, count: u16) -> Result<Arc<Self>, StoreError> {
        let idle = (0..count)
            .map(|_| schema::open_reader(path))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Arc::new(Self {
            permits: Arc::new(Semaphore::new(idle.len())),
            idle: Mutex::new(idle),
        }))
    }

    /// Reads; waits for a connection if all are taken.
    pub(crate) async fn read<T, F>(self: &Arc<Self>, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|_| StoreError::Closed)?;
        let readers = Arc::clone(self);
        let reading = tokio::task::spawn_blocking(move || {
            let Some(conn) = readers.lock().pop() else {
                return Err(StoreError::Closed);
            };
            // A read that panics gives its connection back like any other, or the readers would
            // become fewer until none is left.
            let outcome = catch_unwind(AssertUnwindSafe(|| snapshot(&conn, work)));
            let result = outcome.unwrap_or_else(|_| after_panic(&conn));
            readers.lock().push(conn);
            drop(permit);
            result
        });
        reading.await.map_err(|_| StoreError::Closed)?
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the connections; later reads fail.
    pub(crate) fn close(&self) {
        self.permits.close();
        self.lock().clear();
    }
}

/// Runs all statements of one read on the same state of the database.
fn snapshot<T>(
    conn: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, Fault>,
) -> Result<T, StoreError> {
    begin(conn).map_err(Fault::from)?;
    let outcome = work(conn);
    // Nothing was written: to end it either way is the same.
    end(conn).map_err(Fault::from)?;
    Ok(outcome?)
}

/// Ends what a read that panicked had begun.
fn after_panic<T>(conn: &Connection) -> Result<T, StoreError> {
    if !conn.is_autocommit() {
        end(conn).map_err(Fault::from)?;
    }
    Err(StoreError::Engine("a read panicked".to_owned()))
}

fn begin(conn: &Connection) -> rusqlite::Result<usize> {
    conn.prepare_cached("BEGIN DEFERRED")?.execute([])
}

fn end(conn: &Connection) -> rusqlite::Result<usize> {
    conn.prepare_cached("ROLLBACK")?.execute([])
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[tokio::test]
    async fn a_read_that_panics_leaves_its_connection_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("malote.db");
        let mut conn = schema::open_writer(&path, 4 << 20).unwrap();
        schema::migrate(&mut conn, Timestamp::UNIX_EPOCH).unwrap();
        let readers = Readers::open(&path, 1).unwrap();
        let version = |conn: &Connection| {
            let version = conn.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
            Ok(version?)
        };
        for _ in 0..2 {
            let fallen = readers.read(|_| -> Result<i64, Fault> { panic!("a bug") });
            assert!(matches!(fallen.await, Err(StoreError::Engine(_))));
            assert_eq!(readers.read(version).await.unwrap(), schema::VERSION);
        }
    }
}
