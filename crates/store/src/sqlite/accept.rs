//! Accept: a message, its body, deliveries and idempotency record in one transaction.

use jiff::SignedDuration;
use malote_core::id::MessageId;
use malote_core::stream::Class;
use rusqlite::{Connection, OptionalExtension, params};

use crate::address_key::AddressKey;
use crate::columns::body_sum;
use crate::extra::Extra;
use crate::sqlite::body::Place;
use crate::sqlite::columns::{self, channel_text, delivery_pk, micros, signed, state_number};
use crate::sqlite::fault::Fault;
use crate::sqlite::queue::Urgency;
use crate::sqlite::timeline;
use crate::sqlite::writer::Tx;
use crate::{AcceptOutcome, IdempotencyRecord, NewDelivery, NewMessage, StoreError};

/// How long an idempotency key stands for its message.
pub(crate) const IDEMPOTENCY_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// Octets that a message's row and one delivery take in the queue, about.
const ROW_BYTES: usize = 1 << 10;

/// A message with what can be worked out before the writer's turn.
pub(crate) struct Prepared {
    pub(crate) message: NewMessage,
    place: Place,
    sum: i64,
    extra: Option<String>,
    recipient_hashes: Vec<i64>,
}

impl Prepared {
    pub(crate) fn new(
        message: NewMessage,
        key: &AddressKey,
        inline_body_max: u64,
    ) -> Result<Self, StoreError> {
        if message.deliveries.len() > usize::from(u16::MAX) {
            return Err(StoreError::Engine("more than 65,535 deliveries".into()));
        }
        let place = if message.body.len() as u64 <= inline_body_max {
            Place::Table
        } else {
            Place::File
        };
        let hash = |delivery: &NewDelivery| key.recipient(&delivery.recipient.to_lowercase());
        Ok(Self {
            place,
            sum: body_sum(&message.body),
            extra: Extra::column(&message.record)?,
            recipient_hashes: message.deliveries.iter().map(hash).collect(),
            message,
        })
    }

    /// Whether the body has to be in a file before the message's turn comes.
    pub(crate) fn needs_file(&self) -> bool {
        self.place == Place::File
    }

    /// Octets it holds while it waits.
    pub(crate) fn bytes(&self) -> usize {
        let body = match self.place {
            Place::Table => self.message.body.len(),
            Place::Dropped | Place::File => 0,
        };
        body + ROW_BYTES * (1 + self.message.deliveries.len())
    }
}

/// A batch is as urgent as its most urgent message.
pub(crate) fn urgency(batch: &[Prepared]) -> Urgency {
    let is_transactional = |one: &Prepared| one.message.record.class == Class::Transactional;
    if batch.iter().any(is_transactional) {
        Urgency::AcceptTransactional
    } else {
        Urgency::AcceptCampaign
    }
}

/// Writes a batch.
pub(crate) fn accept(tx: &mut Tx<'_>, batch: &[Prepared]) -> Result<Vec<AcceptOutcome>, Fault> {
    let mut outcomes = Vec::with_capacity(batch.len());
    for one in batch {
        outcomes.push(accept_one(tx, one)?);
    }
    Ok(outcomes)
}

fn accept_one(tx: &mut Tx<'_>, one: &Prepared) -> Result<AcceptOutcome, Fault> {
    if let Some(wish) = &one.message.idempotency {
        if let Some(taken) = find_key(tx.conn, wish)? {
            return Ok(AcceptOutcome::Repeat(taken));
        }
        keep_key(tx.conn, wish)?;
    }
    let pk = tx.memory.next_message();
    insert_message(tx, pk, one)?;
    if one.place == Place::Table {
        tx.conn
            .prepare_cached("INSERT INTO bodies (message, body) VALUES (?1, ?2)")?
            .execute(params![pk, &one.message.body[..]])?;
    }
    for tag in &one.message.record.tags {
        tx.conn
            .prepare_cached("INSERT OR IGNORE INTO tags (tag, message) VALUES (?1, ?2)")?
            .execute(params![tag, pk])?;
    }
    for (index, delivery) in (0_u16..).zip(&one.message.deliveries) {
        let hash = one.recipient_hashes[usize::from(index)];
        insert_delivery(tx, delivery_pk(pk, index), delivery, hash)?;
    }
    Ok(AcceptOutcome::Kept)
}

fn insert_message(tx: &mut Tx<'_>, pk: i64, one: &Prepared) -> Result<(), Fault> {
    let record = &one.message.record;
    let deliveries = &one.message.deliveries;
    let unsettled = deliveries.iter().filter(|d| !d.state.is_settled()).count();
    let settled_at = (unsettled == 0).then(|| micros(record.accepted_at));
    if unsettled > 0 {
        tx.memory.count_body(signed(record.size_bytes));
    }
    tx.conn
        .prepare_cached(
            "INSERT INTO messages (pk, id, credential, channel, stream, class, stream_reason,
                mail_from, from_address, message_id_header, campaign, tracking_hash, extra,
                size_bytes, accepted_at, expires_at, check_at, deliveries, unsettled, settled_at,
                body_place, body_sum, one_click)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?16,
                ?17, ?18, ?19, ?20, ?21, ?22)",
        )?
        .execute(params![
            pk,
            &record.id.as_bytes()[..],
            record.credential.as_str(),
            channel_text(record.channel),
            record.stream.as_str(),
            record.class.as_str(),
            record.stream_reason,
            record.mail_from.as_ref().map(|address| address.as_str()),
            record.from.as_str(),
            record.message_id_header,
            record.campaign,
            record.tracking_hash,
            one.extra,
            signed(one.message.body.len() as u64),
            micros(record.accepted_at),
            micros(record.expires_at),
            signed(deliveries.len() as u64),
            signed(unsettled as u64),
            settled_at,
            one.place.number(),
            one.sum,
            record.one_click,
        ])?;
    Ok(())
}

fn insert_delivery(
    tx: &mut Tx<'_>,
    pk: i64,
    delivery: &NewDelivery,
    recipient_hash: i64,
) -> Result<(), Fault> {
    let waits = timeline::is_waiting(delivery.state);
    tx.conn
        .prepare_cached(
            "INSERT INTO deliveries (id, lane, state, due_at, recipient, recipient_hash, notify,
                orcpt, route_reason, mailbox_provider)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            pk,
            delivery.lane.0,
            state_number(delivery.state),
            waits.then(|| micros(delivery.due_at)),
            delivery.recipient,
            recipient_hash,
            delivery.notify.map(columns::notify_bits),
            delivery.orcpt,
            delivery.route_reason,
            delivery.mailbox_provider.as_ref().map(|name| name.as_str()),
        ])?;
    tx.memory.count(delivery.lane.0, delivery.state, 1);
    for event in &delivery.events {
        timeline::write_event(tx, pk, event)?;
    }
    Ok(())
}

/// The record that holds this key now, unless it is too old at the wish's own time.
fn find_key(
    conn: &Connection,
    wish: &IdempotencyRecord,
) -> Result<Option<IdempotencyRecord>, Fault> {
    let oldest = wish.created_at.saturating_sub(IDEMPOTENCY_KEPT);
    let oldest = oldest.map_err(|_| columns::damaged("time out of range"))?;
    key_record(conn, wish.credential.as_str(), &wish.key, micros(oldest))
}

/// The record of a credential's key, if it is younger than `oldest`.
pub(crate) fn key_record(
    conn: &Connection,
    credential: &str,
    key: &str,
    oldest: i64,
) -> Result<Option<IdempotencyRecord>, Fault> {
    let found = conn
        .prepare_cached(
            "SELECT fingerprint, message, created_at FROM idempotency
             WHERE credential = ?1 AND key = ?2 AND created_at > ?3",
        )?
        .query_row(params![credential, key, oldest], |row| {
            Ok((
                row.get::<_, Option<[u8; 32]>>(0)?,
                row.get::<_, [u8; 16]>(1)?,
                row.get::<_, i64>(2)?,
            ))
        })
        .optional()?;
    let Some((fingerprint, message, created_at)) = found else {
        return Ok(None);
    };
    Ok(Some(IdempotencyRecord {
        credential: columns::parsed(credential, "credential")?,
        key: key.to_owned(),
        fingerprint,
        message: MessageId::from_bytes(message),
        created_at: columns::timestamp(created_at)?,
    }))
}

fn keep_key(conn: &Connection, record: &IdempotencyRecord) -> Result<(), Fault> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO idempotency (credential, key, fingerprint, message, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        record.credential.as_str(),
        record.key,
        record.fingerprint.as_ref().map(|print| &print[..]),
        &record.message.as_bytes()[..],
        micros(record.created_at),
    ])?;
    Ok(())
}
