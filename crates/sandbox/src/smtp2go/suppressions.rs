//! The account's list: viewed by token, added to one by one (OpenAPI description, "Suppressions").

use axum::extract::{Request, State};
use axum::response::Response;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::problem::{Problem, words};
use super::{read, success};
use crate::address::is_address;
use crate::http::{answer_addition, answer_list};
use crate::sandbox::Sandbox;
use crate::suppressed::{Suppressed, Why};

/// Entries of a page; none is documented, this one is ours.
const PAGE: usize = 500;
/// Days that are told if nobody asks for more.
const DAYS_DEFAULT: i64 = 30;

fn reason(why: Why) -> Option<&'static str> {
    match why {
        Why::Bounced => Some("bounce"),
        Why::Complained => Some("spam"),
        Why::Unsubscribed => Some("unsubscribe"),
        Why::Manual => Some("manual"),
        Why::Compliance => Some("compliance"),
        Why::Blocked | Why::Invalid => None,
    }
}

/// `POST /v3/suppression/view`.
pub(super) async fn view(State(sandbox): State<Sandbox>, request: Request) -> Response {
    let document = match read(&sandbox, request).await {
        Ok((document, _)) => document,
        Err(problem) => return problem.answer(&sandbox),
    };
    let accept = || {
        let now = (sandbox.config().clock)();
        let asked = |name: &str| document[name].as_str().and_then(|text| text.parse().ok());
        let from: Timestamp = asked("start_date")
            .unwrap_or(now - jiff::SignedDuration::from_hours(24 * DAYS_DEFAULT));
        let to: Timestamp = asked("end_date").unwrap_or(now);
        let token = document["continue_token"].as_str().unwrap_or_default();
        let skip = token.strip_prefix("t").and_then(|at| at.parse().ok());
        let skip: usize = skip.unwrap_or(0);
        let is_own = |entry: &Suppressed| {
            let is_within = entry.at.is_some_and(|at| from <= at && at <= to);
            reason(entry.why).is_some() && is_within
        };
        let (page, has_more) = sandbox.suppressed().page(is_own, skip, PAGE);
        let results: Vec<Value> = page.iter().map(written).collect();
        let next = has_more.then(|| format!("t{}", skip + PAGE));
        let data = json!({
            "continue_token": next, "results": results, "total_results": results.len(),
        });
        success(&sandbox, &data)
    };
    answer_list(&sandbox, accept, |kind| {
        words(kind, "", &[]).answer(&sandbox)
    })
    .await
}

fn written(entry: &Suppressed) -> Value {
    let at = entry
        .at
        .map(|at| at.strftime("%Y-%m-%d %H:%M:%S").to_string());
    json!({
        "block_description": entry.reply,
        "complaint": "",
        "email_address": entry.address,
        "reason": reason(entry.why),
        "subject": null,
        "timestamp": at,
    })
}

/// `POST /v3/suppression/add`.
pub(super) async fn add(State(sandbox): State<Sandbox>, request: Request) -> Response {
    let entries = read(&sandbox, request).await;
    let entries = entries.and_then(|(document, _)| entry(&document).map(|entry| vec![entry]));
    let entries = entries.map_err(|problem| problem.answer(&sandbox));
    let told = |entries: &[Suppressed]| {
        let entry = entries.first();
        let data = json!({
            "added": true,
            "block_description": entry.map(|entry| &entry.reply),
            "email_address": entry.map(|entry| &entry.address),
        });
        success(&sandbox, &data)
    };
    answer_addition(&sandbox, entries, told, |kind| {
        words(kind, "", &[]).answer(&sandbox)
    })
    .await
}

fn entry(document: &Value) -> Result<Suppressed, Problem> {
    let name = "email_address";
    let address = document[name].as_str().unwrap_or_default();
    if !is_address(address) {
        return Err(Problem::no_mailbox(name, address));
    }
    let description = document["block_description"].as_str().unwrap_or_default();
    Ok(Suppressed {
        reply: description.to_owned(),
        ..Suppressed::new(address.to_owned(), Why::Manual)
    })
}
