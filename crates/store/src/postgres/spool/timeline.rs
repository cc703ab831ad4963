//! What every change of deliveries shares: rows, counters, settled messages, events; in bulk.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use malote_core::event::{Blame, State};

use crate::EventRecord;
use crate::columns::{micros, state_number};
use crate::postgres::fault::Fault;
use crate::postgres::spool::Tx;
use crate::postgres::spool::args::{self, Id, clean};
use crate::postgres::spool::rows::Job;

/// The lane and state under which the octets of unsettled bodies are counted.
pub(crate) const BODY_BYTES: (i64, i16) = (0, -1);

/// Whether a delivery of this state has a row among the jobs: somebody may still act on it.
pub(crate) const fn is_job(state: State) -> bool {
    match state {
        State::Scheduled
        | State::Queued
        | State::Sending
        | State::Deferred
        | State::Held
        | State::Unknown
        | State::Quarantined => true,
        State::Sent
        | State::Delivered
        | State::Bounced
        | State::Suppressed
        | State::Expired
        | State::Cancelled => false,
    }
}

/// Whether a delivery of this state has a due time and is found by lane.
pub(crate) const fn is_waiting(state: State) -> bool {
    matches!(state, State::Scheduled | State::Queued | State::Deferred)
}

/// A state as its column holds it.
pub(crate) fn number(state: State) -> i16 {
    i16::try_from(state_number(state)).unwrap_or(i16::MAX)
}

/// An event on its way to a timeline.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// By the clock of who told.
    pub(crate) at: i64,
    /// By ours.
    pub(crate) durable_at: i64,
    pub(crate) kind: String,
    pub(crate) blame: Option<Blame>,
    pub(crate) provider: Option<String>,
    pub(crate) detail: String,
    /// What a service told, as it told it; empty if nothing is kept of it.
    pub(crate) raw: Bytes,
}

impl From<&EventRecord> for Line {
    fn from(event: &EventRecord) -> Self {
        Self {
            at: micros(event.at),
            durable_at: micros(event.at),
            kind: event.kind.as_str().to_owned(),
            blame: event.blame,
            provider: event.provider.as_ref().map(|name| name.as_str().to_owned()),
            detail: event.detail.clone(),
            raw: Bytes::new(),
        }
    }
}

/// A delivery's change.
pub(crate) struct Change {
    pub(crate) before: (i64, State),
    pub(crate) after: Job,
    pub(crate) at: Timestamp,
    pub(crate) events: Vec<Line>,
}

/// Changes of the counters.
#[derive(Default)]
pub(crate) struct Counts(BTreeMap<(i64, i16), i64>);

impl Counts {
    pub(crate) fn add(&mut self, lane: i64, state: State, change: i64) {
        *self.0.entry((lane, number(state))).or_default() += change;
    }

    pub(crate) fn add_body(&mut self, change: i64) {
        *self.0.entry(BODY_BYTES).or_default() += change;
    }

    pub(crate) async fn write(self, tx: &Tx<'_>) -> Result<(), Fault> {
        let changed = self.0.into_iter().filter(|(_, n)| *n != 0);
        let (mut lanes, mut states, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
        for ((lane, state), n) in changed {
            lanes.push(lane);
            states.push(state);
            numbers.push(n);
        }
        if lanes.is_empty() {
            return Ok(());
        }
        args::run(
            tx,
            "INSERT INTO malote.counts (lane, state, n) SELECT * FROM unnest($1, $2, $3)",
            &[&lanes, &states, &numbers],
        )
        .await?;
        Ok(())
    }
}

/// Writes changes of deliveries that are locked.
pub(crate) async fn apply(tx: &Tx<'_>, changes: Vec<Change>) -> Result<(), Fault> {
    let mut counts = Counts::default();
    let mut lines = Vec::new();
    let mut settled: BTreeMap<Id, (i32, i64)> = BTreeMap::new();
    let mut sets = [const { Vec::new() }; 4];
    for Change {
        before,
        mut after,
        at,
        events,
    } in changes
    {
        counts.add(before.0, before.1, -1);
        counts.add(after.lane, after.state, 1);
        let change = match (before.1.is_settled(), after.state.is_settled()) {
            (false, true) => -1,
            (true, false) => 1,
            (true, true) | (false, false) => 0,
        };
        if change != 0 {
            let of_message = settled.entry(after.message).or_default();
            *of_message = (of_message.0 + change, of_message.1.max(micros(at)));
        }
        for line in events {
            after.last_seq += 1;
            lines.push((after.message, after.idx, after.last_seq, line));
        }
        let set = usize::from(is_job(before.1)) * 2 + usize::from(is_job(after.state));
        sets[set].push(after);
    }
    let [done, mut reopened, finished, moved] = sets;
    let done: Vec<Job> = done.into_iter().chain(finished).collect();
    // None of them waits for another's answer: they take one round trip, and the first error is the
    // one that counts.
    tokio::try_join!(
        biased;
        update_jobs(tx, &moved),
        finish(tx, &done),
        reopen(tx, &mut reopened),
        settle_messages(tx, settled),
        write_events(tx, &lines),
        counts.write(tx),
    )?;
    Ok(())
}

fn ids(jobs: &[Job]) -> (Vec<Id>, Vec<i32>) {
    jobs.iter().map(|job| (job.message, job.idx)).unzip()
}

fn column<'a, T>(jobs: &'a [Job], of: impl Fn(&'a Job) -> T) -> Vec<T> {
    jobs.iter().map(of).collect()
}

async fn update_jobs(tx: &Tx<'_>, jobs: &[Job]) -> Result<(), Fault> {
    if jobs.is_empty() {
        return Ok(());
    }
    let (messages, indexes) = ids(jobs);
    args::run(
        tx,
        "UPDATE malote.jobs j SET lane = u.lane, state = u.state, due_at = u.due_at,
            session = u.session, prior_state = u.prior_state, told_state = u.told_state,
            attempts = u.attempts, calls = u.calls, crashes = u.crashes, last_seq = u.last_seq,
            progress = u.progress
         FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) AS u(message, idx,
            lane, state, due_at, session, prior_state, told_state, attempts, calls, crashes,
            last_seq, progress)
         WHERE j.message = u.message AND j.idx = u.idx",
        &[
            &messages,
            &indexes,
            &column(jobs, |job| job.lane),
            &column(jobs, |job| number(job.state)),
            &column(jobs, |job| job.due_at),
            &column(jobs, |job| job.session),
            &column(jobs, |job| job.prior_state.map(number)),
            &column(jobs, |job| job.told_state.map(number)),
            &column(jobs, |job| job.attempts),
            &column(jobs, |job| job.calls),
            &column(jobs, |job| job.crashes),
            &column(jobs, |job| job.last_seq),
            &column(jobs, |job| job.progress.as_deref().map(clean)),
        ],
    )
    .await?;
    Ok(())
}

/// Notes how deliveries ended for which nothing is to be done any more.
async fn finish(tx: &Tx<'_>, jobs: &[Job]) -> Result<(), Fault> {
    if jobs.is_empty() {
        return Ok(());
    }
    let (messages, indexes) = ids(jobs);
    args::call(
        tx,
        "finish_1",
        &[
            &messages,
            &indexes,
            &column(jobs, |job| job.lane),
            &column(jobs, |job| number(job.state)),
            &column(jobs, |job| job.attempts),
            &column(jobs, |job| job.calls),
            &column(jobs, |job| job.crashes),
            &column(jobs, |job| job.last_seq),
            &column(jobs, |job| job.progress.as_deref().map(clean)),
        ],
    )
    .await?;
    Ok(())
}

/// Makes jobs of deliveries for which nothing was to be done any more.
async fn reopen(tx: &Tx<'_>, jobs: &mut [Job]) -> Result<(), Fault> {
    if jobs.is_empty() {
        return Ok(());
    }
    let (messages, indexes) = ids(jobs);
    args::run(
        tx,
        "UPDATE malote.deliveries d SET state = NULL FROM unnest($1, $2) AS u(message, idx)
         WHERE d.message = u.message AND d.idx = u.idx",
        &[&messages, &indexes],
    )
    .await?;
    args::run(
        tx,
        "INSERT INTO malote.jobs (message, idx, lane, state) SELECT * FROM unnest($1, $2, $3, $4)",
        &[
            &messages,
            &indexes,
            &column(jobs, |job| job.lane),
            &column(jobs, |job| number(job.state)),
        ],
    )
    .await?;
    update_jobs(tx, jobs).await
}

/// Counts on their messages the deliveries that settled, or unsettled.
async fn settle_messages(tx: &Tx<'_>, settled: BTreeMap<Id, (i32, i64)>) -> Result<(), Fault> {
    let settled: Vec<_> = settled.into_iter().filter(|(_, (n, _))| *n != 0).collect();
    if settled.is_empty() {
        return Ok(());
    }
    let messages: Vec<Id> = settled.iter().map(|one| one.0).collect();
    let changes: Vec<i32> = settled.iter().map(|one| one.1.0).collect();
    let times: Vec<i64> = settled.iter().map(|one| one.1.1).collect();
    args::call(tx, "settle_messages_1", &[&messages, &changes, &times]).await?;
    Ok(())
}

/// Writes events at their places on timelines, and behind all others in the feed.
pub(crate) async fn write_events(tx: &Tx<'_>, lines: &[(Id, i32, i32, Line)]) -> Result<(), Fault> {
    if lines.is_empty() {
        return Ok(());
    }
    fn all<'a, T>(
        lines: &'a [(Id, i32, i32, Line)],
        of: impl Fn(&'a (Id, i32, i32, Line)) -> T,
    ) -> Vec<T> {
        lines.iter().map(of).collect()
    }
    args::call(
        tx,
        "events_1",
        &[
            &all(lines, |line| line.0),
            &all(lines, |line| line.1),
            &all(lines, |line| line.2),
            &all(lines, |line| line.3.at),
            &all(lines, |line| line.3.durable_at),
            &all(lines, |line| clean(&line.3.kind)),
            &all(lines, |line| line.3.blame.map(Blame::as_str)),
            &all(lines, |line| line.3.provider.as_deref()),
            &all(lines, |line| clean(&line.3.detail)),
            &all(lines, |line| {
                Some(&line.3.raw[..]).filter(|raw| !raw.is_empty())
            }),
        ],
    )
    .await?;
    Ok(())
}
