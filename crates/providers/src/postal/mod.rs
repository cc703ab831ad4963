//! Postal, a mail platform of one's own: raw mail with its envelope by `send/raw`.

mod classify;
mod config;
mod errors;
mod events;
mod key;
mod request;
mod service;
#[cfg(test)]
mod tests;
mod webhook;

use std::sync::Arc;

use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;

pub(crate) use config::PostalConfig;
pub(crate) use errors::DOCUMENTED;
pub(crate) use webhook::parser as webhook_parser;

use crate::api::adapter;
use crate::{Adapter, ProviderConfig};

/// Builds the adapter of `[providers.NAME.postal]`.
pub(crate) fn build(
    name: &ProviderName,
    table: &PostalConfig,
    config: &ProviderConfig,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Adapter> {
    let settings = table.check(name, faults);
    adapter(name, service::Postal::new(settings?), config, clock, faults)
}
