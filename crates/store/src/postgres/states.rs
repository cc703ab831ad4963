//! The small shared records: warm-up, breakers and switches.

use tokio_postgres::types::Type;

use crate::postgres::columns::{parsed, signed, unsigned};
use crate::postgres::database::Database;
use crate::postgres::fault::{Fault, damaged};
use crate::postgres::metrics::Operation;
use crate::words;
use crate::{StoreError, Switch, WarmupRecord};

const STATE: Operation = Operation::State;

/// How far an account's warm-up has come.
pub(super) async fn warmup(
    database: &Database,
    account: &str,
) -> Result<Option<WarmupRecord>, StoreError> {
    let sql = "SELECT day, cap, used FROM malote.warmups WHERE account = $1";
    let rows = database.rows(STATE, sql, &[(&account, Type::TEXT)]).await?;
    let read = |row: &tokio_postgres::Row| -> Result<WarmupRecord, Fault> {
        Ok(WarmupRecord {
            day: parsed(row.try_get(0)?, "day")?,
            cap: unsigned(row.try_get(1)?)?,
            used: unsigned(row.try_get(2)?)?,
        })
    };
    Ok(rows.first().map(read).transpose()?)
}

/// Notes how far a warm-up has come.
pub(super) async fn set_warmup(
    database: &Database,
    account: &str,
    record: WarmupRecord,
) -> Result<(), StoreError> {
    database
        .execute(
            STATE,
            "INSERT INTO malote.warmups (account, day, cap, used) VALUES ($1, $2, $3, $4)
             ON CONFLICT (account) DO UPDATE SET day = $2, cap = $3, used = $4",
            &[
                (&account, Type::TEXT),
                (&record.day.to_string(), Type::TEXT),
                (&signed(record.cap), Type::INT8),
                (&signed(record.used), Type::INT8),
            ],
        )
        .await
        .map(drop)
}

/// The switches that are on.
pub(super) async fn switches(database: &Database) -> Result<Vec<Switch>, StoreError> {
    let sql = "SELECT kind, name FROM malote.switches ORDER BY kind, name";
    let rows = database.rows(STATE, sql, &[]).await?;
    let read = |row: &tokio_postgres::Row| -> Result<Switch, Fault> {
        words::switch(row.try_get(0)?, row.try_get(1)?).ok_or_else(|| damaged("unknown switch"))
    };
    Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
}

/// Sets or clears a switch.
pub(super) async fn set_switch(
    database: &Database,
    switch: &Switch,
    is_on: bool,
) -> Result<(), StoreError> {
    let sql = if is_on {
        "INSERT INTO malote.switches (kind, name) VALUES ($1, $2) ON CONFLICT DO NOTHING"
    } else {
        "DELETE FROM malote.switches WHERE kind = $1 AND name = $2"
    };
    let [kind, name] = words::switch_words(switch);
    database
        .execute(STATE, sql, &[(&kind, Type::TEXT), (&name, Type::TEXT)])
        .await
        .map(drop)
}
