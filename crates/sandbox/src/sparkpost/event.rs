//! Webhooks: a batch of one event. The service signs nothing; the receiver asks for a login or a
//! token, and both are sent here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::event::{EventKind, Report, Webhook};
use crate::sandbox::Sandbox;

/// developers.sparkpost.com, "Event Webhooks"; support docs, "Bounce Classification Codes".
pub(crate) fn webhook(sandbox: &Sandbox, report: &Report) -> Webhook {
    let secret = &sandbox.config().account.webhook_secret;
    let secret: String = match report.forged {
        true => secret.chars().rev().collect(),
        false => secret.clone(),
    };
    let login = STANDARD.encode(format!("sandbox:{secret}"));
    let batch = format!(
        "{:08x}-0000-4000-8000-{:012x}",
        report.serial, report.serial
    );
    Webhook::json(&json!([{ "msys": msys(report) }]))
        .header("Authorization", &format!("Basic {login}"))
        .header("X-MessageSystems-Webhook-Token", &secret)
        .header("X-MessageSystems-Batch-ID", &batch)
}

/// What stands in place of a server's reply where none was asked.
const ON_LIST: &str = "554 5.7.1 recipient address suppressed due to customer policy";

/// The event in its class; nothing at all when the service tries a new webhook.
fn msys(report: &Report) -> Value {
    let (class, kind) = match report.event {
        EventKind::Delivered => ("message_event", "delivery"),
        EventKind::Deferred => ("message_event", "delay"),
        EventKind::Bounced => ("message_event", "bounce"),
        EventKind::Suppressed => ("message_event", "policy_rejection"),
        EventKind::Complained => ("message_event", "spam_complaint"),
        EventKind::Unsubscribed => ("unsubscribe_event", "list_unsubscribe"),
        EventKind::Subscription => return json!({}),
    };
    let (taken, recipient) = (&report.taken, &report.recipient);
    let (metadata, tags) = of_recipient(report);
    let mut event = json!({
        "type": kind,
        "event_id": (92_356_927_693_813_856 + report.serial).to_string(),
        "timestamp": report.at.as_second().to_string(),
        "transmission_id": taken.id,
        "message_id": format!("{:020x}", report.serial),
        "rcpt_to": recipient.to_lowercase(),
        "raw_rcpt_to": recipient,
        "rcpt_meta": metadata,
        "rcpt_tags": tags,
        "routing_domain": recipient.rsplit_once('@').map_or("", |(_, domain)| domain),
        "ip_pool": taken.pool.as_deref().unwrap_or("default"),
        "recv_method": "rest",
    });
    if let Some(campaign) = option(report, "campaign_id") {
        event["campaign_id"] = campaign.into();
    }
    if matches!(report.event, EventKind::Bounced | EventKind::Deferred) {
        let reply = report.reply();
        event["error_code"] = reply.get(..3).unwrap_or_default().into();
        event["raw_reason"] = reply.into();
        event["reason"] = reply.into();
        event["bounce_class"] = bounce_class(report.event, reply).into();
        event["num_retries"] = "1".into();
    }
    if report.event == EventKind::Suppressed {
        event["error_code"] = "554".into();
        event["raw_reason"] = ON_LIST.into();
        event["reason"] = ON_LIST.into();
        event["bounce_class"] = "25".into();
    }
    if report.event == EventKind::Complained {
        event["fbtype"] = "abuse".into();
        event["report_by"] = "server.email.com".into();
    }
    json!({ class: event })
}

/// Hard, soft, or by a block list.
fn bounce_class(event: EventKind, reply: &str) -> &'static str {
    let reply = reply.to_ascii_lowercase();
    if event == EventKind::Deferred {
        return "20";
    }
    match () {
        () if reply.contains("5.7.") || reply.contains("block") || reply.contains("spam") => "51",
        () if reply.contains("5.2.2") || reply.contains("full") => "22",
        () if reply.contains("5.1.") || reply.contains("unknown") => "10",
        () => "1",
    }
}

fn option(report: &Report, name: &str) -> Option<String> {
    let mut options = report.taken.options.iter();
    let found = options.find(|(option, _)| option == name);
    found.map(|(_, value)| value.clone())
}

/// The metadata of the call under that of the recipient, and the recipient's tags.
fn of_recipient(report: &Report) -> (Map<String, Value>, Vec<String>) {
    let own = format!("metadata[{}]:", report.recipient);
    let mut metadata = Map::new();
    for prefix in ["metadata:", own.as_str()] {
        for (name, value) in &report.taken.options {
            if let Some(name) = name.strip_prefix(prefix) {
                metadata.insert(name.to_owned(), value.as_str().into());
            }
        }
    }
    let tag = format!("tag[{}]", report.recipient);
    let options = report.taken.options.iter();
    let tags = options.filter(|(name, _)| *name == tag);
    (metadata, tags.map(|(_, value)| value.clone()).collect())
}
