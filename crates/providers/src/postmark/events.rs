//! Postmark's records (developer documentation, "Webhooks" and "Bounce API") as events of ours.

use bytes::Bytes;
use jiff::Timestamp;
use malote_core::event::{Blame, EventKind, ProviderEvent};
use malote_core::provider::{REPLY_TEXT_BYTES_MAX, bounded};
use malote_core::webhook::{Webhook, WebhookRefusal};
use serde_json::Value;

use crate::correlation;
use crate::webhook::reading::{
    address, dedup_key, each, gone, iso, json, not_gone, other, plain_id, said, shown, text,
};

/// The id of no message, in records about an address alone.
pub(super) const NO_MESSAGE: &str = "00000000-0000-0000-0000-000000000000";

/// What a record says.
struct Fact {
    kind: EventKind,
    blame: Option<Blame>,
    detail: String,
    /// The member with its time.
    at: &'static str,
}

impl Fact {
    fn new(kind: EventKind, at: &'static str) -> Self {
        Self {
            kind,
            blame: None,
            detail: String::new(),
            at,
        }
    }
}

/// Reads the record of a request that has proven its origin.
///
/// # Errors
/// [`WebhookRefusal::Malformed`] for a body that is no record.
pub(super) fn read(body: &[u8]) -> Result<Webhook, WebhookRefusal> {
    Ok(each("postmark", &json(body)?, event))
}

fn event(record: &Value) -> Result<ProviderEvent, &'static str> {
    let fact = fact(record).ok_or("a record without its RecordType")?;
    let at: Timestamp = iso(&record[fact.at]).ok_or("a record without its time")?;
    let whom = match record["Recipient"].is_null() {
        true => &record["Email"],
        false => &record["Recipient"],
    };
    let recipient = address(whom)?;
    let message = text(&record["MessageID"]);
    let provider_message_id = plain_id(message).filter(|id| id != NO_MESSAGE);
    let key = match (&fact.kind, &provider_message_id) {
        // One complaint comes as a SpamComplaint and as a SubscriptionChange, at times of their own.
        (EventKind::Complained, Some(id)) => dedup_key(&["complaint", id, text(whom)]),
        _ => dedup_key(&[
            text(&record["RecordType"]),
            message,
            text(whom),
            text(&record[fact.at]),
            &shown(&record["ID"]),
            text(&record["OriginalLink"]),
        ]),
    };
    Ok(ProviderEvent {
        dedup_key: key,
        at,
        kind: fact.kind,
        blame: fact.blame,
        delivery: correlation::of_members(&record["Metadata"], recipient.as_ref()),
        provider_message_id,
        recipient,
        detail: bounded(&fact.detail, REPLY_TEXT_BYTES_MAX),
        raw: Bytes::new(),
    })
}

fn fact(record: &Value) -> Option<Fact> {
    let fact = match text(&record["RecordType"]) {
        "" => return None,
        "Delivery" => Fact {
            detail: text(&record["Details"]).to_owned(),
            ..Fact::new(EventKind::Delivered, "DeliveredAt")
        },
        "Bounce" => bounced(record),
        "SpamComplaint" => Fact {
            detail: words(record),
            ..Fact::new(EventKind::Complained, "BouncedAt")
        },
        "SubscriptionChange" => changed(record),
        "Open" => Fact::new(EventKind::Opened, "ReceivedAt"),
        "Click" => Fact {
            detail: text(&record["OriginalLink"]).to_owned(),
            ..Fact::new(EventKind::Clicked, "ReceivedAt")
        },
        word => {
            // A record that is new to us has one of the known times.
            let times = ["ReceivedAt", "ChangedAt", "DeliveredAt", "BouncedAt"];
            let at = times.into_iter().find(|at| record[*at].is_string());
            Fact::new(other(word), at.unwrap_or("Date"))
        }
    };
    Some(fact)
}

/// The type's name and the remote server's words, or the service's where there are none.
fn words(record: &Value) -> String {
    let said = match text(&record["Details"]) {
        "" => text(&record["Description"]),
        details => details,
    };
    format!("{} {said}", text(&record["Type"]))
        .trim()
        .to_owned()
}

/// The service's type first ("Bounce API", "Bounce types"), then the remote server's words.
fn bounced(record: &Value) -> Fact {
    let said = said(text(&record["Details"]));
    let bounced = |blame| (EventKind::Bounced, Some(blame));
    let (kind, blame) = match text(&record["Type"]) {
        "HardBounce" | "BadEmailAddress" => bounced(gone(said)),
        "SoftBounce" | "Undeliverable" => bounced(not_gone(said, Blame::Unknown)),
        "Blocked" => bounced(not_gone(said, Blame::Reputation)),
        "DMARCPolicy" => bounced(Blame::SenderAuth),
        // Still under way.
        "Transient" | "DnsError" | "OpenRelayTest" => (EventKind::Deferred, None),
        "SpamNotification" | "SpamComplaint" => (EventKind::Complained, None),
        "Unsubscribe" => (EventKind::Unsubscribed, None),
        "Subscribe" => (EventKind::Resubscribed, None),
        "ManuallyDeactivated" => (EventKind::Suppressed, None),
        "VirusNotification" => (EventKind::Rejected, Some(Blame::Content)),
        "SMTPApiError" => refused(record),
        "TemplateRenderingFailed" => (EventKind::Rejected, Some(Blame::Content)),
        // Answers of people and machines: the message has arrived.
        "" => (other("Bounce"), None),
        word => (other(word), None),
    };
    Fact {
        blame,
        detail: words(record),
        ..Fact::new(kind, "BouncedAt")
    }
}

/// By SMTP a message is taken first and checked after; what the API would have answered comes as a
/// bounce, an inactive recipient (error 406) among it.
fn refused(record: &Value) -> (EventKind, Option<Blame>) {
    let words = format!(
        "{} {}",
        text(&record["Details"]),
        text(&record["Description"])
    );
    match words.to_ascii_lowercase().contains("inactive") {
        true => (EventKind::Suppressed, None),
        false => (EventKind::Rejected, Some(Blame::Unknown)),
    }
}

/// An address put on a stream's list, or taken off it. For bounces and complaints there is a record
/// of their own, which says more; a complaint counts here too, since that record may be switched off.
fn changed(record: &Value) -> Fact {
    let reason = text(&record["SuppressionReason"]);
    let kind = match (record["SuppressSending"].as_bool(), reason) {
        (Some(false), _) => EventKind::Resubscribed,
        (Some(true), "ManualSuppression") => EventKind::Unsubscribed,
        (Some(true), "SpamComplaint") => EventKind::Complained,
        (Some(true) | None, reason) => other(&format!("SubscriptionChange/{reason}")),
    };
    let origin = text(&record["Origin"]);
    Fact {
        detail: format!("{reason} {origin}").trim().to_owned(),
        ..Fact::new(kind, "ChangedAt")
    }
}
