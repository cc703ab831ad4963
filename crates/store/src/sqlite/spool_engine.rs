//! [`Spool`] on SQLite: what each method hands to the writer or to a reader.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use malote_core::event::State;
use malote_core::feed::{FeedPage, FeedQuery};
use malote_core::id::{DeliveryId, MessageId};
use malote_core::ledger::{MessageView, RawEvent, Search, SearchPage};
use malote_core::name::{CredentialName, ProviderName};
use rusqlite::{OptionalExtension, params};

use crate::moving::Move;
use crate::sqlite::accept::{self, Prepared};
use crate::sqlite::body::BodyFiles;
use crate::sqlite::fault::Fault;
use crate::sqlite::lease::{self, Taken, Wish};
use crate::sqlite::queue::{Operation, Queue, Queued, Urgency};
use crate::sqlite::settle::SETTLEMENT_BYTES;
use crate::sqlite::writer::Tx;
use crate::sqlite::{Load, SqliteStore, columns, feed, moves, retain, rows, search, settle, view};
use crate::{
    AcceptOutcome, AttemptStart, IdempotencyRecord, Lane, LaneDepth, LaneId, Leased, LeasedMessage,
    MessageRecord, NewMessage, NodeSession, PendingAttempt, QueueFilter, QueueStats, Settlement,
    Spool, StoreError,
};

/// Octets of a batch's bodies above which they are hashed on a thread that may block.
const HASHED_IN_PLACE_MAX: usize = 256 << 10;

#[async_trait]
impl Spool for SqliteStore {
    async fn accept(&self, batch: Vec<NewMessage>) -> Result<Vec<AcceptOutcome>, StoreError> {
        let prepared = self.prepare(batch).await;
        let batch = prepared.inspect_err(|error| {
            if *error == StoreError::Full {
                self.inner.room.was_missing(Instant::now());
            }
        })?;
        let filed: Vec<Option<MessageId>> = batch
            .iter()
            .map(|one| one.needs_file().then_some(one.message.record.id))
            .collect();
        let load = Load {
            urgency: accept::urgency(&batch),
            bytes: batch.iter().map(Prepared::bytes).sum(),
            operations: batch.len(),
        };
        let outcome = self.write(load, move |tx| accept::accept(tx, &batch)).await;
        let unused: Vec<MessageId> = match &outcome {
            Ok(outcomes) => {
                let repeats = filed.iter().zip(outcomes);
                repeats
                    .filter(|(_, outcome)| **outcome != AcceptOutcome::Kept)
                    .filter_map(|(id, _)| *id)
                    .collect()
            }
            // Whether a dying writer committed is not known; the next start sweeps.
            Err(StoreError::Closed) => Vec::new(),
            Err(
                StoreError::Full
                | StoreError::Busy
                | StoreError::Unavailable(_)
                | StoreError::BadCursor
                | StoreError::Damaged(_)
                | StoreError::Engine(_),
            ) => filed.into_iter().flatten().collect(),
        };
        self.remove_files(unused).await;
        outcome
    }

    async fn idempotent(
        &self,
        credential: &CredentialName,
        key: &str,
    ) -> Result<Option<IdempotencyRecord>, StoreError> {
        let oldest = self
            .inner
            .clock
            .now()
            .saturating_sub(accept::IDEMPOTENCY_KEPT)
            .map_err(|_| StoreError::Engine("time out of range".into()))?;
        let (credential, key) = (credential.clone(), key.to_owned());
        self.read(move |conn| {
            accept::key_record(conn, credential.as_str(), &key, columns::micros(oldest))
        })
        .await
    }

    fn home(&self) -> Option<&str> {
        self.inner.home.as_deref()
    }

    async fn lane(&self, lane: &Lane) -> Result<LaneId, StoreError> {
        let lanes = &self.inner.lanes;
        let known = lanes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(lane)
            .copied();
        if let Some(id) = known {
            return Ok(id);
        }
        let wanted = lane.clone();
        let id = self
            .write(Load::small(), move |tx| lane_id(tx.conn, &wanted))
            .await?;
        lanes
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(lane.clone(), id);
        Ok(id)
    }

    async fn lanes(&self, now: Timestamp) -> Result<Vec<LaneDepth>, StoreError> {
        self.read(move |conn| view::lanes(conn, now)).await
    }

    async fn lease(
        &self,
        session: NodeSession,
        lane: LaneId,
        count_max: u32,
        now: Timestamp,
    ) -> Result<Vec<LeasedMessage>, StoreError> {
        let wish = Wish {
            session,
            lane: lane.0,
            count_max,
            now,
        };
        let load = Load {
            urgency: Urgency::Lease,
            bytes: 512,
            operations: 1,
        };
        let queue = Arc::clone(self.queue()?);
        let work =
            move |tx: &mut Tx<'_>| Ok((Arc::clone(&queue), session, lease::lease(tx, wish)?));
        let given_back = |(queue, session, taken)| drop(Leasehold::new(queue, session, taken));
        let (queue, session, taken) = self.write_or(load, work, given_back).await?;
        self.load_lease(Leasehold::new(queue, session, taken), now)
            .await
    }

    async fn next_due(&self, lane: LaneId) -> Result<Option<Timestamp>, StoreError> {
        self.read(move |conn| lease::next_due(conn, lane.0)).await
    }

    async fn start_attempts(&self, batch: Vec<AttemptStart>) -> Result<(), StoreError> {
        let load = settlements(batch.len());
        self.write(load, move |tx| settle::start_attempts(tx, &batch))
            .await
    }

    async fn settle(&self, session: NodeSession, batch: Vec<Settlement>) -> Result<(), StoreError> {
        let load = settlements(batch.len());
        let now = self.inner.clock.now();
        self.write(load, move |tx| settle::settle(tx, session, &batch, now))
            .await
    }

    async fn open_session(
        &self,
        now: Timestamp,
    ) -> Result<(NodeSession, Vec<PendingAttempt>), StoreError> {
        self.write(Load::small(), move |tx| lease::open_session(tx, now))
            .await
    }

    async fn message(&self, id: MessageId) -> Result<Option<MessageRecord>, StoreError> {
        let found = self.read(move |conn| rows::message(conn, id)).await?;
        Ok(found.map(|row| row.record))
    }

    async fn body(&self, id: MessageId) -> Result<Option<Bytes>, StoreError> {
        let files = self.inner.files.clone();
        let found = self
            .read(move |conn| match rows::message(conn, id)? {
                Some(message) => files.load(conn, &message.body),
                None => Ok(None),
            })
            .await;
        if let Err(StoreError::Damaged(_)) = &found {
            self.inner.metrics.damaged.inc();
        }
        found
    }

    async fn view(&self, id: MessageId) -> Result<Option<MessageView>, StoreError> {
        self.read(move |conn| view::view(conn, id)).await
    }

    async fn search(&self, query: &Search) -> Result<SearchPage, StoreError> {
        let (query, key) = (query.clone(), self.inner.key.clone());
        self.read(move |conn| search::search(conn, &key, &query))
            .await
    }

    async fn feed(&self, query: &FeedQuery) -> Result<FeedPage, StoreError> {
        let (query, key) = (query.clone(), self.inner.key.clone());
        self.read(move |conn| feed::read(conn, &key, &query)).await
    }

    async fn raw_events(&self, id: MessageId) -> Result<Vec<RawEvent>, StoreError> {
        self.read(move |conn| feed::raw(conn, id)).await
    }

    async fn last_told(&self) -> Result<Vec<(ProviderName, Timestamp)>, StoreError> {
        self.read(feed::last_told).await
    }

    async fn move_deliveries(
        &self,
        filter: &QueueFilter,
        to: State,
        reason: &str,
        now: Timestamp,
    ) -> Result<Vec<DeliveryId>, StoreError> {
        let action = Move::new(filter, to, reason, now);
        let (wanted, key, wish) = (filter.clone(), self.inner.key.clone(), action.clone());
        let selected = self
            .read(move |conn| moves::select(conn, &key, &wanted, &wish))
            .await?;
        let mut moved = Vec::with_capacity(selected.len());
        for part in selected.chunks(moves::PART) {
            let (part, action) = (part.to_vec(), action.clone());
            let load = settlements(part.len());
            let done = self.write(load, move |tx| moves::apply(tx, &part, &action));
            moved.extend(done.await?);
        }
        Ok(moved)
    }

    async fn overdue(&self, count_max: u32, now: Timestamp) -> Result<Vec<Leased>, StoreError> {
        let (overdue, unreadable) = self
            .read(move |conn| retain::overdue(conn, count_max, now))
            .await?;
        if !unreadable.is_empty() {
            let load = settlements(unreadable.len());
            let set_aside = move |tx: &mut Tx<'_>| retain::set_aside(tx, &unreadable, now);
            self.write(load, set_aside).await?;
        }
        Ok(overdue)
    }

    async fn expire(
        &self,
        overdue: &[DeliveryId],
        count_max: u32,
        now: Timestamp,
    ) -> Result<Vec<Leased>, StoreError> {
        let overdue = overdue.to_vec();
        self.write(Load::small(), move |tx| {
            retain::expire(tx, &overdue, (count_max, now))
        })
        .await
    }

    async fn retain(
        &self,
        bodies_before: Timestamp,
        all_before: Timestamp,
    ) -> Result<(u64, u64), StoreError> {
        let now = self.inner.clock.now();
        for _ in 0..retain::FORGET_STEPS_MAX {
            let step = self.write(Load::small(), move |tx| retain::forget(tx, all_before, now));
            if !step.await? {
                break;
            }
        }
        let (mut bodies, mut messages) = (0, 0);
        for _ in 0..retain::STEPS_MAX {
            let step = move |tx: &mut Tx<'_>| retain::step(tx, bodies_before, all_before);
            let dropped = self.write(settlements(500), step).await?;
            if dropped.bodies + dropped.messages == 0 {
                break;
            }
            bodies += dropped.bodies;
            messages += dropped.messages;
            // A backup under way may still have to copy them.
            let no_backup = self.inner.removal.read().await;
            self.remove_files(dropped.files).await;
            drop(no_backup);
        }
        Ok((bodies, messages))
    }

    async fn stats(&self, now: Timestamp) -> Result<QueueStats, StoreError> {
        self.read(move |conn| view::stats(conn, now)).await
    }
}

pub(crate) const fn settlements(count: usize) -> Load {
    Load {
        urgency: Urgency::Settle,
        bytes: 512 + SETTLEMENT_BYTES * count,
        operations: count,
    }
}

fn lane_id(conn: &rusqlite::Connection, lane: &Lane) -> Result<LaneId, Fault> {
    let key = params![
        lane.class.as_str(),
        lane.stream.as_str(),
        lane.route.as_str()
    ];
    let known = conn
        .prepare_cached("SELECT id FROM lanes WHERE class = ?1 AND stream = ?2 AND route = ?3")?
        .query_row(key, |row| row.get(0))
        .optional()?;
    if let Some(id) = known {
        return Ok(LaneId(id));
    }
    conn.prepare_cached("INSERT INTO lanes (class, stream, route) VALUES (?1, ?2, ?3)")?
        .execute(key)?;
    Ok(LaneId(conn.last_insert_rowid()))
}

impl SqliteStore {
    /// Hashes bodies and writes the large ones to their files, before the writer hears of them.
    async fn prepare(&self, batch: Vec<NewMessage>) -> Result<Vec<Prepared>, StoreError> {
        let inner = Arc::clone(&self.inner);
        let inline_max = inner.config.inline_body_max.0;
        let bytes: usize = batch.iter().map(|one| one.body.len()).sum();
        let has_large = batch.iter().any(|one| one.body.len() as u64 > inline_max);
        let prepare = move || {
            batch
                .into_iter()
                .map(|message| Prepared::new(message, &inner.key, inline_max))
                .collect::<Result<Vec<_>, _>>()
        };
        if bytes <= HASHED_IN_PLACE_MAX && !has_large {
            return prepare();
        }
        let permit = self.inner.body_writers.acquire().await;
        let files = self.inner.files.clone();
        let writing = tokio::task::spawn_blocking(move || {
            let prepared = prepare()?;
            write_files(&files, &prepared)?;
            Ok::<_, Fault>(prepared)
        });
        let written = writing.await.map_err(|_| StoreError::Closed)?;
        drop(permit);
        written.map_err(|fault| {
            if let Fault::Disk(text) = &fault {
                tracing::error!(error = %text, "lost the store's disk");
                (self.inner.on_fatal)(text);
            }
            let error = StoreError::from(fault);
            self.inner.metrics.count(&error);
            error
        })
    }

    pub(crate) async fn remove_files(&self, ids: Vec<MessageId>) {
        if ids.is_empty() {
            return;
        }
        let files = self.inner.files.clone();
        let removing = tokio::task::spawn_blocking(move || {
            for id in ids {
                files.remove(id);
            }
        });
        if removing.await.is_err() {
            tracing::warn!("could not remove the files of bodies");
        }
    }

    /// Reads what was leased; what cannot be read is quarantined, and if nothing can be read at
    /// all, everything goes back.
    async fn load_lease(
        &self,
        leasehold: Leasehold,
        now: Timestamp,
    ) -> Result<Vec<LeasedMessage>, StoreError> {
        if leasehold.taken.is_empty() {
            return Ok(Vec::new());
        }
        let (files, taken) = (self.inner.files.clone(), leasehold.taken.clone());
        let loaded = self
            .read(move |conn| lease::load(conn, &files, &taken))
            .await?;
        let is_damaged = |one: &&LeasedMessage| one.deliveries.iter().any(|d| d.damaged.is_some());
        let damaged = loaded.messages.iter().filter(is_damaged).count();
        let unreadable = loaded.unreadable;
        let found = (damaged + unreadable.len()) as u64;
        self.inner.metrics.damaged.inc_by(found);
        if !unreadable.is_empty() {
            let load = settlements(unreadable.len());
            self.write(load, move |tx| {
                for (pk, error) in &unreadable {
                    lease::set_aside(tx, *pk, Fault::Refused(error.clone()), now)?;
                }
                Ok(())
            })
            .await?;
        }
        leasehold.hand_over();
        Ok(loaded.messages)
    }
}

fn write_files(files: &BodyFiles, prepared: &[Prepared]) -> Result<(), Fault> {
    let large: Vec<_> = prepared.iter().filter(|one| one.needs_file()).collect();
    for (count, one) in large.iter().enumerate() {
        let id = one.message.record.id;
        if let Err(fault) = files.write(id, &one.message.body) {
            for written in &large[..count] {
                files.remove(written.message.record.id);
            }
            return Err(fault);
        }
    }
    Ok(())
}

/// Leased deliveries on their way to the caller: dropped on the way, they go back to the queue.
struct Leasehold {
    queue: Arc<Queue>,
    session: NodeSession,
    taken: Vec<Taken>,
}

impl Leasehold {
    const fn new(queue: Arc<Queue>, session: NodeSession, taken: Vec<Taken>) -> Self {
        Self {
            queue,
            session,
            taken,
        }
    }

    fn hand_over(mut self) {
        self.taken.clear();
    }
}

impl Drop for Leasehold {
    fn drop(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        let ids: Vec<i64> = taken.into_iter().flat_map(|one| one.deliveries).collect();
        if ids.is_empty() {
            return;
        }
        let session = self.session;
        let load = settlements(ids.len());
        let pushed = self.queue.push(Queued {
            job: Box::new(Operation {
                work: move |tx: &mut Tx<'_>| lease::give_back(tx, session, &ids),
                output: None,
                caller: None,
                abandoned: drop,
            }),
            urgency: load.urgency,
            bytes: load.bytes,
            operations: load.operations,
        });
        if let Err(error) = pushed {
            // They stay leased until the next session gives them back.
            tracing::warn!(error = %error, "could not give a lease back");
        }
    }
}
