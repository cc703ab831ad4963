//! Mailtrap's events as events of ours ("Webhooks"; "Statuses and events").

use bytes::Bytes;
use malote_core::event::{Blame, EventKind, ProviderEvent};
use malote_core::webhook::{Webhook, WebhookRefusal};
use serde_json::Value;

use crate::correlation;
use crate::webhook::reading::{
    address, dedup_key, detail, each, gone, not_gone, other, plain_id, said, seconds, shown, text,
};

/// Reads a verified body: an object with a list (payload format "JSON"), or an event a line ("JSON
/// Lines").
///
/// # Errors
/// [`WebhookRefusal::Malformed`] if it is neither.
pub(super) fn read(body: &[u8]) -> Result<Webhook, WebhookRefusal> {
    if let Ok(document) = serde_json::from_slice::<Value>(body) {
        return match document["events"].as_array() {
            Some(entries) => Ok(each("mailtrap", entries, event)),
            None if document["event"].is_string() => {
                Ok(each("mailtrap", std::slice::from_ref(&document), event))
            }
            None => Err(WebhookRefusal::Malformed("no events")),
        };
    }
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let lines = lines.filter(|line| !line.is_empty());
    // A line that is no JSON is an entry that cannot be read, and is kept as a text.
    let entries: Vec<Value> = lines
        .map(|line| {
            let text = || String::from_utf8_lossy(line).into();
            serde_json::from_slice(line).unwrap_or_else(|_| text())
        })
        .collect();
    let is_entry = |entry: &Value| !(entry.is_null() || entry.is_string());
    if !entries.iter().any(is_entry) {
        return Err(WebhookRefusal::Malformed("neither JSON nor JSON Lines"));
    }
    Ok(each("mailtrap", &entries, event))
}

fn event(entry: &Value) -> Result<ProviderEvent, &'static str> {
    let word = text(&entry["event"]);
    if word.is_empty() {
        return Err("an entry without its event");
    }
    let recipient = address(&entry["email"])?;
    let message_id = plain_id(&shown(&entry["message_id"]));
    let dedup_key = plain_id(&shown(&entry["event_id"])).unwrap_or_else(|| {
        let id = message_id.as_deref().unwrap_or_default();
        let at = entry["timestamp"].to_string();
        dedup_key(&[word, id, text(&entry["email"]), &at, text(&entry["url"])])
    });
    let (kind, blame) = kind(word, entry);
    Ok(ProviderEvent {
        dedup_key,
        at: seconds(&entry["timestamp"]).ok_or("an event without its time")?,
        kind,
        blame,
        delivery: correlation::of_members(&entry["custom_variables"], recipient.as_ref()),
        provider_message_id: message_id,
        recipient,
        detail: detail(&[
            text(&entry["response"]),
            text(&entry["bounce_category"]),
            text(&entry["reason"]),
            text(&entry["url"]),
        ]),
        raw: Bytes::new(),
    })
}

fn kind(word: &str, entry: &Value) -> (EventKind, Option<Blame>) {
    match word {
        "delivery" => (EventKind::Delivered, None),
        // Both are tried ten times more; of a suspended message the domain is not verified.
        "soft bounce" | "suspension" => (EventKind::Deferred, None),
        "bounce" => (EventKind::Bounced, Some(blame(entry))),
        "open" => (EventKind::Opened, None),
        "click" => (EventKind::Clicked, None),
        "unsubscribe" => (EventKind::Unsubscribed, None),
        "spam" => (EventKind::Complained, None),
        "reject" => rejected(text(&entry["reason"])),
        word => (other(word), None),
    }
}

/// Either the recipient is on the suppression list, or the domain was not verified in time.
fn rejected(reason: &str) -> (EventKind, Option<Blame>) {
    let reason = reason.to_ascii_lowercase();
    let lists = ["suppress", "bounce", "unsubscri", "spam complaint"];
    if lists.iter().any(|word| reason.contains(word)) {
        return (EventKind::Suppressed, None);
    }
    (EventKind::Rejected, Some(Blame::Infrastructure))
}

/// The category first. The service publishes no list of them; these are the ones of the mail server
/// software that such names come from, in whatever spelling.
fn blame(entry: &Value) -> Blame {
    let said = said(text(&entry["response"]));
    let category = text(&entry["bounce_category"]);
    let letters = category.chars().filter(char::is_ascii_alphabetic);
    let category: String = letters.map(|c| c.to_ascii_lowercase()).take(64).collect();
    match category.as_str() {
        "badmailbox" | "badrecipient" | "inactivemailbox" | "baddomain" | "invalidrecipient"
        | "unknownuser" => gone(said),
        "quotaissues" | "mailboxfull" | "overquota" => Blame::MailboxFull,
        "spamrelated" | "spam" | "spamblock" | "blocklisted" | "reputation" => Blame::Reputation,
        "contentrelated" | "virusrelated" | "messagetoolarge" => Blame::Content,
        "invalidsender" | "authentication" => Blame::SenderAuth,
        "policyrelated" | "relayingissues" => not_gone(said, Blame::Policy),
        "routingerrors" | "badconfiguration" | "badconnection" | "noanswerfromhost"
        | "protocolerrors" => not_gone(said, Blame::Infrastructure),
        // Without a category that says it, only the server's words can blame the address.
        _ => said.unwrap_or(Blame::Unknown),
    }
}
