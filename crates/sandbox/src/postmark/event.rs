//! Webhooks: one event in each, told apart by `RecordType`; a complaint comes in two of them. The
//! service signs nothing; the login in the webhook's URL proves them.

use serde_json::{Map, Value, json};

use crate::event::{EmitError, EventKind, Report, Webhook};
use crate::sandbox::Sandbox;

/// The types of the bounce webhook that are played: name, code, shown name, description, and
/// whether the address is deactivated by it.
struct Bounce(&'static str, u32, &'static str, &'static str, bool);

const TRANSIENT: Bounce = Bounce(
    "Transient",
    2,
    "Message delayed",
    "The server could not temporarily deliver your message.",
    false,
);
const HARD: Bounce = Bounce(
    "HardBounce",
    1,
    "Hard bounce",
    "The server was unable to deliver your message (ex: unknown user, mailbox not found).",
    true,
);
const COMPLAINT: Bounce = Bounce(
    "SpamComplaint",
    512,
    "Spam complaint",
    "The subscriber explicitly marked this message as spam.",
    true,
);

/// postmarkapp.com/developer/webhooks, one page for each `RecordType`.
pub(crate) fn webhook(sandbox: &Sandbox, report: &Report) -> Result<Webhook, EmitError> {
    let body = match report.event {
        EventKind::Delivered => json!({
            "RecordType": "Delivery",
            "Recipient": report.recipient,
            "DeliveredAt": report.at.to_string(),
            "Details": report.reply(),
        }),
        EventKind::Deferred => bounce("Bounce", &TRANSIENT, report),
        EventKind::Bounced => bounce("Bounce", &HARD, report),
        EventKind::Complained => bounce("SpamComplaint", &COMPLAINT, report),
        EventKind::Unsubscribed => suppressed("ManualSuppression", report),
        // It refuses such mail at once.
        EventKind::Suppressed | EventKind::Subscription => return Err(EmitError::NotReported),
    };
    Ok(posted(body, sandbox, report))
}

/// What follows a complaint: the address is on the stream's list now
/// (postmarkapp.com/developer/webhooks/subscription-change-webhook).
pub(crate) fn change(sandbox: &Sandbox, report: &Report) -> Option<Webhook> {
    let is_complaint = report.event == EventKind::Complained;
    is_complaint.then(|| posted(suppressed(COMPLAINT.0, report), sandbox, report))
}

/// With what every record says of its message.
fn posted(mut body: Value, sandbox: &Sandbox, report: &Report) -> Webhook {
    let taken = &report.taken;
    body["MessageID"] = taken.id.as_str().into();
    body["ServerID"] = 1.into();
    body["MessageStream"] = taken.pool.clone().into();
    body["Tag"] = field(report, "Tag").unwrap_or_default();
    body["Metadata"] = field(report, "Metadata").unwrap_or_else(|| Map::new().into());
    Webhook::json(&body).logged_in(sandbox, report)
}

fn field(report: &Report, name: &str) -> Option<Value> {
    report.taken.fields.as_ref()?.get(name).cloned()
}

fn suppressed(reason: &str, report: &Report) -> Value {
    json!({
        "RecordType": "SubscriptionChange",
        "Recipient": report.recipient,
        "ChangedAt": report.at.to_string(),
        "Origin": "Recipient",
        "SuppressSending": true,
        "SuppressionReason": reason,
    })
}

fn bounce(record: &str, kind: &Bounce, report: &Report) -> Value {
    let Bounce(name, code, shown, description, is_inactive) = kind;
    json!({
        "RecordType": record,
        "ID": 4_000_000_000_u64 + report.serial,
        "Type": name,
        "TypeCode": code,
        "Name": shown,
        "Description": description,
        "Details": report.reply(),
        "Email": report.recipient,
        "From": field(report, "From").unwrap_or_default(),
        "BouncedAt": report.at.to_string(),
        "DumpAvailable": false,
        "Inactive": is_inactive,
        "CanActivate": *name == HARD.0,
        "Subject": field(report, "Subject").unwrap_or_default(),
    })
}
