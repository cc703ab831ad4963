//! What SQLite and the file system say, sorted by what can be done about it.

use std::io;

use rusqlite::ErrorCode;

use crate::StoreError;

/// Why one operation, or the whole transaction, failed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// No space: roll back, space may come back.
    Full,
    /// A read, write or sync failed: nothing may be believed any more.
    Disk(String),
    /// This operation alone cannot be done.
    Refused(StoreError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        if is_unreadable(&error) {
            return Self::Refused(StoreError::Damaged(error.to_string()));
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull | ErrorCode::ReadOnly) => Self::Full,
            Some(ErrorCode::SystemIoFailure) => Self::Disk(error.to_string()),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Refused(StoreError::Damaged(error.to_string()))
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::CannotOpen) => {
                Self::Refused(StoreError::Busy)
            }
            Some(_) | None => Self::Refused(StoreError::Engine(error.to_string())),
        }
    }
}

/// A row that is there and does not hold what its columns should.
const fn is_unreadable(error: &rusqlite::Error) -> bool {
    matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..)
            | rusqlite::Error::QueryReturnedNoRows
    )
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Full => Self::Full,
            Fault::Disk(text) => Self::Engine(text),
            Fault::Refused(error) => error,
        }
    }
}

/// Sorts an error of the file system. Out of descriptors is `Busy`: it passes by itself.
pub(crate) fn of_io(error: &io::Error) -> Fault {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    let is_full = matches!(
        error.kind(),
        io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::ReadOnlyFilesystem
    );
    if is_full {
        Fault::Full
    } else if matches!(error.raw_os_error(), Some(ENFILE | EMFILE)) {
        Fault::Refused(StoreError::Busy)
    } else {
        Fault::Disk(error.to_string())
    }
}
