//! What no index of recipients finds: messages of which the person is only the sender, and notices
//! that are too large for the table of bodies.

use malote_core::id::MessageId;
use rusqlite::{Connection, params};

use super::{NOTICES_MAX, Needle, STEP, drop_or_mark, drop_raw, scrub_message, scrub_timelines};
use crate::sqlite::body::{BodyFiles, Place};
use crate::sqlite::columns::delivery_range;
use crate::sqlite::erase::thoroughly;
use crate::sqlite::fault::Fault;
use crate::sqlite::writer::Tx;
use crate::sqlite::{Load, SqliteStore, rows};
use crate::{Erased, Erasing, StoreError};

/// Messages that one read looks at.
const LOOK: i64 = 20_000;

/// What one look found.
struct Looked {
    /// Settled messages from the address.
    settled: Vec<i64>,
    /// Messages from it that are on their way still.
    under_way: u64,
    /// Where to go on; `None` at the end.
    next: Option<i64>,
}

fn look(conn: &Connection, needle: &Needle, after: i64) -> Result<Looked, Fault> {
    let mut looked = Looked {
        settled: Vec::new(),
        under_way: 0,
        next: None,
    };
    let mut find = conn.prepare_cached(
        "SELECT pk, from_address, coalesce(mail_from, ''), settled_at IS NOT NULL FROM messages
         WHERE pk > ?1 ORDER BY pk LIMIT ?2",
    )?;
    let mut found = find.query([after, LOOK])?;
    let mut count = 0;
    while let Some(row) = found.next()? {
        let pk = row.get(0)?;
        count += 1;
        looked.next = (count == LOOK).then_some(pk);
        let is_sender = needle.is(rows::str_of(row, 1)?) || needle.is(rows::str_of(row, 2)?);
        match (is_sender, row.get(3)?) {
            (false, _) => {}
            (true, true) => looked.settled.push(pk),
            // It leaves in the sender's name, and its failure is told there.
            (true, false) => looked.under_way += 1,
        }
    }
    Ok(looked)
}

fn erase_one(
    conn: &Connection,
    needle: &Needle,
    message: i64,
    files: &mut Vec<MessageId>,
) -> Result<Erased, Fault> {
    let is_there = conn
        .prepare_cached("SELECT 1 FROM messages WHERE pk = ?1")?
        .exists([message])?;
    if !is_there {
        return Ok(Erased::default());
    }
    let range = delivery_range(message);
    let mut erased = Erased {
        texts: scrub_message(conn, needle, message)? + scrub_timelines(conn, needle, range)?,
        raw_events: drop_raw(conn, needle, None, range)?,
        ..Erased::default()
    };
    erased += drop_or_mark(conn, message, (false, files))?;
    Ok(erased)
}

/// The gateway's own messages with a body in a file of its own that names the address.
pub(super) fn large_notices(
    conn: &Connection,
    files: &BodyFiles,
    needle: &Needle,
) -> Result<Vec<i64>, Fault> {
    let mut find = conn.prepare_cached(
        "SELECT pk, id FROM messages WHERE channel = 'internal' AND body_place = ?1 LIMIT ?2",
    )?;
    let most = i64::try_from(NOTICES_MAX).unwrap_or(i64::MAX);
    let found = find.query_map(params![Place::File.number(), most], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    let found: Vec<(i64, [u8; 16])> = found.collect::<rusqlite::Result<_>>()?;
    let names = |(_, id): &(i64, [u8; 16])| {
        // A file that retention has just removed names nobody.
        let octets = std::fs::read(files.path(MessageId::from_bytes(*id)));
        octets.is_ok_and(|octets| needle.is_in(&octets))
    };
    Ok(found.into_iter().filter(names).map(|(pk, _)| pk).collect())
}

impl SqliteStore {
    /// Erases the address where it is a sender's.
    pub(super) async fn erase_senders(
        &self,
        needle: &Needle,
        erasing: Erasing,
    ) -> Result<Erased, StoreError> {
        let (mut all, mut after) = (Erased::default(), Some(i64::MIN));
        while let Some(from) = after {
            let own = needle.clone();
            let looked = self.read(move |conn| look(conn, &own, from)).await?;
            all.under_way += looked.under_way;
            for part in looked.settled.chunks(STEP) {
                let (own, part) = (needle.clone(), part.to_vec());
                let work = move |tx: &mut Tx<'_>| {
                    let (mut erased, mut files) = (Erased::default(), Vec::new());
                    thoroughly(tx.conn, erasing, || {
                        for message in &part {
                            erased += erase_one(tx.conn, &own, *message, &mut files)?;
                        }
                        Ok(())
                    })?;
                    Ok((erased, files))
                };
                let (erased, files) = self.write(Load::small(), work).await?;
                all += erased;
                self.remove_erased(files, erasing).await;
            }
            after = looked.next;
        }
        Ok(all)
    }
}
