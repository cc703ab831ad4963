//! The port to idempotency keys that nodes with queues of their own have in common.

use std::time::Duration;

use async_trait::async_trait;
use malote_core::id::MessageId;
use malote_core::intake::RecipientStatus;
use malote_core::name::{CredentialName, StreamName};

use crate::StoreError;

/// Keeps who has an idempotency key, for a day by the clock of the database. A store is named by
/// its [`Spool::home`](crate::Spool::home).
#[async_trait]
pub trait KeyBook: Send + Sync {
    /// Reserves a key for a message that is about to go into a store. Until it is completed or
    /// released no other store gets it. A store that reserved it before and never said what became
    /// of it gets it again; its caller sees to it that it reserves no key twice at once.
    ///
    /// # Errors
    /// If the database cannot be asked. The key may have been reserved all the same.
    async fn reserve_key(&self, wish: &KeyWish) -> Result<KeyClaim, StoreError>;

    /// Says which messages went into `home` under keys that were reserved for it.
    ///
    /// # Errors
    /// If it cannot be written; they stay reserved.
    async fn complete_keys(&self, home: &str, keys: &[CompletedKey]) -> Result<(), StoreError>;

    /// Frees keys that were reserved for `home` and under which nothing went into it.
    ///
    /// # Errors
    /// If it cannot be written; they stay reserved.
    async fn release_keys(&self, home: &str, keys: &[OwnedKey]) -> Result<(), StoreError>;

    /// Keys that are reserved for `home`, neither completed nor released: the oldest, at most 500.
    ///
    /// # Errors
    /// If the database cannot be asked.
    async fn open_keys(&self, home: &str) -> Result<Vec<OwnedKey>, StoreError>;

    /// Forgets the processes of this name that do not live, and frees the keys that they reserved and
    /// never completed: an operator knows that they do not come back.
    ///
    /// # Errors
    /// If it cannot be written.
    async fn forget_node(&self, node: &str) -> Result<Forgotten, StoreError>;

    /// Drops keys that are older than a day, at most 2,000 of them. Returns how many.
    ///
    /// # Errors
    /// If it cannot be written.
    async fn expire_keys(&self) -> Result<u64, StoreError>;
}

/// What was forgotten of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten {
    /// Processes of its name.
    pub processes: u64,
    /// Keys that are free now.
    pub keys: u64,
}

/// A credential's key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnedKey {
    /// Whose.
    pub credential: CredentialName,
    /// The key.
    pub key: String,
}

/// A wish for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyWish {
    /// Which.
    pub key: OwnedKey,
    /// The store that its message would go into.
    pub home: String,
    /// SHA-256 of target and body; `None` if the body is not compared.
    pub fingerprint: Option<[u8; 32]>,
}

/// What became of a wish for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyClaim {
    /// It is reserved for the store that was named.
    Ours,
    /// It is another store's, which has not said what became of it.
    Held {
        /// The node that reserved it, if it is known yet.
        node: Option<String>,
        /// How long ago.
        age: Duration,
    },
    /// A message was accepted under it.
    Done(KeyRecord),
}

/// What a key stands for that another store completed: all that answering a repeat needs, and no
/// address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// The message.
    pub message: MessageId,
    /// As it was reserved with.
    pub fingerprint: Option<[u8; 32]>,
    /// The message's stream.
    pub stream: StreamName,
    /// What became of each recipient, in the order of the submission.
    pub statuses: Vec<RecipientStatus>,
}

/// A key under which a message was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedKey {
    /// Which.
    pub key: OwnedKey,
    /// The message.
    pub message: MessageId,
    /// The message's stream.
    pub stream: StreamName,
    /// What became of each recipient, in the order of the submission.
    pub statuses: Vec<RecipientStatus>,
}
