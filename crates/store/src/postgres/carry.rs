//! What a node's own store knew, carried over to the database that takes its place.

use tokio_postgres::types::Type;

use crate::postgres::columns::signed;
use crate::postgres::metrics::Operation;
use crate::postgres::shared_engine::PostgresShared;
use crate::sqlite::Spent;
use crate::{Shared, SqliteStore, StoreError, SuppressedAddress, SuppressionQuery};

/// Suppressions, or returns, carried at once.
const PAGE: u32 = 1_000;

/// What was carried over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Carried {
    /// Suppressions.
    pub suppressions: u64,
    /// Returns of who had unsubscribed.
    pub returns: u64,
    /// Both of erased addresses that stay behind: they are known by a hash under the key of the store,
    /// which finds nobody under another key.
    pub erased_left: u64,
}

impl PostgresShared {
    /// Carries suppressions, returns, switches, quotas and warm-up of a node's own store over, once for
    /// each store: what is lifted here later stays lifted. Returns what there was.
    /// Soft bounces stay behind, since they are counted under a hash of the store's own key.
    ///
    /// # Errors
    /// If the store cannot be read or the database not be written; the next start goes on.
    pub async fn carry_over(&self, store: &SqliteStore) -> Result<Carried, StoreError> {
        let mark = format!("carried over {}", store.fingerprint());
        let sql = "SELECT 1 FROM malote.meta WHERE key = $1";
        let params = [(&mark as _, Type::TEXT)];
        let database = self.writing()?;
        let marked = database.rows(Operation::Open, sql, &params).await?;
        if !marked.is_empty() {
            return Ok(Carried::default());
        }
        for switch in store.switches().await? {
            self.set_switch(switch, true).await?;
        }
        let mut carried = Carried::default();
        self.carry_suppressions(store, &mut carried).await?;
        self.carry_returns(store, &mut carried).await?;
        self.carry_spent(&mark, store.spent().await?).await?;
        Ok(carried)
    }

    /// Whether what the store knows of this address is found here.
    fn is_found(
        &self,
        store: &SqliteStore,
        address: &SuppressedAddress,
    ) -> Result<bool, StoreError> {
        let own = self.writing()?.key.fingerprint_text();
        Ok(address.known().is_some() || store.fingerprint() == own)
    }

    async fn carry_suppressions(
        &self,
        store: &SqliteStore,
        carried: &mut Carried,
    ) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let query = SuppressionQuery {
                after,
                limit: PAGE,
                ..SuppressionQuery::default()
            };
            let page = store.suppressions(&query).await?;
            let is_last = page.len() < PAGE as usize;
            after = page
                .last()
                .map(|one| (one.address.clone(), one.scope.clone()));
            let mut found = Vec::with_capacity(page.len());
            for entry in page {
                match self.is_found(store, &entry.address)? {
                    true => found.push(entry),
                    false => carried.erased_left += 1,
                }
            }
            carried.suppressions += found.len() as u64;
            self.suppress(found).await?;
            if is_last {
                return Ok(());
            }
        }
    }

    /// Without its return, a late unsubscribe from before it would stop an address again.
    async fn carry_returns(
        &self,
        store: &SqliteStore,
        carried: &mut Carried,
    ) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = store.returns(after, PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            after = page.last().map(|(hash, _)| *hash);
            let mut found = Vec::with_capacity(page.len());
            for (_, one) in page {
                match self.is_found(store, &one.address)? {
                    true => found.push(one),
                    false => carried.erased_left += 1,
                }
            }
            carried.returns += found.len() as u64;
            self.lift_unsubscribes(found).await?;
            if is_last {
                return Ok(());
            }
        }
    }

    /// Adds what this node has spent of quotas, and leaves the mark, in one transaction: spent
    /// twice would be sent less.
    async fn carry_spent(&self, mark: &str, spent: Spent) -> Result<(), StoreError> {
        let given = (mark, spent);
        self.writing()?
            .transaction(Operation::Open, &given, |tx, (mark, spent)| {
                Box::pin(async move {
                    let sql = "INSERT INTO malote.meta (key, value) VALUES ($1, ''::bytea)
                               ON CONFLICT (key) DO NOTHING";
                    if tx.execute_typed(sql, &[(mark, Type::TEXT)]).await? == 0 {
                        return Ok(());
                    }
                    for (account, hour, used) in &spent.quotas {
                        tx.execute_typed(
                            "INSERT INTO malote.quotas AS q (account, hour, used)
                             VALUES ($1, $2, $3)
                             ON CONFLICT (account, hour) DO UPDATE SET used = q.used + $3",
                            &[
                                (account, Type::TEXT),
                                (hour, Type::INT8),
                                (used, Type::INT8),
                            ],
                        )
                        .await?;
                    }
                    for (account, record) in &spent.warmups {
                        tx.execute_typed(
                            "INSERT INTO malote.warmups (account, day, cap, used)
                             VALUES ($1, $2, $3, $4) ON CONFLICT (account) DO NOTHING",
                            &[
                                (account, Type::TEXT),
                                (&record.day.to_string(), Type::TEXT),
                                (&signed(record.cap), Type::INT8),
                                (&signed(record.used), Type::INT8),
                            ],
                        )
                        .await?;
                    }
                    Ok(())
                })
            })
            .await
    }
}
