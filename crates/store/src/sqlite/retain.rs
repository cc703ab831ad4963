//! What ends by time: mail too old to be sent, bodies and messages kept long enough.

use jiff::{SignedDuration, Timestamp};
use malote_core::event::{EventKind, State};
use malote_core::id::{DeliveryId, MessageId};
use rusqlite::{Connection, OptionalExtension, params};

use crate::sqlite::accept::IDEMPOTENCY_KEPT;
use crate::sqlite::body::Place;
use crate::sqlite::columns::{self, delivery_pk, delivery_range, micros};
use crate::sqlite::erase;
use crate::sqlite::fault::Fault;
use crate::sqlite::lease::{self, release_scheduled};
use crate::sqlite::outbox;
use crate::sqlite::rows;
use crate::sqlite::timeline::{self, Line};
use crate::sqlite::view::lane_ids;
use crate::sqlite::writer::Tx;
use crate::words::{QUOTAS_KEPT, SOFT_BOUNCES_KEPT};
use crate::{Erasing, Leased, StoreError};

/// Messages that one retention step drops, so that it never holds the writer for long.
const STEP: i64 = 500;
/// Steps of one call.
pub(crate) const STEPS_MAX: usize = 20;
/// Rows of one table that one step forgets.
const FORGET_STEP: i64 = 2_000;
/// Such steps of one call: ten thousand keys a second at the engine's pace of one call in 10 s.
pub(crate) const FORGET_STEPS_MAX: usize = 50;
/// How long at least a provider's event is known to have been applied; providers repeat for hours or
/// days. As long as messages are kept it is, too: whoever tells an old one again finds its message.
const EVENT_KEYS_KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);
/// When a message past its time with only held or leased deliveries is looked at again.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_mins(5);

/// What waits beyond its time, and what of it cannot be read; so many in all.
pub(crate) fn overdue(
    conn: &Connection,
    count_max: u32,
    now: Timestamp,
) -> Result<(Vec<Leased>, Vec<i64>), Fault> {
    let (mut overdue, mut unreadable) = (Vec::new(), Vec::new());
    for message in overdue_messages(conn, count_max, now)? {
        for pk in waiting(conn, message)? {
            if overdue.len() + unreadable.len() >= count_max as usize {
                return Ok((overdue, unreadable));
            }
            let Some(row) = rows::delivery(conn, pk)? else {
                continue;
            };
            match rows::leased(conn, pk, row.state) {
                Ok(leased) => overdue.push(leased),
                Err(Fault::Refused(StoreError::Damaged(_))) => unreadable.push(pk),
                Err(fault) => return Err(fault),
            }
        }
    }
    Ok((overdue, unreadable))
}

/// Sets aside what of these waits still and cannot be read.
pub(crate) fn set_aside(tx: &mut Tx<'_>, deliveries: &[i64], now: Timestamp) -> Result<(), Fault> {
    for pk in deliveries {
        if let Some(row) = rows::delivery(tx.conn, *pk)?
            && timeline::is_waiting(row.state)
            && let Err(fault) = rows::leased(tx.conn, *pk, row.state)
        {
            lease::set_aside(tx, *pk, fault, now)?;
        }
    }
    Ok(())
}

/// Settles as expired what of this waits beyond its time, and queues what was scheduled and is due.
/// It looks at nothing else: its caller has told of what it names, and the writer is waited for.
pub(crate) fn expire(
    tx: &mut Tx<'_>,
    overdue: &[DeliveryId],
    (count_max, now): (u32, Timestamp),
) -> Result<Vec<Leased>, Fault> {
    for (lane, _) in lane_ids(tx.conn)? {
        release_scheduled(tx, lane.0, count_max, now)?;
    }
    let mut expired = Vec::new();
    for id in overdue {
        if let Some(message) = overdue_message(tx.conn, id.message, now)? {
            expired.extend(expire_delivery(tx, delivery_pk(message, id.index), now)?);
        }
    }
    for message in overdue_messages(tx.conn, count_max, now)? {
        look_again_later(tx.conn, message, now)?;
    }
    Ok(expired)
}

fn overdue_messages(conn: &Connection, count_max: u32, now: Timestamp) -> Result<Vec<i64>, Fault> {
    let messages = conn
        .prepare_cached(
            "SELECT pk FROM messages WHERE settled_at IS NULL AND check_at <= ?1
             ORDER BY check_at LIMIT ?2",
        )?
        .query_map(params![micros(now), count_max], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(messages)
}

fn overdue_message(conn: &Connection, id: MessageId, now: Timestamp) -> Result<Option<i64>, Fault> {
    let found = conn
        .prepare_cached(
            "SELECT pk FROM messages WHERE id = ?1 AND settled_at IS NULL AND check_at <= ?2",
        )?
        .query_row(params![&id.as_bytes()[..], micros(now)], |row| row.get(0))
        .optional()?;
    Ok(found)
}

fn waiting(conn: &Connection, message: i64) -> Result<Vec<i64>, Fault> {
    let (first, last) = delivery_range(message);
    let waiting = conn
        .prepare_cached(
            "SELECT id FROM deliveries NOT INDEXED WHERE id BETWEEN ?1 AND ?2
                AND state IN (0, 1, 5)",
        )?
        .query_map([first, last], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(waiting)
}

/// Puts off a message of which nothing waits.
fn look_again_later(conn: &Connection, message: i64, now: Timestamp) -> Result<(), Fault> {
    let (first, last) = delivery_range(message);
    let again = now.saturating_add(LOOK_AGAIN).unwrap_or(now);
    conn.prepare_cached(
        "UPDATE messages SET check_at = ?2 WHERE pk = ?1 AND NOT EXISTS
            (SELECT 1 FROM deliveries NOT INDEXED WHERE id BETWEEN ?3 AND ?4
                AND state IN (0, 1, 5))",
    )?
    .execute(params![message, micros(again), first, last])?;
    Ok(())
}

fn expire_delivery(tx: &mut Tx<'_>, pk: i64, now: Timestamp) -> Result<Option<Leased>, Fault> {
    let row = rows::delivery(tx.conn, pk)?;
    let Some(row) = row.filter(|row| timeline::is_waiting(row.state)) else {
        return Ok(None);
    };
    let before = match rows::leased(tx.conn, pk, row.state) {
        Ok(before) => before,
        Err(fault) => {
            lease::set_aside(tx, pk, fault, now)?;
            return Ok(None);
        }
    };
    tx.conn
        .prepare_cached("UPDATE deliveries SET state = 9, due_at = NULL WHERE id = ?1")?
        .execute([pk])?;
    let (from, to) = ((row.lane, row.state), (row.lane, State::Expired));
    timeline::moved(tx, pk, from, to, now)?;
    let line = Line {
        at: now,
        durable_at: now,
        kind: &EventKind::Expired,
        blame: None,
        provider: None,
        detail: "waited longer than its stream allows",
        raw: &[],
    };
    timeline::write(tx, pk, &line)?;
    Ok(Some(before))
}

/// What one retention step dropped.
#[derive(Debug, Default)]
pub(crate) struct Dropped {
    pub(crate) bodies: u64,
    pub(crate) messages: u64,
    /// Bodies in files, to be removed after the commit.
    pub(crate) files: Vec<MessageId>,
}

/// Drops whole messages, and bodies; bounded. Nothing dropped means nothing is left to drop.
pub(crate) fn step(
    tx: &mut Tx<'_>,
    bodies_before: Timestamp,
    all_before: Timestamp,
) -> Result<Dropped, Fault> {
    let mut dropped = Dropped::default();
    for place in [Place::Dropped, Place::Table, Place::File] {
        for (pk, id) in settled(tx.conn, place, all_before)? {
            drop_message(tx.conn, pk)?;
            dropped.messages += 1;
            if place != Place::Dropped {
                dropped.bodies += 1;
            }
            if place == Place::File {
                dropped.files.push(id);
            }
        }
    }
    for place in [Place::Table, Place::File] {
        for (pk, id) in settled(tx.conn, place, bodies_before)? {
            drop_body(tx.conn, pk)?;
            dropped.bodies += 1;
            if place == Place::File {
                dropped.files.push(id);
            }
        }
    }
    drop_erased(tx.conn, &mut dropped)?;
    Ok(dropped)
}

/// Drops bodies that hold an erased address and that nobody waits for any more.
fn drop_erased(conn: &Connection, dropped: &mut Dropped) -> Result<(), Fault> {
    let mut find = conn.prepare_cached(
        "SELECT pk, id, body_place FROM messages WHERE erased = 1 AND settled_at IS NOT NULL
         LIMIT ?1",
    )?;
    let found = find.query_map([STEP], |row| {
        Ok((row.get(0)?, MessageId::from_bytes(row.get(1)?), row.get(2)?))
    })?;
    let found: Vec<(i64, MessageId, i64)> = found.collect::<rusqlite::Result<_>>()?;
    if found.is_empty() {
        return Ok(());
    }
    erase::thoroughly(conn, Erasing::Erase, || {
        for (pk, id, place) in found {
            drop_body(conn, pk)?;
            dropped.bodies += 1;
            if Place::of(place)? == Place::File {
                dropped.files.push(id);
            }
        }
        Ok(())
    })
}

fn settled(
    conn: &Connection,
    place: Place,
    before: Timestamp,
) -> Result<Vec<(i64, MessageId)>, Fault> {
    let mut find = conn.prepare_cached(
        "SELECT pk, id FROM messages WHERE settled_at IS NOT NULL AND body_place = ?1
            AND settled_at < ?2 ORDER BY settled_at LIMIT ?3",
    )?;
    let found = find.query_map(params![place.number(), micros(before), STEP], |row| {
        Ok((row.get(0)?, MessageId::from_bytes(row.get(1)?)))
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Drops a body, but for its file.
pub(crate) fn drop_body(conn: &Connection, pk: i64) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM bodies WHERE message = ?1")?
        .execute([pk])?;
    conn.prepare_cached("UPDATE messages SET body_place = 0, erased = 0 WHERE pk = ?1")?
        .execute([pk])?;
    Ok(())
}

fn drop_message(conn: &Connection, pk: i64) -> Result<(), Fault> {
    let (first, last) = delivery_range(pk);
    let gone: Vec<(i64, i64)> = conn
        .prepare_cached("DELETE FROM deliveries WHERE id BETWEEN ?1 AND ?2 RETURNING lane, state")?
        .query_map([first, last], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (lane, state) in gone {
        conn.prepare_cached("UPDATE counters SET n = n - 1 WHERE lane = ?1 AND state = ?2")?
            .execute([lane, state])?;
    }
    // Places in the feed are never given out twice either.
    for sql in [
        "DELETE FROM raw_events WHERE feed IN
            (SELECT feed FROM events WHERE delivery BETWEEN ?1 AND ?2)",
        "DELETE FROM feed WHERE id IN
            (SELECT feed FROM events WHERE delivery BETWEEN ?1 AND ?2)",
        "INSERT INTO meta (key, value) SELECT 'next_feed', coalesce(max(feed), 0) + 1
            FROM events WHERE delivery BETWEEN ?1 AND ?2
         ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)",
        "DELETE FROM attempts WHERE delivery BETWEEN ?1 AND ?2",
        "DELETE FROM events WHERE delivery BETWEEN ?1 AND ?2",
    ] {
        conn.prepare_cached(sql)?.execute([first, last])?;
    }
    outbox::drop_message(conn, pk)?;
    for tag in rows::tags(conn, pk)? {
        conn.prepare_cached("DELETE FROM tags WHERE tag = ?1 AND message = ?2")?
            .execute(params![tag, pk])?;
    }
    // Row ids of messages are never given out twice, so a cursor never meets another message.
    for sql in [
        "DELETE FROM bodies WHERE message = ?1",
        "INSERT INTO meta (key, value) VALUES ('next_message', ?1 + 1)
         ON CONFLICT (key) DO UPDATE SET value = max(value, ?1 + 1)",
        "DELETE FROM messages WHERE pk = ?1",
    ] {
        conn.prepare_cached(sql)?.execute([pk])?;
    }
    Ok(())
}

/// Forgets keys and counts that nothing asks for any more, the oldest first; bounded. Answers
/// whether there may be more of them: after a long stop a day's keys are over at once.
pub(crate) fn forget(
    tx: &mut Tx<'_>,
    all_before: Timestamp,
    now: Timestamp,
) -> Result<bool, Fault> {
    let before = |kept: SignedDuration| {
        let at = now.saturating_sub(kept);
        at.map_err(|_| columns::damaged("time out of range"))
    };
    let event_keys = micros(before(EVENT_KEYS_KEPT)?.min(all_before));
    let keys = micros(before(IDEMPOTENCY_KEPT)?);
    let soft_bounces = micros(before(SOFT_BOUNCES_KEPT)?);
    let hours = before(QUOTAS_KEPT)?.as_second().div_euclid(3_600);
    let mut is_full = false;
    for (sql, bound) in [
        (
            "DELETE FROM event_keys WHERE key IN
                (SELECT key FROM event_keys WHERE at < ?1 ORDER BY at LIMIT ?2)",
            event_keys,
        ),
        (
            "DELETE FROM idempotency WHERE (credential, key) IN
                (SELECT credential, key FROM idempotency WHERE created_at < ?1
                 ORDER BY created_at LIMIT ?2)",
            keys,
        ),
        (
            "DELETE FROM soft_bounces WHERE (hash, at, event) IN
                (SELECT hash, at, event FROM soft_bounces WHERE at < ?1 LIMIT ?2)",
            soft_bounces,
        ),
        (
            "DELETE FROM quotas WHERE (account, hour) IN
                (SELECT account, hour FROM quotas WHERE hour < ?1 LIMIT ?2)",
            hours,
        ),
    ] {
        let gone = tx.conn.prepare_cached(sql)?.execute([bound, FORGET_STEP])?;
        is_full |= gone as i64 == FORGET_STEP;
    }
    Ok(is_full)
}
