//! Either engine, new or as an earlier run has left it.

use std::sync::Arc;

use malote_core::clock::{Clock, SystemClock};
use malote_core::stream::Class;
use malote_store::{
    Lane, LaneId, NodeSession, PostgresConfig, PostgresStore, Spool, SqliteConfig, SqliteStore,
};
use prometheus::Registry;
use serde_json::json;

use crate::Fault;

/// The key under which addresses are hashed.
const ADDRESS_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// A store with one lane and one session.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) spool: Arc<dyn Spool>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) session: NodeSession,
    pub(crate) lane: LaneId,
    engine: Engine,
}

#[derive(Clone)]
enum Engine {
    Sqlite(SqliteStore),
    Postgres(PostgresStore),
}

impl Store {
    /// Opens `sqlite:PATH` or a `postgresql://` URL, with the defaults of the gateway.
    pub(crate) async fn open(place: &str) -> Result<Self, Fault> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let registry = Registry::new();
        let engine = match place.strip_prefix("sqlite:") {
            Some(path) => {
                let config = SqliteConfig::at(path);
                Engine::Sqlite(SqliteStore::open(config, Arc::clone(&clock), &registry)?)
            }
            None => {
                let table = json!({ "url": place, "tls": "none", "address_key": ADDRESS_KEY });
                let config: PostgresConfig = serde_json::from_value(table)?;
                let mut faults = Vec::new();
                let settings = config.build("store", &mut faults);
                let settings = settings.ok_or_else(|| format!("{place}: {faults:?}"))?;
                let opening = PostgresStore::open(&settings, Arc::clone(&clock), &registry);
                Engine::Postgres(opening.await?)
            }
        };
        let spool: Arc<dyn Spool> = match &engine {
            Engine::Sqlite(store) => Arc::new(store.clone()),
            Engine::Postgres(store) => Arc::new(store.spool.clone()),
        };
        let (session, _) = spool.open_session(clock.now()).await?;
        let lane = Lane {
            class: Class::Transactional,
            stream: "bulk".parse()?,
            route: "sink".parse()?,
        };
        let lane = spool.lane(&lane).await?;
        Ok(Self {
            spool,
            clock,
            session,
            lane,
            engine,
        })
    }

    /// Finishes what waits.
    pub(crate) async fn close(&self) {
        match &self.engine {
            Engine::Sqlite(store) => store.close().await,
            Engine::Postgres(store) => store.close().await,
        }
    }
}
