//! Mailtrap: `send` and `batch` of the sending API, and the look-up of accounts and domains.

mod batch;
mod check;
mod event;
mod suppressions;

use std::net::SocketAddr;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

pub(crate) use event::webhook;

use crate::fault::FaultKind;
use crate::http::{Peer, answer, cut, json as json_answer, status, unread};
use crate::mailbox::Arrival;
use crate::sandbox::Sandbox;
use check::Email;

/// The whole request: a message of 30 MB in base64, and what is around it.
const REQUEST_BYTES_MAX: usize = 48 * 1024 * 1024;

/// Errors in the sending API's shape.
#[derive(Debug)]
struct Problem(StatusCode, Vec<String>);

impl Problem {
    fn new(status: StatusCode, error: &str) -> Self {
        Self(status, vec![error.to_owned()])
    }

    fn bad_request(error: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    fn to_json(&self) -> Value {
        json!({ "success": false, "errors": self.1 })
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        json_answer(self.0, &self.to_json())
    }
}

/// The API of this simulator; the service has it on three hosts.
pub(crate) fn router(sandbox: Sandbox) -> Router {
    Router::new()
        .route("/api/send", post(send))
        .route("/api/batch", post(batch::send))
        .route("/api/accounts", get(accounts))
        .route("/api/domains", get(domains))
        .route("/api/suppressions", get(suppressions::list))
        .fallback(|| async { json_answer(StatusCode::NOT_FOUND, &json!({ "error": "Not Found" })) })
        .with_state(sandbox)
}

/// Reads a request of at most this many octets, and checks its head.
async fn receive(
    sandbox: &Sandbox,
    request: Request,
    bytes_max: usize,
) -> Result<(SocketAddr, Bytes), Response> {
    if let Some(end) = unread(sandbox).await {
        return Err(end);
    }
    let (head, body) = request.into_parts();
    let Some(Peer(peer)) = head.extensions.get::<Peer>().copied() else {
        return Err(cut());
    };
    if !head.headers.contains_key(header::USER_AGENT) {
        // The protection in front of the service does not speak the service's language.
        return Err((StatusCode::FORBIDDEN, Html("<h1>403 Forbidden</h1>")).into_response());
    }
    let Ok(body) = to_bytes(body, bytes_max).await else {
        let text = "Request Entity Too Large";
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text).into_response());
    };
    if !is_known(sandbox, &head.headers) {
        sandbox.mailbox().note_send();
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "Unauthorized").into_response());
    }
    Ok((peer, body))
}

async fn send(State(sandbox): State<Sandbox>, request: Request) -> Response {
    let (peer, body) = match receive(&sandbox, request, REQUEST_BYTES_MAX).await {
        Ok(received) => received,
        Err(response) => return response,
    };
    let email = match check::read(&body, &sandbox.config().account) {
        Ok(email) => email,
        Err(problem) => {
            sandbox.mailbox().note_send();
            return problem.into_response();
        }
    };
    let recipients = email.recipients.clone();
    let addresses = recipients.iter().map(String::as_str);
    let fault = sandbox.faults().for_send(addresses);
    let accept = || json_answer(StatusCode::OK, &accepted(&sandbox, email, body, peer));
    answer(&sandbox, fault, accept, |kind| words(kind).into_response()).await
}

/// Answers an id for each recipient, in the order of to, cc and bcc.
fn accepted(sandbox: &Sandbox, email: Email, body: Bytes, peer: SocketAddr) -> Value {
    let at = (sandbox.config().clock)();
    let count = email.recipients.len();
    let arrival = Arrival {
        peer,
        mail_from: None,
        recipients: email.recipients,
        pool: None,
        options: email.options,
        raw: body,
        fields: Some(email.fields),
    };
    let name = |seq: u64| format!("{:08x}-0000-4000-8000-{seq:012x}", at.as_second());
    let first = sandbox.mailbox().take(arrival, at, name);
    let ids: Vec<String> = (0..count).map(|index| id_of(&first, index)).collect();
    json!({ "success": true, "message_ids": ids })
}

/// The id for the recipient at this place of the message whose first id this is.
fn id_of(first: &str, index: usize) -> String {
    match first.split_once("-0000-") {
        Some((time, rest)) => format!("{time}-{index:04x}-{rest}"),
        None => first.to_owned(),
    }
}

/// The token, in a field of its own or as a bearer's.
fn is_known(sandbox: &Sandbox, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let given = text("api-token").or(bearer);
    given == Some(sandbox.config().account.api_key.as_str())
}

async fn accounts(State(sandbox): State<Sandbox>, headers: HeaderMap) -> Response {
    let list = json!([{ "id": 1, "name": "Sandbox", "access_levels": [1000] }]);
    look_up(&sandbox, &headers, &list)
}

async fn domains(State(sandbox): State<Sandbox>, headers: HeaderMap) -> Response {
    let list = listed(&sandbox);
    let answer = look_up(&sandbox, &headers, &list);
    // No list has every domain: then the token is one that may only send.
    if sandbox.config().account.senders.is_none() && answer.status() == StatusCode::OK {
        return json_answer(
            StatusCode::FORBIDDEN,
            &json!({ "errors": "Access forbidden" }),
        );
    }
    answer
}

/// The account API has errors of its own shape.
fn unknown_token() -> Response {
    let error = json!({ "error": "Incorrect API token" });
    json_answer(StatusCode::UNAUTHORIZED, &error)
}

fn look_up(sandbox: &Sandbox, headers: &HeaderMap, found: &Value) -> Response {
    if !is_known(sandbox, headers) {
        return unknown_token();
    }
    sandbox.mailbox().note_check();
    match sandbox.faults().for_check() {
        Some(fault) => words(fault.kind).into_response(),
        None => json_answer(StatusCode::OK, found),
    }
}

/// The sender domains (`Domain`): a limited account has only the service's demo domain.
fn listed(sandbox: &Sandbox) -> Value {
    let account = &sandbox.config().account;
    let described = |id: usize, domain: &str, state: &str, is_demo: bool| {
        json!({
            "id": id,
            "domain_name": domain,
            "demo": is_demo,
            "compliance_status": state,
            "dns_verified": true,
            "dns_verified_at": "2024-12-26T09:40:44.161Z",
            "dns_records": [],
            "open_tracking_enabled": false,
            "click_tracking_enabled": false,
            "auto_unsubscribe_link_enabled": false,
            "custom_domain_tracking_enabled": false,
            "health_alerts_enabled": true,
            "critical_alerts_enabled": true,
            "alert_recipient_email": null,
            "permissions": { "can_read": true, "can_update": true, "can_destroy": true },
        })
    };
    let (state, is_demo) = match account.is_limited {
        true => ("demo", true),
        false => ("compliant", false),
    };
    let domains = account.senders.iter().flatten().enumerate();
    let list: Vec<Value> = domains
        .map(|(at, domain)| described(at + 1, domain, state, is_demo))
        .collect();
    json!({ "data": list })
}

/// What the service says for each fault.
fn words(kind: FaultKind) -> Problem {
    match kind {
        FaultKind::Status(401) => Problem::new(StatusCode::UNAUTHORIZED, "Unauthorized"),
        FaultKind::Status(403) => Problem::new(StatusCode::FORBIDDEN, "Forbidden"),
        FaultKind::Status(429) => Problem::new(StatusCode::TOO_MANY_REQUESTS, "Too many requests"),
        FaultKind::Status(number) => {
            let status = status(number);
            Problem::new(status, &status.to_string())
        }
        FaultKind::Quota => Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "The daily email limit is reached. Please upgrade your plan",
        ),
        FaultKind::Suspended => Problem::new(
            StatusCode::FORBIDDEN,
            "Sending is suspended for this account",
        ),
        FaultKind::Sender => Problem::new(StatusCode::FORBIDDEN, "Forbidden"),
        FaultKind::Recipient | FaultKind::Partial => {
            Problem::bad_request("'to' address is invalid")
        }
        FaultKind::Content | FaultKind::Reputation => {
            Problem::bad_request("message was refused for its content")
        }
        FaultKind::Bare(_)
        | FaultKind::Hang
        | FaultKind::Cut
        | FaultKind::CutEarly
        | FaultKind::HangEarly
        | FaultKind::CutReply
        | FaultKind::Nonsense
        | FaultKind::Redirect
        | FaultKind::Huge
        | FaultKind::Echo
        | FaultKind::Slow => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error")
        }
    }
}
