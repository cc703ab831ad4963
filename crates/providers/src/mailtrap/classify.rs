//! What Mailtrap's answers mean: a status and a list of sentences.

use jiff::Timestamp;
use malote_core::provider::{Fault, Receipt, Reply, SendError, Verdict};
use serde::Deserialize;
use serde_json::Value;

use crate::http::{Answer, verdict_of_status};
use crate::words::{says_any, spoken};

/// The shapes of the sending API (`errors`: a list) and of the account API (`error`, or `errors`
/// as one sentence).
#[derive(Debug, Default, Deserialize)]
pub(super) struct Document {
    success: Option<bool>,
    message_ids: Option<Vec<String>>,
    errors: Option<Value>,
    error: Option<String>,
}

impl Document {
    /// What went wrong, in the service's words, if the answer says so in one of its shapes.
    pub(super) fn error_text(&self) -> Option<String> {
        match &self.errors {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Array(list)) if !list.is_empty() => {
                let texts = list.iter().map(|item| {
                    let text = item.as_str().map(str::to_owned);
                    text.unwrap_or_else(|| item.to_string())
                });
                Some(texts.collect::<Vec<_>>().join("; "))
            }
            Some(fields @ Value::Object(_)) => Some(fields.to_string()),
            _ => self.error.clone(),
        }
    }
}

/// Reads the answer to a send: one result for each of `recipients`, in the order in which the call
/// listed them.
pub(super) fn classify(
    answer: &Answer,
    recipients: usize,
    now: Timestamp,
) -> Vec<Result<Receipt, SendError>> {
    let document: Option<Document> = answer.json();
    let text = document.as_ref().and_then(Document::error_text);
    let says_failure =
        text.is_some() || document.as_ref().is_some_and(|d| d.success == Some(false));
    if (200..300).contains(&answer.status) && !says_failure {
        let ids = document.and_then(|document| document.message_ids);
        return receipts(answer, &ids.unwrap_or_default(), recipients);
    }
    let text = text.unwrap_or_else(|| answer.text());
    let verdict = verdict(answer, &text, says_failure, recipients, now);
    let reply = Reply::new(Some(answer.status), None, &text);
    vec![Err(SendError::new(verdict, reply)); recipients]
}

/// One id per recipient. For whom there is none, nobody knows.
fn receipts(answer: &Answer, ids: &[String], recipients: usize) -> Vec<Result<Receipt, SendError>> {
    let of = |at: usize| {
        let Some(id) = ids.get(at).filter(|id| is_id(id)) else {
            let text = format!("success without an id: {}", answer.text());
            let reply = Reply::new(Some(answer.status), None, &text);
            return Err(SendError::new(Verdict::Unknown, reply));
        };
        Ok(Receipt {
            provider_message_id: id.clone(),
            reply: Reply::new(Some(answer.status), None, &format!("id {id}")),
        })
    };
    (0..recipients).map(of).collect()
}

fn is_id(text: &str) -> bool {
    (1..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

fn verdict(
    answer: &Answer,
    text: &str,
    is_own_shape: bool,
    recipients: usize,
    now: Timestamp,
) -> Verdict {
    let lower = spoken(text);
    match answer.status {
        401 => Verdict::ProviderUnusable,
        429 if says_any(&lower, &["daily", "monthly", "plan", "billing", "quota"]) => {
            Verdict::QuotaSpent { until: None }
        }
        200..=299 | 400 | 403 | 422 if is_own_shape => by_words(&lower, answer.status, recipients),
        status => verdict_of_status(status, is_own_shape, answer.retry_after(now)),
    }
}

/// The table of words. The service publishes examples only.
fn by_words(text: &str, status: u16, recipients: usize) -> Verdict {
    let says = |words: &[&str]| says_any(text, words);
    // A demo domain mails nobody but the account's owner.
    if says(&["demo domain", "account owner"]) {
        return one_recipient(Fault::NotPermitted, recipients);
    }
    let is_about_sender = says(&["domain", "sender", "'from'"]);
    if says(&["suspend", "compliant", "compliance", "under review"]) {
        return if is_about_sender {
            Verdict::SenderUnusable
        } else {
            Verdict::ProviderUnusable
        };
    }
    if says(&["is required", "must specify"]) {
        return Verdict::Rejected(Fault::Message);
    }
    if says(&[
        "too large",
        "size",
        "too many recipients",
        "custom_variables",
    ]) || says(&["category", "attachment", "header", "maximum"])
    {
        return Verdict::Rejected(Fault::MessageHere);
    }
    if says(&["limit", "quota", "plan", "billing"]) {
        return Verdict::QuotaSpent { until: None };
    }
    if says(&["'to'", "'cc'", "'bcc'", "recipient"]) {
        return one_recipient(Fault::Recipient, recipients);
    }
    if status == 403 || says(&["not allowed", "verif", "unauthorized", "permission"]) {
        // 403 is documented as: verify the domain, or check the token's permissions, which are
        // given by domain too.
        return Verdict::SenderUnusable;
    }
    if is_about_sender {
        return Verdict::Rejected(Fault::MessageHere);
    }
    Verdict::Rejected(Fault::Message)
}

/// One bad address refuses the whole call.
const fn one_recipient(fault: Fault, recipients: usize) -> Verdict {
    match recipients {
        0 | 1 => Verdict::Rejected(fault),
        _ => Verdict::Ungroup,
    }
}
