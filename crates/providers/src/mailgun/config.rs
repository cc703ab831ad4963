//! `[providers.NAME.mailgun]`, read and checked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use malote_core::address::parse_domain;
use malote_core::fault::ConfigFault;
use malote_core::name::PoolName;
use malote_core::secret::{Secret, SecretSource};
use reqwest::Url;
use serde::Deserialize;

use crate::ProviderConfig;
use crate::settings;

/// `[providers.NAME.mailgun]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailgunConfig {
    /// The sending domain, as the service knows it. Required.
    pub domain: Option<String>,
    /// The API key: the account's, or a sending key of the domain. One of the three forms is
    /// required.
    pub api_key: Option<Secret>,
    /// The environment variable that holds the API key.
    pub api_key_env: Option<String>,
    /// The file that holds the API key.
    pub api_key_file: Option<PathBuf>,
    /// Where the domain lives: `"us"` (default) or `"eu"`.
    pub region: Region,
    /// Where the API is, if not at the region's address: tests. `http` to near addresses only.
    pub endpoint: Option<String>,
    /// The id of the subaccount to act for.
    pub on_behalf_of: Option<String>,
}

/// A Mailgun region. A domain lives in one; in the other it is not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Region {
    /// `api.mailgun.net`.
    #[default]
    Us,
    /// `api.eu.mailgun.net`.
    Eu,
}

impl Region {
    const fn endpoint(self) -> &'static str {
        match self {
            Self::Us => "https://api.mailgun.net",
            Self::Eu => "https://api.eu.mailgun.net",
        }
    }
}

/// A checked table.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub domain: String,
    pub api_key: Secret,
    pub endpoint: Url,
    pub on_behalf_of: Option<String>,
    /// IP pool by pool; a pool that is missing here uses the domain's own.
    pub sending_ip_pools: BTreeMap<PoolName, String>,
}

impl MailgunConfig {
    /// Checks the table at `at` (`providers.NAME`); `None` if a fault is an error.
    pub(crate) fn check(
        &self,
        at: &str,
        config: &ProviderConfig,
        faults: &mut Vec<ConfigFault>,
    ) -> Option<Settings> {
        let table = format!("{at}.mailgun");
        let domain = self.checked_domain(&table, faults);
        let api_key = self.checked_key(&table, faults);
        let endpoint = self.endpoint.as_deref();
        let endpoint = endpoint.unwrap_or_else(|| self.region.endpoint());
        let endpoint = settings::endpoint(&format!("{table}.endpoint"), endpoint, faults);
        let on_behalf_of = self.on_behalf_of.clone();
        let is_id = |text: &String| is_visible(text, 128);
        if !on_behalf_of.as_ref().is_none_or(is_id) {
            let path = format!("{table}.on_behalf_of");
            faults.push(ConfigFault::error(path, "is not a subaccount's id"));
            return None;
        }
        let sending_ip_pools = sending_ip_pools(at, config, faults);
        Some(Settings {
            domain: domain?,
            api_key: api_key?,
            endpoint: endpoint?,
            on_behalf_of,
            sending_ip_pools: sending_ip_pools?,
        })
    }

    /// The domain becomes a part of the path: with a `/` in it the service answers 200 to another
    /// question, and mail would be lost.
    fn checked_domain(&self, table: &str, faults: &mut Vec<ConfigFault>) -> Option<String> {
        let path = format!("{table}.domain");
        let Some(domain) = &self.domain else {
            let message = "is missing, as in domain = \"news.example.com\"";
            faults.push(ConfigFault::error(path, message));
            return None;
        };
        let parsed = parse_domain(domain).ok();
        if parsed.is_none() {
            faults.push(ConfigFault::error(path, "is not a domain name"));
        }
        parsed
    }

    fn checked_key(&self, table: &str, faults: &mut Vec<ConfigFault>) -> Option<Secret> {
        let source = SecretSource {
            field: "api_key",
            literal: self.api_key.as_ref().map(Secret::expose),
            env: self.api_key_env.as_deref(),
            file: self.api_key_file.as_deref(),
        };
        if !source.is_given() {
            let message = "is missing: give api_key, api_key_env or api_key_file";
            faults.push(ConfigFault::error(format!("{table}.api_key"), message));
        }
        settings::secret(table, &source, faults)
    }
}

fn is_visible(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

fn sending_ip_pools(
    at: &str,
    config: &ProviderConfig,
    faults: &mut Vec<ConfigFault>,
) -> Option<BTreeMap<PoolName, String>> {
    let mut pools = BTreeMap::new();
    let mut is_good = true;
    for (pool, table) in &config.pools {
        let Some(id) = &table.sending_ip_pool else {
            continue;
        };
        if is_visible(id, 128) {
            pools.insert(pool.clone(), id.clone());
        } else {
            let path = format!("{at}.pools.{pool}.sending_ip_pool");
            faults.push(ConfigFault::error(path, "is not an IP pool's id"));
            is_good = false;
        }
    }
    is_good.then_some(pools)
}
