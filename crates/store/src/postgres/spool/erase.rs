//! Erasing a recipient: its address becomes its keyed hash wherever it is kept, bodies go.

use async_trait::async_trait;
use malote_core::address::EmailAddress;
use malote_core::event::State;
use tokio_postgres::{Client, Row};

use crate::address_key::AddressKey;
use crate::extra::Extra;
use crate::needle::{MARK, NOBODY, Needle, is_erased};
use crate::postgres::fault::{Fault, damaged};
use crate::postgres::metrics::Operation;
use crate::postgres::spool::args::{self, Id, clean};
use crate::postgres::spool::bodies::Place;
use crate::postgres::spool::rows::{self, Job};
use crate::postgres::spool::timeline::is_job;
use crate::postgres::spool::{PostgresSpool, Tx, in_transaction, on_connection, outbox, retain};
use crate::{Erased, Erasing, Erasure, StoreError};

mod senders;

/// Deliveries that one transaction erases: each may have a thousand siblings to look through.
const STEP: usize = 20;
/// Deliveries that one transaction looks at.
const LOOKED_AT_MAX: i64 = 1_000;
/// Notices that one look reads, and whose bodies name the address at most.
const NOTICES_STEP: i64 = 200;
const NOTICES_MAX: usize = 10_000;

/// What is erased, and whether.
#[derive(Clone, Copy)]
struct Wish<'a> {
    needle: &'a Needle,
    erasing: Erasing,
}

/// What one step came to.
struct Step {
    erased: Erased,
    /// Where to go on; `None` at the end.
    next: Option<(Id, i32)>,
}

#[async_trait]
impl Erasure for PostgresSpool {
    async fn erase(&self, address: &EmailAddress, erasing: Erasing) -> Result<Erased, StoreError> {
        let core = &self.inner.core;
        let needle = Needle::new(address, self.recipient_hash(address));
        let hash = core.database.key.recipient(&address.key());
        let wish = Wish {
            needle: &needle,
            erasing,
        };
        let (mut all, mut after) = (Erased::default(), Some((Id([0; 16]), -1)));
        while let Some(from) = after {
            let done = in_transaction!(core, Operation::Event, |tx| step(tx, wish, (hash, from)))?;
            all += done.erased;
            after = done.next;
        }
        all += senders::erase(core, wish).await?;
        let named = self.notices(&needle).await?;
        all += in_transaction!(core, Operation::Event, |tx| rest(tx, wish, &named))?;
        Ok(all)
    }

    fn recipient_hash(&self, address: &EmailAddress) -> [u8; 16] {
        let key = &self.inner.core.database.key;
        key.recipient_hash(&address.key())
    }

    async fn recipient_of(&self, hash: [u8; 16]) -> Result<Option<EmailAddress>, StoreError> {
        let core = &self.inner.core;
        let key = &core.database.key;
        on_connection!(core, Operation::Read, |conn| recipient_of(conn, key, hash))
    }
}

impl PostgresSpool {
    /// The gateway's own messages (notices of failure, reports of outlets) whose bodies name the
    /// address.
    async fn notices(&self, needle: &Needle) -> Result<Vec<Id>, StoreError> {
        let core = &self.inner.core;
        let (mut named, mut after) = (Vec::new(), Id([0; 16]));
        loop {
            let read = on_connection!(core, Operation::Read, |conn| read_notices(conn, after))?;
            for row in &read {
                let read = |row: &Row| -> Result<bool, tokio_postgres::Error> {
                    Ok(needle.is_in(row.try_get(1)?))
                };
                after = row.try_get(0).map_err(Fault::from)?;
                if read(row).map_err(Fault::from)? {
                    named.push(after);
                }
            }
            if (read.len() as i64) < NOTICES_STEP || named.len() >= NOTICES_MAX {
                return Ok(named);
            }
        }
    }
}

async fn read_notices(conn: &Client, after: Id) -> Result<Vec<Row>, Fault> {
    args::rows(
        conn,
        "SELECT m.id, coalesce(b.body,
            (SELECT string_agg(c.octets, ''::bytea ORDER BY c.place) FROM malote.body_chunks c
             WHERE c.message = m.id), '')
         FROM malote.messages m LEFT JOIN malote.bodies b ON b.message = m.id
         WHERE m.channel = 'internal' AND m.id > $1 ORDER BY m.id LIMIT $2",
        &[&after, &NOTICES_STEP],
    )
    .await
}

/// Begins what a count takes back.
async fn begin(tx: &Tx<'_>) -> Result<(), Fault> {
    args::run(tx, "SAVEPOINT erasing", &[]).await?;
    Ok(())
}

async fn end(tx: &Tx<'_>, erasing: Erasing) -> Result<(), Fault> {
    match erasing {
        Erasing::Erase => {}
        Erasing::Count => {
            args::run(tx, "ROLLBACK TO SAVEPOINT erasing", &[]).await?;
        }
    }
    Ok(())
}

async fn step(tx: &Tx<'_>, wish: Wish<'_>, (hash, after): (i64, (Id, i32))) -> Result<Step, Fault> {
    begin(tx).await?;
    let found = args::rows(
        tx,
        "SELECT message, idx, recipient FROM malote.deliveries
         WHERE recipient_hash = $1 AND (message, idx) > ($2, $3)
         ORDER BY message, idx LIMIT $4",
        &[&hash, &after.0, &after.1, &LOOKED_AT_MAX],
    )
    .await?;
    let mut is_last = (found.len() as i64) < LOOKED_AT_MAX;
    let (mut count, mut next) = (0, None);
    let mut erased = Erased::default();
    for row in found {
        if count == STEP {
            is_last = false;
            break;
        }
        let id = (row.try_get(0)?, row.try_get(1)?);
        next = Some(id);
        if !wish.needle.is(row.try_get(2)?) {
            continue;
        }
        let Some(job) = rows::lock_one(tx, id).await? else {
            continue;
        };
        let may_go = match wish.erasing {
            Erasing::Count => job.state != State::Sending,
            Erasing::Erase => job.state.is_settled(),
        };
        if may_go {
            count += 1;
            erased += erase_delivery(tx, wish.needle, &job).await?;
        } else {
            erased.under_way += 1;
        }
    }
    end(tx, wish.erasing).await?;
    Ok(Step {
        erased,
        next: next.filter(|_| !is_last),
    })
}

async fn erase_delivery(tx: &Tx<'_>, needle: &Needle, job: &Job) -> Result<Erased, Fault> {
    let (message, idx) = (job.message, job.idx);
    args::run(
        tx,
        "UPDATE malote.deliveries SET recipient = $3, orcpt = NULL, progress = NULL
         WHERE message = $1 AND idx = $2",
        &[&message, &idx, &needle.hash.as_str()],
    )
    .await?;
    if is_job(job.state) {
        let sql = "UPDATE malote.jobs SET progress = NULL WHERE message = $1 AND idx = $2";
        args::run(tx, sql, &[&message, &idx]).await?;
    }
    let mut erased = Erased {
        deliveries: 1,
        texts: scrub_message(tx, needle, message).await?,
        ..Erased::default()
    };
    erased.texts += scrub_timelines(tx, needle, message).await?;
    erased.raw_events = drop_raw(tx, needle, message, Some(idx)).await?;
    let sql = "SELECT EXISTS (SELECT 1 FROM malote.deliveries
        WHERE message = $1 AND NOT starts_with(recipient, $2))";
    let found = args::row(tx, sql, &[&message, &MARK]).await?;
    let others = if found.map_or(Ok(false), |row| row.try_get(0))? {
        Others::Some
    } else {
        outbox::drop_messages(tx, &vec![message]).await?;
        Others::None
    };
    erased += drop_or_mark(tx, message, others).await?;
    Ok(erased)
}

/// Replaces the address in a column of one message's rows, or of all rows; how many there were.
async fn scrub(
    tx: &Tx<'_>,
    needle: &Needle,
    (table, column): (&str, &str),
    of: Option<(Id, &str)>,
) -> Result<u64, Fault> {
    let (message, only) = match of {
        Some((message, key)) => (message, format!("t.{key} = $3")),
        None => (Id([0; 16]), "$3::uuid IS NOT NULL".to_owned()),
    };
    let sql = format!(
        "UPDATE malote.{table} t SET {column} = regexp_replace(t.{column}, $1, $2, 'gi')
         WHERE {only} AND t.{column} ~* $1"
    );
    args::run(
        tx,
        &sql,
        &[&pattern(needle), &needle.hash.as_str(), &message],
    )
    .await
}

/// The spellings of the address as PostgreSQL finds them in a text.
fn pattern(needle: &Needle) -> String {
    let escaped = needle.spellings.iter().map(|spelling| {
        let mut escaped = String::with_capacity(2 * spelling.len());
        for sign in spelling.chars() {
            if sign.is_ascii() && !sign.is_ascii_alphanumeric() {
                escaped.push('\\');
            }
            escaped.push(sign);
        }
        escaped
    });
    escaped.collect::<Vec<_>>().join("|")
}

async fn scrub_message(tx: &Tx<'_>, needle: &Needle, message: Id) -> Result<u64, Fault> {
    let sql = "SELECT mail_from, from_address, extra FROM malote.messages WHERE id = $1 FOR UPDATE";
    let row = args::row(tx, sql, &[&message]).await?;
    let row = row.ok_or_else(|| damaged("a delivery without its message"))?;
    let mut count = 0;
    for (place, column) in [(0, "mail_from"), (1, "from_address")] {
        let own: Option<&str> = row.try_get(place)?;
        if own.is_some_and(|own| needle.is(own)) {
            let sql = format!("UPDATE malote.messages SET {column} = $2 WHERE id = $1");
            count += args::run(tx, &sql, &[&message, &NOBODY]).await?;
        }
    }
    // What cannot be read is scrubbed as a text all the same.
    let extra = Extra::of(row.try_get(2)?).unwrap_or_default();
    for tag in &extra.tags {
        if let Some(text) = needle.out_of(tag) {
            let sql = "DELETE FROM malote.tags WHERE tag = $1 AND message = $2";
            args::run(tx, sql, &[&clean(tag), &message]).await?;
            let sql = "INSERT INTO malote.tags (tag, message) VALUES ($1, $2)
                ON CONFLICT DO NOTHING";
            args::run(tx, sql, &[&clean(&text), &message]).await?;
        }
    }
    for column in ["extra", "message_id_header", "campaign", "one_click"] {
        count += scrub(tx, needle, ("messages", column), Some((message, "id"))).await?;
    }
    Ok(count)
}

async fn scrub_timelines(tx: &Tx<'_>, needle: &Needle, message: Id) -> Result<u64, Fault> {
    let mut count = 0;
    for place in [
        ("events", "detail"),
        ("attempts", "reply_text"),
        ("attempts", "reason"),
    ] {
        count += scrub(tx, needle, place, Some((message, "message"))).await?;
    }
    Ok(count)
}

/// Drops what services told of the delivery, if one is meant, and of the others where it names the
/// address.
async fn drop_raw(
    tx: &Tx<'_>,
    needle: &Needle,
    message: Id,
    own: Option<i32>,
) -> Result<u64, Fault> {
    let found = args::rows(
        tx,
        "SELECT idx, seq, raw FROM malote.events WHERE message = $1 AND raw IS NOT NULL",
        &[&message],
    )
    .await?;
    let (mut indexes, mut places): (Vec<i32>, Vec<i32>) = (Vec::new(), Vec::new());
    for row in &found {
        let idx = row.try_get(0)?;
        if own == Some(idx) || needle.is_in(row.try_get(2)?) {
            indexes.push(idx);
            places.push(row.try_get(1)?);
        }
    }
    if indexes.is_empty() {
        return Ok(0);
    }
    args::run(
        tx,
        "UPDATE malote.events e SET raw = NULL FROM unnest($2, $3) AS u(idx, seq)
         WHERE e.message = $1 AND e.idx = u.idx AND e.seq = u.seq",
        &[&message, &indexes, &places],
    )
    .await
}

/// Whether somebody else waits for, or has had, the same message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Others {
    None,
    Some,
}

/// Drops a message's body now, or marks it to go when the message is settled.
async fn drop_or_mark(tx: &Tx<'_>, message: Id, others: Others) -> Result<Erased, Fault> {
    let sql = "SELECT body_place, settled_at IS NOT NULL FROM malote.messages WHERE id = $1
        FOR UPDATE";
    let mut erased = Erased::default();
    let Some(row) = args::row(tx, sql, &[&message]).await? else {
        return Ok(erased);
    };
    let is_settled: bool = row.try_get(1)?;
    match Place::of(row.try_get(0)?)? {
        Place::Dropped => {}
        Place::Table | Place::Chunks if is_settled || others == Others::None => {
            retain::drop_bodies(tx, &vec![message]).await?;
            erased.bodies = 1;
        }
        Place::Table | Place::Chunks => {
            let sql = "UPDATE malote.messages SET erased = true WHERE id = $1";
            args::run(tx, sql, &[&message]).await?;
            erased.bodies_later = 1;
        }
    }
    Ok(erased)
}

/// What is beside the deliveries: notices, unreadable parts, what outlets said last.
async fn rest(tx: &Tx<'_>, wish: Wish<'_>, notices: &[Id]) -> Result<Erased, Fault> {
    begin(tx).await?;
    let mut erased = Erased::default();
    for notice in notices {
        erased += drop_or_mark(tx, *notice, Others::Some).await?;
    }
    for (table, column) in [
        ("unreadable", "part"),
        ("outbox", "last_error"),
        ("outlets", "last_error"),
    ] {
        erased.texts += scrub(tx, wish.needle, (table, column), None).await?;
    }
    end(tx, wish.erasing).await?;
    Ok(erased)
}

async fn recipient_of(
    conn: &Client,
    key: &AddressKey,
    hash: [u8; 16],
) -> Result<Option<EmailAddress>, Fault> {
    let found = args::rows(
        conn,
        "SELECT DISTINCT recipient FROM malote.deliveries
         WHERE recipient_hash = $1 AND NOT starts_with(recipient, $2)",
        &[&AddressKey::recipient_head(&hash), &MARK],
    )
    .await?;
    for row in &found {
        let address = EmailAddress::parse(row.try_get(0)?).ok();
        let is_meant = |own: &EmailAddress| key.recipient_hash(&own.key()) == hash;
        if let Some(address) = address.filter(is_meant) {
            return Ok(Some(address));
        }
    }
    Ok(None)
}

/// Whether this delivery's recipient was erased.
pub(crate) async fn is_erased_delivery(tx: &Tx<'_>, id: (Id, i32)) -> Result<bool, Fault> {
    let sql = "SELECT recipient FROM malote.deliveries WHERE message = $1 AND idx = $2";
    let found = args::row(tx, sql, &[&id.0, &id.1]).await?;
    let recipient: Option<&str> = found.as_ref().map(|row| row.try_get(0)).transpose()?;
    Ok(recipient.is_some_and(is_erased))
}
