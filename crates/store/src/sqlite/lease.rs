//! Lease: due deliveries of a lane, new mail and backlog in turn, a message's deliveries together.

use std::collections::HashSet;

use jiff::Timestamp;
use malote_core::event::{EventKind, State};
use rusqlite::{Connection, OptionalExtension, params};

use crate::lease_order::in_turn;
use crate::sqlite::body::BodyFiles;
use crate::sqlite::columns::{self, delivery_range, message_pk, micros, state_number};
use crate::sqlite::fault::Fault;
use crate::sqlite::rows::{self, DeliveryRow};
use crate::sqlite::timeline;
use crate::sqlite::writer::Tx;
use crate::{AttemptStart, EventRecord, LeasedMessage, NodeSession, PendingAttempt, StoreError};
use malote_core::name::TargetName;

/// Deliveries leased at once whatever the caller asks for.
const COUNT_MAX: u32 = 10_000;
/// Octets of bodies leased at once, unless one alone is larger: they are all held in memory.
const BODY_BYTES_MAX: i64 = 16 << 20;

/// The leased deliveries of one message, by row id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) message: i64,
    pub(crate) deliveries: Vec<i64>,
}

/// A message and the deliveries of it to lease, with the states they are in.
type Chosen = (i64, Vec<(i64, State)>);

/// Which lease is wished for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) session: NodeSession,
    pub(crate) lane: i64,
    pub(crate) count_max: u32,
    pub(crate) now: Timestamp,
}

/// Chooses and marks deliveries.
pub(crate) fn lease(tx: &mut Tx<'_>, wish: Wish) -> Result<Vec<Taken>, Fault> {
    let count_max = wish.count_max.min(COUNT_MAX);
    release_scheduled(tx, wish.lane, count_max, wish.now)?;
    let fresh = due(tx.conn, &wish, State::Queued, count_max)?;
    let backlog = due(tx.conn, &wish, State::Deferred, count_max)?;
    tx.memory.leases = tx.memory.leases.wrapping_add(1);
    let candidates = if tx.memory.leases.is_multiple_of(2) {
        in_turn(&backlog, &fresh)
    } else {
        in_turn(&fresh, &backlog)
    };
    let chosen = with_siblings(tx.conn, &candidates, &wish, count_max as usize)?;
    let mut leased: Vec<Taken> = Vec::with_capacity(chosen.len());
    for (message, deliveries) in chosen {
        for (pk, before) in &deliveries {
            mark(tx, *pk, *before, &wish)?;
        }
        leased.push(Taken {
            message,
            deliveries: deliveries.into_iter().map(|(pk, _)| pk).collect(),
        });
    }
    Ok(leased)
}

fn due(conn: &Connection, wish: &Wish, state: State, count_max: u32) -> Result<Vec<i64>, Fault> {
    let mut find = conn.prepare_cached(
        "SELECT id FROM deliveries WHERE state IN (0, 1, 5) AND lane = ?1 AND state = ?2
            AND due_at <= ?3 ORDER BY due_at LIMIT ?4",
    )?;
    let found = find.query_map(
        params![wish.lane, state_number(state), micros(wish.now), count_max],
        |row| row.get(0),
    )?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Adds to each candidate the other due deliveries of its message. A message that does not fit
/// any more ends the lease, unless it is the first: then it is leased in parts.
fn with_siblings(
    conn: &Connection,
    candidates: &[i64],
    wish: &Wish,
    count_max: usize,
) -> Result<Vec<Chosen>, Fault> {
    let mut chosen: Vec<Chosen> = Vec::new();
    let mut seen = HashSet::new();
    let mut room = count_max;
    let mut bytes = 0;
    for pk in candidates {
        let message = message_pk(*pk);
        if room == 0 {
            break;
        }
        if !seen.insert(message) {
            continue;
        }
        let mut deliveries = due_of_message(conn, message, wish)?;
        bytes += body_bytes(conn, message)?;
        let fits = deliveries.len() <= room && bytes <= BODY_BYTES_MAX;
        if !fits && !chosen.is_empty() {
            break;
        }
        deliveries.truncate(room);
        room -= deliveries.len();
        chosen.push((message, deliveries));
    }
    Ok(chosen)
}

fn body_bytes(conn: &Connection, message: i64) -> Result<i64, Fault> {
    let size = conn
        .prepare_cached("SELECT size_bytes FROM messages WHERE pk = ?1")?
        .query_row([message], |row| row.get(0))
        .optional()?;
    Ok(size.unwrap_or(0))
}

fn due_of_message(
    conn: &Connection,
    message: i64,
    wish: &Wish,
) -> Result<Vec<(i64, State)>, Fault> {
    let (first, last) = delivery_range(message);
    let mut find = conn.prepare_cached(
        "SELECT id, state FROM deliveries NOT INDEXED WHERE id BETWEEN ?1 AND ?2 AND lane = ?3
            AND state IN (1, 5) AND due_at <= ?4",
    )?;
    let mut rows = find.query(params![first, last, wish.lane, micros(wish.now)])?;
    let mut found = Vec::with_capacity(1);
    while let Some(row) = rows.next()? {
        found.push((row.get(0)?, columns::state(row.get(1)?)?));
    }
    Ok(found)
}

fn mark(tx: &mut Tx<'_>, pk: i64, before: State, wish: &Wish) -> Result<(), Fault> {
    tx.conn
        .prepare_cached(
            "UPDATE deliveries SET prior_state = state, state = 2, session = ?2 WHERE id = ?1",
        )?
        .execute([pk, wish.session.0])?;
    tx.memory.count(wish.lane, before, -1);
    tx.memory.count(wish.lane, State::Sending, 1);
    Ok(())
}

/// Queues what was scheduled in a lane and is due.
pub(crate) fn release_scheduled(
    tx: &mut Tx<'_>,
    lane: i64,
    count_max: u32,
    now: Timestamp,
) -> Result<(), Fault> {
    let found: Vec<i64> = tx
        .conn
        .prepare_cached(
            "SELECT id FROM deliveries WHERE state IN (0, 1, 5) AND lane = ?1 AND state = 0
                AND due_at <= ?2 ORDER BY due_at LIMIT ?3",
        )?
        .query_map(params![lane, micros(now), count_max], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for pk in found {
        tx.conn
            .prepare_cached("UPDATE deliveries SET state = 1 WHERE id = ?1")?
            .execute([pk])?;
        tx.memory.count(lane, State::Scheduled, -1);
        tx.memory.count(lane, State::Queued, 1);
    }
    Ok(())
}

/// Gives leased deliveries back as they were; those that were settled meanwhile stay so.
pub(crate) fn give_back(
    tx: &mut Tx<'_>,
    session: NodeSession,
    deliveries: &[i64],
) -> Result<(), Fault> {
    for pk in deliveries {
        if let Some(row) = rows::delivery(tx.conn, *pk)?
            && row.state == State::Sending
            && row.session == Some(session.0)
        {
            unlease(tx, &row, false)?;
        }
    }
    Ok(())
}

fn unlease(tx: &mut Tx<'_>, row: &DeliveryRow, is_crash: bool) -> Result<(), Fault> {
    let back_to = row.prior_state.unwrap_or(State::Queued);
    tx.conn
        .prepare_cached(
            "UPDATE deliveries SET state = ?2, session = NULL, prior_state = NULL,
                crashes = crashes + ?3 WHERE id = ?1",
        )?
        .execute(params![row.pk, state_number(back_to), is_crash])?;
    tx.memory.count(row.lane, State::Sending, -1);
    tx.memory.count(row.lane, back_to, 1);
    Ok(())
}

/// Opens a session and gives back the leases of every earlier one. Every lost lease counts as a
/// crash: without a journaled start nobody knows whether the delivery was the one that broke it.
pub(crate) fn open_session(
    tx: &mut Tx<'_>,
    now: Timestamp,
) -> Result<(NodeSession, Vec<PendingAttempt>), Fault> {
    let session: i64 = tx
        .conn
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES ('session', 1)
             ON CONFLICT (key) DO UPDATE SET value = value + 1 RETURNING value",
        )?
        .query_row([], |row| row.get(0))?;
    let leased: Vec<i64> = tx
        .conn
        .prepare_cached("SELECT id FROM deliveries WHERE state = 2")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut pending = Vec::new();
    for pk in leased {
        match take_over(tx, pk, session) {
            Ok(found) => pending.extend(found),
            Err(fault) => set_aside(tx, pk, fault, now)?,
        }
    }
    Ok((NodeSession(session), pending))
}

/// Queues a lost lease again, or keeps it for the new session if its attempt had begun.
fn take_over(tx: &mut Tx<'_>, pk: i64, session: i64) -> Result<Option<PendingAttempt>, Fault> {
    let Some(row) = rows::delivery(tx.conn, pk)? else {
        return Ok(None);
    };
    let Some(attempt) = open_attempt(tx.conn, pk)? else {
        unlease(tx, &row, true)?;
        return Ok(None);
    };
    tx.conn
        .prepare_cached("UPDATE deliveries SET session = ?2, crashes = crashes + 1 WHERE id = ?1")?
        .execute([pk, session])?;
    let delivery = rows::leased(tx.conn, pk, row.prior_state.unwrap_or(State::Queued))?;
    Ok(Some(PendingAttempt { delivery, attempt }))
}

/// The attempt of a delivery that has begun and not ended.
fn open_attempt(conn: &Connection, pk: i64) -> Result<Option<AttemptStart>, Fault> {
    let found = conn
        .prepare_cached(
            "SELECT number, provider, pool, started_at, reason FROM attempts
             WHERE delivery = ?1 AND ended_at IS NULL ORDER BY number DESC LIMIT 1",
        )?
        .query_row([pk], |row| {
            Ok((
                row.get::<_, u32>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, i64>(3)?,
                row.get::<_, String>(4)?,
            ))
        })
        .optional()?;
    let Some((number, provider, pool, at, reason)) = found else {
        return Ok(None);
    };
    let message = rows::message_id(conn, message_pk(pk))?;
    Ok(Some(AttemptStart {
        delivery: columns::delivery_id(*message.as_bytes(), pk),
        number,
        target: TargetName {
            provider: columns::parsed(provider, "provider")?,
            pool: columns::parsed(pool, "pool")?,
        },
        at: columns::timestamp(at)?,
        reason,
    }))
}

/// Quarantines a leased delivery whose record cannot be read, so that it never comes again.
pub(crate) fn set_aside(
    tx: &mut Tx<'_>,
    pk: i64,
    fault: Fault,
    at: Timestamp,
) -> Result<(), Fault> {
    let reason = match fault {
        Fault::Refused(StoreError::Damaged(what)) => what,
        fault @ (Fault::Full | Fault::Disk(_) | Fault::Refused(_)) => return Err(fault),
    };
    let Some(row) = rows::delivery(tx.conn, pk)? else {
        return Ok(());
    };
    tx.conn
        .prepare_cached(
            "UPDATE deliveries SET state = 12, session = NULL, prior_state = NULL, due_at = NULL
             WHERE id = ?1",
        )?
        .execute([pk])?;
    timeline::moved(
        tx,
        pk,
        (row.lane, row.state),
        (row.lane, State::Quarantined),
        at,
    )?;
    let event = EventRecord {
        at,
        kind: EventKind::Quarantined,
        blame: None,
        provider: None,
        detail: reason,
    };
    timeline::write_event(tx, pk, &event)
}

/// A lease read back: what can be sent, and what cannot even be read, with the reason.
pub(crate) struct Loaded {
    pub(crate) messages: Vec<LeasedMessage>,
    pub(crate) unreadable: Vec<(i64, StoreError)>,
}

/// Reads the leased messages with their bodies.
pub(crate) fn load(
    conn: &Connection,
    files: &BodyFiles,
    chosen: &[Taken],
) -> Result<Loaded, Fault> {
    let mut loaded = Loaded {
        messages: Vec::with_capacity(chosen.len()),
        unreadable: Vec::new(),
    };
    for taken in chosen {
        match rows::message_by_pk(conn, taken.message) {
            Ok(message) => load_message(conn, files, taken, (message, &mut loaded))?,
            Err(Fault::Refused(error)) => {
                let all = taken.deliveries.iter().map(|pk| (*pk, error.clone()));
                loaded.unreadable.extend(all);
            }
            Err(fault @ (Fault::Full | Fault::Disk(_))) => return Err(fault),
        }
    }
    Ok(loaded)
}

fn load_message(
    conn: &Connection,
    files: &BodyFiles,
    taken: &Taken,
    (message, loaded): (rows::MessageRow, &mut Loaded),
) -> Result<(), Fault> {
    let (body, damage) = match files.load(conn, &message.body) {
        Ok(Some(body)) => (body, None),
        Ok(None) => (
            bytes::Bytes::new(),
            Some("retention has dropped the body".to_owned()),
        ),
        Err(Fault::Refused(StoreError::Damaged(what))) => (bytes::Bytes::new(), Some(what)),
        Err(fault) => return Err(fault),
    };
    let mut deliveries = Vec::with_capacity(taken.deliveries.len());
    for pk in &taken.deliveries {
        let before = rows::delivery(conn, *pk)?.and_then(|row| row.prior_state);
        match rows::leased(conn, *pk, before.unwrap_or(State::Queued)) {
            Ok(mut delivery) => {
                delivery.damaged.clone_from(&damage);
                deliveries.push(delivery);
            }
            Err(Fault::Refused(error)) => loaded.unreadable.push((*pk, error)),
            Err(fault @ (Fault::Full | Fault::Disk(_))) => return Err(fault),
        }
    }
    if !deliveries.is_empty() {
        loaded.messages.push(LeasedMessage {
            record: message.record,
            body,
            deliveries_total: message.deliveries,
            deliveries,
        });
    }
    Ok(())
}

/// When the earliest waiting delivery of a lane is due.
pub(crate) fn next_due(conn: &Connection, lane: i64) -> Result<Option<Timestamp>, Fault> {
    let mut earliest: Option<i64> = None;
    for state in [State::Queued, State::Deferred, State::Scheduled] {
        let due = oldest_due(conn, lane, state)?;
        earliest = earliest.into_iter().chain(due).min();
    }
    earliest.map(columns::timestamp).transpose()
}

/// The earliest due time of a lane in one waiting state.
pub(crate) fn oldest_due(conn: &Connection, lane: i64, state: State) -> Result<Option<i64>, Fault> {
    Ok(conn
        .prepare_cached(
            "SELECT min(due_at) FROM deliveries WHERE state IN (0, 1, 5) AND lane = ?1
                AND state = ?2",
        )?
        .query_row(params![lane, state_number(state)], |row| row.get(0))?)
}
