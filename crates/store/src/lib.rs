//! Everything that must survive a crash: two traits, each with engines that pass one suite.
//!
//! [`Spool`] keeps messages, deliveries, attempts, events and idempotency records, and as an
//! [`Outbox`] what of the events has yet to be told; [`Shared`] keeps what several nodes must agree
//! on: quotas, warm-up, breakers, suppressions and switches, and as a [`GuardBook`] what the
//! reputation guard counts. They are two because they scale differently.

mod config;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod erasure;
mod guard;
mod metrics;
mod order;
mod outbox;
mod record;
mod shared;
mod spool;
mod sqlite;

pub use config::SqliteConfig;
pub use erasure::{Erased, Erasing, Erasure};

pub use guard::{GuardBook, GuardCount, GuardKey, GuardRecord, GuardState, GuardSum, GuardTally};
pub use outbox::{
    ABSENT_OUTLET_KEPT, Disabled, Enqueue, Enqueued, Outbox, OutboxRow, OutboxSettled, OutboxStep,
    OutletRecord,
};
pub use record::{
    AcceptOutcome, Applied, AttemptOutcome, AttemptStart, EventRecord, IdempotencyRecord, Lane,
    LaneDepth, LaneId, Leased, LeasedMessage, MessageRecord, NewDelivery, NewMessage, NextStep,
    NodeSession, PendingAttempt, QueueFilter, QueueStats, Settlement,
};
pub use shared::{
    BreakerRecord, QuotaGrant, QuotaRequest, Shared, SuppressedAddress, Suppression,
    SuppressionQuery, SuppressionReason, SuppressionScope, Switch, WarmupRecord,
};
pub use spool::{Spool, StoreError};
pub use sqlite::{BackupReport, OnFatal, RestoreReport, SqliteStore, restore};
