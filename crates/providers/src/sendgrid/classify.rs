//! What SendGrid's answers mean: status, then the errors' texts and fields.

use std::time::Duration;

use jiff::Timestamp;
use malote_core::provider::{Fault, RETRY_AFTER_MAX, Receipt, Reply, SendError, Verdict};
use serde::Deserialize;

use crate::http::{Answer, verdict_of_status};

/// What a call carried, as far as answers are about it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sent {
    /// How many recipients.
    pub recipients: usize,
    /// Whether an IP pool was named.
    pub names_pool: bool,
}

#[derive(Debug, Deserialize)]
struct Document {
    errors: Vec<Complaint>,
}

/// One of an answer's errors.
#[derive(Debug, Deserialize)]
struct Complaint {
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    field: Option<String>,
}

impl Complaint {
    fn says(&self, words: &str) -> bool {
        let message = self.message.as_deref().unwrap_or_default();
        message.to_ascii_lowercase().contains(words)
    }

    fn field(&self) -> &str {
        self.field.as_deref().unwrap_or_default()
    }

    fn is_about_pool(&self) -> bool {
        self.field().starts_with("ip_pool_name") || self.says("ip pool name")
    }

    /// `personalizations.0.to.1.email` and the like.
    fn is_about_recipient(&self) -> bool {
        let mut segments = self.field().split('.');
        segments.next() == Some("personalizations")
            && segments.any(|segment| ["to", "cc", "bcc"].contains(&segment))
            && !self.field().ends_with(".name")
    }

    /// Only this makes an address a bad one.
    fn is_about_address(&self) -> bool {
        let words = ["valid address", "valid email", "320 characters"];
        self.is_about_recipient() && words.iter().any(|words| self.says(words))
    }

    /// Too many recipients, or one twice: rules for groups.
    fn is_about_group(&self) -> bool {
        let words = [
            "only be included once",
            "should be unique",
            "total recipients",
        ];
        words.iter().any(|words| self.says(words))
    }
}

/// Reads the answer to a send. The id is the first part of the `sg_message_id` of the events.
///
/// # Errors
/// Everything but `202` with `X-Message-Id`: `200` is what the sandbox mode answers, which sends
/// nothing.
pub(super) fn classify(answer: &Answer, sent: Sent, now: Timestamp) -> Result<Receipt, SendError> {
    if !(200..300).contains(&answer.status) {
        return Err(refusal(answer, sent, now));
    }
    let id = answer.header("x-message-id").map(str::trim);
    match id.filter(|id| is_id(id)) {
        Some(id) if answer.status == 202 => Ok(Receipt {
            reply: Reply::new(Some(202), None, &format!("id {id}")),
            provider_message_id: id.to_owned(),
        }),
        Some(_) | None => {
            let text = format!("success that accepts nothing: {}", answer.text());
            let reply = Reply::new(Some(answer.status), None, &text);
            Err(SendError::new(Verdict::Unknown, reply))
        }
    }
}

fn is_id(text: &str) -> bool {
    (1..=512).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// What an answer other than success means.
pub(super) fn refusal(answer: &Answer, sent: Sent, now: Timestamp) -> SendError {
    let document: Option<Document> = answer.json();
    let complaints = document.map(|document| document.errors).unwrap_or_default();
    let verdict = verdict(answer, &complaints, sent, now);
    let said = complaints.iter().filter_map(|c| c.message.as_deref());
    let text = said.collect::<Vec<_>>().join("; ");
    let text = if text.is_empty() { answer.text() } else { text };
    let field = complaints.iter().find_map(|c| c.field.clone());
    let field = field.filter(|field| !field.is_empty() && field != "null");
    SendError::new(verdict, Reply::new(Some(answer.status), field, &text))
}

fn verdict(answer: &Answer, complaints: &[Complaint], sent: Sent, now: Timestamp) -> Verdict {
    let says = |words: &str| complaints.iter().any(|c| c.says(words));
    let is_own_shape = complaints.iter().any(|c| c.message.is_some());
    let wait = wait_asked_for(answer, now);
    match answer.status {
        // Not about the key: credits are a plan's quota, renewed by the day or the month.
        400..=499 if says("maximum credits exceeded") => Verdict::QuotaSpent { until: None },
        400..=499
            if says("verified sender identity") || says("not authorized to send from that") =>
        {
            Verdict::SenderUnusable
        }
        // A block for sending what is malformed ends by itself.
        403 if says("temporarily blocked") || says("too many bad requests") => Verdict::Transient,
        400 if is_own_shape => bad_request(complaints, sent),
        // Accept or Content-Type, or the encoding of the JSON.
        406 | 415 if is_own_shape => Verdict::Rejected(Fault::MessageHere),
        status => verdict_of_status(status, is_own_shape, wait),
    }
}

/// The service judges no content here, only whether fields keep to its rules, which are its own:
/// another service may take the message.
fn bad_request(complaints: &[Complaint], sent: Sent) -> Verdict {
    let is_group = sent.recipients > 1;
    if sent.names_pool && complaints.iter().any(Complaint::is_about_pool) {
        return Verdict::PoolUnusable;
    }
    let is_about_some = |c: &Complaint| c.is_about_recipient() || c.is_about_group();
    if is_group && complaints.iter().any(is_about_some) {
        return Verdict::Ungroup;
    }
    if complaints.iter().all(Complaint::is_about_address) {
        return Verdict::Rejected(Fault::Recipient);
    }
    Verdict::Rejected(Fault::MessageHere)
}

/// `Retry-After`, or the second at which the rate is renewed (`X-RateLimit-Reset`).
fn wait_asked_for(answer: &Answer, now: Timestamp) -> Option<Duration> {
    let renewed = || {
        let second: i64 = answer.header("x-ratelimit-reset")?.trim().parse().ok()?;
        let wait = Timestamp::from_second(second).ok()?.duration_since(now);
        let wait = Duration::try_from(wait).unwrap_or(Duration::ZERO);
        Some(wait.min(RETRY_AFTER_MAX))
    };
    answer.retry_after(now).or_else(renewed)
}
