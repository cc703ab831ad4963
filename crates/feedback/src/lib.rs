//! Events out again, to the apps and Mautics whose mail they are about: one outlet each.
//!
//! An outlet tells and reports. It never decides when to come again and never touches the store:
//! the engine keeps the outbox.

mod mautic;
mod web;
mod webhook;

use std::sync::Arc;

use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::{CredentialName, StreamName};
use malote_core::outlet::Outlet;

pub use mautic::{MauticConfig, SinkKind};
pub use webhook::WebhookConfig;

/// Most webhooks of one credential.
const WEBHOOKS_MAX: usize = 16;

/// Whose events are told, and where its tables stand.
pub struct Owner<'a> {
    /// The credential.
    pub name: &'a CredentialName,
    /// The streams that it may use.
    pub streams: &'a [StreamName],
    /// `credentials.NAME`, for faults.
    pub at: &'a str,
    /// For signatures and for waits that peers ask for.
    pub clock: &'a Arc<dyn Clock>,
}

/// Builds the outlets of `[[credentials.NAME.webhooks]]`. Faults are added with full paths; a table
/// with an error gives no outlet. Connects to nothing.
pub fn build_webhooks(
    owner: &Owner<'_>,
    tables: &[WebhookConfig],
    faults: &mut Vec<ConfigFault>,
) -> Vec<Arc<dyn Outlet>> {
    if tables.len() > WEBHOOKS_MAX {
        let message = format!("at most {WEBHOOKS_MAX} webhooks for one credential");
        faults.push(ConfigFault::error(
            format!("{}.webhooks", owner.at),
            message,
        ));
    }
    let mut outlets: Vec<Arc<dyn Outlet>> = Vec::new();
    for (index, table) in tables.iter().enumerate() {
        let at = format!("{}.webhooks[{index}]", owner.at);
        let Some(outlet) = webhook::build(owner, &at, table, faults) else {
            continue;
        };
        if outlets.iter().any(|other| other.name() == outlet.name()) {
            let message = "is the same as another webhook's of this credential";
            faults.push(ConfigFault::error(format!("{at}.url"), message));
            continue;
        }
        outlets.push(outlet);
    }
    outlets
}

/// Builds the outlet of `[credentials.NAME.mautic]`. Faults are added with full paths; `None` if one
/// of them is an error. Connects to nothing.
pub fn build_mautic(
    owner: &Owner<'_>,
    table: &MauticConfig,
    faults: &mut Vec<ConfigFault>,
) -> Option<Arc<dyn Outlet>> {
    mautic::build(owner, &format!("{}.mautic", owner.at), table, faults)
}
