//! [`Shared`] on SQLite: what each method hands to the writer or to a reader.

use async_trait::async_trait;
use jiff::Timestamp;
use malote_core::address::EmailAddress;

use crate::sqlite::{Load, SqliteStore, erase, quota, read_only, states, suppression};
use crate::words;
use crate::{
    BreakerRecord, Erasing, QuotaGrant, QuotaRequest, Return, Shared, SoftBounce, StoreError,
    Suppression, SuppressionQuery, SuppressionScope, Switch, WarmupRecord,
};

#[async_trait]
impl Shared for SqliteStore {
    async fn take_quota(&self, request: QuotaRequest) -> Result<QuotaGrant, StoreError> {
        self.write(Load::small(), move |tx| quota::take(tx, &request))
            .await
    }

    async fn give_back_quota(
        &self,
        account: &str,
        taken_at: Timestamp,
        units: u64,
    ) -> Result<(), StoreError> {
        let account = account.to_owned();
        self.write(Load::small(), move |tx| {
            quota::give_back(tx, &account, taken_at, units)
        })
        .await
    }

    async fn quota_used(&self, account: &str, since: Timestamp) -> Result<u64, StoreError> {
        let account = account.to_owned();
        self.read(move |conn| quota::used(conn, &account, since))
            .await
    }

    async fn warmup(&self, account: &str) -> Result<Option<WarmupRecord>, StoreError> {
        let account = account.to_owned();
        self.read(move |conn| states::warmup(conn, &account)).await
    }

    async fn set_warmup(&self, account: &str, record: WarmupRecord) -> Result<(), StoreError> {
        let account = account.to_owned();
        self.write(Load::small(), move |tx| {
            states::set_warmup(tx, &account, record)
        })
        .await
    }

    async fn breakers(&self) -> Result<Vec<BreakerRecord>, StoreError> {
        self.read(states::breakers).await
    }

    async fn set_breaker(&self, key: &str, state: Option<String>) -> Result<(), StoreError> {
        let key = key.to_owned();
        self.write(Load::small(), move |tx| {
            states::set_breaker(tx, &key, state.as_deref())
        })
        .await
    }

    async fn suppressed(
        &self,
        addresses: &[EmailAddress],
        scopes: &[SuppressionScope],
        now: Timestamp,
    ) -> Result<Vec<Option<Suppression>>, StoreError> {
        let key = self.inner.key.clone();
        if let Some(filter) = &self.inner.suppressed
            && !words::may_stop(filter, &key, addresses, scopes)
        {
            return Ok(vec![None; addresses.len()]);
        }
        let (addresses, scopes) = (addresses.to_vec(), scopes.to_vec());
        self.read(move |conn| suppression::lookup(conn, &key, (&addresses, &scopes), now))
            .await
    }

    async fn suppress(&self, entries: Vec<Suppression>) -> Result<(), StoreError> {
        let key = self.inner.key.clone();
        let filter = self.inner.suppressed.clone().ok_or_else(read_only)?;
        self.write(Load::of(entries.len()), move |tx| {
            suppression::suppress(tx, (&key, &filter), &entries)
        })
        .await
    }

    async fn unsuppress(
        &self,
        address: &EmailAddress,
        scope: Option<&SuppressionScope>,
    ) -> Result<u64, StoreError> {
        let key = self.inner.key.clone();
        let (address, scope) = (address.clone(), scope.cloned());
        self.write(Load::small(), move |tx| {
            suppression::unsuppress(tx, &key, &address, scope.as_ref())
        })
        .await
    }

    async fn lift_unsubscribes(&self, returns: Vec<Return>) -> Result<(), StoreError> {
        let key = self.inner.key.clone();
        self.write(Load::of(returns.len()), move |tx| {
            suppression::lift_unsubscribes(tx, &key, &returns)
        })
        .await
    }

    async fn suppressions(&self, query: &SuppressionQuery) -> Result<Vec<Suppression>, StoreError> {
        let query = query.clone();
        self.read(move |conn| suppression::list(conn, &query)).await
    }

    async fn erase_suppressions(
        &self,
        address: &EmailAddress,
        erasing: Erasing,
    ) -> Result<u64, StoreError> {
        let (key, address) = (self.inner.key.clone(), address.clone());
        self.write(Load::small(), move |tx| {
            erase::thoroughly(tx.conn, erasing, || {
                suppression::erase(tx.conn, &key, &address)
            })
        })
        .await
    }

    async fn count_soft_bounces(
        &self,
        bounces: Vec<SoftBounce>,
        since: Timestamp,
    ) -> Result<Vec<u32>, StoreError> {
        let key = self.inner.key.clone();
        self.write(Load::of(bounces.len()), move |tx| {
            suppression::count_soft_bounces(tx, &key, &bounces, since)
        })
        .await
    }

    async fn switches(&self) -> Result<Vec<Switch>, StoreError> {
        self.read(states::switches).await
    }

    async fn set_switch(&self, switch: Switch, is_on: bool) -> Result<(), StoreError> {
        self.write(Load::small(), move |tx| {
            states::set_switch(tx, &switch, is_on)
        })
        .await
    }
}
