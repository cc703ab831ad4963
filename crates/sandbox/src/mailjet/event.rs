//! Webhooks: an array of one event, as for a URL of version 2. The service signs nothing; the
//! login in the URL proves them.

use serde_json::{Value, json};

use crate::event::{EmitError, EventKind, Report, Webhook};
use crate::sandbox::Sandbox;

/// "Event API: real-time notifications".
pub(crate) fn webhook(sandbox: &Sandbox, report: &Report) -> Result<Webhook, EmitError> {
    let (name, own) = match report.event {
        EventKind::Delivered => {
            let reply = format!("sent ({})", report.reply());
            ("sent", json!({ "smtp_reply": reply }))
        }
        EventKind::Deferred => ("bounce", bounce(report, false, "domain", "greylisted")),
        EventKind::Bounced => ("bounce", bounce(report, true, "recipient", "user unknown")),
        EventKind::Suppressed => {
            let own = json!({ "error_related_to": "mailjet", "error": "preblocked" });
            ("blocked", own)
        }
        EventKind::Complained => ("spam", json!({ "source": "JMRPP" })),
        EventKind::Unsubscribed => {
            let agent = "Mozilla/5.0";
            let own = json!({ "mj_list_id": 0, "ip": "127.0.0.1", "geo": "", "agent": agent });
            ("unsub", own)
        }
        EventKind::Subscription => return Err(EmitError::NotReported),
    };
    let taken = &report.taken;
    let is_it = |address: &String| address.eq_ignore_ascii_case(&report.recipient);
    let index = taken.recipients.iter().position(is_it).unwrap_or(0);
    let (id, uuid) = super::ids_of(&taken.id, index);
    let field = |name: &str| {
        let value = taken
            .fields
            .as_ref()
            .and_then(|fields| fields[name].as_str());
        value.unwrap_or_default()
    };
    let mut event = json!({
        "event": name,
        "time": report.at.as_second(),
        "MessageID": id,
        "Message_GUID": uuid,
        "email": report.recipient,
        "mj_campaign_id": 0,
        "mj_contact_id": 0,
        "customcampaign": field("CustomCampaign"),
        "CustomID": field("CustomID"),
        "Payload": field("EventPayload"),
    });
    if name == "sent" {
        event["mj_message_id"] = id.to_string().into();
    }
    for (member, value) in own.as_object().into_iter().flatten() {
        event[member] = value.clone();
    }
    Ok(Webhook::json(&json!([event])).logged_in(sandbox, report))
}

fn bounce(report: &Report, is_hard: bool, related_to: &str, error: &str) -> Value {
    json!({
        "blocked": is_hard,
        "hard_bounce": is_hard,
        "error_related_to": related_to,
        "error": error,
        "comment": report.reply(),
    })
}
