//! SMTP2GO: by SMTP as it is; by `email/mime` as it is where the message names all its recipients,
//! else by `email/send` as fields.

mod account;
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

pub(crate) use config::Smtp2goConfig;
pub(crate) use errors::DOCUMENTED;
pub(crate) use webhook::parser as webhook_parser;

use crate::api::adapter_with_list;
use crate::settings::Transport;
use crate::{Adapter, ProviderConfig};

/// Builds the adapter of `[providers.NAME.smtp2go]`.
pub(crate) fn build(
    name: &ProviderName,
    table: &Smtp2goConfig,
    config: &ProviderConfig,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Adapter> {
    match table.transport() {
        Transport::Smtp => table.by_smtp(name, config, clock, faults),
        Transport::Api => {
            let settings = table.check(name, faults)?;
            let service = service::Smtp2go::new(settings);
            adapter_with_list(name, service, config, clock, faults)
        }
    }
}
