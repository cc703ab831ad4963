//! Mailtrap's webhooks: an HMAC over the raw body first, or the login of their URL; events after.

use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use malote_core::webhook::{Webhook, WebhookParser, WebhookRefusal, WebhookRequest};

use super::events;
use crate::mailgun::hex_32;
use crate::webhook::by_secret;
use crate::{WebhookConfig, settings};

/// Reads `[providers.NAME.webhook]`; `None` if a fault is an error.
pub(crate) fn parser(
    name: &ProviderName,
    config: &WebhookConfig,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Arc<dyn WebhookParser>> {
    let table = format!("providers.{name}.webhook");
    let given = (config.signing_key().is_given(), config.secret().is_given());
    match given {
        (false, true) => by_secret(name, config, clock, faults, |request, _| {
            events::read(&request.body)
        }),
        (true, true) => {
            let message = "give signing_key or secret, not both: one proof is enough";
            faults.push(ConfigFault::error(table, message));
            None
        }
        (true | false, false) => {
            let key = settings::required_secret(&table, &config.signing_key(), faults)?;
            let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose().trim().as_bytes());
            Some(Arc::new(MailtrapWebhook { key }))
        }
    }
}

/// Verifies and reads what Mailtrap posts ("Webhook signature verification").
struct MailtrapWebhook {
    key: hmac::Key,
}

#[async_trait]
impl WebhookParser for MailtrapWebhook {
    async fn parse(&self, request: &WebhookRequest) -> Result<Webhook, WebhookRefusal> {
        verify(request, &self.key)?;
        events::read(&request.body)
    }
}

/// The digest in hexadecimal digits. It has no time in it: what is repeated is known by its id.
fn verify(request: &WebhookRequest, key: &hmac::Key) -> Result<(), WebhookRefusal> {
    let unverified = WebhookRefusal::Unverified;
    let signature = request.header("mailtrap-signature");
    let signature = signature.ok_or(unverified("not signed"))?;
    let digest = hex_32(signature).ok_or(unverified("not a signature"))?;
    hmac::verify(key, &request.body, &digest).map_err(|_| unverified("the signature is wrong"))
}
