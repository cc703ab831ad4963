//! One HTTP exchange with a service, bounded in time and size, that can tell whether the request
//! may have arrived.

mod clients;
#[cfg(test)]
pub(crate) mod responder;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{DATE, HeaderMap, RETRY_AFTER};
use http::{HeaderValue, Method};
use http_body::{Frame, SizeHint};
use jiff::Timestamp;
use malote_core::provider::{Fault, Outgoing, Reply, SendError, Verdict};
use malote_core::web::{http_date, retry_after};
use reqwest::{Client, Response, Url};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

pub(crate) use clients::{HttpClients, Speech, client_builder};

use crate::echo;

/// Largest answer that is read. Answers are never decompressed, so this bounds memory too.
pub(crate) const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Largest page of a service's own list, whose length it chooses itself: a thousand entries, each
/// with a server's reply and a subject.
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Longest time for reading an answer's body once its header is there, however it trickles.
const ANSWER_BODY_WAIT_MAX: Duration = Duration::from_secs(30);
/// What may sit in buffers of the HTTP library and the kernel when the last octet is handed over.
const BUFFERED_BYTES_MAX: u64 = 1024 * 1024;
/// Octets handed to the connection at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// A request, ready to be written.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// The method.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// Header fields, without `Host` and `Content-Length`.
    pub headers: HeaderMap,
    /// The body in parts, so that a message is not copied to be framed.
    pub body: Vec<Bytes>,
}

/// How long an exchange may take, and how much of its answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    /// Until the last octet of the request is handed over, connecting included.
    pub write_max: Duration,
    /// From then until the answer's header is there.
    pub reply_max: Duration,
    /// From then until the answer's body is there.
    pub body_max: Duration,
    /// Octets of the answer's body.
    pub answer_bytes_max: usize,
}

impl Patience {
    /// For calls that carry no message.
    pub(crate) const SHORT: Self = Self {
        write_max: Duration::from_secs(15),
        reply_max: Duration::from_secs(15),
        body_max: ANSWER_BODY_WAIT_MAX,
        answer_bytes_max: ANSWER_BYTES_MAX,
    };

    /// For a page of a list.
    pub(crate) const PAGE: Self = Self {
        reply_max: Duration::from_secs(60),
        answer_bytes_max: PAGE_BYTES_MAX,
        ..Self::SHORT
    };

    /// For a message that makes a body of this size.
    pub(crate) fn for_message(outgoing: &Outgoing, bytes: u64) -> Self {
        let buffered = bytes.min(BUFFERED_BYTES_MAX);
        Self {
            write_max: outgoing.write_pace.wait_for(bytes),
            reply_max: outgoing.reply_wait_max + outgoing.write_pace.at_slowest(buffered),
            body_max: ANSWER_BODY_WAIT_MAX,
            answer_bytes_max: ANSWER_BYTES_MAX,
        }
    }
}

/// What came back.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    /// The status code.
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body, or its beginning, without what it repeats of our credentials.
    pub body: Bytes,
    /// Whether `body` is all of it: not cut off, not too long, not too slow.
    pub is_whole: bool,
}

impl Answer {
    /// A header field's value as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON; `None` if it is something else or not whole.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self) -> Option<T> {
        if !self.is_whole {
            return None;
        }
        serde_json::from_slice(&self.body).ok()
    }

    /// The beginning of the body, for the timeline.
    pub(crate) fn text(&self) -> String {
        let end = self.body.len().min(1024);
        String::from_utf8_lossy(&self.body[..end]).into_owned()
    }

    /// The service's clock (`Date`, RFC 9110 6.6.1).
    pub(crate) fn date(&self) -> Option<Timestamp> {
        http_date(self.header(DATE.as_str())?)
    }

    /// The wait that the service asks for (`Retry-After`, RFC 9110 10.2.3).
    pub(crate) fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        retry_after(self.header(RETRY_AFTER.as_str())?, now)
    }
}

/// No answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lost {
    /// Whoever answers has no certificate of the service's: it was told nothing, and a human must
    /// act.
    #[error("the server's certificate is not valid: {0}")]
    Untrusted(String),
    /// The end of the request was never handed to the connection: the service cannot have it.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The service says that it has not begun with it (HTTP/2: REFUSED_STREAM, or a GOAWAY that
    /// leaves it out; RFC 9113 8.7).
    #[error("not taken up: {0}")]
    Refused(String),
    /// The whole request may have arrived, and nobody knows.
    #[error("outcome unknown: {0}")]
    Unclear(String),
}

impl Lost {
    /// What it means for a call that carried no mail, so that nothing is in doubt.
    pub(crate) fn of_question(self) -> SendError {
        let verdict = match &self {
            Self::Untrusted(_) => Verdict::ProviderUnusable,
            Self::NotSent(_) | Self::Refused(_) | Self::Unclear(_) => Verdict::Transient,
        };
        SendError::new(verdict, Reply::none(&self.to_string()))
    }
}

impl From<Lost> for SendError {
    fn from(lost: Lost) -> Self {
        let verdict = match &lost {
            Lost::Untrusted(_) => Verdict::ProviderUnusable,
            Lost::NotSent(_) | Lost::Refused(_) => Verdict::Transient,
            Lost::Unclear(_) => Verdict::Unknown,
        };
        Self::new(verdict, Reply::none(&lost.to_string()))
    }
}

/// Writes a request and reads the answer. Dropping the future closes the connection, or with HTTP/2
/// the stream.
///
/// The library's own errors do not say how much was written. The body does: as long as its last
/// part has not been asked for, the service has at most a request without its end, which no
/// service acts upon. That covers name resolution, connecting and TLS as well. With HTTP/2 the
/// service may also say that it has not begun with what it was sent; of all else that is under way
/// when a connection breaks nobody knows.
///
/// # Errors
/// [`Lost`], if there is no answer.
pub(crate) async fn exchange(
    client: &Client,
    call: Call,
    patience: Patience,
) -> Result<Answer, Lost> {
    let handed_over = Arc::new(HandedOver::default());
    let secrets = echo::secrets(&call.headers);
    let request = request(call, &handed_over);
    let response = tokio::select! {
        biased;
        response = client.execute(request) => response,
        what_happened = handed_over.overdue(patience) => {
            return Err(handed_over.lost(what_happened.to_owned()));
        }
    };
    let mut response = response.map_err(|error| {
        let what = innermost(&error);
        if is_refused(&error) {
            Lost::Refused(what)
        } else if is_untrusted(&error) {
            Lost::Untrusted(what)
        } else {
            handed_over.lost(what)
        }
    })?;
    let (body, is_whole) =
        read_bounded(&mut response, patience.answer_bytes_max, patience.body_max).await;
    Ok(Answer {
        status: response.status().as_u16(),
        headers: std::mem::take(response.headers_mut()),
        body: echo::masked(body, &secrets),
        is_whole,
    })
}

fn request(call: Call, handed_over: &Arc<HandedOver>) -> reqwest::Request {
    let mut request = reqwest::Request::new(call.method, call.url);
    *request.headers_mut() = call.headers;
    let remaining: u64 = call.body.iter().map(|part| part.len() as u64).sum();
    if remaining > 0 {
        let body = SegmentedBody {
            rest: call.body.into(),
            remaining,
            handed_over: Arc::clone(handed_over),
        };
        *request.body_mut() = Some(reqwest::Body::wrap(body));
    }
    request
}

/// Reads at most `bytes_max` octets, whatever `Content-Length` says, within `wait_max` in all.
async fn read_bounded(
    response: &mut Response,
    bytes_max: usize,
    wait_max: Duration,
) -> (Bytes, bool) {
    let until = Instant::now() + wait_max;
    let mut body = Vec::new();
    loop {
        match timeout_at(until, response.chunk()).await {
            Ok(Ok(Some(chunk))) => {
                let room = bytes_max - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() > room {
                    return (body.into(), false);
                }
            }
            Ok(Ok(None)) => return (body.into(), true),
            Ok(Err(_)) | Err(_) => return (body.into(), false),
        }
    }
}

/// The cause at the bottom: the outer errors only repeat the URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if error.is_timeout() {
        return "timed out".to_owned();
    }
    cause.to_string()
}

/// Whether the service says that it has not begun with the request. A GOAWAY reaches only those
/// streams that are above the last one that it may have processed; the others go on, and if the
/// connection breaks under them they see that.
fn is_refused(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(told) = inner.downcast_ref::<h2::Error>() {
            let is_reset = told.is_reset() && told.reason() == Some(h2::Reason::REFUSED_STREAM);
            return told.is_remote() && (told.is_go_away() || is_reset);
        }
        cause = inner.source();
    }
    false
}

/// Whether it was the peer's certificate.
fn is_untrusted(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(rustls::Error::InvalidCertificate(_)) = inner.downcast_ref() {
            return true;
        }
        // What an error of I/O wraps it does not name as its source.
        let wrapped = inner.downcast_ref().and_then(io::Error::get_ref);
        let wrapped = wrapped.map(|wrapped| -> &(dyn Error + 'static) { wrapped });
        cause = wrapped.or_else(|| inner.source());
    }
    false
}

/// When the end of a request's body was handed to its connection; `None` once the exchange was
/// given up before that. Whichever comes first holds: what is said to be not sent stays unsent.
#[derive(Debug, Default)]
struct HandedOver(OnceLock<Option<Instant>>);

/// The exchange was given up before the end of its body.
#[derive(Debug, thiserror::Error)]
#[error("given up")]
struct GivenUp;

impl HandedOver {
    fn done(&self) -> Result<(), GivenUp> {
        let at = self.0.get_or_init(|| Some(Instant::now()));
        at.map(|_| ()).ok_or(GivenUp)
    }

    fn lost(&self, what_happened: String) -> Lost {
        match self.0.get_or_init(|| None) {
            Some(_) => Lost::Unclear(what_happened),
            None => Lost::NotSent(what_happened),
        }
    }

    /// Ends when patience does, and says at what. Nobody wakes it at the hand-over: it looks
    /// early enough for one that came right after its last look, so that a call that is answered
    /// in time costs one timer.
    async fn overdue(&self, patience: Patience) -> &'static str {
        let begun = Instant::now();
        loop {
            let now = Instant::now();
            let (end, what_happened) = match self.0.get().copied().flatten() {
                Some(at) => (at + patience.reply_max, "no answer in time"),
                None => (begun + patience.write_max, "the request took too long"),
            };
            if end <= now {
                return what_happened;
            }
            sleep_until(end.min(now + patience.reply_max)).await;
        }
    }
}

/// A body of known length that notes when its last part is taken.
struct SegmentedBody {
    rest: VecDeque<Bytes>,
    remaining: u64,
    handed_over: Arc<HandedOver>,
}

impl http_body::Body for SegmentedBody {
    type Data = Bytes;
    type Error = GivenUp;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, GivenUp>>> {
        while self.rest.front().is_some_and(Bytes::is_empty) {
            self.rest.pop_front();
        }
        let Some(front) = self.rest.front_mut() else {
            return Poll::Ready(None);
        };
        let chunk = front.split_to(front.len().min(CHUNK_BYTES));
        self.remaining -= chunk.len() as u64;
        if self.remaining == 0
            && let Err(given_up) = self.handed_over.done()
        {
            return Poll::Ready(Some(Err(given_up)));
        }
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

/// What a status means where the service's own words say nothing more. `is_own_shape`: the body is
/// one that the service itself writes, so not a proxy's or a balancer's.
pub(crate) fn verdict_of_status(
    status: u16,
    is_own_shape: bool,
    retry_after: Option<Duration>,
) -> Verdict {
    match status {
        // A redirect is not followed, and none of the services answers a send with one.
        300..=399 | 408 | 425 | 503 => Verdict::Transient,
        401 | 403 | 404 | 405 | 407 => Verdict::ProviderUnusable,
        413 => Verdict::Rejected(Fault::MessageHere),
        429 => Verdict::Throttled { after: retry_after },
        400..=499 if is_own_shape => Verdict::Rejected(Fault::Message),
        400..=499 => Verdict::Transient,
        // A gateway that lost its upstream does not know whether that took the message.
        502 | 504 => Verdict::Unknown,
        500..=599 if is_own_shape => Verdict::Transient,
        _ => Verdict::Unknown,
    }
}

/// Fetches a small document: status 200, at most `bytes_max` octets, within `wait_max` in all.
///
/// # Errors
/// [`FetchFault`]; the caller knows what it wanted.
pub(crate) async fn fetch(
    client: &Client,
    request: reqwest::Request,
    bytes_max: usize,
    wait_max: Duration,
) -> Result<Bytes, FetchFault> {
    let read = async {
        let mut response = client
            .execute(request)
            .await
            .map_err(|error| FetchFault::Unreachable(innermost(&error)))?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(FetchFault::Status(status));
        }
        match read_bounded(&mut response, bytes_max, wait_max).await {
            (body, true) => Ok(body),
            (_, false) => Err(FetchFault::NotWhole),
        }
    };
    timeout(wait_max, read)
        .await
        .unwrap_or_else(|_| Err(FetchFault::Unreachable("timed out".to_owned())))
}

/// Why a document could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchFault {
    /// No answer.
    #[error("no answer: {0}")]
    Unreachable(String),
    /// An answer other than 200; redirects are not followed.
    #[error("answered {0}")]
    Status(u16),
    /// Too long, or cut off.
    #[error("the document is too long or was cut off")]
    NotWhole,
}

/// A header value that is kept out of `Debug`.
pub(crate) fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
