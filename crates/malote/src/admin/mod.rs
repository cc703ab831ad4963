//! The operators' door: metrics, health, the queue, switches, suppressions and captured mail.
//!
//! It decides nothing about mail; it asks the engine and the store.

pub(crate) mod api;
mod auth;
mod backup;
mod captured;
mod guard;
mod health;
mod messages;
mod nodes;
mod outlets;
pub(crate) mod problem;
mod queue;
mod recipients;
mod request;
mod server;
pub(crate) mod suppressions;
mod switches;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware;
use axum::response::Response;
use axum::routing::{delete, get, post};
use malote_core::clock::Clock;
use malote_core::credential::OperatorInForce;
use malote_delivery::Engine;
use prometheus::Registry;

pub use server::serve;

use crate::place::StorePlace;
use problem::{Problem, ProblemKind};

/// What the operators' door works on. Clones share everything.
#[derive(Clone)]
pub struct AdminState {
    /// The engine.
    pub engine: Arc<Engine>,
    /// The store, for backups, readiness and captured bodies.
    pub store: StorePlace,
    /// What the gateway is called among nodes.
    pub node: String,
    /// What `/metrics` shows.
    pub registry: Registry,
    /// What operators must present; empty only on loopback.
    pub token: OperatorInForce,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Every endpoint, with the guards that all of them share. `/healthz` and `/readyz` are open;
/// everything else needs the token if there is one.
pub fn router(state: AdminState) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(health::metrics))
        .route("/captured", get(captured::list))
        .route("/captured/style.css", get(captured::style))
        .route("/captured/{id}", get(captured::raw))
        .nest("/admin/v1", operators())
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

fn operators() -> Router<AdminState> {
    Router::new()
        .route("/queue", get(queue::list))
        .route("/queue/stats", get(queue::stats))
        .route("/queue/retry", post(queue::retry))
        .route("/queue/cancel", post(queue::cancel))
        .route("/queue/hold", post(queue::hold))
        .route("/queue/release", post(queue::release))
        .route("/queue/resolve", post(queue::resolve))
        .route("/switches", get(switches::list).post(switches::set))
        .route("/targets", get(switches::targets))
        .route("/messages/{id}", get(messages::show))
        .route("/messages/{id}/raw", get(messages::raw))
        .route("/events/unreadable", get(messages::unreadable))
        .route("/outlets", get(outlets::list).post(outlets::set))
        .route("/outlets/replay", post(outlets::replay))
        .route("/nodes", get(nodes::list).post(nodes::ask))
        .route("/node", get(nodes::show).post(nodes::set))
        .route("/guard", get(guard::list))
        .route("/guard/resume", post(guard::resume))
        .route("/explain", post(messages::explain))
        .route("/explain/{id}", get(messages::explain_kept))
        .route(
            "/suppressions",
            get(suppressions::list)
                .post(suppressions::add)
                .delete(suppressions::lift),
        )
        .route("/recipients", delete(recipients::erase))
        .route("/suppressions/export", get(suppressions::export))
        .route("/suppressions/import", post(suppressions::import))
        .route("/store/backup", post(backup::backup))
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
