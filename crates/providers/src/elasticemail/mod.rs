//! Elastic Email: by SMTP as it is, or by `emails/transactional` as fields.

mod classify;
mod config;
mod errors;
mod events;
mod request;
mod service;
#[cfg(test)]
mod tests;
mod webhook;

use std::sync::Arc;

use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;

pub(crate) use config::ElasticEmailConfig;
pub(crate) use errors::DOCUMENTED;
pub(crate) use webhook::parser as webhook_parser;

use crate::api::adapter;
use crate::settings::Transport;
use crate::{Adapter, ProviderConfig};

/// Builds the adapter of `[providers.NAME.elasticemail]`.
pub(crate) fn build(
    name: &ProviderName,
    table: &ElasticEmailConfig,
    config: &ProviderConfig,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Adapter> {
    match table.transport {
        Transport::Smtp => table.by_smtp(name, config, clock, faults),
        Transport::Api => {
            let settings = table.check(name, config, faults)?;
            let service = service::ElasticEmail::new(settings);
            adapter(name, service, config, clock, faults)
        }
    }
}
