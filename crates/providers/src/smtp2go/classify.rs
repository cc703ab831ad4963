//! What SMTP2GO's answers mean: 200 says only that the request was understood, and codes are few,
//! so that the words decide.

use std::time::Duration;

use jiff::Timestamp;
use malote_core::provider::{
    Fault, Outgoing, OutgoingRecipient, Receipt, Reply, SendError, SendReport, Verdict,
    report_for_all,
};
use serde::{Deserialize, Deserializer};

use super::request::Form;
use crate::http::{Answer, verdict_of_status};
use crate::words::{judges_content, says_any, spoken};

/// Whoever is too fast is shut out for "no less than one minute" (rate limiting page).
pub(super) const THROTTLED_WAIT: Duration = Duration::from_secs(60);
/// Most failures of one answer that are read.
const FAILURES_MAX: usize = 300;

/// An answer. The members of an error stand in `data` by the OpenAPI description, and at the top
/// by the page on response codes.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Document {
    request_id: Option<String>,
    #[serde(default, deserialize_with = "sent_or_none")]
    data: Option<Sent>,
    #[serde(flatten)]
    top: ApiError,
}

/// What is no result of a send is none.
fn sent_or_none<'de, D: Deserializer<'de>>(data: D) -> Result<Option<Sent>, D::Error> {
    let data = serde_json::Value::deserialize(data)?;
    Ok(Sent::deserialize(data).ok())
}

#[derive(Debug, Deserialize)]
struct Sent {
    succeeded: Option<u64>,
    failed: Option<u64>,
    #[serde(default)]
    failures: Vec<String>,
    email_id: Option<String>,
    #[serde(flatten)]
    error: ApiError,
}

#[derive(Debug, Default, Deserialize)]
struct ApiError {
    error: Option<String>,
    error_code: Option<String>,
    field_validation_errors: Option<FieldError>,
}

#[derive(Debug, Default, Deserialize)]
struct FieldError {
    #[serde(default)]
    fieldname: String,
    #[serde(default)]
    message: String,
}

impl Document {
    /// The error, wherever it stands.
    fn error(&self) -> Option<&ApiError> {
        let inner = self.data.as_ref().map(|sent| &sent.error);
        let mut both = [inner, Some(&self.top)].into_iter().flatten();
        both.find(|error| error.error.is_some() || error.error_code.is_some())
    }

    /// Its words, those about a field first.
    pub(super) fn error_text(&self) -> Option<String> {
        let error = self.error()?;
        let field = error.field_validation_errors.as_ref();
        let field = field.map(|field| field.message.clone());
        let text = field.filter(|text| !text.is_empty());
        text.or_else(|| error.error.clone())
            .or_else(|| error.error_code.clone())
    }

    /// Its code, without what all codes begin with.
    pub(super) fn code(&self) -> Option<String> {
        let code = self.error()?.error_code.as_deref()?;
        let short = code.strip_prefix("E_ApiResponseCodes.");
        Some(short.unwrap_or(code).to_owned())
    }

    /// Whether it is about what was asked, not about who asks.
    pub(super) fn is_bad_payload(&self) -> bool {
        self.code().as_deref() == Some("NON_VALIDATING_IN_PAYLOAD")
    }

    /// Whether the key is one, but not for this call.
    pub(super) fn is_permission_denied(&self) -> bool {
        self.code().as_deref() == Some("ENDPOINT_PERMISSION_DENIED")
    }
}

/// Reads the answer to a send: a result for each recipient, in their order.
pub(super) fn report(outgoing: &Outgoing, answer: &Answer, now: Timestamp) -> SendReport {
    let document: Option<Document> = answer.json();
    let is_success = (200..300).contains(&answer.status);
    match document.as_ref().filter(|_| is_success) {
        Some(read) if read.error().is_none() => match &read.data {
            Some(sent) => of_counts(outgoing, answer, read, sent),
            None => all(
                outgoing,
                answer,
                Verdict::Unknown,
                "success without a result",
            ),
        },
        None if is_success => all(outgoing, answer, Verdict::Unknown, "success without a word"),
        _ => {
            let document = document.unwrap_or_default();
            let verdict = of_error(outgoing, answer, &document, now);
            let text = document.error_text().unwrap_or_else(|| answer.text());
            let reply = Reply::new(Some(answer.status), document.code(), &text);
            report_for_all(outgoing, &Err(SendError::new(verdict, reply)))
        }
    }
}

fn all(outgoing: &Outgoing, answer: &Answer, verdict: Verdict, what: &str) -> SendReport {
    let text = format!("{what}: {}", answer.text());
    let reply = Reply::new(Some(answer.status), None, &text);
    report_for_all(outgoing, &Err(SendError::new(verdict, reply)))
}

/// The service counts mails, not recipients: one mail to several counts as one.
fn of_counts(outgoing: &Outgoing, answer: &Answer, read: &Document, sent: &Sent) -> SendReport {
    let has_failed = sent.failed.unwrap_or(0) > 0 || !sent.failures.is_empty();
    let receipt = receipt(outgoing, answer, read, sent);
    match (receipt, has_failed) {
        (Some(receipt), false) => report_for_all(outgoing, &Ok(receipt)),
        (Some(receipt), true) => partial(outgoing, answer, sent, &receipt),
        (None, true) if sent.succeeded.unwrap_or(0) == 0 => {
            let text = failures(sent).collect::<Vec<_>>().join("; ");
            let verdict = by_words(&text, outgoing, &outgoing.recipients);
            let reply = Reply::new(Some(answer.status), None, &text);
            report_for_all(outgoing, &Err(SendError::new(verdict, reply)))
        }
        (None, _) => all(outgoing, answer, Verdict::Unknown, "success without an id"),
    }
}

/// The service's id of a mail that it has taken. The published answer of `email/mime` has none but
/// says that one mail succeeded: then the id of the request, and the events are found by
/// [`super::request::ID_FIELD`].
fn receipt(outgoing: &Outgoing, answer: &Answer, read: &Document, sent: &Sent) -> Option<Receipt> {
    if sent.failed.unwrap_or(0) > 0 && sent.succeeded.unwrap_or(0) == 0 {
        return None;
    }
    let email_id = sent.email_id.as_deref().filter(|id| is_id(id));
    let is_said = sent.succeeded.is_some_and(|mails| mails > 0);
    let request_id = read.request_id.as_deref().filter(|id| is_id(id));
    let request_id = request_id.filter(|_| is_said && Form::of(outgoing) == Form::Mime);
    let id = email_id.or(request_id)?;
    Some(Receipt {
        provider_message_id: id.to_owned(),
        reply: Reply::new(Some(answer.status), None, &format!("mail {id}")),
    })
}

fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

fn failures(sent: &Sent) -> impl Iterator<Item = &str> {
    let failures = sent.failures.iter().map(String::as_str);
    failures.take(FAILURES_MAX)
}

/// The mail is in, and something failed. Who is out stands only in words; unless each of them names
/// somebody, nobody knows about the others.
fn partial(outgoing: &Outgoing, answer: &Answer, sent: &Sent, receipt: &Receipt) -> SendReport {
    let is_about_somebody = |text: &str| outgoing.recipients.iter().any(|one| names(text, one));
    let is_complete = !sent.failures.is_empty() && failures(sent).all(is_about_somebody);
    let results = outgoing.recipients.iter().map(|one| {
        let Some(text) = failures(sent).find(|text| names(text, one)) else {
            let what = "the service took a part of the recipients and does not say which";
            let unknown = SendError::new(Verdict::Unknown, Reply::new(Some(200), None, what));
            return if is_complete {
                Ok(receipt.clone())
            } else {
                Err(unknown)
            };
        };
        let verdict = by_words(text, outgoing, std::slice::from_ref(one));
        let reply = Reply::new(Some(answer.status), None, text);
        Err(SendError::new(verdict, reply))
    });
    results.collect()
}

/// Whether a text holds the recipient's address, not only a longer one that holds it.
fn names(text: &str, recipient: &OutgoingRecipient) -> bool {
    let wanted = recipient.address.as_str();
    let is_part = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.@".contains(c);
    let mut words = text
        .split(|c| !is_part(c))
        .map(|word| word.trim_matches(['.', '\'']));
    words.any(|word| word.eq_ignore_ascii_case(wanted))
}

fn of_error(outgoing: &Outgoing, answer: &Answer, document: &Document, now: Timestamp) -> Verdict {
    let error = document.error();
    let text = document.error_text().unwrap_or_default();
    let wait = answer.retry_after(now);
    if document.is_permission_denied() {
        return Verdict::ProviderUnusable;
    }
    match answer.status {
        429 => throttled(wait),
        // "No valid API key" and "the key doesn't have permission", but for senders.
        403 if is_about_sender(&text.to_ascii_lowercase()) => Verdict::SenderUnusable,
        401 | 403 => Verdict::ProviderUnusable,
        402 => {
            let said = by_words(&text, outgoing, &outgoing.recipients);
            if said == Verdict::Rejected(Fault::MessageHere) {
                return Verdict::QuotaSpent { until: None };
            }
            said
        }
        200..=299 | 400 | 422 => match error {
            Some(ApiError {
                field_validation_errors: Some(field),
                ..
            }) => of_field(field, outgoing),
            Some(_) => by_words(&text, outgoing, &outgoing.recipients),
            None => verdict_of_status(400, false, wait),
        },
        status => verdict_of_status(status, error.is_some(), wait),
    }
}

fn throttled(wait: Option<Duration>) -> Verdict {
    Verdict::Throttled {
        after: Some(wait.unwrap_or(THROTTLED_WAIT)),
    }
}

/// A member of the request that is not as the service wants it.
fn of_field(field: &FieldError, outgoing: &Outgoing) -> Verdict {
    let name = field.fieldname.split(['.', '[']).next().unwrap_or_default();
    match name {
        "api_key" => Verdict::ProviderUnusable,
        "to" | "cc" | "bcc" => one_of("", &outgoing.recipients),
        _ => Verdict::Rejected(Fault::MessageHere),
    }
}

/// One recipient is no good; in a group nobody knows which one.
fn one_of(lower: &str, recipients: &[OutgoingRecipient]) -> Verdict {
    match recipients {
        [] | [_] if lower.contains("suppress") => Verdict::Suppressed,
        [] | [_] => Verdict::Rejected(Fault::Recipient),
        _ => Verdict::Ungroup,
    }
}

fn is_about_sender(lower: &str) -> bool {
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let is_refused = says(&["verif", "not allowed", "not permitted", "restricted"]);
    is_refused && says(&["sender", "from header", "from address", "domain"])
}

/// What a failure in words means that is about one of `recipients`, if it is about any. The service
/// publishes no list of them: these are the words of its pages and of answers seen. What none of
/// them fits may be different elsewhere.
fn by_words(text: &str, outgoing: &Outgoing, recipients: &[OutgoingRecipient]) -> Verdict {
    let lower = spoken(text);
    let says = |words: &[&str]| says_any(&lower, words);
    if says(&[
        "ratelimit",
        "rate limit",
        "too many requests",
        "too many connections",
    ]) {
        return throttled(None);
    }
    let is_stopped = says(&[
        "suspend",
        "disabled",
        "blocked",
        "closed",
        "not active",
        "review",
    ]);
    if says(&[
        "api key",
        "relay access denied",
        "ip address is not allowed",
        "sandbox",
    ]) || (says(&["account"]) && is_stopped)
    {
        return Verdict::ProviderUnusable;
    }
    let is_over = says(&["exceed", "reached", "limit", "spent", "maximum"]);
    if says(&["too large", "too big", "too long", "size"]) {
        return Verdict::Rejected(Fault::MessageHere);
    }
    if says(&["quota", "allowance", "credits"]) || (says(&["month", "daily", "hour"]) && is_over) {
        return Verdict::QuotaSpent { until: None };
    }
    // "Verification failed for <…>" quotes whom the service looked at.
    if outgoing.recipients.iter().any(|one| names(text, one)) {
        return one_of(&lower, recipients);
    }
    if is_about_sender(&lower) || says(&["verification failed for", "domain verify fail"]) {
        return Verdict::SenderUnusable;
    }
    if says(&[
        "suppress",
        "recipient",
        "unrouteable address",
        "no such user",
        "user unknown",
    ]) {
        return one_of(&lower, recipients);
    }
    if judges_content(&lower) || says(&["message content"]) {
        return Verdict::Rejected(Fault::Message);
    }
    if says(&[
        "try again",
        "temporar",
        "timed out",
        "timeout",
        "connection",
    ]) {
        return Verdict::Transient;
    }
    Verdict::Rejected(Fault::MessageHere)
}
