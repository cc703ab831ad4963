//! `[providers.NAME.mailjet]`, read and checked.

use std::path::PathBuf;

use malote_core::fault::ConfigFault;
use malote_core::secret::{Secret, SecretSource};
use reqwest::Url;
use serde::Deserialize;

use crate::settings;

const ENDPOINT: &str = "https://api.mailjet.com";

/// `[providers.NAME.mailjet]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailjetConfig {
    /// The API key. One of the three forms is required.
    pub api_key: Option<Secret>,
    /// The environment variable that holds the API key.
    pub api_key_env: Option<String>,
    /// The file that holds the API key.
    pub api_key_file: Option<PathBuf>,
    /// The secret key that belongs to it. One of the three forms is required.
    pub secret_key: Option<Secret>,
    /// The environment variable that holds the secret key.
    pub secret_key_env: Option<String>,
    /// The file that holds the secret key.
    pub secret_key_file: Option<PathBuf>,
    /// Where the API is, if not at its own address: accounts in the United States use
    /// `https://api.us.mailjet.com`. `http` to near addresses only.
    pub endpoint: Option<String>,
}

/// A checked table.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub api_key: Secret,
    pub secret_key: Secret,
    pub endpoint: Url,
}

impl MailjetConfig {
    /// Checks the table at `at` (`providers.NAME`); `None` if a fault is an error.
    pub(crate) fn check(&self, at: &str, faults: &mut Vec<ConfigFault>) -> Option<Settings> {
        let table = format!("{at}.mailjet");
        let api_key = SecretSource {
            field: "api_key",
            literal: self.api_key.as_ref().map(Secret::expose),
            env: self.api_key_env.as_deref(),
            file: self.api_key_file.as_deref(),
        };
        let secret_key = SecretSource {
            field: "secret_key",
            literal: self.secret_key.as_ref().map(Secret::expose),
            env: self.secret_key_env.as_deref(),
            file: self.secret_key_file.as_deref(),
        };
        let api_key = key(&table, &api_key, faults);
        let secret_key = key(&table, &secret_key, faults);
        let endpoint = self.endpoint.as_deref().unwrap_or(ENDPOINT);
        let endpoint = settings::endpoint(&format!("{table}.endpoint"), endpoint, faults);
        Some(Settings {
            api_key: api_key?,
            secret_key: secret_key?,
            endpoint: endpoint?,
        })
    }
}

/// RFC 7617 2: the two are sent with a colon between them, so neither may hold one.
fn key(table: &str, source: &SecretSource<'_>, faults: &mut Vec<ConfigFault>) -> Option<Secret> {
    let key = settings::required_secret(table, source, faults)?;
    let is_key = |b: u8| b.is_ascii_graphic() && b != b':';
    if key.expose().bytes().all(is_key) {
        return Some(key);
    }
    let message = "is not a key: it holds a space, a colon or a character outside ASCII";
    faults.push(ConfigFault::error(
        format!("{table}.{}", source.field),
        message,
    ));
    None
}
