//! Search: deliveries, newest message first, a page at a time and a bounded look at each.

use jiff::SignedDuration;
use malote_core::event::State;
use malote_core::id::MessageId;
use malote_core::ledger::{Search, SearchPage, SearchRow};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use crate::StoreError;
use crate::address_key::AddressKey;
use crate::sqlite::columns::{self, damaged, delivery_pk, micros, state_number};
use crate::sqlite::fault::Fault;
use crate::sqlite::rows::str_of;

/// Rows looked at for one page. A page may come short, or empty, with a cursor to go on from.
const LOOKED_AT_MAX: usize = 100_000;
/// Rows a page.
const LIMIT_MAX: u16 = 200;
/// Messages stand in the order of their commits; their times may differ from it by this much.
const TIME_SLACK: SignedDuration = SignedDuration::from_mins(10);

/// One page.
pub(crate) fn search(
    conn: &Connection,
    key: &AddressKey,
    query: &Search,
) -> Result<SearchPage, Fault> {
    let limit = usize::from(query.limit.clamp(1, LIMIT_MAX));
    let (sql, values) = statement(conn, key, query)?;
    let mut find = conn.prepare_cached(&sql)?;
    let mut found = find.query(params_from_iter(values))?;
    let filter = Filter::new(conn, query)?;
    let mut page = SearchPage {
        rows: Vec::new(),
        next_cursor: None,
    };
    let mut looked_at = 0;
    let mut last_seen = None;
    while let Some(row) = found.next()? {
        if looked_at == LOOKED_AT_MAX || page.rows.len() == limit {
            page.next_cursor = last_seen.map(cursor);
            break;
        }
        looked_at += 1;
        last_seen = Some((row.get::<_, [u8; 16]>(1)?, row.get::<_, i64>(0)?));
        match filter.judge(row)? {
            Judged::Shown => page.rows.push(search_row(conn, row)?),
            Judged::Passed => {}
            Judged::TooOld => break,
        }
    }
    Ok(page)
}

/// The statement that walks the narrowest index there is for the query, newest first.
fn statement(
    conn: &Connection,
    key: &AddressKey,
    query: &Search,
) -> Result<(String, Vec<Value>), Fault> {
    let mut sql = "SELECT d.id, m.id, m.accepted_at, m.stream, d.recipient, d.state, m.credential
        FROM deliveries d CROSS JOIN messages m ON m.pk = d.id / 65536 WHERE d.id < ?1"
        .to_owned();
    let mut values = vec![Value::from(before(conn, query.cursor.as_deref())?)];
    if let Some(recipient) = &query.recipient {
        values.push(key.recipient(&recipient.key()).into());
        sql.push_str(" AND d.recipient_hash = ?2");
    } else if let Some(tag) = &query.tag {
        values.push(tag.clone().into());
        sql = sql.replacen(
            "deliveries d",
            "tags t CROSS JOIN deliveries d ON d.id BETWEEN t.message * 65536
                AND t.message * 65536 + 65535",
            1,
        );
        sql.push_str(
            " AND t.tag = ?2 AND t.message <= ?1 / 65536 ORDER BY t.message DESC, d.id DESC",
        );
        return Ok((sql, values));
    } else if let Some(state @ (State::Held | State::Unknown | State::Quarantined)) = query.state {
        values.push(state_number(state).into());
        sql.push_str(" AND d.state IN (6, 11, 12) AND d.state = ?2");
    }
    sql.push_str(" ORDER BY d.id DESC");
    Ok((sql, values))
}

enum Judged {
    Shown,
    Passed,
    TooOld,
}

/// The conditions that the index does not answer.
struct Filter<'a> {
    conn: &'a Connection,
    query: &'a Search,
    recipient: Option<String>,
    state: Option<i64>,
    since: Option<i64>,
    too_old: Option<i64>,
}

impl<'a> Filter<'a> {
    fn new(conn: &'a Connection, query: &'a Search) -> Result<Self, Fault> {
        let slack = |since: jiff::Timestamp| since.saturating_sub(TIME_SLACK);
        let too_old = query.since.map(slack).transpose();
        Ok(Self {
            conn,
            query,
            recipient: query.recipient.as_ref().map(|address| address.key()),
            state: query.state.map(state_number),
            since: query.since.map(micros),
            too_old: too_old
                .map_err(|_| damaged("time out of range"))?
                .map(micros),
        })
    }

    fn judge(&self, row: &Row<'_>) -> Result<Judged, Fault> {
        let accepted_at: i64 = row.get(2)?;
        if self.too_old.is_some_and(|oldest| accepted_at < oldest) {
            return Ok(Judged::TooOld);
        }
        let is_shown = self.since.is_none_or(|since| accepted_at >= since)
            && self.state.is_none_or(|state| row.get(5) == Ok(state))
            && is(self.query.stream.as_ref().map(|s| s.as_str()), row, 3)?
            && is(self.query.owner.as_ref().map(|o| o.as_str()), row, 6)?
            && match &self.recipient {
                Some(key) => str_of(row, 4)?.to_lowercase() == *key,
                None => true,
            }
            && match (&self.query.tag, &self.recipient) {
                (Some(tag), Some(_)) => has_tag(self.conn, row, tag)?,
                (Some(_) | None, _) => true,
            };
        Ok(if is_shown {
            Judged::Shown
        } else {
            Judged::Passed
        })
    }
}

fn is(wanted: Option<&str>, row: &Row<'_>, index: usize) -> Result<bool, Fault> {
    match wanted {
        Some(wanted) => Ok(str_of(row, index)? == wanted),
        None => Ok(true),
    }
}

fn has_tag(conn: &Connection, row: &Row<'_>, tag: &str) -> Result<bool, Fault> {
    let message = columns::message_pk(row.get(0)?);
    Ok(conn
        .prepare_cached("SELECT 1 FROM tags WHERE tag = ?1 AND message = ?2")?
        .exists(rusqlite::params![tag, message])?)
}

fn search_row(conn: &Connection, row: &Row<'_>) -> Result<SearchRow, Fault> {
    let pk: i64 = row.get(0)?;
    let message: [u8; 16] = row.get(1)?;
    let last = conn
        .prepare_cached(
            "SELECT provider, reply_text FROM attempts WHERE delivery = ?1
             ORDER BY number DESC LIMIT 1",
        )?
        .query_row([pk], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?))
        })
        .optional()?;
    let told = conn
        .prepare_cached(
            "SELECT detail FROM events WHERE delivery = ?1 AND provider IS NOT NULL
                AND detail <> '' ORDER BY seq DESC LIMIT 1",
        )?
        .query_row([pk], |row| row.get::<_, String>(0))
        .optional()?;
    let (provider, reply) = last.map_or((None, None), |(name, reply)| (Some(name), reply));
    Ok(SearchRow {
        message: MessageId::from_bytes(message),
        delivery: columns::delivery_id(message, pk),
        accepted_at: columns::timestamp(row.get(2)?)?,
        stream: columns::parsed(str_of(row, 3)?, "stream")?,
        recipient: row.get(4)?,
        state: columns::state(row.get(5)?)?,
        provider: provider
            .map(|name| columns::parsed(name, "provider"))
            .transpose()?,
        last_reply: told.or(reply),
    })
}

/// A place between two rows: the delivery that came last, as 36 hex digits.
fn cursor((message, pk): ([u8; 16], i64)) -> String {
    let id = MessageId::from_bytes(message).simple();
    format!("{id}{:04x}", columns::index(pk))
}

/// The row id that a page ends before. A message that retention has taken meanwhile is stood in
/// for by the one before it.
fn before(conn: &Connection, cursor: Option<&str>) -> Result<i64, Fault> {
    let Some(text) = cursor else {
        return Ok(i64::MAX);
    };
    let parts = text.split_at_checked(32).filter(|_| text.len() == 36);
    let read = parts.and_then(|(id, index)| {
        let id: MessageId = id.parse().ok()?;
        Some((id, u16::from_str_radix(index, 16).ok()?))
    });
    let (id, index) = read.ok_or(StoreError::BadCursor)?;
    let found: Option<(i64, [u8; 16])> = conn
        .prepare_cached("SELECT pk, id FROM messages WHERE id <= ?1 ORDER BY id DESC LIMIT 1")?
        .query_row([&id.as_bytes()[..]], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(match found {
        Some((pk, own)) if own == *id.as_bytes() => delivery_pk(pk, index),
        Some((pk, _)) => delivery_pk(pk + 1, 0),
        None => 0,
    })
}
