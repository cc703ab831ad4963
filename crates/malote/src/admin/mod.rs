//! The operators' door: metrics, health, the queue, switches, suppressions and captured mail.
//!
//! It decides nothing about mail; it asks the engine and the store.

mod auth;
mod health;
mod problem;
mod server;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware;
use axum::response::Response;
use axum::routing::get;
use malote_core::clock::Clock;
use malote_core::secret::Secret;
use malote_delivery::Engine;
use malote_store::SqliteStore;
use prometheus::Registry;

pub use server::serve;

use problem::{Problem, ProblemKind};

/// What the operators' door works on. Clones share everything.
#[derive(Clone)]
pub struct AdminState {
    /// The engine.
    pub engine: Arc<Engine>,
    /// The store, for backups, readiness and captured bodies.
    pub store: SqliteStore,
    /// What `/metrics` shows.
    pub registry: Registry,
    /// What operators must present; `None` only on loopback.
    pub token: Option<Secret>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Every endpoint, with the guards that all of them share. `/healthz` and `/readyz` are open;
/// everything else needs the token if there is one.
pub fn router(state: AdminState) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(health::metrics))
        .route_layer(middleware::from_fn_with_state(state.clone(), auth::guard));
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .merge(guarded)
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::map_response(private))
        .with_state(state)
}

async fn unknown_path() -> Problem {
    Problem::new(ProblemKind::NotFound, "there is nothing at this path")
}

async fn wrong_method() -> Problem {
    let text = "this path does not take this method, see Allow";
    Problem::new(ProblemKind::MethodNotAllowed, text)
}

/// Nothing of this door may be kept by a cache, guessed into another type, or framed.
async fn private(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'",
        ));
    response
}
