//! The feed: events in the order of their places, never beyond one that is still being written.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use malote_core::event::{Blame, EventKind};
use malote_core::feed::{EventId, FEED_LIMIT_MAX, FeedCursor, FeedEvent, FeedPage, FeedQuery};
use malote_core::id::MessageId;
use malote_core::ledger::RawEvent;
use malote_core::message::Channel;
use malote_core::name::{PoolName, ProviderName};
use tokio::time::Instant;
use tokio_postgres::{Client, GenericClient, Row};

use crate::address_key::AddressKey;
use crate::columns::channel_text;
use crate::postgres::columns::{micros, parsed, timestamp};
use crate::postgres::fault::{Fault, damaged};
use crate::postgres::spool::args::{self, Arg, Conditions, Id, count};
use crate::postgres::spool::rows;
use crate::{StoreError, TOLD_LOOKED_AT_MAX};

/// Events looked at for one page.
const LOOKED_AT_MAX: i64 = 10_000;
/// Deliveries to one address up to which its events are found through the index of recipients.
const RECIPIENT_MAX: i64 = 10_000;
/// Events stand nearly in the order of their times; these may differ from it by this much.
const TIME_SLACK: SignedDuration = SignedDuration::from_mins(10);
/// How long a reader waits for transactions under way, so that it sees what was committed before
/// it asked; beyond, it reads as far as is known to be safe.
const SETTLE_MAX: Duration = Duration::from_millis(250);

/// Up to which place every event has been written or never will be.
///
/// Who takes a place holds a lock on the sequence to the end of its transaction, and its commit is
/// seen before the lock is gone. So once all have ended that held it when a place was the last one,
/// nothing at or below that place is still to come. Transactions of others never delay the feed, as
/// they would if the least number of a transaction under way were asked for.
#[derive(Default)]
pub(crate) struct Horizon(Mutex<Known>);

#[derive(Debug, Default, Clone)]
struct Known {
    safe: i64,
    /// A place, and the transactions that have to end until it is safe.
    next: Option<(i64, BTreeSet<String>)>,
}

impl Known {
    /// Takes in which transactions are under way now.
    fn learn(&mut self, under_way: &BTreeSet<String>) {
        let has_ended = |next: &mut (i64, BTreeSet<String>)| next.1.is_disjoint(under_way);
        if let Some((place, _)) = self.next.take_if(has_ended) {
            self.safe = self.safe.max(place);
        }
    }
}

impl Horizon {
    fn with<T>(&self, act: impl FnOnce(&mut Known) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The place up to which it is safe to read.
    pub(crate) async fn head(&self, conn: &Client) -> Result<i64, Fault> {
        let place = last_place(conn).await?;
        let begun = Instant::now();
        let mut wait = Duration::from_millis(1);
        let writers = writers(conn).await?;
        let mut under_way = writers.clone();
        loop {
            self.with(|known| known.learn(&under_way));
            if writers.is_disjoint(&under_way) {
                self.with(|known| known.safe = known.safe.max(place));
                return Ok(place);
            }
            if begun.elapsed() >= SETTLE_MAX {
                return Ok(self.with(|known| {
                    known.next.get_or_insert((place, writers));
                    known.safe
                }));
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_millis(16));
            under_way = self::writers(conn).await?;
        }
    }
}

/// The last place that was given out, whether or not its event is committed.
pub(crate) async fn last_place<C: GenericClient>(conn: &C) -> Result<i64, Fault> {
    let sql = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM malote.feed_places";
    let row = args::row(conn, sql, &[]).await?;
    let row = row.ok_or_else(|| damaged("no sequence of places"))?;
    Ok(row.try_get(0)?)
}

/// The transactions under way that have taken places.
async fn writers(conn: &Client) -> Result<BTreeSet<String>, Fault> {
    let sql = "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation'
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND relation = 'malote.feed_places'::regclass AND mode = 'RowExclusiveLock' AND granted";
    let found = args::rows(conn, sql, &[]).await?;
    found.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// The columns that [`event`] reads behind those of a message; `e` is the event, `d` its delivery.
const EVENT: &str =
    "e.feed, e.idx, e.seq, e.at, e.kind, e.blame, e.provider, e.detail, d.recipient,
    (SELECT a.pool FROM malote.attempts a WHERE a.message = e.message AND a.idx = e.idx
        AND a.provider = e.provider ORDER BY a.number DESC LIMIT 1),
    (SELECT a.provider_message_id FROM malote.attempts a WHERE a.message = e.message
        AND a.idx = e.idx AND a.provider = e.provider AND a.provider_message_id IS NOT NULL
        ORDER BY a.number DESC LIMIT 1)";

/// Reads one page, nothing beyond `safe`.
pub(crate) async fn read(
    conn: &Client,
    key: &AddressKey,
    query: &FeedQuery,
    safe: i64,
) -> Result<FeedPage, Fault> {
    let limit = i64::from(query.limit.clamp(1, FEED_LIMIT_MAX));
    let bounds = bounds(conn, query, safe).await?;
    let walk = Walk::new(conn, key, query, bounds).await?;
    let found = walk.shown(conn, query, limit).await?;
    let mut page = FeedPage {
        events: Vec::with_capacity(found.len()),
        next: FeedCursor(bounds.0.max(bounds.1)),
        is_end: true,
    };
    let recipient = query.recipient.as_ref().map(|address| address.key());
    for row in &found {
        let place: i64 = row.try_get(19)?;
        let event = readable(event(row), place)?;
        let is_wanted = |event: &FeedEvent| {
            let key = recipient.as_ref();
            key.is_none_or(|key| event.recipient.to_lowercase() == *key)
        };
        page.events.extend(event.filter(is_wanted));
    }
    if found.len() as i64 == limit {
        let last = found.last().map(|row| row.try_get(19)).transpose()?;
        page.next = FeedCursor(last.unwrap_or(bounds.0));
        page.is_end = false;
    } else if let Some(place) = walk.end(conn).await? {
        page.next = FeedCursor(place);
        page.is_end = false;
    }
    Ok(page)
}

/// Behind which place to begin, and up to which to read.
async fn bounds(conn: &Client, query: &FeedQuery, safe: i64) -> Result<(i64, i64), Fault> {
    let before = async |at: Timestamp| -> Result<i64, Fault> {
        let sql = "SELECT malote.feed_before($1, $2)";
        let row = args::row(conn, sql, &[&micros(at), &safe]).await?;
        let row = row.ok_or_else(|| damaged("no place"))?;
        Ok(row.try_get(0)?)
    };
    let out_of_range = |_| damaged("time out of range");
    let (mut after, mut upto) = (query.after.0, safe);
    if let Some(since) = query.since {
        let since = since.saturating_sub(TIME_SLACK).map_err(out_of_range)?;
        after = after.max(before(since).await?);
    }
    if let Some(until) = query.until {
        let until = until.saturating_add(TIME_SLACK).map_err(out_of_range)?;
        upto = upto.min(before(until).await?);
    }
    Ok((after, upto))
}

/// The walk along the narrowest index there is for the query, in the feed's order.
struct Walk {
    after: i64,
    upto: i64,
    message: Option<Id>,
    hash: Option<i64>,
}

impl Walk {
    async fn new(
        conn: &Client,
        key: &AddressKey,
        query: &FeedQuery,
        (after, upto): (i64, i64),
    ) -> Result<Self, Fault> {
        let recipient = query.recipient.as_ref().map(|address| address.key());
        let mut hash = recipient.map(|address| key.recipient(&address));
        if let (Some(own), None) = (hash, query.message) {
            let sql = "SELECT count(*) FROM (SELECT 1 FROM malote.deliveries
                WHERE recipient_hash = $1 LIMIT $2) AS few";
            let row = args::row(conn, sql, &[&own, &(RECIPIENT_MAX + 1)]).await?;
            let number: i64 = row.map_or(Ok(0), |row| row.try_get(0))?;
            // Beyond, a walk along the feed costs less than sorting them all for every page.
            hash = hash.filter(|_| number <= RECIPIENT_MAX);
        }
        Ok(Self {
            after,
            upto,
            message: query.message.map(Id::from),
            hash: hash.filter(|_| query.message.is_none()),
        })
    }

    /// The events that are looked at, in their order.
    fn looked_at<'a>(&'a self, columns: &str, values: &mut Vec<&'a (dyn Arg + 'a)>) -> String {
        values.extend([&self.after as &dyn Arg, &self.upto as &dyn Arg]);
        let mut sql = format!("SELECT {columns} FROM malote.events w");
        if let Some(hash) = &self.hash {
            values.push(hash);
            sql.push_str(
                " JOIN malote.deliveries r ON r.message = w.message AND r.idx = w.idx
                    AND r.recipient_hash = $3",
            );
        }
        sql.push_str(" WHERE w.feed > $1 AND w.feed <= $2");
        if let Some(message) = &self.message {
            values.push(message);
            sql.push_str(" AND w.message = $3");
        }
        sql.push_str(" ORDER BY w.feed");
        sql
    }

    /// The first events of those looked at that are to be shown.
    async fn shown(&self, conn: &Client, query: &FeedQuery, limit: i64) -> Result<Vec<Row>, Fault> {
        let mut values: Vec<&(dyn Arg + '_)> = Vec::new();
        let looked_at = self.looked_at("w.*", &mut values);
        let internal = channel_text(Channel::Internal);
        let owner = query.owner.as_ref().map(|name| name.as_str());
        let (since, until) = (query.since.map(micros), query.until.map(micros));
        let kinds: Vec<&str> = query.kinds.iter().map(EventKind::as_str).collect();
        let kinds = Some(kinds).filter(|kinds| !kinds.is_empty());
        let mut also = Conditions::behind(values);
        also.also("m.channel <> ?", Some(&internal));
        also.also("m.credential = ?", owner.as_ref());
        also.also("e.durable_at >= ?", since.as_ref());
        also.also("e.durable_at <= ?", until.as_ref());
        also.also("e.kind = ANY(?)", kinds.as_ref());
        let sql = format!(
            "SELECT {}, {EVENT} FROM ({looked_at} LIMIT {LOOKED_AT_MAX}) AS e
             JOIN malote.messages m ON m.id = e.message
             JOIN malote.deliveries d ON d.message = e.message AND d.idx = e.idx
             WHERE true{} ORDER BY e.feed LIMIT {limit}",
            rows::MESSAGE,
            also.text
        );
        args::rows(conn, &sql, &also.values).await
    }

    /// The last place looked at, if there are more behind it.
    async fn end(&self, conn: &Client) -> Result<Option<i64>, Fault> {
        let mut values: Vec<&(dyn Arg + '_)> = Vec::new();
        let looked_at = self.looked_at("w.feed", &mut values);
        let sql = format!("{looked_at} OFFSET {} LIMIT 1", LOOKED_AT_MAX - 1);
        let found = args::row(conn, &sql, &values).await?;
        Ok(found.map(|row| row.try_get(0)).transpose()?)
    }
}

/// An event whose record is damaged is passed over, so that those behind it are still told.
fn readable(read: Result<FeedEvent, Fault>, place: i64) -> Result<Option<FeedEvent>, Fault> {
    match read {
        Ok(event) => Ok(Some(event)),
        Err(Fault::Refused(StoreError::Damaged(what))) => {
            tracing::error!(
                feed = place,
                what,
                "passed over an event that cannot be read"
            );
            Ok(None)
        }
        Err(fault) => Err(fault),
    }
}

fn event(row: &Row) -> Result<FeedEvent, Fault> {
    let record = rows::message(row)?.record;
    let (provider, pool): (Option<&str>, Option<&str>) = (row.try_get(25)?, row.try_get(28)?);
    let pool: Option<PoolName> = pool.map(|name| parsed(name, "pool")).transpose()?;
    Ok(FeedEvent {
        cursor: FeedCursor(row.try_get(19)?),
        id: EventId {
            delivery: Id::from(record.id).delivery(row.try_get(20)?),
            seq: count(row.try_get::<_, i32>(21)?)?,
        },
        kind: EventKind::from_word(row.try_get(23)?),
        blame: row
            .try_get::<_, Option<&str>>(24)?
            .and_then(Blame::from_word),
        at: timestamp(row.try_get(22)?)?,
        credential: record.credential,
        stream: record.stream,
        recipient: row.try_get(27)?,
        mail_from: record.mail_from,
        provider: provider.map(|name| parsed(name, "provider")).transpose()?,
        pool,
        provider_message_id: row.try_get(29)?,
        reply: row.try_get(26)?,
        tags: record.tags,
        metadata: record.metadata,
        campaign: record.campaign,
        tracking_hash: record.tracking_hash,
        one_click: record.one_click,
    })
}

/// The events of an outbox's rows, by their places.
pub(crate) async fn of_outbox(
    conn: &Client,
    outlet: i64,
    places: &Vec<i64>,
) -> Result<Vec<FeedEvent>, Fault> {
    let sql = format!(
        "SELECT {}, {EVENT} FROM malote.outbox o
         JOIN malote.events e ON e.message = o.message AND e.idx = o.idx AND e.seq = o.seq
         JOIN malote.messages m ON m.id = e.message
         JOIN malote.deliveries d ON d.message = e.message AND d.idx = e.idx
         WHERE o.outlet = $1 AND o.feed = ANY($2)",
        rows::MESSAGE
    );
    let mut events = Vec::new();
    for row in args::rows(conn, &sql, &[&outlet, places]).await? {
        events.extend(readable(event(&row), row.try_get(19)?)?);
    }
    Ok(events)
}

/// What services told of a message's events.
pub(crate) async fn raw(conn: &Client, id: MessageId) -> Result<Vec<RawEvent>, Fault> {
    let found = args::rows(
        conn,
        "SELECT e.idx, e.seq, e.raw FROM malote.events e
         JOIN malote.messages m ON m.id = e.message
         WHERE e.message = $1 AND e.raw IS NOT NULL ORDER BY e.idx, e.seq LIMIT $2",
        &[&Id::from(id), &LOOKED_AT_MAX],
    )
    .await?;
    let mut events = Vec::with_capacity(found.len());
    for row in &found {
        events.push(RawEvent {
            id: EventId {
                delivery: Id::from(id).delivery(row.try_get(0)?),
                seq: count(row.try_get::<_, i32>(1)?)?,
            },
            raw: row.try_get::<_, Vec<u8>>(2)?.into(),
        });
    }
    Ok(events)
}

/// When each provider last told something.
pub(crate) async fn last_told(conn: &Client) -> Result<Vec<(ProviderName, Timestamp)>, Fault> {
    let found = args::rows(
        conn,
        "SELECT provider, max(durable_at) FROM (
            SELECT provider, durable_at, raw IS NOT NULL AS is_told FROM malote.events
            ORDER BY feed DESC LIMIT $1) e
         WHERE is_told AND provider IS NOT NULL GROUP BY provider",
        &[&TOLD_LOOKED_AT_MAX],
    )
    .await?;
    let mut told = Vec::with_capacity(found.len());
    for row in &found {
        let name = parsed(row.try_get(0)?, "provider")?;
        told.push((name, timestamp(row.try_get(1)?)?));
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_safe_once_all_have_ended_that_could_have_taken_one_below_it() {
        let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let mut known = Known {
            safe: 3,
            next: Some((9, of(&["3/7", "4/1"]))),
        };
        known.learn(&of(&["4/1", "5/2"]));
        assert_eq!(known.safe, 3);
        known.learn(&of(&["5/2", "4/2"]));
        assert_eq!((known.safe, known.next), (9, None));
    }
}
