//! A few connections that only read, on threads that may block.

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
            let result = snapshot(&conn, work);
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

fn begin(conn: &Connection) -> rusqlite::Result<usize> {
    conn.prepare_cached("BEGIN DEFERRED")?.execute([])
}

fn end(conn: &Connection) -> rusqlite::Result<usize> {
    conn.prepare_cached("ROLLBACK")?.execute([])
}
