//! SendGrid's events ("Event Webhook Reference") as events of ours.

use bytes::Bytes;
use malote_core::event::{Blame, EventKind, ProviderEvent};
use malote_core::provider::{REPLY_TEXT_BYTES_MAX, bounded};
use malote_core::webhook::{Webhook, WebhookRefusal};
use serde_json::Value;

use crate::correlation;
use crate::webhook::reading::{
    address, dedup_key, each, gone, json, not_gone, other, plain_id, said, seconds, shown, text,
};

/// Reads the events of a verified body.
///
/// # Errors
/// [`WebhookRefusal::Malformed`] for a body that is no list of events.
pub(super) fn read(body: &[u8]) -> Result<Webhook, WebhookRefusal> {
    Ok(each("sendgrid", &json(body)?, event))
}

fn event(entry: &Value) -> Result<ProviderEvent, &'static str> {
    let word = text(&entry["event"]);
    if word.is_empty() {
        return Err("an event without its type");
    }
    let at = seconds(&entry["timestamp"]).ok_or("an event without its time")?;
    let recipient = address(&entry["email"])?;
    let (kind, blame, detail) = facts(word, entry);
    let own_id = text(&entry["sg_event_id"]);
    let key = match plain_id(own_id) {
        Some(id) => id,
        None => dedup_key(&[
            word,
            text(&entry["sg_message_id"]),
            text(&entry["email"]),
            &shown(&entry["timestamp"]),
            text(&entry["url"]),
        ]),
    };
    Ok(ProviderEvent {
        dedup_key: key,
        at,
        kind,
        blame,
        // Custom and unique arguments stand beside the event's own members.
        delivery: correlation::of_members(entry, recipient.as_ref()),
        provider_message_id: message_id(text(&entry["sg_message_id"])),
        recipient,
        detail: bounded(&detail, REPLY_TEXT_BYTES_MAX),
        raw: Bytes::new(),
    })
}

/// What the API and the SMTP reply call the id, and events carry with the name of a machine behind
/// a dot.
fn message_id(text: &str) -> Option<String> {
    plain_id(text.split('.').next().unwrap_or_default())
}

fn facts(word: &str, entry: &Value) -> (EventKind, Option<Blame>, String) {
    let words = |name: &str| text(&entry[name]).to_owned();
    match word {
        "processed" => (EventKind::Sent, None, String::new()),
        "delivered" => (EventKind::Delivered, None, words("response")),
        "deferred" => (EventKind::Deferred, None, words("response")),
        "bounce" => {
            let (blame, detail) = bounced(entry);
            (EventKind::Bounced, Some(blame), detail)
        }
        "blocked" => {
            let (blame, detail) = bounced(entry);
            (EventKind::Bounced, Some(never_the_recipient(blame)), detail)
        }
        "dropped" => dropped(text(&entry["reason"])),
        "spamreport" => (EventKind::Complained, None, String::new()),
        "unsubscribe" => (EventKind::Unsubscribed, None, String::new()),
        "group_unsubscribe" => (EventKind::Unsubscribed, None, group(entry)),
        "group_resubscribe" => (EventKind::Resubscribed, None, group(entry)),
        "open" => (EventKind::Opened, None, opened_by(entry)),
        "click" => (EventKind::Clicked, None, words("url")),
        word => (other(word), None, words("reason")),
    }
}

fn group(entry: &Value) -> String {
    format!("group {}", shown(&entry["asm_group_id"]))
        .trim()
        .to_owned()
}

/// Apple's mail privacy opens everything, read or not.
fn opened_by(entry: &Value) -> String {
    let is_machine = match &entry["sg_machine_open"] {
        Value::Bool(is_machine) => *is_machine,
        Value::String(word) => word == "true",
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => false,
    };
    match is_machine {
        true => "opened by a machine, read or not".to_owned(),
        false => String::new(),
    }
}

/// The service's sorting first (`type`, `bounce_classification`), then the remote server's words.
fn bounced(entry: &Value) -> (Blame, String) {
    let (status, reason) = (text(&entry["status"]), text(&entry["reason"]));
    let words = match reason.contains(status) {
        true => reason.to_owned(),
        false => format!("{status} {reason}"),
    };
    let class = text(&entry["bounce_classification"]);
    let detail = format!("{class} {words}").trim().to_owned();
    let said = said(&words);
    let blame = match class {
        "Invalid Address" => gone(said),
        "Content" => Blame::Content,
        "Reputation" => not_gone(said, Blame::Reputation),
        "Frequency or Volume Too High" => not_gone(said, Blame::Rate),
        "Technical Failure" => not_gone(said, Blame::Infrastructure),
        "Mailbox Unavailable" | "Unclassified" => said.unwrap_or(Blame::Unknown),
        _ if text(&entry["type"]) == "blocked" => Blame::Reputation,
        _ => gone(said),
    };
    let is_block = text(&entry["type"]) == "blocked";
    let blame = match is_block {
        true => never_the_recipient(blame),
        false => blame,
    };
    (blame, detail)
}

/// The service tries a blocked address again with the next message, so it is not gone.
const fn never_the_recipient(blame: Blame) -> Blame {
    match blame {
        Blame::Recipient | Blame::Unknown => Blame::Reputation,
        Blame::MailboxFull
        | Blame::Content
        | Blame::SenderAuth
        | Blame::Reputation
        | Blame::Rate
        | Blame::Infrastructure
        | Blame::Policy => blame,
    }
}

/// What the service did not even try: mostly since the address is on one of its lists.
fn dropped(reason: &str) -> (EventKind, Option<Blame>, String) {
    let kept = reason.to_owned();
    let lower = reason.to_ascii_lowercase();
    let says = |words: &str| lower.contains(words);
    if says("bounced address")
        || says("unsubscribed address")
        || says("spam reporting address")
        || says("group unsubscribe")
        || lower == "invalid"
    {
        return (EventKind::Suppressed, None, kept);
    }
    let blame = match () {
        () if says("spam content") => Blame::Content,
        () if says("over package quota") => Blame::Infrastructure,
        () => Blame::Unknown,
    };
    (EventKind::Rejected, Some(blame), kept)
}
