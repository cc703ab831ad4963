//! The two calls that are simulated, and the service's words for what it refuses.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, request::Parts};
use serde::Deserialize;
use serde_json::json;

use super::sigv4::{Refusal, Signed, verify};
use crate::fault::FaultKind;
use crate::http::{Peer, answer, cut, json as json_answer, status};
use crate::mailbox::Arrival;
use crate::sandbox::Sandbox;

/// Recipients of one message (SES developer guide, "Service quotas").
const RECIPIENTS_MAX: usize = 50;
/// A message in its base64 form (same page).
const MESSAGE_BYTES_MAX: usize = 40 * 1024 * 1024;
/// The message and the JSON around it.
const BODY_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 64 * 1024;
/// A line of a raw message with its end (API reference, `RawMessage`).
const LINE_BYTES_MAX: usize = 1_000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendEmail {
    from_email_address: Option<String>,
    destination: Option<Destination>,
    content: Option<Content>,
    configuration_set_name: Option<String>,
    #[serde(default)]
    email_tags: Vec<Tag>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Destination {
    to_addresses: Vec<String>,
    cc_addresses: Vec<String>,
    bcc_addresses: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Content {
    raw: Option<Raw>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Raw {
    data: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    name: String,
    value: String,
}

/// An error in the service's shape.
struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequestException", message)
    }

    fn into_response(self) -> Response {
        let mut response = json_answer(self.status, &json!({ "message": self.message }));
        let code = HeaderValue::from_static(self.code);
        response.headers_mut().insert("x-amzn-errortype", code);
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::new(StatusCode::FORBIDDEN, refusal.code(), refusal.to_string())
    }
}

/// The API of this simulator.
pub(crate) fn router(sandbox: Sandbox) -> Router {
    Router::new()
        .route("/v2/email/outbound-emails", post(send_email))
        .route("/v2/email/account", get(account))
        .with_state(sandbox)
}

async fn send_email(State(sandbox): State<Sandbox>, request: Request) -> Response {
    if sandbox.faults().for_early_cut().is_some() {
        return cut();
    }
    let peer = request.extensions().get::<Peer>().copied();
    let (Some(Peer(peer)), (head, body)) = (peer, request.into_parts()) else {
        return cut();
    };
    let checked = match read(&sandbox, &head, body).await {
        Ok(body) => check(&sandbox, &body, peer),
        Err(problem) => Err(problem),
    };
    let arrival = match checked {
        Ok(arrival) => arrival,
        Err(problem) => {
            sandbox.mailbox().note_send();
            return problem.into_response();
        }
    };
    let recipients = arrival.recipients.clone();
    let fault = sandbox
        .faults()
        .for_send(recipients.iter().map(String::as_str));
    let at = (sandbox.config().clock)();
    let accept = || {
        let name = |seq| format!("0100{:012x}-{seq:012x}-000000", at.as_millisecond());
        let id = sandbox.mailbox().take(arrival, at, name);
        json_answer(StatusCode::OK, &json!({ "MessageId": id }))
    };
    answer(&sandbox, fault, accept, |kind| words(kind).into_response()).await
}

async fn account(State(sandbox): State<Sandbox>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    if let Err(problem) = read(&sandbox, &head, body).await {
        return problem.into_response();
    }
    let fault = sandbox.faults().for_check();
    sandbox.mailbox().note_check();
    if let Some(fault) = fault {
        return words(fault.kind).into_response();
    }
    let account = &sandbox.config().ses;
    let body = json!({
        "DedicatedIpAutoWarmupEnabled": false,
        "EnforcementStatus": "HEALTHY",
        "ProductionAccessEnabled": true,
        "SendQuota": {
            "Max24HourSend": account.send_per_day_max,
            "MaxSendRate": account.send_rate_max,
            "SentLast24Hours": sandbox.stats().recipients as f64,
        },
        "SendingEnabled": true,
    });
    json_answer(StatusCode::OK, &body)
}

/// Reads the body and checks who signed it.
async fn read(sandbox: &Sandbox, head: &Parts, body: Body) -> Result<Bytes, Problem> {
    let too_large = || {
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        Problem::new(status, "RequestEntityTooLarge", "Request is too long.")
    };
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX)
        .await
        .map_err(|_| too_large())?;
    let signed = Signed {
        method: &head.method,
        uri: &head.uri,
        headers: &head.headers,
        body: &body,
    };
    verify(&signed, &sandbox.config().ses, (sandbox.config().clock)())?;
    Ok(body)
}

fn check(sandbox: &Sandbox, body: &[u8], peer: std::net::SocketAddr) -> Result<Arrival, Problem> {
    let send: SendEmail = serde_json::from_slice(body).map_err(|error| {
        let code = "SerializationException";
        Problem::new(StatusCode::BAD_REQUEST, code, error.to_string())
    })?;
    let pool = send.configuration_set_name;
    if let (Some(name), Some(known)) = (&pool, &sandbox.config().ses.configuration_sets)
        && !known.contains(name)
    {
        let message = format!("Configuration set <{name}> does not exist.");
        let code = "NotFoundException";
        return Err(Problem::new(StatusCode::NOT_FOUND, code, message));
    }
    let destination = send.destination.unwrap_or_default();
    let mut recipients = destination.to_addresses;
    recipients.extend(destination.cc_addresses);
    recipients.extend(destination.bcc_addresses);
    check_recipients(&recipients)?;
    let raw = send
        .content
        .and_then(|content| content.raw)
        .ok_or_else(|| Problem::bad_request("Content.Raw is what this simulator takes."))?;
    Ok(Arrival {
        peer,
        mail_from: send.from_email_address,
        recipients,
        pool,
        options: send
            .email_tags
            .into_iter()
            .map(|tag| (tag.name, tag.value))
            .collect(),
        raw: check_raw(&raw.data)?,
        fields: None,
    })
}

fn check_recipients(recipients: &[String]) -> Result<(), Problem> {
    if recipients.is_empty() {
        return Err(Problem::bad_request("Missing final recipients."));
    }
    if recipients.len() > RECIPIENTS_MAX {
        let count = recipients.len();
        let message = format!("Recipient count {count} exceeds {RECIPIENTS_MAX}.");
        return Err(Problem::bad_request(message));
    }
    let is_plain = |address: &String| {
        address.is_ascii()
            && !address.contains(|c: char| c.is_ascii_control() || c == ' ')
            && address
                .rsplit_once('@')
                .is_some_and(|(local, domain)| !local.is_empty() && domain.contains('.'))
    };
    match recipients.iter().find(|address| !is_plain(address)) {
        Some(address) => Err(Problem::bad_request(format!("Illegal address: {address}"))),
        None => Ok(()),
    }
}

fn check_raw(data: &str) -> Result<Bytes, Problem> {
    if data.len() > MESSAGE_BYTES_MAX {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "MessageRejected",
            format!("Message length is more than {MESSAGE_BYTES_MAX} bytes long."),
        ));
    }
    let raw = STANDARD
        .decode(data)
        .map_err(|_| Problem::bad_request("Content.Raw.Data is not base64."))?;
    let head_end = memchr::memmem::find(&raw, b"\r\n\r\n").unwrap_or(raw.len());
    let has_from = raw
        .get(..head_end)
        .unwrap_or_default()
        .split(|byte| *byte == b'\n')
        .any(|line| {
            line.len() > 5
                && line
                    .get(..5)
                    .is_some_and(|n| n.eq_ignore_ascii_case(b"from:"))
        });
    if !has_from {
        return Err(Problem::bad_request("Missing required header 'From'."));
    }
    let is_long = |line: &[u8]| line.len() >= LINE_BYTES_MAX;
    if raw.split(|byte| *byte == b'\n').any(is_long) {
        let message = "Each line of the message must be no longer than 1000 characters.";
        return Err(Problem::bad_request(message));
    }
    Ok(raw.into())
}

/// What the service says for each fault.
fn words(kind: FaultKind) -> Problem {
    let bad = |code, text: &str| Problem::new(StatusCode::BAD_REQUEST, code, text);
    match kind {
        FaultKind::Status(401 | 403) => Problem::from(Refusal::UnknownToken),
        FaultKind::Status(404) => {
            let message = "Configuration set <gone> does not exist.";
            Problem::new(StatusCode::NOT_FOUND, "NotFoundException", message)
        }
        FaultKind::Status(429) => {
            let code = "TooManyRequestsException";
            Problem::new(status(429), code, "Maximum sending rate exceeded.")
        }
        FaultKind::Status(503) => {
            let message = "Service is unable to handle request.";
            Problem::new(status(503), "ServiceUnavailableException", message)
        }
        FaultKind::Status(number @ 500..) => {
            let message = "The request processing has failed because of an unknown error.";
            Problem::new(status(number), "InternalServiceErrorException", message)
        }
        FaultKind::Status(number) => {
            Problem::new(status(number), "BadRequestException", "Bad request.")
        }
        FaultKind::Quota => {
            let code = "LimitExceededException";
            bad(code, "Daily message quota exceeded.")
        }
        FaultKind::Suspended => bad("SendingPausedException", "Account is paused"),
        FaultKind::Sender => bad(
            "MessageRejected",
            "Email address is not verified. The following identities failed the check.",
        ),
        FaultKind::Recipient | FaultKind::Partial => {
            bad("BadRequestException", "Invalid recipient address.")
        }
        FaultKind::Content | FaultKind::Reputation => {
            bad("MessageRejected", "Message contains invalid content.")
        }
        FaultKind::Bare(_)
        | FaultKind::Hang
        | FaultKind::Cut
        | FaultKind::CutEarly
        | FaultKind::CutReply
        | FaultKind::Nonsense
        | FaultKind::Redirect
        | FaultKind::Huge
        | FaultKind::Slow => Problem::new(status(500), "InternalFailure", "Internal failure."),
    }
}
