//! The engine: intake, dispatch, limits, breaker, retry and the consequences of events.
//!
//! It decides; adapters classify and the router plans. Pure decisions stand in [`step`],
//! [`breaker`], [`warmup`], [`header`] and [`dsn`]; what waits for a store or a provider stands
//! around them.

mod admission;
mod alert;
mod asked_fields;
mod attempt;
pub mod breaker;
mod bursts;
mod content;
mod counting;
mod departure;
mod dispatcher;
mod drain;
pub mod dsn;
mod engine;
mod erase;
mod feedback;
mod feedback_id;
mod forecast;
mod guard;
pub mod header;
mod health;
mod heir;
mod housekeeping;
mod idempotency;
mod intake;
mod keys;
mod ledger;
pub mod limits;
mod list_unsubscribe;
mod metrics;
mod mx;
mod notice;
mod operator;
mod outbox;
mod outcome;
mod panicked;
mod planning;
mod policy;
mod prepare;
pub mod progress;
mod recovery;
mod retry_budget;
mod returns;
mod settling;
mod spread;
pub mod step;
mod subscriptions;
mod suppressions;
pub mod warmup;
mod workers;

pub use alert::Alert;
pub use drain::DrainProgress;
pub use engine::{Engine, Parts};
pub use erase::ErasedRecipient;
pub use guard::{GuardRow, Resumed, guard_rows};
pub use health::Registry;
pub use metrics::{LAST_EVENT_METRIC, Metrics};
pub use mx::MxCache;
pub use operator::{Hypothesis, Resolution, TargetStatus};
pub use outbox::Replayed;
pub use policy::{Bounds, Policy, ProviderEntry, UnsubscribeLinks};
pub use suppressions::already_stand;
