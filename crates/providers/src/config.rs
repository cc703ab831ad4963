//! `[providers.NAME]`: exactly one table of a kind, and what all kinds have in common.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use malote_core::fault::ConfigFault;
use malote_core::limits::{Limits, Warmup};
use malote_core::name::{PoolName, ProviderName};
use malote_core::secret::Secret;
use serde::Deserialize;

use crate::capture::CaptureConfig;
use crate::mailgun::MailgunConfig;
use crate::ses::SesConfig;
use crate::smtp::SmtpConfig;

/// One `[providers.NAME]` table.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderConfig {
    /// `[providers.NAME.ses]`: Amazon SES, API v2.
    pub ses: Option<SesConfig>,
    /// `[providers.NAME.mailgun]`: Mailgun, `messages.mime`.
    pub mailgun: Option<MailgunConfig>,
    /// `[providers.NAME.smtp]`: any SMTP server.
    pub smtp: Option<SmtpConfig>,
    /// `[providers.NAME.capture]`: keeps mail in the store, for development.
    pub capture: Option<CaptureConfig>,
    /// `[providers.NAME.pools.POOL]`; a pool that has no settings of its own needs no table.
    pub pools: BTreeMap<PoolName, PoolConfig>,
    /// `[providers.NAME.limits]`: of the whole account.
    pub limits: Limits,
    /// `[providers.NAME.webhook]`: how the service proves that its events are its own.
    pub webhook: Option<WebhookConfig>,
    /// What a thousand recipients cost, any currency, the same for all providers; `least_cost`
    /// routes compare it. Default 0.
    pub cost_per_thousand: Option<f64>,
}

/// One `[providers.NAME.pools.POOL]` table. Which keys have a meaning depends on the kind; a key
/// of another kind is refused.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoolConfig {
    /// SES: the configuration set, which binds a dedicated IP pool.
    pub configuration_set: Option<String>,
    /// Mailgun: the id for `o:sending-ip-pool`.
    pub sending_ip_pool: Option<String>,
    /// SMTP: local addresses to connect from, in turn per connection.
    pub source_addresses: Vec<IpAddr>,
    /// Limits of this pool, besides the account's.
    pub limits: Limits,
    /// Warm-up of this pool's IPs.
    pub warmup: Option<Warmup>,
}

/// One `[providers.NAME.webhook]` table. Which keys have a meaning depends on the kind.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookConfig {
    /// SES: the SNS topics that may speak to us. Anybody can own a topic, so this is required.
    pub topic_arns: Vec<String>,
    /// SES: whether SNS signature version 1 (SHA-1, the service's default) is believed; default
    /// true, with a warning.
    pub allow_sha1: Option<bool>,
    /// SES: the SNS signing certificate (PEM) in a file, instead of fetching it.
    pub certificate_file: Option<PathBuf>,
    /// Mailgun: the HTTP webhook signing key.
    pub signing_key: Option<Secret>,
    /// Mailgun: the environment variable that holds the signing key.
    pub signing_key_env: Option<String>,
    /// Mailgun: the file that holds the signing key.
    pub signing_key_file: Option<PathBuf>,
}

/// A key of [`PoolConfig`] or [`WebhookConfig`] and the kind that knows it.
struct OwnedKey {
    path: &'static str,
    kind: &'static str,
    is_given: bool,
}

impl ProviderConfig {
    /// The names of the kind tables that are given.
    #[must_use]
    pub fn kinds(&self) -> Vec<&'static str> {
        let given = [
            ("ses", self.ses.is_some()),
            ("mailgun", self.mailgun.is_some()),
            ("smtp", self.smtp.is_some()),
            ("capture", self.capture.is_some()),
        ];
        given
            .into_iter()
            .filter_map(|(kind, is_given)| is_given.then_some(kind))
            .collect()
    }

    /// What no adapter needs to know: exactly one kind, no keys of other kinds, limits in range.
    pub(crate) fn check_shape(&self, name: &ProviderName, faults: &mut Vec<ConfigFault>) {
        let at = format!("providers.{name}");
        let kinds = self.kinds();
        let [kind] = kinds.as_slice() else {
            let found = if kinds.is_empty() {
                "none".to_owned()
            } else {
                kinds.join(", ")
            };
            let message = format!(
                "give exactly one kind, as in [providers.{name}.smtp] (ses, mailgun, smtp or capture); found {found}"
            );
            faults.push(ConfigFault::error(at, message));
            return;
        };
        for (pool, config) in &self.pools {
            for key in config.owned_keys() {
                if key.is_given && key.kind != *kind {
                    let path = format!("{at}.pools.{pool}.{}", key.path);
                    let message = format!("belongs to kind {}, this provider is {kind}", key.kind);
                    faults.push(ConfigFault::error(path, message));
                }
            }
            check_limits(&format!("{at}.pools.{pool}.limits"), &config.limits, faults);
            if let Some(warmup) = &config.warmup {
                check_warmup(&format!("{at}.pools.{pool}.warmup"), warmup, faults);
            }
        }
        for key in self.webhook.iter().flat_map(WebhookConfig::owned_keys) {
            if key.is_given && key.kind != *kind {
                let message = format!("belongs to kind {}, this provider is {kind}", key.kind);
                faults.push(ConfigFault::error(
                    format!("{at}.webhook.{}", key.path),
                    message,
                ));
            }
        }
        check_limits(&format!("{at}.limits"), &self.limits, faults);
        if self
            .cost_per_thousand
            .is_some_and(|cost| !(0.0..=1e6).contains(&cost))
        {
            let path = format!("{at}.cost_per_thousand");
            faults.push(ConfigFault::error(path, "must be from 0 to 1000000"));
        }
    }
}

impl PoolConfig {
    fn owned_keys(&self) -> [OwnedKey; 3] {
        [
            OwnedKey {
                path: "configuration_set",
                kind: "ses",
                is_given: self.configuration_set.is_some(),
            },
            OwnedKey {
                path: "sending_ip_pool",
                kind: "mailgun",
                is_given: self.sending_ip_pool.is_some(),
            },
            OwnedKey {
                path: "source_addresses",
                kind: "smtp",
                is_given: !self.source_addresses.is_empty(),
            },
        ]
    }
}

impl WebhookConfig {
    fn owned_keys(&self) -> [OwnedKey; 4] {
        let has_signing_key = self.signing_key.is_some()
            || self.signing_key_env.is_some()
            || self.signing_key_file.is_some();
        [
            OwnedKey {
                path: "topic_arns",
                kind: "ses",
                is_given: !self.topic_arns.is_empty(),
            },
            OwnedKey {
                path: "allow_sha1",
                kind: "ses",
                is_given: self.allow_sha1.is_some(),
            },
            OwnedKey {
                path: "certificate_file",
                kind: "ses",
                is_given: self.certificate_file.is_some(),
            },
            OwnedKey {
                path: "signing_key",
                kind: "mailgun",
                is_given: has_signing_key,
            },
        ]
    }
}

fn check_limits(at: &str, limits: &Limits, faults: &mut Vec<ConfigFault>) {
    if limits
        .per_second
        .is_some_and(|rate| !(0.01..=100_000.0).contains(&rate))
    {
        faults.push(ConfigFault::error(
            format!("{at}.per_second"),
            "must be from 0.01 to 100000",
        ));
    }
    for (key, cap) in [("per_hour", limits.per_hour), ("per_day", limits.per_day)] {
        if cap == Some(0) {
            let message = "must be at least 1; to stop a provider, pause it";
            faults.push(ConfigFault::error(format!("{at}.{key}"), message));
        }
    }
    if limits
        .concurrency
        .is_some_and(|calls| !(1..=10_000).contains(&calls))
    {
        faults.push(ConfigFault::error(
            format!("{at}.concurrency"),
            "must be from 1 to 10000",
        ));
    }
    if limits
        .transactional_reserve
        .is_some_and(|share| !(0.0..=0.9).contains(&share))
    {
        let path = format!("{at}.transactional_reserve");
        faults.push(ConfigFault::error(path, "must be from 0.0 to 0.9"));
    }
}

fn check_warmup(at: &str, warmup: &Warmup, faults: &mut Vec<ConfigFault>) {
    if warmup.day_1 == 0 || warmup.until < warmup.day_1 {
        faults.push(ConfigFault::error(
            at,
            "day_1 must be at least 1 and until at least day_1",
        ));
    }
    if !(1.0..=10.0).contains(&warmup.growth) {
        faults.push(ConfigFault::error(
            format!("{at}.growth"),
            "must be from 1.0 to 10.0",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret_of_any_kind() {
        let text = "
            ses = { region = 'us-east-1', secret_access_key = 'CANARY', session_token = 'CANARY' }
            mailgun = { domain = 'x.test', api_key = 'CANARY' }
            smtp = { host = 'x.test', user = 'u', password = 'CANARY' }
            webhook = { signing_key = 'CANARY' }
        ";
        let config: ProviderConfig = toml::from_str(text).unwrap();
        let shown = format!("{config:?}");
        assert!(!shown.contains("CANARY"), "{shown}");
        assert_eq!(shown.matches("***").count(), 5, "{shown}");
    }
}
