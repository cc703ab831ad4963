//! A message with everything that happened to it, and the counts of the queue.

use std::collections::BTreeMap;

use jiff::Timestamp;
use malote_core::event::{Blame, EventKind};
use malote_core::id::MessageId;
use malote_core::ledger::{AttemptView, DeliveryView, EventView, MessageView};
use malote_core::name::StreamName;
use malote_core::provider::Reply;
use tokio_postgres::{Client, GenericClient, Row};

use crate::columns;
use crate::order::{Written, in_order};
use crate::postgres::columns::{micros, parsed, timestamp};
use crate::postgres::fault::Fault;
use crate::postgres::spool::args::{self, Id, count};
use crate::postgres::spool::timeline::BODY_BYTES;
use crate::postgres::spool::{lease, rows};
use crate::{Lane, LaneDepth, LaneId, QueueStats};

/// Assembles a message's timeline.
pub(crate) async fn view(conn: &Client, id: MessageId) -> Result<Option<MessageView>, Fault> {
    let Some(message) = rows::find_message(conn, id).await? else {
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
        deliveries: deliveries(conn, message.id).await?,
    }))
}

async fn deliveries(conn: &Client, id: Id) -> Result<Vec<DeliveryView>, Fault> {
    let found = args::rows(
        conn,
        "SELECT d.idx, d.recipient, d.state, l.route, d.route_reason, d.mailbox_provider, d.due_at
         FROM malote.delivery_now d LEFT JOIN malote.lanes l ON l.id = d.lane
         WHERE d.message = $1 ORDER BY d.idx",
        &[&id],
    )
    .await?;
    let mut attempts = attempts(conn, id).await?;
    let mut events = events(conn, id).await?;
    let mut views = Vec::with_capacity(found.len());
    for row in &found {
        let idx = row.try_get(0)?;
        let attempts = attempts.remove(&idx).unwrap_or_default();
        let events = events.remove(&idx).unwrap_or_default();
        views.push(delivery_view(row, id, (attempts, events))?);
    }
    Ok(views)
}

type Attempts = Vec<(AttemptView, Option<String>)>;

fn delivery_view(
    row: &Row,
    id: Id,
    (attempts, events): (Attempts, Vec<Written>),
) -> Result<DeliveryView, Fault> {
    let provider_message_id = attempts.iter().rev().find_map(|(_, id)| id.clone());
    let attempts: Vec<_> = attempts.into_iter().map(|(attempt, _)| attempt).collect();
    let last = attempts.last();
    let (route, mailbox_provider): (Option<&str>, Option<&str>) =
        (row.try_get(3)?, row.try_get(5)?);
    Ok(DeliveryView {
        id: id.delivery(row.try_get(0)?),
        recipient: row.try_get(1)?,
        state: columns::state(row.try_get::<_, i16>(2)?.into())?,
        route: route.map(|route| parsed(route, "route")).transpose()?,
        route_reason: row.try_get(4)?,
        mailbox_provider: mailbox_provider
            .map(|name| parsed(name, "mailbox provider"))
            .transpose()?,
        provider: last.map(|attempt| attempt.provider.clone()),
        pool: last.map(|attempt| attempt.pool.clone()),
        provider_message_id,
        due_at: row
            .try_get::<_, Option<i64>>(6)?
            .map(timestamp)
            .transpose()?,
        events: in_order(events, &attempts),
        attempts,
    })
}

async fn attempts(conn: &Client, id: Id) -> Result<BTreeMap<i32, Attempts>, Fault> {
    let found = args::rows(
        conn,
        "SELECT idx, number, started_at, ended_at, provider, pool, outcome, reply_code,
            reply_enhanced, reply_text, reason, provider_message_id
         FROM malote.attempts WHERE message = $1 ORDER BY idx, number",
        &[&id],
    )
    .await?;
    let mut views: BTreeMap<i32, Attempts> = BTreeMap::new();
    for row in &found {
        let code = row.try_get::<_, Option<i32>>(7)?.map(count).transpose()?;
        let text: Option<&str> = row.try_get(9)?;
        let enhanced: Option<String> = row.try_get(8)?;
        let attempt = AttemptView {
            number: count(row.try_get::<_, i32>(1)?)?,
            started_at: timestamp(row.try_get(2)?)?,
            ended_at: row
                .try_get::<_, Option<i64>>(3)?
                .map(timestamp)
                .transpose()?,
            provider: parsed(row.try_get(4)?, "provider")?,
            pool: parsed(row.try_get(5)?, "pool")?,
            outcome: row.try_get(6)?,
            reply: text.map(|text| Reply::new(code, enhanced, text)),
            reason: row.try_get(10)?,
        };
        let of_delivery = views.entry(row.try_get(0)?).or_default();
        of_delivery.push((attempt, row.try_get(11)?));
    }
    Ok(views)
}

/// In the order of writing.
async fn events(conn: &Client, id: Id) -> Result<BTreeMap<i32, Vec<Written>>, Fault> {
    let found = args::rows(
        conn,
        "SELECT idx, at, kind, blame, provider, detail, durable_at FROM malote.events
         WHERE message = $1 ORDER BY idx, seq",
        &[&id],
    )
    .await?;
    let mut views: BTreeMap<i32, Vec<Written>> = BTreeMap::new();
    for row in &found {
        let provider: Option<&str> = row.try_get(4)?;
        let event = EventView {
            at: timestamp(row.try_get(1)?)?,
            kind: EventKind::from_word(row.try_get(2)?),
            blame: row
                .try_get::<_, Option<&str>>(3)?
                .and_then(Blame::from_word),
            provider: provider.map(|name| parsed(name, "provider")).transpose()?,
            detail: row.try_get(5)?,
        };
        let written = Written {
            durable_at: timestamp(row.try_get(6)?)?,
            event,
        };
        views.entry(row.try_get(0)?).or_default().push(written);
    }
    Ok(views)
}

/// Every lane with its number.
pub(crate) async fn lane_ids<C: GenericClient>(conn: &C) -> Result<Vec<(LaneId, Lane)>, Fault> {
    let sql = "SELECT id, class, stream, route FROM malote.lanes ORDER BY id";
    let mut lanes = Vec::new();
    for row in args::rows(conn, sql, &[]).await? {
        let lane = Lane {
            class: columns::class(row.try_get(1)?)?,
            stream: parsed(row.try_get(2)?, "stream")?,
            route: parsed(row.try_get(3)?, "route")?,
        };
        lanes.push((LaneId(row.try_get(0)?), lane));
    }
    Ok(lanes)
}

/// Every lane with what waits in it.
pub(crate) async fn lanes(conn: &Client, now: Timestamp) -> Result<Vec<LaneDepth>, Fault> {
    let mut waiting = BTreeMap::new();
    let sql = "SELECT lane, sum(n)::bigint FROM malote.counts WHERE state IN (0, 1, 5)
        GROUP BY lane";
    for row in args::rows(conn, sql, &[]).await? {
        waiting.insert(row.try_get::<_, i64>(0)?, row.try_get::<_, i64>(1)?);
    }
    let mut depths = Vec::new();
    for (id, lane) in lane_ids(conn).await? {
        depths.push(LaneDepth {
            id,
            lane,
            waiting: count(waiting.get(&id.0).copied().unwrap_or(0))?,
            oldest_due_at: oldest(conn, id, now).await?,
        });
    }
    Ok(depths)
}

/// When the oldest delivery that is due now became due.
async fn oldest(conn: &Client, lane: LaneId, now: Timestamp) -> Result<Option<Timestamp>, Fault> {
    let due = lease::due(conn, lane.0).await?.earliest();
    due.filter(|due| *due <= micros(now))
        .map(timestamp)
        .transpose()
}

/// The counts of the queue.
pub(crate) async fn stats(conn: &Client, now: Timestamp) -> Result<QueueStats, Fault> {
    let mut stats = QueueStats::default();
    let sql = "SELECT coalesce(sum(n), 0)::bigint FROM malote.counts
        WHERE lane = $1 AND state = $2";
    if let Some(row) = args::row(conn, sql, &[&BODY_BYTES.0, &BODY_BYTES.1]).await? {
        stats.body_bytes = count(row.try_get::<_, i64>(0)?)?;
    }
    let sql = "SELECT l.stream, c.state, sum(c.n)::bigint
        FROM malote.counts c JOIN malote.lanes l ON l.id = c.lane
        WHERE c.state IN (0, 1, 2, 5, 6, 11, 12) GROUP BY l.stream, c.state";
    for row in args::rows(conn, sql, &[]).await? {
        let stream: StreamName = parsed(row.try_get(0)?, "stream")?;
        let number: u64 = count(row.try_get::<_, i64>(2)?)?;
        if number > 0 {
            let state = columns::state(row.try_get::<_, i16>(1)?.into())?;
            stats.by_state.insert((stream, state), number);
        }
    }
    for (id, lane) in lane_ids(conn).await? {
        if let Some(due) = oldest(conn, id, now).await? {
            let oldest = stats.oldest_due_at.entry(lane.stream).or_insert(due);
            *oldest = due.min(*oldest);
        }
    }
    Ok(stats)
}
