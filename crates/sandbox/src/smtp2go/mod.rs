//! SMTP2GO: `email/send` by fields, `email/mime`, `email/batch`, and what a key may look up. Every call is a POST
//! (developers.smtp2go.com; the service's OpenAPI description).

mod batch;
mod event;
mod payload;
mod problem;
mod suppressions;

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http::{StatusCode, header};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

pub(crate) use event::webhook;

use self::payload::Payload;
use self::problem::{Problem, words};
use crate::http::{Peer, answer, cut, json as json_answer, unread};
use crate::sandbox::Sandbox;

/// Largest request ("Emails: 50 MB").
const REQUEST_BYTES_MAX: usize = 50 * 1024 * 1024;
/// The key, in the request's header or in its body as `api_key`.
const KEY_HEADER: &str = "x-smtp2go-api-key";
/// Whom a limited account may mail.
const OWNER: &str = "owner@example.com";
/// A plan's emails of a month: of a paid account, and of a free one.
const PLAN_EMAILS: [u64; 2] = [10_000, 1_000];

/// The API of this simulator.
pub(crate) fn router(sandbox: Sandbox) -> Router {
    Router::new()
        .route("/v3/email/send", post(send))
        .route("/v3/email/mime", post(mime))
        .route("/v3/email/batch", post(batch::send))
        .route("/v3/api_keys/permissions", post(permissions))
        .route("/v3/domain/view", post(domains))
        .route("/v3/single_sender_emails/view", post(single_senders))
        .route("/v3/stats/email_cycle", post(cycle))
        .route("/v3/suppression/view", post(suppressions::view))
        .route("/v3/suppression/add", post(suppressions::add))
        .with_state(sandbox)
}

async fn send(State(sandbox): State<Sandbox>, request: Request) -> Response {
    receive(&sandbox, request, payload::fields).await
}

async fn mime(State(sandbox): State<Sandbox>, request: Request) -> Response {
    receive(&sandbox, request, payload::mime).await
}

async fn receive(
    sandbox: &Sandbox,
    request: Request,
    check: fn(&Value, Bytes) -> Result<Payload, Problem>,
) -> Response {
    if let Some(end) = unread(sandbox).await {
        return end;
    }
    let Some(Peer(peer)) = request.extensions().get::<Peer>().copied() else {
        return cut();
    };
    let checked = read(sandbox, request).await;
    let checked = checked.and_then(|(document, body)| check(&document, body));
    let checked = checked.and_then(|payload| permit(sandbox, payload));
    let payload = match checked {
        Ok(payload) => payload,
        Err(problem) => {
            sandbox.mailbox().note_send();
            return problem.answer(sandbox);
        }
    };
    let recipients = payload.recipients.clone();
    let fault = sandbox
        .faults()
        .for_send(recipients.iter().map(String::as_str));
    let sender = payload.sender.clone();
    let say = |kind| words(kind, &sender, &recipients).answer(sandbox);
    let accept = || take(sandbox, payload, &sender, peer);
    answer(sandbox, fault, accept, say).await
}

/// Takes a message, unless nobody may send from there: then a success says that it failed, and
/// with `fastaccept` it does not even say that.
fn take(sandbox: &Sandbox, payload: Payload, sender: &str, peer: SocketAddr) -> Response {
    let is_fast = payload.is_fast;
    if !is_fast && !sandbox.config().account.may_send_from(sender) {
        return Problem::unverified_sender(sender).answer(sandbox);
    }
    let id = accept(sandbox, payload, peer);
    let data = match is_fast {
        true => json!({ "email_id": id }),
        false => json!({ "succeeded": 1, "failed": 0, "failures": [], "email_id": id }),
    };
    success(sandbox, &data)
}

/// Takes a message before it is looked at; one from where nobody may send goes nowhere. Answers
/// its id.
fn accept(sandbox: &Sandbox, payload: Payload, peer: SocketAddr) -> String {
    let at = (sandbox.config().clock)();
    let name = |seq: u64| format!("1s{seq:04x}-{:09x}-sb", at.as_millisecond());
    match sandbox.config().account.may_send_from(&payload.sender) {
        true => sandbox.mailbox().take(payload.into_arrival(peer), at, name),
        false => name(sandbox.mailbox().next_serial()),
    }
}

/// A free account without a verified domain mails nobody but its owner.
fn permit(sandbox: &Sandbox, payload: Payload) -> Result<Payload, Problem> {
    let is_owner = |address: &String| address.eq_ignore_ascii_case(OWNER);
    if sandbox.config().account.is_limited && !payload.recipients.iter().all(is_owner) {
        return Err(Problem::only_to_owner(OWNER));
    }
    Ok(payload)
}

/// The request's document, if its key is known; `api_key` is taken out of it.
async fn read(sandbox: &Sandbox, request: Request) -> Result<(Value, Bytes), Problem> {
    let (head, body) = request.into_parts();
    let content_type = head.headers.get(header::CONTENT_TYPE);
    let is_json = content_type
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/json"));
    let body = axum::body::to_bytes(body, REQUEST_BYTES_MAX)
        .await
        .map_err(|_| Problem::too_large())?;
    let document: Option<Value> = serde_json::from_slice(&body).ok().filter(|_| is_json);
    let in_head = head.headers.get(KEY_HEADER).map(|key| key.as_bytes());
    let in_body = document
        .as_ref()
        .and_then(|document| document.get("api_key"));
    let in_body = in_body.and_then(Value::as_str).map(str::as_bytes);
    let wanted = sandbox.config().account.api_key.as_bytes();
    if in_head.or(in_body) != Some(wanted) {
        return Err(Problem::bad_key());
    }
    let document = document.filter(Value::is_object);
    Ok((document.ok_or_else(Problem::malformed)?, body))
}

/// A look-up: `find` answers from the account and the request's document.
async fn look_up(
    sandbox: &Sandbox,
    request: Request,
    find: impl FnOnce(&Value) -> Value,
) -> Response {
    let document = match read(sandbox, request).await {
        Ok((document, _)) => document,
        Err(problem) => return problem.answer(sandbox),
    };
    let fault = sandbox.faults().for_check();
    sandbox.mailbox().note_check();
    match fault {
        Some(fault) => words(fault.kind, "", &[]).answer(sandbox),
        None => success(sandbox, &find(&document)),
    }
}

async fn permissions(State(sandbox): State<Sandbox>, request: Request) -> Response {
    let mut endpoints = vec![
        "/email/send",
        "/email/mime",
        "/email/batch",
        "/single_sender_emails/view",
        "/stats/email_cycle",
    ];
    if sandbox.config().account.senders.is_some() {
        endpoints.push("/domain/view");
    }
    look_up(&sandbox, request, |_| json!(endpoints)).await
}

/// The sender domains, or the one that is asked for. No list has every domain: then the key may not
/// ask for it.
async fn domains(State(sandbox): State<Sandbox>, request: Request) -> Response {
    let find = |document: &Value| {
        let wanted = document.get("domain").and_then(Value::as_str);
        let known = sandbox.config().account.senders.iter().flatten();
        let is_wanted =
            |domain: &&String| wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(domain));
        let listed: Vec<Value> = known.filter(is_wanted).map(domain_row).collect();
        json!({ "domains": listed })
    };
    let answer = look_up(&sandbox, request, find).await;
    match sandbox.config().account.senders {
        None if answer.status() == StatusCode::OK => Problem::not_permitted().answer(&sandbox),
        Some(_) | None => answer,
    }
}

fn domain_row(domain: &String) -> Value {
    let (name, suffix) = domain.split_once('.').unwrap_or((domain, ""));
    json!({
        "domain": {
            "fulldomain": domain, "subdomain": null, "domain": name, "suffix": suffix,
            "dkim_selector": "s123456", "dkim_verified": true, "dkim_status": "",
            "dkim_value": "dkim.smtp2go.net",
            "rpath_selector": "em123456", "rpath_verified": true, "rpath_status": "",
            "rpath_value": "return.smtp2go.net",
        },
        "trackers": [],
        "subaccount_access": { "subaccounts": [], "future_subaccounts": false },
    })
}

async fn single_senders(State(sandbox): State<Sandbox>, request: Request) -> Response {
    look_up(&sandbox, request, |_| json!({ "senders": [] })).await
}

async fn cycle(State(sandbox): State<Sandbox>, request: Request) -> Response {
    let find = |_: &Value| {
        let plan = PLAN_EMAILS[usize::from(sandbox.config().account.is_limited)];
        let used = sandbox.mailbox().stats().recipients;
        let now = (sandbox.config().clock)().to_zoned(TimeZone::UTC);
        let start = now.strftime("%Y-%m-01 00:00:00+00:00");
        let end = format!("{:02}", now.days_in_month());
        let end = now.strftime("%Y-%m-").to_string() + &end + " 00:00:00+00:00";
        json!({
            "cycle_start": start.to_string(), "cycle_end": end,
            "cycle_used": used, "cycle_remaining": plan.saturating_sub(used), "cycle_max": plan,
        })
    };
    look_up(&sandbox, request, find).await
}

fn success(sandbox: &Sandbox, data: &Value) -> Response {
    enveloped(sandbox, StatusCode::OK, data)
}

/// Every answer, right or wrong, has an id and its data.
fn enveloped(sandbox: &Sandbox, status: StatusCode, data: &Value) -> Response {
    let at = (sandbox.config().clock)().as_second();
    let serial = sandbox.mailbox().next_serial();
    let id = format!("{at:08x}-0000-4000-8000-{serial:012x}");
    json_answer(status, &json!({ "request_id": id, "data": data })).into_response()
}
