//! Search: deliveries, newest message first, a page at a time and a bounded look at each.

use jiff::{SignedDuration, Timestamp};
use malote_core::event::State;
use malote_core::id::MessageId;
use malote_core::ledger::{Search, SearchPage, SearchRow};
use tokio_postgres::{Client, Row};

use crate::StoreError;
use crate::address_key::AddressKey;
use crate::columns;
use crate::postgres::columns::{micros, parsed, timestamp};
use crate::postgres::fault::{Fault, damaged};
use crate::postgres::spool::args::{self, Arg, Conditions, Id};
use crate::postgres::spool::timeline::number;

/// Rows looked at for one page. A page may come short, or empty, with a cursor to go on from.
const LOOKED_AT_MAX: i64 = 20_000;
/// Rows a page.
const LIMIT_MAX: u16 = 200;
/// A message's id and its time of acceptance may differ by this much.
const TIME_SLACK: SignedDuration = SignedDuration::from_mins(10);

/// One page.
pub(crate) async fn search(
    conn: &Client,
    key: &AddressKey,
    query: &Search,
) -> Result<SearchPage, Fault> {
    let limit = i64::from(query.limit.clamp(1, LIMIT_MAX));
    let walk = Walk::new(key, query)?;
    let mut shown = walk.shown(conn, query, limit + 1).await?;
    let mut next_cursor = None;
    if shown.len() as i64 > limit {
        shown.pop();
        next_cursor = shown.last().map(|row| cursor(row.id));
    } else if let Some(id) = walk.end(conn).await? {
        next_cursor = Some(cursor(id));
    }
    Ok(SearchPage {
        rows: with_replies(conn, shown).await?,
        next_cursor,
    })
}

/// The walk along the narrowest index there is for the query, newest first.
struct Walk {
    from: &'static str,
    before: (Id, i32),
    since: Id,
    hash: Option<i64>,
    recipient: Option<String>,
    tag: Option<String>,
    aside: Option<i16>,
}

/// A row found.
struct Shown {
    id: (Id, i32),
    accepted_at: Timestamp,
    row: Row,
}

impl Walk {
    fn new(key: &AddressKey, query: &Search) -> Result<Self, Fault> {
        let recipient = query.recipient.as_ref().map(|address| address.key());
        let aside = query
            .state
            .filter(|state| matches!(state, State::Held | State::Unknown | State::Quarantined));
        let mut walk = Self {
            from: "malote.deliveries w",
            before: before(query.cursor.as_deref())?,
            since: since(query.since)?,
            hash: recipient.as_deref().map(|address| key.recipient(address)),
            recipient,
            tag: query.tag.clone().map(|tag| args::clean(&tag).into_owned()),
            aside: None,
        };
        if walk.hash.is_none() {
            if walk.tag.is_some() {
                walk.from = "malote.tags t JOIN malote.deliveries w ON w.message = t.message";
            } else if let Some(state) = aside {
                walk.from = "malote.jobs w";
                walk.aside = Some(number(state));
            }
        }
        Ok(walk)
    }

    /// The rows that are looked at, in their order.
    fn looked_at<'a>(&'a self, values: &mut Vec<&'a (dyn Arg + 'a)>) -> String {
        values.extend([
            &self.before.0 as &dyn Arg,
            &self.before.1 as &dyn Arg,
            &self.since as &dyn Arg,
        ]);
        let mut sql = format!(
            "SELECT w.message, w.idx FROM {} WHERE (w.message, w.idx) < ($1, $2)
                AND w.message >= $3",
            self.from
        );
        if let Some(hash) = &self.hash {
            values.push(hash);
            sql.push_str(" AND w.recipient_hash = $4");
        } else if let Some(tag) = &self.tag {
            values.push(tag);
            sql.push_str(" AND t.tag = $4 AND t.message <= $1 AND t.message >= $3");
        } else if let Some(state) = &self.aside {
            values.push(state);
            sql.push_str(" AND w.state IN (6, 11, 12) AND w.state = $4");
        }
        sql.push_str(" ORDER BY w.message DESC, w.idx DESC");
        sql
    }

    /// The first rows of those looked at that are to be shown.
    async fn shown(
        &self,
        conn: &Client,
        query: &Search,
        count_max: i64,
    ) -> Result<Vec<Shown>, Fault> {
        let mut values: Vec<&(dyn Arg + '_)> = Vec::new();
        let looked_at = self.looked_at(&mut values);
        let state = query.state.map(number);
        let since = query.since.map(micros);
        let stream = query.stream.as_ref().map(|name| name.as_str());
        let owner = query.owner.as_ref().map(|name| name.as_str());
        let tag = self.tag.as_ref().filter(|_| self.hash.is_some());
        let mut also = Conditions::behind(values);
        also.also("d.state = ?", state.as_ref());
        also.also("m.accepted_at >= ?", since.as_ref());
        also.also("m.stream = ?", stream.as_ref());
        also.also("m.credential = ?", owner.as_ref());
        also.also(
            "EXISTS (SELECT 1 FROM malote.tags o WHERE o.tag = ? AND o.message = d.message)",
            tag,
        );
        // Addresses whose hashes are the same by chance are told apart below.
        let sql = format!(
            "SELECT d.message, d.idx, m.accepted_at, m.stream, d.recipient, d.state
             FROM ({looked_at} LIMIT {LOOKED_AT_MAX}) AS l
             JOIN malote.delivery_now d ON d.message = l.message AND d.idx = l.idx
             JOIN malote.messages m ON m.id = d.message
             WHERE true{} ORDER BY l.message DESC, l.idx DESC LIMIT {count_max}",
            also.text
        );
        let mut shown = Vec::new();
        for row in args::rows(conn, &sql, &also.values).await? {
            let recipient: &str = row.try_get(4)?;
            let is_wanted = |key: &String| recipient.to_lowercase() == *key;
            if self.recipient.as_ref().is_none_or(is_wanted) {
                shown.push(Shown {
                    id: (row.try_get(0)?, row.try_get(1)?),
                    accepted_at: timestamp(row.try_get(2)?)?,
                    row,
                });
            }
        }
        Ok(shown)
    }

    /// The last row looked at, if there are more behind it.
    async fn end(&self, conn: &Client) -> Result<Option<(Id, i32)>, Fault> {
        let mut values: Vec<&(dyn Arg + '_)> = Vec::new();
        let looked_at = self.looked_at(&mut values);
        let sql = format!("{looked_at} OFFSET {} LIMIT 1", LOOKED_AT_MAX - 1);
        let found = args::row(conn, &sql, &values).await?;
        found
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .transpose()
    }
}

/// Adds who was asked last, and what was said.
async fn with_replies(conn: &Client, shown: Vec<Shown>) -> Result<Vec<SearchRow>, Fault> {
    if shown.is_empty() {
        return Ok(Vec::new());
    }
    let (messages, indexes): (Vec<Id>, Vec<i32>) = shown.iter().map(|row| row.id).unzip();
    let replies = args::rows(
        conn,
        "SELECT a.provider, coalesce(e.detail, a.reply_text)
         FROM unnest($1, $2) WITH ORDINALITY AS u(message, idx, place)
         LEFT JOIN LATERAL (SELECT provider, reply_text FROM malote.attempts
            WHERE message = u.message AND idx = u.idx ORDER BY number DESC LIMIT 1) a ON true
         LEFT JOIN LATERAL (SELECT detail FROM malote.events
            WHERE message = u.message AND idx = u.idx AND provider IS NOT NULL AND detail <> ''
            ORDER BY seq DESC LIMIT 1) e ON true
         ORDER BY u.place",
        &[&messages, &indexes],
    )
    .await?;
    let mut rows = Vec::with_capacity(shown.len());
    for (one, reply) in shown.into_iter().zip(replies) {
        let provider: Option<&str> = reply.try_get(0)?;
        rows.push(SearchRow {
            message: one.id.0.message(),
            delivery: one.id.0.delivery(one.id.1),
            accepted_at: one.accepted_at,
            stream: parsed(one.row.try_get(3)?, "stream")?,
            recipient: one.row.try_get(4)?,
            state: columns::state(one.row.try_get::<_, i16>(5)?.into())?,
            provider: provider.map(|name| parsed(name, "provider")).transpose()?,
            last_reply: reply.try_get(1)?,
        });
    }
    Ok(rows)
}

/// A place between two rows: the delivery that came last, as 36 hex digits.
fn cursor((message, idx): (Id, i32)) -> String {
    format!("{}{idx:04x}", message.message().simple())
}

/// The delivery that a page ends before.
fn before(cursor: Option<&str>) -> Result<(Id, i32), Fault> {
    let Some(text) = cursor else {
        return Ok((Id([u8::MAX; 16]), i32::MAX));
    };
    let parts = text.split_at_checked(32).filter(|_| text.len() == 36);
    let read = parts.and_then(|(id, index)| {
        let id: MessageId = id.parse().ok()?;
        Some((
            Id::from(id),
            i32::from(u16::from_str_radix(index, 16).ok()?),
        ))
    });
    read.ok_or_else(|| StoreError::BadCursor.into())
}

/// The least id that a message accepted since then can have.
fn since(since: Option<Timestamp>) -> Result<Id, Fault> {
    let Some(since) = since else {
        return Ok(Id([0; 16]));
    };
    let since = since.saturating_sub(TIME_SLACK);
    let since = since.map_err(|_| damaged("time out of range"))?;
    let millis = since.as_millisecond().max(0).unsigned_abs();
    let mut id = [0; 16];
    id[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    Ok(Id(id))
}
