//! Placeholder module for the smtp adapter.

use std::sync::Arc;

use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use serde::Deserialize;

use crate::{Adapter, ProviderConfig};

/// `[providers.NAME.smtp]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmtpConfig {}

pub(crate) fn build(
    _name: &ProviderName,
    _table: &SmtpConfig,
    _config: &ProviderConfig,
    _clock: &Arc<dyn Clock>,
    _faults: &mut [ConfigFault],
) -> Option<Adapter> {
    None
}
