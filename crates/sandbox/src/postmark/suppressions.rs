//! The lists of the message streams: told as a whole or by days, added to by fifty (developer
//! documentation, "Suppressions API"). What is added is a manual suppression, whatever it was.

use axum::body::{Body, to_bytes};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{DEFAULT_STREAM, Problem, authorize, has_stream, speaks_json, words};
use crate::address::is_address;
use crate::http::{answer_addition, answer_list, json as json_answer};
use crate::sandbox::Sandbox;
use crate::suppressed::{Suppressed, Why};

/// Addresses of one addition.
const ADDED_MAX: usize = 50;
const BODY_BYTES_MAX: usize = 1 << 20;

#[derive(Deserialize)]
pub(super) struct Days {
    fromdate: Option<Date>,
    todate: Option<Date>,
}

fn known(
    sandbox: &Sandbox,
    headers: &HeaderMap,
    names: &[&str],
    stream: &str,
) -> Result<(), Problem> {
    authorize(sandbox, headers)?;
    speaks_json(headers, names)?;
    if has_stream(&sandbox.config().account, stream) {
        return Ok(());
    }
    let text = "The message stream for the provided 'ID' was not found.";
    Err(Problem::new(1226, text))
}

/// `GET /message-streams/{stream}/suppressions/dump?fromdate=D&todate=D`.
pub(super) async fn dump(
    State(sandbox): State<Sandbox>,
    Path(stream): Path<String>,
    Query(days): Query<Days>,
    headers: HeaderMap,
) -> Response {
    if let Err(problem) = known(&sandbox, &headers, &["accept"], &stream) {
        return problem.into_response();
    }
    let accept = || {
        let is_wanted = |entry: &Suppressed| {
            let day = entry.at.map(|at| at.to_zoned(TimeZone::UTC).date());
            let is_late = |from: Date| day.is_some_and(|day| day >= from);
            let is_early = |to: Date| day.is_some_and(|day| day <= to);
            entry.part.as_deref().unwrap_or(DEFAULT_STREAM) == stream
                && days.fromdate.is_none_or(is_late)
                && days.todate.is_none_or(is_early)
        };
        let (all, _) = sandbox.suppressed().page(is_wanted, 0, usize::MAX - 1);
        let all: Vec<Value> = all.iter().map(written).collect();
        json_answer(StatusCode::OK, &json!({ "Suppressions": all }))
    };
    answer_list(&sandbox, accept, |kind| words(kind, &[]).into_response()).await
}

fn written(entry: &Suppressed) -> Value {
    let (reason, origin) = match entry.why {
        Why::Bounced | Why::Blocked | Why::Invalid => ("HardBounce", "Recipient"),
        Why::Complained => ("SpamComplaint", "Recipient"),
        Why::Unsubscribed => ("ManualSuppression", "Recipient"),
        Why::Manual => ("ManualSuppression", "Customer"),
        Why::Compliance => ("ManualSuppression", "Admin"),
    };
    json!({
        "EmailAddress": entry.address,
        "SuppressionReason": reason,
        "Origin": origin,
        "CreatedAt": entry.at.map(|at| at.to_string()),
    })
}

/// `POST /message-streams/{stream}/suppressions`: each address has an outcome of its own.
pub(super) async fn add(
    State(sandbox): State<Sandbox>,
    Path(stream): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let known = known(&sandbox, &headers, &["accept", "content-type"], &stream);
    let addresses = match known {
        Ok(()) => read(body).await,
        Err(problem) => Err(problem),
    };
    let addresses = match addresses {
        Ok(addresses) => addresses,
        Err(problem) => return problem.into_response(),
    };
    let outcomes: Vec<Value> = addresses.iter().map(|address| outcome(address)).collect();
    let good = addresses.into_iter().filter(|address| is_address(address));
    let entries = good.map(|address| Suppressed {
        part: Some(stream.clone()),
        ..Suppressed::new(address, Why::Manual)
    });
    let told = |_: &[Suppressed]| json_answer(StatusCode::OK, &json!({ "Suppressions": outcomes }));
    let entries = Ok::<_, Problem>(entries.collect());
    answer_addition(&sandbox, entries, told, |kind| {
        words(kind, &[]).into_response()
    })
    .await
}

fn outcome(address: &str) -> Value {
    let (status, message) = match is_address(address) {
        true => ("Suppressed", None),
        false => ("Failed", Some("An invalid email address was provided.")),
    };
    json!({ "EmailAddress": address, "Status": status, "Message": message })
}

async fn read(body: Body) -> Result<Vec<String>, Problem> {
    let malformed = || Problem::new(402, "Received invalid JSON input.");
    let body = to_bytes(body, BODY_BYTES_MAX).await;
    let body = body.map_err(|_| malformed())?;
    let document: Value = serde_json::from_slice(&body).map_err(|_| malformed())?;
    let list = document["Suppressions"].as_array().ok_or_else(malformed)?;
    if list.len() > ADDED_MAX {
        let text = "You can send up to 50 suppressions in one request.";
        return Err(Problem::new(300, text));
    }
    let address = |entry: &Value| {
        entry["EmailAddress"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    Ok(list.iter().map(address).collect())
}
