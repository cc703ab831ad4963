//! The outbox: of each message's events only the first that waits has a due time.

use std::collections::BTreeMap;

use jiff::Timestamp;
use malote_core::feed::FeedCursor;
use malote_core::outlet::OutletName;
use tokio_postgres::{Client, GenericClient, Row};

use crate::postgres::columns::{micros, timestamp};
use crate::postgres::fault::Fault;
use crate::postgres::spool::args::{self, Id, clean, count};
use crate::postgres::spool::{Tx, feed};
use crate::{
    Disabled, Enqueue, Enqueued, OutboxRow, OutboxSettled, OutboxStep, OutletRecord, StoreError,
};

/// Rows of an outlet that has gone which one step deletes.
const DELETE_STEP: i64 = 2_000;
/// Longest error kept, in octets.
const ERROR_BYTES_MAX: usize = 512;

/// Notes which outlets are configured.
pub(crate) async fn note_configured(
    tx: &Tx<'_>,
    configured: &[OutletName],
    now: Timestamp,
) -> Result<(), Fault> {
    let names: Vec<&str> = configured.iter().map(OutletName::as_str).collect();
    let end = feed::last_place(tx).await?;
    args::run(
        tx,
        "INSERT INTO malote.outlets (name, cursor) SELECT name, $2 FROM unnest($1) AS name
         ORDER BY name ON CONFLICT (name) DO NOTHING",
        &[&names, &end],
    )
    .await?;
    args::run(
        tx,
        "UPDATE malote.outlets SET absent_since = NULL, failing_since = NULL
         WHERE name = ANY($1) AND absent_since IS NOT NULL",
        &[&names],
    )
    .await?;
    args::run(
        tx,
        "UPDATE malote.outlets SET absent_since = $2
         WHERE name <> ALL($1) AND absent_since IS NULL",
        &[&names, &micros(now)],
    )
    .await?;
    Ok(())
}

/// Deletes some of what waits for an outlet that went before `before`; answers which one, how many
/// events went in this step, and whether it is gone whole.
pub(crate) async fn drop_absent(
    tx: &Tx<'_>,
    before: Timestamp,
) -> Result<Option<(OutletName, u64, bool)>, Fault> {
    let absent = args::row(
        tx,
        "SELECT id, name FROM malote.outlets WHERE absent_since <= $1 ORDER BY id LIMIT 1
         FOR UPDATE",
        &[&micros(before)],
    )
    .await?;
    let Some(row) = absent else {
        return Ok(None);
    };
    let id: i64 = row.try_get(0)?;
    let gone = args::run(
        tx,
        "DELETE FROM malote.outbox WHERE outlet = $1 AND feed IN
            (SELECT feed FROM malote.outbox WHERE outlet = $1 ORDER BY feed LIMIT $2)",
        &[&id, &DELETE_STEP],
    )
    .await?;
    let is_whole = (gone as i64) < DELETE_STEP;
    if is_whole {
        args::run(tx, "DELETE FROM malote.outlets WHERE id = $1", &[&id]).await?;
    }
    Ok(Some((OutletName::kept(row.try_get(1)?), gone, is_whole)))
}

const OUTLET: &str = "SELECT o.name, o.cursor, o.waiting,
        (SELECT b.durable_at FROM malote.outbox b WHERE b.outlet = o.id ORDER BY b.feed LIMIT 1),
        o.failing_since, o.last_error, o.enabled_at, o.disabled_at, o.disabled_reason,
        o.absent_since
     FROM malote.outlets o";

/// Every outlet.
pub(crate) async fn outlets(conn: &Client) -> Result<Vec<OutletRecord>, Fault> {
    let sql = format!("{OUTLET} ORDER BY o.name COLLATE \"C\"");
    let found = args::rows(conn, &sql, &[]).await?;
    found.iter().map(record).collect()
}

/// One outlet.
pub(crate) async fn outlet(
    conn: &Client,
    name: &OutletName,
) -> Result<Option<OutletRecord>, Fault> {
    let sql = format!("{OUTLET} WHERE o.name = $1");
    let found = args::row(conn, &sql, &[&name.as_str()]).await?;
    found.as_ref().map(record).transpose()
}

fn record(row: &Row) -> Result<OutletRecord, Fault> {
    let time = |index: usize| -> Result<Option<Timestamp>, Fault> {
        row.try_get::<_, Option<i64>>(index)?
            .map(timestamp)
            .transpose()
    };
    let reason: Option<String> = row.try_get(8)?;
    Ok(OutletRecord {
        name: OutletName::kept(row.try_get(0)?),
        cursor: FeedCursor(row.try_get(1)?),
        waiting: count(row.try_get::<_, i64>(2)?)?,
        oldest_at: time(3)?,
        failing_since: time(4)?,
        last_error: row.try_get(5)?,
        enabled_at: time(6)?,
        disabled: time(7)?.map(|since| Disabled {
            since,
            reason: reason.unwrap_or_default(),
        }),
        absent_since: time(9)?,
    })
}

/// Gives an outlet to a session, unless another that lives has it.
pub(crate) async fn hold(tx: &Tx<'_>, name: &OutletName, session: i64) -> Result<bool, Fault> {
    let held = args::run(
        tx,
        "UPDATE malote.outlets o SET session = $2 WHERE o.name = $1
            AND o.session IS DISTINCT FROM $2 AND NOT EXISTS
                (SELECT 1 FROM malote.sessions s WHERE s.id = o.session AND s.ended_at IS NULL)",
        &[&name.as_str(), &session],
    )
    .await?;
    if held > 0 {
        return Ok(true);
    }
    let sql = "SELECT 1 FROM malote.outlets WHERE name = $1 AND session = $2";
    let found = args::row(tx, sql, &[&name.as_str(), &session]).await?;
    Ok(found.is_some())
}

/// Takes an outlet from a session.
pub(crate) async fn let_go(tx: &Tx<'_>, name: &OutletName, session: i64) -> Result<(), Fault> {
    let sql = "UPDATE malote.outlets SET session = NULL WHERE name = $1 AND session = $2";
    args::run(tx, sql, &[&name.as_str(), &session]).await?;
    Ok(())
}

async fn lock(tx: &Tx<'_>, name: &OutletName) -> Result<Option<(i64, i64)>, Fault> {
    let sql = "SELECT id, waiting FROM malote.outlets WHERE name = $1 FOR UPDATE";
    let found = args::row(tx, sql, &[&name.as_str()]).await?;
    found
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .transpose()
}

/// Adds events and moves the outlet's place.
pub(crate) async fn enqueue(
    tx: &Tx<'_>,
    name: &OutletName,
    wish: &Enqueue,
) -> Result<Enqueued, Fault> {
    let (outlet, waiting) = lock(tx, name)
        .await?
        .ok_or_else(|| Fault::Refused(StoreError::Engine(format!("no outlet {name} is kept"))))?;
    let room = wish.waiting_max.saturating_sub(count(waiting)?);
    if !wish.wanted.is_empty() && (wish.wanted.len() as u64) > room {
        return Ok(Enqueued::Full);
    }
    let places: Vec<i64> = wish.wanted.iter().map(|place| place.0).collect();
    let added = args::rows(
        tx,
        "INSERT INTO malote.outbox (outlet, feed, message, idx, seq, durable_at)
         SELECT $1, feed, message, idx, seq, durable_at FROM malote.events WHERE feed = ANY($2)
         ON CONFLICT (outlet, feed) DO NOTHING RETURNING message",
        &[&outlet, &places],
    )
    .await?;
    let messages = messages(&added)?;
    // A replayed event goes before the later one that waited so far.
    args::run(
        tx,
        "UPDATE malote.outbox o SET due_at = NULL
         WHERE o.outlet = $1 AND o.message = ANY($2) AND o.due_at IS NOT NULL AND o.feed >
            (SELECT min(f.feed) FROM malote.outbox f WHERE f.outlet = $1 AND f.message = o.message)",
        &[&outlet, &messages],
    )
    .await?;
    first_is_due(tx, outlet, &messages, wish.now).await?;
    args::run(
        tx,
        "UPDATE malote.outlets SET waiting = waiting + $2, cursor = coalesce($3, cursor)
         WHERE id = $1",
        &[
            &outlet,
            &(added.len() as i64),
            &wish.next.map(|next| next.0),
        ],
    )
    .await?;
    Ok(Enqueued::Kept(added.len() as u64))
}

/// Takes out all events of messages that go.
pub(crate) async fn drop_messages(tx: &Tx<'_>, ids: &Vec<Id>) -> Result<(), Fault> {
    args::run(
        tx,
        "WITH gone AS (DELETE FROM malote.outbox WHERE message = ANY($1) RETURNING outlet)
         UPDATE malote.outlets o SET waiting = o.waiting - g.n
         FROM (SELECT outlet, count(*) AS n FROM gone GROUP BY outlet) g WHERE o.id = g.outlet",
        &[ids],
    )
    .await?;
    Ok(())
}

fn messages(rows: &[Row]) -> Result<Vec<Id>, Fault> {
    let mut messages = Vec::with_capacity(rows.len());
    for row in rows {
        messages.push(row.try_get(0)?);
    }
    messages.sort_unstable();
    messages.dedup();
    Ok(messages)
}

/// Of each message the first event that waits is due, now if it was not due before.
async fn first_is_due(
    tx: &Tx<'_>,
    outlet: i64,
    messages: &Vec<Id>,
    now: Timestamp,
) -> Result<(), Fault> {
    args::run(
        tx,
        "UPDATE malote.outbox o SET due_at = $3
         FROM (SELECT message, min(feed) AS feed FROM malote.outbox
            WHERE outlet = $1 AND message = ANY($2) GROUP BY message) AS first
         WHERE o.outlet = $1 AND o.feed = first.feed AND o.due_at IS NULL",
        &[&outlet, messages, &micros(now)],
    )
    .await?;
    Ok(())
}

/// Events that are due.
pub(crate) async fn due(
    conn: &Client,
    name: &OutletName,
    count_max: u32,
    now: Timestamp,
) -> Result<Vec<OutboxRow>, Fault> {
    let sql = "SELECT id FROM malote.outlets WHERE name = $1";
    let Some(row) = args::row(conn, sql, &[&name.as_str()]).await? else {
        return Ok(Vec::new());
    };
    let outlet: i64 = row.try_get(0)?;
    let found = args::rows(
        conn,
        "SELECT feed, attempts, first_at FROM malote.outbox
         WHERE outlet = $1 AND due_at IS NOT NULL AND due_at <= $2 ORDER BY due_at, feed LIMIT $3",
        &[&outlet, &micros(now), &i64::from(count_max)],
    )
    .await?;
    let mut places: Vec<i64> = Vec::with_capacity(found.len());
    for row in &found {
        places.push(row.try_get(0)?);
    }
    let events = feed::of_outbox(conn, outlet, &places).await?;
    let mut events: BTreeMap<_, _> = events.into_iter().map(|one| (one.cursor, one)).collect();
    let mut rows = Vec::with_capacity(found.len());
    for (row, place) in found.iter().zip(places) {
        rows.push(OutboxRow {
            cursor: FeedCursor(place),
            event: events.remove(&FeedCursor(place)),
            attempts: count(row.try_get::<_, i32>(1)?)?,
            first_at: row
                .try_get::<_, Option<i64>>(2)?
                .map(timestamp)
                .transpose()?,
        });
    }
    Ok(rows)
}

/// Writes what became of events.
pub(crate) async fn settle(
    tx: &Tx<'_>,
    name: &OutletName,
    settled: &OutboxSettled,
) -> Result<(), Fault> {
    let Some((outlet, _)) = lock(tx, name).await? else {
        return Ok(());
    };
    let (mut done, mut last_error) = (Vec::new(), None);
    for (event, step) in &settled.steps {
        match step {
            OutboxStep::Told => done.push(event.0),
            OutboxStep::Dropped(error) => {
                done.push(event.0);
                last_error = Some(clean(bounded(error)));
            }
            OutboxStep::Again { due_at, error } => {
                let error = clean(bounded(error));
                args::run(
                    tx,
                    "UPDATE malote.outbox SET attempts = attempts + 1, last_error = $3,
                        first_at = coalesce(first_at, $4),
                        due_at = CASE WHEN due_at IS NULL THEN NULL ELSE $5 END
                     WHERE outlet = $1 AND feed = $2",
                    &[
                        &outlet,
                        &event.0,
                        &error,
                        &micros(settled.now),
                        &micros(*due_at),
                    ],
                )
                .await?;
                last_error = Some(error);
            }
        }
    }
    let gone = args::rows(
        tx,
        "DELETE FROM malote.outbox WHERE outlet = $1 AND feed = ANY($2) RETURNING message",
        &[&outlet, &done],
    )
    .await?;
    first_is_due(tx, outlet, &messages(&gone)?, settled.now).await?;
    args::run(
        tx,
        "UPDATE malote.outlets SET waiting = waiting - $2, failing_since = $3,
            last_error = coalesce($4, last_error) WHERE id = $1",
        &[
            &outlet,
            &(gone.len() as i64),
            &settled.failing_since.map(micros),
            &last_error,
        ],
    )
    .await?;
    Ok(())
}

/// Sets an outlet aside.
pub(crate) async fn disable<C: GenericClient>(
    conn: &C,
    name: &OutletName,
    reason: &str,
    now: Timestamp,
) -> Result<bool, Fault> {
    let changed = args::run(
        conn,
        "UPDATE malote.outlets SET disabled_at = coalesce(disabled_at, $2),
            disabled_reason = coalesce(disabled_reason, $3) WHERE name = $1",
        &[&name.as_str(), &micros(now), &clean(bounded(reason))],
    )
    .await?;
    Ok(changed > 0)
}

/// Puts an outlet to work again.
pub(crate) async fn enable<C: GenericClient>(
    conn: &C,
    name: &OutletName,
    now: Timestamp,
) -> Result<bool, Fault> {
    let changed = args::run(
        conn,
        "UPDATE malote.outlets SET disabled_at = NULL, disabled_reason = NULL,
            failing_since = NULL, last_error = NULL, enabled_at = $2 WHERE name = $1",
        &[&name.as_str(), &micros(now)],
    )
    .await?;
    Ok(changed > 0)
}

fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(ERROR_BYTES_MAX)]
}
