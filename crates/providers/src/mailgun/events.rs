//! Mailgun's `event-data` as events of ours.

use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_core::event::{Blame, EventKind, ProviderEvent, raw_event};
use malote_core::provider::{REPLY_TEXT_BYTES_MAX, bounded};
use malote_core::webhook::{Webhook, WebhookRefusal};
use serde::Deserialize;
use serde_json::Value;

use super::classify::message_id;
use crate::bounce::{Refusal, blame};
use crate::correlation;
use crate::webhook::reading::unread;

/// Longest word of an unknown kind of event.
const WORD_BYTES_MAX: usize = 64;

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "event-data")]
    event_data: Value,
}

/// What is read of an event. The fields that are not needed to know what happened are lenient: a
/// number where a text was expected must not cost the event.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct EventData {
    event: String,
    timestamp: f64,
    #[serde(default)]
    recipient: Value,
    #[serde(default)]
    severity: Value,
    #[serde(default)]
    reason: Value,
    #[serde(default)]
    delivery_status: Value,
    #[serde(default)]
    message: Value,
    #[serde(default)]
    reject: Value,
    #[serde(default)]
    user_variables: Value,
    #[serde(default)]
    url: Value,
}

/// Reads the event of a verified body.
///
/// # Errors
/// [`WebhookRefusal::Malformed`] if there is no `event-data` at all. An event that is there and
/// cannot be read goes to [`Webhook::unreadable`]: asking for it again would not help.
pub(crate) fn read(body: &[u8], token: &str) -> Result<Webhook, WebhookRefusal> {
    let envelope: Envelope =
        serde_json::from_slice(body).map_err(|_| WebhookRefusal::Malformed("no event-data"))?;
    let unreadable = |why: &str| Webhook {
        events: Vec::new(),
        unreadable: vec![unread("mailgun", why, &envelope.event_data)],
    };
    let Ok(data) = EventData::deserialize(&envelope.event_data) else {
        return Ok(unreadable("event-data without event or timestamp"));
    };
    let Some(at) = time(data.timestamp) else {
        return Ok(unreadable("event-data with an impossible timestamp"));
    };
    let Ok(recipient) = recipient(&data) else {
        return Ok(unreadable("a recipient that is no address"));
    };
    let (kind, blame) = kind(&data);
    let event = ProviderEvent {
        dedup_key: token.to_owned(),
        at,
        kind,
        blame,
        delivery: correlation::of_members(&data.user_variables, recipient.as_ref()),
        provider_message_id: data.message["headers"]["message-id"]
            .as_str()
            .and_then(message_id)
            .map(str::to_owned),
        recipient,
        detail: bounded(&detail(&data), REPLY_TEXT_BYTES_MAX),
        raw: raw_event(body),
    };
    Ok(Webhook {
        events: vec![event],
        unreadable: Vec::new(),
    })
}

/// Seconds with a fraction.
fn time(seconds: f64) -> Option<Timestamp> {
    // Beyond that a double has no microseconds, and no event is from before 2010.
    if !(1.2e9..1e11).contains(&seconds) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    Timestamp::from_microsecond((seconds * 1e6) as i64).ok()
}

/// `Err` for a text that is no address. A rejected message names its recipient in its header only.
fn recipient(data: &EventData) -> Result<Option<EmailAddress>, ()> {
    let text = match &data.recipient {
        Value::Null => data.message["headers"]["to"].as_str().unwrap_or_default(),
        Value::String(text) => text,
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => return Err(()),
    };
    let is_from_header = data.recipient.is_null();
    match text.parse() {
        Ok(address) => Ok(Some(address)),
        // A display name or a list: the ids must do.
        Err(_) if is_from_header => Ok(None),
        Err(_) => Err(()),
    }
}

fn kind(data: &EventData) -> (EventKind, Option<Blame>) {
    match data.event.as_str() {
        "accepted" => (EventKind::Sent, None),
        "delivered" => (EventKind::Delivered, None),
        "failed" => failed(data),
        "rejected" => (EventKind::Rejected, Some(Blame::Content)),
        "opened" => (EventKind::Opened, None),
        "clicked" => (EventKind::Clicked, None),
        "unsubscribed" => (EventKind::Unsubscribed, None),
        "complained" => (EventKind::Complained, None),
        other => (EventKind::Other(bounded(other, WORD_BYTES_MAX)), None),
    }
}

fn failed(data: &EventData) -> (EventKind, Option<Blame>) {
    if data.severity.as_str() == Some("temporary") {
        return (EventKind::Deferred, None);
    }
    let reason = data.reason.as_str().unwrap_or_default();
    if reason.starts_with("suppress-") {
        return (EventKind::Suppressed, None);
    }
    let status = &data.delivery_status;
    let code = status["code"]
        .as_u64()
        .and_then(|code| u16::try_from(code).ok());
    let text = remote_words(status);
    let refusal = Refusal {
        code,
        enhanced: status["enhanced-code"].as_str(),
        text: &text,
    };
    let blame = match blame(refusal) {
        Some(blame) => blame,
        // The service's own finding that the receiver blocks the sender.
        None if reason == "espblock" => Blame::Reputation,
        None => Blame::Unknown,
    };
    (EventKind::Bounced, Some(blame))
}

fn remote_words(status: &Value) -> String {
    let part = |name: &str| status[name].as_str().unwrap_or_default().trim().to_owned();
    format!("{} {}", part("message"), part("description"))
        .trim()
        .to_owned()
}

fn detail(data: &EventData) -> String {
    match data.event.as_str() {
        "failed" | "delivered" => status_words(data),
        "rejected" => data.reject["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        "clicked" => data.url.as_str().unwrap_or_default().to_owned(),
        _ => String::new(),
    }
}

/// Code, enhanced code, words and the service's reason; codes that the words repeat stand once.
fn status_words(data: &EventData) -> String {
    let status = &data.delivery_status;
    let words = remote_words(status);
    let code = status["code"].as_u64().filter(|code| *code > 0);
    let code = code.map(|code| code.to_string()).unwrap_or_default();
    let enhanced = status["enhanced-code"].as_str().unwrap_or_default();
    let parts = [
        if words.starts_with(&code) { "" } else { &code },
        if words.contains(enhanced) {
            ""
        } else {
            enhanced
        },
        &words,
        data.reason.as_str().unwrap_or_default(),
    ];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(" ")
}
