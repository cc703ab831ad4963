//! `[providers.NAME.elasticemail]`, read and checked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::{PoolName, ProviderName};
use malote_core::secret::{Secret, SecretSource};
use reqwest::Url;
use serde::Deserialize;

use crate::settings::{self, Transport};
use crate::smtp::{Native, Preset, build_native};
use crate::{Adapter, ProviderConfig};

/// Where the API is; there is one place for all accounts.
const ENDPOINT: &str = "https://api.elasticemail.com";
/// Longest name of a pool or channel that is believed, in octets.
const NAME_BYTES_MAX: usize = 128;

/// `[providers.NAME.elasticemail]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ElasticEmailConfig {
    /// The API key, with the access level SendHttp (`api`) or SendSmtp (`smtp`; there the password
    /// of an SMTP credential does as well). One of the three forms is required.
    pub api_key: Option<Secret>,
    /// The environment variable that holds the API key.
    pub api_key_env: Option<String>,
    /// The file that holds the API key.
    pub api_key_file: Option<PathBuf>,
    /// How mail is sent: `"smtp"` (default) or `"api"`.
    pub transport: Transport,
    /// `smtp` only: who logs in, the account's or the SMTP credential's address. Default: the API
    /// key itself, which the service takes as a user too.
    pub user: Option<String>,
    /// Where the service is, if not at its public address: tests. `https://…` for `api`,
    /// `smtps://…` or `smtp://…` for `smtp`; without TLS to near addresses only.
    pub endpoint: Option<String>,
}

/// A checked table.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub api_key: Secret,
    pub endpoint: Url,
    pub pools: BTreeMap<PoolName, PoolOptions>,
}

/// What a pool's table says to the service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PoolOptions {
    pub pool_name: Option<String>,
    pub channel: Option<String>,
}

impl ElasticEmailConfig {
    /// Checks the table for the API; `None` if a fault is an error.
    pub(crate) fn check(
        &self,
        name: &ProviderName,
        config: &ProviderConfig,
        faults: &mut Vec<ConfigFault>,
    ) -> Option<Settings> {
        let at = format!("providers.{name}.elasticemail");
        let api_key = self.key(&at, faults);
        let endpoint = self.endpoint.as_deref().unwrap_or(ENDPOINT);
        let endpoint = settings::endpoint(&format!("{at}.endpoint"), endpoint, faults);
        let pools = pools(name, config, faults);
        if self.user.is_some() {
            let message = "is for transport = \"smtp\" only; remove it";
            faults.push(ConfigFault::error(format!("{at}.user"), message));
            return None;
        }
        Some(Settings {
            api_key: api_key?,
            endpoint: endpoint?,
            pools: pools?,
        })
    }

    /// The adapter that sends by SMTP.
    pub(crate) fn by_smtp(
        &self,
        name: &ProviderName,
        config: &ProviderConfig,
        clock: &Arc<dyn Clock>,
        faults: &mut Vec<ConfigFault>,
    ) -> Option<Adapter> {
        let at = format!("providers.{name}.elasticemail");
        let password = self.key(&at, faults)?;
        let key = password.clone();
        let native = Native {
            preset: Preset::Elasticemail,
            region: None,
            endpoint: self.endpoint.as_deref(),
            user: Some(self.user.as_deref().unwrap_or(key.expose())),
            password,
        };
        build_native(name, &at, native, config, clock, faults)
    }

    fn key(&self, at: &str, faults: &mut Vec<ConfigFault>) -> Option<Secret> {
        let source = SecretSource {
            field: "api_key",
            literal: self.api_key.as_ref().map(Secret::expose),
            env: self.api_key_env.as_deref(),
            file: self.api_key_file.as_deref(),
        };
        let key = settings::required_secret(at, &source, faults)?;
        // It becomes a header field's value.
        if key.expose().bytes().all(|b| b.is_ascii_graphic()) {
            return Some(key);
        }
        let message = "holds a space or a character that no API key has";
        faults.push(ConfigFault::error(format!("{at}.api_key"), message));
        None
    }
}

fn pools(
    name: &ProviderName,
    config: &ProviderConfig,
    faults: &mut Vec<ConfigFault>,
) -> Option<BTreeMap<PoolName, PoolOptions>> {
    let mut is_good = true;
    let mut pools = BTreeMap::new();
    for (pool, table) in &config.pools {
        for (key, value) in [("pool_name", &table.pool_name), ("channel", &table.channel)] {
            if !value.as_deref().is_none_or(is_name) {
                let path = format!("providers.{name}.pools.{pool}.{key}");
                let message = "must be a name of 1 to 128 octets without control characters";
                faults.push(ConfigFault::error(path, message));
                is_good = false;
            }
        }
        let options = PoolOptions {
            pool_name: table.pool_name.clone(),
            channel: table.channel.clone(),
        };
        pools.insert(pool.clone(), options);
    }
    is_good.then_some(pools)
}

fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && !text.chars().any(char::is_control)
        && text.trim() == text
}
