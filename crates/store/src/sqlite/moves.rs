//! What operators do to deliveries: cancel, hold, release, resolve.

use jiff::Timestamp;
use malote_core::event::State;
use malote_core::id::DeliveryId;
use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

use crate::QueueFilter;
use crate::address_key::AddressKey;
use crate::moving::Move;
use crate::sqlite::body::Place;
use crate::sqlite::columns::{self, damaged, delivery_pk, delivery_range, micros, state_number};
use crate::sqlite::erase;
use crate::sqlite::fault::Fault;
use crate::sqlite::rows::{self, DeliveryRow};
use crate::sqlite::timeline::{self, Line};
use crate::sqlite::writer::Tx;

/// Deliveries moved in one operation; a larger move is written in parts, between which mail goes
/// in and out.
pub(crate) const PART: usize = 1_000;

/// The row ids of deliveries that a filter selects and a move may touch.
pub(crate) fn select(
    conn: &Connection,
    key: &AddressKey,
    filter: &QueueFilter,
    action: &Move,
) -> Result<Vec<i64>, Fault> {
    action.event()?;
    if *filter == QueueFilter::default() {
        return Ok(Vec::new());
    }
    let states = action.from().iter().copied();
    let mut found = Vec::new();
    for state in states.filter(|state| filter.state.is_none_or(|only| only == *state)) {
        found.extend(select_state(conn, key, filter, state)?);
    }
    found.sort_unstable();
    Ok(found)
}

fn select_state(
    conn: &Connection,
    key: &AddressKey,
    filter: &QueueFilter,
    state: State,
) -> Result<Vec<i64>, Fault> {
    let Some((first, last)) = range(conn, filter)? else {
        return Ok(Vec::new());
    };
    let mut values = vec![Value::from(state_number(state)), first.into(), last.into()];
    let mut sql = "SELECT d.id, d.recipient FROM deliveries d
        JOIN messages m ON m.pk = d.id / 65536
        WHERE d.state = ?1 AND d.id BETWEEN ?2 AND ?3"
        .to_owned();
    let is_narrow = first != i64::MIN || filter.recipient.is_some();
    match state {
        _ if is_narrow => {}
        State::Scheduled | State::Queued | State::Deferred => {
            sql.push_str(" AND d.state IN (0, 1, 5) AND d.lane IN (SELECT id FROM lanes)");
        }
        State::Held | State::Unknown | State::Quarantined => {
            sql.push_str(" AND d.state IN (6, 11, 12)");
        }
        State::Sending
        | State::Sent
        | State::Delivered
        | State::Bounced
        | State::Suppressed
        | State::Expired
        | State::Cancelled => {}
    }
    let mut also = |condition: &str, value: Value| {
        values.push(value);
        sql.push_str(&format!(" AND {condition} = ?{}", values.len()));
    };
    if let Some(stream) = &filter.stream {
        also("m.stream", stream.as_str().to_owned().into());
    }
    if let Some(owner) = &filter.owner {
        also("m.credential", owner.as_str().to_owned().into());
    }
    if let Some(recipient) = &filter.recipient {
        also("d.recipient_hash", key.recipient(&recipient.key()).into());
    }
    if let Some(campaign) = &filter.campaign {
        also("m.campaign", campaign.clone().into());
    }
    if let Some(prefix) = &filter.held_because {
        let length = prefix.chars().count();
        let reason = "SELECT e.detail FROM events e
            WHERE e.delivery = d.id AND e.kind = 'held' ORDER BY e.seq DESC LIMIT 1";
        let begin = format!("substr(({reason}), 1, {length})");
        also(&begin, prefix.clone().into());
    }
    let wanted = filter.recipient.as_ref().map(|address| address.key());
    let mut find = conn.prepare(&sql)?;
    let mut rows = find.query(params_from_iter(values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let is_wanted = match &wanted {
            Some(key) => rows::str_of(row, 1)?.to_lowercase() == *key,
            None => true,
        };
        if is_wanted {
            found.push(row.get(0)?);
        }
    }
    Ok(found)
}

/// The row ids that the named delivery or message can have; `None` if there is no such message.
fn range(conn: &Connection, filter: &QueueFilter) -> Result<Option<(i64, i64)>, Fault> {
    let named = filter.delivery.map(|delivery| delivery.message);
    let Some(message) = named.or(filter.message) else {
        return Ok(Some((i64::MIN, i64::MAX)));
    };
    if filter.message.is_some_and(|other| other != message) {
        return Ok(None);
    }
    let Some(pk) = rows::message_pk(conn, message)? else {
        return Ok(None);
    };
    Ok(Some(match filter.delivery {
        Some(delivery) => {
            let only = delivery_pk(pk, delivery.index);
            (only, only)
        }
        None => delivery_range(pk),
    }))
}

/// Moves those of the selected deliveries that may still move.
pub(crate) fn apply(
    tx: &mut Tx<'_>,
    selected: &[i64],
    action: &Move,
) -> Result<Vec<DeliveryId>, Fault> {
    let mut moved = Vec::new();
    for pk in selected {
        let Some(row) = rows::delivery(tx.conn, *pk)? else {
            continue;
        };
        if action.from().contains(&row.state) && move_one(tx, &row, action)? {
            let message = rows::message_id(tx.conn, columns::message_pk(*pk))?;
            moved.push(columns::delivery_id(*message.as_bytes(), *pk));
        }
    }
    Ok(moved)
}

fn move_one(tx: &mut Tx<'_>, row: &DeliveryRow, action: &Move) -> Result<bool, Fault> {
    let is_release = action.to == State::Queued;
    let is_again = is_release && row.state.is_settled();
    if is_again && (!has_body(tx.conn, row.pk)? || erase::is_erased_delivery(tx.conn, row.pk)?) {
        return Ok(false);
    }
    let due_at = is_release.then(|| micros(action.now));
    tx.conn
        .prepare_cached("UPDATE deliveries SET state = ?2, due_at = ?3 WHERE id = ?1")?
        .execute(params![row.pk, state_number(action.to), due_at])?;
    if is_release {
        begin_anew(tx.conn, row, action.now)?;
    }
    let (from, to) = ((row.lane, row.state), (row.lane, action.to));
    timeline::moved(tx, row.pk, from, to, action.now)?;
    let line = Line {
        at: action.now,
        durable_at: action.now,
        kind: &action.event()?,
        blame: None,
        provider: None,
        detail: &action.reason,
        raw: &[],
    };
    timeline::write(tx, row.pk, &line)?;
    Ok(true)
}

/// A released delivery gets its whole time again if that is over, and no crash counts against it.
fn begin_anew(conn: &Connection, row: &DeliveryRow, now: Timestamp) -> Result<(), Fault> {
    conn.prepare_cached(
        "UPDATE messages SET expires_at = ?2 + (expires_at - accepted_at),
            check_at = ?2 + (expires_at - accepted_at)
         WHERE pk = ?1 AND expires_at <= ?2",
    )?
    .execute([columns::message_pk(row.pk), micros(now)])?;
    conn.prepare_cached("UPDATE deliveries SET crashes = 0 WHERE id = ?1")?
        .execute([row.pk])?;
    // Held mail may have had its expiry looked at later than it falls due.
    conn.prepare_cached("UPDATE messages SET check_at = expires_at WHERE pk = ?1")?
        .execute([columns::message_pk(row.pk)])?;
    if row.state.is_settled() {
        conn.prepare_cached("UPDATE deliveries SET attempts = 0, progress = NULL WHERE id = ?1")?
            .execute([row.pk])?;
    }
    Ok(())
}

fn has_body(conn: &Connection, delivery_pk: i64) -> Result<bool, Fault> {
    let place: i64 = conn
        .prepare_cached("SELECT body_place FROM messages WHERE pk = ?1")?
        .query_row([columns::message_pk(delivery_pk)], |row| row.get(0))
        .map_err(|_| damaged("a delivery without its message"))?;
    Ok(Place::of(place)? != Place::Dropped)
}
