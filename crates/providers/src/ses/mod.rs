//! Amazon SES: raw mail by API v2, credentials as AWS tools find them, events by SNS.

mod account;
mod certificate;
mod classify;
mod config;
mod credentials;
mod errors;
mod events;
mod inspect;
mod metadata;
mod profile;
mod records;
mod send;
mod sign;
mod sns;
mod suppressions;
#[cfg(test)]
mod tests;
mod webhook;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use malote_core::provider::Provider;

pub(crate) use classify::{Sent, addresses, message_rejected};
pub(crate) use config::{SesConfig, dns_suffix, is_region};
pub(crate) use errors::DOCUMENTED;
pub(crate) use send::email_tags;
pub(crate) use webhook::parser as webhook_parser;

use crate::http::HttpClients;
use crate::{Adapter, ProviderConfig};

/// Builds the adapter of `[providers.NAME.ses]`.
pub(crate) fn build(
    name: &ProviderName,
    table: &SesConfig,
    config: &ProviderConfig,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Adapter> {
    let at = format!("providers.{name}");
    let settings = table.check(&at, config, faults)?;
    let environment = credentials::Environment::read(|name| std::env::var(name).ok());
    let clients = HttpClients::new(config.speech(), &config.limits);
    let credentials = credentials::Credentials::new(table, &settings, &environment);
    let (clients, credentials) = match (clients, credentials) {
        (Ok(clients), Ok(credentials)) => (clients, credentials),
        (Err(error), _) | (_, Err(error)) => {
            faults.push(ConfigFault::error(
                at,
                format!("TLS cannot be set up: {error}"),
            ));
            return None;
        }
    };
    let provider = Arc::new(send::Ses {
        name: name.clone(),
        settings,
        credentials,
        clients,
        clock: Arc::clone(clock),
        capabilities: send::capabilities(),
        clock_ahead_s: AtomicI64::new(0),
    });
    Some(Adapter {
        provider: Arc::clone(&provider) as Arc<dyn Provider>,
        webhook: None,
        list: Some(provider),
    })
}
