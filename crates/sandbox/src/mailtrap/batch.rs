//! `batch`: up to 500 emails in one call with what they have in common, each of which has its own
//! answer under status 200 (`batchSendEmail` of the service's description).

use std::net::SocketAddr;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::check::{self, Email};
use super::{Problem, accepted, receive, words};
use crate::fault::FaultKind;
use crate::http::{answer, json as json_answer};
use crate::sandbox::Sandbox;

/// Emails of one call.
const EMAILS_MAX: usize = 500;
/// The whole request, attachments included.
const REQUEST_BYTES_MAX: usize = 50 * 1024 * 1024;

pub(super) async fn send(State(sandbox): State<Sandbox>, request: Request) -> Response {
    let (peer, body) = match receive(&sandbox, request, REQUEST_BYTES_MAX).await {
        Ok(received) => received,
        Err(response) => return response,
    };
    let emails = match read(&sandbox, &body) {
        Ok(emails) => emails,
        Err(problem) => {
            sandbox.mailbox().note_send();
            return problem.into_response();
        }
    };
    let good = emails.iter().flatten();
    let recipients: Vec<String> = good.flat_map(|email| email.recipients.clone()).collect();
    let addresses = recipients.iter().map(String::as_str);
    let fault = sandbox.faults().for_send(addresses);
    let refused = fault
        .as_ref()
        .and_then(|fault| fault.of_entries(emails.len()));
    let fault = fault.filter(|_| refused.is_none());
    let accept = || {
        let (kind, count) = refused.unzip();
        let results = emails.into_iter().enumerate().map(|(at, email)| {
            let fault = kind.filter(|_| Some(at) < count);
            result(&sandbox, email, fault, peer)
        });
        let responses: Vec<Value> = results.collect();
        let body = json!({ "success": true, "responses": responses });
        json_answer(StatusCode::OK, &body)
    };
    answer(&sandbox, fault, accept, |kind| words(kind).into_response()).await
}

/// The emails of a call, each as far as it is good: its own fields, and those of `base` that it
/// does not have. Recipients are each email's own.
fn read(sandbox: &Sandbox, body: &[u8]) -> Result<Vec<Result<Email, Problem>>, Problem> {
    let value: Value = serde_json::from_slice(body).map_err(|_| check::invalid_json())?;
    let base = match value.get("base") {
        None => Map::new(),
        Some(Value::Object(base)) => base.clone(),
        Some(_) => return Err(Problem::bad_request("'base' must be an object")),
    };
    if ["to", "cc", "bcc"]
        .iter()
        .any(|name| base.contains_key(*name))
    {
        return Err(Problem::bad_request("'base' must not have recipients"));
    }
    let Some(Value::Array(requests)) = value.get("requests") else {
        return Err(Problem::bad_request("'requests' must be an array"));
    };
    if !(1..=EMAILS_MAX).contains(&requests.len()) {
        let error = format!("'requests' must have 1 to {EMAILS_MAX} messages");
        return Err(Problem::bad_request(&error));
    }
    let account = &sandbox.config().account;
    let emails = requests.iter().map(|request| {
        let own = request.as_object().ok_or_else(check::invalid_json)?;
        let mut fields = base.clone();
        fields.extend(own.clone());
        check::email(fields, account)
    });
    Ok(emails.collect())
}

/// Takes one email; answers what the service says of it.
fn result(
    sandbox: &Sandbox,
    email: Result<Email, Problem>,
    fault: Option<FaultKind>,
    peer: SocketAddr,
) -> Value {
    match (email, fault) {
        (Ok(email), None) => {
            let raw = email.fields.to_string().into();
            accepted(sandbox, email, raw, peer)
        }
        (Ok(_), Some(kind)) => words(kind).to_json(),
        (Err(problem), _) => problem.to_json(),
    }
}
