//! SendGrid: mail by SMTP as it is, or by `POST /v3/mail/send` taken apart into fields.

mod account;
mod classify;
mod config;
mod errors;
mod events;
mod message;
mod send;
#[cfg(test)]
mod tests;
mod webhook;

use std::sync::Arc;

use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;

pub(crate) use config::SendgridConfig;
pub(crate) use errors::DOCUMENTED;
pub(crate) use webhook::parser as webhook_parser;

use crate::settings::Transport;
use crate::smtp::{Native, Preset, build_native};
use crate::{Adapter, ProviderConfig, api};

/// Builds the adapter of `[providers.NAME.sendgrid]`.
pub(crate) fn build(
    name: &ProviderName,
    table: &SendgridConfig,
    config: &ProviderConfig,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Adapter> {
    match table.transport {
        Transport::Api => {
            let settings = table.check(name, config, faults)?;
            api::adapter(name, send::Sendgrid::new(settings), config, clock, faults)
        }
        Transport::Smtp => {
            let at = format!("providers.{name}.sendgrid");
            let password = table.check_for_smtp(name, config, faults)?;
            let native = Native {
                preset: Preset::Sendgrid,
                region: Some(table.region.as_str()),
                endpoint: table.endpoint.as_deref(),
                user: None,
                password,
            };
            build_native(name, &at, native, config, clock, faults)
        }
    }
}
