//! Mailtrap: `api/send` of its two streams, as fields.

mod classify;
mod config;
mod errors;
mod events;
mod request;
mod service;
mod suppressions;
#[cfg(test)]
mod tests;
mod webhook;

use std::sync::Arc;

use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;

pub(crate) use config::MailtrapConfig;
pub(crate) use errors::DOCUMENTED;
pub(crate) use webhook::parser as webhook_parser;

use crate::api::adapter_with_list;
use crate::{Adapter, ProviderConfig};

/// Builds the adapter of `[providers.NAME.mailtrap]`.
pub(crate) fn build(
    name: &ProviderName,
    table: &MailtrapConfig,
    config: &ProviderConfig,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Adapter> {
    let settings = table.check(name, faults)?;
    let service = service::Mailtrap::new(settings);
    adapter_with_list(name, service, config, clock, faults)
}
