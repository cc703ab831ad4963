//! A pool of connections to one database: every operation bounded, timed, and done again where
//! another transaction was in the way.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime, Transaction};
use prometheus::Registry;
use rand::Rng;
use tokio::time::{Instant, timeout};
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::StoreError;
use crate::address_key::AddressKey;
use crate::postgres::config::{PostgresSettings, PostgresTls};
use crate::postgres::fault::{Fault, late};
use crate::postgres::metrics::{Metrics, Operation};
use crate::postgres::schema::Owner;
use crate::postgres::{migrate, schema, server, tls};

/// Longest wait for a connection: for a free one, for a new one, and for its first answer.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longest wait for the answer of one operation.
const OPERATION_MAX: Duration = Duration::from_secs(5);
/// Longest wait for bringing the tables up: other nodes that start may be doing it.
const OPEN_MAX: Duration = Duration::from_secs(600);
/// A process that stands still in a transaction would keep its locks from those that take over what
/// it had under way: the server ends such a transaction before the process is taken for dead.
pub(crate) const IDLE_BOUND: &str = "SET LOCAL idle_in_transaction_session_timeout = '8s'";
/// How often an operation is done in all, if other transactions are in the way.
const TRIES_MAX: u32 = 5;
/// Longest pause between two of them; a random part of it is waited.
const CONFLICT_PAUSE_MS_MAX: u64 = 20;

/// What of the database is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostgresParts {
    /// What nodes share; their queues are elsewhere.
    Shared,
    /// The queue too.
    Whole,
}

/// Whether tables are made and brought to this program's version, or read as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// Made and brought up: for a gateway.
    Migrate,
    /// Read as they are; another version is refused: for the command line.
    AsIs,
    /// Looked at only; none and older ones will do: for a check before the gateway starts.
    Look,
}

/// Parameters of a statement, each with its type: a statement with all types known takes one round
/// trip and leaves nothing behind, as a pooler in transaction mode needs it.
pub(crate) type Params<'a> = &'a [(&'a (dyn ToSql + Sync), Type)];

/// What is done in a transaction.
pub(crate) type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>>;

/// A database that is open.
pub(crate) struct Database {
    pool: Pool,
    /// One connection for what must not wait for others: telling that this process lives. Those of
    /// `pool` stand in for it.
    apart: Pool,
    pub(crate) key: AddressKey,
    metrics: Metrics,
    is_away: AtomicBool,
    /// Most connections in use at once since the last [`Database::trim`].
    busiest: AtomicUsize,
}

impl Database {
    /// Connects, refuses a server that would lose mail, and brings the tables of `parts` up.
    ///
    /// # Errors
    /// If the server cannot be reached or is refused, its tables are newer than this program, were
    /// written with another address key or by another cluster, or are half of a store that is being
    /// moved. The text is for the operator.
    pub(crate) async fn open(
        settings: &PostgresSettings,
        parts: PostgresParts,
        opening: Opening,
        registry: &Registry,
    ) -> Result<Self, StoreError> {
        let owner = Owner::of(settings);
        let database = Self::open_as(owner, settings, (parts, opening), registry).await?;
        let client = database.connection().await?;
        migrate::refuse_moved(&**client, opening).await?;
        drop(client);
        Ok(database)
    }

    /// As [`Database::open`], for who moves a store: also half of one, whatever its cluster.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub(super) async fn open_any(
        settings: &PostgresSettings,
        parts: PostgresParts,
        opening: Opening,
        registry: &Registry,
    ) -> Result<Self, StoreError> {
        let owner = Owner {
            cluster: None,
            ..Owner::of(settings)
        };
        Self::open_as(owner, settings, (parts, opening), registry).await
    }

    async fn open_as(
        owner: Owner<'_>,
        settings: &PostgresSettings,
        (parts, opening): (PostgresParts, Opening),
        registry: &Registry,
    ) -> Result<Self, StoreError> {
        let database = Self {
            pool: pool(settings, settings.pool)?,
            apart: pool(settings, 1)?,
            key: settings.key.clone(),
            metrics: Metrics::new()?,
            is_away: AtomicBool::new(false),
            busiest: AtomicUsize::new(0),
        };
        let made = async {
            let mut client = database.pool.get().await?;
            server::refuse_unsafe(&client).await?;
            schema::bring_up(&mut client, parts, opening, owner).await
        };
        let begun = Instant::now();
        let opened = match timeout(OPEN_MAX, made).await {
            Ok(result) => result.map_err(StoreError::from),
            Err(_) => Err(late().into()),
        };
        database
            .metrics
            .note(Operation::Open, begun.elapsed(), &opened);
        opened?;
        database.register(registry)?;
        Ok(database)
    }

    /// Runs one statement and returns its rows.
    ///
    /// # Errors
    /// If it was not done. After `Unavailable` it may have been done all the same.
    pub(crate) async fn rows(
        &self,
        operation: Operation,
        sql: &str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        let act = || -> Work<'_, Vec<Row>> {
            Box::pin(async move {
                let client = self.connection().await?;
                Ok(client.query_typed(sql, params).await?)
            })
        };
        self.tried(operation, act).await
    }

    /// Runs one statement and returns how many rows it changed.
    ///
    /// # Errors
    /// As [`Database::rows`].
    pub(crate) async fn execute(
        &self,
        operation: Operation,
        sql: &str,
        params: Params<'_>,
    ) -> Result<u64, StoreError> {
        let act = || -> Work<'_, u64> {
            Box::pin(async move {
                let client = self.connection().await?;
                Ok(client.execute_typed(sql, params).await?)
            })
        };
        self.tried(operation, act).await
    }

    /// Runs one statement on a connection that is kept for such: it waits for no other. If that one
    /// fails, on one of the pool: it may be done twice. How many rows it changed.
    ///
    /// # Errors
    /// As [`Database::rows`], and if each way takes longer than given.
    pub(crate) async fn execute_apart(
        &self,
        operation: Operation,
        sql: &str,
        (params, within): (Params<'_>, Duration),
    ) -> Result<u64, StoreError> {
        if let Ok(changed) = self.only_apart(operation, sql, (params, within)).await {
            return Ok(changed);
        }
        let pooled = timeout(within, self.execute(operation, sql, params));
        pooled.await.unwrap_or_else(|_| Err(late().into()))
    }

    async fn only_apart(
        &self,
        operation: Operation,
        sql: &str,
        (params, within): (Params<'_>, Duration),
    ) -> Result<u64, StoreError> {
        let begun = Instant::now();
        let mut given_up = None;
        let done = timeout(within, async {
            let client = given_up.insert(self.apart.get().await?);
            Ok::<_, Fault>(client.execute_typed(sql, params).await?)
        });
        let result = done.await.unwrap_or_else(|_| Err(late()));
        if let (Err(_), Some(client)) = (&result, given_up.take()) {
            // Its answer may never come: the next one gets a new connection.
            drop(deadpool_postgres::Object::take(client));
        }
        let result = result.map_err(StoreError::from);
        self.metrics.note(operation, begun.elapsed(), &result);
        result
    }

    /// Runs several statements in one transaction. `work` is given what it needs as `given`, and
    /// runs again from the start where another transaction was in the way.
    ///
    /// # Errors
    /// As [`Database::rows`]; nothing of it was kept, but after `Unavailable` all may have been.
    pub(crate) async fn transaction<A, T, F>(
        &self,
        operation: Operation,
        given: &A,
        work: F,
    ) -> Result<T, StoreError>
    where
        A: Sync,
        T: Send,
        F: for<'t> Fn(&'t Transaction<'t>, &'t A) -> Work<'t, T> + Sync,
    {
        let (this, work) = (self, &work);
        let act = || -> Work<'_, T> {
            Box::pin(async move {
                let mut client = this.connection().await?;
                let tx = client.transaction().await?;
                let (bounded, done) = tokio::join!(tx.batch_execute(IDLE_BOUND), work(&tx, given));
                bounded?;
                let done = done?;
                tx.commit().await?;
                Ok(done)
            })
        };
        self.tried(operation, act).await
    }

    /// Shows its metrics.
    ///
    /// # Errors
    /// If a registry has some of their names already.
    pub(crate) fn register(&self, registry: &Registry) -> Result<(), StoreError> {
        self.metrics.register(registry)
    }

    /// Counts leases of dead nodes that this one took over.
    pub(crate) fn count_taken_over(&self, leases: u64) {
        self.metrics.taken_over.inc_by(leases);
    }

    /// Whether the last operation had no answer.
    pub(crate) fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }

    /// Lets go of connections that were not needed since the last call: on a server that allows
    /// too few, another node may have none.
    pub(crate) fn trim(&self) {
        let needed = self.busiest.swap(0, Ordering::Relaxed).max(1);
        let mut surplus = self.pool.status().size.saturating_sub(needed);
        let trimmed = self.pool.retain(|_, _| {
            let is_kept = surplus == 0;
            surplus = surplus.saturating_sub(1);
            is_kept
        });
        drop(trimmed);
        self.count_connections();
    }

    /// Takes nothing more in.
    pub(crate) fn close(&self) {
        self.pool.close();
        self.apart.close();
    }

    /// A connection of the pool.
    ///
    /// # Errors
    /// If there is none in time.
    pub(crate) async fn connection(&self) -> Result<deadpool_postgres::Client, Fault> {
        let status = self.pool.status();
        if status.available == 0 && status.size >= status.max_size {
            self.metrics.waits.inc();
        }
        let client = self.pool.get().await;
        self.count_connections();
        Ok(client?)
    }

    /// Does it within its time, and again where another transaction was in the way.
    pub(crate) async fn tried<'a, T>(
        &self,
        operation: Operation,
        act: impl Fn() -> Work<'a, T>,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let mut tries = 1;
        let result = loop {
            // An operation that is given up is answered to nobody; its connection goes on with
            // the next one only after the answer.
            let done = timeout(CONNECT_MAX + OPERATION_MAX, act()).await;
            match done.unwrap_or_else(|_| Err(late())) {
                Err(Fault::Conflict) if tries < TRIES_MAX => {
                    tries += 1;
                    self.metrics.conflicts.inc();
                    tokio::time::sleep(pause()).await;
                }
                result => break result.map_err(StoreError::from),
            }
        };
        let is_away = matches!(result, Err(StoreError::Unavailable(_)));
        self.is_away.store(is_away, Ordering::Relaxed);
        self.metrics.note(operation, begun.elapsed(), &result);
        self.count_connections();
        result
    }

    fn count_connections(&self) {
        let status = self.pool.status();
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let in_use = status.size.saturating_sub(status.available);
        self.busiest.fetch_max(in_use, Ordering::Relaxed);
        self.metrics.connections.set(number(status.size));
        self.metrics.in_use.set(number(in_use));
    }
}

fn pause() -> Duration {
    Duration::from_millis(rand::rng().random_range(1..=CONFLICT_PAUSE_MS_MAX))
}

fn pool(settings: &PostgresSettings, connections: usize) -> Result<Pool, StoreError> {
    let mut target = settings.target.clone();
    target
        .application_name("malote")
        .connect_timeout(CONNECT_MAX)
        .keepalives_idle(Duration::from_secs(30))
        .tcp_user_timeout(CONNECT_MAX + OPERATION_MAX);
    if target.get_hosts().len() > 1 {
        target.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    let is_local = |host: &Host| matches!(host, Host::Unix(_));
    let is_clear = settings.tls == PostgresTls::None || target.get_hosts().iter().all(is_local);
    let recycling = ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    };
    let manager = if is_clear {
        target.ssl_mode(SslMode::Disable);
        Manager::from_config(target, NoTls, recycling)
    } else {
        target.ssl_mode(SslMode::Require);
        let connect = MakeRustlsConnect::new(tls::client(settings)?);
        Manager::from_config(target, connect, recycling)
    };
    Pool::builder(manager)
        .max_size(connections)
        .wait_timeout(Some(CONNECT_MAX))
        .create_timeout(Some(CONNECT_MAX))
        .recycle_timeout(Some(CONNECT_MAX))
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| StoreError::Engine(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::tests::cluster::Cluster;

    #[tokio::test]
    async fn what_has_a_connection_of_its_own_goes_by_the_pool_without_it() {
        let tables = Cluster::of_all().database().await;
        let (settings, registry) = (tables.settings(), Registry::new());
        let (parts, opening) = (PostgresParts::Shared, Opening::Migrate);
        let database = Database::open(&settings, parts, opening, &registry);
        let database = database.await.unwrap();
        let sql = "UPDATE malote.meta SET value = value WHERE key = $1";
        let name: &str = "cluster";
        let params: Params<'_> = &[(&name, Type::TEXT)];
        let once = async || {
            let given = (params, OPERATION_MAX);
            database.execute_apart(Operation::Session, sql, given).await
        };
        assert_eq!(once().await, Ok(1));
        assert_eq!(database.pool.status().size, 1, "it was the one apart");
        database.apart.close();
        assert_eq!(once().await, Ok(1));
        database.pool.close();
        assert_eq!(once().await, Err(StoreError::Closed));
    }
}
