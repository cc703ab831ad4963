//! Amazon SES, API v2: `SendEmail` with raw content, and what `check` asks: account, identities,
//! configuration sets.

mod api;
mod event;
mod lookup;
mod sigv4;
mod suppressions;

pub(crate) use api::router;
pub(crate) use event::webhook;
