//! Elastic Email: by SMTP as it is, or by `emails/transactional` as fields.

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
use malote_core::service_list::ServiceList;

pub(crate) use config::ElasticEmailConfig;
pub(crate) use errors::DOCUMENTED;
pub(crate) use webhook::parser as webhook_parser;

use crate::api::{adapter_with_list, connected};
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
        Transport::Smtp => {
            let adapter = table.by_smtp(name, config, clock, faults)?;
            let list = list(name, table, config, clock);
            Some(Adapter { list, ..adapter })
        }
        Transport::Api => {
            let settings = table.check(name, config, faults)?;
            let service = service::ElasticEmail::new(settings);
            adapter_with_list(name, service, config, clock, faults)
        }
    }
}

/// The list where mail goes by SMTP: asked by the API, if that is at its own address and the key
/// is the account's, not the password of an SMTP user.
fn list(
    name: &ProviderName,
    table: &ElasticEmailConfig,
    config: &ProviderConfig,
    clock: &Arc<dyn Clock>,
) -> Option<Arc<dyn ServiceList>> {
    if table.endpoint.is_some() || table.user.is_some() {
        return None;
    }
    // What is wrong with the table is told already.
    let told = &mut Vec::new();
    let service = service::ElasticEmail::new(table.check(name, config, told)?);
    Some(connected(name, service, config, clock, told)?)
}
