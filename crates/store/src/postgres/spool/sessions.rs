//! Which processes live, by the clock of the database, and what becomes of the leases of those
//! that died.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use malote_core::event::State;
use malote_core::name::TargetName;
use tokio::time::Instant;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use crate::postgres::columns::{parsed, timestamp};
use crate::postgres::database::Database;
use crate::postgres::fault::Fault;
use crate::postgres::metrics::Operation;
use crate::postgres::spool::args::{self, Id, count};
use crate::postgres::spool::presence::Presence;
use crate::postgres::spool::rows::{self, Job};
use crate::postgres::spool::timeline::{self, Change};
use crate::postgres::spool::{Core, Tx, lease};
use crate::{AttemptStart, OnFatal, PendingAttempt, StoreError, TakenOver};

/// How often a process tells that it lives.
pub(crate) const BEAT_EVERY: Duration = Duration::from_secs(4);
/// How soon a beat that failed comes again: after an outage nobody may seem dead for long.
const BEAT_AGAIN: Duration = Duration::from_millis(500);
/// Longest wait for one beat by each of the two ways to the database.
const BEAT_MAX: Duration = Duration::from_secs(3);
/// A process that could not beat for so long judges nobody until it has beaten for [`EXPIRY`]: the
/// others could not reach the database either, and may only now be about to tell that they live.
const GAP_MAX: Duration = Duration::from_secs(8);
/// Seconds without a beat after which a process is taken for dead. With the beat before its death
/// and the look of another process a second later, its leases are taken over within 15 s.
pub(crate) const EXPIRY_S: i32 = 13;
/// The same on our own clock.
const EXPIRY: Duration = Duration::from_secs(13);
/// Leases taken over in one transaction.
const TAKE_OVER_MAX: i64 = 500;

/// What this process knows of its own session.
pub(crate) struct Own {
    known: Mutex<Known>,
    on_lost: OnFatal,
}

#[derive(Default)]
struct Known {
    session: Option<i64>,
    /// Since when every beat came in time, and the last one.
    beating: Option<(Instant, Instant)>,
}

impl Own {
    /// None is open yet. `on_lost` is called once others have ended one.
    pub(crate) fn new(on_lost: OnFatal) -> Self {
        Self {
            known: Mutex::default(),
            on_lost,
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Known) -> T) -> T {
        act(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The session that is open.
    pub(crate) fn session(&self) -> Option<i64> {
        self.with(|known| known.session)
    }

    /// Notes a new session.
    pub(crate) fn open(&self, session: i64) {
        let now = Instant::now();
        self.with(|known| {
            known.session = Some(session);
            known.beating.get_or_insert((now, now));
        });
    }

    /// Takes the session away at the end of the process.
    pub(crate) fn end(&self) -> Option<i64> {
        self.with(|known| known.session.take())
    }

    /// Says, once, that others have ended the session: what this process has under way is theirs,
    /// and it must not go on with it. One that it has closed itself is no loss.
    pub(crate) fn lost(&self, session: i64) -> StoreError {
        if self
            .with(|known| known.session.take_if(|own| *own == session))
            .is_some()
        {
            let text = "another node took over what this one had under way";
            tracing::error!("lost the session: {text}");
            (self.on_lost)(text);
        }
        over()
    }

    fn beaten(&self) {
        let now = Instant::now();
        self.with(|known| {
            known.beating = match known.beating {
                Some((since, last)) if now - last < GAP_MAX => Some((since, now)),
                Some(_) | None => Some((now, now)),
            };
        });
    }

    /// Whether the database was there for as long as it takes to tell a dead process from one
    /// that could not reach it either: after an outage everybody's beats are old.
    fn may_judge(&self) -> bool {
        let now = Instant::now();
        self.with(|known| {
            known
                .beating
                .is_some_and(|(since, last)| now - since >= EXPIRY && now - last < GAP_MAX)
        })
    }
}

/// A session is over: its process may do nothing in it any more.
pub(crate) fn over() -> StoreError {
    StoreError::Engine("the session is over".into())
}

/// Tells that this process lives.
///
/// # Errors
/// If the database could not be told, or the session is over.
pub(crate) async fn beat(database: &Database, own: &Own) -> Result<(), StoreError> {
    let Some(session) = own.session() else {
        return Ok(());
    };
    let changed = database
        .execute_apart(
            Operation::Session,
            "UPDATE malote.sessions SET beat_at = clock_timestamp()
             WHERE id = $1 AND ended_at IS NULL",
            (&[(&session, Type::INT8)], BEAT_MAX),
        )
        .await?;
    if changed == 0 {
        return Err(own.lost(session));
    }
    own.beaten();
    Ok(())
}

/// Refuses a session of this process that others have ended.
async fn refuse_ended(tx: &Tx<'_>, core: &Core, session: i64) -> Result<(), Fault> {
    let sql = "SELECT 1 FROM malote.sessions WHERE id = $1 AND ended_at IS NULL";
    match args::row(tx, sql, &[&session]).await? {
        Some(_) => Ok(()),
        None => Err(core.own.lost(session).into()),
    }
}

/// Opens a session of this process and ends its earlier ones.
pub(crate) async fn open(tx: &Tx<'_>, core: &Core) -> Result<i64, Fault> {
    let (node, place) = (core.node, core.presence.place());
    args::run(
        tx,
        "UPDATE malote.sessions SET ended_at = clock_timestamp()
         WHERE node = $1 AND ended_at IS NULL",
        &[&node],
    )
    .await?;
    let sql = "INSERT INTO malote.sessions (node, place) VALUES ($1, $2) RETURNING id";
    let row = args::row(tx, sql, &[&node, &place]).await?;
    let row = row.ok_or_else(|| Fault::from(StoreError::Engine("no session was made".into())))?;
    Ok(row.try_get(0)?)
}

/// Ends the session, so that others need not wait for its expiry.
pub(crate) async fn close(tx: &Tx<'_>, session: i64) -> Result<(), Fault> {
    args::run(
        tx,
        "UPDATE malote.sessions SET ended_at = clock_timestamp() WHERE id = $1",
        &[&session],
    )
    .await?;
    Ok(())
}

/// Ends the sessions of processes that are dead: by proof, or because they no longer beat.
pub(crate) async fn end_dead(tx: &Tx<'_>, core: &Core, session: i64) -> Result<(), Fault> {
    refuse_ended(tx, core, session).await?;
    end_gone(tx, core).await?;
    end_expired(tx, &core.own).await
}

/// Ends the sessions of processes of this machine that have ended: nobody need wait for their expiry.
/// What one of them had sent to the server last is done, or refused as its session is over.
async fn end_gone(tx: &Tx<'_>, core: &Core) -> Result<(), Fault> {
    let Some(place) = core.presence.place() else {
        return Ok(());
    };
    let sql = "SELECT id, node FROM malote.sessions
        WHERE ended_at IS NULL AND place = $1 AND node <> $2";
    let mut gone: Vec<i64> = Vec::new();
    for row in args::rows(tx, sql, &[&place, &core.node]).await? {
        if Presence::has_ended(row.try_get(1)?) {
            gone.push(row.try_get(0)?);
        }
    }
    if !gone.is_empty() {
        let sql = "UPDATE malote.sessions SET ended_at = clock_timestamp()
            WHERE id = ANY($1) AND ended_at IS NULL";
        args::run(tx, sql, &[&gone]).await?;
    }
    Ok(())
}

/// Ends the sessions of processes that no longer beat, if we may judge.
async fn end_expired(tx: &Tx<'_>, own: &Own) -> Result<(), Fault> {
    let Some(session) = own.session().filter(|_| own.may_judge()) else {
        return Ok(());
    };
    args::run(
        tx,
        "DELETE FROM malote.sessions s WHERE s.ended_at < clock_timestamp() - interval '1 day'
            AND NOT EXISTS (SELECT 1 FROM malote.jobs j WHERE j.session = s.id AND j.state = 2)",
        &[],
    )
    .await?;
    args::run(
        tx,
        "UPDATE malote.sessions SET ended_at = clock_timestamp()
         WHERE id <> $1 AND ended_at IS NULL
            AND beat_at < clock_timestamp() - make_interval(secs => $2::integer)",
        &[&session, &EXPIRY_S],
    )
    .await
    .map(drop)
}

/// What one step took over, and whether there may be more.
pub(crate) type Step = (TakenOver, bool);

/// Deliveries that this session has under way, as the database knows it.
pub(crate) async fn under_way(conn: &Client, session: i64) -> Result<Vec<(Id, i32)>, Fault> {
    let sql = "SELECT message, idx FROM malote.jobs WHERE state = 2 AND session = $1";
    let found = args::rows(conn, sql, &[&session]).await?;
    let ids = found
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    ids.collect()
}

/// Takes over leases of this session that nobody in this process has: the answer to a lease, or
/// the wish to give one back, never came.
pub(crate) async fn take_strays(
    tx: &Tx<'_>,
    core: &Core,
    ids: &[(Id, i32)],
    (session, now): (i64, Timestamp),
) -> Result<TakenOver, Fault> {
    refuse_ended(tx, core, session).await?;
    let jobs = rows::lock_under_way(tx, ids).await?;
    let own = |job: &Job| job.session == Some(session);
    take(tx, jobs.into_iter().filter(own).collect(), (session, now)).await
}

/// Takes over leases of ended sessions: back to the queue, or ours if their attempt had begun.
/// Every lost lease counts as a crash: nobody knows whether the delivery was the one that broke it.
pub(crate) async fn take_over(
    tx: &Tx<'_>,
    core: &Core,
    (session, now): (i64, Timestamp),
) -> Result<Step, Fault> {
    refuse_ended(tx, core, session).await?;
    let sql = format!(
        "SELECT {} FROM malote.jobs j WHERE j.state = 2 AND j.session IN
            (SELECT s.id FROM malote.sessions s WHERE s.ended_at IS NOT NULL)
         ORDER BY j.message, j.idx LIMIT $1 FOR UPDATE OF j SKIP LOCKED",
        rows::JOB
    );
    let found = args::rows(tx, &sql, &[&TAKE_OVER_MAX]).await?;
    let is_full = found.len() as i64 == TAKE_OVER_MAX;
    let jobs = found.iter().map(rows::job).collect::<Result<_, _>>()?;
    Ok((take(tx, jobs, (session, now)).await?, is_full))
}

async fn take(
    tx: &Tx<'_>,
    jobs: Vec<Job>,
    (session, now): (i64, Timestamp),
) -> Result<TakenOver, Fault> {
    let mut taken = TakenOver::default();
    let (mut changes, mut damaged) = (Vec::new(), Vec::new());
    for job in jobs {
        let id = (job.message, job.idx);
        match one(tx, job, session, now).await {
            Ok((change, pending)) => {
                taken.queued += u64::from(pending.is_none());
                taken.pending.extend(pending);
                changes.push(change);
            }
            Err(Fault::Refused(StoreError::Damaged(what))) => damaged.push((id, what)),
            Err(fault) => return Err(fault),
        }
    }
    timeline::apply(tx, changes).await?;
    for (id, what) in damaged {
        lease::set_aside(tx, id, &what, now).await?;
    }
    Ok(taken)
}

async fn one(
    tx: &Tx<'_>,
    mut job: Job,
    session: i64,
    now: Timestamp,
) -> Result<(Change, Option<PendingAttempt>), Fault> {
    let before = (job.lane, job.state);
    job.crashes += 1;
    let open = args::row(
        tx,
        "SELECT number, provider, pool, started_at, reason FROM malote.attempts
         WHERE message = $1 AND idx = $2 AND ended_at IS NULL ORDER BY number DESC LIMIT 1",
        &[&job.message, &job.idx],
    )
    .await?;
    let pending = match open {
        Some(row) => {
            let attempt = start(&job, &row)?;
            let mut delivery = rows::find_leased(tx, &job).await?;
            delivery.state = job.prior_state.unwrap_or(State::Queued);
            delivery.crashes = count(job.crashes)?;
            job.session = Some(session);
            Some(PendingAttempt { delivery, attempt })
        }
        None => {
            job.state = job.prior_state.take().unwrap_or(State::Queued);
            job.session = None;
            None
        }
    };
    let change = Change {
        before,
        after: job,
        at: now,
        events: Vec::new(),
    };
    Ok((change, pending))
}

fn start(job: &Job, row: &Row) -> Result<AttemptStart, Fault> {
    Ok(AttemptStart {
        delivery: job.message.delivery(job.idx),
        number: count(row.try_get::<_, i32>(0)?)?,
        target: TargetName {
            provider: parsed(row.try_get(1)?, "provider")?,
            pool: parsed(row.try_get(2)?, "pool")?,
        },
        at: timestamp(row.try_get(3)?)?,
        reason: row.try_get(4)?,
    })
}

/// Beats until it is ended.
pub(crate) async fn keep_beating(database: Arc<Database>, own: Arc<Own>) {
    loop {
        let mut pause = BEAT_EVERY;
        if let Err(error) = beat(&database, &own).await {
            tracing::warn!(%error, "could not tell the database that we live");
            pause = BEAT_AGAIN;
        }
        tokio::time::sleep(pause).await;
    }
}
