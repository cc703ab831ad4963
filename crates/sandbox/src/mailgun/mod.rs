//! Mailgun: `messages.mime` by multipart form, and the look-up of a domain and of IP pools.

mod event;
mod suppressions;

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use multer::{Constraints, Multipart, SizeLimit};
use serde_json::{Value, json};

pub(crate) use event::webhook;

use crate::fault::FaultKind;
use crate::http::{Peer, answer, cut, json as json_answer, status, unread};
use crate::mailbox::Arrival;
use crate::sandbox::Sandbox;

/// Recipients of one call (Mailgun documentation, "Sending a message").
const RECIPIENTS_MAX: usize = 1_000;
/// The message (same page).
const MESSAGE_BYTES_MAX: usize = 25 * 1024 * 1024;
/// The whole request.
const REQUEST_BYTES_MAX: u64 = 52 * 1024 * 1024 + 400 * 1024;
/// All `o:`, `h:`, `v:` and `t:` fields together.
const OPTION_BYTES_MAX: usize = 16 * 1024;
/// How far in the future the time in a spent quota's answer lies.
const QUOTA_WAIT_S: i64 = 6 * 3_600;

/// An error in the service's shape.
struct Problem(StatusCode, String);

impl Problem {
    fn bad_request(message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, message.into())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self(status, message) = self;
        if status == StatusCode::UNAUTHORIZED {
            // The one answer that is not JSON.
            return (status, message).into_response();
        }
        json_answer(status, &json!({ "message": message }))
    }
}

/// The form of one message.
#[derive(Default)]
struct Form {
    recipients: Vec<String>,
    pool: Option<String>,
    options: Vec<(String, String)>,
    option_bytes: usize,
    message: Option<Bytes>,
}

/// The API of this simulator.
pub(crate) fn router(sandbox: Sandbox) -> Router {
    Router::new()
        .route("/v3/{domain}/messages.mime", post(send))
        .route(
            "/v3/{domain}/{list}",
            get(suppressions::list).post(suppressions::add),
        )
        .route("/v3/domains/{domain}", get(domain))
        .route("/v4/domains/{domain}", get(domain))
        .route("/v3/ip_pools", get(ip_pools))
        // A wrong path is answered 200 by the service, too.
        .fallback(|| async { "Mailgun Magnificent API" })
        .with_state(sandbox)
}

async fn send(
    State(sandbox): State<Sandbox>,
    Path(domain): Path<String>,
    request: Request,
) -> Response {
    if let Some(end) = unread(&sandbox).await {
        return end;
    }
    let (head, body) = request.into_parts();
    let Some(Peer(peer)) = head.extensions.get::<Peer>().copied() else {
        return cut();
    };
    let known = authorize(&sandbox, &head.headers)
        .and_then(|()| find(&sandbox, &domain))
        .and_then(|()| permit(&sandbox, &domain));
    let checked = match known {
        Ok(()) => read(&head.headers, body).await.and_then(Form::check),
        Err(problem) => Err(problem),
    };
    let checked = checked.and_then(|(form, message)| {
        form.check_pool(&sandbox)?;
        Ok((form, message))
    });
    let (form, message) = match checked {
        Ok(checked) => checked,
        Err(problem) => {
            sandbox.mailbox().note_send();
            return problem.into_response();
        }
    };
    let recipients = form.recipients.clone();
    let fault = sandbox
        .faults()
        .for_send(recipients.iter().map(String::as_str));
    let at = (sandbox.config().clock)();
    let accept = || {
        let name = |seq| format!("<{}.{seq:08x}@{domain}>", at.as_millisecond());
        let id = sandbox
            .mailbox()
            .take(form.into_arrival(message, peer), at, name);
        let body = json!({ "id": id, "message": "Queued. Thank you." });
        json_answer(StatusCode::OK, &body)
    };
    let say = |kind| words(kind, &domain, at).into_response();
    answer(&sandbox, fault, accept, say).await
}

async fn domain(
    State(sandbox): State<Sandbox>,
    Path(domain): Path<String>,
    headers: HeaderMap,
) -> Response {
    look(&sandbox, &headers, &domain, || {
        find(&sandbox, &domain)?;
        let state = match is_verified(&sandbox, &domain) {
            true => "active",
            false => "unverified",
        };
        let kind = match sandbox.config().account.is_limited {
            true => "sandbox",
            false => "custom",
        };
        Ok(json!({
            "domain": { "name": domain, "state": state, "type": kind },
            "receiving_dns_records": [],
            "sending_dns_records": [
                {
                    "record_type": "TXT",
                    "name": format!("mx._domainkey.{domain}"),
                    "value": "k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQ",
                    "is_active": true,
                    "valid": "valid",
                },
                {
                    "record_type": "TXT",
                    "name": domain,
                    "value": "v=spf1 include:mailgun.org ~all",
                    "is_active": true,
                    "valid": "valid",
                },
            ],
        }))
    })
}

/// The dedicated IP pools. No list has every id: then the key may not ask for it.
async fn ip_pools(State(sandbox): State<Sandbox>, headers: HeaderMap) -> Response {
    look(&sandbox, &headers, "", || {
        let Some(known) = &sandbox.config().account.pools else {
            return Err(Problem(StatusCode::FORBIDDEN, "Forbidden".to_owned()));
        };
        let pool = |id: &String| {
            json!({
                "pool_id": id, "name": id, "description": "", "ips": ["192.0.2.1"],
                "is_linked": false, "is_inherited": false,
            })
        };
        let pools: Vec<Value> = known.iter().map(pool).collect();
        Ok(json!({ "message": "success", "ip_pools": pools }))
    })
}

fn look(
    sandbox: &Sandbox,
    headers: &HeaderMap,
    domain: &str,
    answer: impl FnOnce() -> Result<Value, Problem>,
) -> Response {
    if let Err(problem) = authorize(sandbox, headers) {
        return problem.into_response();
    }
    let fault = sandbox.faults().for_check();
    sandbox.mailbox().note_check();
    if let Some(fault) = fault {
        return words(fault.kind, domain, (sandbox.config().clock)()).into_response();
    }
    match answer() {
        Ok(body) => json_answer(StatusCode::OK, &body),
        Err(problem) => problem.into_response(),
    }
}

/// Whether the DNS records of a domain are there.
fn is_verified(sandbox: &Sandbox, domain: &str) -> bool {
    sandbox.config().account.may_send_from(domain)
}

/// Whether mail is taken for a domain that exists.
fn permit(sandbox: &Sandbox, domain: &str) -> Result<(), Problem> {
    let at = (sandbox.config().clock)();
    if sandbox.config().account.is_limited {
        return Err(words(FaultKind::Sender, domain, at));
    }
    if is_verified(sandbox, domain) {
        return Ok(());
    }
    Err(Problem::bad_request(format!(
        "Domain {domain} is not allowed to send: The domain is unverified and requires DNS \
         configuration. Log in to your control panel to view required DNS records."
    )))
}

fn authorize(sandbox: &Sandbox, headers: &HeaderMap) -> Result<(), Problem> {
    let account = &sandbox.config().mailgun;
    let wanted = format!("api:{}", account.api_key);
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Basic "))
        .and_then(|token| STANDARD.decode(token).ok());
    if given.as_deref() != Some(wanted.as_bytes()) {
        return Err(Problem(StatusCode::UNAUTHORIZED, "Forbidden".to_owned()));
    }
    Ok(())
}

fn find(sandbox: &Sandbox, domain: &str) -> Result<(), Problem> {
    let account = &sandbox.config().mailgun;
    let is_known = |domains: &Vec<String>| domains.iter().any(|known| known == domain);
    if account.domains.as_ref().is_some_and(|all| !is_known(all)) {
        let message = format!("Domain not found: {domain}");
        return Err(Problem(StatusCode::NOT_FOUND, message));
    }
    Ok(())
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Form, Problem> {
    let malformed = |error: multer::Error| {
        let is_size = matches!(
            error,
            multer::Error::StreamSizeExceeded { .. } | multer::Error::FieldSizeExceeded { .. }
        );
        match is_size {
            true => Problem(
                StatusCode::PAYLOAD_TOO_LARGE,
                "Request Entity Too Large".to_owned(),
            ),
            false => Problem::bad_request(format!("malformed multipart: {error}")),
        }
    };
    let boundary = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| Problem::bad_request("'message' parameter is missing"))
        .and_then(|value| multer::parse_boundary(value).map_err(malformed))?;
    let constraints =
        Constraints::new().size_limit(SizeLimit::new().whole_stream(REQUEST_BYTES_MAX));
    let mut parts = Multipart::with_constraints(body.into_data_stream(), boundary, constraints);
    let mut form = Form::default();
    while let Some(part) = parts.next_field().await.map_err(malformed)? {
        let name = part.name().unwrap_or_default().to_owned();
        let is_file = part.file_name().is_some();
        let value = part.bytes().await.map_err(malformed)?;
        form.add(&name, is_file, value)?;
    }
    Ok(form)
}

impl Form {
    fn add(&mut self, name: &str, is_file: bool, value: Bytes) -> Result<(), Problem> {
        if name == "message" {
            if !is_file {
                return Err(Problem::bad_request("'message' parameter is not a file"));
            }
            self.message = Some(value);
            return Ok(());
        }
        let Ok(text) = String::from_utf8(value.to_vec()) else {
            return Err(Problem::bad_request(format!(
                "'{name}' parameter is not UTF-8"
            )));
        };
        if name == "to" {
            let addresses = text.split(',').map(|address| address.trim().to_owned());
            self.recipients.extend(addresses);
            return Ok(());
        }
        let is_option = matches!(name.as_bytes(), [b'o' | b'h' | b'v' | b't', b':', ..]);
        if is_option {
            self.option_bytes += name.len() + text.len();
        }
        let is_switch = matches!(
            name,
            "o:tracking" | "o:tracking-opens" | "o:tracking-clicks"
        );
        if is_switch && !matches!(text.as_str(), "yes" | "no" | "true" | "false" | "htmlonly") {
            let message = format!("'{name}' parameter is not a valid value: {text}");
            return Err(Problem::bad_request(message));
        }
        if name == "o:sending-ip-pool" {
            self.pool = Some(text);
        } else {
            self.options.push((name.to_owned(), text));
        }
        Ok(())
    }

    fn check(mut self) -> Result<(Self, Bytes), Problem> {
        if self.recipients.is_empty() {
            return Err(Problem::bad_request("to parameter is missing"));
        }
        if self.recipients.len() > RECIPIENTS_MAX {
            let message = format!("Too many recipients, max is {RECIPIENTS_MAX}");
            return Err(Problem::bad_request(message));
        }
        if !self.recipients.iter().all(|address| is_address(address)) {
            let message = "to parameter is not a valid address. please check documentation";
            return Err(Problem::bad_request(message));
        }
        if self.option_bytes > OPTION_BYTES_MAX {
            let message = "The combined size of the h:, v: and o: parameters is over 16KB";
            return Err(Problem::bad_request(message));
        }
        let Some(message) = self.message.take() else {
            return Err(Problem::bad_request("'message' parameter is missing"));
        };
        if message.len() > MESSAGE_BYTES_MAX {
            let message = "Message is larger than 25 MB".to_owned();
            return Err(Problem(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        Ok((self, message))
    }

    fn check_pool(&self, sandbox: &Sandbox) -> Result<(), Problem> {
        let is_known = |pool: &String| sandbox.config().account.has_pool(pool);
        match self.pool.as_ref().is_none_or(is_known) {
            true => Ok(()),
            false => Err(Problem::bad_request("o:sending-ip-pool: no such pool")),
        }
    }

    fn into_arrival(self, raw: Bytes, peer: SocketAddr) -> Arrival {
        Arrival {
            peer,
            mail_from: None,
            recipients: self.recipients,
            pool: self.pool,
            options: self.options,
            raw,
            fields: None,
        }
    }
}

fn is_address(address: &str) -> bool {
    let has_shape = address
        .rsplit_once('@')
        .is_some_and(|(local, domain)| !local.is_empty() && domain.contains('.'));
    has_shape && !address.contains(|c: char| c.is_control() || " <>;".contains(c))
}

/// What the service says for each fault.
fn words(kind: FaultKind, domain: &str, at: jiff::Timestamp) -> Problem {
    let stopped = |number, reason: &str| {
        let message = format!("Domain {domain} is not allowed to send: {reason}");
        Problem(status(number), message)
    };
    match kind {
        FaultKind::Status(401) => Problem(StatusCode::UNAUTHORIZED, "Forbidden".to_owned()),
        FaultKind::Status(404) => {
            Problem(StatusCode::NOT_FOUND, format!("Domain not found: {domain}"))
        }
        FaultKind::Status(429) => stopped(429, "request limit exceeded, try again after 2 seconds"),
        FaultKind::Status(number) => Problem(status(number), status(number).to_string()),
        FaultKind::Quota => {
            let until = at.as_second().saturating_add(QUOTA_WAIT_S);
            let until = jiff::Timestamp::from_second(until).unwrap_or(at);
            let until = until.strftime("%a, %d %b %Y %H:%M:%S UTC");
            let reason = format!("recipient limit exceeded, try again after {until}");
            stopped(429, &reason)
        }
        FaultKind::Suspended => stopped(400, "Account is disabled"),
        FaultKind::Sender => stopped(400, "Sandbox subdomains are for test purposes only."),
        FaultKind::Recipient | FaultKind::Partial => {
            Problem::bad_request("to parameter is not a valid address")
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
