//! The lists of a domain: bounces, complaints, unsubscribes (API reference, "Suppressions").

use axum::body::{Body, to_bytes};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Problem, authorize, find, is_address, words};
use crate::http::{answer_addition, answer_list, json as json_answer};
use crate::sandbox::Sandbox;
use crate::suppressed::{Suppressed, Why};

/// Entries of a page, and the most.
const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1_000;
/// Entries of one addition.
const ADDED_MAX: usize = 1_000;
const BODY_BYTES_MAX: usize = 8 << 20;

#[derive(Deserialize)]
pub(super) struct Wanted {
    limit: Option<usize>,
    page: Option<String>,
    address: Option<String>,
}

fn why(list: &str) -> Option<Why> {
    match list {
        "bounces" => Some(Why::Bounced),
        "complaints" => Some(Why::Complained),
        "unsubscribes" => Some(Why::Unsubscribed),
        _ => None,
    }
}

/// Which list is meant, if who asks has the key; `None`: a wrong path.
fn known(
    sandbox: &Sandbox,
    headers: &HeaderMap,
    domain: &str,
    list: &str,
) -> Result<Option<Why>, Problem> {
    authorize(sandbox, headers)?;
    find(sandbox, domain)?;
    Ok(why(list))
}

/// What a wrong path is answered, with 200.
const WRONG_PATH: &str = "Mailgun Magnificent API";

/// `GET /v3/{domain}/{list}?limit=N&page=next&address=A`: in alphabetical order, with the places of
/// other pages. The last page names a next one as well, which is empty.
pub(super) async fn list(
    State(sandbox): State<Sandbox>,
    Path((domain, list)): Path<(String, String)>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    let why = match known(&sandbox, &headers, &domain, &list) {
        Ok(Some(why)) => why,
        Ok(None) => return WRONG_PATH.into_response(),
        Err(problem) => return problem.into_response(),
    };
    let limit = wanted.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Problem::bad_request("limit must be 1 to 1000").into_response();
    }
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let base = format!("http://{}/v3/{domain}/{list}", host.unwrap_or("localhost"));
    let accept = || {
        let after = wanted.address.unwrap_or_default().to_ascii_lowercase();
        let is_next = wanted.page.as_deref() == Some("next");
        let is_own = |entry: &Suppressed| {
            entry.why == why && (!is_next || entry.address.to_ascii_lowercase() > after)
        };
        let (page, _) = sandbox.suppressed().page(is_own, 0, limit);
        let last = page.last().map_or(after.as_str(), |entry| &entry.address);
        let next = format!("{base}?page=next&address={}&limit={limit}", encoded(last));
        let items: Vec<Value> = page.iter().map(written).collect();
        let told = json!({
            "items": items,
            "paging": { "first": format!("{base}?limit={limit}"), "next": next },
        });
        json_answer(StatusCode::OK, &told)
    };
    let at = (sandbox.config().clock)();
    answer_list(&sandbox, accept, |kind| {
        words(kind, &domain, at).into_response()
    })
    .await
}

fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

fn written(entry: &Suppressed) -> Value {
    let at = entry.at.map(|at| at.strftime("%a, %d %b %Y %H:%M:%S UTC"));
    let mut written = json!({
        "address": entry.address,
        "created_at": at.map(|at| at.to_string()),
    });
    match entry.why {
        Why::Bounced | Why::Blocked | Why::Invalid => {
            let code = entry.reply.get(..3).unwrap_or("550");
            written["code"] = code.into();
            written["error"] = entry.reply.get(4..).unwrap_or_default().into();
        }
        Why::Unsubscribed => written["tags"] = json!([entry.part.as_deref().unwrap_or("*")]),
        Why::Complained | Why::Manual | Why::Compliance => {}
    }
    written
}

/// `POST /v3/{domain}/{list}` with a JSON list.
pub(super) async fn add(
    State(sandbox): State<Sandbox>,
    Path((domain, list)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let why = match known(&sandbox, &headers, &domain, &list) {
        Ok(Some(why)) => why,
        Ok(None) => return WRONG_PATH.into_response(),
        Err(problem) => return problem.into_response(),
    };
    let entries = read(why, &headers, body).await;
    let told = |entries: &[Suppressed]| {
        let count = entries.len();
        let text = format!("{count} addresses have been added to the {list} table");
        json_answer(StatusCode::OK, &json!({ "message": text }))
    };
    let now = (sandbox.config().clock)();
    answer_addition(&sandbox, entries, told, |kind| {
        words(kind, &domain, now).into_response()
    })
    .await
}

async fn read(why: Why, headers: &HeaderMap, body: Body) -> Result<Vec<Suppressed>, Problem> {
    let kind = headers.get(header::CONTENT_TYPE);
    if kind.is_none_or(|kind| kind != "application/json") {
        return Err(Problem::bad_request("'address' parameter is missing"));
    }
    let too_large = || Problem(StatusCode::PAYLOAD_TOO_LARGE, "too large".to_owned());
    let body = to_bytes(body, BODY_BYTES_MAX).await;
    let body = body.map_err(|_| too_large())?;
    let items: Vec<Value> = serde_json::from_slice(&body)
        .map_err(|_| Problem::bad_request("Invalid JSON: a list of objects is expected"))?;
    if items.len() > ADDED_MAX {
        let text = format!("Batch size should be less than {ADDED_MAX}");
        return Err(Problem::bad_request(text));
    }
    let entry = |item: &Value| {
        let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
        let address = text("address");
        if !is_address(&address) {
            let text = "Address must be a valid email address";
            return Err(Problem::bad_request(text));
        }
        let code = match text("code") {
            code if code.is_empty() => "550".to_owned(),
            code => code,
        };
        let reply = match why == Why::Bounced {
            true => format!("{code} {}", text("error")),
            false => String::new(),
        };
        Ok(Suppressed {
            address,
            why,
            reply,
            part: item["tags"][0].as_str().map(str::to_owned),
            at: None,
        })
    };
    items.iter().map(entry).collect()
}
