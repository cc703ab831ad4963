//! What SparkPost's answers mean: the code of its own before the status.

use std::time::Duration;

use jiff::Timestamp;
use malote_core::provider::{
    Fault, Outgoing, OutgoingRecipient, Receipt, Reply, SendError, SendReport, Verdict,
    report_for_all,
};
use serde::Deserialize;

use crate::http::{Answer, verdict_of_status};

/// "Wait 1 to 5 seconds" (API overview, "Rate Limiting").
const THROTTLED_WAIT: Duration = Duration::from_secs(5);

/// What a call carried, as far as answers are about it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// How many recipients.
    pub recipients: usize,
    /// Whether an IP pool was named.
    pub names_pool: bool,
}

#[derive(Debug, Default, Deserialize)]
struct Document {
    results: Option<Results>,
    #[serde(default)]
    errors: Vec<ApiError>,
}

#[derive(Debug, Deserialize)]
struct Results {
    id: Option<String>,
    total_accepted_recipients: Option<u64>,
    total_rejected_recipients: Option<u64>,
    #[serde(default)]
    rcpt_to_errors: Vec<ApiError>,
}

#[derive(Debug, Deserialize)]
struct ApiError {
    #[serde(default)]
    message: String,
    #[serde(default)]
    description: String,
    /// A number in quotation marks.
    code: Option<String>,
}

impl ApiError {
    fn text(&self) -> String {
        match (self.message.as_str(), self.description.as_str()) {
            (message, "") => message.to_owned(),
            (message, description) => format!("{message}: {description}"),
        }
    }
}

/// Reads the answer to a send: a result for each recipient, in their order.
pub(super) fn report(
    outgoing: &Outgoing,
    answer: &Answer,
    names_pool: bool,
    now: Timestamp,
) -> SendReport {
    let sent = Sent {
        recipients: outgoing.recipients.len(),
        names_pool,
    };
    let results = answer.json::<Document>().and_then(|read| read.results);
    match results.filter(|results| answer.status == 200 && !results.is_without_rejects()) {
        Some(results) if results.total_accepted_recipients.is_some_and(|n| n > 0) => {
            partial(outgoing, &results)
        }
        _ => report_for_all(outgoing, &classify(answer, sent, now)),
    }
}

/// Reads an answer that means the same for all recipients.
///
/// # Errors
/// Everything but 200 with an id and nobody rejected.
pub(super) fn classify(answer: &Answer, sent: Sent, now: Timestamp) -> Result<Receipt, SendError> {
    let document = answer.json::<Document>();
    if (200..300).contains(&answer.status) {
        return receipt(answer, document.unwrap_or_default(), sent);
    }
    let errors = document.map(|document| document.errors).unwrap_or_default();
    let verdict = verdict(answer, &errors, sent, now);
    let code = errors.first().and_then(|error| error.code.clone());
    let text = match errors.as_slice() {
        [] => answer.text(),
        errors => texts(errors),
    };
    let reply = Reply::new(Some(answer.status), code, &text);
    Err(SendError::new(verdict, reply))
}

impl Results {
    fn is_without_rejects(&self) -> bool {
        self.total_rejected_recipients.unwrap_or(0) == 0 && self.rcpt_to_errors.is_empty()
    }

    fn receipt(&self) -> Option<Receipt> {
        let id = self.id.as_deref()?;
        let is_id = (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
        is_id.then(|| Receipt {
            provider_message_id: id.to_owned(),
            reply: Reply::new(Some(200), None, &format!("transmission {id}")),
        })
    }
}

fn receipt(answer: &Answer, document: Document, sent: Sent) -> Result<Receipt, SendError> {
    let unknown = |what: &str| {
        let text = format!("{what}: {}", answer.text());
        let reply = Reply::new(Some(answer.status), None, &text);
        SendError::new(Verdict::Unknown, reply)
    };
    let Some(results) = document.results else {
        return Err(unknown("success without results"));
    };
    if results.total_accepted_recipients == Some(0) {
        let errors: Vec<ApiError> = [results.rcpt_to_errors, document.errors]
            .into_iter()
            .flatten()
            .collect();
        let reply = Reply::new(Some(answer.status), None, &texts(&errors));
        return Err(SendError::new(of_recipient(sent), reply));
    }
    if !results.is_without_rejects() {
        return Err(unknown("some recipients are rejected"));
    }
    match results.receipt() {
        Some(receipt) if answer.status == 200 => Ok(receipt),
        Some(_) | None => Err(unknown("success without an id")),
    }
}

/// Some recipients are in and some are not. The service tells who only in the words of its errors;
/// if these do not name all of them, nobody knows about those whom they do not name.
fn partial(outgoing: &Outgoing, results: &Results) -> SendReport {
    let error_about = |recipient: &OutgoingRecipient| {
        let wanted = recipient.address.as_str().to_lowercase();
        let names = |error: &&ApiError| names_address(&error.text().to_lowercase(), &wanted);
        results.rcpt_to_errors.iter().find(names)
    };
    let about: Vec<_> = outgoing.recipients.iter().map(error_about).collect();
    let named = about.iter().flatten().count() as u64;
    let is_complete = results.total_rejected_recipients == Some(named);
    let report = about.into_iter().map(|error| match error {
        Some(error) => Err(SendError::new(
            Verdict::Rejected(Fault::Recipient),
            Reply::new(Some(200), error.code.clone(), &error.text()),
        )),
        None => results.receipt().filter(|_| is_complete).ok_or_else(|| {
            let what = "the service took a part of the recipients and does not say which";
            SendError::new(Verdict::Unknown, Reply::new(Some(200), None, what))
        }),
    });
    report.collect()
}

/// Whether a text holds this address, not only a longer one that ends or begins like it.
fn names_address(text: &str, address: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || ".-_+@".contains(c);
    text.match_indices(address).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let mut after = text[at + address.len()..].chars();
        // A full stop behind an address ends the sentence.
        let ends = match after.next() {
            Some('.') => !after.next().is_some_and(is_part),
            next => !next.is_some_and(is_part),
        };
        !before.is_some_and(is_part) && ends
    })
}

fn texts(errors: &[ApiError]) -> String {
    let texts: Vec<String> = errors.iter().take(5).map(ApiError::text).collect();
    texts.join("; ")
}

/// The recipient is no good; in a group nobody knows which one.
fn of_recipient(sent: Sent) -> Verdict {
    match sent.recipients {
        0 | 1 => Verdict::Rejected(Fault::Recipient),
        _ => Verdict::Ungroup,
    }
}

fn verdict(answer: &Answer, errors: &[ApiError], sent: Sent, now: Timestamp) -> Verdict {
    let retry_after = answer.retry_after(now);
    match answer.status {
        // Nothing of the call is sent. The day is any 24 hours, so an hour makes a difference.
        420 => Verdict::QuotaSpent { until: None },
        429 => Verdict::Throttled {
            after: Some(retry_after.unwrap_or(THROTTLED_WAIT)),
        },
        401 | 403 | 404 | 405 | 406 | 413 | 415 => {
            let status = match answer.status {
                406 | 415 => 405,
                status => status,
            };
            verdict_of_status(status, !errors.is_empty(), retry_after)
        }
        400 | 422 => errors
            .iter()
            .find_map(|error| of_error(error, sent))
            .unwrap_or_else(|| verdict_of_status(400, !errors.is_empty(), retry_after)),
        status => verdict_of_status(status, !errors.is_empty(), retry_after),
    }
}

/// The table of codes ("Extended Error Codes").
fn of_error(error: &ApiError, sent: Sent) -> Option<Verdict> {
    let text = error.text().to_ascii_lowercase();
    if sent.names_pool && (text.contains("ip pool") || text.contains("ip_pool")) {
        return Some(Verdict::PoolUnusable);
    }
    let verdict = match error.code.as_deref()?.parse::<u32>().ok()? {
        1502 => Verdict::Transient,
        1910 => Verdict::ProviderUnusable,
        // 400 with 1100 is about the DKIM key of the sender domain.
        1100 | 7000..=7999 => Verdict::SenderUnusable,
        5002 => of_recipient(sent),
        1901 | 1902 if text.contains("suppress") => match sent.recipients {
            0 | 1 => Verdict::Suppressed,
            _ => Verdict::Ungroup,
        },
        1901 | 1902 if text.contains("sending domain") => Verdict::SenderUnusable,
        // What is wrong with the JSON around the message, or with what the service takes for a
        // template, is no fault of the message.
        1200 | 1300..=1499 | 1603 | 1901 | 1902 | 2002 | 2007 | 3000 | 3001 => {
            Verdict::Rejected(Fault::MessageHere)
        }
        2008 | 3002..=3999 => Verdict::Rejected(Fault::Message),
        _ => return None,
    };
    Some(verdict)
}
