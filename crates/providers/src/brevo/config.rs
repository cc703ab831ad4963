//! `[providers.NAME.brevo]`, read and checked.

use std::path::PathBuf;

use malote_core::fault::ConfigFault;
use malote_core::secret::{Secret, SecretSource};
use reqwest::Url;
use serde::Deserialize;

use crate::http::sensitive;
use crate::settings;

const ENDPOINT: &str = "https://api.brevo.com";

/// `[providers.NAME.brevo]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BrevoConfig {
    /// An API key of version 3, not an SMTP key. One of the three forms is required.
    pub api_key: Option<Secret>,
    /// The environment variable that holds the API key.
    pub api_key_env: Option<String>,
    /// The file that holds the API key.
    pub api_key_file: Option<PathBuf>,
    /// Where the API is, if not at `https://api.brevo.com`: tests. `http` to near addresses only.
    pub endpoint: Option<String>,
}

/// A checked table.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub api_key: Secret,
    pub endpoint: Url,
}

impl BrevoConfig {
    /// Checks the table of the provider at `at` (`providers.NAME`); `None` if a fault is an error.
    pub(super) fn check(&self, at: &str, faults: &mut Vec<ConfigFault>) -> Option<Settings> {
        let table = format!("{at}.brevo");
        let source = SecretSource {
            field: "api_key",
            literal: self.api_key.as_ref().map(Secret::expose),
            env: self.api_key_env.as_deref(),
            file: self.api_key_file.as_deref(),
        };
        let api_key = settings::required_secret(&table, &source, faults);
        let api_key = api_key.filter(|key| {
            let path = format!("{table}.api_key");
            let fault = if sensitive(key.expose()).is_none() {
                "holds characters that no API key has, such as a line end"
            } else if key.expose().starts_with("xsmtpsib-") {
                "is an SMTP key; this kind needs an API key (xkeysib-...)"
            } else {
                return true;
            };
            faults.push(ConfigFault::error(path, fault));
            false
        });
        let endpoint = self.endpoint.as_deref().unwrap_or(ENDPOINT);
        let endpoint = settings::endpoint(&format!("{table}.endpoint"), endpoint, faults);
        Some(Settings {
            api_key: api_key?,
            endpoint: endpoint?,
        })
    }
}
