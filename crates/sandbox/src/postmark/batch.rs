//! `email/batch`: up to 500 emails in one call, each of which has its own answer under status 200
//! ("Send batch emails").

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::Value;

use super::check::{self, Email};
use super::{Problem, Received, accepted, receipt, receive, test_id, words};
use crate::fault::FaultKind;
use crate::http::{answer, json as json_answer};
use crate::sandbox::Sandbox;

/// Emails of one call.
const EMAILS_MAX: usize = 500;
/// The whole request, attachments included.
const REQUEST_BYTES_MAX: usize = 50 * 1024 * 1024;

pub(super) async fn send(State(sandbox): State<Sandbox>, request: Request) -> Response {
    let received = match receive(&sandbox, request, REQUEST_BYTES_MAX).await {
        Ok(received) => received,
        Err(response) => return response,
    };
    let emails = match read(&sandbox, &received.body) {
        Ok(emails) => emails,
        Err(problem) => {
            sandbox.mailbox().note_send();
            return problem.into_response();
        }
    };
    let good = emails.iter().flatten();
    let recipients: Vec<String> = good.flat_map(|email| email.recipients.clone()).collect();
    let fault = match received.is_test {
        true => None,
        false => sandbox
            .faults()
            .for_send(recipients.iter().map(String::as_str)),
    };
    let refused = fault
        .as_ref()
        .and_then(|fault| fault.of_entries(emails.len()));
    let fault = fault.filter(|_| refused.is_none());
    let accept = || {
        let (kind, count) = refused.unzip();
        let results = emails.into_iter().enumerate().map(|(at, email)| {
            let fault = kind.filter(|_| Some(at) < count);
            result(&sandbox, email, fault, &received)
        });
        json_answer(StatusCode::OK, &results.collect())
    };
    let say = |kind| words(kind, &recipients).into_response();
    answer(&sandbox, fault, accept, say).await
}

/// The emails of a call, each as far as it is good.
fn read(sandbox: &Sandbox, body: &[u8]) -> Result<Vec<Result<Email, Problem>>, Problem> {
    let Ok(Value::Array(list)) = serde_json::from_slice(body) else {
        return Err(check::invalid_json());
    };
    if list.len() > EMAILS_MAX {
        let text = format!("A batch may have {EMAILS_MAX} messages.");
        return Err(Problem::new(410, text));
    }
    let account = &sandbox.config().account;
    let emails = list.into_iter().map(|value| check::email(value, account));
    Ok(emails.collect())
}

/// Takes one email; answers what the service says of it.
fn result(
    sandbox: &Sandbox,
    email: Result<Email, Problem>,
    fault: Option<FaultKind>,
    received: &Received,
) -> Value {
    let email = match (email, fault) {
        (Ok(email), None) => email,
        (Ok(email), Some(kind)) => return words(kind, &email.recipients).to_json(),
        (Err(problem), _) => return problem.to_json(),
    };
    if received.is_test {
        return receipt(sandbox, &email.to, &test_id(), "Test job accepted");
    }
    let raw = email.fields.to_string().into();
    accepted(sandbox, email, raw, received.peer, &[])
}
