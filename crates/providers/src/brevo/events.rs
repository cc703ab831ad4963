//! Brevo's events as events of ours ("Transactional webhooks").

use bytes::Bytes;
use jiff::Timestamp;
use malote_core::event::{Blame, EventKind, ProviderEvent};
use malote_core::webhook::{Webhook, WebhookRefusal};
use serde_json::Value;

use crate::correlation;
use crate::webhook::Ids;
use crate::webhook::reading::{
    address, dedup_key, detail, each, gone, json, not_gone, other, plain_id, said, seconds, shown,
    text,
};

/// The member that brings back what a message carried in a header field of this name.
const OURS: &str = "X-Mailin-custom";

/// Reads a verified body: one event, or a list ("batched webhooks").
///
/// # Errors
/// [`WebhookRefusal::Malformed`] for what is neither.
pub(super) fn read(body: &[u8], ids: Ids) -> Result<Webhook, WebhookRefusal> {
    Ok(each("brevo", &json(body)?, |entry| event(entry, ids)))
}

fn event(entry: &Value, ids: Ids) -> Result<ProviderEvent, &'static str> {
    let word = text(&entry["event"]);
    if word.is_empty() {
        return Err("an entry without its event");
    }
    let recipient = address(&entry["email"])?;
    let (kind, blame) = kind(word, text(&entry["reason"]));
    let message_id = plain_id(&shown(&entry["message-id"]));
    let times = ["ts_epoch", "ts_event", "ts"].map(|name| entry[name].to_string());
    let id = message_id.as_deref().unwrap_or_default();
    let repeated = dedup_key(&[
        word,
        id,
        text(&entry["email"]),
        &times.join(" "),
        text(&entry["link"]),
    ]);
    Ok(ProviderEvent {
        dedup_key: repeated,
        at: time(entry).ok_or("an event without its time")?,
        detail: words(word, entry),
        kind,
        blame,
        delivery: correlation::of_one(text(&entry[OURS]), recipient.as_ref()),
        provider_message_id: message_id.map(|id| form(id, ids)),
        recipient,
        raw: Bytes::new(),
    })
}

/// The API answers an id with its angle brackets; from an SMTP reply we keep it without.
fn form(id: String, ids: Ids) -> String {
    match ids {
        Ids::Api => id,
        Ids::Smtp => id.trim_matches(['<', '>']).to_owned(),
    }
}

/// `ts_epoch` is in UTC, mostly in milliseconds, in some of the documented events in seconds;
/// `ts_event` and `ts` are seconds that follow the account's time zone.
fn time(entry: &Value) -> Option<Timestamp> {
    let milliseconds = entry["ts_epoch"]
        .as_i64()
        .filter(|number| (1_200_000_000_000..100_000_000_000_000).contains(number))
        .and_then(|number| Timestamp::from_millisecond(number).ok());
    let mut names = ["ts_epoch", "ts_event", "ts"].into_iter();
    milliseconds.or_else(|| names.find_map(|name| seconds(&entry[name])))
}

fn kind(word: &str, reason: &str) -> (EventKind, Option<Blame>) {
    match word {
        "request" | "sent" => (EventKind::Sent, None),
        "delivered" => (EventKind::Delivered, None),
        "deferred" => (EventKind::Deferred, None),
        "hard_bounce" | "hardBounce" => (EventKind::Bounced, Some(gone(said(reason)))),
        // Given up, for a reason that may pass.
        "soft_bounce" | "softBounce" => (
            EventKind::Bounced,
            Some(not_gone(said(reason), Blame::Unknown)),
        ),
        "invalid_email" | "invalid" => (EventKind::Bounced, Some(gone(said(reason)))),
        // On the service's own list of those who bounced, complained or want no more.
        "blocked" => (EventKind::Suppressed, None),
        "error" => (
            EventKind::Rejected,
            Some(not_gone(said(reason), Blame::Unknown)),
        ),
        "spam" | "complaint" => (EventKind::Complained, None),
        "opened" | "unique_opened" | "uniqueOpened" => (EventKind::Opened, None),
        // Apple's and Google's proxies fetch images for people who may never look.
        "proxy_open" | "unique_proxy_open" | "proxyOpen" | "uniqueProxyOpen" => {
            (EventKind::Opened, None)
        }
        "click" => (EventKind::Clicked, None),
        "unsubscribe" | "unsubscribed" => (EventKind::Unsubscribed, None),
        word => (other(word), None),
    }
}

/// The reason or the link; of an open by a machine, that it was one.
fn words(word: &str, entry: &Value) -> String {
    let is_by_proxy = word.to_ascii_lowercase().contains("proxy");
    detail(&[
        if is_by_proxy { "by a proxy" } else { "" },
        text(&entry["reason"]),
        text(&entry["link"]),
    ])
}
