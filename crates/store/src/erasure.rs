//! The port through which a recipient is erased (GDPR article 17, LGPD article 18).

use async_trait::async_trait;
use malote_core::address::EmailAddress;
use serde::{Deserialize, Serialize};

use crate::StoreError;

/// Whether to erase, or to tell what would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Erasing {
    /// Nothing is changed; the counts are those of an erasure now.
    Count,
    /// It is erased.
    Erase,
}

/// What was erased, or would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Erased {
    /// Deliveries that say a keyed hash where they said the address.
    pub deliveries: u64,
    /// Deliveries to it, and messages from it, that were left as they are, since they are on their
    /// way: to be repeated.
    pub under_way: u64,
    /// Bodies dropped at once.
    pub bodies: u64,
    /// Bodies that others still wait for: dropped as soon as their message is settled.
    pub bodies_later: u64,
    /// Texts in which the address was replaced: replies, reasons, details, metadata, unreadable
    /// parts of webhooks.
    pub texts: u64,
    /// Events of services, as they were told, that were dropped.
    pub raw_events: u64,
}

impl std::ops::AddAssign for Erased {
    fn add_assign(&mut self, other: Self) {
        self.deliveries += other.deliveries;
        self.under_way += other.under_way;
        self.bodies += other.bodies;
        self.bodies_later += other.bodies_later;
        self.texts += other.texts;
        self.raw_events += other.raw_events;
    }
}

/// Erases a recipient from mail and timelines. Suppressions are erased by
/// [`Shared::erase_suppressions`](crate::Shared::erase_suppressions).
#[async_trait]
pub trait Erasure: Send + Sync {
    /// Replaces an address, however it is spelt, by its keyed hash in every delivery to it that is
    /// settled, and in what is kept beside: events, attempts, metadata, unreadable parts. Drops
    /// what services told of those deliveries, and bodies: at once where the message is settled or
    /// has no other recipient, else as soon as it is settled; notices of failure that name it, too.
    /// Of settled messages that are from it the sender is erased likewise, and the body.
    /// Such a delivery is never sent again, and what a service tells of it later is not kept. It
    /// is written in parts; the same call again does the rest.
    ///
    /// # Errors
    /// If it cannot be written; then parts of it may be erased.
    async fn erase(&self, address: &EmailAddress, erasing: Erasing) -> Result<Erased, StoreError>;

    /// The keyed hash that stands for an address in an erased delivery.
    fn recipient_hash(&self, address: &EmailAddress) -> [u8; 16];

    /// The address of this hash, if a delivery still says it.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn recipient_of(&self, hash: [u8; 16]) -> Result<Option<EmailAddress>, StoreError>;
}
