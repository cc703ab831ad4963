//! The configuration as it is written: the crates' own structs, and the tables of the program.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use malote_core::credential::{BadRecipients, OnFinalFailure, ReceivedDetail};
use malote_core::name::{CredentialName, ProviderName, RouteName, StreamName};
use malote_core::secret::Secret;
use malote_core::stream::{Class, OnThrottle, OnUnknown};
use malote_core::units::{ByteSize, Span};
use malote_delivery::Bounds;
use malote_feedback::{MauticConfig, WebhookConfig};
use malote_ingress::http::HttpConfig;
use malote_ingress::smtp::SmtpConfig;
use malote_providers::{DkimConfig, ProviderConfig};
use malote_router::{MailboxProvidersConfig, RouteConfig, RuleConfig};
use malote_store::{PostgresConfig, SqliteConfig};
use serde::{Deserialize, Serialize};

use super::doctor::DoctorConfig;
use super::unsubscribe::UnsubscribeConfig;

/// All tables.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawConfig {
    /// `[http]`; without it there is no HTTP door.
    pub http: Option<HttpConfig>,
    /// `[admin]`.
    pub admin: AdminConfig,
    /// `[smtp]` and `[[smtp.listeners]]`.
    pub smtp: SmtpConfig,
    /// `[store]`.
    pub store: StoreConfig,
    /// `[shared]`.
    pub shared: SharedConfig,
    /// `[credentials.NAME]`.
    pub credentials: BTreeMap<CredentialName, CredentialConfig>,
    /// `[streams.NAME]`.
    pub streams: BTreeMap<StreamName, StreamConfig>,
    /// `[routes.NAME]`.
    pub routes: BTreeMap<RouteName, RouteConfig>,
    /// `[[rules]]`.
    pub rules: Vec<RuleConfig>,
    /// `[providers.NAME]`.
    pub providers: BTreeMap<ProviderName, ProviderConfig>,
    /// `[dkim."DOMAIN"]`.
    pub dkim: BTreeMap<String, DkimConfig>,
    /// `[mailbox_providers]`.
    pub mailbox_providers: MailboxProvidersConfig,
    /// `[unsubscribe]`; without it the gateway adds no List-Unsubscribe.
    pub unsubscribe: Option<UnsubscribeConfig>,
    /// `[delivery]`.
    pub delivery: DeliveryConfig,
    /// `[retention]`.
    pub retention: RetentionConfig,
    /// `[log]`.
    pub log: LogConfig,
    /// `[doctor]`.
    pub doctor: DoctorConfig,
}

/// `[store]`: one table per engine; exactly one is there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StoreConfig {
    /// `[store.sqlite]`.
    pub sqlite: Option<SqliteConfig>,
    /// `[store.postgres]`.
    pub postgres: Option<PostgresConfig>,
}

impl StoreConfig {
    /// Whether there is no table of an engine.
    pub(super) const fn is_empty(&self) -> bool {
        self.sqlite.is_none() && self.postgres.is_none()
    }
}

/// `[shared]`: where what several nodes must agree on is kept, if not in the store.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SharedConfig {
    /// `[shared.postgres]`.
    pub postgres: Option<PostgresConfig>,
}

/// `[admin]`: metrics, health and the operators' endpoints.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AdminConfig {
    /// Address and port; default `127.0.0.1:8081`. Beyond loopback a token is required.
    pub listen: SocketAddr,
    /// The token that operators present as `Authorization: Bearer TOKEN`.
    pub token: Option<Secret>,
    /// The environment variable that holds the token.
    pub token_env: Option<String>,
    /// The file that holds the token.
    pub token_file: Option<PathBuf>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            token: None,
            token_env: None,
            token_file: None,
        }
    }
}

/// One `[credentials.NAME]` table.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CredentialConfig {
    /// The key that an app presents as `Authorization: Bearer KEY`, at most 512 visible ASCII
    /// characters.
    pub api_key: Option<Secret>,
    /// The environment variable that holds the key.
    pub api_key_env: Option<String>,
    /// The file that holds the key.
    pub api_key_file: Option<PathBuf>,
    /// The SMTP user name; needs a password.
    pub smtp_user: Option<String>,
    /// The SMTP password.
    pub smtp_password: Option<Secret>,
    /// The environment variable that holds the password.
    pub smtp_password_env: Option<String>,
    /// The file that holds the password.
    pub smtp_password_file: Option<PathBuf>,
    /// The streams it may use, at least one.
    pub streams: Vec<StreamName>,
    /// The stream of mail that nothing else classifies; one of `streams`.
    pub default_stream: Option<StreamName>,
    /// Domains it may put in From, with their subdomains; empty means any.
    pub from_domains: Vec<String>,
    /// What happens over SMTP to a From outside `from_domains`; default `rewrite` with an SMTP
    /// login, else `reject`.
    pub on_foreign_from: Option<ForeignFrom>,
    /// The address that From becomes when it is rewritten.
    pub rewrite_from: Option<String>,
    /// What happens over SMTP to a recipient address that cannot exist; default `refuse`.
    pub bad_recipients: BadRecipients,
    /// Who is told when a delivery fails for good; default `dsn` with an SMTP login and
    /// neither a webhook nor a Mautic, else `event`.
    pub on_final_failure: Option<OnFinalFailure>,
    /// Whether provider control headers (`X-SES-*`, `X-Mailgun-*`, ...) may pass; default false.
    pub provider_headers: bool,
    /// Whether the added `Received` field names the client's address; default `brief`.
    pub received: ReceivedDetail,
    /// Whether raw UTF-8 in header fields is taken without SMTPUTF8; default false.
    pub lenient_headers: bool,
    /// `[[credentials.NAME.webhooks]]`: who is told of its messages' events.
    pub webhooks: Vec<WebhookConfig>,
    /// `[credentials.NAME.mautic]`: the Mautic that is told whom not to write to again.
    pub mautic: Option<MauticConfig>,
}

/// What happens to a From that the credential may not use, as configuration writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ForeignFrom {
    /// Refused with 550 5.7.1.
    Reject,
    /// From becomes `rewrite_from`, Reply-To keeps the original.
    Rewrite,
}

/// One `[streams.NAME]` table. What is absent has the default of the class.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamConfig {
    /// `"transactional"` or `"campaign"`.
    pub class: Class,
    /// The route of deliveries that no route rule takes elsewhere.
    pub route: RouteName,
    /// When deferred deliveries are sent again.
    #[serde(default)]
    pub retry: RetryConfig,
    /// What to do when nobody can say whether a provider took a message.
    #[serde(default)]
    pub on_unknown: Option<OnUnknown>,
    /// When the next target takes over.
    #[serde(default)]
    pub failover: FailoverConfig,
    /// How long a message may take to be handed over.
    #[serde(default)]
    pub write_wait_max: Option<Span>,
    /// Octets a second that a large one must make.
    #[serde(default)]
    pub write_rate_min: Option<ByteSize>,
    /// How long to wait for the reply after the last octet.
    #[serde(default)]
    pub reply_wait_max: Option<Span>,
    /// Whether opens are tracked where a message does not say; absent: as the service's own
    /// settings say.
    #[serde(default)]
    pub track_opens: Option<bool>,
    /// The same for clicks.
    #[serde(default)]
    pub track_clicks: Option<bool>,
    /// The sender's part of `Feedback-ID`, 5 to 15 letters, digits, - and _; campaign streams only.
    #[serde(default)]
    pub feedback_id: Option<String>,
    /// `[streams.NAME.guard]`: when campaigns are slowed and paused; campaign streams only.
    #[serde(default)]
    pub guard: Option<GuardConfig>,
}

/// `retry` of a stream.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RetryConfig {
    /// Longest wait before the second attempt, `"1s"` to `"1d"`.
    pub first: Option<Span>,
    /// Growth of the wait, 1.0 to 10.0.
    pub factor: Option<f64>,
    /// Longest wait of all, `first` to `"1d"`.
    pub max: Option<Span>,
    /// Age at which a message expires, `"1m"` to `"14d"`.
    pub give_up_after: Option<Span>,
}

/// `guard` of a stream. Shares are of the mail sent within the window.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct GuardConfig {
    /// Whether it acts; default true.
    pub enabled: Option<bool>,
    /// The sliding window, `"1h"` to `"7d"`; default `"24h"`.
    pub window: Option<Span>,
    /// Sends within it before anything is decided, 10 to 1,000,000; default 500.
    pub min_sends: Option<u64>,
    /// Hard bounces above which a campaign is slowed, up to `bounce_pause`; default 0.03.
    pub bounce_slow: Option<f64>,
    /// Hard bounces above which it is paused, up to 1.0; default 0.05.
    pub bounce_pause: Option<f64>,
    /// Complaints above which it is slowed, up to `complaint_pause`; default 0.0005.
    pub complaint_slow: Option<f64>,
    /// Complaints above which it is paused, up to 1.0; default 0.001.
    pub complaint_pause: Option<f64>,
    /// The share of its pace that a slowed campaign keeps, 0.01 to 0.9; default 0.1.
    pub slow_to: Option<f64>,
}

/// `failover` of a stream.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FailoverConfig {
    /// How long a delivery stays with a target that fails transiently.
    pub transient_after: Option<Span>,
    /// What a throttled delivery does.
    pub on_throttle: Option<OnThrottle>,
}

/// `[delivery]`: the engine.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveryConfig {
    /// Messages under way at once, over all providers, 1 to 10,000; default 1024. Read at start.
    pub workers: u32,
    /// Share of the workers that only transactional streams may use, 0.0 to 0.9; default 0.25.
    /// Read at start.
    pub transactional_reserve: f64,
    /// How long a stop waits for what is under way, `"0s"` to `"10m"`; default `"25s"`.
    pub drain: Span,
    /// How long a drained gateway still takes mail after it said that it is not ready, for balancers
    /// to turn away from it, `"0s"` to `"5m"`; default `"5s"`.
    pub drain_notice: Span,
    /// Octets of queued mail above which campaign mail is refused, at least `"1MiB"`; default
    /// `"64GiB"`. Transactional mail may use a tenth more.
    pub queue_bytes_max: ByteSize,
    /// Recipients of one Mautic e-mail id in ten minutes above which mail with no other mark of a
    /// campaign is one, 1 to 1,000,000; default 50.
    pub campaign_burst: u64,
    /// Crashes of the process with a delivery under way after which it is quarantined, 1 to
    /// 1,000; default 10.
    pub crashes_max: u32,
    /// Bounces for a full mailbox within `soft_bounce_window` that suppress the address, 1 to
    /// 1,000; default 5.
    pub soft_bounces_max: u32,
    /// The window in which they are counted, `"1h"` to `"90d"`; default `"14d"`.
    pub soft_bounce_window: Span,
    /// How long such a suppression lasts, `"1h"` to `"3650d"`; default `"30d"`.
    pub soft_bounce_suppression: Span,
    /// Delivery status notifications a minute and credential, 1 to 10,000; default 60.
    pub dsn_per_minute: u32,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        let bounds = Bounds::default();
        Self {
            workers: bounds.workers,
            transactional_reserve: bounds.transactional_reserve,
            drain: Span(bounds.drain_max),
            drain_notice: Span(bounds.drain_notice),
            queue_bytes_max: ByteSize(bounds.queue_bytes_max),
            campaign_burst: malote_router::CAMPAIGN_BURST_DEFAULT,
            crashes_max: bounds.crashes_max,
            soft_bounces_max: bounds.soft_bounces_max,
            soft_bounce_window: Span(bounds.soft_bounce_window),
            soft_bounce_suppression: Span(bounds.soft_bounce_suppression),
            dsn_per_minute: bounds.dsn_per_minute,
        }
    }
}

/// `[retention]`: how long what is settled is kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionConfig {
    /// Bodies, after the last delivery is settled, `"0s"` to `"365d"`; default `"1h"`.
    pub bodies: Span,
    /// Messages with their timelines, after acceptance, `"1d"` to `"3650d"`; default `"30d"`.
    pub messages: Span,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        let bounds = Bounds::default();
        Self {
            bodies: Span(bounds.keep_bodies),
            messages: Span(bounds.keep_messages),
        }
    }
}

/// `[log]`: what standard output tells.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `"text"` (default) or `"json"`, one event a line.
    pub format: LogFormat,
    /// `"error"`, `"warn"`, `"info"` (default), `"debug"` or `"trace"`, or a list such as
    /// `"info,malote_delivery=debug"`. The environment variable `MALOTE_LOG` wins.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: "info".to_owned(),
        }
    }
}

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For log collectors.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret_of_any_table() {
        let text = "
            admin = { token = 'CANARY' }
            credentials.shop = { api_key = 'CANARY', smtp_password = 'CANARY', streams = [] }
            credentials.a.webhooks = [{ secret = 'CANARY', secret_next = 'CANARY' }]
            credentials.a.mautic = { password = 'CANARY', client_secret = 'CANARY' }
            smtp.listeners = [{ listen = '[::1]:25', tls = 'none', verp_secret = 'CANARY', verp_secret_previous = 'CANARY' }]
            unsubscribe = { base_url = 'x', secret = 'CANARY', secret_previous = 'CANARY' }
            providers.relay.smtp = { host = 'x.test', user = 'u', password = 'CANARY' }
            dkim.'a.test' = { key = 'CANARY', keys = [{ key = 'CANARY' }] }
        ";
        let config: RawConfig = toml::from_str(text).unwrap();
        let shown = format!("{config:?}");
        assert!(!shown.contains("CANARY"), "{shown}");
        assert_eq!(shown.matches("***").count(), 14, "{shown}");
    }
}
