//! SparkPost's events ("Event Webhooks", "Bounce Classification Codes") as events of ours.

use bytes::Bytes;
use malote_core::event::{Blame, EventKind, ProviderEvent};
use malote_core::provider::{REPLY_TEXT_BYTES_MAX, bounded};
use malote_core::webhook::{Webhook, WebhookRefusal};
use serde_json::Value;

use crate::correlation;
use crate::webhook::reading::{
    address, dedup_key, each, gone, json, not_gone, other, plain_id, said, seconds, shown, text,
};

/// Reads the batch of a request that has proven its origin. An entry without an event is how the
/// service asks whether the address is right.
///
/// # Errors
/// [`WebhookRefusal::Malformed`] for a body that is no batch.
pub(super) fn read(body: &[u8]) -> Result<Webhook, WebhookRefusal> {
    let mut entries = json(body)?;
    let is_ping = |entry: &Value| {
        entry["msys"]
            .as_object()
            .is_some_and(|msys| msys.is_empty())
    };
    entries.retain(|entry| !is_ping(entry));
    Ok(each("sparkpost", &entries, event))
}

fn event(entry: &Value) -> Result<ProviderEvent, &'static str> {
    let classes = entry["msys"].as_object();
    let (class, said) = classes
        .and_then(|classes| classes.iter().next())
        .ok_or("an entry without msys")?;
    // Relayed mail has no type, its class says what it is.
    let word = match text(&said["type"]) {
        "" => class,
        word => word,
    };
    let at = seconds(&said["timestamp"]).ok_or("an event without its time")?;
    // `rcpt_to` is in lower case; the service passes on what it was given beside it.
    let whom = match said["raw_rcpt_to"].is_null() {
        true => &said["rcpt_to"],
        false => &said["raw_rcpt_to"],
    };
    let recipient = address(whom)?;
    let (kind, blame) = kind(word, said);
    let transmission = shown(&said["transmission_id"]);
    let key = plain_id(&shown(&said["event_id"]));
    let key = key.unwrap_or_else(|| {
        dedup_key(&[
            word,
            &transmission,
            text(&said["message_id"]),
            text(whom),
            &shown(&said["timestamp"]),
        ])
    });
    Ok(ProviderEvent {
        dedup_key: key,
        at,
        kind,
        blame,
        delivery: correlation::of_members(&said["rcpt_meta"], recipient.as_ref()),
        // By SMTP there is no transmission; then the metadata must do.
        provider_message_id: plain_id(&transmission).filter(|id| id != "0"),
        recipient,
        detail: bounded(&detail(word, said), REPLY_TEXT_BYTES_MAX),
        raw: Bytes::new(),
    })
}

fn kind(word: &str, said: &Value) -> (EventKind, Option<Blame>) {
    match word {
        "injection" => (EventKind::Sent, None),
        "delivery" => (EventKind::Delivered, None),
        "delay" => (EventKind::Deferred, None),
        "bounce" | "out_of_band" => bounced(said),
        "policy_rejection" | "generation_rejection" if is_suppressed(said) => {
            (EventKind::Suppressed, None)
        }
        "policy_rejection" => (EventKind::Rejected, Some(Blame::Policy)),
        "generation_rejection" | "generation_failure" => {
            (EventKind::Rejected, Some(Blame::Content))
        }
        "spam_complaint" if text(&said["fbtype"]) == "not-spam" => (other("not_spam"), None),
        "spam_complaint" => (EventKind::Complained, None),
        "list_unsubscribe" | "link_unsubscribe" => (EventKind::Unsubscribed, None),
        // One opening may tell of both its pixels: `initial_open` stays a word of its own.
        "open" | "amp_open" => (EventKind::Opened, None),
        "click" | "amp_click" => (EventKind::Clicked, None),
        word => (other(word), None),
    }
}

/// The service's class first; where it says no more than that it failed, the remote server's words.
fn bounced(event: &Value) -> (EventKind, Option<Blame>) {
    let said = said(words(event));
    let bounced = |blame| (EventKind::Bounced, Some(blame));
    match shown(&event["bounce_class"]).as_str() {
        // Invalid recipient; no recipient of that name.
        "10" | "30" => bounced(gone(said)),
        "20" | "70" => bounced(not_gone(said, Blame::Unknown)),
        // DNS, time-out, relaying denied.
        "21" | "24" | "40" | "54" => bounced(not_gone(said, Blame::Infrastructure)),
        "22" => bounced(Blame::MailboxFull),
        // Too large; content; an attachment.
        "23" | "52" | "53" => bounced(Blame::Content),
        "25" if is_suppressed(event) => (EventKind::Suppressed, None),
        "25" => (EventKind::Rejected, Some(Blame::Policy)),
        "50" | "51" => bounced(not_gone(said, Blame::Reputation)),
        // Answers of machines and people: the message has arrived.
        "60" => (other("auto_reply"), None),
        "80" => (other("subscribe"), None),
        "90" => (EventKind::Unsubscribed, None),
        "100" => (other("challenge_response"), None),
        _ => bounced(said.unwrap_or(Blame::Unknown)),
    }
}

/// A recipient on the account's suppression list is refused "due to customer policy", as any other
/// rule of the account is; its words tell.
fn is_suppressed(event: &Value) -> bool {
    words(event).to_ascii_lowercase().contains("suppress")
}

/// What the remote server said, or the service where it was not asked.
fn words(event: &Value) -> &str {
    match text(&event["raw_reason"]) {
        "" => text(&event["reason"]),
        raw => raw,
    }
}

fn detail(word: &str, event: &Value) -> String {
    let is_prefetched =
        event["is_prefetched"].as_bool() == Some(true) || text(&event["is_prefetched"]) == "true";
    match word {
        "open" | "amp_open" if is_prefetched => "opened by a machine, read or not".to_owned(),
        "click" | "amp_click" => text(&event["target_link_url"]).to_owned(),
        "spam_complaint" => text(&event["fbtype"]).to_owned(),
        _ => words(event).to_owned(),
    }
}
