//! One folder per provider: send, classify, webhook.
//!
//! To add one: a folder, its module and branch here, its table and its entry in `KINDS` in
//! [`config`], and its answers in `documented`. A service with one HTTP call a message implements
//! `api::Service`; `docs/ARCHITECTURE.md`, "To add a provider", has the rest.

mod api;
mod bounce;
mod brevo;
mod capture;
#[cfg(test)]
mod certificates;
pub mod config;
mod correlation;
mod dkim;
mod documented;
mod echo;
mod elasticemail;
mod http;
mod lists;
mod mailgun;
mod mailjet;
mod mailtrap;
mod origin;
mod parts;
mod postal;
mod postmark;
mod records;
mod reencode;
mod resend;
mod sendgrid;
mod ses;
mod settings;
mod single_flight;
mod smtp;
mod smtp2go;
mod sparkpost;
#[cfg(test)]
mod tests;
mod webhook;
mod words;

use std::sync::Arc;

use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use malote_core::provider::Provider;
use malote_core::service_list::ServiceList;
use malote_core::webhook::WebhookParser;

pub use documented::{Documented, documented, documented_names};

pub use dkim::{DkimConfig, DkimKeyConfig, DkimKeys, DkimRecord, signing};

pub use config::{PoolConfig, ProviderConfig, WebhookConfig};
pub use origin::Origin;
pub use smtp::MailReader;

/// A provider ready for use. Clones share what it holds: connections, tokens, certificates.
#[derive(Clone)]
pub struct Adapter {
    /// Sends.
    pub provider: Arc<dyn Provider>,
    /// Reads the service's webhooks, if it has any and `[providers.X.webhook]` is given. It belongs
    /// to the service, not to the way mail goes there: [`build`] adds it, no kind does.
    pub webhook: Option<Arc<dyn WebhookParser>>,
    /// The service's own suppression list, if it has one that can be asked. It belongs to the
    /// service, too: where mail goes by SMTP, the list is asked by the API with the same key.
    pub list: Option<Arc<dyn ServiceList>>,
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
    let webhook = webhook::build(name, config, clock, faults);
    let adapter = build_kind(name, config, clock, faults)?;
    Some(Adapter {
        webhook: webhook.ok()?,
        ..adapter
    })
}

fn build_kind(
    name: &ProviderName,
    config: &ProviderConfig,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Adapter> {
    let mut build = None;
    if let Some(ses) = &config.ses {
        build = ses::build(name, ses, config, clock, faults);
    } else if let Some(mailgun) = &config.mailgun {
        build = mailgun::build(name, mailgun, config, clock, faults);
    } else if let Some(sparkpost) = &config.sparkpost {
        build = sparkpost::build(name, sparkpost, config, clock, faults);
    } else if let Some(elasticemail) = &config.elasticemail {
        build = elasticemail::build(name, elasticemail, config, clock, faults);
    } else if let Some(postmark) = &config.postmark {
        build = postmark::build(name, postmark, config, clock, faults);
    } else if let Some(sendgrid) = &config.sendgrid {
        build = sendgrid::build(name, sendgrid, config, clock, faults);
    } else if let Some(mailtrap) = &config.mailtrap {
        build = mailtrap::build(name, mailtrap, config, clock, faults);
    } else if let Some(mailjet) = &config.mailjet {
        build = mailjet::build(name, mailjet, config, clock, faults);
    } else if let Some(brevo) = &config.brevo {
        build = brevo::build(name, brevo, config, clock, faults);
    } else if let Some(resend) = &config.resend {
        build = resend::build(name, resend, config, clock, faults);
    } else if let Some(smtp2go) = &config.smtp2go {
        build = smtp2go::build(name, smtp2go, config, clock, faults);
    } else if let Some(postal) = &config.postal {
        build = postal::build(name, postal, config, clock, faults);
    } else if let Some(smtp) = &config.smtp {
        build = smtp::build(name, smtp, config, clock, faults);
    } else if let Some(capture) = &config.capture {
        build = capture::build(name, capture, config, clock, faults);
    }
    build
}
