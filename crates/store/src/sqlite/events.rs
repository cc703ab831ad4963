//! Providers' events: each applied once, to the delivery it belongs to, moving states only forward.

use jiff::Timestamp;
use malote_core::event::{Blame, EventKind, ProviderEvent, State};
use malote_core::id::DeliveryId;
use malote_core::name::{ProviderName, TargetName};
use rusqlite::{Connection, OptionalExtension, params};

use crate::forward::{
    CANDIDATES_MAX, Known, PART_BYTES_MAX, Teller, UNREADABLE_MAX, dedup_key, next_state,
};
use crate::sqlite::columns::{delivery_pk, message_pk, micros, parsed, state_number, timestamp};
use crate::sqlite::erase;
use crate::sqlite::fault::Fault;
use crate::sqlite::rows::{self, DeliveryRow, opt_str, str_of};
use crate::sqlite::timeline::{self, Line};
use crate::sqlite::writer::Tx;
use crate::{Applied, FirstTold, LastCall, Telling, UnreadRecord};

/// Applies events of a provider, or without one our own; for each the delivery that it is about, or
/// `None` if it matches nothing.
pub(crate) fn apply(
    tx: &mut Tx<'_>,
    provider: Option<&ProviderName>,
    events: &[ProviderEvent],
    now: Timestamp,
) -> Result<Vec<Option<Applied>>, Fault> {
    let mut applied = Vec::with_capacity(events.len());
    for event in events {
        applied.push(apply_one(tx, provider, event, now)?);
    }
    Ok(applied)
}

fn apply_one(
    tx: &mut Tx<'_>,
    provider: Option<&ProviderName>,
    event: &ProviderEvent,
    now: Timestamp,
) -> Result<Option<Applied>, Fault> {
    let Some(pk) = find(tx.conn, provider, event)? else {
        return Ok(None);
    };
    let Some(row) = rows::delivery(tx.conn, pk)? else {
        return Ok(None);
    };
    // Its words would bring back what was erased.
    if erase::is_erased_delivery(tx.conn, pk)? {
        return Ok(None);
    }
    let key = dedup_key(provider, &event.dedup_key);
    let known = known(tx.conn, &key)?;
    let is_new = known.is_none();
    let telling = known.map_or(Telling::New, |known| known.telling(&pk, &event.kind));
    let applied = Applied {
        delivery: rows::leased(tx.conn, pk, row.state)?,
        message: rows::message_by_pk(tx.conn, message_pk(pk))?.record,
        call: last_call(tx.conn, &row, provider)?,
        telling,
    };
    if is_new {
        let teller = Teller::of(applied.call.as_ref());
        take(tx, &row, (provider, teller), event, now)?;
        tx.conn
            .prepare_cached(
                "INSERT INTO event_keys (key, at, delivery, seq, followed)
                 VALUES (?1, ?2, ?3, (SELECT max(seq) FROM events WHERE delivery = ?3), 0)",
            )?
            .execute(params![&key[..], micros(now), pk])?;
    }
    Ok(Some(applied))
}

/// Puts a new event on its timeline.
fn take(
    tx: &mut Tx<'_>,
    row: &DeliveryRow,
    (provider, teller): (Option<&ProviderName>, Teller),
    event: &ProviderEvent,
    now: Timestamp,
) -> Result<(), Fault> {
    if row.state == State::Sending {
        remember(tx.conn, row, teller, &event.kind)?;
    } else if let Some(state) = next_state(row.state, teller, &event.kind) {
        move_to(tx, row, state, now)?;
    }
    let line = Line {
        at: event.at,
        durable_at: now,
        kind: &event.kind,
        blame: event.blame,
        provider,
        detail: &event.detail,
        raw: &event.raw,
    };
    timeline::write(tx, row.pk, &line)
}

/// What is kept under a key.
fn known(conn: &Connection, key: &[u8; 16]) -> Result<Option<Known<i64>>, Fault> {
    let mut find = conn.prepare_cached(
        "SELECT k.followed, e.delivery, e.kind, e.at, e.blame, e.detail FROM event_keys k
         LEFT JOIN events e ON e.delivery = k.delivery AND e.seq = k.seq WHERE k.key = ?1",
    )?;
    let mut rows = find.query([&key[..]])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let first = match row.get::<_, Option<i64>>(1)? {
        None => None,
        Some(delivery) => {
            let first = FirstTold {
                at: timestamp(row.get(3)?)?,
                blame: opt_str(row, 4)?.and_then(Blame::from_word),
                detail: row.get(5)?,
            };
            Some((delivery, EventKind::from_word(str_of(row, 2)?), first))
        }
    };
    Ok(Some(Known {
        first,
        is_followed: row.get(0)?,
    }))
}

/// The last call by which a provider got a delivery.
fn last_call(
    conn: &Connection,
    row: &DeliveryRow,
    provider: Option<&ProviderName>,
) -> Result<Option<LastCall>, Fault> {
    let Some(provider) = provider else {
        return Ok(None);
    };
    let mut find = conn.prepare_cached(
        "SELECT pool, started_at, ended_at IS NULL,
            number = (SELECT max(number) FROM attempts WHERE delivery = ?1)
         FROM attempts WHERE delivery = ?1 AND provider = ?2 ORDER BY number DESC LIMIT 1",
    )?;
    let mut found = find.query(params![row.pk, provider.as_str()])?;
    let Some(call) = found.next()? else {
        return Ok(None);
    };
    let target = TargetName {
        provider: provider.clone(),
        pool: parsed(str_of(call, 0)?, "pool")?,
    };
    // A call under way may not be on record; the last one that is may be over then.
    let is_open: bool = call.get(2)?;
    let is_latest: bool = call.get(3)?;
    Ok(Some(LastCall {
        target,
        started_at: timestamp(call.get(1)?)?,
        is_last: is_latest && (is_open || row.state != State::Sending),
    }))
}

/// Notes that what follows from events was done.
pub(crate) fn followed(
    conn: &Connection,
    provider: &ProviderName,
    dedup_keys: &[String],
) -> Result<(), Fault> {
    let mut note = conn.prepare_cached("UPDATE event_keys SET followed = 1 WHERE key = ?1")?;
    for key in dedup_keys {
        note.execute([&dedup_key(Some(provider), key)[..]])?;
    }
    Ok(())
}

/// The provider was faster than our own settlement, which will find this.
fn remember(
    conn: &Connection,
    row: &DeliveryRow,
    teller: Teller,
    kind: &EventKind,
) -> Result<(), Fault> {
    let told = row.told_state.unwrap_or(State::Unknown);
    if let Some(state) = next_state(told, teller, kind) {
        conn.prepare_cached("UPDATE deliveries SET told_state = ?2 WHERE id = ?1")?
            .execute([row.pk, state_number(state)])?;
    }
    Ok(())
}

fn move_to(tx: &mut Tx<'_>, row: &DeliveryRow, to: State, at: Timestamp) -> Result<(), Fault> {
    tx.conn
        .prepare_cached("UPDATE deliveries SET state = ?2 WHERE id = ?1")?
        .execute([row.pk, state_number(to)])?;
    timeline::moved(tx, row.pk, (row.lane, row.state), (row.lane, to), at)
}

/// The delivery that an event is about: by our own id, else by the provider's id and recipient.
fn find(
    conn: &Connection,
    provider: Option<&ProviderName>,
    event: &ProviderEvent,
) -> Result<Option<i64>, Fault> {
    let Some(provider) = provider else {
        return named(conn, event);
    };
    if let Some(id) = event.delivery
        && let Some(message) = rows::message_pk(conn, id.message)?
    {
        let pk = delivery_pk(message, id.index);
        // Of a call under way that is not on record it may be that it is meant, or an earlier one.
        let recipient: Option<String> = conn
            .prepare_cached(
                "SELECT d.recipient FROM deliveries d WHERE d.id = ?1 AND EXISTS
                    (SELECT 1 FROM attempts a WHERE a.delivery = d.id AND a.provider = ?2)
                 AND (d.state <> 2 OR EXISTS
                    (SELECT 1 FROM attempts a WHERE a.delivery = d.id AND a.ended_at IS NULL))",
            )?
            .query_row(params![pk, provider.as_str()], |row| row.get(0))
            .optional()?;
        // Not every service signs what it tells: an event about another recipient is not ours.
        let is_meant = |own: &String| {
            let told = event.recipient.as_ref();
            told.is_none_or(|told| told.key() == own.to_lowercase())
        };
        if recipient.as_ref().is_some_and(is_meant) {
            return Ok(Some(pk));
        }
    }
    let Some(message) = &event.provider_message_id else {
        return Ok(None);
    };
    let candidates: Vec<(i64, String)> = conn
        .prepare_cached(
            "SELECT DISTINCT d.id, d.recipient FROM attempts a JOIN deliveries d ON d.id = a.delivery
             WHERE a.provider_message_id = ?1 AND a.provider = ?2 LIMIT ?3",
        )?
        .query_map(
            params![message, provider.as_str(), CANDIDATES_MAX],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?
        .collect::<rusqlite::Result<_>>()?;
    Ok(match (&event.recipient, &candidates[..]) {
        (Some(recipient), _) => {
            let key = recipient.key();
            let theirs = candidates.iter().find(|(_, own)| own.to_lowercase() == key);
            theirs.map(|(pk, _)| *pk)
        }
        (None, [(pk, _)]) => Some(*pk),
        (None, _) => None,
    })
}

/// The delivery that an event of our own names.
fn named(conn: &Connection, event: &ProviderEvent) -> Result<Option<i64>, Fault> {
    let Some(id) = event.delivery else {
        return Ok(None);
    };
    let message = rows::message_pk(conn, id.message)?;
    Ok(message.map(|message| delivery_pk(message, id.index)))
}

/// Which of these deliveries are under way.
pub(crate) fn under_way(
    conn: &Connection,
    deliveries: &[DeliveryId],
) -> Result<Vec<DeliveryId>, Fault> {
    let mut under_way = Vec::new();
    for id in deliveries {
        let Some(message) = rows::message_pk(conn, id.message)? else {
            continue;
        };
        let row = rows::delivery(conn, delivery_pk(message, id.index))?;
        if row.is_some_and(|row| row.state == State::Sending) {
            under_way.push(*id);
        }
    }
    Ok(under_way)
}

/// Keeps parts of webhooks that could not be read; the oldest go first.
pub(crate) fn keep_unreadable(
    tx: &mut Tx<'_>,
    provider: &ProviderName,
    parts: &[String],
    now: Timestamp,
) -> Result<(), Fault> {
    for part in parts {
        let kept = &part[..part.floor_char_boundary(PART_BYTES_MAX)];
        tx.conn
            .prepare_cached("INSERT INTO unreadable (provider, at, part) VALUES (?1, ?2, ?3)")?
            .execute(params![provider.as_str(), micros(now), kept])?;
    }
    tx.conn
        .prepare_cached("DELETE FROM unreadable WHERE id <= (SELECT max(id) FROM unreadable) - ?1")?
        .execute([UNREADABLE_MAX])?;
    Ok(())
}

/// The newest parts of webhooks that could not be read.
pub(crate) fn unreadable(conn: &Connection, limit: u16) -> Result<Vec<UnreadRecord>, Fault> {
    let mut find =
        conn.prepare_cached("SELECT provider, at, part FROM unreadable ORDER BY id DESC LIMIT ?1")?;
    let mut found = find.query([limit])?;
    let mut records = Vec::new();
    while let Some(row) = found.next()? {
        records.push(UnreadRecord {
            provider: parsed(str_of(row, 0)?, "provider")?,
            at: timestamp(row.get(1)?)?,
            part: str_of(row, 2)?.to_owned(),
        });
    }
    Ok(records)
}
