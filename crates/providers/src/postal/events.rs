//! Postal's events as events of ours (`app/models/webhook.rb`, `lib/postal/message_db/delivery.rb`).

use bytes::Bytes;
use malote_core::event::{Blame, EventKind, ProviderEvent};
use malote_core::webhook::{Webhook, WebhookRefusal};
use serde_json::Value;

use crate::correlation;
use crate::webhook::Ids;
use crate::webhook::reading::{
    address, dedup_key, detail, each, other, plain_id, said, seconds, shown, text,
};

/// What a verified body tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Of messages.
    Messages(Webhook),
    /// Of the mail server itself: a domain without its DNS records, a limit. In words.
    Server(String),
}

/// Reads a verified body; `ids` says by which of its ids the service's messages are known here.
///
/// # Errors
/// [`WebhookRefusal::Malformed`] for what is no event at all.
pub(super) fn read(body: &[u8], ids: Ids) -> Result<Told, WebhookRefusal> {
    let malformed = WebhookRefusal::Malformed("no event of Postal");
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return Err(malformed);
    };
    match text(&value["event"]) {
        "" => Err(malformed),
        word @ ("DomainDNSError" | "SendLimitApproaching" | "SendLimitExceeded") => {
            Ok(Told::Server(of_server(word, &value["payload"])))
        }
        _ => Ok(Told::Messages(each(
            "postal",
            std::slice::from_ref(&value),
            |entry| event(entry, ids),
        ))),
    }
}

/// `app/models/concerns/has_dns_checks.rb` and `app/models/server.rb`.
fn of_server(word: &str, payload: &Value) -> String {
    let mut parts = vec![word.to_owned()];
    let domain = text(&payload["domain"]);
    if !domain.is_empty() {
        parts.push(domain.to_owned());
    }
    for check in ["spf", "dkim", "mx", "return_path"] {
        let status = text(&payload[format!("{check}_status")]);
        if !matches!(status, "" | "OK") {
            let error = text(&payload[format!("{check}_error")]);
            parts.push(format!("{check}: {status} {error}"));
        }
    }
    for number in ["volume", "limit"] {
        if let Some(value) = payload[number].as_u64() {
            parts.push(format!("{number} {value}"));
        }
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    detail(&parts)
}

fn event(outer: &Value, ids: Ids) -> Result<ProviderEvent, &'static str> {
    let payload = &outer["payload"];
    let message = match payload["message"].is_null() {
        true => &payload["original_message"],
        false => &payload["message"],
    };
    let at = seconds(&payload["timestamp"]).or(seconds(&outer["timestamp"]));
    let recipient = address(&message["to"])?;
    let (kind, blame) = kind(text(&outer["event"]), payload);
    Ok(ProviderEvent {
        dedup_key: match plain_id(&shown(&outer["uuid"])) {
            Some(uuid) => uuid,
            None => dedup_key(&[&outer.to_string()]),
        },
        at: at.ok_or("an event without its time")?,
        detail: words(&kind, payload),
        kind,
        blame,
        delivery: correlation::of_one(text(&message["tag"]), recipient.as_ref()),
        provider_message_id: match ids {
            Ids::Api => plain_id(&shown(&message["id"])),
            Ids::Smtp => plain_id(&shown(&message["message_id"])),
        },
        recipient,
        raw: Bytes::new(),
    })
}

fn kind(word: &str, payload: &Value) -> (EventKind, Option<Blame>) {
    match word {
        // Its "sent" is the remote server's 250.
        "MessageSent" => (EventKind::Delivered, None),
        "MessageDelayed" => (EventKind::Deferred, None),
        "MessageDeliveryFailed" => (EventKind::Bounced, Some(blame(payload))),
        "MessageHeld" if text(&payload["details"]).contains("suppression list") => {
            (EventKind::Suppressed, None)
        }
        "MessageHeld" => (EventKind::Held, None),
        // A mail that came back; nobody has read what it says.
        "MessageBounced" => (EventKind::Bounced, Some(Blame::Unknown)),
        "MessageLinkClicked" => (EventKind::Clicked, None),
        "MessageLoaded" => (EventKind::Opened, None),
        word => (other(word), None),
    }
}

/// What Postal refuses itself has no output of another server.
fn blame(payload: &Value) -> Blame {
    let (details, output) = (text(&payload["details"]), text(&payload["output"]));
    match said(output) {
        Some(blame) => blame,
        None if details.contains("likely spam") => Blame::Content,
        None if details.contains("domain no longer exist") => Blame::Infrastructure,
        None => Blame::Unknown,
    }
}

fn words(kind: &EventKind, payload: &Value) -> String {
    let bounce = &payload["bounce"];
    if *kind == EventKind::Clicked {
        detail(&[text(&payload["url"])])
    } else if !bounce.is_null() {
        detail(&["came back:", text(&bounce["subject"])])
    } else if text(&payload["output"]).is_empty() {
        detail(&[text(&payload["details"])])
    } else {
        detail(&[text(&payload["output"])])
    }
}
