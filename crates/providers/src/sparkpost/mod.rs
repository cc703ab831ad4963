//! SparkPost: raw mail by the Transmissions API.

mod account;
mod classify;
mod config;
mod errors;
mod events;
mod request;
mod send;
mod suppressions;
#[cfg(test)]
mod tests;
mod webhook;

use std::sync::Arc;

use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;

pub(crate) use config::SparkpostConfig;
pub(crate) use errors::DOCUMENTED;
pub(crate) use webhook::parser as webhook_parser;

use crate::{Adapter, ProviderConfig, api};

/// Builds the adapter of `[providers.NAME.sparkpost]`.
pub(crate) fn build(
    name: &ProviderName,
    table: &SparkpostConfig,
    config: &ProviderConfig,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Adapter> {
    let at = format!("providers.{name}");
    let settings = table.check(&at, config, faults);
    let service = send::Sparkpost::new(settings?);
    api::adapter_with_list(name, service, config, clock, faults)
}
