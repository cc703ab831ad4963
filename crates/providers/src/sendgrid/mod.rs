//! SendGrid: mail by SMTP as it is, or by `POST /v3/mail/send` taken apart into fields.

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
use malote_core::service_list::ServiceList;

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
            api::adapter_with_list(name, send::Sendgrid::new(settings), config, clock, faults)
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
            let adapter = build_native(name, &at, native, config, clock, faults)?;
            let list = list(name, table, config, clock);
            Some(Adapter { list, ..adapter })
        }
    }
}

/// The list where mail goes by SMTP: asked by the API, if that is at its own address.
fn list(
    name: &ProviderName,
    table: &SendgridConfig,
    config: &ProviderConfig,
    clock: &Arc<dyn Clock>,
) -> Option<Arc<dyn ServiceList>> {
    if table.endpoint.is_some() {
        return None;
    }
    // What is wrong with the table is told already.
    let told = &mut Vec::new();
    let settings = table.check(name, config, told)?;
    let service = send::Sendgrid::new(settings);
    Some(api::connected(name, service, config, clock, told)?)
}
