//! The list of a team: bounces, complaints, and what is put there (API reference, "Suppressions").

use axum::body::{Body, to_bytes};
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Desk, Problem, authorize, words};
use crate::address::is_address;
use crate::http::{answer_addition, answer_list, json as json_answer};
use crate::suppressed::{Suppressed, Why};

/// Entries of a page, and the most.
const PAGE_DEFAULT: usize = 20;
const PAGE_MAX: usize = 100;
/// Addresses of one addition.
const ADDED_MAX: usize = 100;
const BODY_BYTES_MAX: usize = 1 << 20;

#[derive(Deserialize)]
pub(super) struct Wanted {
    limit: Option<usize>,
    after: Option<String>,
}

fn origin(why: Why) -> Option<&'static str> {
    match why {
        Why::Bounced => Some("bounce"),
        Why::Complained => Some("complaint"),
        Why::Manual => Some("manual"),
        Why::Blocked | Why::Invalid | Why::Unsubscribed | Why::Compliance => None,
    }
}

/// `GET /suppressions?limit=N&after=ID`.
pub(super) async fn list(
    State(Desk { sandbox, .. }): State<Desk>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    if let Err(problem) = authorize(&sandbox, &headers) {
        return problem.into_response();
    }
    let limit = wanted.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Problem::invalid("The limit must be between 1 and 100.").into_response();
    }
    let accept = || {
        let is_own = |entry: &Suppressed| origin(entry.why).is_some();
        let after = wanted.after.as_deref();
        let (page, has_more) = sandbox.suppressed().page_after(is_own, after, limit);
        let data: Vec<Value> = page.iter().map(written).collect();
        let told = json!({ "object": "list", "has_more": has_more, "data": data });
        json_answer(StatusCode::OK, &told)
    };
    answer_list(&sandbox, accept, |kind| words(kind).into_response()).await
}

fn written(entry: &Suppressed) -> Value {
    json!({
        "object": "suppression",
        "id": entry.id(),
        "email": entry.address,
        "origin": origin(entry.why),
        "source_id": null,
        "created_at": entry.at.map(|at| at.to_string()),
    })
}

/// `POST /suppressions/batch/add`.
pub(super) async fn add(
    State(Desk { sandbox, .. }): State<Desk>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let entries = match authorize(&sandbox, &headers) {
        Ok(()) => read(body).await,
        Err(problem) => Err(problem),
    };
    let told = |entries: &[Suppressed]| {
        let added = |entry: &Suppressed| json!({ "object": "suppression", "id": entry.id() });
        let data: Vec<Value> = entries.iter().map(added).collect();
        json_answer(StatusCode::OK, &json!({ "data": data }))
    };
    answer_addition(&sandbox, entries, told, |kind| words(kind).into_response()).await
}

async fn read(body: Body) -> Result<Vec<Suppressed>, Problem> {
    let malformed = || Problem::invalid("The emails must be a list of 1 to 100 addresses.");
    let body = to_bytes(body, BODY_BYTES_MAX).await;
    let body = body.map_err(|_| malformed())?;
    let document: Value = serde_json::from_slice(&body).map_err(|_| malformed())?;
    let list = document["emails"].as_array().ok_or_else(malformed)?;
    if !(1..=ADDED_MAX).contains(&list.len()) {
        return Err(malformed());
    }
    let entry = |value: &Value| {
        let address = value.as_str().filter(|text| is_address(text));
        let address = address.map(|text| text.trim().to_ascii_lowercase());
        let bad = || Problem::invalid("Invalid `emails` field.");
        address
            .map(|address| Suppressed::new(address, Why::Manual))
            .ok_or_else(bad)
    };
    list.iter().map(entry).collect()
}
