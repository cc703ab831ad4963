//! The HTTP door: the API, the providers' webhooks and the API's description.
//!
//! Handlers authenticate, bound, parse and hand over; they decide nothing about mail.

mod auth;
mod batch;
mod body;
mod compose;
mod config;
mod connection;
mod events;
mod json;
mod messages;
mod metrics;
mod openapi;
mod peer;
mod problem_rfc9457;
mod query;
mod raw;
mod request;
mod server;
mod state;
mod stream;
mod suppressions;
mod timeline;
mod unsubscribe;
mod webhooks;

#[cfg(test)]
mod tests;

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, Version, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use malote_core::intake::Openness;
use tower_http::catch_panic::CatchPanicLayer;

pub use self::config::{HttpConfig, ProxyNet, TlsFiles};
pub use self::metrics::HttpMetrics;
pub use self::openapi::document as openapi_document;
pub use self::server::{TlsInForce, serve};
pub use self::state::{HttpPorts, HttpState, WebhookParsers};

use self::problem_rfc9457::{Problem, ProblemKind};

/// Most header fields of one request. The raw endpoint names each recipient in a field of its
/// own, so this also bounds its recipients.
pub(crate) const HEADER_FIELDS_MAX: usize = 128;

/// Every endpoint, with the layers that all of them share.
pub(crate) fn router(state: Arc<HttpState>) -> Router {
    let shared = Arc::clone(&state);
    Router::new()
        .route("/v1/messages", post(messages::send).get(query::search))
        .route("/v1/messages/raw", post(raw::send_raw))
        .route("/v1/messages/batch", post(batch::send_batch))
        .route("/v1/messages/{id}", get(query::show).delete(query::cancel))
        .route("/v1/events", get(events::list))
        .route("/v1/suppressions", get(suppressions::list))
        .route(
            "/v1/suppressions/{email}",
            get(suppressions::show)
                .put(suppressions::put)
                .delete(suppressions::lift),
        )
        .route(
            "/v1/webhooks/{provider}",
            post(webhooks::receive).get(webhooks::probe),
        )
        .route(
            "/v1/webhooks/{provider}/{secret}",
            post(webhooks::receive_with_secret).get(webhooks::probe_with_secret),
        )
        .route("/u/{ticket}", get(unsubscribe::show).post(unsubscribe::act))
        .route("/openapi.json", get(openapi::serve_document))
        .route("/docs", get(openapi::serve_page))
        .route("/docs/reference.js", get(openapi::serve_script))
        .route("/docs/reference.css", get(openapi::serve_style))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(guard))
        .layer(middleware::from_fn_with_state(Arc::clone(&state), let_go))
        .layer(CatchPanicLayer::custom(on_panic))
        .layer(middleware::from_fn_with_state(shared, metrics::observe))
        .with_state(state)
}

/// TRACE would echo the API key; it is refused where nothing is, too.
async fn unknown_path(request: Request) -> Response {
    if request.method() != Method::TRACE {
        let text = "there is nothing at this path";
        return Problem::new(ProblemKind::NotFound, text).into_response();
    }
    let mut response = wrong_method().await.into_response();
    let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE");
    response.headers_mut().insert(header::ALLOW, allowed);
    response
}

async fn wrong_method() -> Problem {
    Problem::new(
        ProblemKind::MethodNotAllowed,
        "this path does not take this method, see Allow",
    )
}

/// Bounds what the parser lets through, and marks every answer as private to its reader.
async fn guard(request: Request, next: Next) -> Response {
    let mut response = if request.headers().len() > HEADER_FIELDS_MAX {
        Problem::new(ProblemKind::HeaderTooLarge, "too many header fields").into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// Has clients of HTTP/1 connect anew while a drain lasts: behind a balancer their next connection is
/// another gateway's. Closing theirs unasked could cross a request.
async fn let_go(State(state): State<Arc<HttpState>>, request: Request, next: Next) -> Response {
    let is_h1 = request.version() <= Version::HTTP_11;
    let mut response = next.run(request).await;
    if is_h1 && state.openness() != Openness::Open {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

/// A panic is ours to find in the log; the peer learns that it happened and nothing else.
fn on_panic(_payload: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!("request handler panicked");
    Problem::new(ProblemKind::Internal, "the gateway failed on this request").into_response()
}
