//! What Postal's answers mean. Its own are always 200, and `status` says what they are; any other
//! status is of the proxy in front of it or of a crash.

use std::collections::BTreeMap;

use jiff::Timestamp;
use malote_core::provider::{
    Fault, Outgoing, OutgoingRecipient, Receipt, Reply, SendError, SendReport, Verdict,
    report_for_all,
};
use serde::{Deserialize, Deserializer};

use crate::http::{Answer, verdict_of_status};

/// An answer of Postal's own.
#[derive(Debug, Deserialize)]
pub(super) struct Document {
    status: Status,
    #[serde(default, deserialize_with = "data_or_nothing")]
    data: Data,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Status {
    Success,
    Error,
    ParameterError,
}

/// Of a success the messages, of an error code and message. What else stands there is not read:
/// an answer to a wrong key repeats the key.
#[derive(Debug, Default, Deserialize)]
struct Data {
    messages: Option<BTreeMap<String, Created>>,
    code: Option<String>,
    message: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Created {
    id: u64,
}

fn data_or_nothing<'de, D: Deserializer<'de>>(data: D) -> Result<Data, D::Error> {
    let data = serde_json::Value::deserialize(data)?;
    Ok(Data::deserialize(data).unwrap_or_default())
}

/// What Postal made of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Success,
    /// The request lacks something; the key was good.
    ParameterError,
}

/// Reads an answer that carries no mail.
///
/// # Errors
/// Everything but an answer of Postal's to a good key.
pub(super) fn outcome(answer: &Answer, now: Timestamp) -> Result<Outcome, SendError> {
    let document = own(answer);
    match document.as_ref().map(|document| document.status) {
        Some(Status::Success) => Ok(Outcome::Success),
        Some(Status::ParameterError) => Ok(Outcome::ParameterError),
        Some(Status::Error) | None => {
            let mut error = refusal(answer, document.as_ref(), now);
            // Nothing was sent that could be in doubt.
            if matches!(error.verdict, Verdict::Unknown | Verdict::Rejected(_)) {
                error.verdict = Verdict::Transient;
            }
            Err(error)
        }
    }
}

/// Reads the answer to a send: a result for each recipient, in their order.
pub(super) fn report(outgoing: &Outgoing, answer: &Answer, now: Timestamp) -> SendReport {
    let document = own(answer);
    match &document {
        Some(Document {
            status: Status::Success,
            data,
        }) => {
            let created = data.messages.as_ref();
            let recipients = outgoing.recipients.iter();
            recipients
                .map(|recipient| {
                    created
                        .and_then(|all| receipt(all, recipient))
                        .ok_or_else(unsaid)
                })
                .collect()
        }
        _ => report_for_all(outgoing, &Err(refusal(answer, document.as_ref(), now))),
    }
}

fn own(answer: &Answer) -> Option<Document> {
    answer.json().filter(|_| answer.status == 200)
}

/// Postal makes one message for each address, under the address as it was given.
fn receipt(created: &BTreeMap<String, Created>, recipient: &OutgoingRecipient) -> Option<Receipt> {
    let id = created.get(recipient.address.as_str())?.id;
    Some(Receipt {
        provider_message_id: id.to_string(),
        reply: Reply::new(Some(200), None, &format!("message {id}")),
    })
}

fn unsaid() -> SendError {
    let what = "success without a message for this recipient";
    SendError::new(Verdict::Unknown, Reply::new(Some(200), None, what))
}

fn refusal(answer: &Answer, document: Option<&Document>, now: Timestamp) -> SendError {
    let Some(document) = document else {
        let verdict = verdict_of_status(answer.status, false, answer.retry_after(now));
        let reply = Reply::new(Some(answer.status), None, &answer.text());
        return SendError::new(verdict, reply);
    };
    let code = document.data.code.as_deref().unwrap_or_default();
    let verdict = match document.status {
        Status::Success => Verdict::Unknown,
        Status::ParameterError => Verdict::Rejected(Fault::MessageHere),
        Status::Error => of_code(code),
    };
    let text = document.data.message.as_deref().unwrap_or(code);
    let code = Some(code).filter(|code| !code.is_empty());
    let reply = Reply::new(Some(200), code.map(str::to_owned), text);
    SendError::new(verdict, reply)
}

/// The codes of `base_controller.rb` and `send_controller.rb`. None is about a recipient: what
/// Postal knows of those it says in events only.
fn of_code(code: &str) -> Verdict {
    match code {
        "AccessDenied" | "InvalidServerAPIKey" | "ServerSuspended" => Verdict::ProviderUnusable,
        "UnauthenticatedFromAddress" => Verdict::SenderUnusable,
        "NoContent" | "FromAddressMissing" => Verdict::Rejected(Fault::Message),
        _ => Verdict::Rejected(Fault::MessageHere),
    }
}
