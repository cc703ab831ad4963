//! The ports through which providers' events come in: verify and parse, then apply.

use std::fmt;
use std::net::IpAddr;

use async_trait::async_trait;
use bytes::Bytes;

use crate::event::ProviderEvent;
use crate::name::ProviderName;
use crate::secret::Secret;

/// One request to `/v1/webhooks/{provider}` or `/v1/webhooks/{provider}/{secret}`, untouched.
#[derive(Debug, Clone)]
pub struct WebhookRequest {
    /// `GET` or `POST`.
    pub method: String,
    /// What stands in the path behind the provider's name: the shared secret of a service that can
    /// be told a URL and nothing else.
    pub path_secret: Option<Secret>,
    /// Header names in lower case, with values; fields with non-ASCII values are left out.
    pub headers: Vec<(String, String)>,
    /// The query string without `?`.
    pub query: String,
    /// The raw body, at most 5 MiB.
    pub body: Bytes,
    /// The peer, after trusted proxies.
    pub peer: IpAddr,
}

impl WebhookRequest {
    /// The first header of this lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Verifies on raw octets, then parses. One per configured provider that has webhooks.
#[async_trait]
pub trait WebhookParser: Send + Sync {
    /// Turns a request into events.
    ///
    /// # Errors
    /// A [`WebhookRefusal`]; then nothing in the request was believed.
    async fn parse(&self, request: &WebhookRequest) -> Result<Webhook, WebhookRefusal>;
}

/// A believed request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Webhook {
    /// What it tells, in its order.
    pub events: Vec<ProviderEvent>,
    /// Parts that could not be read, for the dead-letter list.
    pub unreadable: Vec<Unread>,
}

/// A part of a believed request that could not be read, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// In words of ours, fit for a log: without anything of the part.
    pub reason: String,
    /// The part as it came, at most [`UNREAD_BYTES_MAX`] of it.
    part: String,
}

/// Octets of an unreadable part that are kept.
pub const UNREAD_BYTES_MAX: usize = 8 << 10;

impl Unread {
    /// One of this part, which is cut if it is too long.
    #[must_use]
    pub fn new(reason: impl Into<String>, part: &str) -> Self {
        Self {
            reason: reason.into(),
            part: part[..part.floor_char_boundary(UNREAD_BYTES_MAX)].to_owned(),
        }
    }
}

/// As it is kept: the reason, then the part.
impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.part)
    }
}

/// Why a request was not believed or not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookRefusal {
    /// No proof of origin, or a wrong or stale one. Answered 401.
    #[error("not verified: {0}")]
    Unverified(&'static str),
    /// A proof that is good but not for us: foreign topic, forbidden URL. Answered 403.
    #[error("forbidden: {0}")]
    Forbidden(&'static str),
    /// Verified, and not in any shape we know. Answered 400.
    #[error("unreadable: {0}")]
    Malformed(&'static str),
    /// Cannot be verified right now (certificate not to be had). Answered 503: come again.
    #[error("cannot verify now: {0}")]
    Unavailable(&'static str),
}

/// Takes events in: durable before `Ok`, each once.
#[async_trait]
pub trait EventSink: Send + Sync {
    /// Applies the events of one request to their deliveries and to suppressions.
    ///
    /// # Errors
    /// If they could not be made durable; the provider will come again.
    async fn apply(&self, provider: &ProviderName, webhook: Webhook)
    -> Result<(), SinkUnavailable>;
}

/// The store cannot take events now. Answered 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("events cannot be stored now")]
pub struct SinkUnavailable;
