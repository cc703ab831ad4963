//! Settle: outcomes, states, attempts and events of deliveries in one transaction.

use jiff::Timestamp;
use malote_core::event::State;
use malote_core::id::DeliveryId;
use malote_core::provider::Verdict;
use rusqlite::{Connection, params};

use crate::settling::{self, NO_OUTCOME, Settled};
use crate::sqlite::columns::{delivery_pk, micros, state_number};
use crate::sqlite::fault::Fault;
use crate::sqlite::rows::{self, DeliveryRow};
use crate::sqlite::timeline;
use crate::sqlite::writer::Tx;
use crate::{AttemptOutcome, AttemptStart, NodeSession, Settlement, StoreError};

/// Octets of a settlement in the queue, about.
pub(crate) const SETTLEMENT_BYTES: usize = 2 << 10;

fn find(conn: &Connection, id: DeliveryId) -> Result<Option<DeliveryRow>, Fault> {
    match rows::message_pk(conn, id.message)? {
        Some(message) => rows::delivery(conn, delivery_pk(message, id.index)),
        None => Ok(None),
    }
}

/// Writes a batch of settlements; `now` stands in where nothing of one tells a time.
pub(crate) fn settle(
    tx: &mut Tx<'_>,
    session: NodeSession,
    batch: &[Settlement],
    now: Timestamp,
) -> Result<(), Fault> {
    for one in batch {
        let Some(row) = find(tx.conn, one.delivery)? else {
            continue;
        };
        if row.state == State::Sending && row.session == Some(session.0) {
            settle_one(tx, &row, one, now)?;
        }
    }
    Ok(())
}

fn settle_one(
    tx: &mut Tx<'_>,
    row: &DeliveryRow,
    one: &Settlement,
    now: Timestamp,
) -> Result<(), Fault> {
    let next = &one.next;
    settling::check(one).map_err(Fault::Refused)?;
    let Settled {
        state,
        progress,
        at,
    } = settling::settled(one, row.told_state, now);
    let lane = next.lane.map_or(row.lane, |lane| lane.0);
    let due_at = timeline::is_waiting(state).then(|| micros(next.due_at.unwrap_or(at)));
    let number = one.attempt.as_ref().map_or(0, |a| a.start.number);
    tx.conn
        .prepare_cached(
            "UPDATE deliveries SET state = ?2, lane = ?3, due_at = ?4, session = NULL,
                prior_state = NULL, told_state = NULL, attempts = ?5, calls = max(calls, ?6), progress = ?7
             WHERE id = ?1",
        )?
        .execute(params![
            row.pk,
            state_number(state),
            lane,
            due_at,
            next.attempts,
            number,
            progress,
        ])?;
    timeline::moved(tx, row.pk, (row.lane, row.state), (lane, state), at)?;
    match &one.attempt {
        Some(attempt) => write_outcome(tx.conn, row.pk, attempt)?,
        None => close_attempts(tx.conn, row.pk, at)?,
    }
    for event in &one.events {
        timeline::write_event(tx, row.pk, event)?;
    }
    Ok(())
}

fn write_outcome(conn: &Connection, pk: i64, attempt: &AttemptOutcome) -> Result<(), Fault> {
    let start = &attempt.start;
    conn.prepare_cached(
        "INSERT INTO attempts (delivery, number, provider, pool, started_at, reason, ended_at,
            outcome, reply_code, reply_enhanced, reply_text, provider_message_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
         ON CONFLICT (delivery, number) DO UPDATE SET ended_at = ?7, outcome = ?8,
            reply_code = ?9, reply_enhanced = ?10, reply_text = ?11, provider_message_id = ?12",
    )?
    .execute(params![
        pk,
        start.number,
        start.target.provider.as_str(),
        start.target.pool.as_str(),
        micros(start.at),
        start.reason,
        micros(attempt.ended_at),
        attempt.outcome,
        attempt.reply.code,
        attempt.reply.enhanced,
        attempt.reply.text(),
        attempt.provider_message_id,
    ])?;
    Ok(())
}

/// Ends what was journaled and has no outcome: it is not to be taken for a call under way later.
fn close_attempts(conn: &Connection, pk: i64, at: Timestamp) -> Result<(), Fault> {
    conn.prepare_cached(
        "UPDATE attempts SET ended_at = ?2, outcome = ?3, reply_text = ?4
         WHERE delivery = ?1 AND ended_at IS NULL",
    )?
    .execute(params![
        pk,
        micros(at),
        Verdict::Unknown.as_str(),
        NO_OUTCOME
    ])?;
    Ok(())
}

/// Journals attempts that are about to start.
pub(crate) fn start_attempts(tx: &mut Tx<'_>, batch: &[AttemptStart]) -> Result<(), Fault> {
    for start in batch {
        let row = find(tx.conn, start.delivery)?;
        let Some(row) = row.filter(|row| row.state == State::Sending) else {
            let text = format!("{} is not leased", start.delivery);
            return Err(Fault::Refused(StoreError::Engine(text)));
        };
        tx.conn
            .prepare_cached(
                "INSERT INTO attempts (delivery, number, provider, pool, started_at, reason)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                row.pk,
                start.number,
                start.target.provider.as_str(),
                start.target.pool.as_str(),
                micros(start.at),
                start.reason,
            ])?;
        tx.conn
            .prepare_cached("UPDATE deliveries SET calls = max(calls, ?2) WHERE id = ?1")?
            .execute(params![row.pk, start.number])?;
    }
    Ok(())
}
