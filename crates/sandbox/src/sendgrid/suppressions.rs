//! The lists: bounces, blocks, spam reports, invalid emails, global unsubscribes (API reference,
//! "Suppressions"). Only the last one takes entries.

use axum::body::{Body, to_bytes};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Problem, authorize, words};
use crate::address::is_address;
use crate::http::{answer_addition, answer_list, json as json_answer};
use crate::sandbox::Sandbox;
use crate::suppressed::{Suppressed, Why};

/// Entries of a page at most, and if nobody asks for fewer.
const PAGE_MAX: usize = 500;
/// The body of an addition.
const BODY_BYTES_MAX: usize = 1 << 20;

#[derive(Deserialize)]
pub(super) struct Wanted {
    limit: Option<usize>,
    offset: Option<usize>,
}

/// `GET /v3/suppression/{list}?limit=N&offset=N`.
pub(super) async fn list(
    State(sandbox): State<Sandbox>,
    Path(list): Path<String>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    if let Err(problem) = authorize(&sandbox, &headers) {
        return problem.into_response();
    }
    let why = match list.as_str() {
        "bounces" => Why::Bounced,
        "blocks" => Why::Blocked,
        "spam_reports" => Why::Complained,
        "invalid_emails" => Why::Invalid,
        "unsubscribes" => Why::Unsubscribed,
        _ => return Problem::new(404, "not found").into_response(),
    };
    let limit = wanted.limit.unwrap_or(PAGE_MAX);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Problem::of_field("limit", "limit must be 1 to 500").into_response();
    }
    let accept = || {
        let is_own = |entry: &Suppressed| entry.why == why;
        let offset = wanted.offset.unwrap_or(0);
        let (page, _) = sandbox.suppressed().page(is_own, offset, limit);
        let page: Vec<Value> = page.iter().map(written).collect();
        json_answer(StatusCode::OK, &page.into())
    };
    answer_list(&sandbox, accept, |kind| words(kind).into_response()).await
}

fn written(entry: &Suppressed) -> Value {
    let mut written = json!({
        "created": entry.at.map(|at| at.as_second()),
        "email": entry.address,
    });
    match entry.why {
        Why::Bounced | Why::Blocked | Why::Invalid => {
            let status = entry.reply.split(' ').nth(1).unwrap_or_default();
            written["reason"] = entry.reply.as_str().into();
            written["status"] = status.into();
        }
        Why::Complained => written["ip"] = "192.0.2.1".into(),
        Why::Unsubscribed | Why::Manual | Why::Compliance => {}
    }
    written
}

/// `POST /v3/asm/suppressions/global`.
pub(super) async fn add(
    State(sandbox): State<Sandbox>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let entries = match authorize(&sandbox, &headers) {
        Ok(()) => read(body).await,
        Err(problem) => Err(problem),
    };
    let told = |entries: &[Suppressed]| {
        let addresses: Vec<&str> = entries.iter().map(|entry| entry.address.as_str()).collect();
        json_answer(
            StatusCode::CREATED,
            &json!({ "recipient_emails": addresses }),
        )
    };
    answer_addition(&sandbox, entries, told, |kind| words(kind).into_response()).await
}

async fn read(body: Body) -> Result<Vec<Suppressed>, Problem> {
    let body = to_bytes(body, BODY_BYTES_MAX).await;
    let body = body.map_err(|_| Problem::new(413, "content too large"))?;
    let document: Value =
        serde_json::from_slice(&body).map_err(|_| Problem::new(400, "Bad Request"))?;
    let field = "recipient_emails";
    let list = document.get(field).and_then(Value::as_array);
    let list = list.filter(|list| !list.is_empty());
    let Some(list) = list else {
        return Err(Problem::of_field(field, "recipient_emails is required"));
    };
    let entry = |value: &Value| {
        let address = value.as_str().filter(|text| is_address(text));
        address
            .map(|address| Suppressed::new(address.to_owned(), Why::Unsubscribed))
            .ok_or_else(|| Problem::of_field(field, "Does not contain a valid address."))
    };
    list.iter().map(entry).collect()
}
