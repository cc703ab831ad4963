//! Elastic Email's notifications (help, "HTTP web notifications") as events of ours.

use bytes::Bytes;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use malote_core::event::{Blame, EventKind, ProviderEvent};
use malote_core::provider::{REPLY_TEXT_BYTES_MAX, bounded};
use malote_core::webhook::{Unread, Webhook, WebhookRefusal, WebhookRequest};
use serde_json::Value;

use crate::correlation;
use crate::webhook::reading::{address, dedup_key, each, form, iso, other, plain_id, text};

/// How the service writes dates, in UTC; which of them is not documented.
const DATES: [&str; 4] = [
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%Y %H:%M:%S",
];

/// Reads the query or the form of a request that has proven its origin. A request without either
/// is how the service asks whether the address is right.
///
/// # Errors
/// None; what cannot be read is set aside, since the service turns notifications off that are often
/// refused.
pub(super) fn read(request: &WebhookRequest, now: Timestamp) -> Result<Webhook, WebhookRefusal> {
    let body = request.body.trim_ascii();
    if body.starts_with(b"{") || body.starts_with(b"[") {
        // The newer webhooks, whose members nobody has written down.
        return Ok(Webhook {
            events: Vec::new(),
            unreadable: vec![Unread::new(
                "elasticemail: a notification in JSON",
                &String::from_utf8_lossy(body),
            )],
        });
    }
    let mut entries = Vec::new();
    for pairs in [request.query.as_bytes(), body] {
        if !pairs.is_empty() {
            entries.push(form(pairs));
        }
    }
    // Anything may hang on the URL of a form; what it tells stands in the form.
    if entries.len() == 2 {
        entries.remove(0);
    }
    Ok(each("elasticemail", &entries, |entry| event(entry, now)))
}

fn event(entry: &Value, now: Timestamp) -> Result<ProviderEvent, &'static str> {
    let status = text(&entry["status"]);
    if status.is_empty() {
        return Err("a notification without its status");
    }
    let recipient = address(&entry["to"])?;
    let category = text(&entry["category"]);
    let (kind, blame) = kind(status, category);
    let detail = match kind == EventKind::Clicked {
        true => text(&entry["target"]),
        false => category,
    };
    let postback = text(&entry["postback"]);
    let ids = ["transaction", "messageid"].map(|name| text(&entry[name]));
    Ok(ProviderEvent {
        dedup_key: dedup_key(&[
            status,
            category,
            ids[0],
            ids[1],
            text(&entry["to"]),
            text(&entry["date"]),
            text(&entry["target"]),
        ]),
        at: date(&entry["date"]).unwrap_or(now),
        kind,
        blame,
        delivery: correlation::of_one(postback, recipient.as_ref()),
        // Receipts have the transaction, where the service said one.
        provider_message_id: ids.into_iter().find_map(plain_id),
        recipient,
        detail: bounded(detail, REPLY_TEXT_BYTES_MAX),
        raw: Bytes::new(),
    })
}

/// An event whose date nobody can read has happened all the same: `None`, and it was now.
fn date(value: &Value) -> Option<Timestamp> {
    let text = text(value).trim();
    if text.len() > 64 {
        return None;
    }
    let mut forms = DATES.iter();
    let read = forms.find_map(|form| DateTime::strptime(form, text).ok());
    let read = read.and_then(|civil| civil.to_zoned(TimeZone::UTC).ok());
    read.map(|zoned| zoned.timestamp()).or_else(|| iso(value))
}

/// `Sent` is said when the recipient's server has taken it.
fn kind(status: &str, category: &str) -> (EventKind, Option<Blame>) {
    match status.to_ascii_lowercase().as_str() {
        "sent" => (EventKind::Delivered, None),
        "opened" => (EventKind::Opened, None),
        "clicked" => (EventKind::Clicked, None),
        "abusereport" => (EventKind::Complained, None),
        "unsubscribed" => (EventKind::Unsubscribed, None),
        "suppressed" => (EventKind::Suppressed, None),
        "error" => failed(category),
        _ => (other(status), None),
    }
}

/// The service's category is all that there is; it passes on no words of the remote server.
fn failed(category: &str) -> (EventKind, Option<Blame>) {
    let blame = match category {
        "NoMailbox" => Blame::Recipient,
        "Spam" | "BlackListed" => Blame::Reputation,
        "ContentFilter" => Blame::Content,
        "SPFProblem" => Blame::SenderAuth,
        "WhitelistingProblem" => Blame::Policy,
        "Timeout" | "ConnectionProblem" | "ConnectionTerminated" | "DNSProblem" | "CodeError" => {
            Blame::Infrastructure
        }
        // The remote server wants it again later.
        "GreyListed" | "Throttled" => return (EventKind::Deferred, None),
        // Taken back at the service.
        "ManualCancel" | "NotDeliveredCancelled" => {
            return (EventKind::Rejected, Some(Blame::Infrastructure));
        }
        _ => Blame::Unknown,
    };
    (EventKind::Bounced, Some(blame))
}
