//! Blocked contacts (API reference, "Get the list of blocked or unsubscribed transactional
//! contacts"). No call puts one there.

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Problem, authorize, words};
use crate::http::{answer_list, json as json_answer};
use crate::sandbox::Sandbox;
use crate::suppressed::{Suppressed, Why};

/// Entries of a page, and the most.
const PAGE_DEFAULT: usize = 50;
const PAGE_MAX: usize = 100;

#[derive(Deserialize)]
pub(super) struct Wanted {
    limit: Option<usize>,
    offset: Option<usize>,
}

fn reason(why: Why) -> Option<(&'static str, &'static str)> {
    match why {
        Why::Bounced => Some(("hardBounce", "Hard bounced")),
        Why::Complained => Some(("contactFlaggedAsSpam", "Contact flagged as spam")),
        Why::Unsubscribed => Some(("unsubscribedViaEmail", "Unsubscribed via Email")),
        Why::Manual => Some(("adminBlocked", "Admin blocked")),
        Why::Blocked | Why::Invalid | Why::Compliance => None,
    }
}

/// `GET /v3/smtp/blockedContacts?limit=N&offset=N`.
pub(super) async fn list(
    State(sandbox): State<Sandbox>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    if let Err(problem) = authorize(&sandbox, &headers) {
        return problem.into_response();
    }
    let limit = wanted.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        let text = "Limit exceeds max value";
        return Problem::new(400, "out_of_range", text).into_response();
    }
    let accept = || {
        let is_own = |entry: &Suppressed| reason(entry.why).is_some();
        let offset = wanted.offset.unwrap_or(0);
        let (all, _) = sandbox.suppressed().page(is_own, 0, usize::MAX - 1);
        let page = all.iter().skip(offset).take(limit);
        let contacts: Vec<Value> = page.map(written).collect();
        let told = json!({ "contacts": contacts, "count": all.len() });
        json_answer(StatusCode::OK, &told)
    };
    answer_list(&sandbox, accept, |kind| words(kind).into_response()).await
}

fn written(entry: &Suppressed) -> Value {
    let (code, message) = reason(entry.why).unwrap_or_default();
    json!({
        "email": entry.address,
        "senderEmail": "news@sandbox.example",
        "reason": { "code": code, "message": message },
        "blockedAt": entry.at.map(|at| at.to_string()),
    })
}
