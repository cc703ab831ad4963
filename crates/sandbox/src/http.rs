//! The HTTP server under the simulators: it can cut a connection where a well-behaved one cannot.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use http::{Request, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use crate::echo;
use crate::fault::{Fault, FaultKind};
use crate::sandbox::Sandbox;
use crate::suppressed::Suppressed;

/// Connections beyond this many wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 4_096;
/// A client that does not send its head within this time is gone.
const HEAD_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a hanging answer hangs; no sane client waits as long.
const HANG_MAX: Duration = Duration::from_secs(3_600);
/// Octets of a huge answer, and of each of its pieces.
const HUGE_BYTES: usize = 1024 * 1024 * 1024;
const HUGE_PIECE_BYTES: usize = 64 * 1024;
/// Pause between the first half of an answer and the cut, so that the first half is on the wire.
const HALF_ANSWER_PAUSE: Duration = Duration::from_millis(50);
/// The other end of the connection that a request came by.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Marks an answer that is never written: the connection closes instead.
#[derive(Clone, Copy)]
struct CutOff;

/// Why a connection was closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut on demand")]
struct Severed;

/// Serves until `shutdown`; open connections are cut then, as when a service dies.
pub(crate) async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                if let Ok((stream, peer)) = accepted {
                    connections.spawn(converse(stream, peer, router.clone()));
                }
            }
        }
    }
}

async fn converse(stream: TcpStream, peer: SocketAddr, router: Router) {
    stream.set_nodelay(true).ok();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        let head = request.headers().clone();
        let mut router = router.clone();
        async move {
            let answered: Result<Response, Infallible> = router.call(request).await;
            let Ok(response) = answered;
            match response.extensions().get::<CutOff>() {
                Some(CutOff) => Err(Severed),
                None => Ok(echo::told(response, &head).await),
            }
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "connection ended");
    }
}

/// The answer that is no answer: the connection closes.
pub(crate) fn cut() -> Response {
    let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
    response.extensions_mut().insert(CutOff);
    response
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: &serde_json::Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json")];
    (status, headers, body.to_string()).into_response()
}

/// The end of a call whose body is left unread by the next fault: a cut, or silence.
pub(crate) async fn unread(sandbox: &Sandbox) -> Option<Response> {
    let fault = sandbox.faults().for_unread()?;
    if fault.kind == FaultKind::HangEarly {
        return Some(hang().await);
    }
    Some(cut())
}

/// Answers one send: `accept` takes the message and says so, `words` is the service's own way to
/// say what is wrong.
pub(crate) async fn answer<A, W>(
    sandbox: &Sandbox,
    fault: Option<Fault>,
    accept: A,
    words: W,
) -> Response
where
    A: FnOnce() -> Response,
    W: FnOnce(FaultKind) -> Response,
{
    tokio::time::sleep(sandbox.mood().latency()).await;
    sandbox.mailbox().note_send();
    played(fault, accept, words).await
}

/// Answers one call about what the service suppresses: a fault that is armed strikes here, too.
/// Who asks too often is told when to come again.
pub(crate) async fn answer_list<A, W>(sandbox: &Sandbox, accept: A, words: W) -> Response
where
    A: FnOnce() -> Response,
    W: FnOnce(FaultKind) -> Response,
{
    tokio::time::sleep(sandbox.mood().latency()).await;
    sandbox.mailbox().note_check();
    let fault = sandbox.faults().for_list();
    let mut response = played(fault, accept, words).await;
    if response.status() == StatusCode::TOO_MANY_REQUESTS {
        let wait = header::HeaderValue::from_static("1");
        response.headers_mut().insert(header::RETRY_AFTER, wait);
    }
    response
}

/// Answers one addition to what the service suppresses: the entries that the request asks for, or
/// what is wrong with it. `told` is how the service says that they are there.
pub(crate) async fn answer_addition<P, T, W>(
    sandbox: &Sandbox,
    entries: Result<Vec<Suppressed>, P>,
    told: T,
    words: W,
) -> Response
where
    P: IntoResponse,
    T: FnOnce(&[Suppressed]) -> Response,
    W: FnOnce(FaultKind) -> Response,
{
    let entries = match entries {
        Ok(entries) => entries,
        Err(problem) => return problem.into_response(),
    };
    let accept = || {
        let now = (sandbox.config().clock)();
        let answer = told(&entries);
        for entry in entries {
            sandbox.suppressed().put(entry, now);
        }
        answer
    };
    answer_list(sandbox, accept, words).await
}

async fn played<A, W>(fault: Option<Fault>, accept: A, words: W) -> Response
where
    A: FnOnce() -> Response,
    W: FnOnce(FaultKind) -> Response,
{
    let Some(fault) = fault else {
        return accept();
    };
    let mut accept = Some(accept);
    let mut taken = None;
    if fault.after_take || matches!(fault.kind, FaultKind::CutReply) {
        taken = accept.take().map(|accept| accept());
    }
    match fault.kind {
        FaultKind::Bare(status) => proxy_page(status),
        FaultKind::Hang | FaultKind::HangEarly => hang().await,
        FaultKind::Cut | FaultKind::CutEarly => cut(),
        FaultKind::CutReply => half(taken.unwrap_or_else(cut)).await,
        FaultKind::Redirect => redirect(),
        FaultKind::Huge => huge(),
        FaultKind::Echo => echo::repeating(words(FaultKind::Status(401))),
        FaultKind::Nonsense => (StatusCode::OK, "It works!").into_response(),
        FaultKind::Slow => {
            tokio::time::sleep(fault.delay()).await;
            taken
                .or_else(|| accept.map(|accept| accept()))
                .unwrap_or_else(cut)
        }
        FaultKind::Status(_)
        | FaultKind::Quota
        | FaultKind::Suspended
        | FaultKind::Sender
        | FaultKind::Recipient
        | FaultKind::Partial
        | FaultKind::Content
        | FaultKind::Reputation => words(fault.kind),
    }
}

/// The status of a number; 500 for one that is none.
pub(crate) fn status(number: u16) -> StatusCode {
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// To an address of this machine where nobody listens.
fn redirect() -> Response {
    let headers = [(header::LOCATION, "http://127.0.0.1:9/elsewhere")];
    (StatusCode::TEMPORARY_REDIRECT, headers).into_response()
}

/// A body of 1 GiB that is never in memory as a whole.
fn huge() -> Response {
    let piece = Bytes::from_static(&[b'x'; HUGE_PIECE_BYTES]);
    let pieces = std::iter::repeat_n(piece, HUGE_BYTES / HUGE_PIECE_BYTES);
    let stream = futures_util::stream::iter(pieces.map(Ok::<_, Infallible>));
    let headers = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::OK, headers, Body::from_stream(stream)).into_response()
}

async fn hang() -> Response {
    tokio::time::sleep(HANG_MAX).await;
    cut()
}

/// What a proxy in front of the service says when the service is not there.
fn proxy_page(number: u16) -> Response {
    let status = status(number);
    let headers = [(header::CONTENT_TYPE, "text/html")];
    let page =
        format!("<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>");
    (status, headers, page).into_response()
}

/// The head and the first half of the body of an answer, then the cut.
async fn half(whole: Response) -> Response {
    let (mut head, body) = whole.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return cut();
    };
    head.headers
        .insert(header::CONTENT_LENGTH, body.len().into());
    let first: Bytes = body.slice(..body.len() / 2);
    let cut_after = futures_util::stream::once(async {
        tokio::time::sleep(HALF_ANSWER_PAUSE).await;
        Err(Severed)
    });
    let stream = futures_util::stream::iter([Ok(first)]).chain(cut_after);
    Response::from_parts(head, Body::from_stream(stream))
}
