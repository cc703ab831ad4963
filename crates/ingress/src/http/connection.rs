//! One connection: which HTTP it speaks, what its first octets may be, and how it ends.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use malote_core::intake::Openness;
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::HEADER_FIELDS_MAX;
use super::config::HttpConfig;
use super::peer::Peer;
use super::stream::Replayed;

/// Most octets of a header section (RFC 9110 5.4 leaves the bound to us).
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// RFC 9113 3.4.
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Requests at once on one HTTP/2 connection.
const H2_STREAMS_MAX: u32 = 64;
/// Resets that a client may have us work through before the connection is closed with
/// ENHANCE_YOUR_CALM (CVE-2023-44487, and CVE-2025-8671 for resets that we send).
const H2_RESETS_MAX: usize = 20;
/// How often a silent HTTP/2 peer is asked whether it is there, and how long it has to answer.
const H2_PING_EVERY: Duration = Duration::from_secs(20);
const H2_PING_WAIT: Duration = Duration::from_secs(10);
/// After this long without a request, an HTTP/2 connection is closed; HTTP/1 connections by the
/// header timeout.
const H2_IDLE_MAX: Duration = Duration::from_secs(60);
/// After an answer to a request that was not read to its end, the rest is read and thrown away
/// for this long, so that the answer is not lost to a reset (RFC 9112 9.6).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: u64 = 16 << 20;
/// Sent to a first request that a proxy and we could read differently (RFC 9112 6.1).
const AMBIGUOUS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\
                           Content-Type: application/problem+json\r\nContent-Length: 141\r\n\r\n";
const AMBIGUOUS_BODY: &[u8] = br#"{"type":"urn:malote:problem:malformed_body","title":"Body cannot be read","status":400,"detail":"Transfer-Encoding and Content-Length given"}"#;

/// What bounds a connection.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionRules {
    /// Time to read a header section, or to shake hands.
    pub(crate) header_timeout: Duration,
    age_max: Duration,
    drain: Duration,
    openness: watch::Receiver<Openness>,
    shutdown: CancellationToken,
}

impl ConnectionRules {
    /// The bounds of a configuration.
    pub(crate) const fn new(
        config: &HttpConfig,
        openness: watch::Receiver<Openness>,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            header_timeout: config.header_timeout.0,
            age_max: config.connection_age_max.0,
            drain: config.drain.0,
            openness,
            shutdown,
        }
    }

    /// Resolves when a drain has begun.
    async fn is_closing(&self) {
        let mut openness = self.openness.clone();
        let begun = openness.wait_for(|openness| *openness != Openness::Open);
        if begun.await.is_err() {
            // Nobody is left to drain.
            std::future::pending::<()>().await;
        }
    }

    /// Resolves when the connection should take no more requests.
    async fn is_over(&self) {
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = sleep(self.age_max) => {}
        }
    }
}

/// A stream whose first octets have been looked at.
pub(crate) struct Opening<S> {
    stream: Replayed<S>,
    is_h2: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Opening<S> {
    /// A stream that agreed on HTTP/2 in its handshake.
    pub(crate) const fn http2(stream: S) -> Self {
        Self {
            stream: Replayed::new(Bytes::new(), stream),
            is_h2: true,
        }
    }

    /// Reads the first header section, or HTTP/2's preface, within the header timeout: hyper's own
    /// timeout begins only after the protocol is known.
    ///
    /// # Errors
    /// If the peer is too slow, goes away, or frames its first request in two ways, or if the
    /// gateway stops.
    pub(crate) async fn read(mut stream: S, rules: &ConnectionRules) -> io::Result<Self> {
        let mut first = BytesMut::with_capacity(4096);
        let reading = async {
            while !is_decided(&first) {
                if stream.read_buf(&mut first).await? == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
                }
            }
            Ok(())
        };
        let read = tokio::select! {
            read = timeout(rules.header_timeout, reading) => read,
            // What has not been asked yet is not under way.
            () = rules.shutdown.cancelled() => {
                return Err(io::Error::from(io::ErrorKind::ConnectionAborted));
            }
        };
        read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let is_h2 = first.starts_with(H2_PREFACE);
        if !is_h2 && is_framed_twice(&first) {
            let mut stream = Replayed::new(Bytes::new(), stream);
            stream.write_all(AMBIGUOUS).await?;
            stream.write_all(AMBIGUOUS_BODY).await?;
            linger(stream).await;
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        Ok(Self {
            stream: Replayed::new(first.freeze(), stream),
            is_h2,
        })
    }
}

/// Whether these octets show which HTTP is spoken and, for HTTP/1, where the section ends or that
/// it is too large for us to wait for its end.
fn is_decided(first: &[u8]) -> bool {
    if first.len() < H2_PREFACE.len() && H2_PREFACE.starts_with(first) {
        return false;
    }
    first.starts_with(H2_PREFACE)
        || first.len() > HEADER_BYTES_MAX
        || memmem::find(first, b"\n\r\n").is_some()
        || memmem::find(first, b"\n\n").is_some()
}

/// Whether a header section has both `Transfer-Encoding` and `Content-Length`, which is how
/// requests are smuggled past proxies. hyper takes the former and closes after the answer; on the
/// first request of a connection, where attackers begin, we refuse.
fn is_framed_twice(first: &[u8]) -> bool {
    let mut lines = first.split(|b| *b == b'\n').skip(1);
    let section = lines
        .by_ref()
        .take_while(|line| !matches!(line, [] | [b'\r']));
    let (mut has_length, mut has_coding) = (false, false);
    for line in section {
        let name = line.split(|b| *b == b':').next().unwrap_or_default();
        has_length |= name.trim_ascii().eq_ignore_ascii_case(b"content-length");
        has_coding |= name.trim_ascii().eq_ignore_ascii_case(b"transfer-encoding");
    }
    has_length && has_coding
}

/// Serves requests until the peer is done, the connection is old, or the gateway stops.
///
/// # Errors
/// What ended the connection otherwise; for the log.
pub(crate) async fn run<S>(
    opening: Opening<S>,
    peer: Peer,
    router: Router,
    rules: &ConnectionRules,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(opening.stream);
    if opening.is_h2 {
        run_h2(io, peer, router, rules).await
    } else {
        run_h1(io, peer, router, rules).await
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Response, std::convert::Infallible>> + Send>>;

fn answer(router: &Router, peer: Peer, request: http::Request<Incoming>) -> Answer {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(peer);
    Box::pin(router.clone().oneshot(request))
}

async fn run_h1<S>(
    io: TokioIo<Replayed<S>>,
    peer: Peer,
    router: Router,
    rules: &ConnectionRules,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(rules.header_timeout)
        .max_headers(HEADER_FIELDS_MAX)
        .max_header_size(HEADER_BYTES_MAX)
        .max_buf_size(HEADER_BYTES_MAX * 2)
        .serve_connection(
            io,
            service_fn(move |request| answer(&router, peer, request)),
        );
    let ended = {
        let mut served = pin!(poll_fn(|cx| connection.poll_without_shutdown(cx)));
        tokio::select! {
            ended = &mut served => Some(ended),
            () = rules.is_over() => None,
        }
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            let last = poll_fn(|cx| connection.poll_without_shutdown(cx));
            timeout(rules.drain, last)
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
        }
    };
    linger(connection.into_parts().io.into_inner()).await;
    ended.map_err(io::Error::other)
}

/// Says that nothing more is sent, then lets the peer finish, so that it reads our last answer.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(stream: Replayed<S>) {
    let mut stream = stream;
    let rest = async {
        stream.shutdown().await?;
        let mut rest = stream.take(LINGER_BYTES_MAX);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    if let Ok(Err(fault)) = timeout(LINGER, rest).await {
        tracing::trace!(error = %fault, "peer was gone before the end");
    }
}

async fn run_h2<S>(
    io: TokioIo<Replayed<S>>,
    peer: Peer,
    router: Router,
    rules: &ConnectionRules,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let streams = TaskTracker::new();
    let activity = Arc::new(Activity::default());
    let counted = Arc::clone(&activity);
    let service = service_fn(move |request| {
        let counted = Arc::clone(&counted);
        let answer = answer(&router, peer, request);
        counted.begun.fetch_add(1, Ordering::Relaxed);
        async move {
            let _ended = Ended(counted);
            answer.await
        }
    });
    let connection = http2::Builder::new(Tracked(streams.clone()))
        .timer(TokioTimer::new())
        .max_concurrent_streams(H2_STREAMS_MAX)
        .max_pending_accept_reset_streams(H2_RESETS_MAX)
        .max_local_error_reset_streams(H2_RESETS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX as u32)
        .keep_alive_interval(H2_PING_EVERY)
        .keep_alive_timeout(H2_PING_WAIT)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = rules.is_over() => None,
        // Unlike HTTP/1, this one says which requests it takes yet.
        () = rules.is_closing() => None,
        () = activity.is_idle(H2_IDLE_MAX) => None,
    };
    let result = match ended {
        Some(ended) => ended.map_err(io::Error::other),
        None => {
            connection.as_mut().graceful_shutdown();
            let last = timeout(rules.drain, connection.as_mut()).await;
            last.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
                .map_err(io::Error::other)
        }
    };
    streams.close();
    // What is still under way has lost its connection; custody that was taken stays taken.
    if timeout(rules.drain, streams.wait()).await.is_err() {
        tracing::warn!("requests outlived their connection");
    }
    result
}

/// Runs a connection's streams as tasks that the connection waits for.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// How many requests have begun and ended on a connection.
#[derive(Debug, Default)]
struct Activity {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// Counts a request as ended when it is answered or dropped.
struct Ended(Arc<Activity>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

impl Activity {
    fn count(&self) -> (u64, u64) {
        let ended = self.ended.load(Ordering::Relaxed);
        (self.begun.load(Ordering::Relaxed), ended)
    }

    /// Resolves once no request was under way for a whole period of `idle_max`.
    async fn is_idle(&self, idle_max: Duration) {
        let mut before = self.count();
        loop {
            sleep(idle_max).await;
            let now = self.count();
            if now == before && now.0 == now.1 {
                return;
            }
            before = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const DEADLINE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_connection_is_idle_only_when_nothing_is_under_way() {
        let activity = Arc::new(Activity::default());
        activity.begun.fetch_add(1, Ordering::Relaxed);
        let under_way = Ended(Arc::clone(&activity));
        assert!(timeout(SHORT * 5, activity.is_idle(SHORT)).await.is_err());
        drop(under_way);
        assert!(timeout(DEADLINE, activity.is_idle(SHORT)).await.is_ok());
    }

    #[test]
    fn the_first_octets_decide_once_the_section_or_the_preface_is_whole() {
        for (octets, decided) in [
            (&b""[..], false),
            (b"P", false),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n", false),
            (H2_PREFACE, true),
            (b"POST / HTTP/1.1\r\nHost: x\r\n", false),
            (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", true),
        ] {
            assert_eq!(is_decided(octets), decided, "{octets:?}");
        }
        assert!(is_decided(&vec![b'x'; HEADER_BYTES_MAX + 1]));
    }

    #[test]
    fn two_framings_are_seen_in_any_order_and_case_but_only_in_the_header_section() {
        let framed =
            |fields: &str| is_framed_twice(format!("POST / HTTP/1.1\r\n{fields}").as_bytes());
        assert!(framed(
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
        ));
        assert!(framed(
            "transfer-encoding: chunked\r\nX: y\r\nCONTENT-LENGTH: 3\r\n\r\n"
        ));
        assert!(!framed(
            "Content-Length: 40\r\n\r\nTransfer-Encoding: chunked\r\n"
        ));
        assert!(!framed(
            "X-Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
        ));
    }

    #[test]
    fn the_refusal_says_its_length() {
        let head = std::str::from_utf8(AMBIGUOUS).unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", AMBIGUOUS_BODY.len())));
        let body: serde_json::Value = serde_json::from_slice(AMBIGUOUS_BODY).unwrap();
        assert_eq!(body["status"], 400);
    }
}
