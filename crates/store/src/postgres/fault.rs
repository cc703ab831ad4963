//! What PostgreSQL and the way to it say, sorted by what can be done about it.

use std::error::Error as _;
use std::io;

use deadpool_postgres::PoolError;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::StoreError;

/// Why one operation was not done.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Nothing was kept, because another transaction was in the way: do it again.
    Conflict,
    /// It cannot be done now, or at all.
    Refused(StoreError),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let conflicts = [
            &SqlState::T_R_SERIALIZATION_FAILURE,
            &SqlState::T_R_DEADLOCK_DETECTED,
        ];
        if error.code().is_some_and(|code| conflicts.contains(&code)) {
            return Self::Conflict;
        }
        Self::Refused(sorted(&error))
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Conflict => Self::Busy,
            Fault::Refused(error) => error,
        }
    }
}

impl From<PoolError> for Fault {
    fn from(error: PoolError) -> Self {
        use deadpool_postgres::TimeoutType;
        Self::Refused(match error {
            PoolError::Backend(error) => sorted(&error),
            PoolError::Closed => StoreError::Closed,
            // All connections are in use: the caller may come back.
            PoolError::Timeout(TimeoutType::Wait) => StoreError::Busy,
            PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => {
                StoreError::Unavailable("no connection in time".into())
            }
            PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
                StoreError::Engine("the pool of connections is set up wrongly".into())
            }
        })
    }
}

/// An answer that did not come in time: it may have been done all the same.
pub(crate) fn late() -> Fault {
    Fault::Refused(StoreError::Unavailable("no answer in time".into()))
}

/// A record that cannot be read.
pub(crate) fn damaged(what: &str) -> Fault {
    Fault::Refused(StoreError::Damaged(what.to_owned()))
}

fn sorted(error: &Error) -> StoreError {
    let Some(db) = error.as_db_error() else {
        return without_code(error);
    };
    // Message and code only: details name values, and values are addresses.
    let text = format!("{} ({})", db.message(), db.code().code());
    match db.code().code() {
        "53100" => StoreError::Full,
        // Resources, a statement that was cancelled, a lock that was not to be had.
        "53000" | "53200" | "53300" | "53400" | "57014" | "55P03" => StoreError::Busy,
        "XX001" | "XX002" => StoreError::Damaged(text),
        // It goes down, comes up, stands by, or has gone read-only in a failover.
        "57P01" | "57P02" | "57P03" | "57P05" | "25006" | "25P03" => StoreError::Unavailable(text),
        // The connection, by the server or by a pooler before it.
        code if code.starts_with("08") => StoreError::Unavailable(text),
        _ => StoreError::Engine(text),
    }
}

fn without_code(error: &Error) -> StoreError {
    let text = || match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    let is_io = error
        .source()
        .is_some_and(|source| source.downcast_ref::<io::Error>().is_some());
    let said = error.to_string();
    if error.is_closed()
        || is_io
        || said.starts_with("error connecting")
        || said.contains("timeout")
    {
        StoreError::Unavailable(text())
    } else if said.starts_with("error deserializing column") {
        StoreError::Damaged(said)
    } else {
        StoreError::Engine(text())
    }
}
