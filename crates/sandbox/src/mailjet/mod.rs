//! Mailjet: `send` of version 3.1, and the look-up of key and senders in version 3.

mod check;
mod event;
mod problem;
mod suppressions;

use std::net::SocketAddr;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) use event::webhook;

use crate::fault::{Fault, FaultKind};
use crate::http::{Peer, answer, cut, json as json_answer, unread};
use crate::mailbox::Arrival;
use crate::sandbox::Sandbox;
use check::{Call, Message};
use problem::{Problem, Wrong, words};

/// The whole request: 15 MB of attachments in base64, and what is around them.
const REQUEST_BYTES_MAX: usize = 25 * 1024 * 1024;
/// Ids are numbers beyond 2^53, which a reader of floating-point numbers loses.
const FIRST_ID: u64 = 1 << 60;
/// One message has an id for each recipient, of which there are 50 at most.
const IDS_PER_MESSAGE: u64 = 64;
/// Entries of a listing, unless asked otherwise ("Limit", `API overview`).
const LISTED_DEFAULT: usize = 10;
const LISTED_MAX: usize = 1_000;

/// The API of this simulator.
pub(crate) fn router(sandbox: Sandbox) -> Router {
    Router::new()
        .route("/v3.1/send", post(send))
        .route("/v3/REST/apikey", get(api_keys))
        .route("/v3/REST/sender", get(senders))
        .route("/v3/REST/contact", get(suppressions::list))
        .fallback(|| async { rest_error(StatusCode::NOT_FOUND, "Object not found") })
        .with_state(sandbox)
}

async fn send(State(sandbox): State<Sandbox>, request: Request) -> Response {
    if let Some(end) = unread(&sandbox).await {
        return end;
    }
    let (head, body) = request.into_parts();
    let Some(Peer(peer)) = head.extensions.get::<Peer>().copied() else {
        return cut();
    };
    let read = match to_bytes(body, REQUEST_BYTES_MAX).await {
        Err(_) => Err(Problem::too_large()),
        Ok(_) if !is_known(&sandbox, &head.headers) => Err(Problem::not_authorized()),
        Ok(body) => check::read(&body, &sandbox.config().account).map(|call| (call, body)),
    };
    let (call, body) = match read {
        Ok(read) => read,
        Err(problem) => {
            sandbox.mailbox().note_send();
            return problem.into_response();
        }
    };
    if call.is_sandboxed || call.messages.iter().all(Result::is_err) {
        sandbox.mailbox().note_send();
        return accepted(&sandbox, call, &body, peer, 0);
    }
    let good = call.messages.iter().flatten();
    let recipients = good.flat_map(|message| message.recipients.iter().map(String::as_str));
    let fault = sandbox.faults().for_send(recipients);
    let count = call.messages.len();
    let (fault, refused_count) = halved(fault, count);
    let accept = || accepted(&sandbox, call, &body, peer, refused_count);
    answer(&sandbox, fault, accept, |kind| words(kind, count)).await
}

/// A half-accepted call is one whose first messages are wrong.
fn halved(fault: Option<Fault>, messages: usize) -> (Option<Fault>, usize) {
    let is_partial = fault
        .as_ref()
        .is_some_and(|fault| fault.kind == FaultKind::Partial);
    match is_partial && messages > 1 {
        true => (None, messages / 2),
        false => (fault, 0),
    }
}

/// Takes what is good and says for each message what became of it. One that is wrong gives the
/// whole answer its status (mailjet-apiv3-java issue 121).
fn accepted(
    sandbox: &Sandbox,
    call: Call,
    raw: &Bytes,
    peer: SocketAddr,
    refused_count: usize,
) -> Response {
    let mut status = StatusCode::OK;
    let mut results = Vec::new();
    for (at, message) in call.messages.into_iter().enumerate() {
        let message = match message {
            Ok(_) if at < refused_count => Err(vec![Wrong::address("To[0].Email")]),
            message => message,
        };
        let result = match message {
            Ok(message) if call.is_sandboxed => message.receipt(|_| (0, String::new())),
            Ok(message) => taken(sandbox, message, raw.clone(), peer),
            Err(wrongs) => {
                if status == StatusCode::OK {
                    status = wrongs.first().map_or(status, |wrong| wrong.status);
                }
                problem::of_message(&wrongs)
            }
        };
        results.push(result);
    }
    json_answer(status, &json!({ "Messages": results }))
}

fn taken(sandbox: &Sandbox, message: Message, raw: Bytes, peer: SocketAddr) -> Value {
    let at = (sandbox.config().clock)();
    let arrival = Arrival {
        peer,
        mail_from: None,
        recipients: message.recipients.clone(),
        pool: None,
        options: message.options.clone(),
        raw,
        fields: Some(message.fields.clone()),
    };
    let name = |seq: u64| (FIRST_ID + seq * IDS_PER_MESSAGE).to_string();
    let first = sandbox.mailbox().take(arrival, at, name);
    message.receipt(|index| ids_of(&first, index))
}

/// Number and UUID for the recipient at this place of the message whose first id this is.
fn ids_of(first: &str, index: usize) -> (u64, String) {
    let first: u64 = first.parse().unwrap_or(FIRST_ID);
    let id = first + index as u64;
    let (high, low) = ((id >> 48) & 0xffff, id & 0xffff_ffff_ffff);
    (id, format!("1ab23cd4-{high:04x}-4000-8000-{low:012x}"))
}

/// Key and secret key, as login and password.
fn is_known(sandbox: &Sandbox, headers: &HeaderMap) -> bool {
    let account = &sandbox.config().account;
    let wanted = format!("{}:{}", account.api_key, account.secret_key);
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Basic "))
        .and_then(|login| STANDARD.decode(login).ok());
    given.as_deref() == Some(wanted.as_bytes())
}

/// The part of a list that is asked for.
#[derive(Deserialize)]
struct Listing {
    #[serde(rename = "Limit")]
    limit: Option<usize>,
    #[serde(rename = "Offset", default)]
    offset: usize,
}

async fn api_keys(
    State(sandbox): State<Sandbox>,
    Query(listing): Query<Listing>,
    headers: HeaderMap,
) -> Response {
    let account = &sandbox.config().account;
    // A key under restrictions.
    let level = match account.is_limited {
        true => "Softlock",
        false => "Normal",
    };
    let key = json!({
        "ACL": "",
        "APIKey": account.api_key,
        "CreatedAt": "2026-01-01T00:00:00Z",
        "ID": 1,
        "IsActive": true,
        "IsMaster": true,
        "Name": "Sandbox",
        "QuarantineValue": 0,
        "Runlevel": level,
        "SecretKey": "",
        "TrackHost": "",
        "UserID": 1,
    });
    look_up(&sandbox, &headers, vec![key], &listing)
}

async fn senders(
    State(sandbox): State<Sandbox>,
    Query(listing): Query<Listing>,
    headers: HeaderMap,
) -> Response {
    let domains = match &sandbox.config().account.senders {
        Some(domains) => domains.clone(),
        // No list has every domain, but one that is longer than an answer may have any.
        None => (0..=LISTED_MAX)
            .map(|at| format!("d{at}.sandbox.example"))
            .collect(),
    };
    let list = domains.iter().enumerate().map(|(at, domain)| {
        json!({
            "CreatedAt": "2026-01-01T00:00:00Z",
            "DNSID": at + 1,
            "Email": format!("*@{domain}"),
            "EmailType": "unknown",
            "Filename": "",
            "ID": at + 1,
            "IsDefaultSender": at == 0,
            "Name": domain,
            "Status": "Active",
        })
    });
    look_up(&sandbox, &headers, list.collect(), &listing)
}

fn look_up(sandbox: &Sandbox, headers: &HeaderMap, all: Vec<Value>, listing: &Listing) -> Response {
    if !is_known(sandbox, headers) {
        return rest_error(StatusCode::UNAUTHORIZED, problem::NOT_AUTHORIZED);
    }
    sandbox.mailbox().note_check();
    if let Some(fault) = sandbox.faults().for_check() {
        return words(fault.kind, 1);
    }
    rows(all, listing)
}

/// The part of a list that is asked for, as an answer.
fn rows(all: Vec<Value>, listing: &Listing) -> Response {
    let total = all.len();
    let limit = listing.limit.unwrap_or(LISTED_DEFAULT).min(LISTED_MAX);
    let page: Vec<Value> = all.into_iter().skip(listing.offset).take(limit).collect();
    let body = json!({ "Count": page.len(), "Data": page, "Total": total });
    json_answer(StatusCode::OK, &body)
}

/// Version 3 has errors of another shape.
fn rest_error(status: StatusCode, text: &str) -> Response {
    let body = json!({ "ErrorInfo": "", "ErrorMessage": text, "StatusCode": status.as_u16() });
    json_answer(status, &body)
}
