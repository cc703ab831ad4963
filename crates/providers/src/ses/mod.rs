//! Placeholder module for the ses adapter.

use std::sync::Arc;

use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use serde::Deserialize;

use crate::{Adapter, ProviderConfig};

/// `[providers.NAME.ses]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SesConfig {}

pub(crate) fn build(
    _name: &ProviderName,
    _table: &SesConfig,
    _config: &ProviderConfig,
    _clock: &Arc<dyn Clock>,
    _faults: &mut [ConfigFault],
) -> Option<Adapter> {
    None
}
