//! Sockets in: the HTTP API, SMTP and the providers' webhooks.
//!
//! Nothing here decides where mail goes: what was authenticated, bounded and parsed is handed
//! to the ports of `malote-core`.

pub mod http;
mod net;
pub mod smtp;
mod tls;

pub use net::bind;
pub use tls::{ReloadingCertificate, TlsFault};
