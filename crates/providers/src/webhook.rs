//! `[providers.NAME.webhook]`: which services report by webhook, and what their readers share.

mod key;
pub(crate) mod reading;
#[cfg(test)]
pub(crate) mod rig;
pub(crate) mod secret;

use std::sync::Arc;

use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use malote_core::webhook::WebhookParser;

pub(crate) use key::public_key;
pub(crate) use secret::by_secret;

use crate::{
    ProviderConfig, WebhookConfig, brevo, elasticemail, mailgun, mailjet, mailtrap, postal,
    postmark, resend, sendgrid, ses, smtp2go, sparkpost,
};

/// Which form the ids of a service's messages have in our receipts: it depends on the way that its
/// mail goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ids {
    /// As its API answers them.
    Api,
    /// As its SMTP says them in a reply; where it says none, the message's own Message-ID.
    Smtp,
}

/// Makes a service's parser of its table; `None` if a fault is an error.
type Build = fn(
    &ProviderName,
    &WebhookConfig,
    &Arc<dyn Clock>,
    &mut Vec<ConfigFault>,
) -> Option<Arc<dyn WebhookParser>>;

/// [`Build`] of a service whose events name a message by several ids.
type BuildById = fn(
    &ProviderName,
    &WebhookConfig,
    Ids,
    &Arc<dyn Clock>,
    &mut Vec<ConfigFault>,
) -> Option<Arc<dyn WebhookParser>>;

enum Make {
    Parser(Build),
    ById(BuildById),
}

/// The services that report by webhook. Kinds and SMTP presets have the same names.
const SERVICES: [(&str, Make); 12] = [
    ("ses", Make::Parser(ses::webhook_parser)),
    ("mailgun", Make::Parser(mailgun::webhook_parser)),
    ("sendgrid", Make::Parser(sendgrid::webhook_parser)),
    ("postmark", Make::Parser(postmark::webhook_parser)),
    ("sparkpost", Make::Parser(sparkpost::webhook_parser)),
    ("elasticemail", Make::Parser(elasticemail::webhook_parser)),
    ("smtp2go", Make::Parser(smtp2go::webhook_parser)),
    ("postal", Make::ById(postal::webhook_parser)),
    ("brevo", Make::ById(brevo::webhook_parser)),
    ("resend", Make::Parser(resend::webhook_parser)),
    ("mailjet", Make::ById(mailjet::webhook_parser)),
    ("mailtrap", Make::Parser(mailtrap::webhook_parser)),
];

/// The table has a fault that is an error.
pub(crate) struct Refused;

/// Makes the parser of a provider, `None` if it has no `webhook` table.
///
/// # Errors
/// [`Refused`], and the faults say why.
pub(crate) fn build(
    name: &ProviderName,
    config: &ProviderConfig,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Result<Option<Arc<dyn WebhookParser>>, Refused> {
    let (Some(table), Some(service)) = (&config.webhook, config.service()) else {
        return Ok(None);
    };
    if let Some((_, make)) = SERVICES.iter().find(|(own, _)| *own == service) {
        let ids = match config.smtp {
            Some(_) => Ids::Smtp,
            None => Ids::Api,
        };
        let parser = match make {
            Make::Parser(build) => build(name, table, clock, faults),
            Make::ById(build) => build(name, table, ids, clock, faults),
        };
        return parser.map(Some).ok_or(Refused);
    }
    let names: Vec<&str> = SERVICES.iter().map(|(own, _)| *own).collect();
    let message = match service {
        "smtp" => format!(
            "plain SMTP has no webhooks; a service has, with its preset in \
             [providers.{name}.smtp] or by its kind ({})",
            names.join(", ")
        ),
        service => format!("{service} has no webhooks"),
    };
    let path = format!("providers.{name}.webhook");
    faults.push(ConfigFault::error(path, message));
    Err(Refused)
}

#[cfg(test)]
mod tests {
    use malote_core::clock::SystemClock;
    use malote_core::fault::Severity;

    use crate::{Adapter, ProviderConfig};

    fn built(table: &str) -> (Option<Adapter>, Vec<String>) {
        let name = "x".try_into().unwrap();
        let config: ProviderConfig = toml::from_str(table).unwrap();
        let clock: std::sync::Arc<dyn malote_core::clock::Clock> =
            std::sync::Arc::new(SystemClock::start());
        let mut faults = Vec::new();
        let adapter = crate::build(&name, &config, &clock, &mut faults);
        let errors = faults.iter().filter(|f| f.severity == Severity::Error);
        (adapter, errors.map(ToString::to_string).collect())
    }

    #[test]
    fn the_webhook_belongs_to_the_service_whichever_way_its_mail_goes() {
        for table in [
            "mailgun = { domain = 'x.test', api_key = 'k' }",
            "smtp = { preset = 'mailgun', user = 'u', password = 'k' }",
        ] {
            let (adapter, errors) = built(&format!("{table}\nwebhook = {{ signing_key = 'k' }}"));
            assert_eq!(errors, Vec::<String>::new(), "{table}");
            assert!(adapter.unwrap().webhook.is_some(), "{table}");
        }
    }

    #[test]
    fn a_webhook_without_its_key_or_of_a_service_that_has_none_is_refused() {
        for (table, path) in [
            (
                "mailgun = { domain = 'x.test', api_key = 'k' }\nwebhook = {}",
                "signing_key: is missing",
            ),
            (
                "smtp = { preset = 'mailgun', user = 'u', password = 'k' }\nwebhook = {}",
                "signing_key: is missing",
            ),
            (
                "mailgun = { domain = 'x.test', api_key = 'k' }\nwebhook = { signing_key = 'k', secret = '0123456789abcdef' }",
                "secret: belongs to kind",
            ),
            (
                "capture = {}\nwebhook = {}",
                "webhook: capture has no webhooks",
            ),
            (
                "smtp = { host = 'mx.test' }\nwebhook = {}",
                "webhook: plain SMTP has no webhooks",
            ),
            (
                "smtp = { preset = 'postfix', host = 'mx.test' }\nwebhook = {}",
                "webhook: postfix has no webhooks",
            ),
        ] {
            let (_, errors) = built(table);
            let is_told = errors.iter().any(|error| error.contains(path));
            assert!(is_told, "{table}: {errors:?}");
        }
    }
}
