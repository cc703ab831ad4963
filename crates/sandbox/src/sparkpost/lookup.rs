//! What the account is asked about: itself, its sending domains, its IP pools.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::{Problem, authorize, words};
use crate::http::json as json_answer;
use crate::sandbox::Sandbox;

/// Recipients a day of an account that is new.
const LIMITED_PER_DAY: u32 = 100;
/// Of any other.
const PER_DAY: u32 = 50_000;

/// `GET account`, its usage included.
pub(super) async fn account(State(sandbox): State<Sandbox>, headers: HeaderMap) -> Response {
    look(&sandbox, &headers, || {
        let is_limited = sandbox.config().account.is_limited;
        let limit = if is_limited { LIMITED_PER_DAY } else { PER_DAY };
        let used = sandbox.mailbox().stats().recipients;
        Ok(json!({
            "customer_id": 102_938,
            "company_name": "Sandbox",
            "country_code": "US",
            "status": "active",
            "subscription": {
                "code": if is_limited { "test" } else { "150K-0817" },
                "name": if is_limited { "Test Account" } else { "150K" },
                "plan_volume": if is_limited { 500 } else { 150_000 },
                "self_serve": true,
            },
            "options": { "smtp_tracking_default": false },
            "usage": {
                "timestamp": (sandbox.config().clock)().to_string(),
                "day": { "used": used, "limit": limit },
                "month": { "used": used, "limit": limit * 30 },
            },
        }))
    })
}

/// `GET sending-domains`: those that the account is told of.
pub(super) async fn domains(State(sandbox): State<Sandbox>, headers: HeaderMap) -> Response {
    look(&sandbox, &headers, || {
        let known = sandbox.config().account.senders.iter().flatten();
        let listed = known.map(|domain| {
            let mut listed = verified();
            listed["domain"] = domain.as_str().into();
            listed
        });
        Ok(listed.collect())
    })
}

/// `GET sending-domains/{domain}`.
pub(super) async fn domain(
    State(sandbox): State<Sandbox>,
    Path(domain): Path<String>,
    headers: HeaderMap,
) -> Response {
    look(&sandbox, &headers, || {
        match sandbox.config().account.may_send_from(&domain) {
            true => Ok(verified()),
            false => Err(Problem::new(404, "1600", "resource not found")
                .because(format!("Domain '{domain}' does not exist"))),
        }
    })
}

/// `GET ip-pools`: those that the account is told of, and the default one. No list has every name:
/// then the key may not ask for it.
pub(super) async fn pools(State(sandbox): State<Sandbox>, headers: HeaderMap) -> Response {
    look(&sandbox, &headers, || {
        let Some(known) = &sandbox.config().account.pools else {
            return Err(Problem::plain(403, "Forbidden."));
        };
        let names = known.iter().map(String::as_str).chain(["default"]);
        Ok(names.map(pool_named).collect())
    })
}

/// `GET ip-pools/{id}`.
pub(super) async fn pool(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    look(&sandbox, &headers, || {
        let pools = sandbox.config().account.pools.as_ref();
        let is_known =
            pools.is_none_or(|all| all.iter().any(|known| known.eq_ignore_ascii_case(&id)));
        match is_known || id == "default" {
            true => Ok(pool_named(&id)),
            false => Err(Problem::plain(404, "IP pool not found.")),
        }
    })
}

fn verified() -> Value {
    json!({
        "status": {
            "ownership_verified": true,
            "spf_status": "unverified",
            "dkim_status": "valid",
            "cname_status": "valid",
            "mx_status": "unverified",
            "compliance_status": "valid",
            "abuse_at_status": "unverified",
            "postmaster_at_status": "unverified",
            "verification_mailbox_status": "unverified",
        },
        "shared_with_subaccounts": false,
        "is_default_bounce_domain": false,
    })
}

fn pool_named(id: &str) -> Value {
    json!({ "id": id, "name": id, "ips": [], "fbl_signing_domain": "sparkpostmail.com" })
}

fn look(
    sandbox: &Sandbox,
    headers: &HeaderMap,
    results: impl FnOnce() -> Result<Value, Problem>,
) -> Response {
    if let Err(problem) = authorize(sandbox, headers) {
        return problem.into_response();
    }
    sandbox.mailbox().note_check();
    if let Some(fault) = sandbox.faults().for_check() {
        return words(fault.kind).into_response();
    }
    match results() {
        Ok(results) => json_answer(StatusCode::OK, &json!({ "results": results })),
        Err(problem) => problem.into_response(),
    }
}
