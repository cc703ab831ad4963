//! The suppression list: searched by cursor, added to in bulk (API reference, "Suppression List").

use axum::body::{Body, to_bytes};
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Problem, authorize, words};
use crate::address::is_address;
use crate::http::{answer_addition, answer_list, json as json_answer};
use crate::sandbox::Sandbox;
use crate::suppressed::{Suppressed, Why};

/// Entries of a page, and the most.
const PAGE_DEFAULT: usize = 1_000;
const PAGE_MAX: usize = 10_000;
/// Entries of a bulk call, and its octets.
const RECIPIENTS_MAX: usize = 10_000;
const BODY_BYTES_MAX: usize = 50 << 20;
/// The type of what no part was given for.
const TYPE_DEFAULT: &str = "non_transactional";
const TYPES: [&str; 2] = ["transactional", TYPE_DEFAULT];

#[derive(Deserialize)]
pub(super) struct Search {
    cursor: Option<String>,
    per_page: Option<usize>,
}

/// `GET suppression-list?cursor=C&per_page=N`. What is no cursor begins at the beginning.
pub(super) async fn search(
    State(sandbox): State<Sandbox>,
    Query(search): Query<Search>,
    headers: HeaderMap,
) -> Response {
    if let Err(problem) = authorize(&sandbox, &headers) {
        return problem.into_response();
    }
    let limit = search.per_page.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        let text = "per_page must be between 1 and 10000";
        return Problem::plain(400, text).into_response();
    }
    let accept = || {
        let cursor = search.cursor.as_deref().unwrap_or_default();
        let skip = cursor.strip_prefix("from=").and_then(|at| at.parse().ok());
        let skip: usize = skip.unwrap_or(0);
        let is_own = |entry: &Suppressed| !matches!(entry.why, Why::Blocked | Why::Invalid);
        let (page, has_more) = sandbox.suppressed().page(is_own, skip, limit);
        let next = format!(
            "/api/v1/suppression-list?cursor=from%3D{}&per_page={limit}",
            skip + limit
        );
        let links = match has_more {
            true => json!([{ "href": next, "rel": "next" }]),
            false => json!([]),
        };
        let results: Vec<Value> = page.iter().map(written).collect();
        let told = json!({ "results": results, "links": links, "total_count": results.len() });
        json_answer(StatusCode::OK, &told)
    };
    answer_list(&sandbox, accept, |kind| words(kind).into_response()).await
}

fn written(entry: &Suppressed) -> Value {
    let source = match entry.why {
        Why::Bounced | Why::Blocked | Why::Invalid => "Bounce Rule",
        Why::Complained => "Spam Complaint",
        Why::Unsubscribed => "List Unsubscribe",
        Why::Manual => "Manually Added",
        Why::Compliance => "Compliance",
    };
    let at = entry.at.map(|at| at.to_string());
    let kind = entry.part.as_deref().unwrap_or(TYPE_DEFAULT);
    let mut written = json!({
        "recipient": entry.address,
        "type": kind,
        "source": source,
        "description": entry.reply,
        "created": at,
        "updated": at,
    });
    written[kind] = true.into();
    written
}

/// `PUT suppression-list/`.
pub(super) async fn add(
    State(sandbox): State<Sandbox>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let entries = match authorize(&sandbox, &headers) {
        Ok(()) => read(body).await,
        Err(problem) => Err(problem),
    };
    let told = |_: &[Suppressed]| {
        let text = "Suppression List successfully updated";
        json_answer(StatusCode::OK, &json!({ "results": { "message": text } }))
    };
    answer_addition(&sandbox, entries, told, |kind| words(kind).into_response()).await
}

async fn read(body: Body) -> Result<Vec<Suppressed>, Problem> {
    let body = to_bytes(body, BODY_BYTES_MAX).await;
    let body = body.map_err(|_| Problem::plain(413, "Request Entity Too Large"))?;
    let document: Value = serde_json::from_slice(&body)
        .map_err(|_| Problem::invalid("Problems parsing request as JSON"))?;
    let list = document.get("recipients").and_then(Value::as_array);
    let list = list.ok_or_else(|| Problem::missing("recipients is required"))?;
    if list.len() > RECIPIENTS_MAX {
        return Err(Problem::plain(400, "recipients must not be over 10000"));
    }
    let text = |value: &Value, name: &str| value[name].as_str().map(str::to_owned);
    let is_good = |value: &&Value| {
        let kind = text(value, "type");
        let is_type = kind.is_some_and(|kind| TYPES.contains(&kind.as_str()));
        is_type && text(value, "recipient").is_some_and(|address| is_address(&address))
    };
    let bad: Vec<String> = list
        .iter()
        .filter(|value| !is_good(value))
        .map(|value| text(value, "recipient").unwrap_or_default())
        .collect();
    if !bad.is_empty() {
        return Err(Problem::plain(
            400,
            &format!(
                "PUT body contains {} invalid or malformed recipient(s): {}",
                bad.len(),
                bad.join(", ")
            ),
        ));
    }
    let entry = |value: &Value| Suppressed {
        address: text(value, "recipient").unwrap_or_default(),
        why: Why::Manual,
        reply: text(value, "description").unwrap_or_default(),
        part: text(value, "type"),
        at: None,
    };
    Ok(list.iter().map(entry).collect())
}
