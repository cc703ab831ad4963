//! SendGrid: `mail/send` of the Web API v3, and the look-ups of scopes, account, pools and senders.

mod check;
mod event;
mod lookup;
mod shape;
mod suppressions;

use std::net::SocketAddr;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

pub(crate) use event::webhook;

use crate::fault::FaultKind;
use crate::http::{Peer, answer, cut, json as json_answer, status, unread};
use crate::mailbox::Arrival;
use crate::sandbox::Sandbox;
use check::Email;

/// The whole request (v3 Mail Send, "Limitations").
const REQUEST_BYTES_MAX: usize = 30 * 1024 * 1024;
/// What is read of a request, so that one that is too large is told so and not cut off.
const READ_BYTES_MAX: usize = 2 * REQUEST_BYTES_MAX;
/// Above the numbers of all messages that are taken.
const LOST_FROM: u64 = 1 << 40;
/// What a bad key is told.
const BAD_GRANT: &str = "The provided authorization grant is invalid, expired, or revoked";
/// What an unverified sender is told.
const BAD_SENDER: &str = "The from address does not match a verified Sender Identity. Mail cannot \
    be sent until this error is resolved. Visit \
    https://sendgrid.com/docs/for-developers/sending-email/sender-identity/ to see the Sender \
    Identity requirements";

/// An error in the service's shape.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    message: String,
    field: Option<String>,
}

impl Problem {
    fn new(number: u16, message: impl Into<String>) -> Self {
        Self {
            status: status(number),
            message: message.into(),
            field: None,
        }
    }

    /// What is wrong with this member of the request.
    fn of_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: Some(field.into()),
            ..Self::new(400, message)
        }
    }

    fn sender() -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            ..Self::of_field("from", BAD_SENDER)
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let error = json!({ "message": self.message, "field": self.field, "help": null });
        let mut response = json_answer(self.status, &json!({ "errors": [error] }));
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            let fields = [
                ("x-ratelimit-limit", 600),
                ("x-ratelimit-remaining", 0),
                ("x-ratelimit-reset", 1),
            ];
            let fields = fields.map(|(name, value): (_, u16)| {
                (HeaderName::from_static(name), HeaderValue::from(value))
            });
            response.headers_mut().extend(fields);
        }
        response
    }
}

/// The API of this simulator.
pub(crate) fn router(sandbox: Sandbox) -> Router {
    Router::new()
        .route("/v3/mail/send", post(send))
        .route("/v3/scopes", get(lookup::scopes))
        .route("/v3/user/account", get(lookup::account))
        .route("/v3/user/credits", get(lookup::credits))
        .route("/v3/ips/pools", get(lookup::pools))
        .route("/v3/ips/pools/{name}", get(lookup::pool))
        .route("/v3/send_ips/pools", get(lookup::send_pools))
        .route("/v3/whitelabel/domains", get(lookup::domains))
        .route("/v3/verified_senders", get(lookup::verified_senders))
        .route("/v3/suppression/{list}", get(suppressions::list))
        .route("/v3/asm/suppressions/global", post(suppressions::add))
        .fallback(|| async { Problem::new(404, "not found") })
        .method_not_allowed_fallback(|| async { Problem::new(405, "method not allowed") })
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
    let body = to_bytes(body, READ_BYTES_MAX).await;
    let read = match body.ok().filter(|body| body.len() <= REQUEST_BYTES_MAX) {
        Some(body) => read(&sandbox, &head.headers, &body).map(|email| (email, body)),
        None => Err(Problem::new(413, "content too large")),
    };
    let (email, body) = match read {
        Ok(read) => read,
        Err(problem) => {
            sandbox.mailbox().note_send();
            return problem.into_response();
        }
    };
    let recipients = email.recipients.clone();
    let fault = sandbox
        .faults()
        .for_send(recipients.iter().map(String::as_str));
    let accept = || accepted(&sandbox, email, body, peer);
    answer(&sandbox, fault, accept, |kind| words(kind).into_response()).await
}

fn read(sandbox: &Sandbox, headers: &HeaderMap, body: &[u8]) -> Result<Email, Problem> {
    authorize(sandbox, headers)?;
    let content_type = headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|text| text.split(';').next());
    if !essence.is_some_and(|text| text.trim().eq_ignore_ascii_case("application/json")) {
        let message = "Content-Type should be application/json.";
        return Err(Problem::new(415, message));
    }
    let config = sandbox.config();
    let mut email = check::read(body, &config.account, (config.clock)())?;
    if let Some(subuser) = headers.get("on-behalf-of") {
        let subuser = String::from_utf8_lossy(subuser.as_bytes()).into_owned();
        email.options.push(("on-behalf-of".to_owned(), subuser));
    }
    Ok(email)
}

/// Answers an id in a field and no body. What is sent in sandbox mode is checked and forgotten, and
/// what names an IP pool that does not exist is never seen again (github.com/sendgrid/sendgrid-python
/// issue 1121, 2025-12).
fn accepted(sandbox: &Sandbox, email: Email, body: Bytes, peer: SocketAddr) -> Response {
    if email.is_sandboxed {
        return StatusCode::OK.into_response();
    }
    let name = |number: u64| format!("sandbox{number:015}");
    let account = &sandbox.config().account;
    if let Some(pool) = email.pool.as_deref().filter(|pool| !account.has_pool(pool)) {
        tracing::warn!(pool, "lost a message for an IP pool that does not exist");
        let id = name(sandbox.mailbox().next_serial() + LOST_FROM);
        return (StatusCode::ACCEPTED, [("x-message-id", id)]).into_response();
    }
    let arrival = Arrival {
        peer,
        mail_from: None,
        recipients: email.recipients,
        pool: email.pool,
        options: email.options,
        raw: body,
        fields: Some(email.fields),
    };
    let at = (sandbox.config().clock)();
    let id = sandbox.mailbox().take(arrival, at, name);
    (StatusCode::ACCEPTED, [("x-message-id", id)]).into_response()
}

/// Whether the key is the account's.
fn authorize(sandbox: &Sandbox, headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    match given.map(|text| text.strip_prefix("Bearer ")) {
        None => Err(Problem::new(401, "authorization required")),
        Some(key) if key == Some(sandbox.config().account.api_key.as_str()) => Ok(()),
        Some(_) => Err(Problem::new(401, BAD_GRANT)),
    }
}

/// A look-up, for those who have the key.
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

/// What the service says for each fault. It takes a message whatever it says and whoever blocks
/// its address, and drops or bounces it later; that some day it refuses one is made up.
fn words(kind: FaultKind) -> Problem {
    match kind {
        FaultKind::Status(401) => Problem::new(401, BAD_GRANT),
        FaultKind::Status(403) => Problem::new(403, "access forbidden"),
        FaultKind::Status(404) => Problem::new(404, "not found"),
        FaultKind::Status(405) => Problem::new(405, "method not allowed"),
        FaultKind::Status(413) => Problem::new(413, "content too large"),
        FaultKind::Status(429) => Problem::new(429, "too many requests"),
        FaultKind::Status(number @ 500..) => Problem::new(number, "internal server error"),
        FaultKind::Status(number) => Problem::new(number, "invalid request"),
        FaultKind::Quota => Problem::new(401, "Maximum credits exceeded"),
        FaultKind::Suspended => Problem::new(403, "Your account has been suspended"),
        FaultKind::Sender => Problem::sender(),
        FaultKind::Recipient | FaultKind::Partial => Problem::of_field(
            "personalizations.0.to.0.email",
            "Does not contain a valid address.",
        ),
        FaultKind::Content => Problem::of_field("content", "The message was classified as spam."),
        FaultKind::Reputation => {
            Problem::of_field("content", "The message was refused for its content.")
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
        | FaultKind::Slow => Problem::new(500, "internal server error"),
    }
}
