//! Rows of messages and deliveries, read back into the words of the contract.

use std::collections::BTreeSet;

use malote_core::event::State;
use malote_core::id::{DeliveryId, MessageId};
use tokio_postgres::{GenericClient, Row};

use crate::columns::{self, parsed, timestamp};
use crate::extra::Extra;
use crate::postgres::fault::{Fault, damaged};
use crate::postgres::spool::Tx;
use crate::postgres::spool::args::{self, Id, count};
use crate::{Leased, MessageRecord};

/// The columns that [`message`] reads.
pub(crate) const MESSAGE: &str = "m.id, m.credential, m.channel, m.stream, m.class,
    m.stream_reason, m.mail_from, m.from_address, m.message_id_header, m.campaign, m.tracking_hash,
    m.one_click, m.extra, m.size_bytes, m.accepted_at, m.expires_at, m.deliveries, m.body_place,
    m.body_sum";

/// A message's row.
pub(crate) struct MessageRow {
    pub(crate) id: Id,
    pub(crate) record: MessageRecord,
    pub(crate) deliveries: u16,
    pub(crate) body_place: i16,
    pub(crate) body_sum: i64,
}

/// A message of its row of [`MESSAGE`].
pub(crate) fn message(row: &Row) -> Result<MessageRow, Fault> {
    let id: Id = row.try_get(0)?;
    let extra = Extra::of(row.try_get(12)?)?;
    let mail_from: Option<&str> = row.try_get(6)?;
    let record = MessageRecord {
        id: id.message(),
        credential: parsed(row.try_get::<_, &str>(1)?, "credential")?,
        channel: columns::channel(row.try_get(2)?)?,
        stream: parsed(row.try_get::<_, &str>(3)?, "stream")?,
        class: columns::class(row.try_get(4)?)?,
        stream_reason: row.try_get(5)?,
        mail_from: mail_from
            .map(|address| parsed(address, "MAIL FROM"))
            .transpose()?,
        from: parsed(row.try_get::<_, &str>(7)?, "From")?,
        message_id_header: row.try_get(8)?,
        campaign: row.try_get(9)?,
        tracking_hash: row.try_get(10)?,
        one_click: row.try_get(11)?,
        tags: extra.tags,
        metadata: extra.metadata,
        tracking: extra.tracking,
        asked_fields: extra.asked_fields,
        dsn: extra.dsn,
        size_bytes: count(row.try_get::<_, i64>(13)?)?,
        accepted_at: timestamp(row.try_get(14)?)?,
        expires_at: timestamp(row.try_get(15)?)?,
    };
    Ok(MessageRow {
        id,
        record,
        deliveries: count(row.try_get::<_, i32>(16)?)?,
        body_place: row.try_get(17)?,
        body_sum: row.try_get(18)?,
    })
}

/// A message by its id.
pub(crate) async fn find_message<C: GenericClient>(
    conn: &C,
    id: MessageId,
) -> Result<Option<MessageRow>, Fault> {
    let sql = format!("SELECT {MESSAGE} FROM malote.messages m WHERE m.id = $1");
    let found = args::row(conn, &sql, &[&Id::from(id)]).await?;
    found.as_ref().map(message).transpose()
}

/// The columns that [`leased`] reads, of `malote.delivery_now` and `malote.messages`.
pub(crate) const LEASED: &str = "d.message, d.idx, m.stream, d.recipient, d.notify, d.orcpt,
    d.mailbox_provider, d.attempts, d.calls, d.progress, d.crashes";

/// A delivery as the engine needs it, in the state it was in before the change at hand.
pub(crate) fn leased(row: &Row, before: State) -> Result<Leased, Fault> {
    let id: Id = row.try_get(0)?;
    let mailbox_provider: Option<&str> = row.try_get(6)?;
    Ok(Leased {
        id: id.delivery(row.try_get(1)?),
        stream: parsed(row.try_get::<_, &str>(2)?, "stream")?,
        recipient: parsed(row.try_get::<_, &str>(3)?, "recipient")?,
        notify: row
            .try_get::<_, Option<i16>>(4)?
            .map(|bits| columns::notify(bits.into())),
        orcpt: row.try_get(5)?,
        mailbox_provider: mailbox_provider
            .map(|name| parsed(name, "mailbox provider"))
            .transpose()?,
        state: before,
        attempts: count(row.try_get::<_, i32>(7)?)?,
        calls: count(row.try_get::<_, i32>(8)?)?,
        progress: row.try_get(9)?,
        crashes: count(row.try_get::<_, i32>(10)?)?,
        damaged: None,
    })
}

/// One delivery as the engine needs it.
pub(crate) async fn find_leased(tx: &Tx<'_>, job: &Job) -> Result<Leased, Fault> {
    let sql = format!(
        "SELECT {LEASED} FROM malote.delivery_now d JOIN malote.messages m ON m.id = d.message
         WHERE d.message = $1 AND d.idx = $2"
    );
    let found = args::row(tx, &sql, &[&job.message, &job.idx]).await?;
    let row = found.ok_or_else(|| damaged("a delivery without its message"))?;
    leased(&row, job.state)
}

/// What changes of a delivery.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) message: Id,
    pub(crate) idx: i32,
    pub(crate) lane: i64,
    pub(crate) state: State,
    pub(crate) due_at: Option<i64>,
    pub(crate) session: Option<i64>,
    pub(crate) prior_state: Option<State>,
    pub(crate) told_state: Option<State>,
    pub(crate) attempts: i32,
    pub(crate) calls: i32,
    pub(crate) crashes: i32,
    pub(crate) last_seq: i32,
    pub(crate) progress: Option<String>,
}

/// The columns that [`job`] reads, of `malote.jobs`.
pub(crate) const JOB: &str = "j.message, j.idx, j.lane, j.state, j.due_at, j.session,
    j.prior_state, j.told_state, j.attempts, j.calls, j.crashes, j.last_seq, j.progress";

/// A job of its row.
pub(crate) fn job(row: &Row) -> Result<Job, Fault> {
    let state = |index: usize| -> Result<Option<State>, Fault> {
        let number: Option<i16> = row.try_get(index)?;
        Ok(number.map(|n| columns::state(n.into())).transpose()?)
    };
    Ok(Job {
        message: row.try_get(0)?,
        idx: row.try_get(1)?,
        lane: row.try_get(2)?,
        state: state(3)?.ok_or_else(|| damaged("a delivery without a state"))?,
        due_at: row.try_get(4)?,
        session: row.try_get(5)?,
        prior_state: state(6)?,
        told_state: state(7)?,
        attempts: row.try_get(8)?,
        calls: row.try_get(9)?,
        crashes: row.try_get(10)?,
        last_seq: row.try_get(11)?,
        progress: row.try_get(12)?,
    })
}

/// Locks those of these deliveries that are under way, and reads them.
pub(crate) async fn lock_under_way(tx: &Tx<'_>, ids: &[(Id, i32)]) -> Result<Vec<Job>, Fault> {
    let (messages, indexes) = in_order(ids);
    let found = args::call(tx, "under_way_1", &[&messages, &indexes]).await?;
    found.iter().map(job).collect()
}

/// Each once and in one order, so that no two transactions wait for each other.
fn in_order(ids: &[(Id, i32)]) -> (Vec<Id>, Vec<i32>) {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids.into_iter().unzip()
}

async fn lock_job(tx: &Tx<'_>, (message, idx): (Id, i32)) -> Result<Option<Job>, Fault> {
    let sql = format!(
        "SELECT {JOB} FROM malote.jobs j WHERE j.message = $1 AND j.idx = $2 FOR UPDATE OF j"
    );
    let found = args::row(tx, &sql, &[&message, &idx]).await?;
    found.as_ref().map(job).transpose()
}

/// Locks one delivery, whether anything is still to be done for it or not.
pub(crate) async fn lock_one(tx: &Tx<'_>, id: (Id, i32)) -> Result<Option<Job>, Fault> {
    // It may leave one table for the other while the lock is waited for.
    for _ in 0..3 {
        if let Some(job) = lock_job(tx, id).await? {
            return Ok(Some(job));
        }
        let settled = args::row(
            tx,
            "SELECT message, idx, lane, state, NULL::bigint, NULL::bigint, NULL::smallint,
                NULL::smallint, attempts, calls, crashes, last_seq, progress
             FROM malote.deliveries WHERE message = $1 AND idx = $2 FOR UPDATE",
            &[&id.0, &id.1],
        )
        .await?;
        let Some(row) = settled else {
            return Ok(None);
        };
        if row.try_get::<_, Option<i16>>(3)?.is_some() {
            return job(&row).map(Some);
        }
    }
    Err(Fault::Conflict)
}

/// Locks these deliveries, whether anything is still to be done for them or not, and reads those
/// that there are.
pub(crate) async fn lock_all(tx: &Tx<'_>, ids: &[(Id, i32)]) -> Result<Vec<Job>, Fault> {
    let (messages, indexes) = in_order(ids);
    let sql = format!(
        "SELECT {JOB} FROM unnest($1, $2) AS u(message, idx)
         JOIN malote.jobs j ON j.message = u.message AND j.idx = u.idx
         ORDER BY j.message, j.idx FOR UPDATE OF j"
    );
    let found = args::rows(tx, &sql, &[&messages, &indexes]).await?;
    let mut jobs: Vec<Job> = found.iter().map(job).collect::<Result<_, _>>()?;
    let under_way: BTreeSet<_> = jobs.iter().map(|job| (job.message, job.idx)).collect();
    let others = messages.into_iter().zip(indexes);
    let others: Vec<_> = others.filter(|id| !under_way.contains(id)).collect();
    let settled = lock_settled(tx, &others).await?;
    let known: BTreeSet<_> = settled.iter().map(|job| (job.message, job.idx)).collect();
    jobs.extend(settled);
    // Those that left one table for the other meanwhile.
    for id in others.into_iter().filter(|id| !known.contains(id)) {
        jobs.extend(lock_one(tx, id).await?);
    }
    Ok(jobs)
}

/// Locks those of these deliveries for which nothing is to be done any more, and reads them.
async fn lock_settled(tx: &Tx<'_>, ids: &[(Id, i32)]) -> Result<Vec<Job>, Fault> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let (messages, indexes) = in_order(ids);
    let found = args::rows(
        tx,
        "SELECT d.message, d.idx, d.lane, d.state, NULL::bigint, NULL::bigint, NULL::smallint,
            NULL::smallint, d.attempts, d.calls, d.crashes, d.last_seq, d.progress
         FROM unnest($1, $2) AS u(message, idx)
         JOIN malote.deliveries d ON d.message = u.message AND d.idx = u.idx
         WHERE d.state IS NOT NULL ORDER BY d.message, d.idx FOR UPDATE OF d",
        &[&messages, &indexes],
    )
    .await?;
    found.iter().map(job).collect()
}

/// The column values of a delivery's id.
pub(crate) fn key(id: DeliveryId) -> (Id, i32) {
    (id.message.into(), i32::from(id.index))
}
