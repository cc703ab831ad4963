//! `[credentials.NAME.mautic]`, checked.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use malote_core::address::{EmailAddress, parse_domain};
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use malote_core::secret::{Secret, SecretSource, fetch_required};
use reqwest::Url;
use serde::Deserialize;

use super::Sink;
use super::api::Api;
use super::lookups::Lookups;
use super::pace::Pace;
use super::report::Mailbox;
use super::saying::SinkKind;
use super::token::Login;
use crate::web::{Reach, address};

/// `[credentials.NAME.mautic]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MauticConfig {
    /// Where Mautic is, as its own users open it; for the sinks `api` and `kumomta_callback`.
    pub url: Option<String>,
    /// A Mautic user, for the API by HTTP Basic.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// The environment variable that holds the password.
    pub password_env: Option<String>,
    /// The file that holds the password.
    pub password_file: Option<PathBuf>,
    /// An OAuth 2 client of Mautic, for the API in place of a user.
    pub client_id: Option<String>,
    /// Its secret.
    pub client_secret: Option<Secret>,
    /// The environment variable that holds the secret.
    pub client_secret_env: Option<String>,
    /// The file that holds the secret.
    pub client_secret_file: Option<PathBuf>,
    /// The ways to tell it, the first one that works; default `["api"]`.
    pub sinks: Option<Vec<SinkKind>>,
    /// Calls of the API a second, 0.05 to 100; default 5.
    pub requests_per_second: Option<f64>,
    /// Hosts of one-click addresses that may be posted to, names or addresses; needed by the sink
    /// `one_click`.
    pub one_click_hosts: Vec<String>,
    /// The mailbox that Mautic reads, without a `+`; needed by the sink `dsn`.
    pub dsn_to: Option<String>,
    /// The provider that carries the reports; needed by the sink `dsn`.
    pub dsn_provider: Option<ProviderName>,
    /// Whether Mautic may be reached by http or at a private address; default false.
    pub allow_private: Option<bool>,
}

/// Calls of the API a second.
const PER_SECOND_DEFAULT: f64 = 5.0;

/// A table under examination.
pub(super) struct Table<'a> {
    /// `credentials.NAME.mautic`.
    pub at: &'a str,
    /// What is written there.
    pub config: &'a MauticConfig,
    /// What is wrong with it.
    pub faults: &'a mut Vec<ConfigFault>,
}

impl Table<'_> {
    fn error(&mut self, key: &str, message: impl Into<String>) {
        let path = format!("{}.{key}", self.at);
        self.faults.push(ConfigFault::error(path, message));
    }

    fn warn(&mut self, key: &str, message: impl Into<String>) {
        let path = format!("{}.{key}", self.at);
        self.faults.push(ConfigFault::warning(path, message));
    }

    /// The ways in their order. What is wrong is noted.
    pub(super) fn sinks(&mut self) -> Vec<Sink> {
        let kinds = self.config.sinks.clone().unwrap_or(vec![SinkKind::Api]);
        if kinds.is_empty() {
            self.error("sinks", "names none: name at least one, as in [\"api\"]");
        }
        for (index, kind) in kinds.iter().enumerate() {
            if kinds[..index].contains(kind) {
                let message = format!("{} is listed twice", kind.as_str());
                self.error(&format!("sinks[{index}]"), message);
            }
        }
        self.warn_of_unused(&kinds);
        let sinks = kinds.into_iter().filter_map(|kind| match kind {
            SinkKind::Api => self.api().map(Box::new).map(Sink::Api),
            SinkKind::OneClick => Some(Sink::OneClick(self.hosts())),
            SinkKind::Dsn => self.mailbox().map(Sink::Dsn),
            SinkKind::KumomtaCallback => Some(Sink::KumomtaCallback),
        });
        sinks.collect()
    }

    fn warn_of_unused(&mut self, kinds: &[SinkKind]) {
        let config = self.config;
        for (key, is_given, kind) in [
            ("user", config.user.is_some(), SinkKind::Api),
            ("client_id", config.client_id.is_some(), SinkKind::Api),
            (
                "one_click_hosts",
                !config.one_click_hosts.is_empty(),
                SinkKind::OneClick,
            ),
            ("dsn_to", config.dsn_to.is_some(), SinkKind::Dsn),
            ("dsn_provider", config.dsn_provider.is_some(), SinkKind::Dsn),
        ] {
            if is_given && !kinds.contains(&kind) {
                let message = format!("is never used: sinks does not name \"{}\"", kind.as_str());
                self.warn(key, message);
            }
        }
    }

    /// The address of Mautic; `None` if it is not given.
    pub(super) fn base(&mut self, reach: Reach) -> Option<Url> {
        let kinds = self.config.sinks.as_deref().unwrap_or(&[SinkKind::Api]);
        let is_needed =
            kinds.contains(&SinkKind::Api) || kinds.contains(&SinkKind::KumomtaCallback);
        let Some(text) = &self.config.url else {
            if is_needed {
                self.error("url", "is missing: where Mautic is, as its users open it");
            }
            return None;
        };
        match address::parse(text, reach) {
            Ok(url) if url.query().is_some() => {
                self.error("url", "must be scheme, host, port and path only");
                None
            }
            Ok(url) => Some(url),
            Err(fault) => {
                self.error("url", fault.to_string());
                None
            }
        }
    }

    fn api(&mut self) -> Option<Api> {
        let per_second = self
            .config
            .requests_per_second
            .unwrap_or(PER_SECOND_DEFAULT);
        if !(0.05..=100.0).contains(&per_second) {
            self.error("requests_per_second", "must be 0.05 to 100");
            return None;
        }
        Some(Api {
            login: self.login()?,
            pace: Pace::new(per_second),
            lookups: Lookups::default(),
        })
    }

    fn login(&mut self) -> Option<Login> {
        let config = self.config;
        let password = SecretSource {
            field: "password",
            literal: config.password.as_ref().map(Secret::expose),
            env: config.password_env.as_deref(),
            file: config.password_file.as_deref(),
        };
        let client_secret = SecretSource {
            field: "client_secret",
            literal: config.client_secret.as_ref().map(Secret::expose),
            env: config.client_secret_env.as_deref(),
            file: config.client_secret_file.as_deref(),
        };
        match (&config.user, &config.client_id) {
            (Some(_), Some(_)) => {
                let message = "user and client_id are two ways to log in: give one of them";
                self.error("client_id", message);
                None
            }
            (None, None) => {
                let message = "the API needs a login: give user and password, or client_id and \
                               client_secret";
                self.error("user", message);
                None
            }
            (Some(user), None) => {
                let password = self.needed(&password)?;
                let is_user = !user.is_empty() && !user.contains(':');
                let login = is_user.then(|| Login::basic(user, &password)).flatten();
                if login.is_none() {
                    self.error("user", "must be 1 or more characters without a colon");
                }
                login
            }
            (None, Some(client)) => {
                let secret = self.needed(&client_secret)?;
                Some(Login::client(client.clone(), secret))
            }
        }
    }

    fn needed(&mut self, source: &SecretSource<'_>) -> Option<Secret> {
        fetch_required(self.at, source, self.faults)
    }

    fn hosts(&mut self) -> Vec<String> {
        if self.config.one_click_hosts.is_empty() {
            let message = "is missing: the hosts that one-click addresses may be on, as in \
                           [\"mautic.example\"]";
            self.error("one_click_hosts", message);
        }
        let mut hosts = Vec::new();
        let reach = Reach::of(self.config.allow_private);
        for (index, text) in self.config.one_click_hosts.iter().enumerate() {
            let key = format!("one_click_hosts[{index}]");
            match host(text) {
                Ok(host) => {
                    if let Err(fault) = address::parse(&format!("https://{host}/"), reach) {
                        self.warn(&key, format!("is never posted to: {text:?} {fault}"));
                    }
                    hosts.push(host);
                }
                Err(fault) => self.error(&key, format!("{text:?}: {fault}")),
            }
        }
        hosts
    }

    fn mailbox(&mut self) -> Option<Mailbox> {
        let config = self.config;
        if config.dsn_provider.is_none() {
            self.error(
                "dsn_provider",
                "is missing: the provider that carries reports",
            );
        }
        let Some(text) = &config.dsn_to else {
            self.error("dsn_to", "is missing: the mailbox that Mautic reads");
            return None;
        };
        let to = match EmailAddress::parse(text) {
            Ok(to) if to.local_part().contains(['+', '"']) || to.needs_smtputf8() => {
                let message = "must be the mailbox itself: what follows a + is put there";
                self.error("dsn_to", message);
                return None;
            }
            Ok(to) => to,
            Err(fault) => {
                self.error("dsn_to", fault.to_string());
                return None;
            }
        };
        Some(Mailbox {
            to,
            provider: config.dsn_provider.clone()?,
        })
    }
}

/// A host as URLs have it: a name in small letters, IPv6 in brackets and in its short form.
///
/// # Errors
/// What it is instead.
fn host(text: &str) -> Result<String, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Ok(ip) = bare.unwrap_or(text).parse::<Ipv6Addr>() {
        return match ip.to_ipv4_mapped() {
            Some(v4) => Err(format!("write the address itself, {v4}")),
            None => Ok(format!("[{ip}]")),
        };
    }
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Ok(ip.to_string());
    }
    let fault = |fault| format!("{fault}; write a host, as in \"m.example\" or \"[2001:db8::1]\"");
    parse_domain(text).map_err(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_what_the_urls_of_messages_have() {
        for (text, url) in [
            ("Mautic.Example", "https://mautic.example/u/1"),
            ("192.0.2.1", "https://192.0.2.1/u/1"),
            ("2600:1f18::1", "https://[2600:1f18::1]:8443/u/1"),
            ("[2600:1f18::1]", "https://[2600:1f18::1]/u/1"),
            ("2600:1F18:0:0:0:0:0:1", "https://[2600:1f18::1]/u/1"),
            ("[::1]", "https://[::1]/u/1"),
        ] {
            let url = address::parse(url, Reach::Private).unwrap();
            assert_eq!(host(text).as_deref(), Ok(url.host_str().unwrap()), "{text}");
        }
        for wrong in [
            "",
            "[m.example]",
            "[192.0.2.1]",
            "::ffff:192.0.2.1",
            "[::1",
            "::1%eth0",
        ] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
    }
}
