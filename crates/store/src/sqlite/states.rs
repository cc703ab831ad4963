//! The small shared records: warm-up, breakers and switches.

use rusqlite::{Connection, OptionalExtension, params};

use crate::sqlite::columns::{damaged, parsed, signed, unsigned};
use crate::sqlite::fault::Fault;
use crate::sqlite::rows::str_of;
use crate::sqlite::writer::Tx;
use crate::words;
use crate::{BreakerRecord, Switch, WarmupRecord};

/// What was spent of quotas and warm-ups, for a database that takes the store's place.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    /// Account, hour since 1970 and units.
    pub(crate) quotas: Vec<(String, i64, i64)>,
    /// Account and how far its warm-up has come.
    pub(crate) warmups: Vec<(String, WarmupRecord)>,
}

/// All that was spent.
pub(crate) fn spent(conn: &Connection) -> Result<Spent, Fault> {
    let mut find = conn.prepare("SELECT account, hour, used FROM quotas WHERE used > 0")?;
    let quotas = find.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let quotas = quotas.collect::<rusqlite::Result<_>>()?;
    let mut find = conn.prepare("SELECT account FROM warmups")?;
    let accounts = find.query_map([], |row| row.get(0))?;
    let accounts: Vec<String> = accounts.collect::<rusqlite::Result<_>>()?;
    let mut warmups = Vec::new();
    for account in accounts {
        if let Some(record) = warmup(conn, &account)? {
            warmups.push((account, record));
        }
    }
    Ok(Spent { quotas, warmups })
}

/// How far an account's warm-up has come.
pub(crate) fn warmup(conn: &Connection, account: &str) -> Result<Option<WarmupRecord>, Fault> {
    let found = conn
        .prepare_cached("SELECT day, cap, used FROM warmups WHERE account = ?1")?
        .query_row([account], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, i64>(2)?,
            ))
        })
        .optional()?;
    let Some((day, cap, used)) = found else {
        return Ok(None);
    };
    Ok(Some(WarmupRecord {
        day: parsed(day, "day")?,
        cap: unsigned(cap)?,
        used: unsigned(used)?,
    }))
}

/// Notes how far a warm-up has come.
pub(crate) fn set_warmup(
    tx: &mut Tx<'_>,
    account: &str,
    record: WarmupRecord,
) -> Result<(), Fault> {
    tx.conn
        .prepare_cached(
            "INSERT OR REPLACE INTO warmups (account, day, cap, used) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            account,
            record.day.to_string(),
            signed(record.cap),
            signed(record.used)
        ])?;
    Ok(())
}

/// All breakers that are not at rest.
pub(crate) fn breakers(conn: &Connection) -> Result<Vec<BreakerRecord>, Fault> {
    let mut find = conn.prepare_cached("SELECT key, state FROM breakers ORDER BY key")?;
    let found = find.query_map([], |row| {
        Ok(BreakerRecord {
            key: row.get(0)?,
            state: row.get(1)?,
        })
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Notes or removes a breaker's state.
pub(crate) fn set_breaker(tx: &mut Tx<'_>, key: &str, state: Option<&str>) -> Result<(), Fault> {
    match state {
        Some(state) => tx
            .conn
            .prepare_cached("INSERT OR REPLACE INTO breakers (key, state) VALUES (?1, ?2)")?
            .execute([key, state])?,
        None => tx
            .conn
            .prepare_cached("DELETE FROM breakers WHERE key = ?1")?
            .execute([key])?,
    };
    Ok(())
}

/// The switches that are on.
pub(crate) fn switches(conn: &Connection) -> Result<Vec<Switch>, Fault> {
    let mut find = conn.prepare_cached("SELECT kind, name FROM switches ORDER BY kind, name")?;
    let mut rows = find.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let switch = words::switch(str_of(row, 0)?, str_of(row, 1)?);
        found.push(switch.ok_or_else(|| damaged("unknown switch"))?);
    }
    Ok(found)
}

/// Sets or clears a switch.
pub(crate) fn set_switch(tx: &mut Tx<'_>, switch: &Switch, is_on: bool) -> Result<(), Fault> {
    let sql = if is_on {
        "INSERT OR IGNORE INTO switches (kind, name) VALUES (?1, ?2)"
    } else {
        "DELETE FROM switches WHERE kind = ?1 AND name = ?2"
    };
    tx.conn
        .prepare_cached(sql)?
        .execute(words::switch_words(switch))?;
    Ok(())
}
