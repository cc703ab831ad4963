//! What a simulator is told at start: its kind, its account, its bounds and its clock.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;

/// Tells the time; the caller owns the clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Which service is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Amazon SES, API v2.
    Ses,
    /// Mailgun, `messages.mime`.
    Mailgun,
    /// Elastic Email, `emails` and `emails/transactional`.
    Elasticemail,
    /// Mailtrap, `send`.
    Mailtrap,
    /// SMTP2GO, `email/send` and `email/mime`.
    Smtp2go,
    /// Postal, `send/raw` and `send/message`.
    Postal,
    /// Postmark, `email`.
    Postmark,
    /// Mailjet, `send` of version 3.1.
    Mailjet,
    /// SparkPost, `transmissions`.
    Sparkpost,
    /// Brevo, `smtp/email`.
    Brevo,
    /// SendGrid, `mail/send`.
    Sendgrid,
    /// Resend, `emails`.
    Resend,
    /// An SMTP server that keeps what it is sent.
    Smtp,
}

/// Every kind and its name, in the order in which `--all` gives them ports.
const NAMES: &[(Kind, &str)] = &[
    (Kind::Ses, "ses"),
    (Kind::Mailgun, "mailgun"),
    (Kind::Sendgrid, "sendgrid"),
    (Kind::Postmark, "postmark"),
    (Kind::Sparkpost, "sparkpost"),
    (Kind::Elasticemail, "elasticemail"),
    (Kind::Smtp2go, "smtp2go"),
    (Kind::Postal, "postal"),
    (Kind::Brevo, "brevo"),
    (Kind::Resend, "resend"),
    (Kind::Mailjet, "mailjet"),
    (Kind::Mailtrap, "mailtrap"),
    (Kind::Smtp, "smtp"),
];

impl Kind {
    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(kind, _)| *kind)
    }

    /// The name used on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        let name = NAMES.iter().find(|(kind, _)| *kind == self);
        name.map_or("", |(_, name)| name)
    }
}

/// A name that is no simulator's.
#[derive(Debug, thiserror::Error)]
#[error("no sandbox of kind {name:?}; there are {}", names())]
pub struct UnknownKind {
    /// What was given.
    pub name: String,
}

fn names() -> String {
    let names: Vec<&str> = NAMES.iter().map(|(_, name)| *name).collect();
    names.join(", ")
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        let kind = NAMES.iter().find(|(_, known)| *known == name);
        let kind = kind.map(|(kind, _)| *kind);
        kind.ok_or_else(|| UnknownKind {
            name: name.to_owned(),
        })
    }
}

/// What the simulated account is; its keys are those of all kinds but SES, Mailgun and SMTP.
#[derive(Debug, Clone)]
pub struct Account {
    /// The key that is known. Default `key-sandbox`.
    pub api_key: String,
    /// Its second half, where the service has one. Default `second-half`.
    pub secret_key: String,
    /// What webhooks carry or are signed with, where that is a shared secret. Default
    /// `webhook-secret-sandbox`; Svix's form, where the service signs by it, is `whsec_` and its base64.
    pub webhook_secret: String,
    /// The domains that mail may come from; `None`: every domain, and where the service only has a
    /// list of them, the key may not see it.
    pub senders: Option<Vec<String>>,
    /// The IP pools, or what the service has in their place, but for SES; `None`: every name exists,
    /// and where the service only has a list of them, the key may not see it.
    pub pools: Option<Vec<String>>,
    /// Whether the account may not mail everybody yet, as a new one.
    pub is_limited: bool,
    /// Whether mail to an address on the service's own list goes nowhere, as at the service. Default
    /// false: the address may be mailed again in the same run.
    pub stops_suppressed: bool,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            api_key: "key-sandbox".to_owned(),
            secret_key: "second-half".to_owned(),
            webhook_secret: "webhook-secret-sandbox".to_owned(),
            senders: None,
            pools: None,
            is_limited: false,
            stops_suppressed: false,
        }
    }
}

impl Account {
    /// Whether mail may come from this domain or address.
    pub(crate) fn may_send_from(&self, address: &str) -> bool {
        let domain = address
            .rsplit_once('@')
            .map_or(address, |(_, domain)| domain);
        let is_it = |known: &String| known.eq_ignore_ascii_case(domain);
        self.senders
            .as_ref()
            .is_none_or(|all| all.iter().any(is_it))
    }

    /// Whether the pool exists.
    pub(crate) fn has_pool(&self, name: &str) -> bool {
        let is_it = |known: &String| known == name;
        self.pools.as_ref().is_none_or(|all| all.iter().any(is_it))
    }
}

/// The simulated SES account. The default key pair is the one of Amazon's documentation.
#[derive(Clone)]
pub struct SesAccount {
    /// The region requests must be signed for.
    pub region: String,
    /// The access key id that is known.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// The session token that must come with it, if any.
    pub session_token: Option<String>,
    /// The configuration sets that exist; `None`: every name does.
    pub configuration_sets: Option<Vec<String>>,
    /// `MaxSendRate` of `GetAccount`, messages per second.
    pub send_rate_max: f64,
    /// `Max24HourSend` of `GetAccount`, recipients; −1 is unlimited.
    pub send_per_day_max: f64,
    /// The topic its notifications come from.
    pub topic_arn: String,
    /// Where to write the certificate (PEM) that signs its notifications.
    pub certificate_file: Option<PathBuf>,
}

impl Default for SesAccount {
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: None,
            configuration_sets: None,
            send_rate_max: 500.0,
            send_per_day_max: 1_000_000.0,
            topic_arn: "arn:aws:sns:us-east-1:123456789012:malote".to_owned(),
            certificate_file: None,
        }
    }
}

/// The simulated Mailgun account.
#[derive(Clone)]
pub struct MailgunAccount {
    /// The API key that is known.
    pub api_key: String,
    /// The key that signs webhooks.
    pub webhook_signing_key: String,
    /// The domains that exist; `None`: every domain does.
    pub domains: Option<Vec<String>>,
}

impl Default for MailgunAccount {
    fn default() -> Self {
        Self {
            api_key: "key-sandbox".to_owned(),
            webhook_signing_key: "signing-key-sandbox".to_owned(),
            domains: None,
        }
    }
}

/// The simulated SMTP server.
#[derive(Clone)]
pub struct SmtpAccount {
    /// The name in the greeting.
    pub hostname: String,
    /// Login and password; when given, mail without a login is refused.
    pub login: Option<(String, String)>,
    /// The `SIZE` it announces and enforces, octets.
    pub message_bytes_max: usize,
    /// The service whose words it answers in, where that service documents its own; `None`: any
    /// server's.
    pub service: Option<Kind>,
}

impl Default for SmtpAccount {
    fn default() -> Self {
        Self {
            hostname: "sandbox.invalid".to_owned(),
            login: None,
            message_bytes_max: 52_428_800,
            service: None,
        }
    }
}

/// What a simulator is told at start.
#[derive(Clone)]
pub struct SandboxConfig {
    /// The time of what is taken, and of signatures.
    pub clock: Clock,
    /// Senders and pools of all kinds, and the keys of most.
    pub account: Account,
    /// The account of a [`Kind::Ses`] simulator.
    pub ses: SesAccount,
    /// The account of a [`Kind::Mailgun`] simulator.
    pub mailgun: MailgunAccount,
    /// The account of a [`Kind::Smtp`] simulator.
    pub smtp: SmtpAccount,
    /// How many messages are kept; the oldest go first. Default 200,000.
    pub messages_max: usize,
    /// How many octets of raw messages are kept in all; the oldest messages lose their raw form
    /// first and keep envelope, head and digest. Default 256 MiB.
    pub body_bytes_max: usize,
    /// Where the control endpoints listen when the service's own listener cannot serve them
    /// (SMTP), or besides it.
    pub control_listen: Option<SocketAddr>,
}

impl SandboxConfig {
    /// The defaults, with the caller's clock.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            account: Account::default(),
            ses: SesAccount::default(),
            mailgun: MailgunAccount::default(),
            smtp: SmtpAccount::default(),
            messages_max: 200_000,
            body_bytes_max: 256 * 1024 * 1024,
            control_listen: None,
        }
    }
}
