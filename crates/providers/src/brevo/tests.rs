//! Brevo against its table of answers and a misbehaving peer.

mod account;
mod requests;
mod sends;
mod verdicts;
mod webhooks;

use std::sync::Arc;

use malote_core::clock::FixedClock;
use malote_core::fault::{ConfigFault, Severity};
use malote_core::name::ProviderName;
use malote_core::provider::Provider;

use crate::{Adapter, ProviderConfig, build};

fn built(toml: &str) -> (Option<Adapter>, Vec<ConfigFault>) {
    let config: ProviderConfig = toml::from_str(toml).unwrap();
    let name = ProviderName::try_from("b").unwrap();
    let clock = FixedClock("2026-11-22T00:00:00Z".parse().unwrap());
    let mut faults = Vec::new();
    let adapter = build(&name, &config, &(Arc::new(clock) as _), &mut faults);
    (adapter, faults)
}

fn provider(endpoint: &str) -> Arc<dyn Provider> {
    let (adapter, faults) = built(&format!(
        "[brevo]\nendpoint = '{endpoint}'\napi_key = 'k3y'\n"
    ));
    let is_warning = |fault: &ConfigFault| fault.severity == Severity::Warning;
    assert!(faults.iter().all(is_warning), "{faults:?}");
    adapter.unwrap().provider
}
