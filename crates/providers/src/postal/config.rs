//! `[providers.NAME.postal]`, read and checked.

use std::path::PathBuf;

use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use malote_core::secret::{Secret, SecretSource};
use reqwest::Url;
use serde::Deserialize;

use crate::settings;

/// `[providers.NAME.postal]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostalConfig {
    /// The key of a credential of type API, which belongs to one mail server of the installation.
    /// One of the three forms is required.
    pub server_key: Option<Secret>,
    /// The environment variable that holds the server key.
    pub server_key_env: Option<String>,
    /// The file that holds the server key.
    pub server_key_file: Option<PathBuf>,
    /// Where the installation is, as in `"https://postal.shop.example"`; required. `http` to near
    /// addresses only.
    pub endpoint: Option<String>,
}

/// A checked table.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub server_key: Secret,
    pub endpoint: Url,
}

impl PostalConfig {
    /// Checks the table; `None` if a fault is an error.
    pub(super) fn check(
        &self,
        name: &ProviderName,
        faults: &mut Vec<ConfigFault>,
    ) -> Option<Settings> {
        let at = format!("providers.{name}.postal");
        let server_key = self.key(&at, faults);
        let path = format!("{at}.endpoint");
        let endpoint = match self.endpoint.as_deref() {
            Some(text) => settings::endpoint(&path, text, faults),
            None => {
                let message = "is missing: where Postal is, as in \"https://postal.shop.example\"";
                faults.push(ConfigFault::error(path, message));
                None
            }
        };
        Some(Settings {
            server_key: server_key?,
            endpoint: endpoint?,
        })
    }

    fn key(&self, at: &str, faults: &mut Vec<ConfigFault>) -> Option<Secret> {
        let source = SecretSource {
            field: "server_key",
            literal: self.server_key.as_ref().map(Secret::expose),
            env: self.server_key_env.as_deref(),
            file: self.server_key_file.as_deref(),
        };
        let key = settings::required_secret(at, &source, faults)?;
        // It becomes a header field's value.
        if key.expose().bytes().all(|b| b.is_ascii_graphic()) {
            return Some(key);
        }
        let message = "holds a space or a character that no key has";
        faults.push(ConfigFault::error(format!("{at}.server_key"), message));
        None
    }
}
