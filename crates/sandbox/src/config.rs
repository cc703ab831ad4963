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
    /// An SMTP server that keeps what it is sent.
    Smtp,
}

impl Kind {
    /// The name used on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ses => "ses",
            Self::Mailgun => "mailgun",
            Self::Smtp => "smtp",
        }
    }
}

/// A name that is no simulator's.
#[derive(Debug, thiserror::Error)]
#[error("no sandbox of kind {0:?}; there are ses, mailgun and smtp")]
pub struct UnknownKind(pub String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        match name {
            "ses" => Ok(Self::Ses),
            "mailgun" => Ok(Self::Mailgun),
            "smtp" => Ok(Self::Smtp),
            other => Err(UnknownKind(other.to_owned())),
        }
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
}

impl Default for SmtpAccount {
    fn default() -> Self {
        Self {
            hostname: "sandbox.invalid".to_owned(),
            login: None,
            message_bytes_max: 52_428_800,
        }
    }
}

/// What a simulator is told at start.
#[derive(Clone)]
pub struct SandboxConfig {
    /// The time of what is taken, and of signatures.
    pub clock: Clock,
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
            ses: SesAccount::default(),
            mailgun: MailgunAccount::default(),
            smtp: SmtpAccount::default(),
            messages_max: 200_000,
            body_bytes_max: 256 * 1024 * 1024,
            control_listen: None,
        }
    }
}
