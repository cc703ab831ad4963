//! The account's list (developer documentation, "Suppressions"). That anybody adds to it, one
//! domain and stream at a time, is not simulated.

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{is_known, unknown_token, words};
use crate::http::{answer_list, json as json_answer};
use crate::sandbox::Sandbox;
use crate::suppressed::{Suppressed, Why};

/// Entries of a page.
const PAGE: usize = 1_000;

#[derive(Deserialize)]
pub(super) struct Wanted {
    last_id: Option<String>,
}

fn kind(why: Why) -> Option<&'static str> {
    match why {
        Why::Bounced => Some("hard bounce"),
        Why::Complained => Some("spam complaint"),
        Why::Unsubscribed => Some("unsubscription"),
        Why::Manual => Some("manual import"),
        Why::Blocked | Why::Invalid | Why::Compliance => None,
    }
}

/// `GET /api/suppressions?last_id=ID`.
pub(super) async fn list(
    State(sandbox): State<Sandbox>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    if !is_known(&sandbox, &headers) {
        return unknown_token();
    }
    let accept = || {
        let is_own = |entry: &Suppressed| kind(entry.why).is_some();
        let last = wanted.last_id.as_deref();
        let (page, _) = sandbox.suppressed().page_after(is_own, last, PAGE);
        let page: Vec<Value> = page.iter().map(written).collect();
        json_answer(StatusCode::OK, &page.into())
    };
    answer_list(&sandbox, accept, |kind| words(kind).into_response()).await
}

fn written(entry: &Suppressed) -> Value {
    let reply = Some(entry.reply.as_str()).filter(|reply| !reply.is_empty());
    json!({
        "id": entry.id(),
        "type": kind(entry.why),
        "created_at": entry.at.map(|at| at.to_string()),
        "email": entry.address,
        "sending_stream": "any",
        "domain_name": null,
        "message_bounce_category": null,
        "message_category": null,
        "message_client_ip": null,
        "message_created_at": null,
        "message_esp_response": reply,
        "message_esp_server_type": null,
        "message_outgoing_ip": null,
        "message_recipient_mx_name": null,
        "message_sender_email": null,
        "message_subject": null,
    })
}
