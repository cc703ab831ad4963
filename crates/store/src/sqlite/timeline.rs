//! The bookkeeping that every change of a delivery shares: counters, settled messages, events.

use jiff::Timestamp;
use malote_core::event::{Blame, EventKind, State};
use malote_core::name::ProviderName;
use rusqlite::params;

use crate::EventRecord;
use crate::sqlite::columns::{message_pk, micros};
use crate::sqlite::fault::Fault;
use crate::sqlite::writer::Tx;

/// Whether a delivery of this state has a due time and is found by lane.
pub(crate) const fn is_waiting(state: State) -> bool {
    match state {
        State::Scheduled | State::Queued | State::Deferred => true,
        State::Sending
        | State::Sent
        | State::Delivered
        | State::Held
        | State::Bounced
        | State::Suppressed
        | State::Expired
        | State::Cancelled
        | State::Unknown
        | State::Quarantined => false,
    }
}

/// Counts a delivery's move and, if it settles or unsettles, notes that on its message.
pub(crate) fn moved(
    tx: &mut Tx<'_>,
    delivery_pk: i64,
    from: (i64, State),
    to: (i64, State),
    at: Timestamp,
) -> Result<(), Fault> {
    tx.memory.count(from.0, from.1, -1);
    tx.memory.count(to.0, to.1, 1);
    let change = match (from.1.is_settled(), to.1.is_settled()) {
        (false, true) => -1,
        (true, false) => 1,
        (true, true) | (false, false) => return Ok(()),
    };
    // Not RETURNING, which makes SQLite build a temporary table each time.
    let message = message_pk(delivery_pk);
    let (before, size): (i64, i64) = tx
        .conn
        .prepare_cached("SELECT unsettled, size_bytes FROM messages WHERE pk = ?1")?
        .query_row([message], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let unsettled = before + change;
    tx.conn
        .prepare_cached("UPDATE messages SET unsettled = ?2, settled_at = ?3 WHERE pk = ?1")?
        .execute(params![
            message,
            unsettled,
            (unsettled == 0).then(|| micros(at))
        ])?;
    if change < 0 && unsettled == 0 {
        tx.memory.count_body(-size);
    } else if change > 0 && unsettled == 1 {
        tx.memory.count_body(size);
    }
    Ok(())
}

/// Writes an event behind the ones that the delivery has, and behind all others in the feed.
pub(crate) fn write_event(
    tx: &mut Tx<'_>,
    delivery_pk: i64,
    event: &EventRecord,
) -> Result<(), Fault> {
    write(
        tx,
        delivery_pk,
        &Line {
            at: event.at,
            durable_at: event.at,
            kind: &event.kind,
            blame: event.blame,
            provider: event.provider.as_ref(),
            detail: &event.detail,
            raw: &[],
        },
    )
}

/// An event, borrowed.
pub(crate) struct Line<'a> {
    /// By the clock of who told.
    pub(crate) at: Timestamp,
    /// By ours.
    pub(crate) durable_at: Timestamp,
    pub(crate) kind: &'a EventKind,
    pub(crate) blame: Option<Blame>,
    pub(crate) provider: Option<&'a ProviderName>,
    pub(crate) detail: &'a str,
    /// What a service told, as it told it; empty if nothing is kept of it.
    pub(crate) raw: &'a [u8],
}

/// Writes an event behind the ones that the delivery has, and behind all others in the feed.
pub(crate) fn write(tx: &mut Tx<'_>, delivery_pk: i64, line: &Line<'_>) -> Result<(), Fault> {
    let feed = tx.memory.next_feed();
    // Not INSERT from SELECT, which makes SQLite build a temporary table: it reads and writes one.
    tx.conn
        .prepare_cached(
            "INSERT INTO events (delivery, seq, at, kind, blame, provider, detail, feed)
             VALUES (?1, (SELECT coalesce(max(seq), 0) + 1 FROM events WHERE delivery = ?1),
                ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            delivery_pk,
            micros(line.at),
            line.kind.as_str(),
            line.blame.map(Blame::as_str),
            line.provider.map(ProviderName::as_str),
            line.detail,
            feed,
        ])?;
    tx.conn
        .prepare_cached(
            "INSERT INTO feed (id, delivery, seq, at)
             VALUES (?1, ?2, (SELECT max(seq) FROM events WHERE delivery = ?2), ?3)",
        )?
        .execute([feed, delivery_pk, micros(line.durable_at)])?;
    if !line.raw.is_empty() {
        tx.conn
            .prepare_cached("INSERT INTO raw_events (feed, raw) VALUES (?1, ?2)")?
            .execute(params![feed, line.raw])?;
    }
    Ok(())
}
