//! What each pool of `[providers.NAME.pools]` means to SMTP: addresses to connect from, the
//! service's key, header fields of one's own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use malote_core::fault::ConfigFault;
use malote_core::name::{PoolName, ProviderName};
use malote_core::provider::Outgoing;

use super::dialect::fields::{VALUE_BYTES_MAX, visible, without};
use super::dialect::{Dialect, PoolKey};
use crate::{PoolConfig, ProviderConfig};

/// Most header fields of one pool.
const HEADERS_MAX: usize = 16;
/// Longest name of one.
const HEADER_NAME_BYTES_MAX: usize = 64;

/// The pools of one provider; one without a table has no settings.
#[derive(Default)]
pub(super) struct Pools {
    by_name: BTreeMap<PoolName, Settings>,
    /// The names of all pools' header fields: from a client they would choose a pool.
    private: Vec<String>,
}

#[derive(Default)]
struct Settings {
    sources: Option<Sources>,
    key: Option<String>,
    headers: Vec<(String, String)>,
}

impl Pools {
    /// Checks the pools of the provider `name`; `None` if one has an error. `host` is an address if
    /// the table has one in place of a name.
    pub(super) fn check(
        name: &ProviderName,
        dialect: &'static Dialect,
        host: Option<IpAddr>,
        config: &ProviderConfig,
        faults: &mut Vec<ConfigFault>,
    ) -> Option<Self> {
        let mut pools = Self::default();
        let mut errors = Vec::new();
        for (pool, table) in &config.pools {
            let at = format!("providers.{name}.pools.{pool}");
            let mut error = |key: &str, message: String| {
                errors.push(ConfigFault::error(format!("{at}.{key}"), message));
            };
            check_keys(dialect, table, &mut error);
            check_sources(&table.source_addresses, host, &mut error);
            check_headers(&table.headers, &mut error);
            let addresses = &table.source_addresses;
            let settings = Settings {
                sources: (!addresses.is_empty()).then(|| Sources::new(addresses.clone())),
                key: dialect
                    .pool_key
                    .and_then(|key| (key.value)(table))
                    .map(str::to_owned),
                headers: table.headers.clone().into_iter().collect(),
            };
            pools.private.extend(table.headers.keys().cloned());
            pools.by_name.insert(pool.clone(), settings);
        }
        let is_good = errors.is_empty();
        faults.append(&mut errors);
        is_good.then_some(pools)
    }

    /// The address to connect from next.
    pub(super) fn source(&self, pool: &PoolName) -> Option<IpAddr> {
        self.by_name.get(pool)?.sources.as_ref()?.next()
    }

    /// An address to connect from, of any pool.
    pub(super) fn any_source(&self) -> Option<IpAddr> {
        let mut sources = self.by_name.values().filter_map(|s| s.sources.as_ref());
        sources.next()?.next()
    }

    /// The header fields that go before the message.
    pub(super) fn front(&self, dialect: &Dialect, outgoing: &Outgoing) -> Bytes {
        match self.by_name.get(&outgoing.pool) {
            Some(pool) => dialect.front(outgoing, pool.key.as_deref(), &pool.headers),
            None => dialect.front(outgoing, None, &[]),
        }
    }

    /// The message without what a client may not say; `None` if it says none of it.
    pub(super) fn cleaned(&self, outgoing: &Outgoing) -> Option<Outgoing> {
        if self.private.is_empty() {
            return None;
        }
        let body = without(&outgoing.body, &self.private)?;
        Some(Outgoing {
            body,
            ..outgoing.clone()
        })
    }

    #[cfg(test)]
    pub(super) fn with_sources(pool: PoolName, addresses: Vec<IpAddr>) -> Self {
        let settings = Settings {
            sources: Some(Sources::new(addresses)),
            ..Settings::default()
        };
        Self {
            by_name: BTreeMap::from([(pool, settings)]),
            private: Vec::new(),
        }
    }
}

/// The service's own key, and no other's.
fn check_keys(dialect: &'static Dialect, table: &PoolConfig, error: &mut impl FnMut(&str, String)) {
    let given = [
        (
            "configuration_set",
            "ses",
            table.configuration_set.is_some(),
        ),
        (
            "sending_ip_pool",
            "mailgun",
            table.sending_ip_pool.is_some(),
        ),
        ("ip_pool_name", "sendgrid", table.ip_pool_name.is_some()),
        ("message_stream", "postmark", table.message_stream.is_some()),
        ("ip_pool", "sparkpost", table.ip_pool.is_some()),
        ("channel", "elasticemail", table.channel.is_some()),
        ("pool_name", "elasticemail", table.pool_name.is_some()),
    ];
    for (key, preset, _) in given.into_iter().filter(|(_, _, is_given)| *is_given) {
        let known = dialect.pool_key.filter(|known| known.name == key);
        match known {
            Some(known) => check_value(&known, table, error),
            None if preset == dialect.name => error(
                key,
                "is documented for the service's API only: use transport = \"api\"".to_owned(),
            ),
            None => error(
                key,
                format!(
                    "belongs to {preset}, this provider speaks to {}",
                    dialect.name
                ),
            ),
        }
    }
}

fn check_value(key: &PoolKey, table: &PoolConfig, error: &mut impl FnMut(&str, String)) {
    let value = (key.value)(table).unwrap_or_default();
    if value.is_empty() || visible(value, key.bytes_max) != value {
        let max = key.bytes_max;
        error(
            key.name,
            format!("must be 1 to {max} visible ASCII characters"),
        );
    }
}

fn check_sources(addresses: &[IpAddr], host: Option<IpAddr>, error: &mut impl FnMut(&str, String)) {
    let mut fault = |message: String| error("source_addresses", message);
    for (at, address) in addresses.iter().enumerate() {
        if address.is_unspecified() || address.is_multicast() {
            fault(format!("{address} is no address to connect from"));
        }
        if addresses[..at].contains(address) {
            fault(format!("{address} stands there twice"));
        }
        if host.is_some_and(|host| host.is_ipv4() != address.is_ipv4()) {
            fault(format!(
                "{address} cannot reach the host, which is of the other IP version"
            ));
        }
    }
}

fn check_headers(headers: &BTreeMap<String, String>, error: &mut impl FnMut(&str, String)) {
    if headers.len() > HEADERS_MAX {
        error("headers", format!("has more than {HEADERS_MAX} fields"));
    }
    for (name, value) in headers {
        let key = format!("headers.{name}");
        // What the message itself says must stay the client's, and `X-Malote-` is our own.
        let starts = |prefix: &str| {
            let start = name.get(..prefix.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        let is_name = (3..=HEADER_NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !is_name || !starts("X-") || starts("X-Malote-") {
            error(
                &key,
                "must be a name of letters, digits and '-' that begins with X-, as \"X-Pool\""
                    .to_owned(),
            );
        }
        if value.is_empty() || visible(value, VALUE_BYTES_MAX) != *value {
            let message = format!("must be 1 to {VALUE_BYTES_MAX} visible ASCII characters");
            error(&key, message);
        }
    }
}

/// A pool's local addresses, taken in turn.
struct Sources {
    addresses: Vec<IpAddr>,
    turn: AtomicUsize,
}

impl Sources {
    const fn new(addresses: Vec<IpAddr>) -> Self {
        Self {
            addresses,
            turn: AtomicUsize::new(0),
        }
    }

    fn next(&self) -> Option<IpAddr> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.addresses
            .get(turn % self.addresses.len().max(1))
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::correlation::tests::outgoing;
    use crate::smtp::dialect::PLAIN;
    use crate::smtp::dialect::services::{ELASTICEMAIL, SENDGRID, SMTP2GO};

    fn check(dialect: &'static Dialect, table: &str) -> (Option<Pools>, Vec<String>) {
        let config: ProviderConfig = toml::from_str(&format!("[pools.tx]\n{table}")).unwrap();
        let mut faults = Vec::new();
        let name = ProviderName::try_from("a").unwrap();
        let host = Some("127.0.0.1".parse().unwrap());
        let pools = Pools::check(&name, dialect, host, &config, &mut faults);
        (pools, faults.into_iter().map(|f| f.to_string()).collect())
    }

    /// Dialect, table, and how its fault begins, if it has one.
    const TABLES: &[(&Dialect, &str, &str)] = &[
        (&SENDGRID, "ip_pool_name = 'bulk 1'", ""),
        (&ELASTICEMAIL, "channel = 'news'", ""),
        (&PLAIN, "headers = { X-Pool = 'bulk' }", ""),
        (&PLAIN, "source_addresses = ['127.0.0.2']", ""),
        (
            &SENDGRID,
            "ip_pool = 'x'",
            "ip_pool: belongs to sparkpost, this provider speaks to sendgrid",
        ),
        (
            &PLAIN,
            "ip_pool_name = 'x'",
            "ip_pool_name: belongs to sendgrid, this provider speaks to smtp",
        ),
        (
            &SMTP2GO,
            "message_stream = 'x'",
            "message_stream: belongs to postmark",
        ),
        (
            &ELASTICEMAIL,
            "pool_name = 'x'",
            "pool_name: is documented for the service's API only",
        ),
        (
            &SENDGRID,
            "ip_pool_name = ''",
            "ip_pool_name: must be 1 to 64 visible",
        ),
        (
            &SENDGRID,
            "ip_pool_name = \"a\\r\\nb\"",
            "ip_pool_name: must be 1 to 64 visible",
        ),
        (
            &PLAIN,
            "headers = { Bcc = 'x@y.test' }",
            "headers.Bcc: must be a name",
        ),
        (
            &PLAIN,
            "headers = { X-Malote-A = 'x' }",
            "headers.X-Malote-A: must be a name",
        ),
        (
            &PLAIN,
            "headers = { X-A = \"b\\r\\nBcc: c\" }",
            "headers.X-A: must be 1 to 900",
        ),
        (
            &PLAIN,
            "source_addresses = ['0.0.0.0']",
            "source_addresses: 0.0.0.0 is no address",
        ),
        (
            &PLAIN,
            "source_addresses = ['::1']",
            "source_addresses: ::1 cannot reach the host",
        ),
    ];

    #[test]
    fn a_pool_takes_the_services_key_and_no_other() {
        for (dialect, table, fault) in TABLES {
            let (pools, faults) = check(dialect, table);
            assert_eq!(pools.is_some(), fault.is_empty(), "{table}: {faults:?}");
            if !fault.is_empty() {
                let expected = format!("providers.a.pools.tx.{fault}");
                assert_eq!(faults.len(), 1, "{table}: {faults:?}");
                assert!(faults[0].starts_with(&expected), "{faults:?}");
            }
        }
        let many: Vec<_> = (0..17).map(|n| format!("X-{n} = 'x'")).collect();
        let table = format!("headers = {{ {} }}", many.join(", "));
        assert!(check(&PLAIN, &table).1[0].contains("more than 16"));
    }

    #[test]
    fn a_pools_fields_are_ours_alone() {
        let (pools, _) = check(&PLAIN, "headers = { X-Pool = 'bulk' }");
        let pools = pools.unwrap();
        let mut message = outgoing(&["x@dest.example"]);
        assert!(pools.cleaned(&message).is_none());
        assert_eq!(&pools.front(&PLAIN, &message)[..], b"X-Pool: bulk\r\n");
        message.pool = PoolName::try_from("other").unwrap();
        message.body = "x-pool: tx\r\nFrom: a@shop.example\r\n\r\nhi\r\n".into();
        assert!(pools.front(&PLAIN, &message).is_empty());
        let cleaned = pools.cleaned(&message).unwrap();
        assert_eq!(&cleaned.body[..], b"From: a@shop.example\r\n\r\nhi\r\n");
    }
}
