//! Lease: due deliveries of a lane, new mail and backlog in turn, a message's deliveries together.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use malote_core::event::{EventKind, State};
use tokio_postgres::{Client, GenericClient};

use crate::columns::{self, micros};
use crate::lease_order::in_turn;
use crate::postgres::fault::Fault;
use crate::postgres::spool::Tx;
use crate::postgres::spool::args::{self, Id};
use crate::postgres::spool::bodies;
use crate::postgres::spool::rows;
use crate::postgres::spool::sessions::Own;
use crate::postgres::spool::timeline::{self, Change, Counts, Line, number};
use crate::{Leased, LeasedMessage, StoreError};

/// Deliveries leased at once whatever the caller asks for.
const COUNT_MAX: u32 = 10_000;
/// Octets of bodies leased at once, unless one alone is larger: they are all held in memory.
const BODY_BYTES_MAX: i64 = 16 << 20;

/// What is wrong with a job that stands alone.
pub(crate) const NO_DELIVERY: &str = "a job without its delivery";

/// The leased deliveries of one message, with the states they were in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) message: Id,
    pub(crate) deliveries: Vec<(i32, State)>,
}

/// Which lease is wished for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) session: i64,
    pub(crate) lane: i64,
    pub(crate) count_max: u32,
    pub(crate) now: Timestamp,
    /// What is due, as it was looked up before.
    pub(crate) due: Due,
    /// Whether the backlog begins this time.
    pub(crate) begins: Begins,
}

/// Who begins in a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begins {
    Fresh,
    Backlog,
}

/// When the earliest delivery of a lane in each waiting state is due.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Due {
    scheduled: Option<i64>,
    queued: Option<i64>,
    deferred: Option<i64>,
}

impl Due {
    pub(crate) fn earliest(self) -> Option<i64> {
        [self.scheduled, self.queued, self.deferred]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Looks without locking anything: an idle lane costs one look at an index.
pub(crate) async fn due<C: GenericClient>(conn: &C, lane: i64) -> Result<Due, Fault> {
    let found = args::call(conn, "due_1", &[&lane]).await?;
    let Some(row) = found.first() else {
        return Ok(Due::default());
    };
    Ok(Due {
        scheduled: row.try_get(0)?,
        queued: row.try_get(1)?,
        deferred: row.try_get(2)?,
    })
}

/// Chooses and marks deliveries. A lease that a crash of the server takes back was never used,
/// since each attempt is made durable after it: it needs no sync of its own.
pub(crate) async fn lease(tx: &Tx<'_>, own: &Own, wish: Wish) -> Result<Vec<Taken>, Fault> {
    let count_max = wish.count_max.min(COUNT_MAX);
    let is_due = |at: Option<i64>| at.is_some_and(|at| at <= micros(wish.now));
    let is_scheduled = is_due(wish.due.scheduled);
    if is_scheduled {
        release_scheduled(tx, wish.lane, count_max, wish.now).await?;
    }
    let of = async |state, is_due: bool| match is_due {
        true => candidates(tx, &wish, state, count_max).await,
        false => Ok(Vec::new()),
    };
    let (_, fresh, backlog) = tokio::try_join!(
        biased;
        args::run(tx, "SET LOCAL synchronous_commit = off", &[]),
        of(State::Queued, is_scheduled || is_due(wish.due.queued)),
        of(State::Deferred, is_due(wish.due.deferred)),
    )?;
    let in_order = match wish.begins {
        Begins::Fresh => in_turn(&fresh, &backlog),
        Begins::Backlog => in_turn(&backlog, &fresh),
    };
    let siblings = siblings(tx, &in_order, &wish).await?;
    let taken = choose(&in_order, siblings, count_max as usize);
    mark(tx, own, &taken, &wish).await?;
    Ok(taken)
}

/// Messages with due deliveries. Their rows are locked: of two that lease at once, each message is
/// one's alone, so that its deliveries stay together.
async fn candidates(
    tx: &Tx<'_>,
    wish: &Wish,
    state: State,
    count_max: u32,
) -> Result<Vec<(Id, i64)>, Fault> {
    let found = args::call(
        tx,
        "candidates_1",
        &[
            &wish.lane,
            &number(state),
            &micros(wish.now),
            &i64::from(count_max),
        ],
    )
    .await?;
    let read = |row: &tokio_postgres::Row| Ok((row.try_get(0)?, row.try_get(1)?));
    found.iter().map(read).collect()
}

/// All due deliveries of these messages in the lane.
async fn siblings(
    tx: &Tx<'_>,
    candidates: &[(Id, i64)],
    wish: &Wish,
) -> Result<BTreeMap<Id, Vec<(i32, State)>>, Fault> {
    let mut messages: Vec<Id> = candidates.iter().map(|one| one.0).collect();
    messages.sort_unstable();
    messages.dedup();
    let mut siblings: BTreeMap<Id, Vec<(i32, State)>> = BTreeMap::new();
    if messages.is_empty() {
        return Ok(siblings);
    }
    let due = [&messages as &dyn args::Arg, &wish.lane, &micros(wish.now)];
    let found = args::call(tx, "siblings_1", &due).await?;
    for row in found {
        let state = columns::state(row.try_get::<_, i16>(2)?.into())?;
        let of_message = siblings.entry(row.try_get(0)?).or_default();
        of_message.push((row.try_get(1)?, state));
    }
    Ok(siblings)
}

/// A message that does not fit any more ends the lease, unless it is the first: then it is leased
/// in parts.
fn choose(
    candidates: &[(Id, i64)],
    mut siblings: BTreeMap<Id, Vec<(i32, State)>>,
    count_max: usize,
) -> Vec<Taken> {
    let mut chosen: Vec<Taken> = Vec::new();
    let mut seen = HashSet::new();
    let (mut room, mut bytes) = (count_max, 0);
    for (message, size_bytes) in candidates {
        if room == 0 {
            break;
        }
        if !seen.insert(*message) {
            continue;
        }
        let Some(mut deliveries) = siblings.remove(message) else {
            continue;
        };
        bytes += size_bytes;
        let fits = deliveries.len() <= room && bytes <= BODY_BYTES_MAX;
        if !fits && !chosen.is_empty() {
            break;
        }
        deliveries.truncate(room);
        room -= deliveries.len();
        chosen.push(Taken {
            message: *message,
            deliveries,
        });
    }
    chosen
}

/// Refused if others have ended the session.
async fn mark(tx: &Tx<'_>, own: &Own, taken: &[Taken], wish: &Wish) -> Result<(), Fault> {
    let (mut messages, mut indexes) = (Vec::new(), Vec::new());
    let mut counts = Counts::default();
    for one in taken {
        for (idx, state) in &one.deliveries {
            messages.push(one.message);
            indexes.push(*idx);
            counts.add(wish.lane, *state, -1);
            counts.add(wish.lane, State::Sending, 1);
        }
    }
    if messages.is_empty() {
        return Ok(());
    }
    let given: [&dyn args::Arg; 3] = [&messages, &indexes, &wish.session];
    let marking = args::call(tx, "mark_5", &given);
    let (marked, ()) = tokio::try_join!(biased; marking, counts.write(tx))?;
    let is_open = marked.first().map_or(Ok(false), |row| row.try_get(0))?;
    if is_open {
        return Ok(());
    }
    Err(own.lost(wish.session).into())
}

/// Queues what was scheduled in a lane and is due.
pub(crate) async fn release_scheduled(
    tx: &Tx<'_>,
    lane: i64,
    count_max: u32,
    now: Timestamp,
) -> Result<(), Fault> {
    let released = args::run(
        tx,
        "UPDATE malote.jobs j SET state = 1 FROM (SELECT message, idx FROM malote.jobs
            WHERE state IN (0, 1, 5) AND lane = $1 AND state = 0 AND due_at <= $2
            ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED) AS due
         WHERE j.message = due.message AND j.idx = due.idx",
        &[&lane, &micros(now), &i64::from(count_max)],
    )
    .await?;
    let released = i64::try_from(released).unwrap_or(i64::MAX);
    let mut counts = Counts::default();
    counts.add(lane, State::Scheduled, -released);
    counts.add(lane, State::Queued, released);
    counts.write(tx).await
}

/// Gives leased deliveries back as they were; those that were settled meanwhile stay so.
pub(crate) async fn give_back(tx: &Tx<'_>, session: i64, ids: &[(Id, i32)]) -> Result<(), Fault> {
    let mut changes = Vec::new();
    for mut job in rows::lock_under_way(tx, ids).await? {
        if job.session != Some(session) {
            continue;
        }
        let before = (job.lane, job.state);
        job.state = job.prior_state.take().unwrap_or(State::Queued);
        job.session = None;
        changes.push(Change {
            before,
            after: job,
            at: Timestamp::UNIX_EPOCH,
            events: Vec::new(),
        });
    }
    timeline::apply(tx, changes).await
}

/// Quarantines a delivery whose record cannot be read, so that it never comes again.
pub(crate) async fn set_aside(
    tx: &Tx<'_>,
    id: (Id, i32),
    reason: &str,
    at: Timestamp,
) -> Result<(), Fault> {
    let Some(job) = rows::lock_one(tx, id).await? else {
        return Ok(());
    };
    let before = (job.lane, job.state);
    let event = Line {
        at: micros(at),
        durable_at: micros(at),
        kind: EventKind::Quarantined.as_str().to_owned(),
        blame: None,
        provider: None,
        detail: reason.to_owned(),
        raw: bytes::Bytes::new(),
    };
    let after = rows::Job {
        state: State::Quarantined,
        session: None,
        prior_state: None,
        due_at: None,
        ..job
    };
    let change = Change {
        before,
        after,
        at,
        events: vec![event],
    };
    timeline::apply(tx, vec![change]).await
}

/// A lease read back: what can be sent, and what cannot even be read, with the reason.
pub(crate) struct Loaded {
    pub(crate) messages: Vec<LeasedMessage>,
    pub(crate) unreadable: Vec<((Id, i32), String)>,
}

/// Reads the leased messages with their bodies, in the order in which they were chosen.
pub(crate) async fn load(conn: &Client, taken: &[Taken]) -> Result<Loaded, Fault> {
    let mut loaded = Loaded {
        messages: Vec::with_capacity(taken.len()),
        unreadable: Vec::new(),
    };
    let ids: Vec<Id> = taken.iter().map(|one| one.message).collect();
    let wanted = taken.iter().flat_map(|one| {
        let deliveries = one.deliveries.iter();
        deliveries.map(|(idx, state)| ((one.message, *idx), *state))
    });
    let wanted: Vec<_> = wanted.collect();
    let (mut messages, mut deliveries, inline) = tokio::try_join!(
        biased;
        leased_messages(conn, &ids),
        leased(conn, &wanted),
        bodies::inline(conn, &ids),
    )?;
    let readable: Vec<_> = messages
        .iter()
        .filter(|(_, row)| row.is_ok())
        .map(|(id, _)| *id)
        .collect();
    let mut good = Vec::with_capacity(readable.len());
    for id in readable {
        if let Some(Ok(row)) = messages.remove(&id) {
            good.push(row);
        }
    }
    let mut bodies = bodies::complete(conn, &good, inline).await?;
    let mut good: BTreeMap<Id, _> = good.into_iter().map(|row| (row.id, row)).collect();
    for one in taken {
        let of_message = one.deliveries.iter().map(|(idx, _)| (one.message, *idx));
        let Some(message) = good.remove(&one.message) else {
            let reason = match messages.get(&one.message) {
                Some(Err(reason)) => reason.clone(),
                Some(Ok(_)) | None => "a delivery without its message".to_owned(),
            };
            loaded
                .unreadable
                .extend(of_message.map(|id| (id, reason.clone())));
            continue;
        };
        let (body, damage) = match bodies.remove(&one.message) {
            Some(Ok(body)) => (body, None),
            Some(Err(what)) => (bytes::Bytes::new(), Some(what)),
            None => (bytes::Bytes::new(), Some("the body is missing".to_owned())),
        };
        let mut readable = Vec::with_capacity(one.deliveries.len());
        for id in of_message {
            match deliveries.remove(&id) {
                Some(Ok(mut delivery)) => {
                    delivery.damaged.clone_from(&damage);
                    readable.push(delivery);
                }
                Some(Err(reason)) => loaded.unreadable.push((id, reason)),
                None => loaded.unreadable.push((id, NO_DELIVERY.into())),
            }
        }
        if !readable.is_empty() {
            loaded.messages.push(LeasedMessage {
                record: message.record,
                body,
                deliveries_total: message.deliveries,
                deliveries: readable,
            });
        }
    }
    Ok(loaded)
}

/// What is wrong with a record is told; what is wrong with the server ends the reading.
fn refused<T>(read: Result<T, Fault>) -> Result<Result<T, String>, Fault> {
    match read {
        Ok(read) => Ok(Ok(read)),
        Err(Fault::Refused(StoreError::Damaged(what))) => Ok(Err(what)),
        Err(fault) => Err(fault),
    }
}

type Messages = BTreeMap<Id, Result<rows::MessageRow, String>>;

async fn leased_messages(conn: &Client, ids: &Vec<Id>) -> Result<Messages, Fault> {
    let sql = format!(
        "SELECT {} FROM malote.messages m WHERE m.id = ANY($1)",
        rows::MESSAGE
    );
    let mut messages = BTreeMap::new();
    for row in args::rows(conn, &sql, &[ids]).await? {
        messages.insert(row.try_get(0)?, refused(rows::message(&row))?);
    }
    Ok(messages)
}

type Deliveries = BTreeMap<(Id, i32), Result<Leased, String>>;

/// Reads deliveries of which something is to be done, in the states that are given; of what cannot be
/// read, why.
pub(crate) async fn leased<C: GenericClient>(
    conn: &C,
    wanted: &[((Id, i32), State)],
) -> Result<Deliveries, Fault> {
    let (messages, indexes): (Vec<Id>, Vec<i32>) = wanted.iter().map(|(id, _)| *id).unzip();
    let states: BTreeMap<_, _> = wanted.iter().copied().collect();
    let mut found = BTreeMap::new();
    for row in args::call(conn, "deliveries_1", &[&messages, &indexes]).await? {
        let id = (row.try_get::<_, Id>(0)?, row.try_get::<_, i32>(1)?);
        let before = states.get(&id).copied().unwrap_or(State::Queued);
        found.insert(id, refused(rows::leased(&row, before))?);
    }
    Ok(found)
}
