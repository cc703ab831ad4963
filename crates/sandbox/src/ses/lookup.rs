//! What the account is asked about: itself, its identities, its configuration sets.

use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::api::{Problem, read, words};
use crate::http::json as json_answer;
use crate::sandbox::Sandbox;

/// Recipients in 24 hours, and messages a second, of an account in the sandbox ("Service quotas").
const LIMITED: (f64, f64) = (200.0, 1.0);

/// `GetAccount`.
pub(super) async fn account(State(sandbox): State<Sandbox>, request: Request) -> Response {
    look(&sandbox, request, || {
        let is_limited = sandbox.config().account.is_limited;
        let account = &sandbox.config().ses;
        let (per_day, rate) = match is_limited {
            true => LIMITED,
            false => (account.send_per_day_max, account.send_rate_max),
        };
        Ok(json!({
            "DedicatedIpAutoWarmupEnabled": false,
            "EnforcementStatus": "HEALTHY",
            "ProductionAccessEnabled": !is_limited,
            "SendQuota": {
                "Max24HourSend": per_day,
                "MaxSendRate": rate,
                "SentLast24Hours": sandbox.stats().recipients as f64,
            },
            "SendingEnabled": true,
        }))
    })
    .await
}

/// `GetEmailIdentity`.
pub(super) async fn identity(
    State(sandbox): State<Sandbox>,
    Path(identity): Path<String>,
    request: Request,
) -> Response {
    look(&sandbox, request, || {
        if !sandbox.config().account.may_send_from(&identity) {
            let message = format!("Email identity {identity} does not exist.");
            return Err(not_found(message));
        }
        let kind = match identity.contains('@') {
            true => "EMAIL_ADDRESS",
            false => "DOMAIN",
        };
        Ok(json!({
            "IdentityType": kind,
            "FeedbackForwardingStatus": true,
            "VerifiedForSendingStatus": true,
            "VerificationStatus": "SUCCESS",
            "DkimAttributes": {
                "SigningEnabled": true,
                "Status": "SUCCESS",
                "SigningAttributesOrigin": "AWS_SES",
                "Tokens": ["token1", "token2", "token3"],
            },
            "MailFromAttributes": { "BehaviorOnMxFailure": "USE_DEFAULT_VALUE" },
            "Policies": {},
            "Tags": [],
        }))
    })
    .await
}

/// `GetConfigurationSet`.
pub(super) async fn configuration_set(
    State(sandbox): State<Sandbox>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    look(&sandbox, request, || {
        find_set(&sandbox, &name)?;
        Ok(json!({
            "ConfigurationSetName": name,
            "DeliveryOptions": { "TlsPolicy": "OPTIONAL" },
            "ReputationOptions": { "ReputationMetricsEnabled": true },
            "SendingOptions": { "SendingEnabled": true },
            "Tags": [],
        }))
    })
    .await
}

/// Whether mail may come from this address: its domain is verified, or one above it is ("Verifying
/// a domain identity").
pub(super) fn is_identity(sandbox: &Sandbox, address: &str) -> bool {
    let domain = address.rsplit('@').next().unwrap_or(address);
    let above = std::iter::successors(Some(domain), |domain| {
        domain.split_once('.').map(|(_, above)| above)
    });
    let mut domains = above.filter(|domain| !domain.is_empty());
    domains.any(|domain| sandbox.config().account.may_send_from(domain))
}

/// Whether the configuration set exists.
pub(super) fn find_set(sandbox: &Sandbox, name: &str) -> Result<(), Problem> {
    let known = sandbox.config().ses.configuration_sets.as_ref();
    match known.is_none_or(|known| known.iter().any(|known| known == name)) {
        true => Ok(()),
        false => Err(not_found(format!(
            "Configuration set <{name}> does not exist."
        ))),
    }
}

fn not_found(message: String) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "NotFoundException", message)
}

async fn look(
    sandbox: &Sandbox,
    request: Request,
    answer: impl FnOnce() -> Result<Value, Problem>,
) -> Response {
    let (head, body) = request.into_parts();
    if let Err(problem) = read(sandbox, &head, body).await {
        return problem.into_response();
    }
    let fault = sandbox.faults().for_check();
    sandbox.mailbox().note_check();
    if let Some(fault) = fault {
        return words(fault.kind).into_response();
    }
    match answer() {
        Ok(body) => json_answer(StatusCode::OK, &body),
        Err(problem) => problem.into_response(),
    }
}
