//! Brevo's webhooks: nothing is signed, so each carries a secret that the webhook is given at the
//! service ("Secured webhooks": a login, a token or a header field).

use std::sync::Arc;

use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use malote_core::webhook::WebhookParser;

use super::events;
use crate::WebhookConfig;
use crate::webhook::{Ids, by_secret};

/// Reads `[providers.NAME.webhook]`; `None` if a fault is an error.
pub(crate) fn parser(
    name: &ProviderName,
    config: &WebhookConfig,
    ids: Ids,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Arc<dyn WebhookParser>> {
    match ids {
        Ids::Api => by_secret(name, config, clock, faults, |request, _| {
            events::read(&request.body, Ids::Api)
        }),
        Ids::Smtp => by_secret(name, config, clock, faults, |request, _| {
            events::read(&request.body, Ids::Smtp)
        }),
    }
}
