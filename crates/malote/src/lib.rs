//! The gateway's program as a library: configuration, wiring, command line and admin endpoints.

pub mod admin;
pub mod cli;
pub mod config;
pub mod demo;
mod listeners;
mod lists;
pub mod logging;
mod nodes;
mod place;
mod reload;
pub mod serve;
mod serving;
mod watch;
mod wiring;
