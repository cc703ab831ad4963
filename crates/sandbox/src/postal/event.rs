//! Webhooks, signed with the installation's RSA key, and the set in which it publishes that key.
//!
//! Only the SHA-256 signature is sent. An installation also sends the same octets signed with
//! SHA-1 (`X-Postal-Signature`), for receivers that are older than it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::SigningKey as _;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{number_of, token};
use crate::event::{EmitError, EventKind, Report, Signer, Webhook};
use crate::mailbox::Taken;
use crate::sandbox::Sandbox;

/// `app/services/webhook_delivery_service.rb` and `lib/postal/http.rb`.
pub(crate) fn webhook(sandbox: &Sandbox, report: &Report) -> Result<Webhook, EmitError> {
    let signer = sandbox.signer().ok_or(EmitError::NoKey)?;
    let (event, payload) = told(report).ok_or(EmitError::NotReported)?;
    let body = json!({
        "event": event,
        "timestamp": seconds(report.at),
        "payload": payload,
        "uuid": format!("{:08x}-0000-4000-8000-{:012x}", report.at.as_second(), report.serial),
    });
    let webhook = Webhook::json(&body);
    let mut signature = signer
        .key
        .sign(webhook.body.as_bytes())
        .map_err(|_| EmitError::NoKey)?;
    if report.forged {
        signature.reverse();
    }
    Ok(webhook
        .header("X-Postal-Signature-KID", &key_id(signer))
        .header("X-Postal-Signature-256", &STANDARD.encode(signature)))
}

/// The event and what it says; `None` for what the service does not hear of. A message that is
/// held, or failed before it was sent, has no other event. A bounce with an empty reply is one
/// that came back as a mail.
fn told(report: &Report) -> Option<(&'static str, Value)> {
    let (taken, recipient) = (&report.taken, &report.recipient);
    let fate = |status: &str| {
        let name = format!("{status}:{recipient}");
        let mut options = taken.options.iter();
        options
            .find(|(option, _)| *option == name)
            .map(|(_, why)| why.as_str())
    };
    if let Some(why) = fate("Held") {
        return Some(("MessageHeld", delivery(report, "Held", why, "")));
    }
    if let Some(why) = fate("HardFail") {
        let status = delivery(report, "HardFail", why, report.reply());
        return Some(("MessageDeliveryFailed", status));
    }
    let to = "mx.example.net (192.0.2.25)";
    Some(match report.event {
        EventKind::Delivered | EventKind::Subscription => {
            let details = format!("Message for {recipient} accepted by {to}");
            let status = delivery(report, "Sent", &details, report.reply());
            ("MessageSent", status)
        }
        EventKind::Deferred => {
            let details = format!("Temporary SMTP delivery error when sending to {to}");
            let status = delivery(report, "SoftFail", &details, report.reply());
            ("MessageDelayed", status)
        }
        EventKind::Bounced if report.reply().is_empty() => ("MessageBounced", bounce(report)),
        EventKind::Bounced => {
            let details = format!("Permanent SMTP delivery error when sending to {to}");
            let status = delivery(report, "HardFail", &details, report.reply());
            ("MessageDeliveryFailed", status)
        }
        EventKind::Suppressed => {
            let details = format!("Recipient ({recipient}) is on the suppression list");
            ("MessageHeld", delivery(report, "Held", &details, ""))
        }
        EventKind::Complained | EventKind::Unsubscribed => return None,
    })
}

/// A mail that came back to the message's return path.
fn bounce(report: &Report) -> Value {
    let (taken, at) = (&report.taken, report.at);
    let bounce = json!({
        "id": number_of(taken.seq, 0) + 1_000_000_000,
        "token": token(report.serial),
        "direction": "incoming",
        "message_id": format!("{:x}@mx.example.net", report.serial),
        "to": "return@rp.postal.example",
        "from": "",
        "subject": "Undelivered Mail Returned to Sender",
        "timestamp": seconds(at),
        "spam_status": "NotSpam",
        "tag": null,
    });
    json!({ "original_message": message(taken, &report.recipient), "bounce": bounce })
}

fn delivery(report: &Report, status: &str, details: &str, output: &str) -> Value {
    json!({
        "message": message(&report.taken, &report.recipient),
        "status": status,
        "details": details,
        "output": output,
        "sent_with_ssl": status == "Sent",
        "timestamp": seconds(report.at),
        "time": 0.22,
    })
}

fn message(taken: &Taken, recipient: &str) -> Value {
    let mut recipients = taken.recipients.iter();
    let place = recipients.position(|one| one.eq_ignore_ascii_case(recipient));
    let number = number_of(taken.seq, place.unwrap_or_default());
    let tag = taken.options.iter().find(|(name, _)| name == "tag");
    let field = |name: &str| {
        taken
            .fields
            .as_ref()?
            .get(name)?
            .as_str()
            .map(str::to_owned)
    };
    let message_id = taken.header("message-id");
    json!({
        "id": number,
        "token": token(number),
        "direction": "outgoing",
        "message_id": message_id.map(|id| id.trim_matches(['<', '>']).to_owned()),
        "to": recipient,
        "from": taken.mail_from,
        "subject": taken.header("subject").or_else(|| field("subject")),
        "timestamp": seconds(taken.at),
        "spam_status": "NotChecked",
        "tag": tag.map(|(_, tag)| tag),
    })
}

fn seconds(at: jiff::Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1_000.0
}

/// The key set at `/.well-known/jwks.json`.
pub(super) fn key_set(sandbox: &Sandbox) -> Option<Value> {
    let signer = sandbox.signer()?;
    let (modulus, exponent) = numbers(signer.key.public_key_raw())?;
    let key = json!({
        "kty": "RSA",
        "n": URL_SAFE_NO_PAD.encode(modulus),
        "e": URL_SAFE_NO_PAD.encode(exponent),
        "kid": key_id(signer),
        "use": "sig",
        "alg": "RS256",
    });
    Some(json!({ "keys": [key] }))
}

/// SHA-256 of the key in the form of RFC 8017 A.1.1, as Ruby's jwt library names keys.
fn key_id(signer: &Signer) -> String {
    let digest = Sha256::digest(signer.key.public_key_raw());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Modulus and exponent of an RSA key (RFC 8017 A.1.1: a sequence of two integers), without the
/// zero octet that keeps a DER integer positive.
fn numbers(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (sequence, _) = element(key, 0x30)?;
    let (modulus, rest) = element(sequence, 0x02)?;
    let (exponent, _) = element(rest, 0x02)?;
    Some((positive(modulus), positive(exponent)))
}

fn positive(number: &[u8]) -> &[u8] {
    number.strip_prefix(&[0]).unwrap_or(number)
}

/// The content of a DER element of this tag, and what stands behind it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, length], rest) = der.split_first_chunk()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match length {
        0..0x80 => (usize::from(length), rest),
        _ => {
            let (octets, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            let fold = |sum: usize, octet: &u8| sum << 8 | usize::from(*octet);
            (octets.iter().take(4).fold(0, fold), rest)
        }
    };
    rest.split_at_checked(length)
}
