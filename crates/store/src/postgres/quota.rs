//! Quotas in hourly buckets of the database's clock: taken within every window's cap, or not at
//! all, in one round trip.

use jiff::Timestamp;
use tokio_postgres::types::Type;

use crate::postgres::columns::{micros, signed, timestamp, unsigned};
use crate::postgres::database::Database;
use crate::postgres::fault::Fault;
use crate::postgres::metrics::Operation;
use crate::shared::QUOTA_SHARES;
use crate::{QuotaGrant, QuotaRequest, StoreError};

/// Takes what every window leaves, at most what [`QuotaRequest`] allows.
pub(super) async fn take(
    database: &Database,
    request: &QuotaRequest,
    node_clock: Timestamp,
) -> Result<QuotaGrant, StoreError> {
    let starts: Vec<i64> = request
        .windows
        .iter()
        .map(|(since, _)| micros(*since))
        .collect();
    let caps: Vec<i64> = request
        .windows
        .iter()
        .map(|(_, cap)| signed(*cap))
        .collect();
    let rows = database
        .rows(
            Operation::Quota,
            "SELECT units, free_at FROM malote.take_quota_4($1, $2, $3, $4, $5, $6, $7, $8)",
            &[
                (&request.account, Type::TEXT),
                (&signed(request.need), Type::INT8),
                (&signed(request.want), Type::INT8),
                (&signed(QUOTA_SHARES), Type::INT8),
                (&micros(request.now), Type::INT8),
                (&micros(node_clock), Type::INT8),
                (&starts, Type::INT8_ARRAY),
                (&caps, Type::INT8_ARRAY),
            ],
        )
        .await?;
    let read = || -> Result<QuotaGrant, Fault> {
        let row = rows.first().ok_or_else(no_row)?;
        let free_at: Option<i64> = row.try_get(1)?;
        Ok(QuotaGrant {
            units: unsigned(row.try_get(0)?)?,
            free_at: free_at.map(timestamp).transpose()?,
        })
    };
    Ok(read()?)
}

fn no_row() -> Fault {
    StoreError::Engine("a function of the database answered nothing".into()).into()
}

/// Gives units back to the hour that they were taken in.
pub(super) async fn give_back(
    database: &Database,
    account: &str,
    (taken_at, node_clock): (Timestamp, Timestamp),
    units: u64,
) -> Result<(), StoreError> {
    database
        .execute(
            Operation::Quota,
            "UPDATE malote.quotas SET used = greatest(0, used - $4)
             WHERE account = $1
                AND hour = ($2 + malote.clock() - $3) / 3600000000",
            &[
                (&account, Type::TEXT),
                (&micros(taken_at), Type::INT8),
                (&micros(node_clock), Type::INT8),
                (&signed(units), Type::INT8),
            ],
        )
        .await
        .map(drop)
}

/// Units taken since a time, the hour that it falls in included whole.
pub(super) async fn used(
    database: &Database,
    account: &str,
    (since, node_clock): (Timestamp, Timestamp),
) -> Result<u64, StoreError> {
    let rows = database
        .rows(
            Operation::Quota,
            "SELECT coalesce(sum(q.used), 0)::bigint FROM malote.quotas q
             WHERE q.account = $1 AND q.hour >= malote.window_hour($2, malote.clock() - $3)",
            &[
                (&account, Type::TEXT),
                (&micros(since), Type::INT8),
                (&micros(node_clock), Type::INT8),
            ],
        )
        .await?;
    let read = || -> Result<u64, Fault> {
        let row = rows.first().ok_or_else(no_row)?;
        unsigned(row.try_get(0)?)
    };
    Ok(read()?)
}
