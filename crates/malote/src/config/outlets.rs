//! `[[credentials.NAME.webhooks]]` and `[credentials.NAME.mautic]`: the outlets by which a
//! credential's events leave again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::{CredentialName, ProviderName};
use malote_core::outlet::Outlet;
use malote_feedback::{Owner, build_mautic, build_webhooks};

use super::de::nearest;
use super::raw::{CredentialConfig, RawConfig};

/// All outlets of all credentials; what is wrong with their tables is noted.
pub(super) fn build_all(
    tables: &BTreeMap<CredentialName, CredentialConfig>,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Vec<Arc<dyn Outlet>> {
    let mut outlets = Vec::new();
    for (name, table) in tables {
        let at = format!("credentials.{name}");
        let owner = Owner {
            name,
            streams: &table.streams,
            at: &at,
            clock,
        };
        outlets.extend(build_webhooks(&owner, &table.webhooks, faults));
        if let Some(mautic) = &table.mautic {
            outlets.extend(build_mautic(&owner, mautic, faults));
        }
    }
    outlets
}

/// The providers that carry reports to a Mautic's mailbox.
pub(super) fn report_carriers(raw: &RawConfig) -> BTreeSet<ProviderName> {
    let tables = raw.credentials.values().filter_map(|c| c.mautic.as_ref());
    tables
        .filter_map(|table| table.dsn_provider.clone())
        .collect()
}

/// That those providers exist.
pub(super) fn check_providers(raw: &RawConfig, faults: &mut Vec<ConfigFault>) {
    let known: Vec<&str> = raw.providers.keys().map(ProviderName::as_str).collect();
    for (name, table) in &raw.credentials {
        let provider = table.mautic.as_ref().and_then(|m| m.dsn_provider.as_ref());
        let Some(provider) = provider.filter(|p| !raw.providers.contains_key(*p)) else {
            continue;
        };
        let near = nearest(provider.as_str(), &known);
        let near = near.map(|near| format!("; did you mean {near:?}?"));
        let message = format!(
            "there is no provider {provider}{}",
            near.unwrap_or_default()
        );
        let path = format!("credentials.{name}.mautic.dsn_provider");
        faults.push(ConfigFault::error(path, message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_s_carrier_must_be_a_provider() {
        let raw: RawConfig = toml::from_str(
            "[credentials.m.mautic]\ndsn_provider = 'se'\n\
             [credentials.n.mautic]\ndsn_provider = 'ses'\n\
             [providers.ses.capture]\n",
        )
        .unwrap();
        let mut faults = Vec::new();
        check_providers(&raw, &mut faults);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(faults[0].path, "credentials.m.mautic.dsn_provider");
        assert!(
            faults[0].message.contains("did you mean \"ses\"?"),
            "{faults:?}"
        );
        assert_eq!(report_carriers(&raw).len(), 2);
    }
}
