//! `email/batch`: several emails of fields in one call, answered with an id each, in their order.
//! They are sent behind the answer, so it says of none that it failed; what is malformed is refused
//! with the whole call.

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};

use super::payload::{self, Payload};
use super::problem::{Problem, words};
use super::{accept, permit, read, success};
use crate::http::{Peer, answer, cut, unread};
use crate::sandbox::Sandbox;

/// Emails of one call: as many as the service queues at a time.
const EMAILS_MAX: usize = 50_000;

pub(super) async fn send(State(sandbox): State<Sandbox>, request: Request) -> Response {
    if let Some(end) = unread(&sandbox).await {
        return end;
    }
    let Some(Peer(peer)) = request.extensions().get::<Peer>().copied() else {
        return cut();
    };
    let checked = read(&sandbox, request).await;
    let checked = checked.and_then(|(document, _)| emails(&sandbox, &document));
    let emails = match checked {
        Ok(emails) => emails,
        Err(problem) => {
            sandbox.mailbox().note_send();
            return problem.answer(&sandbox);
        }
    };
    let recipients: Vec<String> = emails.iter().flat_map(|e| e.recipients.clone()).collect();
    let fault = sandbox
        .faults()
        .for_send(recipients.iter().map(String::as_str));
    let sender = emails.first().map(|email| email.sender.clone());
    let sender = sender.unwrap_or_default();
    let take = || {
        let ids = emails.into_iter().map(|email| {
            let name = match email.is_scheduled {
                true => "schedule_id",
                false => "email_id",
            };
            json!({ name: accept(&sandbox, email, peer) })
        });
        success(&sandbox, &ids.collect())
    };
    let say = |kind| words(kind, &sender, &recipients).answer(&sandbox);
    answer(&sandbox, fault, take, say).await
}

/// The emails of a call, if all are good.
fn emails(sandbox: &Sandbox, document: &Value) -> Result<Vec<Payload>, Problem> {
    let emails = payload::array(document, "emails")?;
    if !(1..=EMAILS_MAX).contains(&emails.len()) {
        let message = format!("The field 'emails' was expecting 1 to {EMAILS_MAX} items");
        return Err(Problem::field("emails", &message));
    }
    let check = |email: &Value| {
        let payload = payload::fields(email, email.to_string().into())?;
        permit(sandbox, payload)
    };
    emails.iter().map(check).collect()
}
