//! Amazon SES, API v2: `SendEmail` with raw content, and `GetAccount`.

mod api;
mod event;
mod sigv4;

pub(crate) use api::router;
pub(crate) use event::webhook;
