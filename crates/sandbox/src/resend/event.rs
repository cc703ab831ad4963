//! Webhooks, signed as Svix signs them, which delivers them for the service.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;

use crate::event::{EmitError, EventKind, Report, Webhook};
use crate::sandbox::Sandbox;

/// resend.com/docs, "Event Types" and "Verify Webhooks Requests": HMAC-SHA256 over id, timestamp
/// and body with full stops between them. The key is what the secret says in Base64 behind
/// `whsec_`, which is the account's secret as it is.
pub(crate) fn webhook(sandbox: &Sandbox, report: &Report) -> Result<Webhook, EmitError> {
    let body = body(report).ok_or(EmitError::NotReported)?.to_string();
    let id = format!("msg_sandbox{:016}", report.serial);
    let timestamp = report.at.as_second().to_string();
    let secret = &sandbox.config().account.webhook_secret;
    let mut digest = hmac(secret, &format!("{id}.{timestamp}.{body}"));
    if report.forged {
        digest.reverse();
    }
    let signature = format!("v1,{}", STANDARD.encode(digest));
    let webhook = Webhook::new(body).header("Content-Type", "application/json");
    Ok(webhook
        .header("svix-id", &id)
        .header("svix-timestamp", &timestamp)
        .header("svix-signature", &signature))
}

#[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
fn hmac(key: &str, message: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("any length will do");
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// The event; `None` for what the service does not report of an email: who wants no more is told
/// of a contact.
fn body(report: &Report) -> Option<Value> {
    let taken = &report.taken;
    let kind = match report.event {
        EventKind::Delivered | EventKind::Subscription => "email.delivered",
        EventKind::Deferred => "email.delivery_delayed",
        EventKind::Bounced => "email.bounced",
        EventKind::Suppressed => "email.suppressed",
        EventKind::Complained => "email.complained",
        EventKind::Unsubscribed => return None,
    };
    let field = |name: &str| taken.fields.as_ref().and_then(|fields| fields.get(name));
    let mut data = json!({
        "created_at": taken.at.to_string(),
        "email_id": taken.id,
        "from": field("from"),
        "to": [report.recipient],
        "subject": field("subject"),
    });
    let tags = tags(field("tags"));
    if !tags.is_empty() {
        data["tags"] = Value::Object(tags);
    }
    if report.event == EventKind::Bounced {
        data["bounce"] = json!({
            "type": "Permanent",
            "subType": "General",
            "message": "The recipient's email provider sent a hard bounce message.",
            "diagnosticCode": [format!("smtp; {}", report.reply())],
        });
    }
    if report.event == EventKind::Suppressed {
        data["suppressed"] = json!({
            "type": "OnAccountSuppressionList",
            "message": "Resend did not send to this address: it is on the suppression list.",
        });
    }
    Some(json!({ "type": kind, "created_at": report.at.to_string(), "data": data }))
}

/// The tags of a send are an array, those of an event an object.
fn tags(given: Option<&Value>) -> Map<String, Value> {
    let tags = given.and_then(Value::as_array);
    let pair = |tag: &Value| {
        let name = tag.get("name")?.as_str()?;
        Some((name.to_owned(), tag.get("value")?.clone()))
    };
    tags.into_iter().flatten().filter_map(pair).collect()
}
