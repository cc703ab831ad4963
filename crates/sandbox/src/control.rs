//! `/_sandbox/*`: what was taken, how to answer, webhooks to send.

use axum::extract::rejection::JsonRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use crate::behaviour::Behaviour;
use crate::event::{self, EventRequest};
use crate::http::json as json_answer;
use crate::sandbox::Sandbox;
use crate::suppressed::Suppressed;

/// Messages in one listing, unless asked otherwise.
const LISTED_DEFAULT: usize = 1_000;
/// Messages in one listing at most.
const LISTED_MAX: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
    rcpt: Option<String>,
    raw: Option<u8>,
}

/// The control endpoints of this simulator.
pub(crate) fn router(sandbox: Sandbox) -> Router {
    Router::new()
        .route("/_sandbox/messages", get(messages).delete(forget))
        .route("/_sandbox/stats", get(stats))
        .route(
            "/_sandbox/behaviour",
            post(behave).get(behaviour).delete(behave_well),
        )
        .route("/_sandbox/suppressions", get(suppressions).post(suppress))
        .route("/_sandbox/event", post(emit))
        .route("/_sandbox/certificate", get(certificate))
        .route("/_sandbox/public-key", get(public_key))
        .with_state(sandbox)
}

async fn messages(State(sandbox): State<Sandbox>, Query(listing): Query<Listing>) -> Response {
    let limit = listing.limit.unwrap_or(LISTED_DEFAULT).min(LISTED_MAX);
    let taken = sandbox
        .mailbox()
        .list(listing.after, listing.rcpt.as_deref(), limit);
    let with_raw = listing.raw == Some(1);
    let listed = taken.iter().map(|taken| {
        let mut listed = taken.to_json(with_raw);
        listed["provider"] = sandbox.kind().as_str().into();
        listed
    });
    let listed: Vec<_> = listed.collect();
    json_answer(StatusCode::OK, &listed.into())
}

async fn forget(State(sandbox): State<Sandbox>) -> StatusCode {
    sandbox.forget();
    StatusCode::NO_CONTENT
}

async fn stats(State(sandbox): State<Sandbox>) -> Response {
    Json(sandbox.stats()).into_response()
}

async fn behave(
    State(sandbox): State<Sandbox>,
    body: Result<Json<Behaviour>, JsonRejection>,
) -> Response {
    let behaviour = match body {
        Ok(Json(behaviour)) => behaviour,
        Err(rejection) => return refusal(&rejection.body_text()),
    };
    match sandbox.behave(&behaviour) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => refusal(&error.to_string()),
    }
}

async fn behaviour(State(sandbox): State<Sandbox>) -> Response {
    Json(sandbox.behaviour()).into_response()
}

async fn behave_well(State(sandbox): State<Sandbox>) -> StatusCode {
    sandbox.behave_well();
    StatusCode::NO_CONTENT
}

async fn suppressions(State(sandbox): State<Sandbox>) -> Response {
    Json(sandbox.suppressions()).into_response()
}

async fn suppress(
    State(sandbox): State<Sandbox>,
    body: Result<Json<Suppressed>, JsonRejection>,
) -> Response {
    let entry = match body {
        Ok(Json(entry)) => entry,
        Err(rejection) => return refusal(&rejection.body_text()),
    };
    match sandbox.suppress(entry) {
        true => StatusCode::NO_CONTENT.into_response(),
        false => refusal("the list is full"),
    }
}

async fn emit(
    State(sandbox): State<Sandbox>,
    body: Result<Json<EventRequest>, JsonRejection>,
) -> Response {
    let request = match body {
        Ok(Json(request)) => request,
        Err(rejection) => return refusal(&rejection.body_text()),
    };
    match event::emit(&sandbox, &request).await {
        Ok(status) => json_answer(StatusCode::OK, &json!({ "status": status })),
        Err(error) => refusal(&error.to_string()),
    }
}

async fn certificate(State(sandbox): State<Sandbox>) -> Response {
    pem(sandbox.certificate_pem())
}

async fn public_key(State(sandbox): State<Sandbox>) -> Response {
    pem(sandbox.public_key_pem())
}

fn pem(pem: Option<String>) -> Response {
    match pem {
        Some(pem) => ([(header::CONTENT_TYPE, "application/x-pem-file")], pem).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn refusal(reason: &str) -> Response {
    json_answer(StatusCode::BAD_REQUEST, &json!({ "message": reason }))
}
