//! What Elastic Email's answers mean. Its errors are one sentence without a code, and a bad key is
//! 400 like everything else, so the words decide.

use jiff::Timestamp;
use malote_core::provider::{Fault, Receipt, Reply, SendError, Verdict};
use serde::Deserialize;

use crate::http::{Answer, verdict_of_status};
use crate::words::{says_any, spoken};

/// What a call carried, as far as answers are about it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// How many recipients.
    pub recipients: usize,
    /// Whether an IP pool was named.
    pub names_pool: bool,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Document {
    #[serde(rename = "TransactionID")]
    transaction_id: Option<String>,
    #[serde(rename = "MessageID")]
    message_id: Option<String>,
    #[serde(rename = "Error", alias = "error")]
    error: Option<String>,
}

impl Document {
    /// What went wrong, in the service's words.
    pub(super) fn into_error(self) -> Option<String> {
        self.error
    }
}

/// Reads the answer to a send.
///
/// # Errors
/// Everything but 200 with an id and without an error.
pub(super) fn classify(answer: &Answer, sent: Sent, now: Timestamp) -> Result<Receipt, SendError> {
    let document: Option<Document> = answer.json();
    let error = document.as_ref().and_then(|d| d.error.as_deref());
    let is_success = (200..300).contains(&answer.status);
    if is_success && error.is_none() {
        return receipt(answer, document.unwrap_or_default());
    }
    let text = error.map_or_else(|| answer.text(), str::to_owned);
    let verdict = match answer.status {
        429 => Verdict::Throttled {
            after: answer.retry_after(now),
        },
        402 => Verdict::QuotaSpent { until: None },
        // 401 and 403 are not documented; where they come they say no more than 400 does.
        200..=299 | 400 | 401 | 403 | 422 if error.is_some() => by_words(&text, sent),
        status => verdict_of_status(status, error.is_some(), answer.retry_after(now)),
    };
    let reply = Reply::new(Some(answer.status), None, &text);
    Err(SendError::new(verdict, reply))
}

/// The events carry both ids; that of the call is the same for all its recipients.
fn receipt(answer: &Answer, document: Document) -> Result<Receipt, SendError> {
    let ids = [document.transaction_id, document.message_id];
    let mut ids = ids.into_iter().flatten().filter(|id| is_id(id));
    let Some(id) = ids.next() else {
        let text = format!("success without an id: {}", answer.text());
        let reply = Reply::new(Some(answer.status), None, &text);
        return Err(SendError::new(Verdict::Unknown, reply));
    };
    let text = ids.next().map_or_else(
        || format!("transaction {id}"),
        |message| format!("transaction {id}, message {message}"),
    );
    Ok(Receipt {
        provider_message_id: id,
        reply: Reply::new(Some(answer.status), None, &text),
    })
}

fn is_id(text: &str) -> bool {
    (1..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Whether a refusal is about the key: wrong, expired or without the access level.
pub(super) fn is_about_key(text: &str) -> bool {
    says_any(
        &spoken(text),
        &[
            "apikey",
            "api key",
            "access level",
            "access denied",
            "access token",
            "unauthori",
        ],
    )
}

/// The table of words. The service publishes only `APIKey Expired`; the others are what such a
/// sentence cannot do without. What none of them fits is the message's own fault.
fn by_words(text: &str, sent: Sent) -> Verdict {
    let lower = spoken(text);
    let says = |words: &[&str]| says_any(&lower, words);
    if is_about_key(&lower) {
        return Verdict::ProviderUnusable;
    }
    let is_stopped = says(&["suspend", "disabled", "blocked", "not active", "inactive"]);
    if says(&["under review"]) || (says(&["account"]) && is_stopped) {
        return Verdict::ProviderUnusable;
    }
    let is_over = says(&["maximum", "limit", "exceed", "allowed"]);
    if says(&["daily", "hour", "month"]) && is_over {
        return Verdict::QuotaSpent { until: None };
    }
    if says(&["too many recipients", "too large", "size"])
        || (says(&["recipients", "attachment"]) && is_over)
    {
        return Verdict::Rejected(Fault::MessageHere);
    }
    if says(&["concurrent", "too many requests", "too many connections"]) {
        return Verdict::Throttled { after: None };
    }
    if says(&["credit", "quota", "limit", "exceed"]) {
        return Verdict::QuotaSpent { until: None };
    }
    if sent.names_pool && says(&["pool"]) {
        return Verdict::PoolUnusable;
    }
    let is_refused = says(&["verif", "valid", "allowed", "permission", "restricted"]);
    let is_about_sender =
        says(&["sender", "domain", "from address", "from email"]) || lower.starts_with("from ");
    if is_about_sender && is_refused {
        return Verdict::SenderUnusable;
    }
    if says(&["permission"]) {
        return Verdict::ProviderUnusable;
    }
    let is_about_recipient = says(&["recipient", "email address", "invalid email", "suppress"]);
    // Without any recipient the request is at fault, not somebody's address.
    if is_about_recipient && !says(&["required", "no recipients", "missing", "empty"]) {
        return one_recipient(&lower, sent);
    }
    Verdict::Rejected(Fault::Message)
}

/// One bad address refuses the whole call.
fn one_recipient(text: &str, sent: Sent) -> Verdict {
    if sent.recipients > 1 {
        return Verdict::Ungroup;
    }
    if text.contains("suppress") {
        return Verdict::Suppressed;
    }
    Verdict::Rejected(Fault::Recipient)
}
