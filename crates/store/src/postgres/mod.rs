//! The engine for several nodes: PostgreSQL, everything in the schema `malote`.
//!
//! [`database`] is the way to it: a pool, and statements that take one round trip each and leave
//! nothing in a session, so that a pooler in transaction mode may stand between. [`shared_engine`]
//! is [`Shared`](crate::Shared) on it.

mod breakers;
mod carry;
mod columns;
mod config;
mod database;
mod fault;
mod filter;
mod guard;
mod keys;
mod metrics;
mod migrate;
mod nodes;
mod quota;
mod schema;
mod server;
mod shared_engine;
mod spool;
mod states;
mod store;
mod suppression;
mod time;
mod tls;

#[cfg(test)]
pub(crate) mod tests;

pub use crate::postgres::carry::Carried;
pub use crate::postgres::config::{PostgresConfig, PostgresSettings, PostgresTls};
pub use crate::postgres::database::PostgresParts;
pub(crate) use crate::postgres::migrate::PostgresSide;
pub use crate::postgres::shared_engine::PostgresShared;
pub use crate::postgres::spool::PostgresSpool;
pub use crate::postgres::store::PostgresStore;
