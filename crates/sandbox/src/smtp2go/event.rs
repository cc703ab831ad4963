//! Webhooks in JSON. The service signs nothing; a webhook carries the token that was set for it.

use serde_json::{Value, json};

use crate::event::{EventKind, Report, Webhook};
use crate::mailbox::Taken;
use crate::sandbox::Sandbox;

/// "Webhooks overview", and `webhook/add` for the token and the echoed header fields.
pub(crate) fn webhook(sandbox: &Sandbox, report: &Report) -> Webhook {
    let (taken, recipient) = (&report.taken, &report.recipient);
    let (event, bounce) = match report.event {
        EventKind::Delivered | EventKind::Subscription => ("delivered", None),
        // The service has no event for what it tries again, but calls it a soft bounce.
        EventKind::Deferred => ("bounce", Some("soft")),
        EventKind::Bounced => ("bounce", Some("hard")),
        EventKind::Suppressed => ("reject", None),
        EventKind::Complained => ("spam", None),
        EventKind::Unsubscribed => ("unsubscribe", None),
    };
    let from = header(taken, "from").unwrap_or_default();
    let address = crate::address::address(&from).unwrap_or_else(|| from.clone());
    let time = |at: jiff::Timestamp| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut body = json!({
        "event": event,
        "time": time(report.at),
        "sendtime": time(taken.at),
        "sender": address,
        "from": from,
        "from_address": address,
        "rcpt": recipient,
        "recipients": taken.recipients,
        "auth": "sandbox",
        "message": report.reply(),
        "context": "",
        "email_id": taken.id,
        "id": format!("{:032x}", report.serial),
        "message-id": header(taken, "message-id"),
        "subject": header(taken, "subject"),
    });
    if let Some(bounce) = bounce {
        body["bounce"] = bounce.into();
        body["host"] = "mx.example.net [192.0.2.25]".into();
    }
    if report.event == EventKind::Suppressed {
        body["message"] = "recipient address is on the suppression list".into();
    }
    for (name, value) in custom_headers(taken) {
        body[name] = value.into();
    }
    let mut token = sandbox.config().account.webhook_secret.clone();
    if report.forged {
        token = token.chars().rev().collect();
    }
    Webhook::json(&body).header("Authorization", &format!("Bearer {token}"))
}

/// The `X-` fields of the message: all of them, as if the webhook had been set to echo them.
fn custom_headers(taken: &Taken) -> Vec<(String, String)> {
    let headers = match &taken.fields {
        Some(fields) => set_headers(fields),
        None => taken.headers(),
    };
    let is_custom = |name: &str| name.get(..2).is_some_and(|x| x.eq_ignore_ascii_case("x-"));
    let custom = headers.into_iter().filter(|(name, _)| is_custom(name));
    custom.collect()
}

/// A header field of the message, or the member that is one.
fn header(taken: &Taken, name: &str) -> Option<String> {
    let Some(fields) = &taken.fields else {
        return taken.header(name);
    };
    let member = match name {
        "from" => "sender",
        name => name,
    };
    if let Some(text) = fields.get(member).and_then(Value::as_str) {
        return Some(text.to_owned());
    }
    let mut set = set_headers(fields).into_iter();
    set.find(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

fn set_headers(fields: &Value) -> Vec<(String, String)> {
    let list = fields.get("custom_headers").and_then(Value::as_array);
    let pair = |item: &Value| {
        let text = |name: &str| Some(item.get(name)?.as_str()?.to_owned());
        Some((text("header")?, text("value")?))
    };
    list.into_iter().flatten().filter_map(pair).collect()
}
