//! The feed read back: events in the order in which they became durable, a bounded look at a time.

use jiff::{SignedDuration, Timestamp};
use malote_core::event::{Blame, EventKind};
use malote_core::feed::{EventId, FEED_LIMIT_MAX, FeedCursor, FeedEvent, FeedPage, FeedQuery};
use malote_core::id::MessageId;
use malote_core::ledger::RawEvent;
use malote_core::message::Channel;
use malote_core::name::{PoolName, ProviderName};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use crate::address_key::AddressKey;
use crate::sqlite::columns::{
    self, channel_text, damaged, delivery_id, delivery_range, message_pk, micros, parsed,
    timestamp, unsigned,
};
use crate::sqlite::fault::Fault;
use crate::sqlite::rows::{self, opt_str, str_of};
use crate::{StoreError, TOLD_LOOKED_AT_MAX};

/// Events looked at for one page.
const LOOKED_AT_MAX: usize = 10_000;
/// Deliveries to one address up to which its events are found through the index of recipients;
/// beyond, a walk along the feed costs less than sorting them all for every page.
const RECIPIENT_MAX: i64 = 10_000;
/// Events stand in the order of their commits; their times may differ from it by this much.
const TIME_SLACK: SignedDuration = SignedDuration::from_mins(10);

/// An event's place.
struct Place {
    feed: i64,
    delivery: i64,
    seq: i64,
    at: i64,
}

/// One page.
pub(crate) fn read(
    conn: &Connection,
    key: &AddressKey,
    query: &FeedQuery,
) -> Result<FeedPage, Fault> {
    let limit = usize::from(query.limit.clamp(1, FEED_LIMIT_MAX));
    let filter = Filter::new(query)?;
    let after = match filter.since_slack {
        Some(since) => query.after.0.max(before(conn, since)?),
        None => query.after.0,
    };
    let (sql, values) = statement(conn, key, query, after)?;
    let mut find = conn.prepare_cached(&sql)?;
    let mut found = find.query(params_from_iter(values))?;
    let mut page = FeedPage {
        events: Vec::new(),
        next: FeedCursor(after),
        is_end: false,
    };
    let mut looked_at = 0;
    while let Some(row) = found.next()? {
        let place = Place {
            feed: row.get(0)?,
            delivery: row.get(1)?,
            seq: row.get(2)?,
            at: row.get(3)?,
        };
        if filter.is_past(&place) {
            page.is_end = true;
            return Ok(page);
        }
        looked_at += 1;
        page.next = FeedCursor(place.feed);
        page.events
            .extend(readable(filter.judge(conn, &place), &place)?);
        if page.events.len() == limit || looked_at == LOOKED_AT_MAX {
            return Ok(page);
        }
    }
    page.next = FeedCursor(head(conn)?.max(after));
    page.is_end = true;
    Ok(page)
}

/// An event whose record is damaged is passed over, so that those behind it are still told.
fn readable<T>(read: Result<Option<T>, Fault>, place: &Place) -> Result<Option<T>, Fault> {
    match read {
        Err(Fault::Refused(StoreError::Damaged(what))) => {
            tracing::error!(
                feed = place.feed,
                what,
                "passed over an event that cannot be read"
            );
            Ok(None)
        }
        read => read,
    }
}

/// The last place of the feed.
pub(crate) fn head(conn: &Connection) -> Result<i64, Fault> {
    Ok(conn
        .prepare_cached("SELECT coalesce(max(id), 0) FROM feed")?
        .query_row([], |row| row.get(0))?)
}

/// The last place whose events became durable before `at`, found by halving: there is no index by
/// time, since places stand nearly in its order.
fn before(conn: &Connection, at: i64) -> Result<i64, Fault> {
    let mut behind =
        conn.prepare_cached("SELECT id, at FROM feed WHERE id > ?1 ORDER BY id LIMIT 1")?;
    let (mut low, mut high) = (0, head(conn)?);
    while low < high {
        let middle = low + (high - low) / 2;
        let (id, durable_at): (i64, i64) =
            behind.query_row([middle], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if durable_at < at {
            low = id;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// The statement that walks the narrowest index there is for the query, in the feed's order.
fn statement(
    conn: &Connection,
    key: &AddressKey,
    query: &FeedQuery,
    after: i64,
) -> Result<(String, Vec<Value>), Fault> {
    let mut values = vec![Value::from(after), (LOOKED_AT_MAX as i64).into()];
    let by_event = "SELECT e.feed, e.delivery, e.seq, f.at FROM";
    let in_order = "CROSS JOIN feed f ON f.id = e.feed WHERE e.feed > ?1";
    if let Some(message) = query.message {
        let (first, last) = rows::message_pk(conn, message)?.map_or((0, -1), delivery_range);
        values.extend([first.into(), last.into()]);
        let sql = format!(
            "{by_event} events e {in_order} AND e.delivery BETWEEN ?3 AND ?4
             ORDER BY e.feed LIMIT ?2"
        );
        return Ok((sql, values));
    }
    if let Some(recipient) = &query.recipient {
        let hash = key.recipient(&recipient.key());
        if deliveries_to(conn, hash)? <= RECIPIENT_MAX {
            values.push(hash.into());
            let sql = format!(
                "{by_event} deliveries d CROSS JOIN events e ON e.delivery = d.id {in_order}
                    AND d.recipient_hash = ?3
                 ORDER BY e.feed LIMIT ?2"
            );
            return Ok((sql, values));
        }
    }
    let sql = "SELECT id, delivery, seq, at FROM feed WHERE id > ?1 ORDER BY id LIMIT ?2";
    Ok((sql.to_owned(), values))
}

/// How many deliveries go to an address, up to one more than is asked for.
fn deliveries_to(conn: &Connection, hash: i64) -> Result<i64, Fault> {
    let count = conn
        .prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE recipient_hash = ?1 LIMIT ?2)",
        )?
        .query_row([hash, RECIPIENT_MAX + 1], |row| row.get(0))?;
    Ok(count)
}

/// The conditions that the index does not answer.
struct Filter<'a> {
    query: &'a FeedQuery,
    internal: String,
    recipient: Option<String>,
    since: Option<i64>,
    since_slack: Option<i64>,
    until: Option<i64>,
    until_slack: Option<i64>,
}

impl<'a> Filter<'a> {
    fn new(query: &'a FeedQuery) -> Result<Self, Fault> {
        let out_of_range = |_| damaged("time out of range");
        let earlier = |at: Timestamp| at.saturating_sub(TIME_SLACK).map(micros);
        let later = |at: Timestamp| at.saturating_add(TIME_SLACK).map(micros);
        Ok(Self {
            query,
            internal: channel_text(Channel::Internal),
            recipient: query.recipient.as_ref().map(|address| address.key()),
            since: query.since.map(micros),
            since_slack: query.since.map(earlier).transpose().map_err(out_of_range)?,
            until: query.until.map(micros),
            until_slack: query.until.map(later).transpose().map_err(out_of_range)?,
        })
    }

    /// Whether this and everything behind it is later than asked for.
    fn is_past(&self, place: &Place) -> bool {
        self.until_slack.is_some_and(|latest| place.at > latest)
    }

    fn judge(&self, conn: &Connection, place: &Place) -> Result<Option<FeedEvent>, Fault> {
        let is_in_time = self.since.is_none_or(|since| place.at >= since)
            && self.until.is_none_or(|until| place.at <= until);
        if !is_in_time || !self.is_theirs(conn, place)? {
            return Ok(None);
        }
        if !self.query.kinds.is_empty() && !self.is_kind(conn, place)? {
            return Ok(None);
        }
        let event = event_at(conn, place)?;
        Ok(event.filter(|event| {
            let wanted = self.recipient.as_ref();
            wanted.is_none_or(|key| event.recipient.to_lowercase() == *key)
        }))
    }

    fn is_theirs(&self, conn: &Connection, place: &Place) -> Result<bool, Fault> {
        let mut find =
            conn.prepare_cached("SELECT credential, channel FROM messages WHERE pk = ?1")?;
        let mut found = find.query([message_pk(place.delivery)])?;
        let Some(row) = found.next()? else {
            return Ok(false);
        };
        let owner = self.query.owner.as_ref();
        let credential = str_of(row, 0)?;
        Ok(owner.is_none_or(|owner| owner.as_str() == credential)
            && str_of(row, 1)? != self.internal)
    }

    fn is_kind(&self, conn: &Connection, place: &Place) -> Result<bool, Fault> {
        let kind = conn
            .prepare_cached("SELECT kind FROM events WHERE delivery = ?1 AND seq = ?2")?
            .query_row([place.delivery, place.seq], |row| row.get::<_, String>(0))
            .optional()?;
        let is_wanted = |word: String| self.query.kinds.iter().any(|kind| kind.as_str() == word);
        Ok(kind.is_some_and(is_wanted))
    }
}

/// The event of a place; `None` if it is gone, or damaged.
pub(crate) fn event(conn: &Connection, feed: i64) -> Result<Option<FeedEvent>, Fault> {
    let place = conn
        .prepare_cached("SELECT id, delivery, seq, at FROM feed WHERE id = ?1")?
        .query_row([feed], |row| {
            Ok(Place {
                feed: row.get(0)?,
                delivery: row.get(1)?,
                seq: row.get(2)?,
                at: row.get(3)?,
            })
        })
        .optional()?;
    match place {
        Some(place) => readable(event_at(conn, &place), &place),
        None => Ok(None),
    }
}

fn event_at(conn: &Connection, place: &Place) -> Result<Option<FeedEvent>, Fault> {
    let mut find = conn.prepare_cached(
        "SELECT e.at, e.kind, e.blame, e.provider, e.detail, d.recipient
         FROM events e CROSS JOIN deliveries d ON d.id = e.delivery
         WHERE e.delivery = ?1 AND e.seq = ?2",
    )?;
    let mut found = find.query([place.delivery, place.seq])?;
    let Some(row) = found.next()? else {
        return Ok(None);
    };
    let record = rows::message_by_pk(conn, message_pk(place.delivery))?.record;
    let provider: Option<ProviderName> = opt_str(row, 3)?
        .map(|name| parsed(name, "provider"))
        .transpose()?;
    let (pool, provider_message_id) = match &provider {
        Some(provider) => attempt(conn, place.delivery, provider)?,
        None => (None, None),
    };
    Ok(Some(FeedEvent {
        cursor: FeedCursor(place.feed),
        id: EventId {
            delivery: delivery_id(*record.id.as_bytes(), place.delivery),
            seq: unsigned(place.seq)?,
        },
        kind: EventKind::from_word(str_of(row, 1)?),
        blame: opt_str(row, 2)?.and_then(Blame::from_word),
        at: timestamp(row.get(0)?)?,
        credential: record.credential,
        stream: record.stream,
        recipient: row.get(5)?,
        mail_from: record.mail_from,
        provider,
        pool,
        provider_message_id,
        reply: row.get(4)?,
        tags: record.tags,
        metadata: record.metadata,
        campaign: record.campaign,
        tracking_hash: record.tracking_hash,
        one_click: record.one_click,
    }))
}

/// The pool of a provider's last attempt, and the id that it gave last.
fn attempt(
    conn: &Connection,
    delivery: i64,
    provider: &ProviderName,
) -> Result<(Option<PoolName>, Option<String>), Fault> {
    let pool = conn
        .prepare_cached(
            "SELECT pool FROM attempts WHERE delivery = ?1 AND provider = ?2
             ORDER BY number DESC LIMIT 1",
        )?
        .query_row(params![delivery, provider.as_str()], |row| {
            row.get::<_, String>(0)
        })
        .optional()?;
    let id = conn
        .prepare_cached(
            "SELECT provider_message_id FROM attempts WHERE delivery = ?1 AND provider = ?2
                AND provider_message_id IS NOT NULL
             ORDER BY number DESC LIMIT 1",
        )?
        .query_row(params![delivery, provider.as_str()], |row| row.get(0))
        .optional()?;
    let pool = pool.map(|name| parsed(name, "pool")).transpose()?;
    Ok((pool, id))
}

/// What services told of a message's events.
pub(crate) fn raw(conn: &Connection, id: MessageId) -> Result<Vec<RawEvent>, Fault> {
    let Some(pk) = rows::message_pk(conn, id)? else {
        return Ok(Vec::new());
    };
    let (first, last) = delivery_range(pk);
    let mut find = conn.prepare_cached(
        "SELECT e.delivery, e.seq, r.raw FROM events e CROSS JOIN raw_events r ON r.feed = e.feed
         WHERE e.delivery BETWEEN ?1 AND ?2 ORDER BY e.delivery, e.seq LIMIT ?3",
    )?;
    let mut found = find.query([first, last, LOOKED_AT_MAX as i64])?;
    let mut events = Vec::new();
    while let Some(row) = found.next()? {
        events.push(RawEvent {
            id: EventId {
                delivery: columns::delivery_id(*id.as_bytes(), row.get(0)?),
                seq: unsigned(row.get(1)?)?,
            },
            raw: row.get::<_, Vec<u8>>(2)?.into(),
        });
    }
    Ok(events)
}

/// When each provider last told something.
pub(crate) fn last_told(conn: &Connection) -> Result<Vec<(ProviderName, Timestamp)>, Fault> {
    let mut find = conn.prepare_cached(
        "SELECT e.provider, max(f.at)
         FROM (SELECT id, delivery, seq, at FROM feed ORDER BY id DESC LIMIT ?1) f
         CROSS JOIN raw_events r ON r.feed = f.id
         CROSS JOIN events e ON e.delivery = f.delivery AND e.seq = f.seq
         WHERE e.provider IS NOT NULL GROUP BY e.provider",
    )?;
    let mut found = find.query([TOLD_LOOKED_AT_MAX])?;
    let mut told = Vec::new();
    while let Some(row) = found.next()? {
        let name: String = row.get(0)?;
        told.push((parsed(name, "provider")?, timestamp(row.get(1)?)?));
    }
    Ok(told)
}
