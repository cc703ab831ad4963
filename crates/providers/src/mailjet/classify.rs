//! What Mailjet's answers mean: a status for each message with an id for each recipient, or errors
//! with a code.

use std::collections::BTreeMap;

use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_core::provider::{
    Fault, Outgoing, OutgoingRecipient, Receipt, Reply, SendError, SendReport, Verdict,
};
use serde::Deserialize;
use serde_json::Value;

use crate::http::{Answer, verdict_of_status};

/// The answer: messages, or one error for the call. The REST API's errors have no code.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Document {
    messages: Vec<Message>,
    #[serde(flatten)]
    error: ErrorRow,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Message {
    status: String,
    errors: Vec<ErrorRow>,
    to: Vec<MailboxCopy>,
    cc: Vec<MailboxCopy>,
    bcc: Vec<MailboxCopy>,
}

/// A recipient's copy of a message.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct MailboxCopy {
    email: String,
    /// A number over 2^53.
    #[serde(rename = "MessageID")]
    message_id: Value,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ErrorRow {
    error_identifier: Option<String>,
    error_code: Option<String>,
    error_message: Option<String>,
    status_code: Option<u16>,
    error_related_to: Vec<String>,
}

impl ErrorRow {
    /// Whether this is an error at all, and not a document of another shape.
    const fn is_given(&self) -> bool {
        self.error_identifier.is_some() || self.error_code.is_some() || self.error_message.is_some()
    }

    /// Whether it is about nothing but recipients' addresses: `To[0].Email`.
    fn is_about_recipients(&self) -> bool {
        let lists = ["to", "cc", "bcc"];
        let is_recipient = |field: &String| {
            let list = field.split(['[', '.']).next().unwrap_or_default();
            lists.contains(&list.to_ascii_lowercase().as_str())
        };
        !self.error_related_to.is_empty() && self.error_related_to.iter().all(is_recipient)
    }
}

/// Reads the answer to a send, for each recipient.
pub(crate) fn report(answer: &Answer, outgoing: &Outgoing, now: Timestamp) -> SendReport {
    let sent = Sent {
        answer,
        recipients: &outgoing.recipients,
        now,
    };
    let result = sent.read();
    let recipients = outgoing.recipients.iter();
    recipients
        .map(|recipient| {
            let ids = result.as_ref().map_err(Clone::clone)?;
            let id = ids.get(&recipient.address.key()).ok_or_else(|| {
                let text = format!("no id for a recipient: {}", answer.text());
                let reply = Reply::new(Some(answer.status), None, &text);
                SendError::new(Verdict::Unknown, reply)
            })?;
            Ok(Receipt {
                provider_message_id: id.clone(),
                reply: Reply::new(Some(answer.status), None, &format!("MessageID {id}")),
            })
        })
        .collect()
}

/// What an answer to a call that carries no mail means for the account.
pub(crate) fn unwell(answer: &Answer, now: Timestamp) -> SendError {
    let sent = Sent {
        answer,
        recipients: &[],
        now,
    };
    let document: Option<Document> = answer.json();
    let mut error = sent.refusal(&document.unwrap_or_default().error);
    // Nothing was sent: only what is about the account is more than a bad moment.
    let is_about_account = matches!(
        error.verdict,
        Verdict::ProviderUnusable | Verdict::Throttled { .. }
    );
    if !is_about_account {
        error.verdict = Verdict::Transient;
    }
    error
}

/// An answer and what it is about.
struct Sent<'a> {
    answer: &'a Answer,
    recipients: &'a [OutgoingRecipient],
    now: Timestamp,
}

impl Sent<'_> {
    /// The ids by recipient.
    fn read(&self) -> Result<BTreeMap<String, String>, SendError> {
        let document: Option<Document> = self.answer.json();
        let document = document.unwrap_or_default();
        let Some(message) = document.messages.first() else {
            return Err(self.refusal(&document.error));
        };
        let is_success = message.status == "success" && message.errors.is_empty();
        if is_success && self.answer.status == 200 && document.messages.len() == 1 {
            let copies = [&message.to, &message.cc, &message.bcc];
            return Ok(copies.into_iter().flatten().filter_map(id).collect());
        }
        // Said of a message that was taken, this would send it twice.
        if message.errors.is_empty() || message.status == "success" {
            return Err(self.unknown());
        }
        let errors = message.errors.iter().map(|error| self.refusal(error));
        let worst = errors.min_by_key(|error| rank(&error.verdict));
        Err(worst.unwrap_or_else(|| self.unknown()))
    }

    fn unknown(&self) -> SendError {
        let text = format!("neither success nor error: {}", self.answer.text());
        let reply = Reply::new(Some(self.answer.status), None, &text);
        SendError::new(Verdict::Unknown, reply)
    }

    fn refusal(&self, error: &ErrorRow) -> SendError {
        let message = error.error_message.clone();
        let text = message.unwrap_or_else(|| self.answer.text());
        let reply = Reply::new(Some(self.answer.status), error.error_code.clone(), &text);
        SendError::new(self.verdict(error), reply)
    }

    /// The table of error codes (Send API guide, "Send API errors").
    fn verdict(&self, error: &ErrorRow) -> Verdict {
        match error.error_code.as_deref().unwrap_or_default() {
            "mj-0001" | "mj-0015" => Verdict::ProviderUnusable,
            "send-0008" => Verdict::SenderUnusable,
            "mj-0013" if error.is_about_recipients() => self.only_recipient(),
            "send-0015" if self.recipients.len() > 1 => Verdict::Ungroup,
            // Status 403 all the same, of a field that we never send.
            "send-0006" | "send-0007" => Verdict::Rejected(Fault::MessageHere),
            _ => self.by_status(error),
        }
    }

    /// An error's own status, where it has one, tells more than the call's.
    fn by_status(&self, error: &ErrorRow) -> Verdict {
        let status = error.status_code.unwrap_or(self.answer.status);
        let retry_after = self.answer.retry_after(self.now);
        let verdict = verdict_of_status(status, error.is_given(), retry_after);
        if verdict == Verdict::Rejected(Fault::Message) {
            // By a rule of this service, or of the fields that we make of the message.
            return Verdict::Rejected(Fault::MessageHere);
        }
        verdict
    }

    /// One malformed address refuses the whole message. A quoted local part is well formed all the
    /// same, and no fault of the recipient's.
    fn only_recipient(&self) -> Verdict {
        match self.recipients {
            [] => Verdict::Rejected(Fault::MessageHere),
            [one] if one.address.local_part().starts_with('"') => {
                Verdict::Rejected(Fault::MessageHere)
            }
            [_] => Verdict::Rejected(Fault::Recipient),
            _ => Verdict::Ungroup,
        }
    }
}

/// Of several errors the one that matters first: the account's, the sender's, the message's, and
/// a recipient's only if there is no other.
const fn rank(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::ProviderUnusable => 0,
        Verdict::SenderUnusable => 1,
        Verdict::Unknown => 2,
        Verdict::Throttled { .. } | Verdict::Transient => 3,
        Verdict::Deferred
        | Verdict::QuotaSpent { .. }
        | Verdict::PoolUnusable
        | Verdict::Suppressed => 4,
        Verdict::Rejected(Fault::Recipient) => 7,
        Verdict::Rejected(_) => 5,
        Verdict::Ungroup => 6,
    }
}

/// A copy's address as a key, and its id in digits; none while the service only validates
/// (`SandboxMode`), which says 0.
fn id(copy: &MailboxCopy) -> Option<(String, String)> {
    let address: EmailAddress = copy.email.parse().ok()?;
    let id = match &copy.message_id {
        Value::Number(number) => number.as_u64()?,
        Value::String(text) => text.parse().ok()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    (id != 0).then(|| (address.key(), id.to_string()))
}
