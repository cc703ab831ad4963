//! Postmark: `email` and `email/batch`, and the look-up of the server and its message streams.

mod batch;
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

pub(crate) use event::{change, webhook};

use crate::config::Account;
use crate::fault::{Fault, FaultKind};
use crate::http::{Peer, answer, cut, json as json_answer, status, unread};
use crate::mailbox::Arrival;
use crate::sandbox::Sandbox;
use check::Email;

/// The whole request: a message of 10 MB in base64, and what is around it.
const REQUEST_BYTES_MAX: usize = 15 * 1024 * 1024;
/// The stream of mail that names none.
const DEFAULT_STREAM: &str = "outbound";
/// The stream for mail that comes in, which every server has.
const INBOUND_STREAM: &str = "inbound";
/// The token with which a request is checked and nothing is sent ("Sending email with API").
const TEST_TOKEN: &str = "POSTMARK_API_TEST";

/// An error in the service's shape: the HTTP status, its own code, the text.
#[derive(Debug)]
struct Problem(StatusCode, Option<u16>, String);

impl Problem {
    /// Most errors come as 422, whatever their code.
    fn new(code: u16, text: impl Into<String>) -> Self {
        Self(StatusCode::UNPROCESSABLE_ENTITY, Some(code), text.into())
    }

    fn to_json(&self) -> Value {
        match self.1 {
            Some(code) => json!({ "ErrorCode": code, "Message": self.2 }),
            None => json!({ "Message": self.2 }),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        json_answer(self.0, &self.to_json())
    }
}

/// The API of this simulator.
pub(crate) fn router(sandbox: Sandbox) -> Router {
    Router::new()
        .route("/email", post(send))
        .route("/email/batch", post(batch::send))
        .route("/server", get(server))
        .route("/message-streams", get(streams))
        .route("/message-streams/{stream}", get(stream))
        .route(
            "/message-streams/{stream}/suppressions/dump",
            get(suppressions::dump),
        )
        .route(
            "/message-streams/{stream}/suppressions",
            post(suppressions::add),
        )
        .fallback(|| async { Problem(StatusCode::NOT_FOUND, None, "Not found".to_owned()) })
        .with_state(sandbox)
}

/// A request that may be looked into.
struct Received {
    peer: SocketAddr,
    body: Bytes,
    /// Whether it is only to be checked ([`TEST_TOKEN`]).
    is_test: bool,
}

/// Reads a request of at most this many octets, and checks its head.
async fn receive(
    sandbox: &Sandbox,
    request: Request,
    bytes_max: usize,
) -> Result<Received, Response> {
    if let Some(end) = unread(sandbox).await {
        return Err(end);
    }
    let (head, body) = request.into_parts();
    let Some(Peer(peer)) = head.extensions.get::<Peer>().copied() else {
        return Err(cut());
    };
    let Ok(body) = to_bytes(body, bytes_max).await else {
        return Err(too_large().into_response());
    };
    let is_test = text(&head.headers, "x-postmark-server-token") == Some(TEST_TOKEN);
    let known = match is_test {
        true => Ok(()),
        false => authorize(sandbox, &head.headers),
    };
    let is_good = known.and_then(|()| speaks_json(&head.headers, &["accept", "content-type"]));
    match is_good {
        Ok(()) => Ok(Received {
            peer,
            body,
            is_test,
        }),
        Err(problem) => {
            sandbox.mailbox().note_send();
            Err(problem.into_response())
        }
    }
}

async fn send(State(sandbox): State<Sandbox>, request: Request) -> Response {
    let received = receive(&sandbox, request, REQUEST_BYTES_MAX).await;
    let Received {
        peer,
        body,
        is_test,
    } = match received {
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
    if is_test {
        sandbox.mailbox().note_send();
        let receipt = receipt(&sandbox, &email.to, &test_id(), "Test job accepted");
        return json_answer(StatusCode::OK, &receipt);
    }
    let recipients = email.recipients.clone();
    let fault = sandbox
        .faults()
        .for_send(recipients.iter().map(String::as_str));
    let (fault, mut inactive) = halved(fault, &recipients);
    inactive.extend(stopped(&sandbox, &email));
    if inactive.len() == recipients.len() {
        sandbox.mailbox().note_send();
        return words(FaultKind::Partial, &recipients).into_response();
    }
    let accept = || {
        let receipt = accepted(&sandbox, email, body, peer, &inactive);
        json_answer(StatusCode::OK, &receipt)
    };
    let say = |kind| words(kind, &recipients).into_response();
    answer(&sandbox, fault, accept, say).await
}

/// The recipients whom the message's stream has on its list.
fn stopped(sandbox: &Sandbox, email: &Email) -> Vec<String> {
    let stream = email.stream.as_str();
    let unnamed = if stream == DEFAULT_STREAM { "" } else { stream };
    let recipients = email.recipients.iter();
    let is_stopped = |recipient: &&String| sandbox.stops(recipient, &[stream, unnamed]).is_some();
    recipients.filter(is_stopped).cloned().collect()
}

/// A half-refused send is one that is taken: 200, with the inactive ones named in the text.
fn halved(fault: Option<Fault>, recipients: &[String]) -> (Option<Fault>, Vec<String>) {
    let is_partial = fault
        .as_ref()
        .is_some_and(|fault| fault.kind == FaultKind::Partial);
    let first = recipients.len() / 2;
    if !is_partial || first == 0 {
        return (fault, Vec::new());
    }
    (None, recipients[..first].to_vec())
}

fn accepted(
    sandbox: &Sandbox,
    email: Email,
    raw: Bytes,
    peer: SocketAddr,
    inactive: &[String],
) -> Value {
    let at = (sandbox.config().clock)();
    let to = email.to;
    let mut recipients = email.recipients;
    recipients.retain(|recipient| !inactive.contains(recipient));
    let arrival = Arrival {
        peer,
        mail_from: None,
        recipients,
        pool: Some(email.stream),
        options: email.options,
        raw,
        fields: Some(email.fields),
    };
    let name = |seq: u64| format!("{:08x}-0000-4000-8000-{seq:012x}", at.as_second());
    let id = sandbox.mailbox().take(arrival, at, name);
    let text = match inactive {
        [] => "OK".to_owned(),
        some => format!(
            "Message OK, but will not deliver to these inactive addresses: {}. {INACTIVE}",
            some.join(", ").to_lowercase()
        ),
    };
    receipt(sandbox, &to, &id, &text)
}

fn receipt(sandbox: &Sandbox, to: &str, id: &str, text: &str) -> Value {
    json!({
        "To": to,
        "SubmittedAt": (sandbox.config().clock)().to_string(),
        "MessageID": id,
        "ErrorCode": 0,
        "Message": text,
    })
}

fn test_id() -> String {
    "00000000-0000-4000-8000-000000000000".to_owned()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The server's token, in a field of its own.
fn authorize(sandbox: &Sandbox, headers: &HeaderMap) -> Result<(), Problem> {
    let refused = match text(headers, "x-postmark-server-token") {
        Some(token) if token == sandbox.config().account.api_key => return Ok(()),
        Some(_) => {
            "The Server Token you provided in the X-Postmark-Server-Token request header was \
             invalid. Please verify that you are using a valid token."
        }
        None => {
            "No Account or Server API tokens were supplied in the HTTP headers. Please add a \
             header for either X-Postmark-Server-Token or X-Postmark-Account-Token."
        }
    };
    Err(Problem(
        StatusCode::UNAUTHORIZED,
        Some(10),
        refused.to_owned(),
    ))
}

/// "415: The request is missing expected request headers"; code 409, "JSON required".
fn speaks_json(headers: &HeaderMap, names: &[&str]) -> Result<(), Problem> {
    let is_json = |name: &&str| {
        let types = text(headers, name).unwrap_or_default();
        let mut types = types.split([',', ';']).map(str::trim);
        types.any(|kind| kind.eq_ignore_ascii_case("application/json"))
    };
    if names.iter().all(is_json) {
        return Ok(());
    }
    let text = "Your HTTP request does not have the Accept and Content-Type headers set to \
                application/json.";
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    Err(Problem(status, Some(409), text.to_owned()))
}

fn too_large() -> Problem {
    let text = "The request is larger than 10 MB";
    Problem(StatusCode::PAYLOAD_TOO_LARGE, None, text.to_owned())
}

async fn server(State(sandbox): State<Sandbox>, headers: HeaderMap) -> Response {
    look_up(&sandbox, &headers, |_| {
        Ok(json!({
            "ID": 1,
            "Name": "Sandbox",
            "ApiTokens": [],
            "Color": "blue",
            "SmtpApiActivated": true,
            "RawEmailEnabled": false,
            // All that this call tells of a limit.
            "DeliveryType": if sandbox.config().account.is_limited { "Sandbox" } else { "Live" },
            "TrackOpens": false,
            "TrackLinks": "None",
        }))
    })
}

async fn streams(State(sandbox): State<Sandbox>, headers: HeaderMap) -> Response {
    look_up(&sandbox, &headers, |account| {
        let own = account.pools.iter().flatten().map(String::as_str);
        let own = own.filter(|id| *id != DEFAULT_STREAM);
        let list: Vec<Value> = [DEFAULT_STREAM, INBOUND_STREAM]
            .into_iter()
            .chain(own)
            .map(described)
            .collect();
        Ok(json!({ "TotalCount": list.len(), "MessageStreams": list }))
    })
}

async fn stream(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    look_up(&sandbox, &headers, |account| {
        if id == INBOUND_STREAM || has_stream(account, &id) {
            return Ok(described(&id));
        }
        let text = "The message stream for the provided 'ID' was not found.";
        Err(Problem::new(1226, text))
    })
}

/// Whether mail can be sent by this stream. The default one cannot be removed.
fn has_stream(account: &Account, id: &str) -> bool {
    id == DEFAULT_STREAM || account.has_pool(id)
}

fn described(id: &str) -> Value {
    let kind = match id {
        INBOUND_STREAM => "Inbound",
        DEFAULT_STREAM => "Transactional",
        _ => "Broadcasts",
    };
    json!({
        "ID": id,
        "ServerID": 1,
        "Name": id,
        "Description": null,
        "MessageStreamType": kind,
        "CreatedAt": "2026-01-01T00:00:00Z",
        "UpdatedAt": null,
        "ArchivedAt": null,
        "ExpectedPurgeDate": null,
        "SubscriptionManagementConfiguration": { "UnsubscribeHandlingType": "None" },
    })
}

fn look_up(
    sandbox: &Sandbox,
    headers: &HeaderMap,
    found: impl FnOnce(&Account) -> Result<Value, Problem>,
) -> Response {
    let known = authorize(sandbox, headers).and_then(|()| speaks_json(headers, &["accept"]));
    if let Err(problem) = known {
        return problem.into_response();
    }
    sandbox.mailbox().note_check();
    if let Some(fault) = sandbox.faults().for_check() {
        return words(fault.kind, &[]).into_response();
    }
    match found(&sandbox.config().account) {
        Ok(found) => json_answer(StatusCode::OK, &found),
        Err(problem) => problem.into_response(),
    }
}

const INACTIVE: &str = "Inactive recipients are ones that have generated a hard bounce, a spam \
                        complaint, or a manual suppression.";

/// What the service says for each fault (API overview, "API error codes").
fn words(kind: FaultKind, recipients: &[String]) -> Problem {
    let first = recipients.first().map_or("", String::as_str);
    match kind {
        FaultKind::Status(401) => {
            let text = "Request does not contain a valid Server token.";
            Problem(StatusCode::UNAUTHORIZED, Some(10), text.to_owned())
        }
        FaultKind::Status(429) => {
            let text = "Rate Limit Exceeded";
            Problem(StatusCode::TOO_MANY_REQUESTS, Some(429), text.to_owned())
        }
        FaultKind::Status(503) => {
            let text = "The Postmark API is offline for maintenance.";
            Problem(StatusCode::SERVICE_UNAVAILABLE, Some(100), text.to_owned())
        }
        FaultKind::Status(number) => {
            let status = status(number);
            Problem(status, None, status.to_string())
        }
        FaultKind::Quota => Problem::new(
            405,
            "You're not allowed to send: your account has run out of credits.",
        ),
        FaultKind::Suspended => Problem::new(413, "This account may not send."),
        FaultKind::Sender => Problem::new(400, not_a_signature("s@sandbox.invalid")),
        FaultKind::Recipient => Problem::new(300, format!("Invalid 'To' address: '{first}'.")),
        FaultKind::Partial => Problem::new(
            406,
            format!(
                "You tried to send to a recipient that has been marked as inactive.\nFound \
                 inactive addresses: {}.\n{INACTIVE}",
                first.to_lowercase()
            ),
        ),
        // All that it refuses at once for what a message says.
        FaultKind::Content | FaultKind::Reputation => Problem::new(
            411,
            "Forbidden attachment type: the message has an attachment that is not allowed.",
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
        | FaultKind::Slow => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Problem(status, None, status.to_string())
        }
    }
}

fn not_a_signature(from: &str) -> String {
    format!(
        "The 'From' address you supplied ({from}) is not a Sender Signature on your account. \
         Please add and confirm this address in order to be able to use it in the 'From' field of \
         your messages."
    )
}
