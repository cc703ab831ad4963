//! Elastic Email: `emails` and `emails/transactional` of API v4, and the look-up of domains.

mod check;
mod event;
mod suppressions;

use std::net::SocketAddr;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

pub(crate) use event::webhook;

use crate::fault::FaultKind;
use crate::http::{Peer, answer, cut, json as json_answer, status, unread};
use crate::mailbox::Arrival;
use crate::sandbox::Sandbox;
use check::Email;

/// The whole request: a message of 20 MB in base64, and what is around it.
const REQUEST_BYTES_MAX: usize = 32 * 1024 * 1024;

/// An error in the service's shape.
#[derive(Debug)]
struct Problem(StatusCode, String);

impl Problem {
    fn bad_request(error: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, error.into())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        json_answer(self.0, &json!({ "Error": self.1 }))
    }
}

/// How recipients are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    /// `To`, `CC` and `BCC`: one message that they share.
    Transactional,
    /// A list: a message for each.
    Bulk,
}

/// The API of this simulator.
pub(crate) fn router(sandbox: Sandbox) -> Router {
    let transactional = |State(sandbox): State<Sandbox>, request: Request| async move {
        send(&sandbox, request, Call::Transactional).await
    };
    let bulk = |State(sandbox): State<Sandbox>, request: Request| async move {
        send(&sandbox, request, Call::Bulk).await
    };
    Router::new()
        .route("/v4/emails/transactional", post(transactional))
        .route("/v4/emails", post(bulk))
        .route("/v4/domains", get(domains))
        .route("/v4/domains/{domain}", get(domain))
        .route(
            "/v4/suppressions/{list}",
            get(suppressions::list).post(suppressions::add),
        )
        .fallback(|| async { Problem(StatusCode::NOT_FOUND, "Not Found".to_owned()) })
        .with_state(sandbox)
}

async fn send(sandbox: &Sandbox, request: Request, call: Call) -> Response {
    if let Some(end) = unread(sandbox).await {
        return end;
    }
    let (head, body) = request.into_parts();
    let Some(Peer(peer)) = head.extensions.get::<Peer>().copied() else {
        return cut();
    };
    let Ok(body) = to_bytes(body, REQUEST_BYTES_MAX).await else {
        let text = "Request Entity Too Large".to_owned();
        return Problem(StatusCode::PAYLOAD_TOO_LARGE, text).into_response();
    };
    let read = authorize(sandbox, &head.headers).and_then(|()| {
        let email = check::read(&head.headers, &body, call)?;
        email.check(&sandbox.config().account)?;
        Ok(email)
    });
    let email = match read {
        Ok(email) => email,
        Err(problem) => {
            sandbox.mailbox().note_send();
            return problem.into_response();
        }
    };
    let recipients = email.recipients.clone();
    let addresses = recipients.iter().map(String::as_str);
    let fault = sandbox.faults().for_send(addresses);
    let accept = || accepted(sandbox, email, body, peer);
    answer(sandbox, fault, accept, |kind| words(kind).into_response()).await
}

fn accepted(sandbox: &Sandbox, email: Email, body: Bytes, peer: SocketAddr) -> Response {
    let at = (sandbox.config().clock)();
    let name = |seq: u64| {
        format!(
            "{:08x}-{:04x}-4000-8000-{seq:012x}",
            at.as_second(),
            seq >> 48
        )
    };
    let transaction = sandbox
        .mailbox()
        .take(email.into_arrival(body, peer), at, name);
    let answer = json!({ "TransactionID": transaction, "MessageID": message_id(&transaction) });
    json_answer(StatusCode::OK, &answer)
}

/// The id of a transaction's message.
fn message_id(transaction: &str) -> String {
    let digits: String = transaction.chars().filter(|c| *c != '-').collect();
    format!("m{digits}")
}

impl Email {
    fn into_arrival(self, raw: Bytes, peer: SocketAddr) -> Arrival {
        Arrival {
            peer,
            mail_from: self.envelope_from,
            recipients: self.recipients,
            pool: self.pool,
            options: self.options,
            raw,
            fields: Some(self.fields),
        }
    }
}

const NO_ACCESS: &str = "Access Denied: the API key has no permission for this call.";

async fn domains(State(sandbox): State<Sandbox>, headers: HeaderMap) -> Response {
    let list = |sandbox: &Sandbox| match &sandbox.config().account.senders {
        Some(senders) => Ok(senders.iter().map(|domain| described(domain)).collect()),
        // No list has every domain: then the key is one that may only send.
        None => Err(Problem::bad_request(NO_ACCESS)),
    };
    look_up(&sandbox, &headers, list)
}

async fn domain(
    State(sandbox): State<Sandbox>,
    Path(domain): Path<String>,
    headers: HeaderMap,
) -> Response {
    let one = |sandbox: &Sandbox| match sandbox.config().account.may_send_from(&domain) {
        true => Ok(described(&domain)),
        false => Err(Problem(
            StatusCode::NOT_FOUND,
            format!("Domain {domain} not found"),
        )),
    };
    look_up(&sandbox, &headers, one)
}

fn look_up(
    sandbox: &Sandbox,
    headers: &HeaderMap,
    find: impl FnOnce(&Sandbox) -> Result<Value, Problem>,
) -> Response {
    if let Err(problem) = authorize(sandbox, headers) {
        return problem.into_response();
    }
    sandbox.mailbox().note_check();
    if let Some(fault) = sandbox.faults().for_check() {
        return words(fault.kind).into_response();
    }
    match find(sandbox) {
        Ok(found) => json_answer(StatusCode::OK, &found),
        Err(problem) => problem.into_response(),
    }
}

/// A verified domain (`DomainDetail`).
fn described(domain: &str) -> Value {
    json!({
        "Domain": domain,
        "Spf": true,
        "Dkim": true,
        "MX": true,
        "DMARC": true,
        "IsRewriteDomainValid": true,
        "Verify": false,
        "DefaultDomain": false,
        "Type": "Http",
        "TrackingStatus": "Validated",
        "CertificateStatus": "NoCertificate",
        "CertificateValidationError": "",
        "TrackingTypeUserRequest": "Http",
        "VERP": false,
        "CustomBouncesDomain": "",
        "IsCustomBouncesDomainDefault": false,
        "IsMarkedForDeletion": false,
        "Ownership": "Current",
    })
}

/// A key that is missing or wrong is a bad request, not 401.
fn authorize(sandbox: &Sandbox, headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get("x-elasticemail-apikey");
    let known = sandbox.config().account.api_key.as_bytes();
    match given.map(|value| value.as_bytes()) {
        Some(key) if key == known => Ok(()),
        Some(_) => Err(Problem::bad_request("APIKey Expired or does not exist")),
        None => Err(Problem::bad_request("APIKey is required")),
    }
}

/// What the service says for each fault.
fn words(kind: FaultKind) -> Problem {
    match kind {
        FaultKind::Status(401 | 403) => Problem::bad_request("Access Denied."),
        FaultKind::Status(429) => Problem(
            StatusCode::TOO_MANY_REQUESTS,
            "Too many concurrent connections".to_owned(),
        ),
        FaultKind::Status(number) => Problem(status(number), status(number).to_string()),
        FaultKind::Quota => Problem::bad_request("Not enough credits to send this email"),
        FaultKind::Suspended => Problem::bad_request("Your account has been suspended"),
        FaultKind::Sender => Problem::bad_request("The domain of From is not verified"),
        FaultKind::Recipient | FaultKind::Partial => {
            Problem::bad_request("Invalid recipient email address")
        }
        FaultKind::Content | FaultKind::Reputation => {
            Problem::bad_request("Message was refused for its content")
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
        | FaultKind::Slow => Problem(status(500), "Internal Server Error".to_owned()),
    }
}
