//! `[providers.NAME]`: exactly one table of a kind, and what all kinds have in common.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use malote_core::fault::ConfigFault;
use malote_core::limits::{Limits, Warmup};
use malote_core::name::{PoolName, ProviderName};
use malote_core::secret::{Secret, SecretSource};
use serde::Deserialize;

use crate::brevo::BrevoConfig;
use crate::capture::CaptureConfig;
use crate::elasticemail::ElasticEmailConfig;
use crate::http::Speech;
use crate::mailgun::MailgunConfig;
use crate::mailjet::MailjetConfig;
use crate::mailtrap::MailtrapConfig;
use crate::postal::PostalConfig;
use crate::postmark::PostmarkConfig;
use crate::resend::ResendConfig;
use crate::sendgrid::SendgridConfig;
use crate::ses::SesConfig;
use crate::smtp::SmtpConfig;
use crate::smtp2go::Smtp2goConfig;
use crate::sparkpost::SparkpostConfig;

/// The kinds, in the order of [`ProviderConfig`]'s tables.
pub const KINDS: [&str; 14] = [
    "ses",
    "mailgun",
    "sparkpost",
    "elasticemail",
    "postmark",
    "sendgrid",
    "mailtrap",
    "mailjet",
    "brevo",
    "resend",
    "smtp2go",
    "postal",
    "smtp",
    "capture",
];

/// One `[providers.NAME]` table.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderConfig {
    /// `[providers.NAME.ses]`: Amazon SES, API v2.
    pub ses: Option<SesConfig>,
    /// `[providers.NAME.mailgun]`: Mailgun, `messages.mime`.
    pub mailgun: Option<MailgunConfig>,
    /// `[providers.NAME.sparkpost]`: SparkPost, raw mail by the Transmissions API.
    pub sparkpost: Option<SparkpostConfig>,
    /// `[providers.NAME.elasticemail]`: Elastic Email, SMTP or API v4.
    pub elasticemail: Option<ElasticEmailConfig>,
    /// `[providers.NAME.postmark]`: Postmark, by SMTP or field by field.
    pub postmark: Option<PostmarkConfig>,
    /// `[providers.NAME.sendgrid]`: SendGrid, by SMTP or field by field.
    pub sendgrid: Option<SendgridConfig>,
    /// `[providers.NAME.mailtrap]`: Mailtrap, one of its two streams.
    pub mailtrap: Option<MailtrapConfig>,
    /// `[providers.NAME.mailjet]`: Mailjet, field by field.
    pub mailjet: Option<MailjetConfig>,
    /// `[providers.NAME.brevo]`: Brevo, the transactional API.
    pub brevo: Option<BrevoConfig>,
    /// `[providers.NAME.resend]`: Resend, field by field.
    pub resend: Option<ResendConfig>,
    /// `[providers.NAME.smtp2go]`: SMTP2GO, by SMTP or its API.
    pub smtp2go: Option<Smtp2goConfig>,
    /// `[providers.NAME.postal]`: Postal, a mail platform of one's own, raw mail by its API.
    pub postal: Option<PostalConfig>,
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
    /// Kinds with an HTTP API: whether calls go by HTTP/2 where the service offers it; default
    /// false. Many calls then share a connection, and if it breaks, the outcome of each is unknown.
    pub http2: Option<bool>,
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
    /// SMTP: header fields put before each message of this pool, for a server of one's own that
    /// picks an address by them and takes them out again. Name to value, at most 16.
    pub headers: BTreeMap<String, String>,
    /// SendGrid: the name of the IP pool.
    pub ip_pool_name: Option<String>,
    /// Postmark: the id of the message stream.
    pub message_stream: Option<String>,
    /// SparkPost: the id of the IP pool.
    pub ip_pool: Option<String>,
    /// Elastic Email: the name of the IP pool.
    pub pool_name: Option<String>,
    /// Elastic Email: the channel under which the service keeps its statistics.
    pub channel: Option<String>,
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
    /// true, with a warning. Postal: whether the SHA-1 signature is believed where there is no
    /// other, as from installations older than version 3; default false.
    pub allow_sha1: Option<bool>,
    /// SES: the SNS signing certificate (PEM) in a file, instead of fetching it.
    pub certificate_file: Option<PathBuf>,
    /// Mailgun, Mailtrap: the webhook's signing key.
    pub signing_key: Option<Secret>,
    /// The environment variable that holds the signing key.
    pub signing_key_env: Option<String>,
    /// The file that holds the signing key.
    pub signing_key_file: Option<PathBuf>,
    /// SendGrid, Postal: the public key with which events are verified, SubjectPublicKeyInfo in
    /// Base64, as SendGrid's console and the `p=` of Postal's DKIM record show it, or in PEM.
    pub public_key: Option<String>,
    /// The environment variable that holds the public key.
    pub public_key_env: Option<String>,
    /// The file that holds the public key.
    pub public_key_file: Option<PathBuf>,
    /// Services that sign nothing (Postmark, SparkPost, Elastic Email, SMTP2GO, Brevo, Mailjet) or
    /// need not (Mailtrap): the secret that their requests must carry, at least 16 characters.
    /// Resend: the secret that it signs with, `whsec_...`. SES: a secret besides, without which
    /// nothing is fetched for a post.
    pub secret: Option<Secret>,
    /// The environment variable that holds the secret.
    pub secret_env: Option<String>,
    /// The file that holds the secret.
    pub secret_file: Option<PathBuf>,
}

/// The services that sign nothing, so that a shared secret must do, and those that may carry one.
const WITH_SECRET: [&str; 9] = [
    "ses",
    "postmark",
    "sparkpost",
    "elasticemail",
    "smtp2go",
    "brevo",
    "mailjet",
    "mailtrap",
    "resend",
];
/// The services that sign with a key that only they and their customer know.
const WITH_SIGNING_KEY: [&str; 2] = ["mailgun", "mailtrap"];

/// A key of [`PoolConfig`] or [`WebhookConfig`] and the kinds that know it.
struct OwnedKey {
    path: &'static str,
    kinds: Vec<&'static str>,
    is_given: bool,
}

impl OwnedKey {
    fn new(path: &'static str, kinds: &[&'static str], is_given: bool) -> Self {
        Self {
            path,
            kinds: kinds.to_vec(),
            is_given,
        }
    }

    /// The fault of a key at `at` that a provider of this kind does not know.
    fn fault(&self, at: &str, kind: &str) -> Option<ConfigFault> {
        if !self.is_given || self.kinds.contains(&kind) {
            return None;
        }
        let message = format!(
            "belongs to kind {}, this provider is {kind}",
            self.kinds.join(" or ")
        );
        Some(ConfigFault::error(format!("{at}.{}", self.path), message))
    }
}

impl ProviderConfig {
    /// Whether `[dkim]` signs what leaves by this provider: mail servers that no service stands
    /// behind, unless the table says otherwise.
    #[must_use]
    pub fn is_signed_here(&self) -> bool {
        self.smtp.as_ref().is_some_and(SmtpConfig::is_signed_here)
    }

    /// The names of the kind tables that are given.
    #[must_use]
    pub fn kinds(&self) -> Vec<&'static str> {
        let given = [
            self.ses.is_some(),
            self.mailgun.is_some(),
            self.sparkpost.is_some(),
            self.elasticemail.is_some(),
            self.postmark.is_some(),
            self.sendgrid.is_some(),
            self.mailtrap.is_some(),
            self.mailjet.is_some(),
            self.brevo.is_some(),
            self.resend.is_some(),
            self.smtp2go.is_some(),
            self.postal.is_some(),
            self.smtp.is_some(),
            self.capture.is_some(),
        ];
        let kinds = KINDS.iter().zip(given);
        kinds
            .filter_map(|(kind, is_given)| is_given.then_some(*kind))
            .collect()
    }

    /// Which HTTP the calls go by.
    pub(crate) fn speech(&self) -> Speech {
        match self.http2 {
            Some(true) => Speech::Http2,
            Some(false) | None => Speech::Http1,
        }
    }

    /// Whose service it is: the kind, or the preset of kind `smtp`. `None` unless there is exactly
    /// one kind.
    pub(crate) fn service(&self) -> Option<&'static str> {
        match (self.kinds().as_slice(), &self.smtp) {
            ([_], Some(smtp)) => Some(smtp.preset.map_or("smtp", |preset| preset.dialect().name)),
            ([kind], None) => Some(kind),
            (_, _) => None,
        }
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
                "give exactly one kind, as in [providers.{name}.smtp] ({}); found {found}",
                KINDS.join(", ")
            );
            faults.push(ConfigFault::error(at, message));
            return;
        };
        for (pool, config) in &self.pools {
            let pool_at = format!("{at}.pools.{pool}");
            let keys = config.owned_keys();
            faults.extend(keys.iter().filter_map(|key| key.fault(&pool_at, kind)));
            check_limits(&format!("{at}.pools.{pool}.limits"), &config.limits, faults);
            if let Some(warmup) = &config.warmup {
                check_warmup(&format!("{at}.pools.{pool}.warmup"), warmup, faults);
            }
        }
        // A service's events are the same whichever way its mail went.
        let webhook_at = format!("{at}.webhook");
        let service = self.service().unwrap_or(kind);
        let keys = self.webhook.iter().flat_map(WebhookConfig::owned_keys);
        faults.extend(keys.filter_map(|key| key.fault(&webhook_at, service)));
        check_limits(&format!("{at}.limits"), &self.limits, faults);
        if self.http2.is_some() && matches!(*kind, "smtp" | "capture") {
            let message = format!("is for kinds with an HTTP API, this provider is {kind}");
            faults.push(ConfigFault::error(format!("{at}.http2"), message));
        }
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
    fn owned_keys(&self) -> Vec<OwnedKey> {
        // A service's own keys are also its SMTP preset's.
        let own = |path, kind, is_given| OwnedKey::new(path, &[kind, "smtp"], is_given);
        let mut keys = vec![
            own("configuration_set", "ses", self.configuration_set.is_some()),
            own("sending_ip_pool", "mailgun", self.sending_ip_pool.is_some()),
            own("ip_pool_name", "sendgrid", self.ip_pool_name.is_some()),
            own("message_stream", "postmark", self.message_stream.is_some()),
            own("ip_pool", "sparkpost", self.ip_pool.is_some()),
            own("pool_name", "elasticemail", self.pool_name.is_some()),
            own("channel", "elasticemail", self.channel.is_some()),
        ];
        let smtp = |path, is_given| OwnedKey::new(path, &["smtp"], is_given);
        keys.push(smtp("source_addresses", !self.source_addresses.is_empty()));
        keys.push(smtp("headers", !self.headers.is_empty()));
        keys
    }
}

impl WebhookConfig {
    fn owned_keys(&self) -> Vec<OwnedKey> {
        vec![
            OwnedKey::new("topic_arns", &["ses"], !self.topic_arns.is_empty()),
            OwnedKey::new("allow_sha1", &["ses", "postal"], self.allow_sha1.is_some()),
            OwnedKey::new(
                "certificate_file",
                &["ses"],
                self.certificate_file.is_some(),
            ),
            OwnedKey::new(
                "signing_key",
                &WITH_SIGNING_KEY,
                self.signing_key().is_given(),
            ),
            OwnedKey::new(
                "public_key",
                &["sendgrid", "postal"],
                self.public_key().is_given(),
            ),
            OwnedKey::new("secret", &WITH_SECRET, self.secret().is_given()),
        ]
    }

    /// Where the signing key is.
    pub(crate) fn signing_key(&self) -> SecretSource<'_> {
        SecretSource {
            field: "signing_key",
            literal: self.signing_key.as_ref().map(Secret::expose),
            env: self.signing_key_env.as_deref(),
            file: self.signing_key_file.as_deref(),
        }
    }

    /// Where the public key is.
    pub(crate) fn public_key(&self) -> SecretSource<'_> {
        SecretSource {
            field: "public_key",
            literal: self.public_key.as_deref(),
            env: self.public_key_env.as_deref(),
            file: self.public_key_file.as_deref(),
        }
    }

    /// Where the shared secret is.
    pub(crate) fn secret(&self) -> SecretSource<'_> {
        SecretSource {
            field: "secret",
            literal: self.secret.as_ref().map(Secret::expose),
            env: self.secret_env.as_deref(),
            file: self.secret_file.as_deref(),
        }
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
            sparkpost = { api_key = 'CANARY' }
            elasticemail = { api_key = 'CANARY' }
            postmark = { server_token = 'CANARY' }
            sendgrid = { api_key = 'CANARY' }
            mailtrap = { api_token = 'CANARY' }
            mailjet = { api_key = 'CANARY', secret_key = 'CANARY' }
            brevo = { api_key = 'CANARY' }
            resend = { api_key = 'CANARY' }
            smtp2go = { api_key = 'CANARY' }
            postal = { server_key = 'CANARY' }
            smtp = { host = 'x.test', user = 'u', password = 'CANARY' }
            webhook = { signing_key = 'CANARY', secret = 'CANARY' }
        ";
        let config: ProviderConfig = toml::from_str(text).unwrap();
        let shown = format!("{config:?}");
        assert!(!shown.contains("CANARY"), "{shown}");
        assert_eq!(shown.matches("***").count(), 17, "{shown}");
    }
}
