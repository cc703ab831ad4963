//! SMTP2GO's events ("Webhooks overview") as events of ours.

use bytes::Bytes;
use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_core::event::{Blame, EventKind, ProviderEvent};
use malote_core::id::DeliveryId;
use malote_core::provider::{REPLY_TEXT_BYTES_MAX, bounded};
use malote_core::webhook::{Webhook, WebhookRefusal, WebhookRequest};
use serde_json::Value;

use super::request::ID_FIELD;
use crate::correlation;
use crate::webhook::reading::{
    address, dedup_key, each, form, gone, json, not_gone, other, plain_id, said, seconds, shown,
    text, utc,
};

/// Reads the JSON or the form of a request that has proven its origin: which of them it is, is
/// chosen at the service, and the form is its default.
///
/// # Errors
/// [`WebhookRefusal::Malformed`] for JSON that cannot be read.
pub(super) fn read(request: &WebhookRequest, now: Timestamp) -> Result<Webhook, WebhookRefusal> {
    let body = request.body.trim_ascii();
    let entries = match body.first() {
        None => return Ok(Webhook::default()),
        Some(b'{' | b'[') => json(body)?,
        Some(_) => vec![form(body)],
    };
    Ok(each("smtp2go", &entries, |entry| event(entry, now)))
}

fn event(entry: &Value, now: Timestamp) -> Result<ProviderEvent, &'static str> {
    let word = text(&entry["event"]);
    if word.is_empty() {
        return Err("an event without its type");
    }
    let recipient = address(&entry["rcpt"])?;
    let (kind, blame) = kind(word, entry);
    let email_id = text(&entry["email_id"]);
    Ok(ProviderEvent {
        dedup_key: dedup_key(&[
            email_id,
            word,
            text(&entry["bounce"]),
            text(&entry["rcpt"]),
            &shown(&entry["time"]),
            text(&entry["url"]),
        ]),
        at: time(&entry["time"]).unwrap_or(now),
        kind,
        blame,
        delivery: delivery(entry, recipient.as_ref()),
        provider_message_id: plain_id(email_id),
        recipient,
        detail: bounded(&detail(word, entry), REPLY_TEXT_BYTES_MAX),
        raw: Bytes::new(),
    })
}

/// The header field that holds our ids, as far as the webhook was told to pass it on.
fn delivery(entry: &Value, recipient: Option<&EmailAddress>) -> Option<DeliveryId> {
    let mut members = entry.as_object()?.iter();
    let (_, value) = members.find(|(name, _)| name.eq_ignore_ascii_case(ID_FIELD))?;
    correlation::of_one(text(value), recipient)
}

/// In UTC, with or without a zone.
fn time(value: &Value) -> Option<Timestamp> {
    seconds(value).or_else(|| utc(text(value)))
}

fn kind(word: &str, entry: &Value) -> (EventKind, Option<Blame>) {
    match word {
        "processed" => (EventKind::Sent, None),
        "delivered" => (EventKind::Delivered, None),
        "bounce" => bounced(entry),
        "spam" => (EventKind::Complained, None),
        "unsubscribe" => (EventKind::Unsubscribed, None),
        "resubscribe" => (EventKind::Resubscribed, None),
        "open" => (EventKind::Opened, None),
        "click" => (EventKind::Clicked, None),
        "reject" => rejected(entry),
        word => (other(word), None),
    }
}

/// The service's sorting first, then the remote server's words. It calls soft what it tries again
/// too, which a reply 4xx tells.
fn bounced(entry: &Value) -> (EventKind, Option<Blame>) {
    let words = words(entry);
    let said = said(&words);
    match text(&entry["bounce"]) {
        "hard" => (EventKind::Bounced, Some(gone(said))),
        _ if words.starts_with('4') => (EventKind::Deferred, None),
        _ => (EventKind::Bounced, Some(not_gone(said, Blame::Unknown))),
    }
}

/// What the service did not even try: on its suppression list, from a sender that it does not know,
/// or in its sandbox.
fn rejected(entry: &Value) -> (EventKind, Option<Blame>) {
    let words = words(entry).to_ascii_lowercase();
    let says = |list: &[&str]| list.iter().any(|word| words.contains(word));
    if says(&[
        "suppress",
        "unsubscribed",
        "previously bounced",
        "spam complaint",
    ]) {
        return (EventKind::Suppressed, None);
    }
    let blame = match says(&["verif", "sender domain"]) {
        true => Blame::SenderAuth,
        false => Blame::Unknown,
    };
    (EventKind::Rejected, Some(blame))
}

/// The remote server's reply, and where in the exchange it came.
fn words(entry: &Value) -> String {
    let parts = [text(&entry["message"]), text(&entry["context"])];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(" ")
}

fn detail(word: &str, entry: &Value) -> String {
    match word {
        "click" => text(&entry["url"]).to_owned(),
        _ => words(entry),
    }
}
