//! Erasing a recipient: its address becomes its keyed hash wherever it is kept, bodies go.

mod senders;

use async_trait::async_trait;
use malote_core::address::EmailAddress;
use malote_core::event::State;
use malote_core::id::MessageId;
use rusqlite::{Connection, OptionalExtension, params};

use crate::address_key::AddressKey;
use crate::needle::{MARK, NOBODY, Needle, is_erased};
use crate::sqlite::body::{BodyFiles, Place};
use crate::sqlite::columns::{self, delivery_range};
use crate::sqlite::fault::Fault;
use crate::sqlite::writer::Tx;
use crate::sqlite::{Load, SqliteStore, outbox, retain, rows};
use crate::{Erased, Erasing, Erasure, StoreError};

/// Deliveries that one transaction erases: each may have a thousand siblings to look through.
const STEP: usize = 20;
/// Notices whose bodies one look through them reads at most; the gateway's own mail goes soon.
const NOTICES_MAX: usize = 10_000;
/// What one step came to.
struct Step {
    erased: Erased,
    /// Bodies in files, to be removed after the commit.
    files: Vec<MessageId>,
    /// Where to go on; `None` at the end.
    next: Option<i64>,
}

/// Runs `work` so that nothing of what it removes or overwrites stays in the file, or so that
/// nothing of what it does stays.
pub(crate) fn thoroughly<T>(
    conn: &Connection,
    erasing: Erasing,
    work: impl FnOnce() -> Result<T, Fault>,
) -> Result<T, Fault> {
    conn.execute_batch("PRAGMA secure_delete = ON; SAVEPOINT erasing;")?;
    let done = work();
    let end = match (erasing, &done) {
        (Erasing::Erase, Ok(_)) => "RELEASE erasing;",
        (Erasing::Count, _) | (_, Err(_)) => "ROLLBACK TO erasing; RELEASE erasing;",
    };
    conn.execute_batch(end)?;
    conn.execute_batch("PRAGMA secure_delete = FAST;")?;
    done
}

fn step(
    conn: &Connection,
    (needle, recipient_hash): (&Needle, i64),
    (after, erasing): (i64, Erasing),
) -> Result<Step, Fault> {
    let mut find = conn.prepare_cached(
        "SELECT id, recipient, state FROM deliveries WHERE recipient_hash = ?1 AND id > ?2
         ORDER BY id",
    )?;
    let mut found = find.query(params![recipient_hash, after])?;
    let (mut meant, mut next) = (Vec::new(), None);
    let mut erased = Erased::default();
    while let Some(row) = found.next()? {
        if meant.len() == STEP {
            break;
        }
        let id: i64 = row.get(0)?;
        next = Some(id);
        if !needle.is(rows::str_of(row, 1)?) {
            continue;
        }
        let state = columns::state(row.get(2)?)?;
        let may_go = match erasing {
            Erasing::Count => state != State::Sending,
            Erasing::Erase => state.is_settled(),
        };
        if may_go {
            meant.push(id);
        } else {
            erased.under_way += 1;
        }
    }
    let is_last = meant.len() < STEP;
    drop(found);
    let mut files = Vec::new();
    for delivery in meant {
        erased += erase_delivery(conn, needle, delivery, &mut files)?;
    }
    Ok(Step {
        erased,
        files,
        next: next.filter(|_| !is_last),
    })
}

fn erase_delivery(
    conn: &Connection,
    needle: &Needle,
    delivery: i64,
    files: &mut Vec<MessageId>,
) -> Result<Erased, Fault> {
    let message = columns::message_pk(delivery);
    let (first, last) = delivery_range(message);
    conn.prepare_cached(
        "UPDATE deliveries SET recipient = ?2, orcpt = NULL, progress = NULL WHERE id = ?1",
    )?
    .execute(params![delivery, needle.hash])?;
    let mut erased = Erased {
        deliveries: 1,
        texts: scrub_message(conn, needle, message)?,
        ..Erased::default()
    };
    erased.texts += scrub_timelines(conn, needle, (first, last))?;
    erased.raw_events = drop_raw(conn, needle, Some(delivery), (first, last))?;
    let others: i64 = conn
        .prepare_cached(
            "SELECT count(*) FROM deliveries WHERE id BETWEEN ?1 AND ?2
                AND substr(recipient, 1, 5) <> ?3",
        )?
        .query_row(params![first, last, MARK], |row| row.get(0))?;
    if others == 0 {
        outbox::drop_message(conn, message)?;
    }
    erased += drop_or_mark(conn, message, (others == 0, files))?;
    Ok(erased)
}

/// Replaces the address in events and attempts of these deliveries.
fn scrub_timelines(conn: &Connection, needle: &Needle, range: (i64, i64)) -> Result<u64, Fault> {
    let mut count = 0;
    for statements in [
        (
            "SELECT delivery, seq, detail FROM events WHERE delivery BETWEEN ?1 AND ?2",
            "UPDATE events SET detail = ?3 WHERE delivery = ?1 AND seq = ?2",
        ),
        (
            "SELECT delivery, number, reply_text FROM attempts
             WHERE delivery BETWEEN ?1 AND ?2 AND reply_text IS NOT NULL",
            "UPDATE attempts SET reply_text = ?3 WHERE delivery = ?1 AND number = ?2",
        ),
        (
            "SELECT delivery, number, reason FROM attempts WHERE delivery BETWEEN ?1 AND ?2",
            "UPDATE attempts SET reason = ?3 WHERE delivery = ?1 AND number = ?2",
        ),
    ] {
        count += scrub(conn, needle, statements, range)?;
    }
    Ok(count)
}

/// Replaces the address in texts that are found by two numbers.
fn scrub(
    conn: &Connection,
    needle: &Needle,
    (select, update): (&str, &str),
    range: (i64, i64),
) -> Result<u64, Fault> {
    let mut find = conn.prepare_cached(select)?;
    let found = find.query_map([range.0, range.1], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })?;
    let found: Vec<(i64, i64, String)> = found.collect::<rusqlite::Result<_>>()?;
    let mut count = 0;
    for (one, two, text) in found {
        if let Some(text) = needle.out_of(&text) {
            conn.prepare_cached(update)?
                .execute(params![one, two, text])?;
            count += 1;
        }
    }
    Ok(count)
}

fn scrub_message(conn: &Connection, needle: &Needle, message: i64) -> Result<u64, Fault> {
    for tag in rows::tags(conn, message)? {
        if let Some(text) = needle.out_of(&tag) {
            conn.prepare_cached("DELETE FROM tags WHERE tag = ?1 AND message = ?2")?
                .execute(params![tag, message])?;
            conn.prepare_cached("INSERT OR IGNORE INTO tags (tag, message) VALUES (?1, ?2)")?
                .execute(params![text, message])?;
        }
    }
    let mut count = 0;
    for column in ["mail_from", "from_address"] {
        let sql =
            format!("UPDATE messages SET {column} = ?2 WHERE pk = ?1 AND lower({column}) = ?3");
        count += conn
            .prepare_cached(&sql)?
            .execute(params![message, NOBODY, needle.key])? as u64;
    }
    for column in ["extra", "message_id_header", "campaign", "one_click"] {
        let sql = format!("SELECT {column} FROM messages WHERE pk = ?1");
        let text = conn
            .prepare_cached(&sql)?
            .query_row([message], |row| row.get::<_, Option<String>>(0))?;
        if let Some(text) = text.and_then(|text| needle.out_of(&text)) {
            let sql = format!("UPDATE messages SET {column} = ?2 WHERE pk = ?1");
            count += conn.prepare_cached(&sql)?.execute(params![message, text])? as u64;
        }
    }
    Ok(count)
}

/// Drops what services told of the delivery, and of its siblings where it names the address.
fn drop_raw(
    conn: &Connection,
    needle: &Needle,
    delivery: Option<i64>,
    (first, last): (i64, i64),
) -> Result<u64, Fault> {
    let mut find = conn.prepare_cached(
        "SELECT e.delivery, r.feed, r.raw FROM events e JOIN raw_events r ON r.feed = e.feed
         WHERE e.delivery BETWEEN ?1 AND ?2",
    )?;
    let found = find.query_map([first, last], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })?;
    let found: Vec<(i64, i64, Vec<u8>)> = found.collect::<rusqlite::Result<_>>()?;
    let mut count = 0;
    for (own, feed, raw) in found {
        if Some(own) == delivery || needle.is_in(&raw) {
            count += conn
                .prepare_cached("DELETE FROM raw_events WHERE feed = ?1")?
                .execute([feed])? as u64;
        }
    }
    Ok(count)
}

/// Drops a message's body now, or marks it to go when the message is settled.
fn drop_or_mark(
    conn: &Connection,
    message: i64,
    (is_last, files): (bool, &mut Vec<MessageId>),
) -> Result<Erased, Fault> {
    let (id, place, settled_at): ([u8; 16], i64, Option<i64>) = conn
        .prepare_cached("SELECT id, body_place, settled_at FROM messages WHERE pk = ?1")?
        .query_row([message], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let place = Place::of(place)?;
    let mut erased = Erased::default();
    match place {
        Place::Dropped => {}
        Place::Table | Place::File if is_last || settled_at.is_some() => {
            retain::drop_body(conn, message)?;
            if place == Place::File {
                files.push(MessageId::from_bytes(id));
            }
            erased.bodies = 1;
        }
        Place::Table | Place::File => {
            conn.prepare_cached("UPDATE messages SET erased = 1 WHERE pk = ?1")?
                .execute([message])?;
            erased.bodies_later = 1;
        }
    }
    Ok(erased)
}

/// The gateway's own messages (notices of failure, reports of outlets) whose bodies name it.
fn notices(conn: &Connection, files: &BodyFiles, needle: &Needle) -> Result<Vec<i64>, Fault> {
    let mut named = senders::large_notices(conn, files, needle)?;
    let mut find = conn.prepare_cached(
        "SELECT m.pk, b.body FROM messages m JOIN bodies b ON b.message = m.pk
         WHERE m.channel = 'internal'",
    )?;
    let mut found = find.query([])?;
    while let Some(row) = found.next()? {
        if named.len() < NOTICES_MAX && needle.is_in(row.get_ref(1)?.as_blob().unwrap_or_default())
        {
            named.push(row.get(0)?);
        }
    }
    Ok(named)
}

fn scrub_unreadable(conn: &Connection, needle: &Needle) -> Result<u64, Fault> {
    let mut find = conn.prepare_cached("SELECT id, part FROM unreadable")?;
    let mut found = find.query([])?;
    let mut named = Vec::new();
    while let Some(row) = found.next()? {
        if let Some(text) = needle.out_of(rows::str_of(row, 1)?) {
            named.push((row.get::<_, i64>(0)?, text));
        }
    }
    drop(found);
    for (id, text) in &named {
        conn.prepare_cached("UPDATE unreadable SET part = ?2 WHERE id = ?1")?
            .execute(params![id, text])?;
    }
    Ok(named.len() as u64)
}

/// What is beside the deliveries: notices, unreadable parts, what outlets said last.
fn rest(
    conn: &Connection,
    needle: &Needle,
    notices: &[i64],
    files: &mut Vec<MessageId>,
) -> Result<Erased, Fault> {
    let mut erased = Erased {
        texts: scrub_unreadable(conn, needle)?,
        ..Erased::default()
    };
    for notice in notices {
        let is_there = conn
            .prepare_cached("SELECT 1 FROM messages WHERE pk = ?1")?
            .exists([notice])?;
        if is_there {
            erased += drop_or_mark(conn, *notice, (false, files))?;
            erased.texts += scrub_timelines(conn, needle, delivery_range(*notice))?;
        }
    }
    for (select, update) in [
        (
            "SELECT outlet, feed, last_error FROM outbox
             WHERE last_error IS NOT NULL AND outlet BETWEEN ?1 AND ?2",
            "UPDATE outbox SET last_error = ?3 WHERE outlet = ?1 AND feed = ?2",
        ),
        (
            "SELECT id, id, last_error FROM outlets
             WHERE last_error IS NOT NULL AND id BETWEEN ?1 AND ?2",
            "UPDATE outlets SET last_error = ?3 WHERE id = ?1 AND id = ?2",
        ),
    ] {
        erased.texts += scrub(conn, needle, (select, update), (i64::MIN, i64::MAX))?;
    }
    Ok(erased)
}

#[async_trait]
impl Erasure for SqliteStore {
    async fn erase(&self, address: &EmailAddress, erasing: Erasing) -> Result<Erased, StoreError> {
        let needle = Needle::new(address, self.recipient_hash(address));
        let hash = self.inner.key.recipient(&address.key());
        let (mut all, mut after) = (Erased::default(), Some(i64::MIN));
        while let Some(from) = after {
            let needle = needle.clone();
            let work = move |tx: &mut Tx<'_>| {
                let own = (&needle, hash);
                thoroughly(tx.conn, erasing, || step(tx.conn, own, (from, erasing)))
            };
            let done = self.write(Load::small(), work).await?;
            all += done.erased;
            self.remove_erased(done.files, erasing).await;
            after = done.next;
        }
        all += self.erase_senders(&needle, erasing).await?;
        let (finding, own) = (needle.clone(), self.inner.files.clone());
        let named = self.read(move |conn| notices(conn, &own, &finding)).await?;
        let work = move |tx: &mut Tx<'_>| {
            let mut files = Vec::new();
            let erased = thoroughly(tx.conn, erasing, || {
                rest(tx.conn, &needle, &named, &mut files)
            })?;
            Ok((erased, files))
        };
        let (erased, files) = self.write(Load::small(), work).await?;
        all += erased;
        self.remove_erased(files, erasing).await;
        Ok(all)
    }

    fn recipient_hash(&self, address: &EmailAddress) -> [u8; 16] {
        self.inner.key.recipient_hash(&address.key())
    }

    async fn recipient_of(&self, hash: [u8; 16]) -> Result<Option<EmailAddress>, StoreError> {
        let key = self.inner.key.clone();
        self.read(move |conn| recipient_of(conn, &key, hash)).await
    }
}

impl SqliteStore {
    async fn remove_erased(&self, files: Vec<MessageId>, erasing: Erasing) {
        if erasing == Erasing::Erase {
            // A backup under way may still have to copy them.
            let no_backup = self.inner.removal.read().await;
            self.remove_files(files).await;
            drop(no_backup);
        }
    }
}

fn recipient_of(
    conn: &Connection,
    key: &AddressKey,
    hash: [u8; 16],
) -> Result<Option<EmailAddress>, Fault> {
    let mut find = conn.prepare_cached(
        "SELECT DISTINCT recipient FROM deliveries WHERE recipient_hash = ?1
            AND substr(recipient, 1, 5) <> ?2",
    )?;
    let mut found = find.query(params![AddressKey::recipient_head(&hash), MARK])?;
    while let Some(row) = found.next()? {
        let address = EmailAddress::parse(rows::str_of(row, 0)?).ok();
        let is_meant = |own: &EmailAddress| key.recipient_hash(&own.key()) == hash;
        if let Some(address) = address.filter(is_meant) {
            return Ok(Some(address));
        }
    }
    Ok(None)
}

/// Whether this delivery's recipient was erased.
pub(crate) fn is_erased_delivery(conn: &Connection, delivery: i64) -> Result<bool, Fault> {
    let recipient: Option<String> = conn
        .prepare_cached("SELECT recipient FROM deliveries WHERE id = ?1")?
        .query_row([delivery], |row| row.get(0))
        .optional()?;
    Ok(recipient.is_some_and(|recipient| is_erased(&recipient)))
}
