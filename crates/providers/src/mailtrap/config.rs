//! `[providers.NAME.mailtrap]`, read and checked.

use std::path::PathBuf;

use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use malote_core::secret::{Secret, SecretSource};
use reqwest::Url;
use serde::Deserialize;

use crate::settings;

/// Where the account is asked about: another host than where mail goes.
const ACCOUNT_ENDPOINT: &str = "https://mailtrap.io";

/// `[providers.NAME.mailtrap]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailtrapConfig {
    /// An API token with permission to send for the sender's domain. One of the three forms is
    /// required.
    pub api_token: Option<Secret>,
    /// The environment variable that holds the API token.
    pub api_token_env: Option<String>,
    /// The file that holds the API token.
    pub api_token_file: Option<PathBuf>,
    /// Which stream mail goes through: `"transactional"` (default) or `"bulk"`.
    pub stream: Stream,
    /// Where the service is, its account included, if not at its public addresses: tests. `http` to
    /// near addresses only.
    pub endpoint: Option<String>,
}

/// A stream, each with IP addresses and a reputation of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// `send.api.mailtrap.io`.
    #[default]
    Transactional,
    /// `bulk.api.mailtrap.io`.
    Bulk,
}

impl Stream {
    const fn endpoint(self) -> &'static str {
        match self {
            Self::Transactional => "https://send.api.mailtrap.io",
            Self::Bulk => "https://bulk.api.mailtrap.io",
        }
    }
}

/// A checked table.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub api_token: Secret,
    pub endpoint: Url,
    pub account_endpoint: Url,
}

impl MailtrapConfig {
    /// Checks the table; `None` if a fault is an error.
    pub(crate) fn check(
        &self,
        name: &ProviderName,
        faults: &mut Vec<ConfigFault>,
    ) -> Option<Settings> {
        let at = format!("providers.{name}.mailtrap");
        let api_token = self.token(&at, faults);
        let given = self.endpoint.as_deref();
        let path = format!("{at}.endpoint");
        let endpoint = given.unwrap_or_else(|| self.stream.endpoint());
        let endpoint = settings::endpoint(&path, endpoint, faults)?;
        let account_endpoint = match given {
            Some(_) => endpoint.clone(),
            None => settings::endpoint(&path, ACCOUNT_ENDPOINT, faults)?,
        };
        Some(Settings {
            api_token: api_token?,
            endpoint,
            account_endpoint,
        })
    }

    fn token(&self, at: &str, faults: &mut Vec<ConfigFault>) -> Option<Secret> {
        let source = SecretSource {
            field: "api_token",
            literal: self.api_token.as_ref().map(Secret::expose),
            env: self.api_token_env.as_deref(),
            file: self.api_token_file.as_deref(),
        };
        let token = settings::required_secret(at, &source, faults)?;
        // It becomes a header field's value.
        if token.expose().bytes().all(|b| b.is_ascii_graphic()) {
            return Some(token);
        }
        let message = "holds a space or a character that no API token has";
        faults.push(ConfigFault::error(format!("{at}.api_token"), message));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_a_host_and_the_account_is_another() {
        let name = ProviderName::try_from("mt").unwrap();
        for (stream, host) in [
            ("", "send.api.mailtrap.io"),
            ("stream = 'transactional'", "send.api.mailtrap.io"),
            ("stream = 'bulk'", "bulk.api.mailtrap.io"),
        ] {
            let table: MailtrapConfig =
                toml::from_str(&format!("api_token = 't'\n{stream}")).unwrap();
            let settings = table.check(&name, &mut Vec::new()).unwrap();
            assert_eq!(settings.endpoint.host_str(), Some(host));
            assert_eq!(settings.account_endpoint.host_str(), Some("mailtrap.io"));
        }
        assert!(toml::from_str::<MailtrapConfig>("stream = 'sandbox'").is_err());
    }
}
