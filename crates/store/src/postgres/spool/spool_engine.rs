//! [`Spool`] on PostgreSQL.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use malote_core::event::State;
use malote_core::feed::{FeedPage, FeedQuery};
use malote_core::id::{DeliveryId, MessageId};
use malote_core::ledger::{MessageView, RawEvent, Search, SearchPage};
use malote_core::name::{CredentialName, ProviderName};

use crate::moving::Move;
use crate::postgres::columns::{micros, timestamp};
use crate::postgres::fault::Fault;
use crate::postgres::metrics::Operation;
use crate::postgres::spool::accept::{self, Prepared};
use crate::postgres::spool::args::{self, Id};
use crate::postgres::spool::bodies::{self, Place};
use crate::postgres::spool::lease::{self, Begins, Wish};
use crate::postgres::spool::leasehold::Leasehold;
use crate::postgres::spool::settle::{self, Settling, Starting};
use crate::postgres::spool::{
    PostgresSpool, Tx, days, feed, in_transaction, moves, on_connection, retain, rows, search,
    sessions, view,
};
use crate::{
    AcceptOutcome, AttemptStart, IdempotencyRecord, Lane, LaneDepth, LaneId, Leased, LeasedMessage,
    MessageRecord, NewMessage, NodeSession, PendingAttempt, QueueFilter, QueueStats, Settlement,
    Spool, StoreError, TakenOver,
};

/// Octets of a batch's bodies above which they are hashed on a thread that may block.
const HASHED_IN_PLACE_MAX: usize = 256 << 10;

#[async_trait]
impl Spool for PostgresSpool {
    async fn accept(&self, batch: Vec<NewMessage>) -> Result<Vec<AcceptOutcome>, StoreError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let batch = Arc::new(self.prepare(batch).await?);
        let large: Vec<Id> = batch
            .iter()
            .filter(|one| one.place == Place::Chunks)
            .map(Prepared::id)
            .collect();
        if let Err(error) = self.write_pieces(&batch).await {
            self.remove_pieces(&large).await;
            return Err(error);
        }
        let load = accept::load(&batch);
        let outcome = self.inner.accepts.submit(Arc::clone(&batch), load).await;
        let is_whole = matches!(&outcome, Ok(outcomes) if outcomes.iter().all(is_kept));
        if !is_whole {
            // Only those whose message is not there; what cannot be removed now is swept later.
            self.remove_pieces(&large).await;
        }
        outcome
    }

    async fn idempotent(
        &self,
        credential: &CredentialName,
        key: &str,
    ) -> Result<Option<IdempotencyRecord>, StoreError> {
        let core = &self.inner.core;
        let oldest = core.clock.now().saturating_sub(accept::IDEMPOTENCY_KEPT);
        let oldest = oldest.map_err(|_| StoreError::Engine("time out of range".into()))?;
        let found = on_connection!(core, Operation::Read, |conn| args::row(
            conn,
            "SELECT credential, key, fingerprint, message, created_at FROM malote.idempotency
             WHERE credential = $1 AND key = $2 AND created_at > $3",
            &[&credential.as_str(), &args::clean(key), &micros(oldest)],
        ))?;
        let record = found.as_ref().map(accept::key_record).transpose();
        record.map_err(StoreError::from)
    }

    async fn lane(&self, lane: &Lane) -> Result<LaneId, StoreError> {
        let core = &self.inner.core;
        let known = core
            .lanes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(lane)
            .copied();
        if let Some(id) = known {
            return Ok(id);
        }
        if !self.is_open() {
            return Err(StoreError::Closed);
        }
        let id = in_transaction!(core, Operation::Upkeep, |tx| lane_id(tx, lane))?;
        core.lanes
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(lane.clone(), id);
        Ok(id)
    }

    async fn lanes(&self, now: Timestamp) -> Result<Vec<LaneDepth>, StoreError> {
        on_connection!(self.inner.core, Operation::Read, |conn| view::lanes(
            conn, now
        ))
    }

    async fn lease(
        &self,
        session: NodeSession,
        lane: LaneId,
        count_max: u32,
        now: Timestamp,
    ) -> Result<Vec<LeasedMessage>, StoreError> {
        let core = &self.inner.core;
        self.own(session)?;
        let due = on_connection!(core, Operation::Lease, |conn| lease::due(conn, lane.0))?;
        if due.earliest().is_none_or(|due| due > micros(now)) {
            return Ok(Vec::new());
        }
        let number = core.leases.fetch_add(1, Ordering::Relaxed);
        let wish = Wish {
            session: session.0,
            lane: lane.0,
            count_max,
            now,
            due,
            begins: if number.is_multiple_of(2) {
                Begins::Fresh
            } else {
                Begins::Backlog
            },
        };
        let leasehold = Leasehold::take(core, wish).await?;
        self.load_lease(leasehold, now).await
    }

    async fn next_due(&self, lane: LaneId) -> Result<Option<Timestamp>, StoreError> {
        let core = &self.inner.core;
        let due = on_connection!(core, Operation::Lease, |conn| lease::due(conn, lane.0))?;
        let due = due.earliest().map(timestamp).transpose();
        due.map_err(StoreError::from)
    }

    async fn start_attempts(&self, batch: Vec<AttemptStart>) -> Result<(), StoreError> {
        let session = self.inner.core.own.session();
        let session = session.ok_or_else(sessions::over)?;
        let load = settle::load(batch.len());
        let batch = Arc::new(batch);
        let starting = Starting { session, batch };
        self.inner.starts.submit(starting, load).await
    }

    async fn settle(&self, session: NodeSession, batch: Vec<Settlement>) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let load = settle::load(batch.len());
        let core = &self.inner.core;
        let ids: Vec<_> = batch.iter().map(|one| rows::key(one.delivery)).collect();
        let settling = Settling {
            session: session.0,
            batch: Arc::new(batch),
            now: core.clock.now(),
        };
        let settled = self.inner.settles.submit(settling, load).await;
        if settled.is_ok() {
            core.held.remove(&ids);
        }
        settled
    }

    async fn open_session(
        &self,
        now: Timestamp,
    ) -> Result<(NodeSession, Vec<PendingAttempt>), StoreError> {
        let core = &self.inner.core;
        if !self.is_open() {
            return Err(StoreError::Closed);
        }
        let session = in_transaction!(core, Operation::Session, |tx| sessions::open(tx, core))?;
        core.own.open(session);
        let taken = self.take_over_ended(session, now).await?;
        Ok((NodeSession(session), taken.pending))
    }

    async fn take_over(
        &self,
        session: NodeSession,
        now: Timestamp,
    ) -> Result<TakenOver, StoreError> {
        let core = &self.inner.core;
        self.own(session)?;
        in_transaction!(core, Operation::Session, |tx| sessions::end_dead(
            tx, core, session.0
        ))?;
        let strays = self.take_strays(session.0, now).await?;
        let mut taken = self.take_over_ended(session.0, now).await?;
        taken.queued += strays.queued;
        taken.pending.extend(strays.pending);
        Ok(taken)
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn message(&self, id: MessageId) -> Result<Option<MessageRecord>, StoreError> {
        let core = &self.inner.core;
        let found = on_connection!(core, Operation::Read, |conn| rows::find_message(conn, id))?;
        Ok(found.map(|row| row.record))
    }

    async fn body(&self, id: MessageId) -> Result<Option<Bytes>, StoreError> {
        on_connection!(self.inner.core, Operation::Read, |conn| body(conn, id))
    }

    async fn view(&self, id: MessageId) -> Result<Option<MessageView>, StoreError> {
        on_connection!(self.inner.core, Operation::Read, |conn| view::view(
            conn, id
        ))
    }

    async fn feed(&self, query: &FeedQuery) -> Result<FeedPage, StoreError> {
        let core = &self.inner.core;
        let safe = on_connection!(core, Operation::Read, |conn| core.horizon.head(conn))?;
        let key = &core.database.key;
        on_connection!(core, Operation::Read, |conn| feed::read(
            conn, key, query, safe
        ))
    }

    async fn raw_events(&self, id: MessageId) -> Result<Vec<RawEvent>, StoreError> {
        on_connection!(self.inner.core, Operation::Read, |conn| feed::raw(conn, id))
    }

    async fn last_told(&self) -> Result<Vec<(ProviderName, Timestamp)>, StoreError> {
        on_connection!(self.inner.core, Operation::Read, |conn| feed::last_told(
            conn
        ))
    }

    async fn search(&self, query: &Search) -> Result<SearchPage, StoreError> {
        let core = &self.inner.core;
        let key = &core.database.key;
        on_connection!(core, Operation::Read, |conn| search::search(
            conn, key, query
        ))
    }

    async fn move_deliveries(
        &self,
        filter: &QueueFilter,
        to: State,
        reason: &str,
        now: Timestamp,
    ) -> Result<Vec<DeliveryId>, StoreError> {
        let core = &self.inner.core;
        let action = Move::new(filter, to, reason, now);
        let key = &core.database.key;
        let selected = on_connection!(core, Operation::Read, |conn| moves::select(
            conn, key, filter, &action
        ))?;
        let mut moved = Vec::with_capacity(selected.len());
        for part in selected.chunks(moves::PART) {
            let done =
                in_transaction!(core, Operation::Event, |tx| moves::apply(tx, part, &action));
            moved.extend(done?);
        }
        Ok(moved)
    }

    async fn overdue(&self, count_max: u32, now: Timestamp) -> Result<Vec<Leased>, StoreError> {
        let core = &self.inner.core;
        in_transaction!(core, Operation::Upkeep, |tx| retain::overdue(
            tx, count_max, now
        ))
    }

    async fn expire(
        &self,
        overdue: &[DeliveryId],
        count_max: u32,
        now: Timestamp,
    ) -> Result<Vec<Leased>, StoreError> {
        let core = &self.inner.core;
        in_transaction!(core, Operation::Upkeep, |tx| retain::release(
            tx, count_max, now
        ))?;
        in_transaction!(core, Operation::Upkeep, |tx| retain::expire(
            tx,
            overdue,
            (count_max, now)
        ))
    }

    async fn retain(
        &self,
        bodies_before: Timestamp,
        all_before: Timestamp,
    ) -> Result<(u64, u64), StoreError> {
        let core = &self.inner.core;
        let now = core.clock.now();
        for _ in 0..retain::FORGET_STEPS_MAX {
            let step = in_transaction!(core, Operation::Upkeep, |tx| retain::forget(
                tx, all_before, now
            ));
            if !step? {
                break;
            }
        }
        let (mut bodies, mut messages) = (0, 0);
        for _ in 0..retain::STEPS_MAX {
            let dropped = in_transaction!(core, Operation::Upkeep, |tx| retain::step(
                tx,
                bodies_before,
                all_before
            ))?;
            if dropped.bodies + dropped.messages == 0 {
                break;
            }
            bodies += dropped.bodies;
            messages += dropped.messages;
        }
        let days = in_transaction!(core, Operation::Upkeep, |tx| days::drop_empty(
            tx, all_before
        ));
        // One that is written to after all is made again.
        core.days.forget();
        match days {
            // Somebody reads or writes them: the next call comes soon.
            Ok(()) | Err(StoreError::Busy) => Ok((bodies, messages)),
            Err(error) => Err(error),
        }
    }

    async fn stats(&self, now: Timestamp) -> Result<QueueStats, StoreError> {
        on_connection!(self.inner.core, Operation::Read, |conn| view::stats(
            conn, now
        ))
    }
}

fn is_kept(outcome: &AcceptOutcome) -> bool {
    match outcome {
        AcceptOutcome::Kept => true,
        AcceptOutcome::Repeat(_) => false,
    }
}

async fn lane_id(tx: &Tx<'_>, lane: &Lane) -> Result<LaneId, Fault> {
    let (class, stream, route) = (
        lane.class.as_str(),
        lane.stream.as_str(),
        lane.route.as_str(),
    );
    let find = "SELECT id FROM malote.lanes WHERE class = $1 AND stream = $2 AND route = $3";
    let made = "INSERT INTO malote.lanes (class, stream, route) VALUES ($1, $2, $3)
        ON CONFLICT DO NOTHING RETURNING id";
    for sql in [find, made, find] {
        if let Some(row) = args::row(tx, sql, &[&class, &stream, &route]).await? {
            return Ok(LaneId(row.try_get(0)?));
        }
    }
    Err(Fault::Conflict)
}

async fn body(conn: &tokio_postgres::Client, id: MessageId) -> Result<Option<Bytes>, Fault> {
    let Some(message) = rows::find_message(conn, id).await? else {
        return Ok(None);
    };
    if message.body_place == Place::Dropped.number() {
        return Ok(None);
    }
    let id = message.id;
    match bodies::load(conn, &[message]).await?.remove(&id) {
        Some(Ok(body)) => Ok(Some(body)),
        Some(Err(what)) => Err(StoreError::Damaged(what).into()),
        None => Ok(None),
    }
}

impl PostgresSpool {
    /// Refuses a session that is not the one that this process has open.
    fn own(&self, session: NodeSession) -> Result<(), StoreError> {
        if self.inner.core.own.session() == Some(session.0) {
            return Ok(());
        }
        Err(sessions::over())
    }

    async fn take_over_ended(&self, session: i64, now: Timestamp) -> Result<TakenOver, StoreError> {
        let core = &self.inner.core;
        let mut all = TakenOver::default();
        loop {
            let step = in_transaction!(core, Operation::Session, |tx| sessions::take_over(
                tx,
                core,
                (session, now)
            ))?;
            let (step, is_full) = step;
            let taken_over = step.queued + step.pending.len() as u64;
            core.database.count_taken_over(taken_over);
            let pending = step.pending.iter();
            core.held.add(pending.map(|one| rows::key(one.delivery.id)));
            all.queued += step.queued;
            all.pending.extend(step.pending);
            if !is_full {
                return Ok(all);
            }
        }
    }

    /// Hashes bodies and addresses.
    async fn prepare(&self, batch: Vec<NewMessage>) -> Result<Vec<Prepared>, StoreError> {
        let bytes: usize = batch.iter().map(|one| one.body.len()).sum();
        let key = self.inner.core.database.key.clone();
        let prepare = move || {
            let prepared = batch.into_iter().map(|one| Prepared::new(one, &key));
            prepared.collect::<Result<Vec<_>, _>>()
        };
        if bytes <= HASHED_IN_PLACE_MAX {
            return prepare();
        }
        let hashing = tokio::task::spawn_blocking(prepare);
        hashing.await.map_err(|_| StoreError::Closed)?
    }

    /// Writes large bodies before the transaction of their messages.
    async fn write_pieces(&self, batch: &[Prepared]) -> Result<(), StoreError> {
        let core = &self.inner.core;
        for one in batch.iter().filter(|one| one.place == Place::Chunks) {
            let (id, body) = (one.id(), &one.message.body);
            let mut next = Some(0);
            while let Some(place) = next {
                next = in_transaction!(core, Operation::Accept, |tx| bodies::write_some(
                    tx, id, body, place
                ))?;
            }
        }
        Ok(())
    }

    async fn remove_pieces(&self, ids: &Vec<Id>) {
        if ids.is_empty() {
            return;
        }
        let core = &self.inner.core;
        let removed = on_connection!(core, Operation::Upkeep, |conn| bodies::remove(conn, ids));
        if let Err(error) = removed {
            tracing::warn!(%error, "could not remove pieces of bodies, they are swept later");
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
        let core = &self.inner.core;
        let loaded = on_connection!(core, Operation::Lease, |conn| lease::load(
            conn,
            &leasehold.taken
        ))?;
        for (id, what) in &loaded.unreadable {
            in_transaction!(core, Operation::Lease, |tx| lease::set_aside(
                tx, *id, what, now
            ))?;
        }
        leasehold.hand_over(&loaded.messages);
        Ok(loaded.messages)
    }
}
