//! Webhooks, signed by HMAC.

use serde_json::{Value, json};

use crate::event::{EventKind, Report, Webhook, hex_hmac};
use crate::sandbox::Sandbox;
use crate::suppressed::Why;

/// Mailgun documentation, "Webhooks" and "Securing webhooks".
pub(crate) fn webhook(sandbox: &Sandbox, report: &Report) -> Webhook {
    let (taken, recipient) = (&report.taken, &report.recipient);
    let (at, serial) = (report.at, report.serial);
    let (timestamp, token) = (at.as_second().to_string(), format!("{serial:050x}"));
    let signing_key = &sandbox.config().mailgun.webhook_signing_key;
    let mut signature = hex_hmac(signing_key, &format!("{timestamp}{token}"));
    if report.forged {
        signature = signature.chars().rev().collect();
    }
    let (event, severity) = match report.event {
        EventKind::Delivered | EventKind::Subscription => ("delivered", None),
        EventKind::Deferred => ("failed", Some("temporary")),
        EventKind::Bounced | EventKind::Suppressed => ("failed", Some("permanent")),
        EventKind::Complained => ("complained", None),
        EventKind::Unsubscribed => ("unsubscribed", None),
    };
    let variables: serde_json::Map<String, Value> = taken
        .options
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("v:")?.to_owned(), json!(value))))
        .collect();
    let reply = report.reply();
    let code: u16 = reply
        .get(..3)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    let mut data = json!({
        "event": event,
        "id": format!("sandbox-{serial}"),
        "timestamp": at.as_millisecond() as f64 / 1_000.0,
        "recipient": recipient,
        "recipient-domain": recipient.rsplit_once('@').map_or("", |(_, domain)| domain),
        "tags": [],
        "user-variables": variables,
        "message": { "headers": {
            "message-id": taken.id.trim_matches(['<', '>']),
            "to": taken.header("to"),
            "from": taken.header("from"),
            "subject": taken.header("subject"),
        } },
        "flags": { "is-test-mode": false },
        "delivery-status": { "code": code, "message": reply, "attempt-no": 1 },
    });
    if let Some(severity) = severity {
        data["severity"] = severity.into();
        data["reason"] = "generic".into();
    }
    if report.event == EventKind::Suppressed {
        let (reason, code, message) = suppressed(report.stopped_by);
        data["reason"] = reason.into();
        data["delivery-status"] = json!({ "code": code, "message": message, "attempt-no": 1 });
    }
    let body = json!({
        "signature": { "timestamp": timestamp, "token": token, "signature": signature },
        "event-data": data,
    });
    Webhook::json(&body)
}

/// What is said of an address that the domain's lists hold ("Tracking Failures").
const fn suppressed(why: Why) -> (&'static str, u16, &'static str) {
    match why {
        Why::Complained => (
            "suppress-complaint",
            607,
            "Not delivering to a user who marked your messages as spam",
        ),
        Why::Unsubscribed | Why::Manual => (
            "suppress-unsubscribe",
            606,
            "Not delivering to unsubscribed address",
        ),
        Why::Bounced | Why::Blocked | Why::Invalid | Why::Compliance => (
            "suppress-bounce",
            605,
            "Not delivering to previously bounced address",
        ),
    }
}
