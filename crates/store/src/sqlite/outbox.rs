//! The outbox: of each message's events only the first that waits has a due time.

use jiff::Timestamp;
use malote_core::feed::FeedCursor;
use malote_core::outlet::OutletName;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::sqlite::columns::{message_pk, micros, timestamp, unsigned};
use crate::sqlite::fault::Fault;
use crate::sqlite::feed;
use crate::sqlite::writer::Tx;
use crate::{
    Disabled, Enqueue, Enqueued, OutboxRow, OutboxSettled, OutboxStep, OutletRecord, StoreError,
};

/// Rows of an outlet that has gone which one step deletes.
const DELETE_STEP: i64 = 2_000;
/// Longest error kept, in octets.
const ERROR_BYTES_MAX: usize = 512;

/// Notes which outlets are configured.
pub(crate) fn note_configured(
    tx: &mut Tx<'_>,
    configured: &[OutletName],
    now: Timestamp,
) -> Result<(), Fault> {
    let end = feed::head(tx.conn)?;
    for name in configured {
        tx.conn
            .prepare_cached(
                "INSERT INTO outlets (name, cursor) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING",
            )?
            .execute(params![name.as_str(), end])?;
    }
    for (id, name, absent_since) in known(tx.conn)? {
        let is_configured = configured.iter().any(|one| one.as_str() == name);
        if is_configured && absent_since.is_some() {
            tx.conn
                .prepare_cached(
                    "UPDATE outlets SET absent_since = NULL, failing_since = NULL WHERE id = ?1",
                )?
                .execute([id])?;
        } else if !is_configured && absent_since.is_none() {
            tx.conn
                .prepare_cached("UPDATE outlets SET absent_since = ?2 WHERE id = ?1")?
                .execute([id, micros(now)])?;
        }
    }
    Ok(())
}

/// Deletes some of what waits for outlets that went before `before`; answers which are gone whole,
/// each with how many events went in this step, and whether there is more to do.
pub(crate) fn drop_absent(
    tx: &mut Tx<'_>,
    before: Timestamp,
) -> Result<Option<(OutletName, u64, bool)>, Fault> {
    let absent = known(tx.conn)?
        .into_iter()
        .find(|(_, _, since)| since.is_some_and(|since| since <= micros(before)));
    let Some((id, name, _)) = absent else {
        return Ok(None);
    };
    let gone = tx
        .conn
        .prepare_cached(
            "DELETE FROM outbox WHERE outlet = ?1 AND feed IN
                (SELECT feed FROM outbox WHERE outlet = ?1 ORDER BY feed LIMIT ?2)",
        )?
        .execute([id, DELETE_STEP])?;
    let is_whole = (gone as i64) < DELETE_STEP;
    if is_whole {
        tx.conn
            .prepare_cached("DELETE FROM outlets WHERE id = ?1")?
            .execute([id])?;
    }
    Ok(Some((OutletName::kept(name), gone as u64, is_whole)))
}

fn known(conn: &Connection) -> Result<Vec<(i64, String, Option<i64>)>, Fault> {
    let mut find = conn.prepare_cached("SELECT id, name, absent_since FROM outlets")?;
    let found = find.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

const OUTLET: &str = "SELECT o.name, o.cursor, o.waiting, f.at, o.failing_since, o.last_error,
        o.enabled_at, o.disabled_at, o.disabled_reason, o.absent_since
     FROM outlets o LEFT JOIN feed f
        ON f.id = (SELECT min(feed) FROM outbox WHERE outlet = o.id)";

/// Every outlet.
pub(crate) fn outlets(conn: &Connection) -> Result<Vec<OutletRecord>, Fault> {
    let mut find = conn.prepare_cached(&format!("{OUTLET} ORDER BY o.name"))?;
    let mut found = find.query([])?;
    let mut records = Vec::new();
    while let Some(row) = found.next()? {
        records.push(record(row)?);
    }
    Ok(records)
}

/// One outlet.
pub(crate) fn outlet(conn: &Connection, name: &OutletName) -> Result<Option<OutletRecord>, Fault> {
    let mut find = conn.prepare_cached(&format!("{OUTLET} WHERE o.name = ?1"))?;
    let mut found = find.query([name.as_str()])?;
    found.next()?.map(record).transpose()
}

fn record(row: &Row<'_>) -> Result<OutletRecord, Fault> {
    let time = |index: usize| -> Result<Option<Timestamp>, Fault> {
        row.get::<_, Option<i64>>(index)?.map(timestamp).transpose()
    };
    let reason: Option<String> = row.get(8)?;
    Ok(OutletRecord {
        name: OutletName::kept(row.get(0)?),
        cursor: FeedCursor(row.get(1)?),
        waiting: unsigned(row.get(2)?)?,
        oldest_at: time(3)?,
        failing_since: time(4)?,
        last_error: row.get(5)?,
        enabled_at: time(6)?,
        disabled: time(7)?.map(|since| Disabled {
            since,
            reason: reason.unwrap_or_default(),
        }),
        absent_since: time(9)?,
    })
}

fn id(conn: &Connection, name: &OutletName) -> Result<Option<i64>, Fault> {
    Ok(conn
        .prepare_cached("SELECT id FROM outlets WHERE name = ?1")?
        .query_row([name.as_str()], |row| row.get(0))
        .optional()?)
}

/// Adds events and moves the outlet's place.
pub(crate) fn enqueue(
    tx: &mut Tx<'_>,
    name: &OutletName,
    wish: &Enqueue,
) -> Result<Enqueued, Fault> {
    let conn = tx.conn;
    let outlet = id(conn, name)?
        .ok_or_else(|| Fault::Refused(StoreError::Engine(format!("no outlet {name} is kept"))))?;
    let waiting: i64 = conn
        .prepare_cached("SELECT waiting FROM outlets WHERE id = ?1")?
        .query_row([outlet], |row| row.get(0))?;
    let room = wish.waiting_max.saturating_sub(unsigned(waiting)?);
    if !wish.wanted.is_empty() && (wish.wanted.len() as u64) > room {
        return Ok(Enqueued::Full);
    }
    let mut added = 0;
    for event in &wish.wanted {
        added += i64::from(add(conn, outlet, event.0, wish.now)?);
    }
    conn.prepare_cached(
        "UPDATE outlets SET waiting = waiting + ?2, cursor = coalesce(?3, cursor) WHERE id = ?1",
    )?
    .execute(params![outlet, added, wish.next.map(|next| next.0)])?;
    Ok(Enqueued::Kept(unsigned(added)?))
}

fn add(conn: &Connection, outlet: i64, event: i64, now: Timestamp) -> Result<bool, Fault> {
    let delivery = conn
        .prepare_cached("SELECT delivery FROM feed WHERE id = ?1")?
        .query_row([event], |row| row.get::<_, i64>(0))
        .optional()?;
    let Some(delivery) = delivery else {
        return Ok(false);
    };
    let message = message_pk(delivery);
    let first = first_of(conn, outlet, message)?;
    let due_at = first.is_none_or(|first| event < first).then(|| micros(now));
    let is_new = conn
        .prepare_cached(
            "INSERT INTO outbox (outlet, feed, message, due_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (outlet, feed) DO NOTHING",
        )?
        .execute(params![outlet, event, message, due_at])?
        > 0;
    // A replayed event goes before the later one that waited so far.
    if let Some(first) = first.filter(|first| is_new && event < *first) {
        conn.prepare_cached("UPDATE outbox SET due_at = NULL WHERE outlet = ?1 AND feed = ?2")?
            .execute([outlet, first])?;
    }
    Ok(is_new)
}

/// The earliest event of a message that waits for an outlet.
fn first_of(conn: &Connection, outlet: i64, message: i64) -> Result<Option<i64>, Fault> {
    Ok(conn
        .prepare_cached("SELECT min(feed) FROM outbox WHERE message = ?1 AND outlet = ?2")?
        .query_row([message, outlet], |row| row.get(0))?)
}

/// Events that are due.
pub(crate) fn due(
    conn: &Connection,
    name: &OutletName,
    count_max: u32,
    now: Timestamp,
) -> Result<Vec<OutboxRow>, Fault> {
    let Some(outlet) = id(conn, name)? else {
        return Ok(Vec::new());
    };
    let mut find = conn.prepare_cached(
        "SELECT feed, attempts, first_at FROM outbox
         WHERE outlet = ?1 AND due_at IS NOT NULL AND due_at <= ?2 ORDER BY due_at, feed LIMIT ?3",
    )?;
    let mut found = find.query(params![outlet, micros(now), count_max])?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let place = row.get(0)?;
        rows.push(OutboxRow {
            cursor: FeedCursor(place),
            event: feed::event(conn, place)?,
            attempts: unsigned(row.get(1)?)?,
            first_at: row.get::<_, Option<i64>>(2)?.map(timestamp).transpose()?,
        });
    }
    Ok(rows)
}

/// Writes what became of events.
pub(crate) fn settle(
    tx: &mut Tx<'_>,
    name: &OutletName,
    settled: &OutboxSettled,
) -> Result<(), Fault> {
    let Some(outlet) = id(tx.conn, name)? else {
        return Ok(());
    };
    let mut gone = 0;
    for (event, step) in &settled.steps {
        let error = match step {
            OutboxStep::Told => None,
            OutboxStep::Dropped(error) | OutboxStep::Again { error, .. } => Some(bounded(error)),
        };
        match step {
            OutboxStep::Told | OutboxStep::Dropped(_) => {
                gone += i64::from(remove(tx.conn, outlet, event.0, settled.now)?);
            }
            OutboxStep::Again { due_at, .. } => {
                tx.conn
                    .prepare_cached(
                        "UPDATE outbox SET attempts = attempts + 1, last_error = ?3,
                            first_at = coalesce(first_at, ?4),
                            due_at = CASE WHEN due_at IS NULL THEN NULL ELSE ?5 END
                         WHERE outlet = ?1 AND feed = ?2",
                    )?
                    .execute(params![
                        outlet,
                        event.0,
                        error,
                        micros(settled.now),
                        micros(*due_at)
                    ])?;
            }
        }
        if let Some(error) = error {
            tx.conn
                .prepare_cached("UPDATE outlets SET last_error = ?2 WHERE id = ?1")?
                .execute(params![outlet, error])?;
        }
    }
    tx.conn
        .prepare_cached(
            "UPDATE outlets SET waiting = waiting - ?2, failing_since = ?3 WHERE id = ?1",
        )?
        .execute(params![outlet, gone, settled.failing_since.map(micros)])?;
    Ok(())
}

/// Takes an event out; the next of its message is due now.
fn remove(conn: &Connection, outlet: i64, event: i64, now: Timestamp) -> Result<bool, Fault> {
    let message = conn
        .prepare_cached("SELECT message FROM outbox WHERE outlet = ?1 AND feed = ?2")?
        .query_row([outlet, event], |row| row.get::<_, i64>(0))
        .optional()?;
    let Some(message) = message else {
        return Ok(false);
    };
    conn.prepare_cached("DELETE FROM outbox WHERE outlet = ?1 AND feed = ?2")?
        .execute([outlet, event])?;
    if let Some(next) = first_of(conn, outlet, message)? {
        conn.prepare_cached(
            "UPDATE outbox SET due_at = ?3 WHERE outlet = ?1 AND feed = ?2 AND due_at IS NULL",
        )?
        .execute([outlet, next, micros(now)])?;
    }
    Ok(true)
}

/// Takes out all events of a message that goes.
pub(crate) fn drop_message(conn: &Connection, message: i64) -> Result<(), Fault> {
    let waiting: Vec<(i64, i64)> = conn
        .prepare_cached("SELECT outlet, count(*) FROM outbox WHERE message = ?1 GROUP BY outlet")?
        .query_map([message], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (outlet, count) in &waiting {
        conn.prepare_cached("UPDATE outlets SET waiting = waiting - ?2 WHERE id = ?1")?
            .execute([outlet, count])?;
    }
    if !waiting.is_empty() {
        conn.prepare_cached("DELETE FROM outbox WHERE message = ?1")?
            .execute([message])?;
    }
    Ok(())
}

/// Sets an outlet aside.
pub(crate) fn disable(
    tx: &mut Tx<'_>,
    name: &OutletName,
    reason: &str,
    now: Timestamp,
) -> Result<bool, Fault> {
    let changed = tx
        .conn
        .prepare_cached(
            "UPDATE outlets SET disabled_at = coalesce(disabled_at, ?2),
                disabled_reason = coalesce(disabled_reason, ?3) WHERE name = ?1",
        )?
        .execute(params![name.as_str(), micros(now), bounded(reason)])?;
    Ok(changed > 0)
}

/// Puts an outlet to work again.
pub(crate) fn enable(tx: &mut Tx<'_>, name: &OutletName, now: Timestamp) -> Result<bool, Fault> {
    let changed = tx
        .conn
        .prepare_cached(
            "UPDATE outlets SET disabled_at = NULL, disabled_reason = NULL, failing_since = NULL,
                last_error = NULL, enabled_at = ?2 WHERE name = ?1",
        )?
        .execute(params![name.as_str(), micros(now)])?;
    Ok(changed > 0)
}

fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(ERROR_BYTES_MAX)]
}
