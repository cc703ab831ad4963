//! Settle: outcomes, states, attempts and events of many deliveries in one transaction.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use malote_core::provider::Verdict;

use crate::postgres::columns::micros;
use crate::postgres::fault::Fault;
use crate::postgres::spool::Tx;
use crate::postgres::spool::args::{self, Id, clean, int4};
use crate::postgres::spool::batcher::{Line, Load};
use crate::postgres::spool::rows::{self, Job};
use crate::postgres::spool::sessions::Own;
use crate::postgres::spool::timeline::{self, Change, is_waiting};
use crate::settling::{self, NO_OUTCOME, Settled};
use crate::{AttemptOutcome, AttemptStart, Settlement, StoreError};

/// Octets of a settlement in the queue, about.
const SETTLEMENT_BYTES: usize = 2 << 10;

/// What so many changes take of a transaction.
pub(crate) const fn load(operations: usize) -> Load {
    Load {
        line: Line::First,
        bytes: 512 + SETTLEMENT_BYTES * operations,
        operations,
    }
}

/// The settlements of one caller.
#[derive(Clone)]
pub(crate) struct Settling {
    pub(crate) session: i64,
    pub(crate) batch: Arc<Vec<Settlement>>,
    /// Stands in where nothing of a settlement tells a time.
    pub(crate) now: Timestamp,
}

/// Writes the settlements of several callers. What a session no longer leases is dropped; of two
/// settlements of one delivery the first counts.
pub(crate) async fn settle(tx: &Tx<'_>, callers: &[Settling]) -> Result<Vec<()>, Fault> {
    let mut wished: BTreeMap<(Id, i32), Vec<(&Settling, &Settlement)>> = BTreeMap::new();
    for caller in callers {
        for one in caller.batch.iter() {
            settling::check(one).map_err(Fault::Refused)?;
            let of_delivery = wished.entry(rows::key(one.delivery)).or_default();
            of_delivery.push((caller, one));
        }
    }
    let ids: Vec<_> = wished.keys().copied().collect();
    let (mut changes, mut outcomes, mut without) = (Vec::new(), Vec::new(), Vec::new());
    for job in rows::lock_under_way(tx, &ids).await? {
        let id = (job.message, job.idx);
        let holder = wished.get(&id).and_then(|wished| {
            let mut wished = wished.iter();
            wished.find(|(caller, _)| job.session == Some(caller.session))
        });
        let Some((caller, one)) = holder else {
            continue;
        };
        let change = change(job, one, caller.now);
        match &one.attempt {
            Some(attempt) => outcomes.push((id, attempt)),
            None => without.push((id, micros(change.at))),
        }
        changes.push(change);
    }
    tokio::try_join!(
        biased;
        timeline::apply(tx, changes),
        write_outcomes(tx, &outcomes),
        close_attempts(tx, &without),
    )?;
    Ok(vec![(); callers.len()])
}

fn change(job: Job, one: &Settlement, now: Timestamp) -> Change {
    let next = &one.next;
    let Settled {
        state,
        progress,
        at,
    } = settling::settled(one, job.told_state, now);
    let number = one.attempt.as_ref().map_or(0, |a| int4(a.start.number));
    let after = Job {
        lane: next.lane.map_or(job.lane, |lane| lane.0),
        state,
        due_at: is_waiting(state).then(|| micros(next.due_at.unwrap_or(at))),
        session: None,
        prior_state: None,
        told_state: None,
        attempts: int4(next.attempts),
        calls: job.calls.max(number),
        progress: progress.map(str::to_owned),
        ..job
    };
    Change {
        before: (job.lane, job.state),
        after,
        at,
        events: one.events.iter().map(timeline::Line::from).collect(),
    }
}

type Outcome<'a> = ((Id, i32), &'a AttemptOutcome);

async fn write_outcomes(tx: &Tx<'_>, outcomes: &[Outcome<'_>]) -> Result<(), Fault> {
    if outcomes.is_empty() {
        return Ok(());
    }
    fn column<'a, T>(outcomes: &'a [Outcome<'a>], of: impl Fn(&'a Outcome<'a>) -> T) -> Vec<T> {
        outcomes.iter().map(of).collect()
    }
    args::call(
        tx,
        "outcomes_1",
        &[
            &column(outcomes, |one| one.0.0),
            &column(outcomes, |one| one.0.1),
            &column(outcomes, |one| int4(one.1.start.number)),
            &column(outcomes, |one| one.1.start.target.provider.as_str()),
            &column(outcomes, |one| one.1.start.target.pool.as_str()),
            &column(outcomes, |one| micros(one.1.start.at)),
            &column(outcomes, |one| clean(&one.1.start.reason)),
            &column(outcomes, |one| micros(one.1.ended_at)),
            &column(outcomes, |one| clean(&one.1.outcome)),
            &column(outcomes, |one| one.1.reply.code.map(i32::from)),
            &column(outcomes, |one| one.1.reply.enhanced.as_deref().map(clean)),
            &column(outcomes, |one| clean(one.1.reply.text())),
            &column(outcomes, |one| {
                one.1.provider_message_id.as_deref().map(clean)
            }),
        ],
    )
    .await?;
    Ok(())
}

/// Ends what was journaled and has no outcome: it is not to be taken for a call under way later.
async fn close_attempts(tx: &Tx<'_>, closed: &[((Id, i32), i64)]) -> Result<(), Fault> {
    if closed.is_empty() {
        return Ok(());
    }
    let messages: Vec<Id> = closed.iter().map(|(id, _)| id.0).collect();
    let indexes: Vec<i32> = closed.iter().map(|(id, _)| id.1).collect();
    let times: Vec<i64> = closed.iter().map(|(_, at)| *at).collect();
    args::run(
        tx,
        "UPDATE malote.attempts a SET ended_at = u.at, outcome = $4, reply_text = $5
         FROM unnest($1, $2, $3) AS u(message, idx, at)
         WHERE a.message = u.message AND a.idx = u.idx AND a.ended_at IS NULL",
        &[
            &messages,
            &indexes,
            &times,
            &Verdict::Unknown.as_str(),
            &NO_OUTCOME,
        ],
    )
    .await?;
    Ok(())
}

/// The starts of one caller.
#[derive(Clone)]
pub(crate) struct Starting {
    /// The session of this process; nobody else's leases are attempted.
    pub(crate) session: i64,
    pub(crate) batch: Arc<Vec<AttemptStart>>,
}

/// Journals attempts that are about to start. Refused if others have ended the session.
pub(crate) async fn start_attempts(
    tx: &Tx<'_>,
    own: &Own,
    callers: &[Starting],
) -> Result<Vec<()>, Fault> {
    let mut all: Vec<(i64, &AttemptStart)> = callers
        .iter()
        .flat_map(|caller| caller.batch.iter().map(|start| (caller.session, start)))
        .collect();
    // In one order, so that no two transactions wait for each other.
    all.sort_unstable_by_key(|(_, start)| rows::key(start.delivery));
    let (mut messages, mut indexes, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
    for (_, start) in &all {
        let (message, idx) = rows::key(start.delivery);
        messages.push(message);
        indexes.push(idx);
        numbers.push(int4(start.number));
    }
    let column = |of: fn(&AttemptStart) -> &str| -> Vec<Cow<'_, str>> {
        all.iter().map(|(_, start)| clean(of(start))).collect()
    };
    let started = args::call(
        tx,
        "start_5",
        &[
            &messages,
            &indexes,
            &numbers,
            &all.iter().map(|(session, _)| *session).collect::<Vec<_>>(),
            &column(|start| start.target.provider.as_str()),
            &column(|start| start.target.pool.as_str()),
            &all.iter()
                .map(|(_, start)| micros(start.at))
                .collect::<Vec<i64>>(),
            &column(|start| &start.reason),
        ],
    )
    .await?;
    let of = |column: usize| started.first().map_or(Ok(None), |row| row.try_get(column));
    if let Some(ended) = of(1)? {
        return Err(own.lost(ended).into());
    }
    let leased: i64 = of(0)?.unwrap_or(0);
    let deliveries: BTreeSet<_> = messages.iter().zip(&indexes).collect();
    if usize::try_from(leased).ok() != Some(deliveries.len()) {
        // Of several callers each is tried again alone, and a call is of one message.
        let message = all
            .first()
            .map(|(_, start)| start.delivery.message.to_string());
        let text = format!(
            "a delivery of {} is not leased",
            message.unwrap_or_default()
        );
        return Err(Fault::Refused(StoreError::Engine(text)));
    }
    Ok(vec![(); callers.len()])
}
