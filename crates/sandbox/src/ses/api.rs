//! The call that sends, and the service's words for what it refuses.

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

use super::lookup;
use super::sigv4::{Refusal, Signed, verify};
use super::suppressions;
use crate::address::addresses;
use crate::fault::FaultKind;
use crate::http::{Peer, answer, cut, json as json_answer, status, unread};
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
    #[serde(default)]
    configuration_overrides: Overrides,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Overrides {
    tracking: Tracking,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Tracking {
    open_tracking_enabled: Option<String>,
    click_tracking_enabled: Option<String>,
}

impl Tracking {
    /// What is given, each `ENABLED` or `DISABLED`.
    fn options(self) -> Result<Vec<(String, String)>, Problem> {
        let mut options = Vec::new();
        for (name, value) in [
            ("OpenTrackingEnabled", self.open_tracking_enabled),
            ("ClickTrackingEnabled", self.click_tracking_enabled),
        ] {
            match value {
                Some(word) if matches!(word.as_str(), "ENABLED" | "DISABLED") => {
                    options.push((name.to_owned(), word));
                }
                Some(word) => {
                    let message = format!("{name} is {word}, must be ENABLED or DISABLED.");
                    return Err(Problem::bad_request(message));
                }
                None => {}
            }
        }
        Ok(options)
    }
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
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequestException", message)
    }

    pub(super) fn into_response(self) -> Response {
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
        .route("/v2/email/account", get(lookup::account))
        .route("/v2/email/identities/{identity}", get(lookup::identity))
        .route(
            "/v2/email/configuration-sets/{name}",
            get(lookup::configuration_set),
        )
        .route(
            "/v2/email/suppression/addresses",
            get(suppressions::list).put(suppressions::put),
        )
        .with_state(sandbox)
}

async fn send_email(State(sandbox): State<Sandbox>, request: Request) -> Response {
    if let Some(end) = unread(&sandbox).await {
        return end;
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

/// Reads the body and checks who signed it.
pub(super) async fn read(sandbox: &Sandbox, head: &Parts, body: Body) -> Result<Bytes, Problem> {
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
    if let Some(name) = &pool {
        lookup::find_set(sandbox, name)?;
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
    let raw = check_raw(&raw.data)?;
    check_identities(sandbox, &raw, &recipients)?;
    let tags = send.email_tags.into_iter().map(|tag| (tag.name, tag.value));
    let mut options: Vec<(String, String)> = tags.collect();
    options.extend(send.configuration_overrides.tracking.options()?);
    Ok(Arrival {
        peer,
        mail_from: send.from_email_address,
        recipients,
        pool,
        options,
        raw,
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
    if from_of(&raw).is_none() {
        return Err(Problem::bad_request("Missing required header 'From'."));
    }
    let is_long = |line: &[u8]| line.len() >= LINE_BYTES_MAX;
    if raw.split(|byte| *byte == b'\n').any(is_long) {
        let message = "Each line of the message must be no longer than 1000 characters.";
        return Err(Problem::bad_request(message));
    }
    Ok(raw.into())
}

/// The value of From, unfolded.
fn from_of(raw: &[u8]) -> Option<String> {
    let head_end = memchr::memmem::find(raw, b"\r\n\r\n").unwrap_or(raw.len());
    let head = String::from_utf8_lossy(raw.get(..head_end)?);
    let head = head.replace("\r\n ", " ").replace("\r\n\t", " ");
    let mut fields = head.split('\n').filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(name, _)| name.eq_ignore_ascii_case("from"))?;
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// From is verified; in the sandbox recipients must be, too ("Moving out of the Amazon SES sandbox").
fn check_identities(sandbox: &Sandbox, raw: &[u8], recipients: &[String]) -> Result<(), Problem> {
    let from = from_of(raw).unwrap_or_default();
    let from = addresses(&from).unwrap_or_default();
    let is_limited = sandbox.config().account.is_limited;
    let must_be = from.iter().chain(recipients.iter().filter(|_| is_limited));
    let is_known = |address: &&String| lookup::is_identity(sandbox, address);
    let failed: Vec<&str> = must_be
        .filter(|address| !is_known(address))
        .map(String::as_str)
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    let message = format!(
        "Email address is not verified. The following identities failed the check in region {}: {}",
        sandbox.config().ses.region.to_uppercase(),
        failed.join(", ")
    );
    let status = StatusCode::BAD_REQUEST;
    Err(Problem::new(status, "MessageRejected", message))
}

/// What the service says for each fault.
pub(super) fn words(kind: FaultKind) -> Problem {
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
        | FaultKind::HangEarly
        | FaultKind::CutReply
        | FaultKind::Nonsense
        | FaultKind::Redirect
        | FaultKind::Huge
        | FaultKind::Echo
        | FaultKind::Slow => Problem::new(status(500), "InternalFailure", "Internal failure."),
    }
}
