//! What Resend's answers mean: the error's name where it says enough, else its text and status.

use std::time::Duration;

use jiff::Timestamp;
use malote_core::provider::{Fault, RETRY_AFTER_MAX, Receipt, Reply, SendError, Verdict};
use serde::Deserialize;

use crate::http::{Answer, verdict_of_status};

#[derive(Debug, Deserialize)]
struct Accepted {
    id: String,
}

#[derive(Debug, Deserialize)]
struct Refused {
    name: String,
    #[serde(default)]
    message: String,
}

/// Reads the answer to a send of so many recipients.
///
/// # Errors
/// Everything but `200` with an `id`.
pub(super) fn classify(
    answer: &Answer,
    recipients: usize,
    now: Timestamp,
) -> Result<Receipt, SendError> {
    if !(200..300).contains(&answer.status) {
        return Err(refusal(answer, recipients, now));
    }
    let accepted: Option<Accepted> = answer.json();
    let id = accepted.map(|accepted| accepted.id).filter(|id| is_id(id));
    match id {
        Some(id) if answer.status == 200 => Ok(Receipt {
            reply: Reply::new(Some(200), None, &format!("id {id}")),
            provider_message_id: id,
        }),
        Some(_) | None => {
            let text = format!("success without an id: {}", answer.text());
            let reply = Reply::new(Some(answer.status), None, &text);
            Err(SendError::new(Verdict::Unknown, reply))
        }
    }
}

fn is_id(text: &str) -> bool {
    (1..=512).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// What an answer other than success means.
pub(super) fn refusal(answer: &Answer, recipients: usize, now: Timestamp) -> SendError {
    let Some(refused) = answer.json::<Refused>() else {
        let verdict = verdict_of_status(answer.status, false, wait_asked_for(answer, now));
        let reply = Reply::new(Some(answer.status), None, &answer.text());
        return SendError::new(verdict, reply);
    };
    let verdict = verdict(answer, &refused, recipients, now);
    let reply = Reply::new(Some(answer.status), Some(refused.name), &refused.message);
    SendError::new(verdict, reply)
}

fn verdict(answer: &Answer, refused: &Refused, recipients: usize, now: Timestamp) -> Verdict {
    let text = refused.message.to_ascii_lowercase();
    match refused.name.as_str() {
        "missing_api_key" | "invalid_api_key" | "restricted_api_key" | "suspended_api_key" => {
            Verdict::ProviderUnusable
        }
        // All three come as 429.
        "daily_quota_exceeded" | "monthly_quota_exceeded" => Verdict::QuotaSpent { until: None },
        "rate_limit_exceeded" => Verdict::Throttled {
            after: wait_asked_for(answer, now),
        },
        // An earlier attempt of ours is under way: under its key, asking again cannot double it.
        "concurrent_idempotent_requests" => Verdict::Deferred,
        // An earlier attempt of ours was taken, though in other words.
        "invalid_idempotent_request" => Verdict::Unknown,
        // "The email payload contain invalid characters" and the like.
        "security_error" => Verdict::Rejected(Fault::MessageHere),
        "invalid_from_address" if answer.status == 403 => Verdict::SenderUnusable,
        "validation_error" | "invalid_to_address" if text.contains("testing emails") => {
            for_one(recipients, Fault::NotPermitted)
        }
        "validation_error" if text.contains("api key") => Verdict::ProviderUnusable,
        "validation_error" if text.contains("domain is not verified") => Verdict::SenderUnusable,
        _ => by_status(answer, &text, recipients, now),
    }
}

/// The service judges no content here, only whether fields keep to its rules, which are its own:
/// another service may take the message.
fn by_status(answer: &Answer, text: &str, recipients: usize, now: Timestamp) -> Verdict {
    let is_about_recipient = ["to", "cc", "bcc"]
        .iter()
        .any(|field| text.contains(&format!("invalid `{field}` field")));
    match answer.status {
        400 | 422 if is_about_recipient => for_one(recipients, Fault::Recipient),
        400 | 409 | 422 => Verdict::Rejected(Fault::MessageHere),
        status => verdict_of_status(status, true, wait_asked_for(answer, now)),
    }
}

/// One bad address refuses the whole call.
const fn for_one(recipients: usize, fault: Fault) -> Verdict {
    match recipients {
        0 | 1 => Verdict::Rejected(fault),
        _ => Verdict::Ungroup,
    }
}

/// `Retry-After`, or the seconds until the rate is renewed (`ratelimit-reset`).
fn wait_asked_for(answer: &Answer, now: Timestamp) -> Option<Duration> {
    let renewed = || {
        let seconds: u64 = answer.header("ratelimit-reset")?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
    };
    answer.retry_after(now).or_else(renewed)
}
