//! What the account is asked about: itself, its senders and their domains.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::{Problem, RELAY, authorize, words};
use crate::http::json as json_answer;
use crate::sandbox::Sandbox;

/// Messages of the simulated plan.
const CREDITS: u32 = 39_983;

/// `GET account`.
pub(super) async fn account(State(sandbox): State<Sandbox>, headers: HeaderMap) -> Response {
    look(&sandbox, &headers, || {
        Ok(json!({
            "email": "owner@sandbox.example",
            "firstName": "Sandbox",
            "lastName": "Owner",
            "companyName": "Sandbox",
            "address": { "city": "Paris", "country": "France", "street": "", "zipCode": "" },
            "plan": [{ "type": "subscription", "creditsType": "sendLimit", "credits": CREDITS }],
            "relay": {
                "enabled": !sandbox.config().account.is_limited,
                "data": { "userName": "owner@sandbox.example", "relay": RELAY, "port": 587 },
            },
            "marketingAutomation": { "enabled": false },
            "enterprise": false,
        }))
    })
}

/// The sender domains. No list has every domain: then the key may not ask for it.
fn listed(sandbox: &Sandbox) -> Result<&[String], Problem> {
    let denied = || Problem::new(403, "permission_denied", "Permission denied");
    let senders = sandbox.config().account.senders.as_deref();
    senders.ok_or_else(denied)
}

/// `GET senders`: one for each domain that the account is told of.
pub(super) async fn senders(State(sandbox): State<Sandbox>, headers: HeaderMap) -> Response {
    look(&sandbox, &headers, || {
        let known = listed(&sandbox)?.iter();
        let senders = known.zip(1..).map(|(domain, id)| {
            json!({ "id": id, "name": domain, "email": format!("news@{domain}"), "active": true })
        });
        Ok(json!({ "senders": senders.collect::<Vec<_>>() }))
    })
}

/// `GET senders/domains`: those that the account is told of.
pub(super) async fn domains(State(sandbox): State<Sandbox>, headers: HeaderMap) -> Response {
    look(&sandbox, &headers, || {
        let domains: Vec<Value> = listed(&sandbox)?
            .iter()
            .zip(1..)
            .map(|(domain, id)| {
                json!({
                    "id": format!("{id:024x}"),
                    "domain_name": domain,
                    "authenticated": true,
                    "verified": true,
                    "ip": null,
                })
            })
            .collect();
        Ok(json!({
            "count": domains.len(),
            "current_page": 1,
            "total_pages": 1,
            "domains": domains,
        }))
    })
}

/// `GET senders/domains/{domain}`.
pub(super) async fn domain(
    State(sandbox): State<Sandbox>,
    Path(domain): Path<String>,
    headers: HeaderMap,
) -> Response {
    look(&sandbox, &headers, || {
        match sandbox.config().account.may_send_from(&domain) {
            true => Ok(json!({ "domain": domain, "verified": true, "authenticated": true })),
            false => Err(Problem::new(
                404,
                "document_not_found",
                "Domain does not exist",
            )),
        }
    })
}

fn look(
    sandbox: &Sandbox,
    headers: &HeaderMap,
    answer: impl FnOnce() -> Result<Value, Problem>,
) -> Response {
    if let Err(problem) = authorize(sandbox, headers) {
        return problem.into_response();
    }
    sandbox.mailbox().note_check();
    if let Some(fault) = sandbox.faults().for_check() {
        return words(fault.kind).into_response();
    }
    match answer() {
        Ok(body) => json_answer(StatusCode::OK, &body),
        Err(problem) => problem.into_response(),
    }
}
