//! What each node knows of suppressed addresses by itself: a filter of hashes, trusted for a second
//! after each look at the database.
//!
//! Every row says which transaction wrote it. A look asks for the rows of all transactions that
//! were not over at the look before, so none is missed, whatever order they end in.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use malote_core::clock::Clock;
use tokio::time::{Instant, sleep};
use tokio_postgres::types::Type;

use crate::StoreError;
use crate::hash_filter::HashFilter;
use crate::postgres::columns::micros;
use crate::postgres::database::Database;
use crate::postgres::fault::{Fault, damaged};
use crate::postgres::metrics::Operation;
use crate::words::{QUOTAS_KEPT, SOFT_BOUNCES_KEPT};

/// From the end of one look to the next.
const REFRESH_EVERY: Duration = Duration::from_millis(300);
/// How long after the begin of a look its answer is believed: a suppression of another node stops
/// mail here after no more than this.
const TRUST_MAX: Duration = Duration::from_secs(1);
/// Hashes asked for at once when all are.
const PAGE: i64 = 50_000;
/// How often what has expired is removed.
const FORGET_EVERY: Duration = Duration::from_secs(3_600);
/// How often connections go back to the server that were not needed meanwhile.
const TRIM_EVERY: Duration = Duration::from_secs(10);
/// Rows removed in one go.
const FORGET_STEP: i64 = 10_000;

/// The hashes that this node knows of.
pub(super) struct Known {
    filter: HashFilter,
    /// When the last look began that was answered.
    looked_at: Mutex<Option<Instant>>,
}

impl Known {
    pub(super) fn new() -> Self {
        Self {
            filter: HashFilter::new(),
            looked_at: Mutex::new(None),
        }
    }

    /// The filter, if an address that is not in it is known not to be suppressed.
    pub(super) fn trusted(&self) -> Option<&HashFilter> {
        let looked_at = *self
            .looked_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        looked_at
            .is_some_and(|at| at.elapsed() < TRUST_MAX)
            .then_some(&self.filter)
    }

    /// Adds hashes that this node is about to write.
    pub(super) fn add<'a>(&self, hashes: impl Iterator<Item = &'a [u8; 16]>) {
        hashes.for_each(|hash| self.filter.add(hash));
    }

    fn note_look(&self, begun: Instant) {
        let mut looked_at = self
            .looked_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *looked_at = Some(begun);
    }
}

/// Keeps what the node knows of, and removes what has expired.
pub(super) struct Refresher {
    pub(super) database: Arc<Database>,
    pub(super) known: Arc<Known>,
    pub(super) clock: Arc<dyn Clock>,
    place: Place,
}

/// Up to where the rows of which server are known.
#[derive(Debug, Default, PartialEq, Eq)]
struct Place {
    /// The server's run and its database: transactions of another have other numbers.
    server: String,
    /// Every transaction before it was over.
    since: i64,
}

/// One look at the database.
struct Look {
    place: Place,
    hashes: Vec<Vec<u8>>,
}

impl Refresher {
    pub(super) fn new(database: Arc<Database>, known: Arc<Known>, clock: Arc<dyn Clock>) -> Self {
        Self {
            database,
            known,
            clock,
            place: Place::default(),
        }
    }

    /// Looks until it is dropped.
    pub(super) async fn run(mut self) {
        let mut is_away = false;
        let mut forgot_at: Option<Instant> = None;
        let mut trimmed_at = Instant::now();
        loop {
            if trimmed_at.elapsed() >= TRIM_EVERY {
                trimmed_at = Instant::now();
                self.database.trim();
            }
            match self.refresh().await {
                Ok(()) if is_away => {
                    is_away = false;
                    tracing::info!("the database of suppressions answers again");
                }
                Ok(()) => {}
                Err(error) if !is_away => {
                    is_away = true;
                    tracing::error!(%error, "the database of suppressions does not answer: \
                        nothing is sent until it does");
                }
                Err(_) => {}
            }
            let is_due = forgot_at.is_none_or(|at| at.elapsed() >= FORGET_EVERY);
            if is_due && !is_away {
                forgot_at = Some(Instant::now());
                if let Err(error) = forget(&self.database, self.clock.now()).await {
                    tracing::warn!(%error, "kept counts that nothing asks for any more");
                }
            }
            sleep(REFRESH_EVERY).await;
        }
    }

    /// Asks for what came since the last look, or for all at the first look at a server.
    pub(super) async fn refresh(&mut self) -> Result<(), StoreError> {
        let begun = Instant::now();
        let look = self.look(self.place.since).await?;
        if look.place.server == self.place.server {
            self.add(&look.hashes)?;
        } else {
            // What comes while the pages are read belongs to transactions that were not over at
            // this look: the next one asks for them.
            self.load().await?;
        }
        self.place = look.place;
        self.known.note_look(begun);
        Ok(())
    }

    async fn look(&self, since: i64) -> Result<Look, StoreError> {
        let rows = self
            .database
            .rows(
                Operation::Refresh,
                "SELECT concat_ws(' ', pg_postmaster_start_time(),
                        (SELECT oid FROM pg_database WHERE datname = current_database())),
                    pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
                    ARRAY(SELECT hash FROM malote.suppressions
                        WHERE written_by >= $1 AND $1 > 0)",
                &[(&since, Type::INT8)],
            )
            .await?;
        let read = || -> Result<Look, Fault> {
            let row = rows.first().ok_or_else(|| damaged("no place"))?;
            let place = Place {
                server: row.try_get(0)?,
                since: row.try_get(1)?,
            };
            let hashes = row.try_get(2)?;
            Ok(Look { place, hashes })
        };
        Ok(read()?)
    }

    async fn load(&self) -> Result<(), StoreError> {
        let mut after = Vec::new();
        loop {
            let rows = self
                .database
                .rows(
                    Operation::Refresh,
                    "SELECT hash FROM malote.suppressions WHERE hash > $1 ORDER BY hash LIMIT $2",
                    &[(&after, Type::BYTEA), (&PAGE, Type::INT8)],
                )
                .await?;
            let read =
                |row: &tokio_postgres::Row| -> Result<Vec<u8>, Fault> { Ok(row.try_get(0)?) };
            let hashes: Vec<Vec<u8>> = rows.iter().map(read).collect::<Result<_, _>>()?;
            self.add(&hashes)?;
            match hashes.last() {
                Some(last) if hashes.len() as i64 == PAGE => after.clone_from(last),
                Some(_) | None => return Ok(()),
            }
        }
    }

    fn add(&self, hashes: &[Vec<u8>]) -> Result<(), StoreError> {
        for hash in hashes {
            let hash = hash[..]
                .try_into()
                .map_err(|_| damaged("unreadable hash"))?;
            self.known.filter.add(hash);
        }
        Ok(())
    }
}

/// Removes quotas and soft bounces that nothing asks for any more; bounded, the rest follows next
/// time.
async fn forget(database: &Database, now: Timestamp) -> Result<(), StoreError> {
    let before = |kept: SignedDuration| {
        let at = now.saturating_sub(kept);
        at.map_err(|_| StoreError::from(damaged("time out of range")))
    };
    let hour = before(QUOTAS_KEPT)?.as_second().div_euclid(3_600);
    let bounced = micros(before(SOFT_BOUNCES_KEPT)?);
    for (sql, bound) in [
        (
            "DELETE FROM malote.quotas WHERE (account, hour) IN
                (SELECT account, hour FROM malote.quotas WHERE hour < $1 LIMIT $2)",
            hour,
        ),
        (
            "DELETE FROM malote.soft_bounces WHERE (hash, at, event) IN
                (SELECT hash, at, event FROM malote.soft_bounces WHERE at < $1 LIMIT $2)",
            bounced,
        ),
    ] {
        let params = [(&bound as _, Type::INT8), (&FORGET_STEP as _, Type::INT8)];
        database.execute(Operation::State, sql, &params).await?;
    }
    Ok(())
}
