//! What ends by time: mail too old to be sent, bodies and messages kept long enough.

use jiff::{SignedDuration, Timestamp};
use malote_core::event::{EventKind, State};
use malote_core::id::DeliveryId;
use tokio_postgres::Row;

use crate::Leased;
use crate::postgres::columns::micros;
use crate::postgres::fault::{Fault, damaged};
use crate::postgres::spool::Tx;
use crate::postgres::spool::accept::IDEMPOTENCY_KEPT;
use crate::postgres::spool::args::{self, Id};
use crate::postgres::spool::bodies::Place;
use crate::postgres::spool::rows;
use crate::postgres::spool::timeline::{self, Change, Line, is_waiting};
use crate::postgres::spool::{lease, outbox, view};

/// Messages that one retention step drops.
const STEP: i64 = 500;
/// Steps of one call.
pub(crate) const STEPS_MAX: usize = 20;
/// Rows of one table that one step forgets.
const FORGET_STEP: i64 = 2_000;
/// Such steps of one call.
pub(crate) const FORGET_STEPS_MAX: usize = 50;
/// How long at least a provider's event is known to have been applied; providers repeat for hours or
/// days. As long as messages are kept it is, too: whoever tells an old one again finds its message.
const EVENT_KEYS_KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);
/// When a message past its time with only held or leased deliveries is looked at again.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_mins(5);

/// Queues what was scheduled and is due, in every lane.
pub(crate) async fn release(tx: &Tx<'_>, count_max: u32, now: Timestamp) -> Result<(), Fault> {
    for (lane, _) in view::lane_ids(tx).await? {
        lease::release_scheduled(tx, lane.0, count_max, now).await?;
    }
    Ok(())
}

/// What waits beyond its time; what of it cannot be read is set aside. So many in all.
pub(crate) async fn overdue(
    tx: &Tx<'_>,
    count_max: u32,
    now: Timestamp,
) -> Result<Vec<Leased>, Fault> {
    let messages = args::rows(
        tx,
        "SELECT id FROM malote.messages WHERE settled_at IS NULL AND check_at <= $1
         ORDER BY check_at LIMIT $2",
        &[&micros(now), &i64::from(count_max)],
    )
    .await?;
    let mut wanted = Vec::new();
    for message in ids(&messages)? {
        let room = i64::from(count_max) - i64::try_from(wanted.len()).unwrap_or(i64::MAX);
        if room <= 0 {
            break;
        }
        let sql = format!(
            "SELECT {} FROM malote.jobs j WHERE j.message = $1 AND j.state IN (0, 1, 5)
             ORDER BY j.idx LIMIT $2",
            rows::JOB
        );
        for row in args::rows(tx, &sql, &[&message, &room]).await? {
            let job = rows::job(&row)?;
            wanted.push(((job.message, job.idx), job.state));
        }
    }
    let mut found = lease::leased(tx, &wanted).await?;
    let mut overdue = Vec::new();
    for (id, _) in wanted {
        match readable(found.remove(&id)) {
            Ok(leased) => overdue.push(leased),
            Err(what) => set_aside(tx, id, &what, now).await?,
        }
    }
    Ok(overdue)
}

/// What was found of a delivery; what is wrong if it cannot be read.
fn readable(found: Option<Result<Leased, String>>) -> Result<Leased, String> {
    found.unwrap_or_else(|| Err(lease::NO_DELIVERY.into()))
}

/// Sets aside what cannot be read and waits still: it was not locked.
async fn set_aside(tx: &Tx<'_>, id: (Id, i32), what: &str, now: Timestamp) -> Result<(), Fault> {
    match rows::lock_one(tx, id).await? {
        Some(job) if is_waiting(job.state) => lease::set_aside(tx, id, what, now).await,
        Some(_) | None => Ok(()),
    }
}

/// Settles as expired what of this waits beyond its time. It looks at nothing else: its caller has
/// told of what it names, and a transaction has its bounds.
pub(crate) async fn expire(
    tx: &Tx<'_>,
    overdue: &[DeliveryId],
    (count_max, now): (u32, Timestamp),
) -> Result<Vec<Leased>, Fault> {
    let jobs = lock_overdue(tx, overdue, now).await?;
    let wanted = jobs.iter().map(|job| ((job.message, job.idx), job.state));
    let wanted: Vec<_> = wanted.collect();
    let mut found = lease::leased(tx, &wanted).await?;
    let (mut expired, mut changes) = (Vec::new(), Vec::new());
    for job in jobs {
        let id = (job.message, job.idx);
        match readable(found.remove(&id)) {
            Ok(before) => {
                expired.push(before);
                changes.push(end(job, now));
            }
            Err(what) => lease::set_aside(tx, id, &what, now).await?,
        }
    }
    timeline::apply(tx, changes).await?;
    look_again_later(tx, count_max, now).await?;
    Ok(expired)
}

/// Locks those of these deliveries that wait beyond their time, in their order.
async fn lock_overdue(
    tx: &Tx<'_>,
    overdue: &[DeliveryId],
    now: Timestamp,
) -> Result<Vec<rows::Job>, Fault> {
    if overdue.is_empty() {
        return Ok(Vec::new());
    }
    let (messages, indexes): (Vec<Id>, Vec<i32>) = overdue.iter().copied().map(rows::key).unzip();
    // Another node may be at it: each message is one's alone.
    let own = args::rows(
        tx,
        "SELECT id FROM malote.messages
         WHERE id = ANY($1) AND settled_at IS NULL AND check_at <= $2
         FOR NO KEY UPDATE SKIP LOCKED",
        &[&messages, &micros(now)],
    )
    .await?;
    let sql = format!(
        "SELECT {} FROM unnest($1, $2) WITH ORDINALITY AS u(message, idx, place)
         JOIN malote.jobs j ON j.message = u.message AND j.idx = u.idx
         WHERE j.message = ANY($3) AND j.state IN (0, 1, 5)
         ORDER BY u.place FOR UPDATE OF j SKIP LOCKED",
        rows::JOB
    );
    let own = ids(&own)?;
    let found = args::rows(tx, &sql, &[&messages, &indexes, &own]).await?;
    found.iter().map(rows::job).collect()
}

fn end(job: rows::Job, now: Timestamp) -> Change {
    Change {
        before: (job.lane, job.state),
        after: rows::Job {
            state: State::Expired,
            due_at: None,
            ..job
        },
        at: now,
        events: vec![Line {
            at: micros(now),
            durable_at: micros(now),
            kind: EventKind::Expired.as_str().to_owned(),
            blame: None,
            provider: None,
            detail: "waited longer than its stream allows".into(),
            raw: bytes::Bytes::new(),
        }],
    }
}

/// Puts off messages past their time of which nothing waits.
async fn look_again_later(tx: &Tx<'_>, count_max: u32, now: Timestamp) -> Result<(), Fault> {
    let found = args::rows(
        tx,
        "SELECT id FROM malote.messages WHERE settled_at IS NULL AND check_at <= $1
         ORDER BY check_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED",
        &[&micros(now), &i64::from(count_max)],
    )
    .await?;
    let again = now.saturating_add(LOOK_AGAIN).unwrap_or(now);
    // Not NOT EXISTS: a planner may then read the whole queue.
    args::run(
        tx,
        "UPDATE malote.messages m SET check_at = $2 WHERE m.id = ANY($1) AND 0 =
            (SELECT count(*) FROM malote.jobs j WHERE j.message = m.id AND j.state IN (0, 1, 5))",
        &[&ids(&found)?, &micros(again)],
    )
    .await?;
    Ok(())
}

/// What one retention step dropped.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Dropped {
    pub(crate) bodies: u64,
    pub(crate) messages: u64,
}

/// Drops whole messages, and bodies; bounded. Nothing dropped means nothing is left to drop.
pub(crate) async fn step(
    tx: &Tx<'_>,
    bodies_before: Timestamp,
    all_before: Timestamp,
) -> Result<Dropped, Fault> {
    let mut dropped = Dropped::default();
    for place in [Place::Dropped, Place::Table, Place::Chunks] {
        let gone = settled(tx, place, all_before).await?;
        drop_messages(tx, &gone).await?;
        dropped.messages += gone.len() as u64;
        if place != Place::Dropped {
            dropped.bodies += gone.len() as u64;
        }
    }
    for place in [Place::Table, Place::Chunks] {
        let gone = settled(tx, place, bodies_before).await?;
        drop_bodies(tx, &gone).await?;
        dropped.bodies += gone.len() as u64;
    }
    // Those that hold an erased address, and that nobody waits for any more.
    let found = args::rows(
        tx,
        "SELECT id FROM malote.messages WHERE erased AND settled_at IS NOT NULL
         LIMIT $1 FOR UPDATE SKIP LOCKED",
        &[&STEP],
    )
    .await?;
    let gone = ids(&found)?;
    drop_bodies(tx, &gone).await?;
    dropped.bodies += gone.len() as u64;
    Ok(dropped)
}

fn ids(found: &[Row]) -> Result<Vec<Id>, Fault> {
    found.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

async fn settled(tx: &Tx<'_>, place: Place, before: Timestamp) -> Result<Vec<Id>, Fault> {
    let found = args::rows(
        tx,
        "SELECT id FROM malote.messages WHERE settled_at IS NOT NULL AND body_place = $1
            AND settled_at < $2 ORDER BY settled_at LIMIT $3 FOR UPDATE SKIP LOCKED",
        &[&place.number(), &micros(before), &STEP],
    )
    .await?;
    ids(&found)
}

/// Drops the bodies of messages that are there.
pub(crate) async fn drop_bodies(tx: &Tx<'_>, ids: &Vec<Id>) -> Result<(), Fault> {
    if ids.is_empty() {
        return Ok(());
    }
    for sql in [
        "DELETE FROM malote.bodies WHERE message = ANY($1)",
        "DELETE FROM malote.body_chunks WHERE message = ANY($1)",
        "UPDATE malote.messages SET body_place = 0, erased = false WHERE id = ANY($1)",
    ] {
        args::run(tx, sql, &[ids]).await?;
    }
    Ok(())
}

/// Events and attempts of messages that are gone are found by nobody. They go here too, but for
/// those of days that go as a whole.
async fn drop_messages(tx: &Tx<'_>, ids: &Vec<Id>) -> Result<(), Fault> {
    if ids.is_empty() {
        return Ok(());
    }
    outbox::drop_messages(tx, ids).await?;
    for sql in [
        "DELETE FROM malote.bodies WHERE message = ANY($1)",
        "DELETE FROM malote.body_chunks WHERE message = ANY($1)",
        "WITH gone AS (DELETE FROM malote.jobs WHERE message = ANY($1) RETURNING lane, state)
         INSERT INTO malote.counts (lane, state, n)
         SELECT lane, state, -count(*) FROM gone GROUP BY lane, state",
        "WITH gone AS (DELETE FROM malote.deliveries WHERE message = ANY($1)
            RETURNING lane, state)
         INSERT INTO malote.counts (lane, state, n)
         SELECT lane, state, -count(*) FROM gone WHERE state IS NOT NULL GROUP BY lane, state",
        "DELETE FROM malote.events WHERE message = ANY($1)",
        "DELETE FROM malote.attempts WHERE message = ANY($1)",
        "DELETE FROM malote.tags t USING malote.messages m,
            json_array_elements_text(coalesce(m.extra::json -> 'tags', '[]'::json)) AS own
         WHERE m.id = ANY($1) AND t.tag = own AND t.message = m.id",
        "DELETE FROM malote.messages WHERE id = ANY($1)",
    ] {
        args::run(tx, sql, &[ids]).await?;
    }
    Ok(())
}

/// Forgets keys that nothing asks for any more, the oldest first; bounded. Answers whether there
/// may be more of them: after a long stop a day's keys are over at once.
pub(crate) async fn forget(
    tx: &Tx<'_>,
    all_before: Timestamp,
    now: Timestamp,
) -> Result<bool, Fault> {
    let before = |kept: SignedDuration| {
        let at = now.saturating_sub(kept);
        at.map(micros).map_err(|_| damaged("time out of range"))
    };
    let mut is_full = false;
    for (sql, bound) in [
        (
            "DELETE FROM malote.event_keys WHERE key IN
                (SELECT key FROM malote.event_keys WHERE at < $1 ORDER BY at LIMIT $2)",
            before(EVENT_KEYS_KEPT)?.min(micros(all_before)),
        ),
        (
            "DELETE FROM malote.idempotency WHERE (credential, key) IN
                (SELECT credential, key FROM malote.idempotency WHERE created_at < $1
                 ORDER BY created_at LIMIT $2)",
            before(IDEMPOTENCY_KEPT)?,
        ),
    ] {
        let gone = args::run(tx, sql, &[&bound, &FORGET_STEP]).await?;
        is_full |= gone as i64 == FORGET_STEP;
    }
    Ok(is_full)
}

/// Sums up the changes of the counters.
pub(crate) async fn fold_counts(tx: &Tx<'_>) -> Result<(), Fault> {
    args::run(
        tx,
        "WITH gone AS (DELETE FROM malote.counts RETURNING lane, state, n)
         INSERT INTO malote.counts (lane, state, n)
         SELECT lane, state, sum(n) FROM gone GROUP BY lane, state HAVING sum(n) <> 0",
        &[],
    )
    .await?;
    Ok(())
}
