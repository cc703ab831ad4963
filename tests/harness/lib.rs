//! What the end-to-end tests stand on: the real program, simulated services, real clients, and
//! waiting with a deadline.

mod config;
mod dns;
mod gateway;
mod haproxy;
mod mail;
mod mautic;
mod peer;
mod postgres;
mod prometheus;
mod recorder;
mod rehearsal;
mod service;
mod shim;
mod smtp;
mod tls;
mod tools;
mod wait;
mod wire;
mod world;

pub use config::{Backends, Config, Doors, LOADTEST_KEY, MAUTIC_KEY, SHOP_KEY};
pub use dns::Dns;
pub use gateway::{Gateway, answered, program};
pub use haproxy::HaProxy;
pub use mail::{HeaderSet, MAUTIC_ROWS, text_message};
pub use mautic::{DncEntry, Mautic, MauticState};
pub use peer::{Answer, Peer, Request};
pub use postgres::{Postgres, postgres_tool};
pub use prometheus::{Door, Prometheus, dashboards, queries, read_by_rules};
pub use recorder::{Exchange, HttpMessage, Recorder};
pub use rehearsal::{WEBHOOK_SECRET, provider_tables, smtp_tables, webhook_path, webhook_table};
pub use service::Service;
pub use shim::Shim;
pub use smtp::{Reply, SmtpClient};
pub use tls::TlsFront;
pub use tools::{Outcome, free_port, free_ports, repository, run, tool};
pub use wait::eventually;
pub use wire::{Mood, Wire};
pub use world::World;
