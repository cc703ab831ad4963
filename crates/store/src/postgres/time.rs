//! The database's clock, which decides wherever clocks of nodes could differ.

use jiff::{SignedDuration, Timestamp};
use malote_core::clock::Clock;

use crate::StoreError;
use crate::postgres::columns::timestamp;
use crate::postgres::database::Database;
use crate::postgres::fault::{Fault, damaged};
use crate::postgres::metrics::Operation;

/// Clocks that are apart by no more count as equal, as in `malote.window_hour`.
const APART_MAX: SignedDuration = SignedDuration::from_secs(1);

/// Lets the process go by the database's clock, if the machine's is another: what a node with a
/// clock of its own makes due would be late or early for the others. Asked once, at the start;
/// from there the clock is carried on as ever.
///
/// # Errors
/// If the database cannot be asked.
pub(super) async fn go_by(database: &Database, clock: &dyn Clock) -> Result<(), StoreError> {
    let asked_at = clock.now();
    let sql = "SELECT malote.clock()";
    let rows = database.rows(Operation::Session, sql, &[]).await?;
    let read = || -> Result<Timestamp, Fault> {
        let row = rows.first().ok_or_else(|| damaged("no time"))?;
        timestamp(row.try_get(0)?)
    };
    let theirs = read()?;
    let is_equal = asked_at.duration_since(theirs) <= APART_MAX
        && theirs.duration_since(clock.now()) <= APART_MAX;
    if !is_equal {
        let ahead_s = asked_at.duration_since(theirs).as_secs();
        tracing::warn!(
            ahead_s,
            "the machine's clock is not the database's, whose time counts"
        );
        clock.go_by(theirs);
    }
    Ok(())
}
