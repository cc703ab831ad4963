//! Providers' events: each applied once, to the delivery it belongs to, moving states only forward.

use jiff::Timestamp;
use malote_core::event::{ProviderEvent, State};
use malote_core::name::ProviderName;

use crate::Applied;
use crate::forward::{CANDIDATES_MAX, PART_BYTES_MAX, UNREADABLE_MAX, dedup_key, next_state};
use crate::postgres::columns::micros;
use crate::postgres::fault::Fault;
use crate::postgres::spool::args::{self, Id, clean};
use crate::postgres::spool::rows::{self, Job};
use crate::postgres::spool::timeline::{self, Change, Line};
use crate::postgres::spool::{Tx, erase};

/// Applies events of a provider, or without one our own; for each the delivery that it is about, or
/// `None` if it matches nothing.
pub(crate) async fn apply(
    tx: &Tx<'_>,
    provider: Option<&ProviderName>,
    events: &[ProviderEvent],
    now: Timestamp,
) -> Result<Vec<Option<Applied>>, Fault> {
    let mut applied = Vec::with_capacity(events.len());
    for event in events {
        applied.push(apply_one(tx, provider, event, now).await?);
    }
    Ok(applied)
}

async fn apply_one(
    tx: &Tx<'_>,
    provider: Option<&ProviderName>,
    event: &ProviderEvent,
    now: Timestamp,
) -> Result<Option<Applied>, Fault> {
    let Some(id) = find(tx, provider, event).await? else {
        return Ok(None);
    };
    let Some(job) = rows::lock_one(tx, id).await? else {
        return Ok(None);
    };
    // Its words would bring back what was erased.
    if erase::is_erased_delivery(tx, id).await? {
        return Ok(None);
    }
    let delivery = rows::find_leased(tx, &job).await?;
    let is_new = args::run(
        tx,
        "INSERT INTO malote.event_keys (key, at) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        &[&&dedup_key(provider, &event.dedup_key)[..], &micros(now)],
    )
    .await?
        > 0;
    if is_new {
        let change = change(job, provider, event, now);
        timeline::apply(tx, vec![change]).await?;
    }
    Ok(Some(Applied { delivery, is_new }))
}

fn change(
    job: Job,
    provider: Option<&ProviderName>,
    event: &ProviderEvent,
    now: Timestamp,
) -> Change {
    let before = (job.lane, job.state);
    let mut after = job;
    if after.state == State::Sending {
        // The provider was faster than our own settlement, which will find this.
        let told = after.told_state.unwrap_or(State::Unknown);
        after.told_state = next_state(told, &event.kind).or(after.told_state);
    } else if let Some(state) = next_state(after.state, &event.kind) {
        after.state = state;
    }
    let line = Line {
        at: micros(event.at),
        durable_at: micros(now),
        kind: event.kind.as_str().to_owned(),
        blame: event.blame,
        provider: provider.map(|name| name.as_str().to_owned()),
        detail: event.detail.clone(),
        raw: event.raw.clone(),
    };
    Change {
        before,
        after,
        at: now,
        events: vec![line],
    }
}

/// The delivery that an event is about: by our own id, else by the provider's id and recipient.
async fn find(
    tx: &Tx<'_>,
    provider: Option<&ProviderName>,
    event: &ProviderEvent,
) -> Result<Option<(Id, i32)>, Fault> {
    let Some(provider) = provider else {
        return Ok(event.delivery.map(rows::key));
    };
    if let Some(id) = event.delivery {
        let (message, idx) = rows::key(id);
        let found = args::row(
            tx,
            "SELECT d.recipient FROM malote.deliveries d
             WHERE d.message = $1 AND d.idx = $2 AND EXISTS
                (SELECT 1 FROM malote.attempts a
                 WHERE a.message = $1 AND a.idx = $2 AND a.provider = $3)",
            &[&message, &idx, &provider.as_str()],
        )
        .await?;
        if let Some(row) = found {
            let own: &str = row.try_get(0)?;
            // Not every service signs what it tells: an event about another recipient is not ours.
            let told = event.recipient.as_ref();
            if told.is_none_or(|told| told.key() == own.to_lowercase()) {
                return Ok(Some((message, idx)));
            }
        }
    }
    let Some(theirs) = &event.provider_message_id else {
        return Ok(None);
    };
    let found = args::rows(
        tx,
        "SELECT DISTINCT d.message, d.idx, d.recipient
         FROM malote.attempts a
         JOIN malote.deliveries d ON d.message = a.message AND d.idx = a.idx
         WHERE a.provider_message_id = $1 AND a.provider = $2 LIMIT $3",
        &[&clean(theirs), &provider.as_str(), &CANDIDATES_MAX],
    )
    .await?;
    let mut candidates = Vec::with_capacity(found.len());
    for row in &found {
        let id = (row.try_get(0)?, row.try_get(1)?);
        candidates.push((id, row.try_get::<_, &str>(2)?));
    }
    Ok(match (&event.recipient, &candidates[..]) {
        (Some(recipient), _) => {
            let key = recipient.key();
            let theirs = candidates.iter().find(|(_, own)| own.to_lowercase() == key);
            theirs.map(|(id, _)| *id)
        }
        (None, [(id, _)]) => Some(*id),
        (None, _) => None,
    })
}

/// Keeps parts of webhooks that could not be read; the oldest go first.
pub(crate) async fn keep_unreadable(
    tx: &Tx<'_>,
    provider: &ProviderName,
    parts: &[String],
    now: Timestamp,
) -> Result<(), Fault> {
    for part in parts {
        let kept = clean(&part[..part.floor_char_boundary(PART_BYTES_MAX)]);
        args::run(
            tx,
            "INSERT INTO malote.unreadable (provider, at, part) VALUES ($1, $2, $3)",
            &[&provider.as_str(), &micros(now), &kept],
        )
        .await?;
    }
    args::run(
        tx,
        "DELETE FROM malote.unreadable
         WHERE id <= (SELECT max(id) FROM malote.unreadable) - $1",
        &[&UNREADABLE_MAX],
    )
    .await?;
    Ok(())
}
