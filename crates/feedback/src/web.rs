//! The web as events leave by it: bounded calls, to the Internet at large unless an operator lets
//! them inside.

pub(crate) mod address;
pub(crate) mod probe;
mod resolver;
#[cfg(test)]
pub(crate) mod responder;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::RETRY_AFTER;
use jiff::{SignedDuration, Timestamp};
use malote_core::outlet::Untold;
use malote_core::provider::RETRY_AFTER_MAX;
use malote_core::web::retry_after;
use reqwest::{Client, Request, Response};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::resolver::{Private, Resolver};

/// Longest wait for a connection, TLS included.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(10);
/// Longest call in all: name, connection, request and answer. An app that needs longer should
/// answer first and work then.
pub(crate) const CALL_WAIT_MAX: Duration = Duration::from_secs(20);
/// Longest wait for a place among [`CALLS_MAX`].
const PLACE_WAIT_MAX: Duration = Duration::from_secs(20);
/// Largest answer that is read, unless an outlet says otherwise. Answers are never decompressed, so this bounds memory too.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Calls of one outlet under way at once, and so its connections.
const CALLS_MAX: usize = 16;
/// Idle connections are dropped before common servers and balancers drop them.
const IDLE_MAX: Duration = Duration::from_secs(15);

/// How far calls may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Public addresses by https.
    Public,
    /// Private addresses as well, and http: the operator said so (`allow_private`).
    Private,
}

impl Reach {
    /// What `allow_private` says.
    pub(crate) const fn of(allow_private: Option<bool>) -> Self {
        match allow_private {
            Some(true) => Self::Private,
            Some(false) | None => Self::Public,
        }
    }
}

/// The connections of one outlet.
#[derive(Debug)]
pub(crate) struct Web {
    client: Client,
    places: Semaphore,
    reach: Reach,
    /// [`CALL_WAIT_MAX`].
    wait_max: Duration,
    answer_bytes_max: usize,
}

/// What a peer answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body; of one that is longer than the outlet reads its beginning.
    pub body: Bytes,
}

/// No answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lost {
    /// The name leads to private addresses only.
    #[error("the host has no public address: set allow_private = true if it is yours")]
    Private,
    /// Not connected, cut off or too slow.
    #[error("no answer: {0}")]
    NoAnswer(String),
}

impl From<Lost> for Untold {
    fn from(lost: Lost) -> Self {
        let why = lost.to_string();
        match lost {
            Lost::Private => Self::Unusable { why },
            Lost::NoAnswer(_) => Self::Later { after: None, why },
        }
    }
}

impl Web {
    /// No connections yet. A redirect is never followed, since it would carry signatures and
    /// credentials elsewhere; no proxy is taken from the environment; nothing is sent twice on the
    /// library's own account.
    ///
    /// # Errors
    /// If TLS cannot be set up on this machine.
    pub(crate) fn new(reach: Reach) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .user_agent(concat!("malote/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .http1_only()
            .https_only(reach == Reach::Public)
            .dns_resolver(Resolver(reach))
            .connect_timeout(CONNECT_WAIT_MAX)
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(CALLS_MAX)
            .tcp_nodelay(true)
            .build()?;
        Ok(Self {
            client,
            places: Semaphore::new(CALLS_MAX),
            reach,
            wait_max: CALL_WAIT_MAX,
            answer_bytes_max: ANSWER_BYTES_MAX,
        })
    }

    /// The same, with another bound of answers.
    pub(crate) fn reading_up_to(self, answer_bytes_max: usize) -> Self {
        Self {
            answer_bytes_max,
            ..self
        }
    }

    /// How far it reaches.
    pub(crate) const fn reach(&self) -> Reach {
        self.reach
    }

    /// One call. The URL must have passed [`address::parse`], which judges hosts that are written
    /// as addresses; what names lead to is judged at the moment of connecting.
    ///
    /// # Errors
    /// [`Lost`], if there is no answer.
    pub(crate) async fn call(&self, request: Request) -> Result<Answer, Lost> {
        let busy = || Lost::NoAnswer("too many calls under way".to_owned());
        let place = timeout(PLACE_WAIT_MAX, self.places.acquire());
        let _place = place.await.map_err(|_| busy())?.map_err(|_| busy())?;
        let exchange = async {
            let mut response = self.client.execute(request).await.map_err(|e| lost(&e))?;
            let body = read_bounded(&mut response, self.answer_bytes_max).await;
            let body = body.map_err(|e| lost(&e))?;
            Ok(Answer {
                status: response.status().as_u16(),
                headers: std::mem::take(response.headers_mut()),
                body,
            })
        };
        timeout(self.wait_max, exchange)
            .await
            .unwrap_or_else(|_| Err(Lost::NoAnswer("timed out".to_owned())))
    }
}

impl Answer {
    /// The wait that the peer asks for, at most an hour: `Retry-After` (RFC 9110 10.2.3), or else
    /// `X-RateLimit-Reset` with the second at which the limit is renewed.
    pub(crate) fn wait_asked(&self, now: Timestamp) -> Option<Duration> {
        let text = |name: &str| self.headers.get(name)?.to_str().ok();
        if let Some(wait) = text(RETRY_AFTER.as_str()).and_then(|value| retry_after(value, now)) {
            return Some(wait);
        }
        let reset: i64 = text("x-ratelimit-reset")?.trim().parse().ok()?;
        let wait = SignedDuration::from_secs(reset.checked_sub(now.as_second())?);
        let wait = Duration::try_from(wait).unwrap_or(Duration::ZERO);
        Some(wait.min(RETRY_AFTER_MAX))
    }
}

/// Reads at most `bytes_max`, whatever `Content-Length` says.
async fn read_bounded(response: &mut Response, bytes_max: usize) -> Result<Bytes, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = bytes_max - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() >= room {
            break;
        }
    }
    Ok(body.into())
}

/// Why there is no answer, by the cause at the bottom: the outer errors only repeat the URL.
fn lost(error: &reqwest::Error) -> Lost {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if cause.is::<Private>() {
        return Lost::Private;
    }
    if error.is_timeout() {
        return Lost::NoAnswer("timed out".to_owned());
    }
    Lost::NoAnswer(cause.to_string())
}
