//! Notifications. The service does not sign them; what proves them is a secret in the URL.

use crate::event::{EventKind, Report, Webhook};

/// The form that the service posts ("HTTP notifications"). The date is in UTC.
pub(crate) fn webhook(report: &Report) -> Webhook {
    let (status, category) = match report.event {
        EventKind::Delivered | EventKind::Subscription => ("Sent", ""),
        EventKind::Deferred => ("Error", "GreyListed"),
        // The service tells its own sorting and not what the far server said.
        EventKind::Bounced if report.reply().contains(" 5.7.") => ("Error", "BlackListed"),
        EventKind::Bounced => ("Error", "NoMailbox"),
        EventKind::Suppressed => ("Suppressed", ""),
        EventKind::Complained => ("AbuseReport", ""),
        EventKind::Unsubscribed => ("Unsubscribed", ""),
    };
    let taken = &report.taken;
    let said = |name: &str| {
        let option = taken.options.iter().find(|(option, _)| option == name);
        option.map_or("", |(_, value)| value.as_str())
    };
    let field = |name: &str| {
        let value = taken
            .fields
            .as_ref()
            .and_then(|fields| fields["Content"][name].as_str());
        value.unwrap_or_default()
    };
    let date = report.at.strftime("%Y-%m-%d %H:%M:%S").to_string();
    let message = super::message_id(&taken.id);
    let pairs = [
        ("to", report.recipient.as_str()),
        ("from", field("From")),
        ("subject", field("Subject")),
        ("date", &date),
        ("status", status),
        ("category", category),
        ("channel", said("ChannelName")),
        ("account", "sandbox"),
        ("messageid", &message),
        ("transaction", &taken.id),
        ("target", ""),
        ("postback", said("Postback")),
    ];
    let pairs = pairs.map(|(name, value)| format!("{name}={}", encoded(value)));
    Webhook::new(pairs.join("&")).header("Content-Type", "application/x-www-form-urlencoded")
}

/// `application/x-www-form-urlencoded` (WHATWG URL 5.2).
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => encoded.push('+'),
            b'*' | b'-' | b'.' | b'_' => encoded.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
