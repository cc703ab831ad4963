//! `[providers.NAME.webhook]`: which services report by webhook, and what their readers share.

mod key;
pub(crate) mod reading;
#[cfg(test)]
pub(crate) mod rig;
mod secret;

use std::sync::Arc;

use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use malote_core::webhook::WebhookParser;

pub(crate) use key::public_key;
pub(crate) use secret::by_secret;

use crate::{
    ProviderConfig, WebhookConfig, elasticemail, mailgun, postmark, sendgrid, ses, smtp2go,
    sparkpost,
};

/// Makes a service's parser of its table; `None` if a fault is an error.
type Build = fn(
    &ProviderName,
    &WebhookConfig,
    &Arc<dyn Clock>,
    &mut Vec<ConfigFault>,
) -> Option<Arc<dyn WebhookParser>>;

/// The services that report by webhook. Kinds and SMTP presets have the same names.
const SERVICES: [(&str, Build); 7] = [
    ("ses", ses::webhook_parser),
    ("mailgun", mailgun::webhook_parser),
    ("sendgrid", sendgrid::webhook_parser),
    ("postmark", postmark::webhook_parser),
    ("sparkpost", sparkpost::webhook_parser),
    ("elasticemail", elasticemail::webhook_parser),
    ("smtp2go", smtp2go::webhook_parser),
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
    if let Some((_, build)) = SERVICES.iter().find(|(own, _)| *own == service) {
        let parser = build(name, table, clock, faults);
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
