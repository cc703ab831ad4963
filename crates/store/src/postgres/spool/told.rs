//! Providers' events: each applied once, to the delivery it belongs to, moving states only forward.
//! A batch takes a bounded number of statements, however many events it has.

mod find;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use malote_core::event::{Blame, EventKind, ProviderEvent, State};
use malote_core::id::DeliveryId;
use malote_core::name::ProviderName;
use tokio_postgres::{Client, Row};

use crate::forward::{Known, PART_BYTES_MAX, Teller, UNREADABLE_MAX, dedup_key, next_state};
use crate::postgres::columns::{micros, parsed, timestamp};
use crate::postgres::fault::{Fault, damaged};
use crate::postgres::spool::Tx;
use crate::postgres::spool::args::{self, Id, clean};
use crate::postgres::spool::rows;
use crate::postgres::spool::timeline::{self, Change, Line};
use crate::postgres::spool::told::find::Found;
use crate::{Applied, FirstTold, Telling, UnreadRecord};

/// A delivery by its message and place.
type Key = (Id, i32);

/// Applies events of a provider, or without one our own; for each the delivery that it is about, or
/// `None` if it matches nothing.
pub(crate) async fn apply(
    tx: &Tx<'_>,
    provider: Option<&ProviderName>,
    events: &[ProviderEvent],
    now: Timestamp,
) -> Result<Vec<Option<Applied>>, Fault> {
    let meant = find::meant(tx, provider, events).await?;
    let mut found = find::locked(tx, provider, &meant).await?;
    let keys: Vec<_> = events
        .iter()
        .map(|event| dedup_key(provider, &event.dedup_key))
        .collect();
    // Behind the locks: who tells the same at the same time has written its keys by now.
    let mut known = known(tx, &keys).await?;
    let mut applied = Vec::with_capacity(events.len());
    let mut fresh = Vec::new();
    for ((event, id), key) in events.iter().zip(meant).zip(keys) {
        let Some((id, found)) = id.and_then(|id| Some((id, found.get_mut(&id)?))) else {
            applied.push(None);
            continue;
        };
        let telling = known.get(&key).map(|known| known.telling(&id, &event.kind));
        let is_new = telling.is_none();
        applied.push(Some(found.applied(telling.unwrap_or(Telling::New))));
        if is_new {
            let seq = found.take(provider, event, now);
            known.insert(key, told_now(id, event));
            fresh.push((key, id, seq));
        }
    }
    let changes = found.into_values().filter_map(|found| found.change(now));
    timeline::apply(tx, changes.collect()).await?;
    keep_keys(tx, &fresh, now).await?;
    Ok(applied)
}

impl Found {
    fn applied(&self, telling: Telling) -> Applied {
        let mut delivery = self.leased.clone();
        delivery.state = self.job.state;
        Applied {
            delivery,
            message: self.message.clone(),
            call: self.call.clone(),
            telling,
        }
    }

    /// Puts a new event on the timeline; at which place.
    fn take(
        &mut self,
        provider: Option<&ProviderName>,
        event: &ProviderEvent,
        now: Timestamp,
    ) -> i32 {
        let teller = Teller::of(self.call.as_ref());
        if self.job.state == State::Sending {
            // The provider was faster than our own settlement, which will find this.
            let told = self.job.told_state.unwrap_or(State::Unknown);
            self.job.told_state = next_state(told, teller, &event.kind).or(self.job.told_state);
        } else if let Some(state) = next_state(self.job.state, teller, &event.kind) {
            self.job.state = state;
        }
        self.lines.push(Line {
            at: micros(event.at),
            durable_at: micros(now),
            kind: event.kind.as_str().to_owned(),
            blame: event.blame,
            provider: provider.map(|name| name.as_str().to_owned()),
            detail: event.detail.clone(),
            raw: event.raw.clone(),
        });
        let count = i32::try_from(self.lines.len()).unwrap_or(i32::MAX);
        self.job.last_seq.saturating_add(count)
    }

    fn change(self, now: Timestamp) -> Option<Change> {
        (!self.lines.is_empty()).then_some(Change {
            before: self.before,
            after: self.job,
            at: now,
            events: self.lines,
        })
    }
}

fn told_now(id: Key, event: &ProviderEvent) -> Known<Key> {
    let first = FirstTold {
        at: event.at,
        blame: event.blame,
        detail: event.detail.clone(),
    };
    Known {
        first: Some((id, event.kind.clone(), first)),
        is_followed: false,
    }
}

/// What is kept under these keys.
async fn known(tx: &Tx<'_>, keys: &[[u8; 16]]) -> Result<BTreeMap<[u8; 16], Known<Key>>, Fault> {
    let asked: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
    let rows = args::rows(
        tx,
        "SELECT k.key, k.followed, e.message, e.idx, e.kind, e.at, e.blame, e.detail
         FROM malote.event_keys k LEFT JOIN malote.events e
            ON e.message = k.message AND e.idx = k.idx AND e.seq = k.seq
         WHERE k.key = ANY($1)",
        &[&asked],
    )
    .await?;
    let mut known = BTreeMap::new();
    for row in &rows {
        let first = match row.try_get::<_, Option<Id>>(2)? {
            None => None,
            Some(message) => {
                let kind = EventKind::from_word(row.try_get(4)?);
                let blame: Option<&str> = row.try_get(6)?;
                let first = FirstTold {
                    at: timestamp(row.try_get(5)?)?,
                    blame: blame.and_then(Blame::from_word),
                    detail: row.try_get(7)?,
                };
                Some(((message, row.try_get(3)?), kind, first))
            }
        };
        let is_followed = row.try_get(1)?;
        let key: &[u8] = row.try_get(0)?;
        let key = key.try_into().map_err(|_| damaged("an event's key"))?;
        known.insert(key, Known { first, is_followed });
    }
    Ok(known)
}

/// Keeps what new events are known by.
async fn keep_keys(
    tx: &Tx<'_>,
    fresh: &[([u8; 16], Key, i32)],
    now: Timestamp,
) -> Result<(), Fault> {
    if fresh.is_empty() {
        return Ok(());
    }
    let keys: Vec<&[u8]> = fresh.iter().map(|one| &one.0[..]).collect();
    let messages: Vec<Id> = fresh.iter().map(|one| one.1.0).collect();
    let indexes: Vec<i32> = fresh.iter().map(|one| one.1.1).collect();
    let places: Vec<i32> = fresh.iter().map(|one| one.2).collect();
    let kept = args::run(
        tx,
        "INSERT INTO malote.event_keys (key, at, message, idx, seq, followed)
         SELECT u.key, $2, u.message, u.idx, u.seq, false
         FROM unnest($1, $3, $4, $5) AS u(key, message, idx, seq) ON CONFLICT DO NOTHING",
        &[&keys, &micros(now), &messages, &indexes, &places],
    )
    .await?;
    // Somebody told one of them of another delivery at the same time.
    if kept < fresh.len() as u64 {
        return Err(Fault::Conflict);
    }
    Ok(())
}

/// Notes that what follows from events was done.
pub(crate) async fn followed(
    tx: &Tx<'_>,
    provider: &ProviderName,
    dedup_keys: &[String],
) -> Result<(), Fault> {
    let keys: Vec<_> = dedup_keys
        .iter()
        .map(|key| dedup_key(Some(provider), key))
        .collect();
    let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
    let sql = "UPDATE malote.event_keys SET followed = true WHERE key = ANY($1)";
    args::run(tx, sql, &[&keys]).await?;
    Ok(())
}

/// Which of these deliveries are under way.
pub(crate) async fn under_way(
    conn: &Client,
    deliveries: &[DeliveryId],
) -> Result<Vec<DeliveryId>, Fault> {
    let keys = deliveries.iter().copied().map(rows::key);
    let (messages, indexes): (Vec<Id>, Vec<i32>) = keys.unzip();
    let rows = args::rows(
        conn,
        "SELECT j.message, j.idx FROM unnest($1, $2) AS u(message, idx)
         JOIN malote.jobs j ON j.message = u.message AND j.idx = u.idx WHERE j.state + 0 = 2",
        &[&messages, &indexes],
    )
    .await?;
    let mut found = BTreeSet::new();
    for row in &rows {
        found.insert((row.try_get(0)?, row.try_get(1)?));
    }
    let deliveries = deliveries.iter().copied();
    let under_way = deliveries.filter(|id| found.contains(&rows::key(*id)));
    Ok(under_way.collect())
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

/// The newest parts of webhooks that could not be read.
pub(crate) async fn unreadable(conn: &Client, limit: u16) -> Result<Vec<UnreadRecord>, Fault> {
    let sql = "SELECT provider, at, part FROM malote.unreadable ORDER BY id DESC LIMIT $1";
    let found = args::rows(conn, sql, &[&i64::from(limit)]).await?;
    let record = |row: &Row| {
        Ok(UnreadRecord {
            provider: parsed(row.try_get(0)?, "provider")?,
            at: timestamp(row.try_get(1)?)?,
            part: row.try_get(2)?,
        })
    };
    found.iter().map(record).collect()
}
