//! The account's suppression list (API reference, ListSuppressedDestinations and
//! PutSuppressedDestination). It holds bounces and complaints only.

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Problem, read, words};
use crate::address::is_address;
use crate::http::{answer_addition, answer_list, json as json_answer};
use crate::sandbox::Sandbox;
use crate::suppressed::{Suppressed, Why};

/// Entries of a page.
const PAGE_MAX: usize = 1_000;

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct Wanted {
    next_token: Option<String>,
    page_size: Option<usize>,
}

impl Wanted {
    fn read(query: Option<&str>) -> Result<(usize, usize), Problem> {
        let url = format!("/?{}", query.unwrap_or_default()).parse();
        let url: http::Uri = url.unwrap_or_default();
        let wanted = axum::extract::Query::<Self>::try_from_uri(&url);
        let wanted = wanted.map_or_else(|_| Self::default(), |query| query.0);
        let limit = wanted.page_size.unwrap_or(PAGE_MAX);
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(Problem::bad_request("PageSize must be between 1 and 1000"));
        }
        let skip = match &wanted.next_token {
            None => Some(0),
            Some(token) => place(token),
        };
        let skip = skip.ok_or_else(|| Problem::bad_request("The NextToken is invalid."))?;
        Ok((skip, limit))
    }
}

/// Tokens look like the service's: Base64 with its padding.
fn place(token: &str) -> Option<usize> {
    let digits = token.strip_suffix("+/==")?;
    digits.parse().ok()
}

/// `GET /v2/email/suppression/addresses`.
pub(super) async fn list(State(sandbox): State<Sandbox>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let wanted = match read(&sandbox, &head, body).await {
        Ok(_) => Wanted::read(head.uri.query()),
        Err(problem) => Err(problem),
    };
    let (skip, limit) = match wanted {
        Ok(wanted) => wanted,
        Err(problem) => return problem.into_response(),
    };
    let accept = || {
        let is_own = |entry: &Suppressed| matches!(entry.why, Why::Bounced | Why::Complained);
        let (page, has_more) = sandbox.suppressed().page(is_own, skip, limit);
        let summaries: Vec<Value> = page.iter().map(written).collect();
        let mut told = json!({ "SuppressedDestinationSummaries": summaries });
        if has_more {
            told["NextToken"] = format!("{}+/==", skip + limit).into();
        }
        json_answer(StatusCode::OK, &told)
    };
    answer_list(&sandbox, accept, |kind| words(kind).into_response()).await
}

fn written(entry: &Suppressed) -> Value {
    let reason = match entry.why {
        Why::Complained => "COMPLAINT",
        Why::Bounced
        | Why::Blocked
        | Why::Invalid
        | Why::Unsubscribed
        | Why::Manual
        | Why::Compliance => "BOUNCE",
    };
    let at = entry.at.map(|at| at.as_millisecond() as f64 / 1e3);
    json!({ "EmailAddress": entry.address, "Reason": reason, "LastUpdateTime": at })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Put {
    email_address: String,
    reason: String,
}

/// `PUT /v2/email/suppression/addresses`.
pub(super) async fn put(State(sandbox): State<Sandbox>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let entries = match read(&sandbox, &head, body).await {
        Ok(body) => checked(&body).map(|entry| vec![entry]),
        Err(problem) => Err(problem),
    };
    let entries = entries.map_err(|problem| problem.into_response());
    let told = |_: &[Suppressed]| json_answer(StatusCode::OK, &json!({}));
    answer_addition(&sandbox, entries, told, |kind| words(kind).into_response()).await
}

fn checked(body: &[u8]) -> Result<Suppressed, Problem> {
    let put: Put = serde_json::from_slice(body)
        .map_err(|_| Problem::bad_request("EmailAddress and Reason are required."))?;
    let why = match put.reason.as_str() {
        "BOUNCE" => Why::Bounced,
        "COMPLAINT" => Why::Complained,
        other => {
            let text = format!("Reason {other} must be BOUNCE or COMPLAINT.");
            return Err(Problem::bad_request(text));
        }
    };
    if !is_address(&put.email_address) {
        return Err(Problem::bad_request("EmailAddress is invalid."));
    }
    Ok(Suppressed::new(put.email_address, why))
}
