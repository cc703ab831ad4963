//! [`Shared`] on PostgreSQL: several nodes, one database.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_core::clock::Clock;
use prometheus::Registry;
use rand::RngCore;
use tokio::task::JoinHandle;

use crate::postgres::config::PostgresSettings;
use crate::postgres::database::{Database, Opening, PostgresParts};
use crate::postgres::filter::{Known, Refresher};
use crate::postgres::{breakers, quota, states, suppression, time};
use crate::words;
use crate::{
    BreakerRecord, Erasing, Nodes, QuotaGrant, QuotaRequest, Return, Shared, SoftBounce,
    StoreError, Suppression, SuppressionQuery, SuppressionScope, Switch, WarmupRecord,
};

/// What nodes share, in one PostgreSQL database. Clones share everything.
#[derive(Clone)]
pub struct PostgresShared {
    inner: Arc<Inner>,
}

struct Inner {
    database: Arc<Database>,
    known: Arc<Known>,
    clock: Arc<dyn Clock>,
    opening: Opening,
    /// Tells this process from all others.
    instance: [u8; 16],
    /// What keeps `known`; it ends with the last clone.
    refresher: Mutex<Option<JoinHandle<()>>>,
}

impl PostgresShared {
    /// Connects, makes the tables or brings them to this program's version, and learns which
    /// addresses are suppressed.
    ///
    /// # Errors
    /// If the server cannot be reached, would lose what it acknowledged, has newer tables, or
    /// tables written with another address key. The text is for the operator.
    pub async fn open(
        settings: &PostgresSettings,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Result<Self, StoreError> {
        let shared =
            Self::connect(settings, (Opening::Migrate, Arc::clone(&clock)), registry).await?;
        time::go_by(&shared.inner.database, &*clock).await?;
        shared.keep_learning().await
    }

    /// What nodes share, in a database that is open for more.
    pub(crate) fn over(database: Arc<Database>, clock: Arc<dyn Clock>, opening: Opening) -> Self {
        let mut instance = [0; 16];
        rand::rng().fill_bytes(&mut instance);
        Self {
            inner: Arc::new(Inner {
                database,
                known: Arc::new(Known::new()),
                clock,
                opening,
                instance,
                refresher: Mutex::new(None),
            }),
        }
    }

    /// Learns which addresses are suppressed, and goes on learning.
    ///
    /// # Errors
    /// If the database cannot be asked.
    pub(crate) async fn keep_learning(self) -> Result<Self, StoreError> {
        let inner = &self.inner;
        let mut refresher = Refresher::new(
            Arc::clone(&inner.database),
            Arc::clone(&inner.known),
            Arc::clone(&inner.clock),
        );
        refresher.refresh().await?;
        *inner.task() = Some(tokio::spawn(refresher.run()));
        Ok(self)
    }

    /// Opens what is there, to be read only: for the command line. Every method that writes
    /// answers an error.
    ///
    /// # Errors
    /// As [`PostgresShared::open`], and if there is nothing, or another version.
    pub async fn open_read_only(
        settings: &PostgresSettings,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Result<Self, StoreError> {
        Self::connect(settings, (Opening::AsIs, clock), registry).await
    }

    /// Connects and looks whether a gateway could start on the database; changes nothing.
    ///
    /// # Errors
    /// As [`PostgresShared::open`].
    pub async fn look_at(
        settings: &PostgresSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<(), StoreError> {
        let looked = Self::connect(settings, (Opening::Look, clock), &Registry::new()).await?;
        looked.close();
        Ok(())
    }

    async fn connect(
        settings: &PostgresSettings,
        (opening, clock): (Opening, Arc<dyn Clock>),
        registry: &Registry,
    ) -> Result<Self, StoreError> {
        let database = Database::open(settings, PostgresParts::Shared, opening, registry).await?;
        Ok(Self::over(Arc::new(database), clock, opening))
    }

    /// Takes nothing more in and lets go of the connections.
    pub fn close(&self) {
        self.inner.end_refresher();
        self.inner.database.close();
    }

    pub(super) fn instance(&self) -> &[u8; 16] {
        &self.inner.instance
    }

    /// What the machine's clock shows, whatever clock is gone by.
    pub(super) fn machine_time(&self) -> Timestamp {
        let clock = &self.inner.clock;
        clock
            .now()
            .checked_add(clock.machine_ahead())
            .unwrap_or(Timestamp::MAX)
    }

    pub(super) fn reading(&self) -> &Database {
        &self.inner.database
    }

    pub(super) fn writing(&self) -> Result<&Database, StoreError> {
        match self.inner.opening {
            Opening::Migrate => Ok(&self.inner.database),
            Opening::AsIs | Opening::Look => Err(StoreError::Engine(
                "the database was opened to be read only".into(),
            )),
        }
    }
}

impl Inner {
    fn task(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.refresher
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn end_refresher(&self) {
        if let Some(task) = self.task().take() {
            task.abort();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end_refresher();
    }
}

#[async_trait]
impl Shared for PostgresShared {
    async fn take_quota(&self, request: QuotaRequest) -> Result<QuotaGrant, StoreError> {
        quota::take(self.writing()?, &request, self.inner.clock.now()).await
    }

    async fn give_back_quota(
        &self,
        account: &str,
        taken_at: Timestamp,
        units: u64,
    ) -> Result<(), StoreError> {
        let times = (taken_at, self.inner.clock.now());
        quota::give_back(self.writing()?, account, times, units).await
    }

    async fn quota_used(&self, account: &str, since: Timestamp) -> Result<u64, StoreError> {
        let times = (since, self.inner.clock.now());
        quota::used(self.reading(), account, times).await
    }

    async fn warmup(&self, account: &str) -> Result<Option<WarmupRecord>, StoreError> {
        states::warmup(self.reading(), account).await
    }

    async fn set_warmup(&self, account: &str, record: WarmupRecord) -> Result<(), StoreError> {
        states::set_warmup(self.writing()?, account, record).await
    }

    async fn breakers(&self) -> Result<Vec<BreakerRecord>, StoreError> {
        breakers::all(self.reading()).await
    }

    async fn set_breaker(&self, key: &str, state: Option<String>) -> Result<(), StoreError> {
        breakers::set(self.writing()?, key, state.as_deref(), self.instance()).await
    }

    async fn suppressed(
        &self,
        addresses: &[EmailAddress],
        scopes: &[SuppressionScope],
        now: Timestamp,
    ) -> Result<Vec<Option<Suppression>>, StoreError> {
        let database = self.reading();
        if let Some(filter) = self.inner.known.trusted()
            && !words::may_stop(filter, &database.key, addresses, scopes)
        {
            return Ok(vec![None; addresses.len()]);
        }
        suppression::lookup(database, (addresses, scopes), now).await
    }

    async fn suppress(&self, entries: Vec<Suppression>) -> Result<(), StoreError> {
        let database = self.writing()?;
        let entries = suppression::by_hash(&database.key, entries);
        // Before the commit: whoever is told of them finds them.
        self.inner.known.add(entries.keys());
        suppression::suppress(database, &entries).await
    }

    async fn unsuppress(
        &self,
        address: &EmailAddress,
        scope: Option<&SuppressionScope>,
    ) -> Result<u64, StoreError> {
        suppression::unsuppress(self.writing()?, address, scope).await
    }

    async fn lift_unsubscribes(&self, returns: Vec<Return>) -> Result<(), StoreError> {
        suppression::lift_unsubscribes(self.writing()?, &returns).await
    }

    async fn suppressions(&self, query: &SuppressionQuery) -> Result<Vec<Suppression>, StoreError> {
        suppression::list(self.reading(), query).await
    }

    async fn erase_suppressions(
        &self,
        address: &EmailAddress,
        erasing: Erasing,
    ) -> Result<u64, StoreError> {
        let database = match erasing {
            Erasing::Count => self.reading(),
            Erasing::Erase => self.writing()?,
        };
        suppression::erase(database, address, erasing).await
    }

    async fn count_soft_bounces(
        &self,
        bounces: Vec<SoftBounce>,
        since: Timestamp,
    ) -> Result<Vec<u32>, StoreError> {
        suppression::count_soft_bounces(self.writing()?, &bounces, since).await
    }

    async fn switches(&self) -> Result<Vec<Switch>, StoreError> {
        states::switches(self.reading()).await
    }

    async fn set_switch(&self, switch: Switch, is_on: bool) -> Result<(), StoreError> {
        states::set_switch(self.writing()?, &switch, is_on).await
    }

    fn nodes(&self) -> Option<&dyn Nodes> {
        Some(self)
    }
}
