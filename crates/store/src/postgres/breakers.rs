//! Breakers, which every node writes and all follow, and the one probe of each.

use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::postgres::columns::text;
use crate::postgres::database::Database;
use crate::postgres::fault::Fault;
use crate::postgres::metrics::Operation;
use crate::{BreakerChanges, BreakerRecord, StoreError};

const STATE: Operation = Operation::State;
/// Numbers that a change may be given before an earlier one is seen: nodes write at once.
const OVERLAP: i64 = 1_000;

/// All breakers that are not at rest.
pub(super) async fn all(database: &Database) -> Result<Vec<BreakerRecord>, StoreError> {
    let sql = "SELECT key, state FROM malote.breakers WHERE state <> '' ORDER BY key";
    let rows = database.rows(STATE, sql, &[]).await?;
    let read = |row: &Row| -> Result<BreakerRecord, Fault> {
        Ok(BreakerRecord {
            key: row.try_get(0)?,
            state: row.try_get(1)?,
        })
    };
    Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
}

/// Notes a breaker's state; `None` is at rest. A new state ends the probe.
pub(super) async fn set(
    database: &Database,
    key: &str,
    state: Option<&str>,
    writer: &[u8; 16],
) -> Result<(), StoreError> {
    database
        .execute(
            STATE,
            "INSERT INTO malote.breakers (key, state, writer) VALUES ($1, $2, $3)
             ON CONFLICT (key) DO UPDATE SET state = $2, writer = $3, probe_until = 0,
                epoch = nextval('malote.breaker_epochs')",
            &[
                (&key, Type::TEXT),
                (&text(state.unwrap_or_default()), Type::TEXT),
                (&&writer[..], Type::BYTEA),
            ],
        )
        .await
        .map(drop)
}

/// What others wrote behind a place.
pub(super) async fn changes(
    database: &Database,
    after: i64,
    own: &[u8; 16],
) -> Result<BreakerChanges, StoreError> {
    let rows = database
        .rows(
            STATE,
            "SELECT key, state, epoch, writer = $2 FROM malote.breakers WHERE epoch > $1
             ORDER BY epoch",
            &[(&(after - OVERLAP), Type::INT8), (&&own[..], Type::BYTEA)],
        )
        .await?;
    let read = || -> Result<BreakerChanges, Fault> {
        let mut found = BreakerChanges {
            changes: Vec::new(),
            next: after,
        };
        for row in &rows {
            let epoch = row.try_get(2)?;
            found.next = found.next.max(epoch);
            if !row.try_get::<_, bool>(3)? {
                let state: String = row.try_get(1)?;
                let state = (!state.is_empty()).then_some(state);
                found.changes.push((row.try_get(0)?, state, epoch));
            }
        }
        Ok(found)
    };
    Ok(read()?)
}

/// Takes the probe of a breaker, unless another node has it.
pub(super) async fn claim(
    database: &Database,
    key: &str,
    hold: Duration,
) -> Result<bool, StoreError> {
    let hold = i64::try_from(hold.as_micros()).unwrap_or(i64::MAX / 4);
    let sql = "UPDATE malote.breakers SET probe_until = malote.clock() + $2
               WHERE key = $1 AND probe_until < malote.clock()";
    let params = [(&key as _, Type::TEXT), (&hold as _, Type::INT8)];
    Ok(database.execute(STATE, sql, &params).await? > 0)
}

/// Gives a probe back.
pub(super) async fn release(database: &Database, key: &str) -> Result<(), StoreError> {
    let sql = "UPDATE malote.breakers SET probe_until = 0 WHERE key = $1";
    let done = database.execute(STATE, sql, &[(&key, Type::TEXT)]).await;
    done.map(drop)
}
