//! `[providers.NAME.smtp2go]`, read and checked.

use std::path::PathBuf;
use std::sync::Arc;

use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use malote_core::secret::{Secret, SecretSource};
use reqwest::Url;
use serde::Deserialize;

use crate::settings::{self, Transport};
use crate::smtp::{Native, Preset, build_native};
use crate::{Adapter, ProviderConfig};

/// `[providers.NAME.smtp2go]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Smtp2goConfig {
    /// The API key, which may call `/email/send` and `/email/mime` (`api`), or the password of an
    /// SMTP user (`smtp`). One of the three forms is required.
    pub api_key: Option<Secret>,
    /// The environment variable that holds the API key.
    pub api_key_env: Option<String>,
    /// The file that holds the API key.
    pub api_key_file: Option<PathBuf>,
    /// Where the service takes mail in: `"global"` (default, the nearest), `"us"`, `"eu"` or
    /// `"au"`.
    pub region: Region,
    /// How mail is sent: `"smtp"`, octet for octet, or `"api"`. Default: `"smtp"` if `user` is
    /// given, else `"api"`, since an API key is no SMTP login.
    pub transport: Option<Transport>,
    /// `smtp` only: the name of the SMTP user whose password `api_key` is.
    pub user: Option<String>,
    /// Where the service is, if not at the region's address: tests. `https://…` for `api`,
    /// `smtps://…` or `smtp://…` for `smtp`; without TLS to near addresses only.
    pub endpoint: Option<String>,
}

/// Where SMTP2GO takes mail in; an account is the same everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Region {
    /// `api.smtp2go.com`, the nearest.
    #[default]
    Global,
    /// `us-api.smtp2go.com`.
    Us,
    /// `eu-api.smtp2go.com`.
    Eu,
    /// `au-api.smtp2go.com`.
    Au,
}

impl Region {
    const fn endpoint(self) -> &'static str {
        match self {
            Self::Global => "https://api.smtp2go.com",
            Self::Us => "https://us-api.smtp2go.com",
            Self::Eu => "https://eu-api.smtp2go.com",
            Self::Au => "https://au-api.smtp2go.com",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Us => "us",
            Self::Eu => "eu",
            Self::Au => "au",
        }
    }
}

/// A checked table.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub api_key: Secret,
    pub endpoint: Url,
}

impl Smtp2goConfig {
    /// How mail is sent.
    pub(super) fn transport(&self) -> Transport {
        self.transport.unwrap_or(match self.user {
            Some(_) => Transport::Smtp,
            None => Transport::Api,
        })
    }

    /// Checks the table for the API; `None` if a fault is an error.
    pub(super) fn check(
        &self,
        name: &ProviderName,
        faults: &mut Vec<ConfigFault>,
    ) -> Option<Settings> {
        let at = format!("providers.{name}.smtp2go");
        let api_key = self.key(&at, faults);
        let endpoint = self.endpoint.as_deref();
        let endpoint = endpoint.unwrap_or_else(|| self.region.endpoint());
        let endpoint = settings::endpoint(&format!("{at}.endpoint"), endpoint, faults);
        if self.user.is_some() {
            let message = "is for transport = \"smtp\" only; remove it";
            faults.push(ConfigFault::error(format!("{at}.user"), message));
            return None;
        }
        Some(Settings {
            api_key: api_key?,
            endpoint: endpoint?,
        })
    }

    /// The adapter that sends by SMTP.
    pub(super) fn by_smtp(
        &self,
        name: &ProviderName,
        config: &ProviderConfig,
        clock: &Arc<dyn Clock>,
        faults: &mut Vec<ConfigFault>,
    ) -> Option<Adapter> {
        let at = format!("providers.{name}.smtp2go");
        let password = self.key(&at, faults);
        let password = password?;
        if self.user.is_none() {
            let message = "is missing, so the key itself logs in, which works only for an SMTP \
                           user of that name: give the SMTP user, or transport = \"api\"";
            faults.push(ConfigFault::warning(format!("{at}.user"), message));
        }
        let key = password.clone();
        let native = Native {
            preset: Preset::Smtp2go,
            region: Some(self.region.name()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_a_host() {
        let name = ProviderName::try_from("go").unwrap();
        for (region, host) in [
            ("", "api.smtp2go.com"),
            ("region = 'global'", "api.smtp2go.com"),
            ("region = 'us'", "us-api.smtp2go.com"),
            ("region = 'eu'", "eu-api.smtp2go.com"),
            ("region = 'au'", "au-api.smtp2go.com"),
        ] {
            let table: Smtp2goConfig =
                toml::from_str(&format!("api_key = 'api-1'\n{region}")).unwrap();
            let settings = table.check(&name, &mut Vec::new()).unwrap();
            assert_eq!(settings.endpoint.host_str(), Some(host));
        }
        assert!(toml::from_str::<Smtp2goConfig>("region = 'mars'").is_err());
    }
}
