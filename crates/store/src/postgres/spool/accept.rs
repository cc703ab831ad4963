//! Accept: messages of several callers with bodies, deliveries and idempotency records, in bulk.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;
use malote_core::stream::Class;

use crate::address_key::AddressKey;
use crate::columns::{self, channel_text, micros, signed};
use crate::extra::Extra;
use crate::postgres::fault::{Fault, damaged};
use crate::postgres::spool::Tx;
use crate::postgres::spool::args::{self, Id, clean};
use crate::postgres::spool::batcher::{Line, Load};
use crate::postgres::spool::bodies::Place;
use crate::postgres::spool::timeline::{self, Counts, is_job, is_waiting, number};
use crate::{AcceptOutcome, IdempotencyRecord, NewDelivery, NewMessage, StoreError};

/// How long an idempotency key stands for its message.
pub(crate) const IDEMPOTENCY_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// Octets that a message's row and one delivery take in the queue, about.
const ROW_BYTES: usize = 1 << 10;

/// A message with what can be worked out before its transaction.
pub(crate) struct Prepared {
    pub(crate) message: NewMessage,
    pub(crate) place: Place,
    sum: i64,
    extra: Option<String>,
    recipient_hashes: Vec<i64>,
}

impl Prepared {
    pub(crate) fn new(message: NewMessage, key: &AddressKey) -> Result<Self, StoreError> {
        if message.deliveries.len() > usize::from(u16::MAX) {
            return Err(StoreError::Engine("more than 65,535 deliveries".into()));
        }
        let hash = |delivery: &NewDelivery| key.recipient(&delivery.recipient.to_lowercase());
        Ok(Self {
            place: Place::of_new(&message.body),
            sum: columns::body_sum(&message.body),
            extra: Extra::column(&message.record)?,
            recipient_hashes: message.deliveries.iter().map(hash).collect(),
            message,
        })
    }

    /// Its id as a column holds it.
    pub(crate) fn id(&self) -> Id {
        self.message.record.id.into()
    }

    fn bytes(&self) -> usize {
        let body = match self.place {
            Place::Table => self.message.body.len(),
            Place::Dropped | Place::Chunks => 0,
        };
        body + ROW_BYTES * (1 + self.message.deliveries.len())
    }
}

/// What a caller's batch takes of a transaction; it is as urgent as its most urgent message.
pub(crate) fn load(batch: &[Prepared]) -> Load {
    let is_transactional = |one: &Prepared| one.message.record.class == Class::Transactional;
    Load {
        line: if batch.iter().any(is_transactional) {
            Line::First
        } else {
            Line::Second
        },
        bytes: batch.iter().map(Prepared::bytes).sum(),
        operations: batch.len(),
    }
}

/// Writes the batches of several callers; for each what became of its messages.
pub(crate) async fn accept(
    tx: &Tx<'_>,
    callers: &[Arc<Vec<Prepared>>],
) -> Result<Vec<Vec<AcceptOutcome>>, Fault> {
    let all: Vec<&Prepared> = callers.iter().flat_map(|batch| batch.iter()).collect();
    let repeats = take_keys(tx, &all).await?;
    let kept: Vec<&Prepared> = all
        .iter()
        .zip(&repeats)
        .filter(|(_, repeat)| repeat.is_none())
        .map(|(one, _)| *one)
        .collect();
    let mut counts = Counts::default();
    let new = New::of(&kept, &mut counts);
    // None of them waits for another's answer: they take one round trip, and the first error is the
    // one that counts.
    tokio::try_join!(
        biased;
        insert_messages(tx, &kept),
        insert_tags(tx, &kept),
        insert_deliveries(tx, &new.deliveries),
        timeline::write_events(tx, &new.lines),
        counts.write(tx),
    )?;
    let mut outcomes = repeats
        .into_iter()
        .map(|repeat| repeat.map_or(AcceptOutcome::Kept, AcceptOutcome::Repeat));
    Ok(callers
        .iter()
        .map(|batch| outcomes.by_ref().take(batch.len()).collect())
        .collect())
}

/// Takes the keys of messages that have one. For each message the record that holds its key
/// already, if there is one.
async fn take_keys(
    tx: &Tx<'_>,
    all: &[&Prepared],
) -> Result<Vec<Option<IdempotencyRecord>>, Fault> {
    // In one order, so that two transactions never wait for each other's keys.
    let mut wishes: BTreeMap<(&str, String), &IdempotencyRecord> = BTreeMap::new();
    let mut repeats: Vec<Option<IdempotencyRecord>> = vec![None; all.len()];
    for (one, repeat) in all.iter().zip(&mut repeats) {
        let Some(wish) = &one.message.idempotency else {
            continue;
        };
        let key = (wish.credential.as_str(), clean(&wish.key).into_owned());
        match wishes.get(&key) {
            Some(first) => *repeat = Some((*first).clone()),
            None => {
                wishes.insert(key, wish);
            }
        }
    }
    if wishes.is_empty() {
        return Ok(repeats);
    }
    let taken = insert_keys(tx, &wishes).await?;
    for (one, repeat) in all.iter().zip(&mut repeats) {
        if let Some(wish) = &one.message.idempotency {
            let key = (
                wish.credential.as_str().to_owned(),
                clean(&wish.key).into_owned(),
            );
            if let Some(holder) = taken.get(&key) {
                *repeat = Some(holder.clone());
            }
        }
    }
    Ok(repeats)
}

/// Inserts keys; returns the holders of those that are taken.
async fn insert_keys(
    tx: &Tx<'_>,
    wishes: &BTreeMap<(&str, String), &IdempotencyRecord>,
) -> Result<BTreeMap<(String, String), IdempotencyRecord>, Fault> {
    let credentials: Vec<&str> = wishes.keys().map(|key| key.0).collect();
    let keys: Vec<&str> = wishes.keys().map(|key| key.1.as_str()).collect();
    let prints: Vec<Option<&[u8]>> = wishes
        .values()
        .map(|wish| wish.fingerprint.as_ref().map(|print| &print[..]))
        .collect();
    let messages: Vec<Id> = wishes.values().map(|wish| wish.message.into()).collect();
    let times: Vec<i64> = wishes
        .values()
        .map(|wish| micros(wish.created_at))
        .collect();
    let kept_micros = i64::try_from(IDEMPOTENCY_KEPT.as_micros()).unwrap_or(i64::MAX);
    let won = args::rows(
        tx,
        "INSERT INTO malote.idempotency AS i (credential, key, fingerprint, message, created_at)
         SELECT * FROM unnest($1, $2, $3, $4, $5)
         ON CONFLICT (credential, key) DO UPDATE SET fingerprint = excluded.fingerprint,
            message = excluded.message, created_at = excluded.created_at
            WHERE i.created_at <= excluded.created_at - $6
         RETURNING credential, key",
        &[
            &credentials,
            &keys,
            &prints,
            &messages,
            &times,
            &kept_micros,
        ],
    )
    .await?;
    if won.len() == wishes.len() {
        return Ok(BTreeMap::new());
    }
    let mut lost: BTreeMap<(String, String), ()> = wishes
        .keys()
        .map(|(credential, key)| (((*credential).to_owned(), key.clone()), ()))
        .collect();
    for row in won {
        lost.remove(&(row.try_get(0)?, row.try_get(1)?));
    }
    let credentials: Vec<String> = lost.keys().map(|key| key.0.clone()).collect();
    let keys: Vec<String> = lost.keys().map(|key| key.1.clone()).collect();
    let found = args::rows(
        tx,
        "SELECT i.credential, i.key, i.fingerprint, i.message, i.created_at
         FROM unnest($1, $2) AS u(credential, key)
         JOIN malote.idempotency i ON i.credential = u.credential AND i.key = u.key",
        &[&credentials, &keys],
    )
    .await?;
    if found.len() != lost.len() {
        return Err(Fault::Conflict);
    }
    let records = found.iter().map(|row| {
        let record = key_record(row)?;
        Ok((
            (record.credential.as_str().to_owned(), record.key.clone()),
            record,
        ))
    });
    records.collect()
}

/// The record of a key's row: credential, key, fingerprint, message, time.
pub(crate) fn key_record(row: &tokio_postgres::Row) -> Result<IdempotencyRecord, Fault> {
    let print: Option<&[u8]> = row.try_get(2)?;
    let print = print.map(<[u8; 32]>::try_from).transpose();
    let id: Id = row.try_get(3)?;
    Ok(IdempotencyRecord {
        credential: columns::parsed(row.try_get::<_, &str>(0)?, "credential")?,
        key: row.try_get(1)?,
        fingerprint: print.map_err(|_| damaged("unreadable fingerprint"))?,
        message: id.message(),
        created_at: columns::timestamp(row.try_get(4)?)?,
    })
}

fn column<'a, T>(kept: &[&'a Prepared], of: impl Fn(&'a Prepared) -> T) -> Vec<T> {
    kept.iter().map(|one| of(one)).collect()
}

fn unsettled(one: &Prepared) -> i32 {
    let deliveries = &one.message.deliveries;
    let unsettled = deliveries.iter().filter(|d| !d.state.is_settled()).count();
    i32::try_from(unsettled).unwrap_or(i32::MAX)
}

/// Messages and the bodies that stand in a row.
async fn insert_messages(tx: &Tx<'_>, kept: &[&Prepared]) -> Result<(), Fault> {
    if kept.is_empty() {
        return Ok(());
    }
    let settled_at =
        |one: &Prepared| (unsettled(one) == 0).then(|| micros(one.message.record.accepted_at));
    args::call(
        tx,
        "take_messages_1",
        &[
            &column(kept, Prepared::id),
            &column(kept, |one| one.message.record.credential.as_str()),
            &column(kept, |one| channel_text(one.message.record.channel)),
            &column(kept, |one| one.message.record.stream.as_str()),
            &column(kept, |one| one.message.record.class.as_str()),
            &column(kept, |one| clean(&one.message.record.stream_reason)),
            &column(kept, |one| {
                let from = one.message.record.mail_from.as_ref();
                from.map(|address| address.as_str())
            }),
            &column(kept, |one| one.message.record.from.as_str()),
            &column(kept, |one| clean(&one.message.record.message_id_header)),
            &column(kept, |one| {
                one.message.record.campaign.as_deref().map(clean)
            }),
            &column(kept, |one| {
                one.message.record.tracking_hash.as_deref().map(clean)
            }),
            &column(kept, |one| {
                one.message.record.one_click.as_deref().map(clean)
            }),
            &column(kept, |one| one.extra.as_deref()),
            &column(kept, |one| signed(one.message.body.len() as u64)),
            &column(kept, |one| micros(one.message.record.accepted_at)),
            &column(kept, |one| micros(one.message.record.expires_at)),
            &column(kept, |one| {
                i32::try_from(one.message.deliveries.len()).unwrap_or(i32::MAX)
            }),
            &column(kept, unsettled),
            &column(kept, settled_at),
            &column(kept, |one| one.place.number()),
            &column(kept, |one| one.sum),
            &column(kept, |one| {
                Some(&one.message.body[..]).filter(|_| one.place == Place::Table)
            }),
        ],
    )
    .await?;
    Ok(())
}

async fn insert_tags(tx: &Tx<'_>, kept: &[&Prepared]) -> Result<(), Fault> {
    let (mut tags, mut messages) = (Vec::new(), Vec::new());
    for one in kept {
        for tag in &one.message.record.tags {
            tags.push(clean(tag));
            messages.push(one.id());
        }
    }
    if tags.is_empty() {
        return Ok(());
    }
    args::run(
        tx,
        "INSERT INTO malote.tags (tag, message) SELECT * FROM unnest($1, $2)
         ON CONFLICT DO NOTHING",
        &[&tags, &messages],
    )
    .await?;
    Ok(())
}

/// What is written beside the messages themselves.
struct New<'a> {
    deliveries: Vec<NewRow<'a>>,
    lines: Vec<(Id, i32, i32, timeline::Line)>,
}

/// A delivery on its way in.
struct NewRow<'a> {
    message: Id,
    idx: i32,
    hash: i64,
    delivery: &'a NewDelivery,
}

impl<'a> New<'a> {
    fn of(kept: &[&'a Prepared], counts: &mut Counts) -> Self {
        let (mut deliveries, mut lines) = (Vec::new(), Vec::new());
        for one in kept {
            if unsettled(one) > 0 {
                counts.add_body(signed(one.message.body.len() as u64));
            }
            let hashed = one.message.deliveries.iter().zip(&one.recipient_hashes);
            for (idx, (delivery, hash)) in (0..).zip(hashed) {
                counts.add(delivery.lane.0, delivery.state, 1);
                for (seq, event) in (1..).zip(&delivery.events) {
                    lines.push((one.id(), idx, seq, timeline::Line::from(event)));
                }
                deliveries.push(NewRow {
                    message: one.id(),
                    idx,
                    hash: *hash,
                    delivery,
                });
            }
        }
        Self { deliveries, lines }
    }
}

impl NewRow<'_> {
    fn last_seq(&self) -> i32 {
        i32::try_from(self.delivery.events.len()).unwrap_or(i32::MAX)
    }

    fn state(&self) -> i16 {
        number(self.delivery.state)
    }

    fn is_job(&self) -> bool {
        is_job(self.delivery.state)
    }

    fn due_at(&self) -> Option<i64> {
        is_waiting(self.delivery.state).then(|| micros(self.delivery.due_at))
    }
}

/// Deliveries, and the jobs of those for which something is to be done.
async fn insert_deliveries(tx: &Tx<'_>, all: &[NewRow<'_>]) -> Result<(), Fault> {
    if all.is_empty() {
        return Ok(());
    }
    args::call(
        tx,
        "take_deliveries_1",
        &[
            &of(all, |one| one.message),
            &of(all, |one| one.idx),
            &of(all, |one| one.delivery.lane.0),
            &of(all, |one| (!one.is_job()).then(|| one.state())),
            &of(all, NewRow::last_seq),
            &of(all, |one| clean(&one.delivery.recipient)),
            &of(all, |one| one.hash),
            &of(all, |one| one.delivery.notify.map(notify_bits)),
            &of(all, |one| one.delivery.orcpt.as_deref().map(clean)),
            &of(all, |one| clean(&one.delivery.route_reason)),
            &of(all, |one| {
                let name = one.delivery.mailbox_provider.as_ref();
                name.map(|name| name.as_str())
            }),
            &of(all, |one| one.is_job().then(|| one.state())),
            &of(all, NewRow::due_at),
        ],
    )
    .await?;
    Ok(())
}

fn of<'a, 'b, T>(all: &'b [NewRow<'a>], of: impl Fn(&'b NewRow<'a>) -> T) -> Vec<T> {
    all.iter().map(of).collect()
}

fn notify_bits(notify: malote_core::message::Notify) -> i16 {
    i16::try_from(columns::notify_bits(notify)).unwrap_or(0)
}
