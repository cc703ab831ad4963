//! SparkPost: `transmissions` with raw or inline content, and the look-ups of account, sending
//! domains and IP pools.

mod event;
mod lookup;
mod request;
mod suppressions;
mod template;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

pub(crate) use event::webhook;

use self::request::Transmission;
use crate::fault::{Fault, FaultKind};
use crate::http::{Peer, answer, cut, json as json_answer, status, unread};
use crate::sandbox::Sandbox;

/// The largest request that is read: 20 MB of content, each octet escaped, and the rest.
const REQUEST_BYTES_MAX: usize = 128 * 1024 * 1024;
/// What the ids of transmissions are counted from.
const FIRST_ID: u64 = 11_668_787_484_950_529;

/// An error in the service's shape.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    /// The service's own number of it.
    code: Option<&'static str>,
    message: String,
    description: Option<String>,
}

impl Problem {
    fn new(number: u16, code: &'static str, message: &str) -> Self {
        Self {
            status: status(number),
            code: Some(code),
            message: message.to_owned(),
            description: None,
        }
    }

    /// Without a number: what the service's front says.
    fn plain(number: u16, message: &str) -> Self {
        Self {
            code: None,
            ..Self::new(number, "", message)
        }
    }

    fn because(self, description: impl Into<String>) -> Self {
        Self {
            description: Some(description.into()),
            ..self
        }
    }

    /// 1300: a value of the wrong type, form or length.
    fn invalid(description: impl Into<String>) -> Self {
        Self::new(422, "1300", "invalid data format/type/length").because(description)
    }

    /// 1400: a value that must be there.
    fn missing(description: impl Into<String>) -> Self {
        Self::new(422, "1400", "required field is missing").because(description)
    }

    /// One entry of `errors`.
    fn entry(&self) -> Value {
        let mut entry = json!({ "message": self.message });
        if let Some(code) = self.code {
            entry["code"] = code.into();
        }
        if let Some(description) = &self.description {
            entry["description"] = description.as_str().into();
        }
        entry
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        json_answer(self.status, &json!({ "errors": [self.entry()] }))
    }
}

/// The API of this simulator.
pub(crate) fn router(sandbox: Sandbox) -> Router {
    Router::new()
        .route("/api/v1/transmissions", post(send))
        .route("/api/v1/transmissions/", post(send))
        .route("/api/v1/account", get(lookup::account))
        .route("/api/v1/sending-domains", get(lookup::domains))
        .route("/api/v1/sending-domains/{domain}", get(lookup::domain))
        .route("/api/v1/ip-pools", get(lookup::pools))
        .route("/api/v1/ip-pools/{id}", get(lookup::pool))
        .route(
            "/api/v1/suppression-list",
            get(suppressions::search).put(suppressions::add),
        )
        .route(
            "/api/v1/suppression-list/",
            get(suppressions::search).put(suppressions::add),
        )
        .fallback(|| async { Problem::new(404, "1101", "invalid URI") })
        .method_not_allowed_fallback(|| async { Problem::new(405, "1102", "invalid HTTP method") })
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
    let mut transmission = match checked {
        Ok(checked) => checked,
        Err(problem) => {
            sandbox.mailbox().note_send();
            return problem.into_response();
        }
    };
    let fault = sandbox.faults().for_send(transmission.addresses());
    let fault = refuse_some(&mut transmission, fault);
    let at = (sandbox.config().clock)();
    let accept = || {
        let results = transmission.results();
        let name = |seq: u64| (FIRST_ID + seq).to_string();
        let id = sandbox
            .mailbox()
            .take(transmission.into_arrival(peer), at, name);
        json_answer(StatusCode::OK, &with_id(results, &id))
    };
    answer(&sandbox, fault, accept, |kind| words(kind).into_response()).await
}

fn with_id(mut answer: Value, id: &str) -> Value {
    answer["results"]["id"] = id.into();
    answer
}

/// Half a refusal is no fault of the whole: the others are taken.
fn refuse_some(transmission: &mut Transmission, fault: Option<Fault>) -> Option<Fault> {
    let fault = fault?;
    if fault.kind == FaultKind::Partial && transmission.refuse_first_half() {
        return None;
    }
    Some(fault)
}

/// The key stands alone, or as the user of a Basic login without a password.
fn authorize(sandbox: &Sandbox, headers: &HeaderMap) -> Result<(), Problem> {
    let key = &sandbox.config().account.api_key;
    let given = headers.get(header::AUTHORIZATION);
    let given = given.and_then(|value| value.to_str().ok());
    let basic = given
        .and_then(|value| value.strip_prefix("Basic "))
        .and_then(|token| STANDARD.decode(token).ok());
    let is_known = match basic {
        Some(login) => login == format!("{key}:").into_bytes(),
        None => given == Some(key.as_str()),
    };
    match is_known {
        true => Ok(()),
        false => Err(Problem::plain(401, "Unauthorized.")),
    }
}

async fn read(sandbox: &Sandbox, headers: &HeaderMap, body: Body) -> Result<Transmission, Problem> {
    let content_type = headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let is_json = content_type.is_some_and(|value| value.starts_with("application/json"));
    if !is_json {
        return Err(Problem::new(415, "1700", "Unsupported Content-Type header"));
    }
    let subaccount = match headers.get("x-msys-subaccount") {
        None => None,
        Some(value) => match value
            .to_str()
            .ok()
            .and_then(|text| text.parse::<u32>().ok())
        {
            Some(number) => Some(number),
            None => {
                let problem = Problem::new(406, "1800", "HTTP header value not acceptable");
                return Err(problem.because("X-MSYS-SUBACCOUNT must be a number"));
            }
        },
    };
    let body: Bytes = axum::body::to_bytes(body, REQUEST_BYTES_MAX)
        .await
        .map_err(|_| Problem::plain(413, "Request Entity Too Large"))?;
    if std::str::from_utf8(&body).is_err() {
        return Err(Problem::new(400, "1305", "Input Data not UTF8 encoded"));
    }
    let document = serde_json::from_slice(&body)
        .map_err(|_| Problem::invalid("Problems parsing request as JSON"))?;
    Transmission::read(&sandbox.config().account, &document, body, subaccount)
}

/// What the service says for each fault.
fn words(kind: FaultKind) -> Problem {
    match kind {
        FaultKind::Status(401) => Problem::plain(401, "Unauthorized."),
        FaultKind::Status(403) => Problem::new(403, "1100", "permission denied"),
        FaultKind::Status(404) => Problem::new(404, "1600", "resource not found"),
        FaultKind::Status(413) => Problem::plain(413, "Request Entity Too Large"),
        FaultKind::Status(420) => Problem::new(420, "2101", "Exceed Sending Limit (hourly)"),
        FaultKind::Status(429) => Problem::plain(429, "Too many requests"),
        FaultKind::Status(503) => {
            Problem::new(503, "1900", "Message generation module not available")
        }
        FaultKind::Status(number) => {
            let status = status(number);
            Problem::plain(number, status.canonical_reason().unwrap_or("Error"))
        }
        FaultKind::Quota => Problem::new(420, "2102", "Exceed Sending Limit (daily)"),
        FaultKind::Suspended => Problem::plain(403, "Forbidden.")
            .because("Your account has been suspended. Contact compliance."),
        FaultKind::Sender => request::unverified(),
        FaultKind::Recipient | FaultKind::Partial => request::no_recipients(),
        FaultKind::Content => Problem::new(400, "1902", "Message generation rejected")
            .because("the content is not acceptable"),
        FaultKind::Reputation => Problem::new(400, "7000", "Sending domain blacklisted"),
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
        | FaultKind::Slow => Problem::plain(500, "Internal Server Error"),
    }
}
