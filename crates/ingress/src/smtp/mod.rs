//! Mail in by SMTP (RFC 5321, 6409): a session without I/O and the server around it.
//!
//! `session` turns octets into replies and steps; `connection` moves the octets and does the
//! steps; `server` accepts connections. Routing, streams and headers are the engine's business,
//! behind `malote_core::intake::Intake`.

mod auth;
mod body;
mod command;
mod config;
mod connection;
mod data;
mod door;
mod limits;
mod listener;
mod metrics;
mod network;
mod pace;
mod parameters;
mod path;
mod proxy;
mod reply;
mod server;
mod session;
mod stream;
mod trace;

pub use config::{AnonymousConfig, ListenerConfig, SmtpConfig, SmtpSettings, TlsMode};
pub use listener::{Listener, ListenerFault, Role};
pub use metrics::SmtpMetrics;
pub use server::{ReturnPorts, SmtpService, serve};
