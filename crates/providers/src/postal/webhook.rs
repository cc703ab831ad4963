//! Postal's webhooks: the installation's signature over the raw body first, events after.

use std::sync::Arc;

use async_trait::async_trait;
use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use malote_core::webhook::{Unread, Webhook, WebhookParser, WebhookRefusal, WebhookRequest};

use super::events::{self, Told};
use super::key::{Digests, Key};
use crate::WebhookConfig;
use crate::webhook::{Ids, public_key};

/// Reads `[providers.NAME.webhook]`; `None` if a fault is an error.
pub(crate) fn parser(
    name: &ProviderName,
    config: &WebhookConfig,
    ids: Ids,
    _clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Arc<dyn WebhookParser>> {
    let table = format!("providers.{name}.webhook");
    let wanted = ("an RSA public key of 1,024 to 8,192 bits", Key::read);
    let key = public_key(&table, config, faults, wanted)?;
    if key.is_short() {
        let message = "has less than 2,048 bits: give the installation a longer signing key";
        faults.push(ConfigFault::warning(format!("{table}.public_key"), message));
    }
    let digests = match config.allow_sha1 {
        Some(true) => Digests::Sha1Too,
        Some(false) | None => Digests::Sha256,
    };
    if digests == Digests::Sha1Too {
        let message = "SHA-1 signatures are believed: Postal 3 signs with SHA-256 too";
        faults.push(ConfigFault::warning(format!("{table}.allow_sha1"), message));
    }
    Some(Arc::new(PostalWebhook {
        name: name.clone(),
        key,
        digests,
        ids,
    }))
}

/// Verifies and reads what Postal posts. It signs no time: what is repeated is known by its uuid.
struct PostalWebhook {
    name: ProviderName,
    key: Key,
    digests: Digests,
    ids: Ids,
}

#[async_trait]
impl WebhookParser for PostalWebhook {
    async fn parse(&self, request: &WebhookRequest) -> Result<Webhook, WebhookRefusal> {
        self.key.verify(request, self.digests)?;
        match events::read(&request.body, self.ids)? {
            Told::Messages(webhook) => Ok(webhook),
            Told::Server(words) => {
                // It belongs to no delivery; with what cannot be read it is kept all the same.
                tracing::warn!(provider = %self.name, words, "the mail server reports trouble of its own");
                Ok(Webhook {
                    events: Vec::new(),
                    unreadable: vec![Unread::new("postal: trouble of the server itself", &words)],
                })
            }
        }
    }
}
