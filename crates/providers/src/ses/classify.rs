//! What SES's answers mean, by its error code and text; the HTTP status alone misleads, since the
//! API model and real answers disagree on it (MessageRejected: 400 in the model, 403 seen).

use jiff::{SignedDuration, Timestamp};
use malote_core::address::EmailAddress;
use malote_core::provider::{Fault, Outgoing, Receipt, Reply, SendError, Verdict};
use serde::Deserialize;

use crate::http::{Answer, verdict_of_status};

/// What a call carried, as far as answers are about it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sent<'a> {
    /// MAIL FROM of the message.
    pub sender: Option<&'a EmailAddress>,
    /// Whether one recipient or more, and which.
    pub recipients: &'a [&'a EmailAddress],
    /// Whether a configuration set was named.
    pub names_configuration_set: bool,
}

/// The error document: `message` in most answers, `Message` in some.
#[derive(Debug, Default, Deserialize)]
struct ErrorDocument {
    #[serde(alias = "Message")]
    message: Option<String>,
    #[serde(rename = "__type", alias = "code", alias = "Code")]
    code: Option<String>,
}

#[derive(Debug, Deserialize)]
struct SuccessDocument {
    #[serde(rename = "MessageId")]
    message_id: Option<String>,
}

/// An answer of SES taken apart.
#[derive(Debug)]
pub(crate) struct SesError {
    /// The error code without namespace and URL; empty if the answer has none.
    pub code: String,
    /// The text for people.
    pub text: String,
    status: u16,
}

impl SesError {
    /// Takes an answer apart. The code stands in `x-amzn-ErrorType`, with a `:url` behind it or a
    /// `namespace#` before it in some answers, else in the body's `__type`.
    pub(crate) fn read(answer: &Answer) -> Self {
        let document: ErrorDocument = answer.json().unwrap_or_default();
        let code = answer.header("x-amzn-errortype").map(str::to_owned);
        let code = code.or(document.code).unwrap_or_default();
        let code = code.split(':').next().unwrap_or_default();
        let code = code.rsplit('#').next().unwrap_or_default().trim();
        Self {
            code: code.to_owned(),
            text: document.message.unwrap_or_else(|| answer.text()),
            status: answer.status,
        }
    }

    /// Whether the signature was refused for our clock's sake alone.
    pub(crate) fn is_clock_skew(&self) -> bool {
        let by_text = self.text.contains("Signature expired")
            || self.text.contains("Signature not yet current");
        matches!(
            self.code.as_str(),
            "RequestTimeTooSkewed" | "RequestExpired"
        ) || matches!(
            self.code.as_str(),
            "SignatureDoesNotMatch" | "InvalidSignatureException"
        ) && by_text
    }

    fn reply(&self) -> Reply {
        let code = (!self.code.is_empty()).then(|| self.code.clone());
        Reply::new(Some(self.status), code, &self.text)
    }
}

/// How far the service's clock is ahead of ours, if it refused the signature for that.
pub(crate) fn clock_skew(answer: &Answer, now: Timestamp) -> Option<SignedDuration> {
    if !SesError::read(answer).is_clock_skew() {
        return None;
    }
    Some(answer.date()?.duration_since(now))
}

/// Reads the answer to a send.
///
/// # Errors
/// Everything but `200` with a `MessageId`.
pub(crate) fn classify(
    answer: &Answer,
    sent: Sent<'_>,
    now: Timestamp,
) -> Result<Receipt, SendError> {
    if (200..300).contains(&answer.status) {
        return receipt(answer);
    }
    let error = SesError::read(answer);
    let verdict = verdict(&error, answer, sent, now);
    Err(SendError::new(verdict, error.reply()))
}

fn receipt(answer: &Answer) -> Result<Receipt, SendError> {
    let id = answer
        .json::<SuccessDocument>()
        .and_then(|document| document.message_id)
        .filter(|id| (1..=256).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()));
    match id {
        Some(id) if answer.status == 200 => Ok(Receipt {
            reply: Reply::new(Some(200), None, &format!("MessageId {id}")),
            provider_message_id: id,
        }),
        Some(_) | None => {
            let text = format!("success without an id: {}", answer.text());
            let reply = Reply::new(Some(answer.status), None, &text);
            Err(SendError::new(Verdict::Unknown, reply))
        }
    }
}

/// The table of codes (botocore's sesv2 model of 2019-09-27, developer guide), code first, then
/// text, then status.
fn verdict(error: &SesError, answer: &Answer, sent: Sent<'_>, now: Timestamp) -> Verdict {
    let text = error.text.to_ascii_lowercase();
    match error.code.as_str() {
        "TooManyRequestsException"
        | "ThrottlingException"
        | "Throttling"
        | "LimitExceededException" => {
            if text.contains("daily message quota exceeded") {
                // Any 24 hours: the service does not say when room comes back.
                return Verdict::QuotaSpent { until: None };
            }
            Verdict::Throttled {
                after: answer.retry_after(now),
            }
        }
        "AccountSuspendedException" | "AccountSendingPausedException" => Verdict::ProviderUnusable,
        "ConfigurationSetSendingPausedException" | "ConfigurationSetDoesNotExistException" => {
            Verdict::PoolUnusable
        }
        "SendingPausedException" => {
            if text.contains("configuration set") {
                Verdict::PoolUnusable
            } else {
                Verdict::ProviderUnusable
            }
        }
        "NotFoundException"
            if sent.names_configuration_set && text.contains("configuration set") =>
        {
            Verdict::PoolUnusable
        }
        "MailFromDomainNotVerifiedException" => Verdict::SenderUnusable,
        "MessageRejected" => message_rejected(&text, sent),
        "BadRequestException" | "ValidationException" => bad_request(&text, sent),
        "RequestTimeTooSkewed" | "RequestExpired" | "OptInRequired" => Verdict::ProviderUnusable,
        code if is_credential_fault(code) => Verdict::ProviderUnusable,
        code if code.starts_with("InternalServiceError") || code.starts_with("InternalFailure") => {
            Verdict::Transient
        }
        "ServiceUnavailable" | "ServiceUnavailableException" => Verdict::Transient,
        code => {
            let by_status =
                verdict_of_status(error.status, !code.is_empty(), answer.retry_after(now));
            // A code that is not in the model says nothing that would bind another provider.
            if by_status == Verdict::Rejected(Fault::Message) {
                Verdict::Rejected(Fault::MessageHere)
            } else {
                by_status
            }
        }
    }
}

fn is_credential_fault(code: &str) -> bool {
    const PREFIXES: [&str; 8] = [
        "AccessDenied",
        "SignatureDoesNotMatch",
        "InvalidSignature",
        "IncompleteSignature",
        "UnrecognizedClient",
        "InvalidClientTokenId",
        "ExpiredToken",
        "MissingAuthenticationToken",
    ];
    PREFIXES.iter().any(|prefix| code.starts_with(prefix))
}

/// "Email address is not verified. The following identities failed the check in region X: a, b".
/// In the sandbox the identities are recipients: that is no fault of the sender's domain. `text` is
/// in lower case.
pub(crate) fn message_rejected(text: &str, sent: Sent<'_>) -> Verdict {
    // The words of the emulator moto (5.2) for an unverified sender.
    if text.contains("authority to send from") {
        return Verdict::SenderUnusable;
    }
    if !text.contains("not verified") {
        return Verdict::Rejected(Fault::Message);
    }
    let identities = text.rsplit(':').next().unwrap_or_default();
    let mut identities = identities
        .split(',')
        .map(|identity| bare_address(identity.trim()));
    let is_recipient = |identity: &str| {
        let is_sender = sent
            .sender
            .is_some_and(|sender| is_identity_of(identity, sender));
        let is_named = |address: &&EmailAddress| is_identity_of(identity, address);
        !is_sender && sent.recipients.iter().any(is_named)
    };
    if !identities.all(is_recipient) {
        return Verdict::SenderUnusable;
    }
    match sent.recipients.len() {
        0 | 1 => Verdict::Rejected(Fault::NotPermitted),
        _ => Verdict::Ungroup,
    }
}

/// `Name <a@b>` and `a@b` are both written.
fn bare_address(identity: &str) -> &str {
    match (identity.rfind('<'), identity.strip_suffix('>')) {
        (Some(open), Some(inner)) => &inner[open + 1..],
        _ => identity.trim_end_matches('.'),
    }
}

fn is_identity_of(identity: &str, address: &EmailAddress) -> bool {
    identity == address.key() || identity == address.domain()
}

/// A recipient is to blame only if the text names it; sizes are this service's own rule. Most texts
/// about an address do not say which ("Missing final '@domain'"): of several recipients the others
/// must not pay for one, so each has a call of its own.
fn bad_request(text: &str, sent: Sent<'_>) -> Verdict {
    let names = |address: &EmailAddress| does_name(text, &address.key());
    let names_sender = sent.sender.is_some_and(names);
    if !names_sender && sent.recipients.iter().copied().any(names) {
        return match sent.recipients.len() {
            0 | 1 => Verdict::Rejected(Fault::Recipient),
            _ => Verdict::Ungroup,
        };
    }
    let is_size = ["too long", "too large", "length", "size"]
        .iter()
        .any(|word| text.contains(word));
    if is_size {
        return Verdict::Rejected(Fault::MessageHere);
    }
    let is_about_address = ["address", "domain", "local part", "local name"]
        .iter()
        .any(|word| text.contains(word));
    if is_about_address && !names_sender && sent.recipients.len() > 1 {
        return Verdict::Ungroup;
    }
    Verdict::Rejected(Fault::Message)
}

/// Whether the address stands in the text by itself, not as the end or beginning of another.
fn does_name(text: &str, address: &str) -> bool {
    let is_inside = |c: char| c.is_alphanumeric() || "+-_".contains(c);
    text.match_indices(address).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let mut after = text[start + address.len()..].chars();
        let ends_here = match after.next() {
            // A full stop ends the sentence, unless a label follows.
            Some('.') => !after.next().is_some_and(is_inside),
            Some(c) => !is_inside(c),
            None => true,
        };
        ends_here && !before.is_some_and(|c| is_inside(c) || c == '.')
    })
}

/// The recipients of a call, in the form that [`Sent`] wants.
pub(crate) fn addresses(outgoing: &Outgoing) -> Vec<&EmailAddress> {
    outgoing.recipients.iter().map(|r| &r.address).collect()
}
