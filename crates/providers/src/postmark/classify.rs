//! What Postmark's answers mean. The error code in the body decides; several of them look like an
//! HTTP status and mean something else.

use std::collections::BTreeSet;

use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_core::provider::{Fault, Outgoing, Receipt, Reply, SendError, SendReport, Verdict};
use serde::Deserialize;

use crate::http::{Answer, verdict_of_status};

/// What stands in every answer that names addresses which the service has suppressed.
const INACTIVE: &str = "inactive addresses:";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Document {
    error_code: Option<i64>,
    message: Option<String>,
    #[serde(rename = "MessageID")]
    message_id: Option<String>,
}

impl Document {
    /// The error code, unless all is well.
    pub(crate) fn error(&self) -> Option<i64> {
        self.error_code.filter(|code| *code != 0)
    }
}

/// Reads the answer to a send, for each recipient.
pub(crate) fn report(
    answer: &Answer,
    outgoing: &Outgoing,
    names_stream: bool,
    now: Timestamp,
) -> SendReport {
    let document: Option<Document> = answer.json();
    let sent = Sent {
        answer,
        text: text(answer, document.as_ref()),
        recipients: outgoing.recipients.len(),
        names_stream,
        now,
    };
    let recipients = outgoing.recipients.iter();
    let code = document.as_ref().and_then(Document::error);
    let refused = match code {
        Some(code) => Some((sent.by_code(code), Some(code.to_string()))),
        None if (200..300).contains(&answer.status) => None,
        None => Some((sent.by_status(document.is_some()), None)),
    };
    let Some((verdict, enhanced)) = refused else {
        let id = document.and_then(|document| document.message_id);
        let inactive = sent.inactive();
        let accepted = sent.accepted(id.as_deref(), &inactive, outgoing);
        return recipients
            .map(|recipient| match &accepted {
                Ok(_) if inactive.contains(&recipient.address.key()) => {
                    Err(sent.error(Verdict::Suppressed, Some("406".to_owned())))
                }
                accepted => accepted.clone(),
            })
            .collect();
    };
    let inactive = sent.inactive();
    recipients
        .map(|recipient| {
            let is_named = inactive.contains(&recipient.address.key());
            // Some of a group are suppressed: the others go one by one.
            let is_other = verdict == Verdict::Suppressed && sent.recipients > 1 && !is_named;
            let verdict = match is_other {
                true => Verdict::Ungroup,
                false => verdict.clone(),
            };
            Err(sent.error(verdict, enhanced.clone()))
        })
        .collect()
}

fn text(answer: &Answer, document: Option<&Document>) -> String {
    let message = document.and_then(|document| document.message.clone());
    message.unwrap_or_else(|| answer.text())
}

/// What an answer to a call that carries no mail means for the account.
pub(crate) fn unwell(answer: &Answer, now: Timestamp) -> SendError {
    let document: Option<Document> = answer.json();
    let sent = Sent {
        answer,
        text: text(answer, document.as_ref()),
        recipients: 1,
        names_stream: false,
        now,
    };
    let code = document.as_ref().and_then(Document::error);
    let verdict = match code {
        Some(code) => sent.by_code(code),
        None => sent.by_status(document.is_some()),
    };
    // Nothing was sent: only what is about the account is more than a bad moment.
    let is_about_account = matches!(
        verdict,
        Verdict::ProviderUnusable | Verdict::QuotaSpent { .. } | Verdict::Throttled { .. }
    );
    let verdict = if is_about_account {
        verdict
    } else {
        Verdict::Transient
    };
    sent.error(verdict, code.map(|code| code.to_string()))
}

/// An answer and what it is about.
struct Sent<'a> {
    answer: &'a Answer,
    text: String,
    recipients: usize,
    names_stream: bool,
    now: Timestamp,
}

impl Sent<'_> {
    fn error(&self, verdict: Verdict, enhanced: Option<String>) -> SendError {
        let reply = Reply::new(Some(self.answer.status), enhanced, &self.text);
        SendError::new(verdict, reply)
    }

    /// The table of error codes (developer documentation, "API error codes").
    fn by_code(&self, code: i64) -> Verdict {
        if matches!(self.answer.status, 413 | 429 | 500..) {
            return self.by_status(true);
        }
        match code {
            10 | 413 => Verdict::ProviderUnusable,
            100 => Verdict::Transient,
            300 if is_about_recipient(&self.text) => self.only_recipient(Fault::Recipient),
            400 | 401 => Verdict::SenderUnusable,
            405 => Verdict::QuotaSpent { until: None },
            406 => Verdict::Suppressed,
            412 => self.only_recipient(Fault::NotPermitted),
            429 => self.by_status_of(429, true),
            1221..=1236 if self.names_stream => Verdict::PoolUnusable,
            1221..=1236 => Verdict::ProviderUnusable,
            // By a rule of this service, or of the fields that we make of the message.
            _ => Verdict::Rejected(Fault::MessageHere),
        }
    }

    fn by_status(&self, is_own_shape: bool) -> Verdict {
        match self.answer.status {
            // A filter in front of the service; the service itself says 401.
            403 if !is_own_shape => Verdict::Transient,
            status => self.by_status_of(status, is_own_shape),
        }
    }

    fn by_status_of(&self, status: u16, is_own_shape: bool) -> Verdict {
        let retry_after = self.answer.retry_after(self.now);
        let verdict = verdict_of_status(status, is_own_shape, retry_after);
        if verdict == Verdict::Rejected(Fault::Message) {
            // By a rule of this service, or of the fields that we make of the message.
            return Verdict::Rejected(Fault::MessageHere);
        }
        verdict
    }

    /// One recipient refuses the whole call.
    const fn only_recipient(&self, fault: Fault) -> Verdict {
        match self.recipients {
            0 | 1 => Verdict::Rejected(fault),
            _ => Verdict::Ungroup,
        }
    }

    /// A success, which must have an id, and whose exceptions must be among our recipients.
    fn accepted(
        &self,
        id: Option<&str>,
        inactive: &BTreeSet<String>,
        outgoing: &Outgoing,
    ) -> Result<Receipt, SendError> {
        let mut recipients = outgoing.recipients.iter();
        let excepts_somebody = self.text.contains(INACTIVE);
        let excepts_known = recipients.any(|r| inactive.contains(&r.address.key()));
        let is_id =
            |id: &&str| (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
        match id.filter(is_id) {
            Some(id) if self.answer.status == 200 && (excepts_known || !excepts_somebody) => {
                Ok(Receipt {
                    provider_message_id: id.to_owned(),
                    reply: Reply::new(Some(200), None, &format!("id {id}")),
                })
            }
            Some(_) | None => {
                let text = format!("success without an id or for whom: {}", self.answer.text());
                let reply = Reply::new(Some(self.answer.status), None, &text);
                Err(SendError::new(Verdict::Unknown, reply))
            }
        }
    }

    /// The addresses that the text says are suppressed, as keys: "inactive addresses: a, b.
    /// Inactive recipients are ...".
    fn inactive(&self) -> BTreeSet<String> {
        let Some((_, rest)) = self.text.split_once(INACTIVE) else {
            return BTreeSet::new();
        };
        let list = rest.split("Inactive recipients").next().unwrap_or_default();
        let list = list.trim().trim_end_matches('.');
        let addresses = list.split(',').filter_map(|address| {
            let address: EmailAddress = address.trim().parse().ok()?;
            Some(address.key())
        });
        addresses.collect()
    }
}

/// "Invalid 'To' address: ...", "Error parsing 'Cc': ...".
fn is_about_recipient(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["invalid", "error parsing"].iter().any(|start| {
        ["'to'", "'cc'", "'bcc'"]
            .iter()
            .any(|field| text.starts_with(&format!("{start} {field}")))
    })
}
