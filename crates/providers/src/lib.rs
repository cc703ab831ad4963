//! One folder per provider: send, classify, webhook.
//!
//! To add one: a folder with `config.rs`, `send.rs`, `classify.rs` and `webhook.rs`, and three
//! lines here and in [`config`] (the module, the table, the entry in `KINDS`).

mod bounce;
mod capture;
pub mod config;
mod correlation;
mod http;
mod mailgun;
mod reencode;
mod ses;
mod settings;
mod single_flight;
mod smtp;

use std::sync::Arc;

use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use malote_core::provider::Provider;
use malote_core::webhook::WebhookParser;

pub use config::{PoolConfig, ProviderConfig, WebhookConfig};

/// A provider ready for use.
pub struct Adapter {
    /// Sends.
    pub provider: Arc<dyn Provider>,
    /// Reads the service's webhooks, if the kind has any and `[providers.X.webhook]` is given.
    pub webhook: Option<Arc<dyn WebhookParser>>,
}

/// Builds a provider from its table. Faults are added to `faults` with full paths
/// (`providers.NAME.…`); `None` only if one of them is an error. Connects to nothing.
pub fn build(
    name: &ProviderName,
    config: &ProviderConfig,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Adapter> {
    config.check_shape(name, faults);
    let mut build = None;
    if let Some(ses) = &config.ses {
        build = ses::build(name, ses, config, clock, faults);
    } else if let Some(mailgun) = &config.mailgun {
        build = mailgun::build(name, mailgun, config, clock, faults);
    } else if let Some(smtp) = &config.smtp {
        build = smtp::build(name, smtp, config, clock, faults);
    } else if let Some(capture) = &config.capture {
        build = capture::build(name, capture, config, clock, faults);
    }
    build
}
