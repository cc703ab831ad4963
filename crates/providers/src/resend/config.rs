//! `[providers.NAME.resend]`, read and checked.

use std::path::PathBuf;

use http::HeaderValue;
use malote_core::fault::ConfigFault;
use malote_core::secret::{Secret, SecretSource};
use reqwest::Url;
use serde::Deserialize;

use crate::http::sensitive;
use crate::settings;

const ENDPOINT: &str = "https://api.resend.com";

/// `[providers.NAME.resend]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResendConfig {
    /// The API key: sending access is enough for mail, `malote check --online` sees more with full
    /// access. One of the three forms is required.
    pub api_key: Option<Secret>,
    /// The environment variable that holds the API key.
    pub api_key_env: Option<String>,
    /// The file that holds the API key.
    pub api_key_file: Option<PathBuf>,
    /// Where the API is, if not at `https://api.resend.com`: tests. `http` to near addresses only.
    pub endpoint: Option<String>,
}

/// A checked table.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// `Authorization`, marked as sensitive.
    pub authorization: HeaderValue,
    pub endpoint: Url,
}

impl ResendConfig {
    /// Checks the table at `table` (`providers.NAME.resend`); `None` if a fault is an error.
    pub(crate) fn check(&self, table: &str, faults: &mut Vec<ConfigFault>) -> Option<Settings> {
        let endpoint = self.endpoint.as_deref().unwrap_or(ENDPOINT);
        let endpoint = settings::endpoint(&format!("{table}.endpoint"), endpoint, faults);
        let source = SecretSource {
            field: "api_key",
            literal: self.api_key.as_ref().map(Secret::expose),
            env: self.api_key_env.as_deref(),
            file: self.api_key_file.as_deref(),
        };
        let key = settings::required_secret(table, &source, faults)?;
        let authorization = sensitive(&format!("Bearer {}", key.expose()));
        if authorization.is_none() {
            let message = "holds characters that no API key has";
            faults.push(ConfigFault::error(format!("{table}.api_key"), message));
        }
        Some(Settings {
            authorization: authorization?,
            endpoint: endpoint?,
        })
    }
}
