//! Rows of messages and deliveries, read back into the words of the contract.

use malote_core::event::State;
use malote_core::id::MessageId;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::extra::Extra;
use crate::sqlite::body::{Place, Wanted};
use crate::sqlite::columns::{self, damaged, parsed, timestamp, unsigned};
use crate::sqlite::fault::Fault;
use crate::{Leased, MessageRecord};

/// The tags of a message; none if they cannot be read.
pub(crate) fn tags(conn: &Connection, pk: i64) -> Result<Vec<String>, Fault> {
    let extra = conn
        .prepare_cached("SELECT extra FROM messages WHERE pk = ?1")?
        .query_row([pk], |row| row.get::<_, Option<String>>(0))?;
    Ok(Extra::of(extra.as_deref()).unwrap_or_default().tags)
}

const MESSAGE: &str = "SELECT pk, id, credential, channel, stream, class, stream_reason, mail_from,
        from_address, message_id_header, campaign, tracking_hash, extra, size_bytes, accepted_at,
        expires_at, deliveries, body_place, body_sum, one_click
     FROM messages WHERE ";

/// A message's row.
pub(crate) struct MessageRow {
    pub(crate) pk: i64,
    pub(crate) record: MessageRecord,
    pub(crate) deliveries: u16,
    pub(crate) body: Wanted,
}

/// The row id of a message.
pub(crate) fn message_pk(conn: &Connection, id: MessageId) -> Result<Option<i64>, Fault> {
    Ok(conn
        .prepare_cached("SELECT pk FROM messages WHERE id = ?1")?
        .query_row([&id.as_bytes()[..]], |row| row.get(0))
        .optional()?)
}

/// The id of a message.
pub(crate) fn message_id(conn: &Connection, pk: i64) -> Result<MessageId, Fault> {
    let bytes = conn
        .prepare_cached("SELECT id FROM messages WHERE pk = ?1")?
        .query_row([pk], |row| row.get::<_, [u8; 16]>(0))?;
    Ok(MessageId::from_bytes(bytes))
}

/// A message by its id.
pub(crate) fn message(conn: &Connection, id: MessageId) -> Result<Option<MessageRow>, Fault> {
    let mut find = conn.prepare_cached(&format!("{MESSAGE} id = ?1"))?;
    let mut rows = find.query([&id.as_bytes()[..]])?;
    rows.next()?.map(message_row).transpose()
}

/// A message by its row id.
pub(crate) fn message_by_pk(conn: &Connection, pk: i64) -> Result<MessageRow, Fault> {
    let mut find = conn.prepare_cached(&format!("{MESSAGE} pk = ?1"))?;
    let mut rows = find.query([pk])?;
    match rows.next()? {
        Some(row) => message_row(row),
        None => Err(damaged("a delivery without its message")),
    }
}

fn message_row(row: &Row<'_>) -> Result<MessageRow, Fault> {
    let text = |index: usize| -> Result<&str, Fault> { str_of(row, index) };
    let id = MessageId::from_bytes(row.get(1)?);
    let extra = Extra::of(opt_str(row, 12)?)?;
    let size_bytes = unsigned(row.get(13)?)?;
    let record = MessageRecord {
        id,
        credential: parsed(text(2)?, "credential")?,
        channel: columns::channel(text(3)?)?,
        stream: parsed(text(4)?, "stream")?,
        class: columns::class(text(5)?)?,
        stream_reason: row.get(6)?,
        mail_from: opt_str(row, 7)?
            .map(|address| parsed(address, "MAIL FROM"))
            .transpose()?,
        from: parsed(text(8)?, "From")?,
        message_id_header: row.get(9)?,
        campaign: row.get(10)?,
        tracking_hash: row.get(11)?,
        one_click: row.get(19)?,
        tags: extra.tags,
        metadata: extra.metadata,
        tracking: extra.tracking,
        asked_fields: extra.asked_fields,
        dsn: extra.dsn,
        size_bytes,
        accepted_at: timestamp(row.get(14)?)?,
        expires_at: timestamp(row.get(15)?)?,
    };
    let pk = row.get(0)?;
    Ok(MessageRow {
        pk,
        record,
        deliveries: unsigned(row.get(16)?)?,
        body: Wanted {
            id,
            message_pk: pk,
            place: Place::of(row.get(17)?)?,
            sum: row.get(18)?,
            size_bytes,
        },
    })
}

/// Text of a column that must be there.
pub(crate) fn str_of<'a>(row: &'a Row<'_>, index: usize) -> Result<&'a str, Fault> {
    row.get_ref(index)?
        .as_str()
        .map_err(|_| damaged("unreadable text"))
}

/// Text of a column that may be absent.
pub(crate) fn opt_str<'a>(row: &'a Row<'_>, index: usize) -> Result<Option<&'a str>, Fault> {
    row.get_ref(index)?
        .as_str_or_null()
        .map_err(|_| damaged("unreadable text"))
}

/// What every change of a delivery has to know of it.
pub(crate) struct DeliveryRow {
    pub(crate) pk: i64,
    pub(crate) lane: i64,
    pub(crate) state: State,
    pub(crate) session: Option<i64>,
    pub(crate) prior_state: Option<State>,
    pub(crate) told_state: Option<State>,
}

/// A delivery by its row id.
pub(crate) fn delivery(conn: &Connection, pk: i64) -> Result<Option<DeliveryRow>, Fault> {
    let mut find = conn.prepare_cached(
        "SELECT lane, state, session, prior_state, told_state FROM deliveries WHERE id = ?1",
    )?;
    let mut rows = find.query([pk])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let state = |index: usize| -> Result<Option<State>, Fault> {
        let number: Option<i64> = row.get(index)?;
        number.map(columns::state).transpose()
    };
    Ok(Some(DeliveryRow {
        pk,
        lane: row.get(0)?,
        state: state(1)?.ok_or_else(|| damaged("a delivery without a state"))?,
        session: row.get(2)?,
        prior_state: state(3)?,
        told_state: state(4)?,
    }))
}

/// A delivery as the engine needs it, in the state it was in before the change at hand.
pub(crate) fn leased(conn: &Connection, pk: i64, before: State) -> Result<Leased, Fault> {
    let mut find = conn.prepare_cached(
        "SELECT m.id, m.stream, d.recipient, d.notify, d.orcpt, d.mailbox_provider, d.attempts,
            d.calls, d.progress, d.crashes
         FROM deliveries d JOIN messages m ON m.pk = d.id / 65536 WHERE d.id = ?1",
    )?;
    let mut rows = find.query([pk])?;
    let row = rows
        .next()?
        .ok_or_else(|| damaged("a delivery without its message"))?;
    Ok(Leased {
        id: columns::delivery_id(row.get(0)?, pk),
        stream: parsed(str_of(row, 1)?, "stream")?,
        recipient: parsed(str_of(row, 2)?, "recipient")?,
        notify: row.get::<_, Option<i64>>(3)?.map(columns::notify),
        orcpt: row.get(4)?,
        mailbox_provider: opt_str(row, 5)?
            .map(|name| parsed(name, "mailbox provider"))
            .transpose()?,
        state: before,
        attempts: unsigned(row.get(6)?)?,
        calls: unsigned(row.get(7)?)?,
        progress: row.get(8)?,
        crashes: unsigned(row.get(9)?)?,
        damaged: None,
    })
}
