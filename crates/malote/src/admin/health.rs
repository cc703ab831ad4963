//! `/metrics`, `/healthz` and `/readyz`. They touch the process itself, never a provider.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use malote_core::intake::{Intake, Openness};
use prometheus::{Encoder, TextEncoder};

use super::AdminState;
use super::problem::{Problem, ProblemKind};

/// Everything counted, in Prometheus' text format.
pub(super) async fn metrics(State(state): State<AdminState>) -> Result<Response, Problem> {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    if let Err(error) = encoder.encode(&state.registry.gather(), &mut text) {
        tracing::error!(%error, "could not write the metrics");
        let detail = "the metrics cannot be written, see the log";
        return Err(Problem::new(ProblemKind::Internal, detail));
    }
    let kind = HeaderValue::from_str(encoder.format_type())
        .unwrap_or(HeaderValue::from_static("text/plain; version=0.0.4"));
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// That the process answers. Says nothing of store, queue or providers: restarting would mend none
/// of them.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether mail can be taken in now; else 503 with the reason.
pub(super) async fn readyz(State(state): State<AdminState>) -> Response {
    let is_draining = *state.engine.openness().borrow() != Openness::Open;
    let reason = match is_draining {
        true => Some("draining".to_owned()),
        false => state.store.why_not_ready().await,
    };
    let reason = reason.or_else(|| state.engine.can_accept().err().map(|why| why.to_string()));
    match reason {
        None => (StatusCode::OK, "ready\n").into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}
