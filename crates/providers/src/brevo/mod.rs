//! Brevo: messages taken apart into the fields of its transactional API.

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

pub(crate) use config::BrevoConfig;
pub(crate) use errors::DOCUMENTED;
pub(crate) use webhook::parser as webhook_parser;

use crate::{Adapter, ProviderConfig, api};

/// Builds the adapter of `[providers.NAME.brevo]`.
pub(crate) fn build(
    name: &ProviderName,
    table: &BrevoConfig,
    config: &ProviderConfig,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Adapter> {
    let settings = table.check(&format!("providers.{name}"), faults);
    let service = send::Brevo::new(settings?);
    api::adapter_with_list(name, service, config, clock, faults)
}
