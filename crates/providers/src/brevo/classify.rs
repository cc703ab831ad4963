//! What Brevo's answers mean: the code of its own before the status, then its text.

use std::time::Duration;

use jiff::Timestamp;
use malote_core::provider::{Fault, RETRY_AFTER_MAX, Receipt, Reply, SendError, Verdict};
use serde::Deserialize;

use crate::http::{Answer, verdict_of_status};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    message_id: Option<String>,
    code: Option<String>,
    message: Option<String>,
}

/// Reads the answer to a send to so many recipients.
///
/// # Errors
/// Everything but 201 with a `messageId`.
pub(super) fn classify(
    answer: &Answer,
    recipients: usize,
    now: Timestamp,
) -> Result<Receipt, SendError> {
    let document = answer.json::<Document>().unwrap_or_default();
    if (200..300).contains(&answer.status) {
        return receipt(answer, document);
    }
    let is_own_shape = document.code.is_some() || document.message.is_some();
    let code = document.code.unwrap_or_default();
    let text = document.message.unwrap_or_else(|| answer.text());
    let verdict = match answer.status {
        400..=499 => of_code(&code, &text.to_ascii_lowercase(), recipients),
        _ => None,
    };
    let verdict = verdict
        .unwrap_or_else(|| verdict_of_status(answer.status, is_own_shape, wait(answer, now)));
    let code = (!code.is_empty()).then_some(code);
    Err(SendError::new(
        verdict,
        Reply::new(Some(answer.status), code, &text),
    ))
}

/// The id as the events carry it, angle brackets included.
fn receipt(answer: &Answer, document: Document) -> Result<Receipt, SendError> {
    let is_id =
        |id: &String| (3..=512).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    match document.message_id.filter(is_id) {
        Some(id) if answer.status == 201 => Ok(Receipt {
            reply: Reply::new(Some(201), None, &format!("messageId {id}")),
            provider_message_id: id,
        }),
        Some(_) | None => {
            let text = format!("success without an id: {}", answer.text());
            let reply = Reply::new(Some(answer.status), None, &text);
            Err(SendError::new(Verdict::Unknown, reply))
        }
    }
}

/// The wait until the limit is reset: the service's own field, then the common one.
fn wait(answer: &Answer, now: Timestamp) -> Option<Duration> {
    let reset = answer.header("x-sib-ratelimit-reset");
    let reset = reset.and_then(|value| value.trim().parse::<u64>().ok());
    let reset = reset.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    reset.or_else(|| answer.retry_after(now))
}

/// The table of codes (error model of the service's API clients). `text` is in lower case.
fn of_code(code: &str, text: &str, recipients: usize) -> Option<Verdict> {
    let verdict = match code {
        "unauthorized"
        | "permission_denied"
        | "reseller_permission_denied"
        | "account_under_validation"
        | "document_not_found"
        | "method_not_allowed"
        | "not_acceptable" => Verdict::ProviderUnusable,
        "not_enough_credits" => Verdict::QuotaSpent { until: None },
        // The service has had this call before; what became of it is not said.
        "duplicate_request" => Verdict::Unknown,
        "invalid_parameter"
        | "missing_parameter"
        | "out_of_range"
        | "duplicate_parameter"
        | "bad_request" => of_parameter(text, recipients),
        _ => return None,
    };
    Some(verdict)
}

fn of_parameter(text: &str, recipients: usize) -> Verdict {
    let names_list = [" in to", " in cc", " in bcc"]
        .iter()
        .any(|words| text.ends_with(words) || text.contains(&format!("{words} ")));
    if text.contains("email is not valid") && names_list {
        // One bad address refuses the whole call.
        return match recipients {
            0 | 1 => Verdict::Rejected(Fault::Recipient),
            _ => Verdict::Ungroup,
        };
    }
    if text.contains("not yet activated") {
        return Verdict::ProviderUnusable;
    }
    let is_about_sender = text.contains("sender");
    let is_refusal = ["invalid", "inactive", "not valid", "valid sender"]
        .iter()
        .any(|words| text.contains(words));
    if is_about_sender && is_refusal {
        return Verdict::SenderUnusable;
    }
    // What is wrong with the fields is a rule of this service.
    Verdict::Rejected(Fault::MessageHere)
}
