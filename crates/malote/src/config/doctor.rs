//! `[doctor]`: what `malote doctor` cannot find out by itself. Nothing else reads it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use malote_core::address::parse_domain;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use serde::Deserialize;

use super::de::nearest;
use super::raw::RawConfig;

/// Most addresses of one's own: each costs a look-up for every block list.
const OWN_IPS_MAX: usize = 64;
/// Most block lists.
const DNSBLS_MAX: usize = 16;
/// Most domains besides those of `from_domains`.
const DOMAINS_MAX: usize = 100;
/// Most selectors of one provider.
const SELECTORS_MAX: usize = 10;

/// `[doctor]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DoctorConfig {
    /// Public addresses that one's own mail servers send from, besides the `source_addresses` of
    /// pools; at most 64.
    pub own_ips: Vec<IpAddr>,
    /// Sender domains besides those that credentials name; at most 100.
    pub domains: Vec<String>,
    /// Zones of block lists, at most 16; default: zen.spamhaus.org, bl.spamcop.net,
    /// b.barracudacentral.org. An empty list asks none.
    pub dnsbls: Option<Vec<String>>,
    /// The name server to ask, as in `"127.0.0.1:53"`; default that of `[mailbox_providers]`,
    /// else the system's.
    pub dns_server: Option<SocketAddr>,
    /// DKIM selectors by provider, at most 10 each, where a service chooses them and does not
    /// tell.
    pub dkim_selectors: BTreeMap<ProviderName, Vec<String>>,
}

/// Whether no receiver can see the address, because it is of a machine or a site.
pub(crate) fn is_internal(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified()
        }
        IpAddr::V6(ip) => {
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_unique_local()
                || ip.is_unicast_link_local()
        }
    }
}

/// Notes what is wrong with the table.
pub(super) fn check(raw: &RawConfig, faults: &mut Vec<ConfigFault>) {
    let doctor = &raw.doctor;
    let mut error = |path: String, message: String| faults.push(ConfigFault::error(path, message));
    let lists = [
        ("own_ips", doctor.own_ips.len(), OWN_IPS_MAX),
        ("domains", doctor.domains.len(), DOMAINS_MAX),
        (
            "dnsbls",
            doctor.dnsbls.as_ref().map_or(0, Vec::len),
            DNSBLS_MAX,
        ),
    ];
    for (key, len, max) in lists {
        if len > max {
            error(format!("doctor.{key}"), format!("at most {max}"));
        }
    }
    for (index, ip) in doctor.own_ips.iter().enumerate() {
        if is_internal(*ip) {
            let message = format!("{ip} is no public address: give the one that receivers see");
            error(format!("doctor.own_ips[{index}]"), message);
        }
    }
    for (key, names) in [
        ("domains", doctor.domains.as_slice()),
        ("dnsbls", doctor.dnsbls.as_deref().unwrap_or_default()),
    ] {
        for (index, name) in names.iter().enumerate() {
            if let Err(fault) = parse_domain(name) {
                error(
                    format!("doctor.{key}[{index}]"),
                    format!("{name:?}: {fault}"),
                );
            }
        }
    }
    check_selectors(raw, faults);
}

fn check_selectors(raw: &RawConfig, faults: &mut Vec<ConfigFault>) {
    let known: Vec<&str> = raw.providers.keys().map(ProviderName::as_str).collect();
    for (provider, selectors) in &raw.doctor.dkim_selectors {
        let at = format!("doctor.dkim_selectors.{provider}");
        if !raw.providers.contains_key(provider) {
            let near = nearest(provider.as_str(), &known);
            let near = near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
            let message = format!("there is no provider {provider}{near}");
            faults.push(ConfigFault::error(at.clone(), message));
        }
        if selectors.len() > SELECTORS_MAX {
            faults.push(ConfigFault::error(
                at.clone(),
                format!("at most {SELECTORS_MAX}"),
            ));
        }
        for (index, selector) in selectors.iter().enumerate() {
            if !is_selector(selector) {
                let message = format!("{selector:?} is no selector, as in \"s1\"");
                faults.push(ConfigFault::error(format!("{at}[{index}]"), message));
            }
        }
    }
}

/// RFC 6376 3.1: labels with dots between them.
fn is_selector(text: &str) -> bool {
    let is_label = |label: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=63).contains(&label.len()) && label.chars().all(fits)
    };
    text.len() <= 120 && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_asked_about_is_refused() {
        for (table, path) in [
            ("own_ips = ['10.0.0.1']", "doctor.own_ips[0]"),
            ("domains = ['not a domain']", "doctor.domains[0]"),
            ("dnsbls = ['zen..org']", "doctor.dnsbls[0]"),
            (
                "dkim_selectors = { se = ['a'] }",
                "doctor.dkim_selectors.se",
            ),
            (
                "dkim_selectors = { ses = ['a b'] }",
                "doctor.dkim_selectors.ses[0]",
            ),
        ] {
            let text = format!("[doctor]\n{table}\n[providers.ses.capture]\n");
            let raw: RawConfig = toml::from_str(&text).unwrap();
            let mut faults = Vec::new();
            check(&raw, &mut faults);
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert_eq!(faults[0].path, path);
        }
    }
}
