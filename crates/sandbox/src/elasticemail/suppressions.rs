//! The lists of the account: bounces, complaints, unsubscribes (API v4, "Suppressions").

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

/// Entries of a page, unless asked otherwise; no bound is documented, this one is ours.
const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1_000;
/// Addresses of one addition.
const ADDED_MAX: usize = 1_000;
const BODY_BYTES_MAX: usize = 1 << 20;

#[derive(Deserialize)]
pub(super) struct Wanted {
    limit: Option<usize>,
    offset: Option<usize>,
}

/// Which list is meant, if who asks has the key.
fn known(sandbox: &Sandbox, headers: &HeaderMap, list: &str) -> Result<Why, Problem> {
    authorize(sandbox, headers)?;
    match list {
        "bounces" => Ok(Why::Bounced),
        "complaints" => Ok(Why::Complained),
        "unsubscribes" => Ok(Why::Unsubscribed),
        _ => Err(Problem(StatusCode::NOT_FOUND, "Not Found".to_owned())),
    }
}

/// `GET /v4/suppressions/{list}?limit=N&offset=N`.
pub(super) async fn list(
    State(sandbox): State<Sandbox>,
    Path(list): Path<String>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    let why = match known(&sandbox, &headers, &list) {
        Ok(why) => why,
        Err(problem) => return problem.into_response(),
    };
    let accept = || {
        let limit = wanted.limit.unwrap_or(PAGE_DEFAULT).min(PAGE_MAX);
        let is_own = |entry: &Suppressed| entry.why == why;
        let offset = wanted.offset.unwrap_or(0);
        let (page, _) = sandbox.suppressed().page(is_own, offset, limit);
        let page: Vec<Value> = page.iter().map(written).collect();
        json_answer(StatusCode::OK, &page.into())
    };
    answer_list(&sandbox, accept, |kind| words(kind).into_response()).await
}

fn written(entry: &Suppressed) -> Value {
    let code: Option<u16> = entry.reply.get(..3).and_then(|code| code.parse().ok());
    json!({
        "Email": entry.address,
        "FriendlyErrorMessage": entry.reply,
        "ErrorCode": code,
        "DateUpdated": entry.at.map(|at| at.to_string()),
    })
}

/// `POST /v4/suppressions/{list}` with a list of addresses.
pub(super) async fn add(
    State(sandbox): State<Sandbox>,
    Path(list): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let entries = match known(&sandbox, &headers, &list) {
        Ok(why) => read(why, body).await,
        Err(problem) => Err(problem),
    };
    let told = |entries: &[Suppressed]| {
        let added: Vec<Value> = entries.iter().map(written).collect();
        json_answer(StatusCode::CREATED, &added.into())
    };
    answer_addition(&sandbox, entries, told, |kind| words(kind).into_response()).await
}

async fn read(why: Why, body: Body) -> Result<Vec<Suppressed>, Problem> {
    let malformed = || Problem::bad_request("A list of at most 1000 emails is expected");
    let body = to_bytes(body, BODY_BYTES_MAX).await;
    let body = body.map_err(|_| malformed())?;
    let list: Vec<String> = serde_json::from_slice(&body).map_err(|_| malformed())?;
    if list.len() > ADDED_MAX {
        return Err(malformed());
    }
    let entry = |address: String| match is_address(&address) {
        true => Ok(Suppressed::new(address, why)),
        false => Err(Problem::bad_request("Invalid email address")),
    };
    list.into_iter().map(entry).collect()
}
