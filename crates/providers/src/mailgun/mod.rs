//! Placeholder module for the mailgun adapter.

use std::sync::Arc;

use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use serde::Deserialize;

use crate::{Adapter, ProviderConfig};

/// `[providers.NAME.mailgun]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailgunConfig {}

pub(crate) fn build(
    _name: &ProviderName,
    _table: &MailgunConfig,
    _config: &ProviderConfig,
    _clock: &Arc<dyn Clock>,
    _faults: &mut [ConfigFault],
) -> Option<Adapter> {
    None
}
