//! Everything that must survive a crash: two traits, each with engines that pass one suite.
//!
//! [`Spool`] keeps messages, deliveries, attempts, events and idempotency records, as an
//! [`EventBook`] what is told of deliveries later, and as an [`Outbox`] what of the events has yet to
//! be told; [`Shared`] keeps what several nodes must agree
//! on: quotas, warm-up, breakers, suppressions and switches, and as a [`GuardBook`] what the
//! reputation guard counts. They are two because they scale differently.

mod address_key;
mod columns;
mod config;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod erasure;
mod event_book;
mod extra;
mod forward;
mod guard;
mod hash_filter;
mod key_book;
mod lease_order;
mod metrics;
mod migrate;
mod moving;
mod needle;
mod nodes;
mod order;
mod outbox;
mod postgres;
mod record;
mod settling;
mod shared;
mod spool;
mod sqlite;
mod suppression_merge;
mod words;

pub use config::SqliteConfig;
pub use erasure::{Erased, Erasing, Erasure};
pub use event_book::{Applied, EventBook, FirstTold, LastCall, Telling, UnreadRecord};
pub use guard::{GuardBook, GuardCount, GuardKey, GuardRecord, GuardState, GuardSum, GuardTally};
pub use key_book::{CompletedKey, Forgotten, KeyBook, KeyClaim, KeyRecord, KeyWish, OwnedKey};
pub use migrate::{Doing, Migration, Moved, Progress, Stage, Tally, Tell};
pub use nodes::{
    BreakerChanges, NodeRecord, NodeReport, NodeState, NodeWish, Nodes, Rate, RateGrant,
    RateRequest, Wished,
};
pub use outbox::{
    ABSENT_OUTLET_KEPT, Disabled, Enqueue, Enqueued, Outbox, OutboxRow, OutboxSettled, OutboxStep,
    OutletRecord,
};
pub use postgres::{
    Carried, PostgresConfig, PostgresParts, PostgresSettings, PostgresShared, PostgresSpool,
    PostgresStore, PostgresTls,
};
pub use record::{
    AcceptOutcome, AttemptOutcome, AttemptStart, EventRecord, IdempotencyRecord, Lane, LaneDepth,
    LaneId, Leased, LeasedMessage, MessageRecord, NewDelivery, NewMessage, NextStep, NodeSession,
    PendingAttempt, QueueFilter, QueueStats, Settlement, TakenOver,
};
pub use shared::{
    BreakerRecord, QUOTA_SHARES, QuotaGrant, QuotaRequest, Return, Shared, SoftBounce,
    SuppressedAddress, Suppression, SuppressionQuery, SuppressionReason, SuppressionScope, Switch,
    WarmupRecord,
};
pub use spool::{Spool, StoreError, TOLD_LOOKED_AT_MAX};
pub use sqlite::{BackupReport, OnFatal, RestoreReport, SqliteStore, restore, sqlite_address_key};
