//! Mailjet's events as events of ours ("Event API: real-time notifications").

use bytes::Bytes;
use malote_core::address::EmailAddress;
use malote_core::event::{Blame, EventKind, ProviderEvent};
use malote_core::id::DeliveryId;
use malote_core::webhook::{Webhook, WebhookRefusal};
use serde_json::Value;

use crate::correlation;
use crate::webhook::Ids;
use crate::webhook::reading::{
    address, dedup_key, detail, each, gone, json, not_gone, other, plain_id, said, seconds, shown,
    text,
};

/// Longest `Payload` that is read; ours have 4 KiB at most.
const PAYLOAD_BYTES_MAX: usize = 16 << 10;

/// Reads a verified body: one event, or a list ("group events").
///
/// # Errors
/// [`WebhookRefusal::Malformed`] for what is neither.
pub(super) fn read(body: &[u8], ids: Ids) -> Result<Webhook, WebhookRefusal> {
    Ok(each("mailjet", &json(body)?, |entry| event(entry, ids)))
}

fn event(entry: &Value, ids: Ids) -> Result<ProviderEvent, &'static str> {
    let word = text(&entry["event"]);
    if word.is_empty() {
        return Err("an entry without its event");
    }
    let recipient = address(&entry["email"])?;
    let number = plain_id(&shown(&entry["MessageID"]));
    let repeated = dedup_key(&[
        word,
        number.as_deref().unwrap_or_default(),
        text(&entry["email"]),
        &entry["time"].to_string(),
        text(&entry["url"]),
        text(&entry["error"]),
    ]);
    let (kind, blame) = kind(word, entry);
    Ok(ProviderEvent {
        dedup_key: repeated,
        at: seconds(&entry["time"]).ok_or("an event without its time")?,
        kind,
        blame,
        delivery: delivery(entry, recipient.as_ref()),
        provider_message_id: match ids {
            Ids::Api => number,
            Ids::Smtp => plain_id(&shown(&entry["Message_GUID"])),
        },
        recipient,
        detail: detail(&[
            text(&entry["smtp_reply"]),
            text(&entry["comment"]),
            text(&entry["error_related_to"]),
            text(&entry["error"]),
            text(&entry["source"]),
            text(&entry["url"]),
        ]),
        raw: Bytes::new(),
    })
}

/// By the API our ids come in `Payload`, as JSON; by SMTP in `CustomID`, as one value.
fn delivery(entry: &Value, recipient: Option<&EmailAddress>) -> Option<DeliveryId> {
    let payload = text(&entry["Payload"]);
    let pairs: Option<Value> = Some(payload)
        .filter(|payload| payload.len() <= PAYLOAD_BYTES_MAX)
        .and_then(|payload| serde_json::from_str(payload).ok());
    pairs
        .and_then(|pairs| correlation::of_members(&pairs, recipient))
        .or_else(|| correlation::of_one(text(&entry["CustomID"]), recipient))
}

fn kind(word: &str, entry: &Value) -> (EventKind, Option<Blame>) {
    match word {
        // Its "sent" is the remote server's 250.
        "sent" => (EventKind::Delivered, None),
        "open" => (EventKind::Opened, None),
        "click" => (EventKind::Clicked, None),
        "spam" => (EventKind::Complained, None),
        "unsub" => (EventKind::Unsubscribed, None),
        "bounce" | "blocked" => failed(entry),
        word => (other(word), None),
    }
}

/// The table of errors ("Possible values for errors").
fn failed(entry: &Value) -> (EventKind, Option<Blame>) {
    // Of what was blocked before it left, nothing is said.
    let is_hard = entry["hard_bounce"].as_bool().unwrap_or(true);
    let said = said(text(&entry["smtp_reply"])).or_else(|| said(text(&entry["comment"])));
    let blame = match text(&entry["error"]) {
        // "Delivery will be re-attempted."
        "greylisted" if !is_hard => return (EventKind::Deferred, None),
        // It was not sent: they bounced, complained or left before.
        "preblocked" | "blacklisted" | "spam reporter" => return (EventKind::Suppressed, None),
        "duplicate in campaign" => return (EventKind::Rejected, Some(Blame::Policy)),
        "user unknown" | "mailbox inactive" | "invalid domain" | "no mail host" | "typofix"
            if is_hard =>
        {
            gone(said)
        }
        "quota exceeded" => Blame::MailboxFull,
        "sender blocked" => Blame::Reputation,
        "content blocked" | "bad or empty template" | "error in template language" => {
            Blame::Content
        }
        "relay/access denied" | "policy issue" => not_gone(said, Blame::Policy),
        "system issue" | "protocol issue" | "connection issue" | "greylisted" => {
            not_gone(said, Blame::Infrastructure)
        }
        _ => by_relation(entry, is_hard, said),
    };
    (EventKind::Bounced, Some(blame))
}

/// An error that stands in no table: what it is about, and whether it is for good.
fn by_relation(entry: &Value, is_hard: bool, said: Option<Blame>) -> Blame {
    match text(&entry["error_related_to"]) {
        "recipient" | "domain" if is_hard => gone(said),
        "spam" => not_gone(said, Blame::Reputation),
        "content" => not_gone(said, Blame::Content),
        "system" | "mailjet" => not_gone(said, Blame::Infrastructure),
        _ => not_gone(said, Blame::Unknown),
    }
}
