//! The spool on PostgreSQL: any node works on it, and any node may die.
//!
//! Writes of many callers share transactions ([`batcher`]). What a node has under way belongs to its
//! session ([`sessions`]); other nodes take over what a dead one leaves. Nothing is kept in a
//! connection, so that a pooler in transaction mode may stand between.

mod accept;
mod args;
mod batcher;
mod bodies;
mod days;
mod erase;
mod event_engine;
mod feed;
mod lease;
mod leasehold;
mod moves;
mod outbox;
mod outbox_engine;
mod presence;
mod restored;
mod retain;
mod rows;
mod search;
mod sessions;
mod settle;
mod spool_engine;
mod strays;
mod timeline;
mod told;
mod upkeep;
mod view;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use malote_core::clock::Clock;
use rand::RngCore;
use tokio::task::JoinSet;

use crate::postgres::database::{Database, Opening};
use crate::postgres::metrics::Operation;
use crate::postgres::spool::accept::Prepared;
use crate::postgres::spool::args::Id;
use crate::postgres::spool::batcher::Batcher;
use crate::postgres::spool::days::Days;
use crate::postgres::spool::feed::Horizon;
use crate::postgres::spool::presence::Presence;
use crate::postgres::spool::sessions::Own;
use crate::postgres::spool::settle::{Settling, Starting};
use crate::postgres::spool::strays::Held;
use crate::{AcceptOutcome, Lane, LaneId, OnFatal, StoreError};

pub(crate) use crate::postgres::spool::bodies::INLINE_MAX as INLINE_BODY_MAX;
pub(crate) use crate::postgres::spool::restored::COUNT_ANEW;
pub(crate) use crate::postgres::spool::sessions::EXPIRY_S as SESSION_EXPIRY_S;

/// The day of a message's id, of which events and attempts have parts of their own.
pub(crate) fn day_of(message: [u8; 16]) -> i32 {
    days::of_id(Id(message))
}

/// The transaction that a change is written in.
pub(crate) type Tx<'a> = tokio_postgres::Transaction<'a>;

/// Transactions that bring mail in, at once: one gathers callers while another commits. With more of
/// them each covers fewer callers, and the server works more for the same mail.
const ACCEPTS_AT_ONCE: usize = 2;
/// Transactions that settle mail, and that journal starts of attempts, at once.
const SETTLES_AT_ONCE: usize = 1;
/// Octets that may wait for the transactions of one kind; beyond, callers hear that it is busy.
const QUEUE_BYTES_MAX: usize = 64 << 20;

/// Runs `$work` in a transaction of `$core`'s database, again where another was in the way.
macro_rules! in_transaction {
    ($core:expr, $operation:expr, |$tx:ident| $work:expr) => {
        $core
            .database
            .tried($operation, || -> $crate::postgres::database::Work<'_, _> {
                Box::pin(async {
                    $core.may_write()?;
                    let mut conn = $core.database.connection().await?;
                    let outer = conn.transaction().await?;
                    let output = {
                        let $tx: &$crate::postgres::spool::Tx<'_> = &outer;
                        let bound = $crate::postgres::database::IDLE_BOUND;
                        // Sent ahead of the work, in the same round trip.
                        let (bounded, output) = tokio::join!($tx.batch_execute(bound), $work);
                        bounded?;
                        output?
                    };
                    outer.commit().await?;
                    Ok(output)
                })
            })
            .await
    };
}

/// Runs `$work` on a connection of `$core`'s database.
macro_rules! on_connection {
    ($core:expr, $operation:expr, |$conn:ident| $work:expr) => {
        $core
            .database
            .tried($operation, || -> $crate::postgres::database::Work<'_, _> {
                Box::pin(async {
                    let object = $core.database.connection().await?;
                    let $conn: &tokio_postgres::Client = &object;
                    $work.await
                })
            })
            .await
    };
}

pub(crate) use {in_transaction, on_connection};

/// The spool in one database, for one process. Clones share everything.
#[derive(Clone)]
pub struct PostgresSpool {
    inner: Arc<Inner>,
}

/// What transactions work on.
pub(crate) struct Core {
    pub(crate) database: Arc<Database>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Tells this process's sessions from those of others.
    pub(crate) node: Id,
    pub(crate) presence: Arc<Presence>,
    pub(crate) own: Arc<Own>,
    pub(crate) held: Held,
    pub(crate) days: Days,
    pub(crate) horizon: Horizon,
    /// Counts leases, to let new mail and backlog begin in turn.
    pub(crate) leases: AtomicU64,
    pub(crate) lanes: RwLock<HashMap<Lane, LaneId>>,
    opening: Opening,
}

impl Core {
    /// Refuses to write to a database that was opened to be read.
    pub(crate) fn may_write(&self) -> Result<(), StoreError> {
        match self.opening {
            Opening::Migrate => Ok(()),
            Opening::AsIs | Opening::Look => Err(StoreError::Closed),
        }
    }
}

type Accepts = Batcher<Arc<Vec<Prepared>>, Vec<AcceptOutcome>>;

struct Inner {
    core: Arc<Core>,
    accepts: Arc<Accepts>,
    settles: Arc<Batcher<Settling, ()>>,
    starts: Arc<Batcher<Starting, ()>>,
    /// End by themselves once their queues are closed and drained.
    workers: Mutex<JoinSet<()>>,
    /// Go on until they are ended.
    keepers: Mutex<JoinSet<()>>,
}

impl PostgresSpool {
    /// Begins to work on a database whose tables are there. `on_lost` is called when another node
    /// has taken over what this one had under way, and has to end the process: what it still has
    /// in memory is somebody else's by then.
    ///
    /// # Errors
    /// If the tables of the coming days cannot be made.
    pub(crate) async fn start(
        database: Arc<Database>,
        clock: Arc<dyn Clock>,
        on_lost: OnFatal,
    ) -> Result<Self, StoreError> {
        let own = Own::new(on_lost);
        let spool = Self::over(database, clock, own, Opening::Migrate);
        let core = &spool.inner.core;
        upkeep::make_days(core).await?;
        let mut workers = lock(&spool.inner.workers);
        for _ in 0..ACCEPTS_AT_ONCE {
            let core = Arc::clone(core);
            let run =
                move |callers: Vec<Arc<Vec<Prepared>>>| accept_all(Arc::clone(&core), callers);
            workers.spawn(Arc::clone(&spool.inner.accepts).work(run));
        }
        for _ in 0..SETTLES_AT_ONCE {
            let settling = Arc::clone(core);
            let run = move |callers: Vec<Settling>| settle_all(Arc::clone(&settling), callers);
            workers.spawn(Arc::clone(&spool.inner.settles).work(run));
            let starting = Arc::clone(core);
            let run = move |callers: Vec<Starting>| start_all(Arc::clone(&starting), callers);
            workers.spawn(Arc::clone(&spool.inner.starts).work(run));
        }
        drop(workers);
        let mut keepers = lock(&spool.inner.keepers);
        let (database, own) = (Arc::clone(&core.database), Arc::clone(&core.own));
        keepers.spawn(sessions::keep_beating(database, own));
        keepers.spawn(upkeep::keep(Arc::clone(core)));
        drop(keepers);
        Ok(spool)
    }

    /// A spool that is only read: for the command line. Every method that writes answers that it
    /// is closed.
    pub(crate) fn read_only(database: Arc<Database>, clock: Arc<dyn Clock>) -> Self {
        // It opens no session that could be lost.
        let own = Own::new(Arc::new(|_| ()));
        let spool = Self::over(database, clock, own, Opening::AsIs);
        spool.inner.close_queues();
        spool
    }

    fn over(database: Arc<Database>, clock: Arc<dyn Clock>, own: Own, opening: Opening) -> Self {
        let mut node = [0; 16];
        rand::rng().fill_bytes(&mut node);
        let core = Core {
            database,
            clock,
            node: Id(node),
            presence: Arc::new(Presence::of(Id(node))),
            own: Arc::new(own),
            held: Held::default(),
            days: Days::default(),
            horizon: Horizon::default(),
            leases: AtomicU64::new(0),
            lanes: RwLock::default(),
            opening,
        };
        Self {
            inner: Arc::new(Inner {
                core: Arc::new(core),
                accepts: Arc::new(Batcher::new(QUEUE_BYTES_MAX)),
                settles: Arc::new(Batcher::new(QUEUE_BYTES_MAX)),
                starts: Arc::new(Batcher::new(QUEUE_BYTES_MAX)),
                workers: Mutex::default(),
                keepers: Mutex::default(),
            }),
        }
    }

    /// Whether the spool still takes writes.
    pub(crate) fn is_open(&self) -> bool {
        !self.inner.accepts.is_closed()
    }

    /// Whether the database did not answer when it was last asked.
    pub(crate) fn is_away(&self) -> bool {
        self.inner.core.database.is_away()
    }

    /// Takes nothing more in, finishes what waits, and ends the session, so that other nodes need
    /// not wait for its expiry.
    pub(crate) async fn close(&self) {
        self.inner.close_queues();
        let mut workers = std::mem::take(&mut *lock(&self.inner.workers));
        while workers.join_next().await.is_some() {}
        lock(&self.inner.keepers).abort_all();
        let core = &self.inner.core;
        let Some(session) = core.own.end() else {
            return;
        };
        let ended = in_transaction!(core, Operation::Session, |tx| {
            sessions::close(tx, session)
        });
        if let Err(error) = ended {
            tracing::warn!(%error, "could not end the session, it expires");
        }
    }
}

impl Inner {
    fn close_queues(&self) {
        self.accepts.close();
        self.settles.close();
        self.starts.close();
    }
}

async fn accept_all(
    core: Arc<Core>,
    callers: Vec<Arc<Vec<Prepared>>>,
) -> Result<Vec<Vec<AcceptOutcome>>, StoreError> {
    let ids = callers
        .iter()
        .flat_map(|batch| batch.iter().map(Prepared::id));
    core.days.make(&core.database, ids).await?;
    in_transaction!(core, Operation::Accept, |tx| {
        accept::accept(tx, &callers)
    })
}

async fn settle_all(core: Arc<Core>, callers: Vec<Settling>) -> Result<Vec<()>, StoreError> {
    in_transaction!(core, Operation::Settle, |tx| {
        settle::settle(tx, &callers)
    })
}

async fn start_all(core: Arc<Core>, callers: Vec<Starting>) -> Result<Vec<()>, StoreError> {
    in_transaction!(core, Operation::Settle, |tx| {
        settle::start_attempts(tx, &core.own, &callers)
    })
}

/// A lock whose holders never panic half-way through a change.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
