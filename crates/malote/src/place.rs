//! Where mail is kept, and what nodes share: files of this node, or a database of several.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use malote_core::clock::Clock;
use malote_store::{
    OnFatal, PostgresSettings, PostgresShared, PostgresStore, Shared, Spool, SqliteStore,
    StoreError,
};
use prometheus::Registry;
use tokio::time::{Instant, sleep};

use crate::config::{Config, StoreSettings};

/// How long a start waits for a database that does not answer: it may be starting, too.
const AWAY_MAX: Duration = Duration::from_secs(60);
/// How often it is asked meanwhile.
const AWAY_PAUSE: Duration = Duration::from_secs(1);

/// Where mail is kept. Clones share everything.
#[derive(Clone)]
pub enum StorePlace {
    /// In files of this node.
    Sqlite(SqliteStore),
    /// In a database that several nodes work on.
    Postgres(PostgresStore, Arc<PostgresSettings>),
}

impl StorePlace {
    /// Opens the store of a gateway, or makes it.
    ///
    /// # Errors
    /// If it is refused, or a database does not answer for [`AWAY_MAX`].
    pub(crate) async fn open(
        config: &Config,
        clock: &Arc<dyn Clock>,
        registry: &Registry,
    ) -> anyhow::Result<Self> {
        let at = || format!("store {}", config.store.place());
        match &config.store {
            StoreSettings::Sqlite(sqlite) => {
                let store = SqliteStore::open(sqlite.clone(), Arc::clone(clock), registry);
                Ok(Self::Sqlite(store.with_context(at)?))
            }
            StoreSettings::Postgres(settings) => {
                // Written at once: what the log has not written yet goes with the process.
                let on_lost: OnFatal = Arc::new(|why| {
                    eprintln!("lost the session, ending: {why}");
                    std::process::abort();
                });
                let open = || {
                    let clock = Arc::clone(clock);
                    PostgresStore::open_with(settings, clock, registry, Arc::clone(&on_lost))
                };
                let store = patiently(settings, open).await.with_context(at)?;
                Ok(Self::Postgres(
                    store,
                    Arc::new(PostgresSettings::clone(settings)),
                ))
            }
        }
    }

    /// Opens the store of a configuration to be read only, for the command line.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub(crate) async fn open_read_only(
        at: &StoreSettings,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let (clock, registry) = (Arc::clone(clock), Registry::new());
        match at {
            StoreSettings::Sqlite(sqlite) => {
                let store = SqliteStore::open_read_only(sqlite.clone(), clock, &registry)?;
                Ok(Self::Sqlite(store))
            }
            StoreSettings::Postgres(settings) => {
                let store = PostgresStore::open_read_only(settings, clock, &registry).await?;
                Ok(Self::Postgres(
                    store,
                    Arc::new(PostgresSettings::clone(settings)),
                ))
            }
        }
    }

    /// Where messages are.
    #[must_use]
    pub fn spool(&self) -> Arc<dyn Spool> {
        match self {
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Postgres(store, _) => Arc::new(store.spool.clone()),
        }
    }

    /// What nodes share, as this store keeps it.
    #[must_use]
    pub fn shared(&self) -> Arc<dyn Shared> {
        match self {
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Postgres(store, _) => Arc::new(store.shared.clone()),
        }
    }

    /// Why mail cannot be taken in now; `None` if it can.
    pub async fn why_not_ready(&self) -> Option<String> {
        let (is_open, is_away) = match self {
            Self::Sqlite(store) => (store.is_open(), false),
            Self::Postgres(store, _) => (store.is_open(), store.is_away()),
        };
        if !is_open {
            return Some("the store is closed".to_owned());
        }
        if is_away {
            return Some("the database does not answer".to_owned());
        }
        let Self::Sqlite(store) = self else {
            return None;
        };
        let path = store.without_room().await?.display();
        Some(format!("the store's disk is full or not writable: {path}"))
    }

    /// Finishes what waits, and lets go.
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store, _) => store.close().await,
        }
    }
}

/// Where what nodes share is kept.
pub(crate) enum SharedPlace {
    /// In the gateway's own store.
    Store,
    /// In a database beside each node's own store.
    Postgres(PostgresShared),
}

impl SharedPlace {
    /// As the engine uses it.
    #[must_use]
    pub(crate) fn as_port(&self, store: &StorePlace) -> Arc<dyn Shared> {
        match self {
            Self::Store => store.shared(),
            Self::Postgres(shared) => Arc::new(shared.clone()),
        }
    }

    /// Lets go of the database; the store is closed by who opened it.
    pub(crate) fn close(&self) {
        match self {
            Self::Store => {}
            Self::Postgres(shared) => shared.close(),
        }
    }
}

/// Opens the database that the configuration names, if it names one, and carries over what the
/// store knows from the time before it was named.
///
/// # Errors
/// If it is refused, or does not answer for [`AWAY_MAX`].
pub(crate) async fn open_shared(
    config: &Config,
    store: &StorePlace,
    clock: &Arc<dyn Clock>,
    registry: &Registry,
) -> anyhow::Result<SharedPlace> {
    let StorePlace::Sqlite(store) = store else {
        return Ok(SharedPlace::Store);
    };
    let Some(settings) = &config.shared else {
        tracing::info!(
            "limits, quotas and suppressions are this gateway's own: others share them by [shared.postgres]"
        );
        return Ok(SharedPlace::Store);
    };
    let at = || format!("[shared.postgres] {}", settings.place());
    let open = || PostgresShared::open(settings, Arc::clone(clock), registry);
    let shared = patiently(settings, open).await.with_context(at)?;
    let carried = shared.carry_over(store).await.with_context(at)?;
    if carried.suppressions > 0 || carried.returns > 0 {
        tracing::info!(
            suppressions = carried.suppressions,
            returns = carried.returns,
            "carried over to the shared database what the store knew"
        );
    }
    if carried.erased_left > 0 {
        tracing::warn!(
            entries = carried.erased_left,
            "suppressions and returns of erased addresses stay behind in the store: they are known by a hash under its own key"
        );
    }
    Ok(SharedPlace::Postgres(shared))
}

/// Opens a database, again and again while it does not answer.
async fn patiently<T, F>(settings: &PostgresSettings, open: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let begun = Instant::now();
    loop {
        match open().await {
            Err(StoreError::Unavailable(why)) if begun.elapsed() < AWAY_MAX => {
                tracing::warn!(database = settings.place(), why, "waiting for the database");
                sleep(AWAY_PAUSE).await;
            }
            result => return result,
        }
    }
}
