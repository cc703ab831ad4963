//! The deliveries that events are about, locked, with what the engine has to know of them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use malote_core::event::{ProviderEvent, State};
use malote_core::name::{ProviderName, TargetName};

use crate::forward::CANDIDATES_MAX;
use crate::needle::is_erased;
use crate::postgres::columns::{parsed, timestamp};
use crate::postgres::fault::{Fault, damaged};
use crate::postgres::spool::Tx;
use crate::postgres::spool::args::{self, Id, clean};
use crate::postgres::spool::rows::{self, Job, LEASED, MESSAGE};
use crate::postgres::spool::timeline::Line;
use crate::postgres::spool::told::Key;
use crate::{LastCall, Leased, MessageRecord};

/// A delivery that events are about.
pub(super) struct Found {
    pub(super) before: (i64, State),
    pub(super) job: Job,
    pub(super) leased: Leased,
    pub(super) message: MessageRecord,
    pub(super) call: Option<LastCall>,
    /// What is to be written on its timeline.
    pub(super) lines: Vec<Line>,
}

/// The delivery that each event is about: by our own id, else by the provider's id and recipient.
pub(super) async fn meant(
    tx: &Tx<'_>,
    provider: Option<&ProviderName>,
    events: &[ProviderEvent],
) -> Result<Vec<Option<Key>>, Fault> {
    let Some(provider) = provider else {
        let own = events.iter().map(|event| event.delivery.map(rows::key));
        return Ok(own.collect());
    };
    let own = by_own_id(tx, provider, events).await?;
    let by_own_id = |event: &ProviderEvent| {
        let id = rows::key(event.delivery?);
        let recipient = own.get(&id)?;
        // Not every service signs what it tells: an event about another recipient is not ours.
        let told = event.recipient.as_ref();
        told.is_none_or(|told| told.key() == recipient.to_lowercase())
            .then_some(id)
    };
    let mut meant: Vec<_> = events.iter().map(by_own_id).collect();
    let open = events.iter().zip(&meant).filter(|(_, id)| id.is_none());
    let open: BTreeSet<_> = open
        .filter_map(|(event, _)| event.provider_message_id.as_deref().map(clean))
        .collect();
    let theirs = by_their_id(tx, provider, open.into_iter().collect()).await?;
    for (event, id) in events.iter().zip(&mut meant) {
        let candidates = || theirs.get(&*clean(event.provider_message_id.as_deref()?));
        if id.is_none()
            && let Some(candidates) = candidates()
        {
            *id = one_of(candidates, event);
        }
    }
    Ok(meant)
}

/// Which of the deliveries that share a provider's id an event is about.
fn one_of(candidates: &[(Key, String)], event: &ProviderEvent) -> Option<Key> {
    match (&event.recipient, candidates) {
        (Some(recipient), _) => {
            let key = recipient.key();
            let theirs = candidates.iter().find(|(_, own)| own.to_lowercase() == key);
            theirs.map(|(id, _)| *id)
        }
        (None, [(id, _)]) => Some(*id),
        (None, _) => None,
    }
}

/// The recipients of the deliveries that events name, and that the provider was called for.
async fn by_own_id(
    tx: &Tx<'_>,
    provider: &ProviderName,
    events: &[ProviderEvent],
) -> Result<BTreeMap<Key, String>, Fault> {
    let named = events.iter().filter_map(|event| event.delivery);
    let named: BTreeSet<Key> = named.map(rows::key).collect();
    let (messages, indexes): (Vec<Id>, Vec<i32>) = named.into_iter().unzip();
    if messages.is_empty() {
        return Ok(BTreeMap::new());
    }
    // Each is looked for by itself: all attempts of a provider are far more. Of a call under way
    // that is not on record it may be that it is meant, or an earlier one.
    let rows = args::rows(
        tx,
        "SELECT d.message, d.idx, d.recipient FROM unnest($1, $2) AS u(message, idx)
         JOIN malote.deliveries d ON d.message = u.message AND d.idx = u.idx
         WHERE (SELECT true FROM malote.attempts a
            WHERE a.message = u.message AND a.idx = u.idx AND a.provider = $3 LIMIT 1)
         AND (NOT EXISTS (SELECT 1 FROM malote.jobs j
                WHERE j.message = u.message AND j.idx = u.idx AND j.state + 0 = 2)
            OR (SELECT true FROM malote.attempts a
                WHERE a.message = u.message AND a.idx = u.idx AND a.ended_at IS NULL LIMIT 1))",
        &[&messages, &indexes, &provider.as_str()],
    )
    .await?;
    let mut found = BTreeMap::new();
    for row in &rows {
        found.insert((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?);
    }
    Ok(found)
}

/// The deliveries, with their recipients, that the provider knows by these ids.
async fn by_their_id(
    tx: &Tx<'_>,
    provider: &ProviderName,
    ids: Vec<Cow<'_, str>>,
) -> Result<BTreeMap<String, Vec<(Key, String)>>, Fault> {
    let mut found: BTreeMap<String, Vec<(Key, String)>> = BTreeMap::new();
    if ids.is_empty() {
        return Ok(found);
    }
    let rows = args::rows(
        tx,
        "SELECT u.id, a.message, a.idx, d.recipient FROM unnest($1) AS u(id)
         CROSS JOIN LATERAL (SELECT DISTINCT o.message, o.idx FROM malote.attempts o
            WHERE o.provider_message_id = u.id AND o.provider = $2 LIMIT $3) a
         JOIN malote.deliveries d ON d.message = a.message AND d.idx = a.idx",
        &[&ids, &provider.as_str(), &CANDIDATES_MAX],
    )
    .await?;
    for row in &rows {
        let one = ((row.try_get(1)?, row.try_get(2)?), row.try_get(3)?);
        found.entry(row.try_get(0)?).or_default().push(one);
    }
    Ok(found)
}

/// Locks these deliveries and reads them. Those that were erased are left out: what is told of them
/// would bring back what was erased.
pub(super) async fn locked(
    tx: &Tx<'_>,
    provider: Option<&ProviderName>,
    meant: &[Option<Key>],
) -> Result<BTreeMap<Key, Found>, Fault> {
    let ids: Vec<Key> = meant.iter().copied().flatten().collect();
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut jobs: BTreeMap<Key, Job> = rows::lock_all(tx, &ids)
        .await?
        .into_iter()
        .map(|job| ((job.message, job.idx), job))
        .collect();
    let (messages, indexes): (Vec<Id>, Vec<i32>) = jobs.keys().copied().unzip();
    let mut calls = calls(tx, provider, &jobs).await?;
    let records = records(tx, &messages).await?;
    let sql = format!(
        "SELECT {LEASED} FROM unnest($1, $2) AS u(message, idx)
         JOIN malote.delivery_now d ON d.message = u.message AND d.idx = u.idx
         JOIN malote.messages m ON m.id = d.message"
    );
    let mut found = BTreeMap::new();
    for row in &args::rows(tx, &sql, &[&messages, &indexes]).await? {
        let id = (row.try_get(0)?, row.try_get(1)?);
        let Some(job) = jobs.remove(&id) else {
            continue;
        };
        if is_erased(row.try_get(3)?) {
            continue;
        }
        let record = records.get(&id.0);
        let one = Found {
            before: (job.lane, job.state),
            leased: rows::leased(row, job.state)?,
            job,
            message: record
                .ok_or_else(|| damaged("a delivery without its message"))?
                .clone(),
            call: calls.remove(&id),
            lines: Vec::new(),
        };
        found.insert(id, one);
    }
    Ok(found)
}

async fn records(tx: &Tx<'_>, messages: &[Id]) -> Result<BTreeMap<Id, MessageRecord>, Fault> {
    let mut messages = messages.to_vec();
    messages.dedup();
    let sql = format!("SELECT {MESSAGE} FROM malote.messages m WHERE m.id = ANY($1)");
    let rows = args::rows(tx, &sql, &[&messages]).await?;
    let read = rows.iter().map(|row| {
        let message = rows::message(row)?;
        Ok((message.id, message.record))
    });
    read.collect()
}

/// The last call by which the provider got each delivery.
async fn calls(
    tx: &Tx<'_>,
    provider: Option<&ProviderName>,
    jobs: &BTreeMap<Key, Job>,
) -> Result<BTreeMap<Key, LastCall>, Fault> {
    let Some(provider) = provider else {
        return Ok(BTreeMap::new());
    };
    let (messages, indexes): (Vec<Id>, Vec<i32>) = jobs.keys().copied().unzip();
    let rows = args::rows(
        tx,
        "SELECT u.message, u.idx, a.pool, a.started_at, a.number = l.number, a.ended_at IS NULL
         FROM unnest($1, $2) AS u(message, idx)
         CROSS JOIN LATERAL (SELECT o.pool, o.started_at, o.ended_at, o.number
            FROM malote.attempts o
            WHERE o.message = u.message AND o.idx = u.idx AND o.provider = $3
            ORDER BY o.number DESC LIMIT 1) a
         CROSS JOIN LATERAL (SELECT max(o.number) AS number FROM malote.attempts o
            WHERE o.message = u.message AND o.idx = u.idx) l",
        &[&messages, &indexes, &provider.as_str()],
    )
    .await?;
    let mut calls = BTreeMap::new();
    for row in &rows {
        let target = TargetName {
            provider: provider.clone(),
            pool: parsed(row.try_get(2)?, "pool")?,
        };
        let id = (row.try_get(0)?, row.try_get(1)?);
        // A call under way may not be on record; the last one that is may be over then.
        let (is_latest, is_open): (bool, bool) = (row.try_get(4)?, row.try_get(5)?);
        let is_under_way = jobs.get(&id).is_some_and(|job| job.state == State::Sending);
        let call = LastCall {
            target,
            started_at: timestamp(row.try_get(3)?)?,
            is_last: is_latest && (is_open || !is_under_way),
        };
        calls.insert(id, call);
    }
    Ok(calls)
}
