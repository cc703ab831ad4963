//! Resend: mail taken apart into fields, by `POST /emails`.

mod account;
mod classify;
mod config;
mod errors;
mod events;
mod message;
mod send;
mod suppressions;
#[cfg(test)]
mod tests;
mod webhook;

use std::sync::Arc;

use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;

pub(crate) use config::ResendConfig;
pub(crate) use errors::DOCUMENTED;
pub(crate) use webhook::parser as webhook_parser;

use crate::{Adapter, ProviderConfig, api};

/// Builds the adapter of `[providers.NAME.resend]`.
pub(crate) fn build(
    name: &ProviderName,
    table: &ResendConfig,
    config: &ProviderConfig,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Adapter> {
    let settings = table.check(&format!("providers.{name}.resend"), faults)?;
    api::adapter_with_list(name, send::Resend::new(settings), config, clock, faults)
}
