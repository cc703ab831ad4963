//! Webhooks, signed by HMAC over the body.

use serde_json::{Map, Value, json};

use crate::event::{EventKind, Report, Webhook, hex_hmac};
use crate::sandbox::Sandbox;

/// A batch of one event in the format `json` ("Webhooks"; the signature is HMAC-SHA256 of the raw
/// body in hexadecimal digits).
pub(crate) fn webhook(sandbox: &Sandbox, report: &Report) -> Webhook {
    let taken = &report.taken;
    let is_it = |address: &String| address.eq_ignore_ascii_case(&report.recipient);
    let index = taken.recipients.iter().position(is_it).unwrap_or(0);
    let name = match report.event {
        EventKind::Delivered | EventKind::Subscription => "delivery",
        EventKind::Deferred => "soft bounce",
        EventKind::Bounced => "bounce",
        EventKind::Suppressed => "reject",
        EventKind::Complained => "spam",
        EventKind::Unsubscribed => "unsubscribe",
    };
    let fields = taken.fields.as_ref();
    let field = |name: &str| fields.and_then(|fields| fields.get(name)).cloned();
    let from = field("from").and_then(|from| Some(from["email"].as_str()?.to_owned()));
    let domain = from.as_deref().and_then(|from| from.rsplit_once('@'));
    let mut event = json!({
        "event": name,
        "message_id": super::id_of(&taken.id, index),
        "sending_stream": "transactional",
        "sending_domain_name": domain.map_or("", |(_, domain)| domain),
        "email": report.recipient,
        "timestamp": report.at.as_second(),
        "event_id": format!("{:08x}-0000-4000-9000-{:012x}", report.at.as_second(), report.serial),
        "custom_variables": field("custom_variables").unwrap_or(Value::Object(Map::new())),
    });
    if let Some(category) = field("category") {
        event["category"] = category;
    }
    if matches!(report.event, EventKind::Deferred | EventKind::Bounced) {
        let reply = report.reply();
        let code = reply.get(..3).and_then(|code| code.parse::<u16>().ok());
        let category = match report.event == EventKind::Bounced {
            true => "badrecipient",
            false => "greylisting",
        };
        event["response"] = reply.into();
        event["response_code"] = code.into();
        event["bounce_category"] = category.into();
    }
    if report.event == EventKind::Suppressed {
        event["reason"] = "recipient is on the suppression list".into();
    }
    let body = json!({ "events": [event] }).to_string();
    let mut signature = hex_hmac(&sandbox.config().account.webhook_secret, &body);
    if report.forged {
        signature = signature.chars().rev().collect();
    }
    let webhook = Webhook::new(body).header("Content-Type", "application/json");
    webhook.header("Mailtrap-Signature", &signature)
}
