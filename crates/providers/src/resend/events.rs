//! Resend's events as events of ours ("Webhooks", "Event types").

use bytes::Bytes;
use malote_core::address::EmailAddress;
use malote_core::event::{Blame, EventKind, ProviderEvent};
use malote_core::webhook::{Webhook, WebhookRefusal};
use serde_json::Value;

use crate::correlation;
use crate::webhook::reading::{
    detail, each, gone, iso, not_gone, other, plain_id, said, shown, text,
};

/// Reads a verified body; `id` is the one under which the service repeats it.
///
/// # Errors
/// [`WebhookRefusal::Malformed`] for what is no event at all.
pub(super) fn read(body: &[u8], id: &str) -> Result<Webhook, WebhookRefusal> {
    let malformed = WebhookRefusal::Malformed("no event of Resend");
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return Err(malformed);
    };
    if text(&value["type"]).is_empty() {
        return Err(malformed);
    }
    Ok(each("resend", &[value], |outer| event(outer, id)))
}

fn event(outer: &Value, id: &str) -> Result<ProviderEvent, &'static str> {
    let data = &outer["data"];
    let recipient = recipient(data)?;
    let (kind, blame) = kind(text(&outer["type"]), data);
    Ok(ProviderEvent {
        dedup_key: id.to_owned(),
        at: iso(&outer["created_at"])
            .or(iso(&data["created_at"]))
            .ok_or("an event without its time")?,
        kind,
        blame,
        delivery: correlation::of_members(&data["tags"], recipient.as_ref()),
        provider_message_id: plain_id(&shown(&data["email_id"])),
        recipient,
        detail: words(data),
        raw: Bytes::new(),
    })
}

/// An event is about one recipient, in a list of one. Older ones of a message for several listed
/// them all: then nobody knows whose it is.
fn recipient(data: &Value) -> Result<Option<EmailAddress>, &'static str> {
    let [only] = data["to"].as_array().map_or(&[][..], Vec::as_slice) else {
        return Ok(None);
    };
    let shown = only.as_str().ok_or("a recipient that is no address")?;
    // `Name <a@b>`: it repeats what the message says.
    let address = match (shown.rfind('<'), shown.strip_suffix('>')) {
        (Some(open), Some(inner)) => &inner[open + 1..],
        _ => shown,
    };
    let address = address
        .parse()
        .map_err(|_| "a recipient that is no address");
    address.map(Some)
}

fn kind(word: &str, data: &Value) -> (EventKind, Option<Blame>) {
    match word {
        "email.sent" => (EventKind::Sent, None),
        "email.delivered" => (EventKind::Delivered, None),
        "email.delivery_delayed" => (EventKind::Deferred, None),
        "email.bounced" => bounced(&data["bounce"]),
        "email.complained" => (EventKind::Complained, None),
        "email.opened" => (EventKind::Opened, None),
        "email.clicked" => (EventKind::Clicked, None),
        "email.suppressed" => (EventKind::Suppressed, None),
        // A quota, a key, a domain of the account: nothing that the recipient did.
        "email.failed" => (EventKind::Rejected, Some(Blame::Infrastructure)),
        word => (other(word), None),
    }
}

/// "Email bounces": types and subtypes are those of Amazon SES, by which it sends.
fn bounced(bounce: &Value) -> (EventKind, Option<Blame>) {
    let said = said(&diagnosis(bounce));
    let blame = match (text(&bounce["type"]), text(&bounce["subType"])) {
        (_, "Suppressed" | "OnAccountSuppressionList") => return (EventKind::Suppressed, None),
        ("Permanent", _) => gone(said),
        (_, "MailboxFull") => Blame::MailboxFull,
        (_, "MessageTooLarge" | "ContentRejected" | "AttachmentRejected") => Blame::Content,
        _ => not_gone(said, Blame::Unknown),
    };
    (EventKind::Bounced, Some(blame))
}

/// The remote server's words; the service's own `message` is the same for every bounce of a type.
fn diagnosis(bounce: &Value) -> String {
    let texts = match &bounce["diagnosticCode"] {
        Value::Array(list) => list.iter().filter_map(Value::as_str).take(4).collect(),
        Value::String(text) => vec![text.as_str()],
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    };
    detail(&texts)
}

fn words(data: &Value) -> String {
    let bounce = &data["bounce"];
    let diagnosis = diagnosis(bounce);
    detail(&[
        text(&bounce["type"]),
        text(&bounce["subType"]),
        match diagnosis.is_empty() {
            true => text(&bounce["message"]),
            false => &diagnosis,
        },
        text(&data["failed"]["reason"]),
        text(&data["suppressed"]["message"]),
        text(&data["click"]["link"]),
    ])
}
