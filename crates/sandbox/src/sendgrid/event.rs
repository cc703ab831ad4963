//! Event webhooks: a batch of one event, signed with the account's ECDSA key.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::SigningKey as _;
use serde_json::{Map, Value, json};

use crate::event::{EmitError, EventKind, Report, Webhook};
use crate::mailbox::Taken;
use crate::sandbox::Sandbox;
use crate::suppressed::Why;

/// "Event Webhook Reference", and "Event Webhook Security Features": the signature is ECDSA on
/// P-256 with SHA-256 over the timestamp's digits and the body, DER, in Base64.
pub(crate) fn webhook(sandbox: &Sandbox, report: &Report) -> Result<Webhook, EmitError> {
    let signer = sandbox.signer().ok_or(EmitError::NoKey)?;
    let body = json!([event(report)]).to_string();
    let timestamp = report.at.as_second().to_string();
    let signed = format!("{timestamp}{body}");
    let mut signature = signer
        .key
        .sign(signed.as_bytes())
        .map_err(|_| EmitError::NoKey)?;
    if report.forged
        && let Some(last) = signature.last_mut()
    {
        *last ^= 1;
    }
    let webhook = Webhook::new(body).header("Content-Type", "application/json");
    let signature = STANDARD.encode(signature);
    Ok(webhook
        .header("X-Twilio-Email-Event-Webhook-Signature", &signature)
        .header("X-Twilio-Email-Event-Webhook-Timestamp", &timestamp))
}

fn event(report: &Report) -> Value {
    let (taken, serial) = (&report.taken, report.serial);
    // Custom arguments stand beside the event's own members, which win.
    let mut event: Map<String, Value> = custom_args(taken, &report.recipient);
    let own = json!({
        "email": report.recipient,
        "timestamp": report.at.as_second(),
        "smtp-id": format!("<{}@geopod-ismtpd-0>", taken.id),
        "sg_event_id": URL_SAFE_NO_PAD.encode(format!("event-{serial:010}")),
        "sg_message_id": format!("{}.recvd-sandbox-1-{serial:X}.0", taken.id),
    });
    for member in [own, of_kind(report)] {
        let Value::Object(member) = member else {
            continue;
        };
        event.extend(member);
    }
    let fields = taken.fields.as_ref();
    if let Some(categories) = fields.and_then(|fields| fields.get("categories")) {
        event.insert("category".to_owned(), categories.clone());
    }
    if let Some(pool) = &taken.pool {
        event.insert("pool".to_owned(), json!({ "name": pool, "id": 1 }));
    }
    Value::Object(event)
}

fn of_kind(report: &Report) -> Value {
    let reply = report.reply();
    match report.event {
        EventKind::Delivered | EventKind::Subscription => {
            json!({ "event": "delivered", "response": reply, "ip": "192.0.2.1", "tls": 1 })
        }
        EventKind::Deferred => {
            json!({ "event": "deferred", "response": reply, "attempt": "1" })
        }
        EventKind::Bounced => json!({
            "event": "bounce",
            "reason": reply,
            "status": status_of(reply),
            "type": "bounce",
            "bounce_classification": "Invalid Address",
            "ip": "192.0.2.1",
            "tls": 1,
        }),
        EventKind::Suppressed => {
            json!({ "event": "dropped", "reason": dropped(report.stopped_by), "status": "5.0.0" })
        }
        EventKind::Complained => json!({ "event": "spamreport" }),
        EventKind::Unsubscribed => json!({ "event": "unsubscribe" }),
    }
}

/// "Dropped": the address is on one of the lists.
const fn dropped(why: Why) -> &'static str {
    match why {
        Why::Complained => "Spam Reporting Address",
        Why::Unsubscribed | Why::Manual => "Unsubscribed Address",
        Why::Invalid => "Invalid",
        Why::Bounced | Why::Blocked | Why::Compliance => "Bounced Address",
    }
}

/// The enhanced code behind the reply's code, if there is one.
fn status_of(reply: &str) -> &str {
    let is_enhanced = |word: &&str| {
        word.split('.').count() == 3 && word.bytes().all(|b| b.is_ascii_digit() || b == b'.')
    };
    let second = reply.split(' ').nth(1);
    second.filter(is_enhanced).unwrap_or("5.0.0")
}

/// Those of the whole request, and over them those of the personalization that has the recipient.
fn custom_args(taken: &Taken, recipient: &str) -> Map<String, Value> {
    let Some(fields) = &taken.fields else {
        return Map::new();
    };
    let args = |of: &Value| of.get("custom_args").and_then(Value::as_object).cloned();
    let mut all = args(fields).unwrap_or_default();
    let personalizations = fields.get("personalizations").and_then(Value::as_array);
    let mut personalizations = personalizations.into_iter().flatten();
    if let Some(own) = personalizations.find(|one| has(one, recipient)) {
        all.extend(args(own).unwrap_or_default());
    }
    all
}

fn has(personalization: &Value, recipient: &str) -> bool {
    let lists = ["to", "cc", "bcc"].into_iter();
    let people = lists.filter_map(|list| personalization.get(list)?.as_array());
    people.flatten().any(|one| {
        let email = one.get("email").and_then(Value::as_str);
        email.is_some_and(|email| email.eq_ignore_ascii_case(recipient))
    })
}
