//! Brevo: `smtp/email`, and the look-ups of account, senders and their domains.

mod event;
mod lookup;
mod request;
mod suppressions;

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) use event::webhook;

use self::request::Email;
use crate::fault::FaultKind;
use crate::http::{Peer, answer, cut, json as json_answer, status, unread};
use crate::sandbox::Sandbox;

/// The largest request that is read: 20 MB of attachments in Base64, and the rest.
const REQUEST_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Calls a second (developers.brevo.com, "Rate limits").
const RATE: u16 = 1_000;
/// The name of the relay that stands in the ids of messages.
const RELAY: &str = "smtp-relay.mailin.fr";

/// An error in the service's shape.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Problem {
    fn new(number: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: status(number),
            code,
            message: message.into(),
        }
    }

    fn missing(message: impl Into<String>) -> Self {
        Self::new(400, "missing_parameter", message)
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_parameter", message)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({ "message": self.message });
        if !self.code.is_empty() {
            body["code"] = self.code.into();
        }
        let mut response = json_answer(self.status, &body);
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            let fields = [
                ("x-sib-ratelimit-limit", RATE),
                ("x-sib-ratelimit-remaining", 0),
                ("x-sib-ratelimit-reset", 2),
            ];
            let fields = fields
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from(value)));
            response.headers_mut().extend(fields);
        }
        response
    }
}

/// The API of this simulator.
pub(crate) fn router(sandbox: Sandbox) -> Router {
    Router::new()
        .route("/v3/smtp/email", post(send))
        .route("/v3/account", get(lookup::account))
        .route("/v3/senders", get(lookup::senders))
        .route("/v3/senders/domains", get(lookup::domains))
        .route("/v3/senders/domains/{domain}", get(lookup::domain))
        .route("/v3/smtp/blockedContacts", get(suppressions::list))
        .fallback(|| async { Problem::new(404, "document_not_found", "Resource not found") })
        .method_not_allowed_fallback(|| async {
            Problem::new(405, "method_not_allowed", "Method not allowed")
        })
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
    let checked = match authorize(&sandbox, &head.headers) {
        Ok(()) => read(&sandbox, &head.headers, body).await,
        Err(problem) => Err(problem),
    };
    let emails = match checked {
        Ok(checked) => checked,
        Err(problem) => {
            sandbox.mailbox().note_send();
            return problem.into_response();
        }
    };
    let recipients: Vec<String> = emails.iter().flat_map(Email::recipients).collect();
    let fault = sandbox
        .faults()
        .for_send(recipients.iter().map(String::as_str));
    let at = (sandbox.config().clock)();
    let accept = || json_answer(StatusCode::CREATED, &accepted(&sandbox, emails, peer, at));
    answer(&sandbox, fault, accept, |kind| words(kind).into_response()).await
}

/// Takes what is to be sent; one id, or one for each version.
fn accepted(sandbox: &Sandbox, emails: Vec<Email>, peer: SocketAddr, at: Timestamp) -> Value {
    let is_versions = emails.iter().any(Email::is_version);
    let mut ids = Vec::new();
    for email in emails {
        let name = |seq| format!("<{}.{seq:010}@{RELAY}>", at.strftime("%Y%m%d%H%M"));
        let id = match email.is_dropped() {
            true => name(sandbox.mailbox().next_serial()),
            false => sandbox.mailbox().take(email.into_arrival(peer), at, name),
        };
        ids.push(id);
    }
    match is_versions {
        true => json!({ "messageIds": ids }),
        false => json!({ "messageId": ids.first() }),
    }
}

fn authorize(sandbox: &Sandbox, headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get("api-key").map(HeaderValue::as_bytes);
    match given {
        None => Err(Problem::new(
            401,
            "unauthorized",
            "authentication not found in headers",
        )),
        Some(key) if key == sandbox.config().account.api_key.as_bytes() => Ok(()),
        Some(_) => Err(Problem::new(401, "unauthorized", "Key not found")),
    }
}

async fn read(sandbox: &Sandbox, headers: &HeaderMap, body: Body) -> Result<Vec<Email>, Problem> {
    let content_type = headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(|value| value.starts_with("application/json")) {
        return Err(Problem::new(
            406,
            "not_acceptable",
            "the content type must be application/json",
        ));
    }
    let body = axum::body::to_bytes(body, REQUEST_BYTES_MAX)
        .await
        .map_err(|_| Problem::new(413, "", "Request Entity Too Large"))?;
    let document = serde_json::from_slice(&body)
        .map_err(|_| Problem::new(400, "bad_request", "Input must be a valid JSON object"))?;
    let account = &sandbox.config().account;
    let emails = request::emails(account, &document)?;
    if account.is_limited {
        return Err(not_activated());
    }
    Ok(emails)
}

/// A new account sends nothing before the service has looked at it.
fn not_activated() -> Problem {
    Problem::new(
        403,
        "permission_denied",
        "Unable to send email. Your SMTP account is not yet activated. Please contact us to \
         request activation",
    )
}

/// The sender's address or domain is not verified. The service often takes such a message with 201
/// and reports an `error` later; refused at once, the mistake is seen where it is made.
fn unverified(sender: &str) -> Problem {
    Problem::invalid(format!(
        "Sending has been rejected because the sender you used {sender} is not valid. Validate \
         your sender or authenticate your domain"
    ))
}

/// What the service says for each fault.
fn words(kind: FaultKind) -> Problem {
    match kind {
        FaultKind::Status(401) => Problem::new(401, "unauthorized", "Key not found"),
        FaultKind::Status(402) | FaultKind::Quota => {
            Problem::new(402, "not_enough_credits", "Insufficient credits")
        }
        FaultKind::Status(403) => Problem::new(403, "permission_denied", "Permission denied"),
        FaultKind::Status(404) => Problem::new(404, "document_not_found", "Resource not found"),
        FaultKind::Status(406) => Problem::new(406, "not_acceptable", "Not acceptable"),
        FaultKind::Status(429) => Problem::new(429, "", "Too many requests"),
        FaultKind::Status(400) => Problem::new(400, "bad_request", "Bad request"),
        FaultKind::Status(number) => {
            let status = status(number);
            Problem::new(number, "", status.canonical_reason().unwrap_or("Error"))
        }
        FaultKind::Suspended => Problem::new(
            402,
            "account_under_validation",
            "Your account is under validation",
        ),
        FaultKind::Sender => unverified("news@sandbox.example"),
        FaultKind::Recipient | FaultKind::Partial => Problem::invalid("email is not valid in to"),
        FaultKind::Content => {
            Problem::new(400, "bad_request", "The content was classified as spam")
        }
        FaultKind::Reputation => Problem::new(
            403,
            "permission_denied",
            "Sending is blocked for the reputation of your domain",
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
        | FaultKind::Slow => Problem::new(500, "", "Internal Server Error"),
    }
}
