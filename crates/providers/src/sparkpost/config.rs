//! `[providers.NAME.sparkpost]`, read and checked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use malote_core::fault::ConfigFault;
use malote_core::name::PoolName;
use malote_core::secret::{Secret, SecretSource};
use reqwest::Url;
use serde::Deserialize;

use crate::ProviderConfig;
use crate::http::sensitive;
use crate::settings;

/// Longest id of an IP pool that is believed.
const POOL_ID_BYTES_MAX: usize = 128;
/// The service's numbers are signed 32-bit (API overview, "API Conventions").
const SUBACCOUNT_MAX: u32 = i32::MAX.unsigned_abs();

/// `[providers.NAME.sparkpost]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SparkpostConfig {
    /// The API key, with the permission "Transmissions: Read/Write"; with "Account: Read" rate and
    /// quota are learnt, too. One of the three forms is required.
    pub api_key: Option<Secret>,
    /// The environment variable that holds the API key.
    pub api_key_env: Option<String>,
    /// The file that holds the API key.
    pub api_key_file: Option<PathBuf>,
    /// Where the account lives: `"us"` (default) or `"eu"`.
    pub region: Region,
    /// The number of the subaccount to send for; the key must be the primary account's.
    pub subaccount: Option<u32>,
    /// Where the API is, if not at the region's address: tests and enterprise accounts. `http` to
    /// near addresses only.
    pub endpoint: Option<String>,
}

/// Where a SparkPost account lives; a key of one is none in the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Region {
    /// `api.sparkpost.com`.
    #[default]
    Us,
    /// `api.eu.sparkpost.com`.
    Eu,
}

impl Region {
    const fn endpoint(self) -> &'static str {
        match self {
            Self::Us => "https://api.sparkpost.com",
            Self::Eu => "https://api.eu.sparkpost.com",
        }
    }
}

/// A checked table.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub api_key: Secret,
    pub endpoint: Url,
    pub subaccount: Option<u32>,
    /// IP pool by pool; a pool that is missing here uses the account's default one.
    pub ip_pools: BTreeMap<PoolName, String>,
}

impl SparkpostConfig {
    /// Checks the table at `at` (`providers.NAME`); `None` if a fault is an error.
    pub(super) fn check(
        &self,
        at: &str,
        config: &ProviderConfig,
        faults: &mut Vec<ConfigFault>,
    ) -> Option<Settings> {
        let table = format!("{at}.sparkpost");
        let api_key = self.checked_key(&table, faults);
        let endpoint = self.endpoint.as_deref();
        let endpoint = endpoint.unwrap_or_else(|| self.region.endpoint());
        let endpoint = settings::endpoint(&format!("{table}.endpoint"), endpoint, faults);
        let ip_pools = ip_pools(at, config, faults);
        let is_number = |number: u32| (1..=SUBACCOUNT_MAX).contains(&number);
        if !self.subaccount.is_none_or(is_number) {
            let path = format!("{table}.subaccount");
            let message = "is not a subaccount's number; leave it out to send for the account";
            faults.push(ConfigFault::error(path, message));
            return None;
        }
        Some(Settings {
            api_key: api_key?,
            endpoint: endpoint?,
            subaccount: self.subaccount,
            ip_pools: ip_pools?,
        })
    }

    fn checked_key(&self, table: &str, faults: &mut Vec<ConfigFault>) -> Option<Secret> {
        let source = SecretSource {
            field: "api_key",
            literal: self.api_key.as_ref().map(Secret::expose),
            env: self.api_key_env.as_deref(),
            file: self.api_key_file.as_deref(),
        };
        let key = settings::required_secret(table, &source, faults)?;
        if sensitive(key.expose()).is_none() {
            let message = "holds characters that no API key has, such as a line end";
            faults.push(ConfigFault::error(format!("{table}.api_key"), message));
            return None;
        }
        Some(key)
    }
}

fn ip_pools(
    at: &str,
    config: &ProviderConfig,
    faults: &mut Vec<ConfigFault>,
) -> Option<BTreeMap<PoolName, String>> {
    let mut pools = BTreeMap::new();
    let mut is_good = true;
    for (pool, table) in &config.pools {
        let Some(id) = &table.ip_pool else {
            continue;
        };
        let is_id =
            (1..=POOL_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
        if is_id {
            pools.insert(pool.clone(), id.clone());
        } else {
            let path = format!("{at}.pools.{pool}.ip_pool");
            let message = "is not an IP pool's id: give the id, not the name shown beside it";
            faults.push(ConfigFault::error(path, message));
            is_good = false;
        }
    }
    is_good.then_some(pools)
}
