//! Quotas in hourly buckets: taken within every window's cap, or not at all.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::sqlite::columns::{signed, unsigned};
use crate::sqlite::fault::Fault;
use crate::sqlite::writer::Tx;
use crate::{QuotaGrant, QuotaRequest};

const HOUR_S: i64 = 3_600;

fn hour(at: Timestamp) -> i64 {
    at.as_second().div_euclid(HOUR_S)
}

/// Takes what every window leaves, at most what [`QuotaRequest`] allows.
pub(crate) fn take(tx: &mut Tx<'_>, request: &QuotaRequest) -> Result<QuotaGrant, Fault> {
    let mut least_left = u64::MAX;
    let mut free_at = None;
    for (since, cap) in &request.windows {
        let left = cap.saturating_sub(used(tx.conn, &request.account, *since)?);
        if left < request.need {
            let freed = freed_at(tx.conn, request, *since)?;
            free_at = freed.into_iter().chain(free_at).max();
        }
        least_left = least_left.min(left);
    }
    let units = request.granted_of(least_left);
    if units > 0 {
        tx.conn
            .prepare_cached(
                "INSERT INTO quotas (account, hour, used) VALUES (?1, ?2, ?3)
                 ON CONFLICT (account, hour) DO UPDATE SET used = used + ?3",
            )?
            .execute(params![request.account, hour(request.now), signed(units)])?;
    }
    Ok(QuotaGrant { units, free_at })
}

/// When the oldest units of a window that moves with time leave it. The bucket in which the window
/// begins counts whole, so that a cap is never exceeded.
fn freed_at(
    conn: &Connection,
    request: &QuotaRequest,
    since: Timestamp,
) -> Result<Option<Timestamp>, Fault> {
    let oldest: Option<i64> = conn
        .prepare_cached(
            "SELECT min(hour) FROM quotas WHERE account = ?1 AND hour >= ?2 AND used > 0",
        )?
        .query_row(params![request.account, hour(since)], |row| row.get(0))?;
    let span = request.now.duration_since(since);
    let end = oldest.and_then(|hour| Timestamp::from_second((hour + 1) * HOUR_S).ok());
    Ok(end.and_then(|end| end.saturating_add(span).ok()))
}

/// Units taken since a time, the hour that it falls in included whole.
pub(crate) fn used(conn: &Connection, account: &str, since: Timestamp) -> Result<u64, Fault> {
    let used: i64 = conn
        .prepare_cached(
            "SELECT coalesce(sum(used), 0) FROM quotas WHERE account = ?1 AND hour >= ?2",
        )?
        .query_row(params![account, hour(since)], |row| row.get(0))?;
    unsigned(used)
}

/// Gives units back to the hour that they were taken in.
pub(crate) fn give_back(
    tx: &mut Tx<'_>,
    account: &str,
    taken_at: Timestamp,
    units: u64,
) -> Result<(), Fault> {
    tx.conn
        .prepare_cached(
            "UPDATE quotas SET used = max(0, used - ?3) WHERE account = ?1 AND hour = ?2",
        )?
        .execute(params![account, hour(taken_at), signed(units)])?;
    Ok(())
}
