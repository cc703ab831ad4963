//! The HTTP door over real sockets, with fakes behind its ports.

mod api;
mod drain;
pub(crate) mod fakes;
mod reading;
mod suppressions;
mod transport;
mod unsubscribe;
mod webhooks;
