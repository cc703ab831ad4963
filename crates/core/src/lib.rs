//! The words of the gateway and the ports between its crates.
//!
//! Nothing here opens a socket, a file or a database, and nothing reads the clock but
//! [`clock::SystemClock`]. Crates that never name each other meet through the ports in
//! [`intake`], [`ledger`], [`suppression`], [`subscription`], [`provider`], [`service_list`],
//! [`webhook`], [`returned`] and [`outlet`].

pub mod address;
pub mod clock;
pub mod control_field;
pub mod credential;
pub mod event;
pub mod fault;
pub mod feed;
pub mod guard;
pub mod id;
pub mod intake;
pub mod ledger;
pub mod limits;
pub mod message;
pub mod name;
pub mod outlet;
pub mod provider;
pub mod returned;
pub mod secret;
pub mod service_list;
pub mod stream;
pub mod subscription;
pub mod suppression;
pub mod ticket;
pub mod tracking;
pub mod units;
pub mod web;
pub mod webhook;
