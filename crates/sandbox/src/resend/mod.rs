//! Resend: `emails` and `emails/batch`, and the look-up of domains.

mod check;
mod event;
mod idempotency;
mod suppressions;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) use event::webhook;

use self::check::Email;
use self::idempotency::{Claim, Keys};
use crate::fault::FaultKind;
use crate::http::{Peer, answer, cut, json as json_answer, status, unread};
use crate::mailbox::Arrival;
use crate::sandbox::Sandbox;

/// The whole request: "emails can be no larger than 40MB" once attachments are in Base64.
const REQUEST_BYTES_MAX: usize = 40 * 1024 * 1024;
/// What is read of a request, so that one that is too large is told so and not cut off.
const READ_BYTES_MAX: usize = 2 * REQUEST_BYTES_MAX;
/// Requests a second, as the fields of every answer tell ("Usage limits").
const RATE: u16 = 2;
/// What an unknown key is told.
const BAD_KEY: &str = "API key is invalid";

/// An error in the service's shape.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    name: &'static str,
    message: String,
}

impl Problem {
    fn new(number: u16, name: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: status(number),
            name,
            message: message.into(),
        }
    }

    /// A member of the request that is there and is wrong.
    fn invalid(message: impl Into<String>) -> Self {
        Self::new(422, "validation_error", message)
    }

    fn not_found() -> Self {
        Self::new(404, "not_found", "The requested endpoint does not exist.")
    }

    fn sender(domain: &str) -> Self {
        let message = format!(
            "The {domain} domain is not verified. Please, add and verify your domain on \
             https://resend.com/domains"
        );
        Self::new(403, "validation_error", message)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "statusCode": self.status.as_u16(),
            "message": self.message,
            "name": self.name,
        });
        let mut response = json_answer(self.status, &body);
        if self.name == "rate_limit_exceeded" {
            let fields = [
                ("ratelimit-limit", RATE),
                ("ratelimit-remaining", 0),
                ("ratelimit-reset", 1),
                ("retry-after", 1),
            ];
            let fields = fields
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from(value)));
            response.headers_mut().extend(fields);
        }
        response
    }
}

/// One simulator and the idempotency keys it has seen.
#[derive(Clone)]
struct Desk {
    sandbox: Sandbox,
    keys: Arc<Keys>,
}

/// The API of this simulator.
pub(crate) fn router(sandbox: Sandbox) -> Router {
    let desk = Desk {
        sandbox,
        keys: Arc::new(Keys::default()),
    };
    Router::new()
        .route("/emails", post(send))
        .route("/emails/batch", post(send_batch))
        .route("/domains", get(domains))
        .route("/domains/{id}", get(domain))
        .route("/suppressions", get(suppressions::list))
        .route("/suppressions/batch/add", post(suppressions::add))
        .fallback(|| async { Problem::not_found() })
        .method_not_allowed_fallback(|| async {
            let message = "Method is not allowed for the requested path.";
            Problem::new(405, "method_not_allowed", message)
        })
        .with_state(desk)
}

async fn send(State(desk): State<Desk>, request: Request) -> Response {
    take(&desk, request, false).await
}

async fn send_batch(State(desk): State<Desk>, request: Request) -> Response {
    take(&desk, request, true).await
}

async fn take(desk: &Desk, request: Request, is_batch: bool) -> Response {
    let sandbox = &desk.sandbox;
    if let Some(end) = unread(sandbox).await {
        return end;
    }
    let (head, body) = request.into_parts();
    let Some(Peer(peer)) = head.extensions.get::<Peer>().copied() else {
        return cut();
    };
    let body = to_bytes(body, READ_BYTES_MAX).await.ok();
    let Some(body) = body.filter(|body| body.len() <= REQUEST_BYTES_MAX) else {
        sandbox.mailbox().note_send();
        let message = "The email is larger than 40MB.";
        return Problem::new(413, "validation_error", message).into_response();
    };
    let at = (sandbox.config().clock)();
    let checked = read(sandbox, &head.headers, &body, is_batch);
    let claimed = checked.and_then(|emails| {
        let path = head.uri.path();
        Ok((emails, claim(desk, &head.headers, (path, &body), at)?))
    });
    let (emails, claim) = match claimed {
        Ok(claimed) => claimed,
        Err(problem) => {
            sandbox.mailbox().note_send();
            return problem.into_response();
        }
    };
    let recipients: Vec<String> = emails.iter().flat_map(|e| e.recipients.clone()).collect();
    let fault = sandbox
        .faults()
        .for_send(recipients.iter().map(String::as_str));
    let accept = || match claim {
        Claim::Repeat(answer) => json_answer(StatusCode::OK, &answer),
        Claim::First(held) => {
            let answer = accepted(sandbox, emails, (is_batch, &body), peer, at);
            held.settle(answer.clone());
            json_answer(StatusCode::OK, &answer)
        }
        Claim::None => {
            let answer = accepted(sandbox, emails, (is_batch, &body), peer, at);
            json_answer(StatusCode::OK, &answer)
        }
    };
    answer(sandbox, fault, accept, |kind| words(kind).into_response()).await
}

/// The emails of a request: one, or up to a hundred, which are taken only together.
fn read(
    sandbox: &Sandbox,
    headers: &HeaderMap,
    body: &[u8],
    is_batch: bool,
) -> Result<Vec<Email>, Problem> {
    authorize(sandbox, headers)?;
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        let message = "We found an error with one or more fields in the request.";
        return Err(Problem::new(400, "validation_error", message));
    };
    let account = &sandbox.config().account;
    match is_batch {
        true => check::batch(value, account),
        false => Ok(vec![check::email(value, account)?]),
    }
}

/// What the request's idempotency key says of it.
fn claim(
    desk: &Desk,
    headers: &HeaderMap,
    (path, body): (&str, &Bytes),
    at: Timestamp,
) -> Result<Claim, Problem> {
    let Some(key) = headers.get("idempotency-key") else {
        return Ok(Claim::None);
    };
    let key = String::from_utf8_lossy(key.as_bytes()).into_owned();
    if !(1..=256).contains(&key.chars().count()) {
        let message = "The key must be between 1-256 chars.";
        return Err(Problem::new(400, "invalid_idempotency_key", message));
    }
    desk.keys.claim(&format!("{path} {key}"), body, at)
}

/// Takes what is to be sent; answers an id, or one for each of a batch.
fn accepted(
    sandbox: &Sandbox,
    emails: Vec<Email>,
    (is_batch, body): (bool, &Bytes),
    peer: SocketAddr,
    at: Timestamp,
) -> Value {
    let name = |seq: u64| format!("{:08x}-0000-4000-8000-{seq:012x}", at.as_second());
    let mut ids = Vec::new();
    for email in emails {
        let arrival = Arrival {
            peer,
            mail_from: None,
            recipients: email.recipients,
            pool: None,
            options: email.options,
            raw: match is_batch {
                true => email.fields.to_string().into(),
                false => body.clone(),
            },
            fields: Some(email.fields),
        };
        ids.push(json!({ "id": sandbox.mailbox().take(arrival, at, name) }));
    }
    match is_batch {
        true => json!({ "data": ids }),
        false => ids.pop().unwrap_or_default(),
    }
}

/// Whether the key is the account's.
fn authorize(sandbox: &Sandbox, headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    match given.and_then(|text| text.strip_prefix("Bearer ")) {
        None => {
            let message = "Missing API key in the authorization header.";
            Err(Problem::new(401, "missing_api_key", message))
        }
        Some(key) if key == sandbox.config().account.api_key => Ok(()),
        Some(_) => Err(Problem::new(403, "invalid_api_key", BAD_KEY)),
    }
}

const SENDING_KEY: &str = "This API key is restricted to only send emails";

async fn domains(State(desk): State<Desk>, headers: HeaderMap) -> Response {
    let list = json!({ "object": "list", "has_more": false, "data": listed(&desk.sandbox) });
    // No list has every domain: then the key is one that may only send.
    let told = match desk.sandbox.config().account.senders {
        Some(_) => Ok(list),
        None => Err(Problem::new(401, "restricted_api_key", SENDING_KEY)),
    };
    look_up(&desk.sandbox, &headers, told)
}

async fn domain(State(desk): State<Desk>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let mut all = listed(&desk.sandbox).into_iter();
    let found = all.find(|domain| domain["id"] == *id).map(|mut domain| {
        domain["object"] = "domain".into();
        domain["records"] = json!([]);
        domain
    });
    let missing = || Problem::new(404, "not_found", "Domain not found");
    look_up(&desk.sandbox, &headers, found.ok_or_else(missing))
}

/// The sender domains: a limited account has verified none yet.
fn listed(sandbox: &Sandbox) -> Vec<Value> {
    let account = &sandbox.config().account;
    let state = match account.is_limited {
        true => "pending",
        false => "verified",
    };
    let described = |(place, name): (usize, &String)| {
        json!({
            "id": format!("d91cd9bd-0000-4000-8000-{:012x}", place + 1),
            "name": name,
            "status": state,
            "created_at": "2023-04-26 20:21:26.347412+00",
            "region": "us-east-1",
            "open_tracking": false,
            "click_tracking": false,
            "capabilities": { "sending": "enabled", "receiving": "disabled" },
        })
    };
    let domains = account.senders.iter().flatten().enumerate();
    domains.map(described).collect()
}

fn look_up(sandbox: &Sandbox, headers: &HeaderMap, found: Result<Value, Problem>) -> Response {
    if let Err(problem) = authorize(sandbox, headers) {
        return problem.into_response();
    }
    sandbox.mailbox().note_check();
    if let Some(fault) = sandbox.faults().for_check() {
        return words(fault.kind).into_response();
    }
    match found {
        Ok(found) => json_answer(StatusCode::OK, &found),
        Err(problem) => problem.into_response(),
    }
}

/// What the service says for each fault. It documents no word for a suspended account.
fn words(kind: FaultKind) -> Problem {
    let unexpected = |number| {
        let message = "An unexpected error occurred.";
        Problem::new(number, "application_error", message)
    };
    match kind {
        FaultKind::Status(401) => {
            let message = "Missing API key in the authorization header.";
            Problem::new(401, "missing_api_key", message)
        }
        FaultKind::Status(403) => Problem::new(403, "invalid_api_key", BAD_KEY),
        FaultKind::Status(404) => Problem::not_found(),
        FaultKind::Status(409) => idempotency::in_progress(),
        FaultKind::Status(429) => Problem::new(
            429,
            "rate_limit_exceeded",
            "Too many requests. Please limit the number of requests per second.",
        ),
        FaultKind::Status(number @ 500..) => unexpected(number),
        FaultKind::Status(number) => Problem::new(
            number,
            "validation_error",
            "We found an error with one or more fields in the request.",
        ),
        FaultKind::Quota => Problem::new(
            429,
            "daily_quota_exceeded",
            "You have reached your daily email sending quota.",
        ),
        FaultKind::Suspended => {
            Problem::new(403, "validation_error", "Your account has been suspended.")
        }
        FaultKind::Sender => Problem::sender("sandbox.example"),
        FaultKind::Recipient | FaultKind::Partial => check::bad_address("to"),
        FaultKind::Content | FaultKind::Reputation => Problem::new(
            451,
            "security_error",
            "We may have found a security issue with the request.",
        ),
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
        | FaultKind::Slow => unexpected(500),
    }
}
