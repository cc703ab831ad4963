//! Where a provider's mail comes from, as far as its table says: for SPF, DKIM and reverse names.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::config::ProviderConfig;

/// Where a provider's mail comes from, in the eyes of those who receive it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// Whose service it is: the kind, or the preset of kind `smtp`; `smtp` without one.
    pub service: &'static str,
    /// The domain that the service sends and signs for, whatever From says (Mailgun).
    pub domain: Option<String>,
    /// The addresses that connections to a server are made from, of all pools.
    pub source_addresses: BTreeSet<IpAddr>,
}

impl ProviderConfig {
    /// What the table says of where mail comes from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        let pools = self.pools.values();
        Origin {
            service: self.service().unwrap_or_default(),
            domain: self
                .mailgun
                .as_ref()
                .and_then(|mailgun| mailgun.domain.clone()),
            source_addresses: pools
                .flat_map(|pool| pool.source_addresses.iter().copied())
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_is_its_service_and_every_pool_s_address_counts() {
        let config: ProviderConfig = toml::from_str(
            "smtp = { preset = 'postfix', host = 'x.test' }\n\
             pools.a = { source_addresses = ['192.0.2.1'] }\n\
             pools.b = { source_addresses = ['192.0.2.1', '2001:db8::1'] }",
        )
        .unwrap();
        let origin = config.origin();
        assert_eq!(origin.service, "postfix");
        assert_eq!(origin.source_addresses.len(), 2);
        let config: ProviderConfig =
            toml::from_str("mailgun = { domain = 'm.test', api_key = 'k' }").unwrap();
        assert_eq!(config.origin().domain.as_deref(), Some("m.test"));
    }
}
