//! Erasing a recipient: what waits is taken back first, then every trace becomes a keyed hash.

use malote_core::address::EmailAddress;
use malote_store::{Erased, Erasing, QueueFilter, StoreError};

use crate::engine::Engine;

/// What an erasure came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErasedRecipient {
    /// Deliveries taken back before they left.
    pub cancelled: u64,
    /// What was erased from mail and timelines.
    pub mail: Erased,
    /// Suppressions that keep a hash only.
    pub suppressions: u64,
    /// The hash that stands for the address in deliveries.
    pub hash: [u8; 16],
}

impl Engine {
    /// Erases a recipient, or counts what an erasure would reach. What is on its way to a provider
    /// at this moment is left and counted: the same call a little later does the rest.
    ///
    /// # Errors
    /// If it cannot be written; then parts of it may be erased, and the same call does the rest.
    pub async fn erase(
        &self,
        address: &EmailAddress,
        erasing: Erasing,
    ) -> Result<ErasedRecipient, StoreError> {
        let filter = QueueFilter {
            recipient: Some(address.clone()),
            ..QueueFilter::default()
        };
        let cancelled = match erasing {
            Erasing::Count => 0,
            Erasing::Erase => self.cancel_all(&filter).await?.len() as u64,
        };
        let mail = self.spool.erase(address, erasing).await?;
        let suppressions = self.shared.erase_suppressions(address, erasing).await?;
        Ok(ErasedRecipient {
            cancelled,
            mail,
            suppressions,
            hash: self.spool.recipient_hash(address),
        })
    }

    /// The address of a hash that an erasure would write, if mail to it is still kept.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn recipient_of(&self, hash: [u8; 16]) -> Result<Option<EmailAddress>, StoreError> {
        self.spool.recipient_of(hash).await
    }
}
