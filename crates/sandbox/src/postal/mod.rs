//! Postal: `send/raw` and `send/message` of its HTTP API, and what it remembers of a message
//! (postalserver/postal 3, `app/controllers/legacy_api`).
//!
//! Every answer of its own is `200`. It checks the sender and the form when mail is sent, and
//! nothing else: what comes later (a spent limit, a suppressed or unknown recipient, spam) holds
//! or fails a message that it has already taken, and its webhooks say so. The faults `quota`,
//! `recipient`, `partial`, `content` and `reputation` do that here.

mod event;
mod fate;
mod form;

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value, json};

pub(crate) use event::webhook;

use self::form::Form;
use crate::fault::FaultKind;
use crate::http::{Peer, answer, cut, json as json_answer, status, unread};
use crate::mailbox::Taken;
use crate::sandbox::Sandbox;

/// What a proxy in front of an installation usually lets through.
const REQUEST_BYTES_MAX: usize = 50 * 1024 * 1024;
/// The most recipients that get ids of their own; `rcpt_to` of the service has no bound.
const RECIPIENTS_MAX: usize = 10_000;
/// Tokens of messages look like this.
const TOKEN_CHARS: usize = 16;

/// Why a request is refused.
#[derive(Debug)]
pub(crate) enum Problem {
    /// `status: error` with this code and message.
    Error(&'static str, Option<&'static str>),
    /// `status: parameter-error` about this parameter.
    Parameter(&'static str),
    /// The framework's own answer.
    Http(u16),
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        match self {
            Self::Error(code, message) => {
                let mut data = json!({ "code": code });
                if let Some(message) = message {
                    data["message"] = message.into();
                }
                enveloped("error", &data)
            }
            Self::Parameter(name) => {
                let message = format!("`{name}` parameter is required but is missing");
                enveloped("parameter-error", &json!({ "message": message }))
            }
            Self::Http(number) => {
                let status = status(number);
                let reason = status.canonical_reason().unwrap_or_default();
                json_answer(status, &json!({ "status": number, "error": reason }))
            }
        }
    }
}

fn enveloped(status: &str, data: &Value) -> Response {
    let body = json!({ "status": status, "time": 0.004, "flags": {}, "data": data });
    json_answer(StatusCode::OK, &body)
}

/// The API of this simulator; the method does not matter.
pub(crate) fn router(sandbox: Sandbox) -> Router {
    Router::new()
        .route("/api/v1/send/raw", any(raw))
        .route("/api/v1/send/message", any(message))
        .route("/api/v1/messages/message", any(details))
        .route("/api/v1/messages/deliveries", any(deliveries))
        .route("/.well-known/jwks.json", get(keys))
        .with_state(sandbox)
}

async fn raw(State(sandbox): State<Sandbox>, request: Request) -> Response {
    receive(&sandbox, request, form::raw).await
}

async fn message(State(sandbox): State<Sandbox>, request: Request) -> Response {
    receive(&sandbox, request, form::message).await
}

type Check = fn(&Sandbox, &Value, Bytes) -> Result<Form, Problem>;

async fn receive(sandbox: &Sandbox, request: Request, check: Check) -> Response {
    if let Some(end) = unread(sandbox).await {
        return end;
    }
    let Some(Peer(peer)) = request.extensions().get::<Peer>().copied() else {
        return cut();
    };
    let form = match read(sandbox, request).await {
        Ok((parameters, body)) => check(sandbox, &parameters, body),
        Err(problem) => Err(problem),
    };
    let mut form = match form {
        Ok(form) => form,
        Err(problem) => {
            sandbox.mailbox().note_send();
            return problem.into_response();
        }
    };
    let recipients = form.recipients.iter().map(String::as_str);
    let fault = sandbox.faults().for_send(recipients);
    let is_limited = sandbox.config().account.is_limited;
    let fault = match fate::of(fault.as_ref().map(|fault| fault.kind), is_limited) {
        Some(fate) => {
            form.note_fate(fate);
            fault.filter(|fault| !fate::is_later(fault.kind))
        }
        None => fault,
    };
    answer(
        sandbox,
        fault,
        || take(sandbox, form, peer),
        |kind| words(kind).into_response(),
    )
    .await
}

/// Takes the message; every recipient gets a message of its own with a number and a token.
fn take(sandbox: &Sandbox, form: Form, peer: SocketAddr) -> Response {
    let (message_id, recipients) = (form.message_id.clone(), form.recipients.clone());
    let at = (sandbox.config().clock)();
    let name = |seq: u64| number_of(seq, 0).to_string();
    let mut messages = Map::new();
    if recipients.is_empty() {
        // A success that nothing comes of: a message is made for each recipient.
        let data = json!({ "message_id": null, "messages": messages });
        return enveloped("success", &data);
    }
    let first = sandbox.mailbox().take(form.into_arrival(peer), at, name);
    let first: u64 = first.parse().unwrap_or_default();
    for (number, recipient) in (first..).zip(recipients) {
        let row = json!({ "id": number, "token": token(number) });
        messages.insert(recipient, row);
    }
    let data = json!({ "message_id": message_id, "messages": messages });
    enveloped("success", &data)
}

/// The number of the message to the recipient at this place of a call.
fn number_of(seq: u64, place: usize) -> u64 {
    seq * RECIPIENTS_MAX as u64 + place as u64
}

fn token(number: u64) -> String {
    format!("{number:0TOKEN_CHARS$x}")
}

/// The call that a message's number belongs to, and the recipient's place in it.
fn find(sandbox: &Sandbox, parameters: &Value) -> Result<(Taken, usize), Problem> {
    let id = parameters.get("id");
    let number = match id {
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) if !text.trim().is_empty() => text.parse().ok(),
        _ => return Err(Problem::Parameter("id")),
    };
    let missing = Problem::Error(
        "MessageNotFound",
        Some("No message found matching provided ID"),
    );
    let Some(number) = number else {
        return Err(missing);
    };
    let place = usize::try_from(number % RECIPIENTS_MAX as u64).unwrap_or(usize::MAX);
    let first = number_of(number / RECIPIENTS_MAX as u64, 0).to_string();
    let taken = sandbox.mailbox().by_id(&first);
    let taken = taken.filter(|taken| place < taken.recipients.len());
    taken.map(|taken| (taken, place)).ok_or(missing)
}

async fn look_up(
    sandbox: &Sandbox,
    request: Request,
    show: impl FnOnce(&Taken, usize) -> Value,
) -> Response {
    let parameters = match read(sandbox, request).await {
        Ok((parameters, _)) => parameters,
        Err(problem) => return problem.into_response(),
    };
    let fault = sandbox.faults().for_check();
    sandbox.mailbox().note_check();
    if let Some(fault) = fault {
        return words(fault.kind).into_response();
    }
    match find(sandbox, &parameters) {
        Ok((taken, place)) => enveloped("success", &show(&taken, place)),
        Err(problem) => problem.into_response(),
    }
}

async fn details(State(sandbox): State<Sandbox>, request: Request) -> Response {
    let show = |taken: &Taken, place: usize| {
        let number = number_of(taken.seq, place);
        json!({ "id": number, "token": token(number) })
    };
    look_up(&sandbox, request, show).await
}

/// Nothing is delivered here.
async fn deliveries(State(sandbox): State<Sandbox>, request: Request) -> Response {
    look_up(&sandbox, request, |_, _| json!([])).await
}

async fn keys(State(sandbox): State<Sandbox>) -> Response {
    match event::key_set(&sandbox) {
        Some(keys) => json_answer(StatusCode::OK, &keys),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The request's parameters, if its key is known.
async fn read(sandbox: &Sandbox, request: Request) -> Result<(Value, Bytes), Problem> {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, REQUEST_BYTES_MAX)
        .await
        .map_err(|_| Problem::Http(413))?;
    let parameters = match is_json(&head.headers) {
        // The framework reads the body before the service looks at anything.
        true if !body.is_empty() => {
            serde_json::from_slice(&body).map_err(|_| Problem::Http(400))?
        }
        _ => json!({}),
    };
    let key = head.headers.get("x-server-api-key");
    let key = key.map(|key| key.as_bytes()).unwrap_or_default();
    if key.is_empty() {
        let message = "Must be authenticated as a server.";
        return Err(Problem::Error("AccessDenied", Some(message)));
    }
    if key != sandbox.config().account.api_key.as_bytes() {
        return Err(bad_key());
    }
    Ok((parameters, body))
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.starts_with("application/json"))
}

fn bad_key() -> Problem {
    let message = "The API token provided in X-Server-API-Key was not valid.";
    Problem::Error("InvalidServerAPIKey", Some(message))
}

/// What the service, or what stands in front of it, says for each fault.
fn words(kind: FaultKind) -> Problem {
    match kind {
        FaultKind::Status(401 | 403) => bad_key(),
        FaultKind::Status(number) => Problem::Http(number),
        FaultKind::Suspended => Problem::Error("ServerSuspended", None),
        FaultKind::Sender => Problem::Error("UnauthenticatedFromAddress", None),
        FaultKind::Quota
        | FaultKind::Recipient
        | FaultKind::Partial
        | FaultKind::Content
        | FaultKind::Reputation
        | FaultKind::Bare(_)
        | FaultKind::Hang
        | FaultKind::Cut
        | FaultKind::CutEarly
        | FaultKind::HangEarly
        | FaultKind::CutReply
        | FaultKind::Nonsense
        | FaultKind::Redirect
        | FaultKind::Huge
        | FaultKind::Echo
        | FaultKind::Slow => Problem::Http(500),
    }
}
