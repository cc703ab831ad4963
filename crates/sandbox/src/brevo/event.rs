//! Webhooks: one event each. The service signs nothing; the receiver asks for a token.

use serde_json::json;

use crate::event::{EmitError, EventKind, Report, Webhook};
use crate::sandbox::Sandbox;

/// developers.brevo.com, "Transactional webhooks" and "Secured webhooks".
pub(crate) fn webhook(sandbox: &Sandbox, report: &Report) -> Result<Webhook, EmitError> {
    let event = match report.event {
        EventKind::Delivered => "delivered",
        EventKind::Deferred => "deferred",
        EventKind::Bounced => "hard_bounce",
        EventKind::Suppressed => "blocked",
        EventKind::Complained => "complaint",
        EventKind::Unsubscribed => "unsubscribed",
        EventKind::Subscription => return Err(EmitError::NotReported),
    };
    let secret = &sandbox.config().account.webhook_secret;
    let secret: String = match report.forged {
        true => secret.chars().rev().collect(),
        false => secret.clone(),
    };
    let (taken, at) = (&report.taken, report.at);
    let subject = taken
        .fields
        .as_ref()
        .and_then(|fields| fields.get("subject"));
    let mut body = json!({
        "event": event,
        "email": report.recipient,
        "id": 9_999,
        "date": at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        "ts": at.as_second(),
        "ts_event": at.as_second(),
        "ts_epoch": at.as_millisecond(),
        "message-id": taken.id,
        "subject": subject,
        "sending_ip": "127.0.0.1",
    });
    let option = |wanted: &str| {
        let found = taken.options.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.clone())
    };
    if let Some(custom) = option("header:X-Mailin-custom") {
        body["X-Mailin-custom"] = custom.into();
    }
    let options = taken.options.iter();
    let tags = options.filter(|(name, _)| name == "tag");
    let tags: Vec<String> = tags.map(|(_, tag)| tag.clone()).collect();
    if !tags.is_empty() {
        body["tag"] = json!(tags).to_string().into();
        body["tags"] = json!(tags);
    }
    if matches!(report.event, EventKind::Bounced | EventKind::Deferred) {
        body["reason"] = report.reply().into();
    }
    Ok(Webhook::json(&body).header("Authorization", &format!("Bearer {secret}")))
}
