//! What Mailgun's answers mean: status first, then its text, which is all it says.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use malote_core::provider::{Fault, RETRY_AFTER_MAX, Receipt, Reply, SendError, Verdict};
use malote_core::web::http_date;
use serde::Deserialize;

use crate::http::{Answer, verdict_of_status};

/// Longest time that a limit is believed to last: plans are counted by the month.
const LIMIT_LASTS_MAX: Duration = Duration::from_secs(31 * 86_400);

/// What a call carried, as far as answers are about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    /// How many recipients.
    pub recipients: usize,
    /// Whether an IP pool was named.
    pub names_pool: bool,
}

#[derive(Debug, Deserialize)]
struct Document {
    id: Option<String>,
    message: Option<String>,
}

/// Reads the answer to a send.
///
/// # Errors
/// Everything but `200` with an `id`: a wrong path is answered 200 too ("Mailgun Magnificent API").
pub(crate) fn classify(answer: &Answer, sent: Sent, now: Timestamp) -> Result<Receipt, SendError> {
    let document: Option<Document> = answer.json();
    let is_own_shape = document.as_ref().is_some_and(|d| d.message.is_some());
    if (200..300).contains(&answer.status) {
        return receipt(answer, document);
    }
    let text = document.and_then(|document| document.message);
    let text = text.unwrap_or_else(|| answer.text());
    let verdict = verdict(answer, &text, is_own_shape, sent, now);
    Err(SendError::new(
        verdict,
        Reply::new(Some(answer.status), None, &text),
    ))
}

fn receipt(answer: &Answer, document: Option<Document>) -> Result<Receipt, SendError> {
    let id = document.and_then(|document| document.id);
    match id.as_deref().and_then(message_id) {
        Some(id) if answer.status == 200 => Ok(Receipt {
            reply: Reply::new(Some(200), None, &format!("id {id}")),
            provider_message_id: id.to_owned(),
        }),
        Some(_) | None => {
            let text = format!("success without an id: {}", answer.text());
            let reply = Reply::new(Some(answer.status), None, &text);
            Err(SendError::new(Verdict::Unknown, reply))
        }
    }
}

/// The service's id without its angle brackets: answers have them, events do not.
pub(crate) fn message_id(text: &str) -> Option<&str> {
    let text = text.trim();
    let text = text.strip_prefix('<').unwrap_or(text);
    let text = text.strip_suffix('>').unwrap_or(text);
    let is_id = (1..=512).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    is_id.then_some(text)
}

/// The table of texts (OpenAPI description of the send API, user manual).
fn verdict(answer: &Answer, text: &str, is_own_shape: bool, sent: Sent, now: Timestamp) -> Verdict {
    let lower = text.to_ascii_lowercase();
    match answer.status {
        400 if is_own_shape => bad_request(&lower, sent),
        402 => Verdict::QuotaSpent { until: None },
        403 if lower.contains("large batches") => Verdict::Throttled {
            after: answer.retry_after(now),
        },
        403 if sent.names_pool && lower.contains("rejected: ip") => Verdict::PoolUnusable,
        429 => limited(text, answer.retry_after(now), now),
        status => verdict_of_status(status, is_own_shape, answer.retry_after(now)),
    }
}

fn bad_request(text: &str, sent: Sent) -> Verdict {
    // One bad address refuses the whole call.
    let only_recipient = |fault| match sent.recipients {
        0 | 1 => Verdict::Rejected(fault),
        _ => Verdict::Ungroup,
    };
    if text.contains("'to' parameter is not a valid address")
        || text.contains("to parameter is not a valid address")
    {
        return only_recipient(Fault::Recipient);
    }
    if text.contains("not allowed to send") {
        // Test domains and free accounts mail only the recipients that they were told of.
        if text.contains("authorized recipients") {
            return only_recipient(Fault::NotPermitted);
        }
        return Verdict::ProviderUnusable;
    }
    if sent.names_pool && text.contains("sending-ip-pool") {
        return Verdict::PoolUnusable;
    }
    let is_own_limit = [
        "too many recipients",
        "16 kb",
        "16kb",
        "too large",
        "larger than",
    ]
    .iter()
    .any(|words| text.contains(words));
    if is_own_limit {
        return Verdict::Rejected(Fault::MessageHere);
    }
    Verdict::Rejected(Fault::Message)
}

/// "... limit exceeded, try again after {RFC date in UTC | N seconds}". What lasts longer than a
/// throttled target may wait is a plan's or an hour's quota.
fn limited(text: &str, retry_after: Option<Duration>, now: Timestamp) -> Verdict {
    let Some(wait) = try_again_after(text, now) else {
        return Verdict::Throttled { after: retry_after };
    };
    if wait <= RETRY_AFTER_MAX {
        return Verdict::Throttled { after: Some(wait) };
    }
    let wait = SignedDuration::try_from(wait.min(LIMIT_LASTS_MAX)).unwrap_or_default();
    Verdict::QuotaSpent {
        until: now.checked_add(wait).ok(),
    }
}

fn try_again_after(text: &str, now: Timestamp) -> Option<Duration> {
    const WORDS: &str = "try again after ";
    let start = text.find(WORDS)? + WORDS.len();
    let rest = text[start..].trim().trim_end_matches('.');
    if let Some(number) = rest.split(' ').next().filter(|n| is_number(n)) {
        return Some(Duration::from_secs(number.parse().unwrap_or(u64::MAX)));
    }
    let wait = http_date(rest)?.duration_since(now);
    Some(Duration::try_from(wait).unwrap_or(Duration::ZERO))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}
