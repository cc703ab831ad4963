//! SparkPost's webhooks: nothing is signed, so each carries the secret that it was made with, as
//! the password of HTTP Basic or as a token (developer documentation, "Event Webhooks").

use std::sync::Arc;

use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use malote_core::webhook::WebhookParser;

use super::events;
use crate::WebhookConfig;
use crate::webhook::by_secret;

/// Reads `[providers.NAME.webhook]`; `None` if a fault is an error.
pub(crate) fn parser(
    name: &ProviderName,
    config: &WebhookConfig,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Arc<dyn WebhookParser>> {
    by_secret(name, config, clock, faults, |request, _| {
        events::read(&request.body)
    })
}
