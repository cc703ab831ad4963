//! What operators do to deliveries: cancel, hold, release, resolve.

use malote_core::event::State;
use malote_core::id::DeliveryId;
use tokio_postgres::Client;

use crate::QueueFilter;
use crate::address_key::AddressKey;
use crate::moving::Move;
use crate::postgres::columns::micros;
use crate::postgres::fault::{Fault, damaged};
use crate::postgres::spool::args::{self, Conditions, Id, clean};
use crate::postgres::spool::bodies::Place;
use crate::postgres::spool::rows::{self, Job};
use crate::postgres::spool::timeline::{self, Change, Line, is_job, number};
use crate::postgres::spool::{Tx, erase};

/// Deliveries moved in one transaction; a larger move is written in parts, between which mail goes
/// in and out.
pub(crate) const PART: usize = 500;

/// The deliveries that a filter selects and a move may touch, oldest message first.
pub(crate) async fn select(
    conn: &Client,
    key: &AddressKey,
    filter: &QueueFilter,
    action: &Move,
) -> Result<Vec<(Id, i32)>, Fault> {
    action.event()?;
    if *filter == QueueFilter::default() {
        return Ok(Vec::new());
    }
    let states = action.from().iter().copied();
    let states = states.filter(|state| filter.state.is_none_or(|only| only == *state));
    let (jobs, settled): (Vec<State>, Vec<State>) = states.partition(|state| is_job(*state));
    let mut found = Vec::new();
    for (table, states) in [("malote.jobs", jobs), ("malote.deliveries", settled)] {
        if !states.is_empty() {
            found.extend(select_of(conn, key, filter, (table, &states)).await?);
        }
    }
    found.sort_unstable_by_key(|(place, _, idx)| (*place, *idx));
    Ok(found.into_iter().map(|(_, id, idx)| (id, idx)).collect())
}

/// A delivery with the place of its message in the order of acceptance.
type Placed = (i64, Id, i32);

async fn select_of(
    conn: &Client,
    key: &AddressKey,
    filter: &QueueFilter,
    (table, states): (&str, &[State]),
) -> Result<Vec<Placed>, Fault> {
    let states: Vec<i16> = states.iter().copied().map(number).collect();
    let named = filter.delivery.map(|delivery| Id::from(delivery.message));
    let message = filter.message.map(Id::from);
    let idx = filter.delivery.map(|delivery| i32::from(delivery.index));
    let stream = filter.stream.as_ref().map(|name| name.as_str());
    let owner = filter.owner.as_ref().map(|name| name.as_str());
    let campaign = filter.campaign.as_deref().map(clean);
    let held_because = filter.held_because.as_deref().map(clean);
    let wanted = filter.recipient.as_ref().map(|address| address.key());
    let hash = wanted.as_ref().map(|address| key.recipient(address));
    let mut sql = format!(
        "SELECT s.message, s.idx, d.recipient, m.place FROM {table} s
         JOIN malote.deliveries d ON d.message = s.message AND d.idx = s.idx
         JOIN malote.messages m ON m.id = s.message WHERE s.state = ANY($1)"
    );
    let mut also = Conditions::behind(vec![&states]);
    also.also("s.message = ?", named.as_ref());
    also.also("s.idx = ?", idx.as_ref());
    also.also("s.message = ?", message.as_ref());
    also.also("m.stream = ?", stream.as_ref());
    also.also("m.credential = ?", owner.as_ref());
    also.also("d.recipient_hash = ?", hash.as_ref());
    also.also("m.campaign = ?", campaign.as_ref());
    also.also(
        "starts_with((SELECT e.detail FROM malote.events e WHERE e.message = s.message
            AND e.idx = s.idx AND e.kind = 'held' ORDER BY e.seq DESC LIMIT 1), ?)",
        held_because.as_ref(),
    );
    let mut found = Vec::new();
    sql.push_str(&also.text);
    for row in args::rows(conn, &sql, &also.values).await? {
        let recipient: &str = row.try_get(2)?;
        let is_wanted = |key: &String| recipient.to_lowercase() == *key;
        if wanted.as_ref().is_none_or(is_wanted) {
            found.push((row.try_get(3)?, row.try_get(0)?, row.try_get(1)?));
        }
    }
    Ok(found)
}

/// Moves those of the selected deliveries that may still move.
pub(crate) async fn apply(
    tx: &Tx<'_>,
    selected: &[(Id, i32)],
    action: &Move,
) -> Result<Vec<DeliveryId>, Fault> {
    let (mut moved, mut changes) = (Vec::new(), Vec::new());
    for id in selected {
        let Some(job) = rows::lock_one(tx, *id).await? else {
            continue;
        };
        if action.from().contains(&job.state)
            && let Some(change) = change(tx, job, action).await?
        {
            moved.push(id.0.delivery(id.1));
            changes.push(change);
        }
    }
    timeline::apply(tx, changes).await?;
    Ok(moved)
}

async fn change(tx: &Tx<'_>, job: Job, action: &Move) -> Result<Option<Change>, Fault> {
    let is_release = action.to == State::Queued;
    let is_again = is_release && job.state.is_settled();
    if is_again && (!has_body(tx, &job).await? || is_erased(tx, &job).await?) {
        return Ok(None);
    }
    let before = (job.lane, job.state);
    let mut after = job;
    if is_release {
        begin_anew(tx, &mut after, micros(action.now)).await?;
    }
    after.state = action.to;
    after.due_at = is_release.then(|| micros(action.now));
    let line = Line {
        at: micros(action.now),
        durable_at: micros(action.now),
        kind: action.event()?.as_str().to_owned(),
        blame: None,
        provider: None,
        detail: action.reason.clone(),
        raw: bytes::Bytes::new(),
    };
    Ok(Some(Change {
        before,
        after,
        at: action.now,
        events: vec![line],
    }))
}

/// A released delivery gets its whole time again if that is over, and no crash counts against it.
async fn begin_anew(tx: &Tx<'_>, job: &mut Job, now: i64) -> Result<(), Fault> {
    // Held mail may have had its expiry looked at later than it falls due.
    args::run(
        tx,
        "UPDATE malote.messages SET
            expires_at = CASE WHEN expires_at <= $2 THEN $2 + (expires_at - accepted_at)
                ELSE expires_at END,
            check_at = CASE WHEN expires_at <= $2 THEN $2 + (expires_at - accepted_at)
                ELSE expires_at END
         WHERE id = $1",
        &[&job.message, &now],
    )
    .await?;
    job.crashes = 0;
    if job.state.is_settled() {
        job.attempts = 0;
        job.progress = None;
    }
    Ok(())
}

async fn is_erased(tx: &Tx<'_>, job: &Job) -> Result<bool, Fault> {
    erase::is_erased_delivery(tx, (job.message, job.idx)).await
}

async fn has_body(tx: &Tx<'_>, job: &Job) -> Result<bool, Fault> {
    let sql = "SELECT body_place FROM malote.messages WHERE id = $1";
    let row = args::row(tx, sql, &[&job.message]).await?;
    let row = row.ok_or_else(|| damaged("a delivery without its message"))?;
    Ok(row.try_get::<_, i16>(0)? != Place::Dropped.number())
}
