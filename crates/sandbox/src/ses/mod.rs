//! Amazon SES, API v2: `SendEmail` with raw content, and `GetAccount`.

mod api;
mod sigv4;

pub(crate) use api::router;
