//! `[providers.NAME.sendgrid]`, read and checked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use http::HeaderValue;
use malote_core::fault::ConfigFault;
use malote_core::name::{PoolName, ProviderName};
use malote_core::secret::{Secret, SecretSource};
use reqwest::Url;
use serde::Deserialize;

use crate::ProviderConfig;
use crate::http::sensitive;
use crate::settings::{self, Transport};

/// `[providers.NAME.sendgrid]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SendgridConfig {
    /// The API key, with the scope `mail.send`. One of the three forms is required.
    pub api_key: Option<Secret>,
    /// The environment variable that holds the API key.
    pub api_key_env: Option<String>,
    /// The file that holds the API key.
    pub api_key_file: Option<PathBuf>,
    /// Where the account lives: `"global"` (default) or `"eu"`, for subusers of the EU region.
    pub region: Region,
    /// The user name of the subuser to act for, with the parent account's key. With
    /// `transport = "api"` only: by SMTP a subuser logs in with a key of its own.
    pub on_behalf_of: Option<String>,
    /// By SMTP (default) or by the HTTP API.
    pub transport: Transport,
    /// Where the service is, if not at the region's address: `https://...` with
    /// `transport = "api"` (`http` to near addresses only), else `smtps://...` or `smtp://...`.
    pub endpoint: Option<String>,
}

/// A SendGrid region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Region {
    /// `api.sendgrid.com`.
    #[default]
    Global,
    /// `api.eu.sendgrid.com`.
    Eu,
}

impl Region {
    /// The name in the table, and the SMTP preset's.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Eu => "eu",
        }
    }

    const fn endpoint(self) -> &'static str {
        match self {
            Self::Global => "https://api.sendgrid.com",
            Self::Eu => "https://api.eu.sendgrid.com",
        }
    }
}

/// A checked table, for the HTTP API.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// `Authorization`, marked as sensitive.
    pub authorization: HeaderValue,
    pub endpoint: Url,
    pub on_behalf_of: Option<HeaderValue>,
    /// IP pool by pool; a pool that is missing here leaves the choice to the service.
    pub ip_pools: BTreeMap<PoolName, String>,
}

impl SendgridConfig {
    /// Checks the table for `transport = "api"`; `None` if a fault is an error.
    pub(crate) fn check(
        &self,
        name: &ProviderName,
        config: &ProviderConfig,
        faults: &mut Vec<ConfigFault>,
    ) -> Option<Settings> {
        let at = format!("providers.{name}");
        let table = format!("{at}.sendgrid");
        let authorization = self.authorization(&table, faults);
        let endpoint = self.endpoint.as_deref();
        let endpoint = endpoint.unwrap_or_else(|| self.region.endpoint());
        let endpoint = settings::endpoint(&format!("{table}.endpoint"), endpoint, faults);
        let on_behalf_of = self.on_behalf_of.as_deref().map(subuser);
        if on_behalf_of == Some(None) {
            let path = format!("{table}.on_behalf_of");
            faults.push(ConfigFault::error(path, "is not a subuser's name"));
            return None;
        }
        let ip_pools = ip_pools(&at, config, faults);
        Some(Settings {
            authorization: authorization?,
            endpoint: endpoint?,
            on_behalf_of: on_behalf_of.flatten(),
            ip_pools: ip_pools?,
        })
    }

    /// Checks what `transport = "smtp"` needs; `None` if a fault is an error.
    pub(crate) fn check_for_smtp(
        &self,
        name: &ProviderName,
        config: &ProviderConfig,
        faults: &mut Vec<ConfigFault>,
    ) -> Option<Secret> {
        let at = format!("providers.{name}");
        let key = self.key(&format!("{at}.sendgrid"), faults);
        let is_good = ip_pools(&at, config, faults).is_some();
        let mut refuse = |path: &str, message: &str| {
            faults.push(ConfigFault::error(format!("{at}.{path}"), message));
            None
        };
        if self.on_behalf_of.is_some() {
            let message = "is for transport = \"api\": by SMTP, give the subuser's own key";
            return refuse("sendgrid.on_behalf_of", message);
        }
        key.filter(|_| is_good)
    }

    fn key(&self, table: &str, faults: &mut Vec<ConfigFault>) -> Option<Secret> {
        let source = SecretSource {
            field: "api_key",
            literal: self.api_key.as_ref().map(Secret::expose),
            env: self.api_key_env.as_deref(),
            file: self.api_key_file.as_deref(),
        };
        settings::required_secret(table, &source, faults)
    }

    fn authorization(&self, table: &str, faults: &mut Vec<ConfigFault>) -> Option<HeaderValue> {
        let key = self.key(table, faults)?;
        let authorization = sensitive(&format!("Bearer {}", key.expose()));
        if authorization.is_none() {
            let message = "holds characters that no API key has";
            faults.push(ConfigFault::error(format!("{table}.api_key"), message));
        }
        authorization
    }
}

fn subuser(name: &str) -> Option<HeaderValue> {
    let is_name = (1..=128).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
    is_name.then(|| HeaderValue::from_str(name).ok()).flatten()
}

/// The service takes names of 2 to 64 characters (OpenAPI description of the v3 mail API).
fn ip_pools(
    at: &str,
    config: &ProviderConfig,
    faults: &mut Vec<ConfigFault>,
) -> Option<BTreeMap<PoolName, String>> {
    let mut pools = BTreeMap::new();
    let mut is_good = true;
    for (pool, table) in &config.pools {
        let Some(name) = &table.ip_pool_name else {
            continue;
        };
        let is_name = (2..=64).contains(&name.chars().count()) && !name.contains(char::is_control);
        if is_name {
            pools.insert(pool.clone(), name.clone());
        } else {
            let path = format!("{at}.pools.{pool}.ip_pool_name");
            let message = "is not an IP pool's name: 2 to 64 characters";
            faults.push(ConfigFault::error(path, message));
            is_good = false;
        }
    }
    is_good.then_some(pools)
}
