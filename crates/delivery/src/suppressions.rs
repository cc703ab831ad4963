//! Suppressions by hand, by an app and in bulk; those that providers' events ask for are made in
//! `feedback.rs`.

use async_trait::async_trait;
use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_core::ledger::LedgerFault;
use malote_core::stream::Class;
use malote_core::suppression::{Put, SuppressionQuery, Suppressions};
use malote_store::{Shared, StoreError, Suppression, SuppressionScope};

use crate::engine::Engine;
use crate::ledger::fault;

impl Engine {
    /// Suppresses addresses, all of them or none, since now at the latest: what began later would
    /// pass for a later word than all that is told until then.
    ///
    /// # Errors
    /// If they cannot be written.
    pub async fn suppress_all(&self, mut entries: Vec<Suppression>) -> Result<(), StoreError> {
        let now = self.clock.now();
        for entry in &mut entries {
            entry.created_at = entry.created_at.min(now);
        }
        self.shared.suppress(entries.clone()).await?;
        self.metrics.suppress(&entries);
        Ok(())
    }

    /// See [`already_stand`].
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn already_stand(&self, entries: &[Suppression]) -> Result<Vec<bool>, StoreError> {
        already_stand(self.shared.as_ref(), entries, self.clock.now()).await
    }

    /// Lifts suppressions of an address, in one scope or all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn unsuppress(
        &self,
        address: &EmailAddress,
        scope: Option<&SuppressionScope>,
    ) -> Result<u64, StoreError> {
        self.shared.unsuppress(address, scope).await
    }

    /// What stops mail to this address in this scope now, however the address is spelt.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn suppression_in(
        &self,
        address: &EmailAddress,
        scope: SuppressionScope,
    ) -> Result<Option<Suppression>, StoreError> {
        let now = self.clock.now();
        let addresses = std::slice::from_ref(address);
        let found = self.shared.suppressed(addresses, &[scope], now).await?;
        Ok(found.into_iter().next().flatten())
    }

    /// Suppressions in the order of address and scope.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn suppressions(
        &self,
        query: &SuppressionQuery,
    ) -> Result<Vec<Suppression>, StoreError> {
        self.shared.suppressions(query).await
    }

    /// Every entry that stands for an address now, however it is spelt: global, then by stream.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn suppressions_of(
        &self,
        address: &EmailAddress,
    ) -> Result<Vec<Suppression>, StoreError> {
        let policy = self.policy();
        let streams = policy.streams.keys().cloned().map(SuppressionScope::Stream);
        let mut found = Vec::new();
        for scope in std::iter::once(SuppressionScope::Global).chain(streams) {
            found.extend(self.suppression_in(address, scope).await?);
        }
        Ok(found)
    }
}

/// For each entry, whether one stands already that stops as much for as long: in its scope, or a
/// global one. Of what was erased it is not known.
///
/// # Errors
/// If the store cannot be read.
pub async fn already_stand(
    shared: &dyn Shared,
    entries: &[Suppression],
    now: Timestamp,
) -> Result<Vec<bool>, StoreError> {
    let mut stands = vec![false; entries.len()];
    let mut scopes: Vec<SuppressionScope> = vec![SuppressionScope::Global];
    for entry in entries {
        if !scopes.contains(&entry.scope) {
            scopes.push(entry.scope.clone());
        }
    }
    for scope in scopes {
        let is_asked =
            |entry: &Suppression| scope == SuppressionScope::Global || scope == entry.scope;
        let asked = entries.iter().enumerate();
        let asked: Vec<(usize, EmailAddress)> = asked
            .filter(|(_, entry)| is_asked(entry))
            .filter_map(|(index, entry)| Some((index, entry.address.known()?.clone())))
            .collect();
        let (places, addresses): (Vec<usize>, Vec<EmailAddress>) = asked.into_iter().unzip();
        let found = shared.suppressed(&addresses, &[scope], now).await?;
        for (place, found) in places.into_iter().zip(found) {
            let lasts =
                found.is_some_and(|found| lasts(found.expires_at, entries[place].expires_at));
            stands[place] |= lasts;
        }
    }
    Ok(stands)
}

/// Whether what ends then lasts as long as what ends at `other`; `None` is never.
fn lasts(end: Option<Timestamp>, other: Option<Timestamp>) -> bool {
    match (end, other) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(end), Some(other)) => end >= other,
    }
}

#[async_trait]
impl Suppressions for Engine {
    async fn list(&self, query: &SuppressionQuery) -> Result<Vec<Suppression>, LedgerFault> {
        self.suppressions(query).await.map_err(fault)
    }

    async fn entries_of(&self, address: &EmailAddress) -> Result<Vec<Suppression>, LedgerFault> {
        self.suppressions_of(address).await.map_err(fault)
    }

    async fn put(&self, entry: Suppression) -> Result<Put, LedgerFault> {
        if let SuppressionScope::Stream(stream) = &entry.scope {
            match self.policy().streams.get(stream).map(|own| own.class) {
                None => return Err(LedgerFault::NotFound),
                Some(Class::Transactional) => return Ok(Put::WithoutEffect),
                Some(Class::Campaign) => {}
            }
        }
        let Some(address) = entry.address.known().cloned() else {
            return Err(LedgerFault::NotFound);
        };
        let scope = entry.scope.clone();
        let before = self.suppression_in(&address, scope.clone()).await;
        let before = before.map_err(fault)?;
        self.suppress_all(vec![entry]).await.map_err(fault)?;
        let stands = self.suppression_in(&address, scope).await.map_err(fault)?;
        Ok(match (before, stands) {
            (_, None) => Put::Outlived,
            (None, Some(stands)) => Put::Added(stands),
            (Some(_), Some(stands)) => Put::Stands(stands),
        })
    }

    async fn lift(
        &self,
        address: &EmailAddress,
        scopes: &[SuppressionScope],
    ) -> Result<u64, LedgerFault> {
        let mut lifted = 0;
        for scope in scopes {
            lifted += self.unsuppress(address, Some(scope)).await.map_err(fault)?;
        }
        Ok(lifted)
    }
}
