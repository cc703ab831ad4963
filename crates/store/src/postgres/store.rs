//! Both traits on one PostgreSQL database, with one pool of connections.

use std::sync::Arc;

use malote_core::clock::Clock;
use prometheus::Registry;

use crate::postgres::config::PostgresSettings;
use crate::postgres::database::{Database, Opening, PostgresParts};
use crate::postgres::shared_engine::PostgresShared;
use crate::postgres::spool::PostgresSpool;
use crate::postgres::time;
use crate::{OnFatal, StoreError};

/// A database that keeps everything, so that any node may die. Clones share everything.
#[derive(Clone)]
pub struct PostgresStore {
    /// Messages.
    pub spool: PostgresSpool,
    /// What nodes share.
    pub shared: PostgresShared,
}

impl PostgresStore {
    /// Connects, makes the tables or brings them to this program's version, and begins to work.
    /// When another node has taken over what this one had under way, the process is aborted: see
    /// [`PostgresStore::open_with`].
    ///
    /// # Errors
    /// As [`PostgresShared::open`].
    pub async fn open(
        settings: &PostgresSettings,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Result<Self, StoreError> {
        let abort: OnFatal = Arc::new(|_| std::process::abort());
        Self::open_with(settings, clock, registry, abort).await
    }

    /// As [`PostgresStore::open`]; `on_lost` is called when another node has taken over what this
    /// one had under way, and has to end the process.
    ///
    /// # Errors
    /// As [`PostgresShared::open`].
    pub async fn open_with(
        settings: &PostgresSettings,
        clock: Arc<dyn Clock>,
        registry: &Registry,
        on_lost: OnFatal,
    ) -> Result<Self, StoreError> {
        let parts = PostgresParts::Whole;
        // An opening that is tried again counts anew.
        let database = Database::open(settings, parts, Opening::Migrate, &Registry::new()).await?;
        let database = Arc::new(database);
        time::go_by(&database, &*clock).await?;
        let shared =
            PostgresShared::over(Arc::clone(&database), Arc::clone(&clock), Opening::Migrate);
        let store = Self {
            shared: shared.keep_learning().await?,
            spool: PostgresSpool::start(Arc::clone(&database), clock, on_lost).await?,
        };
        database.register(registry)?;
        Ok(store)
    }

    /// Opens what is there, to be read only: for the command line. Every method that writes
    /// answers an error.
    ///
    /// # Errors
    /// As [`PostgresShared::open_read_only`].
    pub async fn open_read_only(
        settings: &PostgresSettings,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Result<Self, StoreError> {
        let parts = PostgresParts::Whole;
        let database = Database::open(settings, parts, Opening::AsIs, registry).await?;
        let database = Arc::new(database);
        Ok(Self {
            shared: PostgresShared::over(Arc::clone(&database), Arc::clone(&clock), Opening::AsIs),
            spool: PostgresSpool::read_only(database, clock),
        })
    }

    /// Connects and looks whether a gateway could start on the database; changes nothing.
    ///
    /// # Errors
    /// As [`PostgresShared::open`].
    pub async fn look_at(settings: &PostgresSettings) -> Result<(), StoreError> {
        let parts = PostgresParts::Whole;
        let database = Database::open(settings, parts, Opening::Look, &Registry::new()).await?;
        database.close();
        Ok(())
    }

    /// Whether the database did not answer when it was last asked.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.spool.is_away()
    }

    /// Whether it still takes writes.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.spool.is_open()
    }

    /// Takes nothing more in, finishes what waits, tells the other nodes that this one has gone,
    /// and lets go of the connections.
    pub async fn close(&self) {
        self.spool.close().await;
        self.shared.close();
    }
}
