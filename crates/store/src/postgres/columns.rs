//! How times and numbers stand in columns of PostgreSQL, and back.

use jiff::Timestamp;

use crate::postgres::fault::{Fault, damaged};

/// Microseconds since 1970.
pub(crate) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// The time of a column.
pub(crate) fn timestamp(micros: i64) -> Result<Timestamp, Fault> {
    Timestamp::from_microsecond(micros).map_err(|_| damaged("time out of range"))
}

/// A count or size of a column; negative ones are none of ours.
pub(crate) fn unsigned<T: TryFrom<i64>>(number: i64) -> Result<T, Fault> {
    T::try_from(number).map_err(|_| damaged("number out of range"))
}

/// A count or size as a column holds it.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A name or address of a column; the text itself stays out of the error.
pub(crate) fn parsed<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, Fault> {
    text.parse()
        .map_err(|_| damaged(&format!("unreadable {what}")))
}

/// Text as PostgreSQL takes it: it knows no NUL.
pub(crate) fn text(raw: &str) -> String {
    raw.replace('\0', "\u{fffd}")
}
