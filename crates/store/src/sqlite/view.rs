//! A message with everything that happened to it, and the counts of the queue.

use jiff::Timestamp;
use malote_core::event::{Blame, EventKind, State};
use malote_core::id::MessageId;
use malote_core::ledger::{AttemptView, DeliveryView, EventView, MessageView};
use malote_core::name::StreamName;
use malote_core::provider::Reply;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::order::{Written, in_order};
use crate::sqlite::columns::{self, delivery_range, parsed, timestamp, unsigned};
use crate::sqlite::fault::Fault;
use crate::sqlite::lease::oldest_due;
use crate::sqlite::rows::{self, opt_str, str_of};
use crate::{Lane, LaneDepth, LaneId, QueueStats};

/// Assembles a message's timeline.
pub(crate) fn view(conn: &Connection, id: MessageId) -> Result<Option<MessageView>, Fault> {
    let Some(message) = rows::message(conn, id)? else {
        return Ok(None);
    };
    let record = message.record;
    Ok(Some(MessageView {
        id,
        credential: record.credential,
        stream: record.stream,
        stream_reason: record.stream_reason,
        mail_from: record.mail_from.map(String::from),
        size_bytes: record.size_bytes,
        accepted_at: record.accepted_at,
        tags: record.tags,
        metadata: record.metadata,
        deliveries: deliveries(conn, message.pk, id)?,
    }))
}

fn deliveries(conn: &Connection, pk: i64, id: MessageId) -> Result<Vec<DeliveryView>, Fault> {
    let (first, last) = delivery_range(pk);
    let mut find = conn.prepare_cached(
        "SELECT d.id, d.recipient, d.state, l.route, d.route_reason, d.mailbox_provider, d.due_at
         FROM deliveries d LEFT JOIN lanes l ON l.id = d.lane
         WHERE d.id BETWEEN ?1 AND ?2 ORDER BY d.id",
    )?;
    let mut found = find.query([first, last])?;
    let mut views = Vec::new();
    while let Some(row) = found.next()? {
        views.push(delivery_view(conn, row, id)?);
    }
    Ok(views)
}

fn delivery_view(conn: &Connection, row: &Row<'_>, id: MessageId) -> Result<DeliveryView, Fault> {
    let pk: i64 = row.get(0)?;
    let attempts = attempts(conn, pk)?;
    let provider_message_id = attempts.iter().rev().find_map(|(_, id)| id.clone());
    let shown: Vec<_> = attempts.into_iter().map(|(attempt, _)| attempt).collect();
    let last = shown.last();
    let name = |index: usize| opt_str(row, index);
    Ok(DeliveryView {
        id: columns::delivery_id(*id.as_bytes(), pk),
        recipient: row.get(1)?,
        state: columns::state(row.get(2)?)?,
        route: name(3)?.map(|route| parsed(route, "route")).transpose()?,
        route_reason: row.get(4)?,
        mailbox_provider: name(5)?
            .map(|name| parsed(name, "mailbox provider"))
            .transpose()?,
        provider: last.map(|attempt| attempt.provider.clone()),
        pool: last.map(|attempt| attempt.pool.clone()),
        provider_message_id,
        due_at: row.get::<_, Option<i64>>(6)?.map(timestamp).transpose()?,
        events: in_order(events(conn, pk)?, &shown),
        attempts: shown,
    })
}

fn attempts(conn: &Connection, pk: i64) -> Result<Vec<(AttemptView, Option<String>)>, Fault> {
    let mut find = conn.prepare_cached(
        "SELECT number, started_at, ended_at, provider, pool, outcome, reply_code, reply_enhanced,
            reply_text, reason, provider_message_id
         FROM attempts WHERE delivery = ?1 ORDER BY number",
    )?;
    let mut found = find.query([pk])?;
    let mut views = Vec::new();
    while let Some(row) = found.next()? {
        let reply = match opt_str(row, 8)? {
            Some(text) => Some(Reply::new(row.get(6)?, row.get(7)?, text)),
            None => None,
        };
        let attempt = AttemptView {
            number: unsigned(row.get(0)?)?,
            started_at: timestamp(row.get(1)?)?,
            ended_at: row.get::<_, Option<i64>>(2)?.map(timestamp).transpose()?,
            provider: parsed(str_of(row, 3)?, "provider")?,
            pool: parsed(str_of(row, 4)?, "pool")?,
            outcome: row.get(5)?,
            reply,
            reason: row.get(9)?,
        };
        views.push((attempt, row.get(10)?));
    }
    Ok(views)
}

/// In the order of writing.
fn events(conn: &Connection, pk: i64) -> Result<Vec<Written>, Fault> {
    let mut find = conn.prepare_cached(
        "SELECT e.at, e.kind, e.blame, e.provider, e.detail, coalesce(f.at, e.at)
         FROM events e LEFT JOIN feed f ON f.id = e.feed WHERE e.delivery = ?1 ORDER BY e.seq",
    )?;
    let mut found = find.query([pk])?;
    let mut written = Vec::new();
    while let Some(row) = found.next()? {
        let event = EventView {
            at: timestamp(row.get(0)?)?,
            kind: EventKind::from_word(str_of(row, 1)?),
            blame: opt_str(row, 2)?.and_then(Blame::from_word),
            provider: opt_str(row, 3)?
                .map(|name| parsed(name, "provider"))
                .transpose()?,
            detail: row.get(4)?,
        };
        written.push(Written {
            durable_at: timestamp(row.get(5)?)?,
            event,
        });
    }
    Ok(written)
}

/// Every lane with its number.
pub(crate) fn lane_ids(conn: &Connection) -> Result<Vec<(LaneId, Lane)>, Fault> {
    let mut find = conn.prepare_cached("SELECT id, class, stream, route FROM lanes ORDER BY id")?;
    let mut found = find.query([])?;
    let mut lanes = Vec::new();
    while let Some(row) = found.next()? {
        let lane = Lane {
            class: columns::class(str_of(row, 1)?)?,
            stream: parsed(str_of(row, 2)?, "stream")?,
            route: parsed(str_of(row, 3)?, "route")?,
        };
        lanes.push((LaneId(row.get(0)?), lane));
    }
    Ok(lanes)
}

/// Every lane with what waits in it.
pub(crate) fn lanes(conn: &Connection, now: Timestamp) -> Result<Vec<LaneDepth>, Fault> {
    let mut depths = Vec::new();
    for (id, lane) in lane_ids(conn)? {
        let waiting: i64 = conn
            .prepare_cached(
                "SELECT coalesce(sum(n), 0) FROM counters WHERE lane = ?1 AND state IN (0, 1, 5)",
            )?
            .query_row([id.0], |row| row.get(0))?;
        depths.push(LaneDepth {
            id,
            lane,
            waiting: unsigned(waiting)?,
            oldest_due_at: oldest(conn, id, now)?,
        });
    }
    Ok(depths)
}

/// When the oldest delivery that is due now became due.
fn oldest(conn: &Connection, lane: LaneId, now: Timestamp) -> Result<Option<Timestamp>, Fault> {
    let mut oldest: Option<i64> = None;
    for state in [State::Queued, State::Deferred, State::Scheduled] {
        let due = oldest_due(conn, lane.0, state)?;
        oldest = oldest.into_iter().chain(due).min();
    }
    let due = oldest.filter(|due| *due <= columns::micros(now));
    due.map(timestamp).transpose()
}

/// The counts of the queue.
pub(crate) fn stats(conn: &Connection, now: Timestamp) -> Result<QueueStats, Fault> {
    let mut stats = QueueStats {
        body_bytes: meta_number(conn, "body_bytes")?.map_or(Ok(0), unsigned)?,
        ..QueueStats::default()
    };
    let mut find = conn.prepare_cached(
        "SELECT l.stream, c.state, sum(c.n) FROM counters c JOIN lanes l ON l.id = c.lane
         WHERE c.state IN (0, 1, 2, 5, 6, 11, 12) GROUP BY l.stream, c.state",
    )?;
    let mut found = find.query([])?;
    while let Some(row) = found.next()? {
        let stream: StreamName = parsed(str_of(row, 0)?, "stream")?;
        let count: u64 = unsigned(row.get(2)?)?;
        if count > 0 {
            let state = columns::state(row.get(1)?)?;
            stats.by_state.insert((stream, state), count);
        }
    }
    for (id, lane) in lane_ids(conn)? {
        if let Some(due) = oldest(conn, id, now)? {
            let oldest = stats.oldest_due_at.entry(lane.stream).or_insert(due);
            *oldest = due.min(*oldest);
        }
    }
    Ok(stats)
}

fn meta_number(conn: &Connection, key: &str) -> Result<Option<i64>, Fault> {
    Ok(conn
        .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?)
}
