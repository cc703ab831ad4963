//! The port to what several nodes must agree on: quotas, warm-up, breakers, suppressions and
//! switches.

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::civil::Date;
use malote_core::address::EmailAddress;
use malote_core::name::{ProviderName, StreamName};
pub use malote_core::suppression::{
    SuppressedAddress, Suppression, SuppressionQuery, SuppressionReason, SuppressionScope,
};
use serde::{Deserialize, Serialize};

use crate::{Erasing, GuardBook, Nodes, StoreError};

/// Keeps what several nodes must agree on. Every write is durable when it returns.
#[async_trait]
pub trait Shared: GuardBook {
    /// Takes units out of a quota, never more than what is left of it. A unit taken is spent unless
    /// given back; callers take slices and keep what they do not use at once.
    ///
    /// # Errors
    /// If the grant cannot be written; then nothing was taken.
    async fn take_quota(&self, request: QuotaRequest) -> Result<QuotaGrant, StoreError>;

    /// Gives back units that were taken and not used.
    ///
    /// # Errors
    /// If it cannot be written.
    async fn give_back_quota(
        &self,
        account: &str,
        taken_at: Timestamp,
        units: u64,
    ) -> Result<(), StoreError>;

    /// Units taken from `account` since `since`, in hourly buckets.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn quota_used(&self, account: &str, since: Timestamp) -> Result<u64, StoreError>;

    /// How far the warm-up of `account` has come.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn warmup(&self, account: &str) -> Result<Option<WarmupRecord>, StoreError>;

    /// Notes how far it has come.
    ///
    /// # Errors
    /// If it cannot be written.
    async fn set_warmup(&self, account: &str, record: WarmupRecord) -> Result<(), StoreError>;

    /// All breakers that are not in their resting state.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn breakers(&self) -> Result<Vec<BreakerRecord>, StoreError>;

    /// Notes a breaker's state; `None` removes it (closed and at rest).
    ///
    /// # Errors
    /// If it cannot be written.
    async fn set_breaker(&self, key: &str, state: Option<String>) -> Result<(), StoreError>;

    /// For each address, the suppression that stops it in `scopes`, if any.
    ///
    /// # Errors
    /// If the store cannot be read: then nothing may be sent.
    async fn suppressed(
        &self,
        addresses: &[EmailAddress],
        scopes: &[SuppressionScope],
        now: Timestamp,
    ) -> Result<Vec<Option<Suppression>>, StoreError>;

    /// Suppresses addresses. An entry of the same address and scope is replaced only by a longer
    /// lasting one. An unsubscribe from before its address came back
    /// ([`Shared::lift_unsubscribes`]) does not stand.
    ///
    /// # Errors
    /// The whole batch is kept or none of it.
    async fn suppress(&self, entries: Vec<Suppression>) -> Result<(), StoreError>;

    /// Lifts the suppression of an address in a scope, or in all of them. Returns how many went.
    ///
    /// # Errors
    /// If it cannot be written.
    async fn unsuppress(
        &self,
        address: &EmailAddress,
        scope: Option<&SuppressionScope>,
    ) -> Result<u64, StoreError>;

    /// Lifts suppressions whose reason is an unsubscribe, not later than the return of the address,
    /// and remembers the return where no other reason stands: of the two the later counts, in
    /// whichever order they are told.
    ///
    /// # Errors
    /// The whole batch is kept or none of it.
    async fn lift_unsubscribes(&self, returns: Vec<Return>) -> Result<(), StoreError>;

    /// Suppressions in the order of address and scope, expired ones among them until they are
    /// replaced or lifted.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn suppressions(&self, query: &SuppressionQuery) -> Result<Vec<Suppression>, StoreError>;

    /// Replaces an address by the keyed hash of its entry in every scope, and drops the entries'
    /// details: they still stop it. Returns how many there are.
    ///
    /// # Errors
    /// If it cannot be written.
    async fn erase_suppressions(
        &self,
        address: &EmailAddress,
        erasing: Erasing,
    ) -> Result<u64, StoreError>;

    /// Notes soft bounces, each event once, and returns for each how many its address had since
    /// `since`, the whole batch included.
    ///
    /// # Errors
    /// The whole batch is kept or none of it.
    async fn count_soft_bounces(
        &self,
        bounces: Vec<SoftBounce>,
        since: Timestamp,
    ) -> Result<Vec<u32>, StoreError>;

    /// The switches that an operator has set.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn switches(&self) -> Result<Vec<Switch>, StoreError>;

    /// Sets or clears a switch.
    ///
    /// # Errors
    /// If it cannot be written.
    async fn set_switch(&self, switch: Switch, is_on: bool) -> Result<(), StoreError>;

    /// What several nodes agree on at every moment; `None` where there is one node.
    fn nodes(&self) -> Option<&dyn Nodes> {
        None
    }
}

/// Beyond what a call needs, this part of what a quota leaves is granted at once. Two slices, one of
/// each class, are lost with a process that dies: at most a hundredth of what is left then.
pub const QUOTA_SHARES: u64 = 200;

/// A wish for units of a quota.
#[derive(Debug, Clone, PartialEq)]
pub struct QuotaRequest {
    /// Which: `ses`, or `ses/tx` for a pool's own.
    pub account: String,
    /// Units for a call that waits: granted as far as every window leaves them.
    pub need: u64,
    /// Units in all, at least `need`. What goes beyond that is for calls to come, and at most one
    /// of [`QUOTA_SHARES`] of what the windows leave.
    pub want: u64,
    /// Every window that must hold: its start and its cap. Each cap counts all units taken from
    /// the account since that start.
    pub windows: Vec<(Timestamp, u64)>,
    /// Now, by the caller's clock; the units are booked in this hour's bucket. An engine that
    /// several nodes share books by its own clock: it takes the difference of the two clocks off
    /// `now` and the windows' starts (off these only if it is more than a second), and `free_at`
    /// is by the caller's clock again. So a node with a wrong clock counts as the others do.
    pub now: Timestamp,
}

impl QuotaRequest {
    /// What is granted of what is left.
    pub(crate) fn granted_of(&self, left: u64) -> u64 {
        left.min(self.need.max(self.want.min(left / QUOTA_SHARES)))
    }
}

/// Somebody who wants mail again after an unsubscribe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Return {
    /// Whose.
    pub address: SuppressedAddress,
    /// Which mail.
    pub scope: SuppressionScope,
    /// When.
    pub at: Timestamp,
    /// Who says so, as [`Suppression::source`] does.
    pub source: String,
}

/// A full mailbox, or the like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoftBounce {
    /// Whose.
    pub address: EmailAddress,
    /// When, by the clock of who told.
    pub at: Timestamp,
    /// What tells the event from others of the address, and is the same when it is told again.
    pub event: String,
}

/// Units granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaGrant {
    /// How many, 0 to `want`.
    pub units: u64,
    /// When units will be free again, if fewer than needed were granted and it is known.
    pub free_at: Option<Timestamp>,
}

/// How far a warm-up has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmupRecord {
    /// The day that `cap` is for (UTC).
    pub day: Date,
    /// The cap of that day.
    pub cap: u64,
    /// Recipients sent that day.
    pub used: u64,
}

/// A breaker's state as the engine wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerRecord {
    /// Which breaker, by the engine's own key.
    pub key: String,
    /// Its state, by the engine's own writing.
    pub state: String,
}

/// Something that an operator switched off until further notice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// A stream is paused: accepted, not sent.
    StreamPaused(StreamName),
    /// A provider is paused: no new attempts.
    ProviderPaused(ProviderName),
    /// A provider is drained: no new attempts, those under way end.
    ProviderDrained(ProviderName),
}
