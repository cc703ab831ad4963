//! Mailgun: raw mail by `messages.mime`, events by signed webhooks.

mod classify;
mod config;
mod errors;
mod events;
mod form;
mod inspect;
mod send;
mod suppressions;
#[cfg(test)]
mod tests;
mod webhook;

use std::sync::Arc;

use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use malote_core::provider::Provider;

pub(crate) use config::MailgunConfig;
pub(crate) use errors::DOCUMENTED;
pub(crate) use form::{SUPPRESSED_HEADERS, TAGS_MAX, ascii_tag, variable_name};
pub(crate) use webhook::{hex_32, parser as webhook_parser, seconds};

use crate::http::HttpClients;
use crate::{Adapter, ProviderConfig};

/// Builds the adapter of `[providers.NAME.mailgun]`.
pub(crate) fn build(
    name: &ProviderName,
    table: &MailgunConfig,
    config: &ProviderConfig,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Adapter> {
    let at = format!("providers.{name}");
    let settings = table.check(&at, config, faults)?;
    let clients = match HttpClients::new(config.speech(), &config.limits) {
        Ok(clients) => clients,
        Err(error) => {
            faults.push(ConfigFault::error(
                at,
                format!("TLS cannot be set up: {error}"),
            ));
            return None;
        }
    };
    let provider = Arc::new(send::Mailgun {
        settings,
        clients,
        clock: Arc::clone(clock),
        capabilities: send::capabilities(),
    });
    Some(Adapter {
        provider: Arc::clone(&provider) as Arc<dyn Provider>,
        webhook: None,
        list: Some(provider),
    })
}
