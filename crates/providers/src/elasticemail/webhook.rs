//! Elastic Email's notifications: nothing is signed that is documented, so the secret stands in
//! their URL. They are asked for as a query, or posted as a form (help, "HTTP web notifications").

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
    by_secret(name, config, clock, faults, events::read)
}
