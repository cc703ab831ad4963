//! Webhooks: what a service reports about a message it took, signed as the service signs it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize, SigningKey};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::config::Kind;
use crate::loopback::{PostError, post};
use crate::mailbox::Taken;
use crate::sandbox::Sandbox;

/// The id in the URL of the signing certificate: 32 hexadecimal digits, as in the service's.
const CERTIFICATE_ID: &str = "5a9d80b0c0ffee0000000000005a9d80";

/// What is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EventKind {
    Delivered,
    Deferred,
    Bounced,
    Complained,
    Unsubscribed,
    /// SES: the answer to a new subscription.
    Subscription,
}

/// The body of `POST /_sandbox/event`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventRequest {
    /// Where to post; an address of this machine.
    url: String,
    /// What is reported.
    event: EventKind,
    /// The message's id as it was answered; by default the newest one taken.
    message: Option<String>,
    /// Of whom; by default the message's first recipient.
    recipient: Option<String>,
    /// The far server's reply; by default one that fits the event.
    reply: Option<String>,
    /// Whether to spoil the signature.
    #[serde(default)]
    forged: bool,
}

/// Why no webhook was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EmitError {
    #[error("an SMTP server reports by mail, not by webhook")]
    NoWebhooks,
    #[error("no such message was taken")]
    NoSuchMessage,
    #[error("no certificate could be made")]
    NoCertificate,
    #[error(transparent)]
    Post(#[from] PostError),
}

/// Signs SES notifications.
pub(crate) struct Signer {
    key: KeyPair,
    pub(crate) certificate_pem: String,
}

impl Signer {
    /// A new key with a certificate of its own.
    pub(crate) fn generate() -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
        let params = CertificateParams::new(vec!["sns.amazonaws.com".to_owned()])?;
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self {
            key,
            certificate_pem,
        })
    }
}

/// Posts one webhook; answers the receiver's status.
pub(crate) async fn emit(sandbox: &Sandbox, request: &EventRequest) -> Result<u16, EmitError> {
    let at = (sandbox.config().clock)();
    match sandbox.kind() {
        Kind::Ses => emit_sns(sandbox, request, at).await,
        Kind::Mailgun => emit_mailgun(sandbox, request, at).await,
        Kind::Smtp => Err(EmitError::NoWebhooks),
    }
}

/// The message that is reported on, and the recipient.
fn subject_of(sandbox: &Sandbox, request: &EventRequest) -> Result<(Taken, String), EmitError> {
    let taken = match &request.message {
        Some(id) => sandbox.mailbox().by_id(id),
        None => sandbox.mailbox().newest(),
    };
    let taken = taken.ok_or(EmitError::NoSuchMessage)?;
    let first = taken.recipients.first().cloned();
    let recipient = request.recipient.clone().or(first);
    let recipient = recipient.ok_or(EmitError::NoSuchMessage)?;
    Ok((taken, recipient))
}

fn reply_of(request: &EventRequest) -> &str {
    let usual = match request.event {
        EventKind::Delivered => "250 2.0.0 OK",
        EventKind::Deferred => "451 4.7.1 try again later",
        EventKind::Bounced => "550 5.1.1 user unknown",
        EventKind::Complained | EventKind::Unsubscribed | EventKind::Subscription => "",
    };
    request.reply.as_deref().unwrap_or(usual)
}

/// SES developer guide, "Contents of event data that Amazon SES publishes to Amazon SNS".
async fn emit_sns(
    sandbox: &Sandbox,
    request: &EventRequest,
    at: Timestamp,
) -> Result<u16, EmitError> {
    let signer = sandbox.signer().ok_or(EmitError::NoCertificate)?;
    let serial = sandbox.mailbox().next_serial();
    let topic_arn = &sandbox.config().ses.topic_arn;
    let region = topic_arn.split(':').nth(3).unwrap_or_default();
    let host = format!("sns.{region}.amazonaws.com");
    let mut envelope = json!({
        "MessageId": format!("{:08x}-0000-4000-8000-{serial:012x}", at.as_second()),
        "TopicArn": topic_arn,
        "Timestamp": at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
        "SignatureVersion": "2",
        "SigningCertURL": format!("https://{host}/SimpleNotificationService-{CERTIFICATE_ID}.pem"),
    });
    let kind = if request.event == EventKind::Subscription {
        envelope["Message"] = "You have chosen to subscribe to the topic.".into();
        let token = format!("{serial:064x}");
        let query = format!("Action=ConfirmSubscription&TopicArn={topic_arn}&Token={token}");
        envelope["SubscribeURL"] = format!("https://{host}/?{query}").into();
        envelope["Token"] = token.into();
        "SubscriptionConfirmation"
    } else {
        let (taken, recipient) = subject_of(sandbox, request)?;
        let message = ses_event(request, &taken, &recipient, at);
        envelope["Message"] = message.to_string().into();
        "Notification"
    };
    envelope["Type"] = kind.into();
    let mut signature = signer
        .key
        .sign(string_to_sign(&envelope).as_bytes())
        .map_err(|_| EmitError::NoCertificate)?;
    if request.forged {
        signature.reverse();
    }
    envelope["Signature"] = STANDARD.encode(signature).into();
    let id = envelope["MessageId"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let headers = [
        ("Content-Type", "text/plain; charset=UTF-8"),
        ("x-amz-sns-message-type", kind),
        ("x-amz-sns-message-id", id.as_str()),
        ("x-amz-sns-topic-arn", topic_arn.as_str()),
    ];
    Ok(post(&request.url, &headers, &envelope.to_string()).await?)
}

/// SNS developer guide, "Verifying the signatures of Amazon SNS messages".
fn string_to_sign(envelope: &Value) -> String {
    let keys = [
        "Message",
        "MessageId",
        "Subject",
        "SubscribeURL",
        "Timestamp",
        "Token",
        "TopicArn",
        "Type",
    ];
    let mut text = String::new();
    for key in keys {
        if let Some(value) = envelope.get(key).and_then(Value::as_str) {
            text.push_str(&format!("{key}\n{value}\n"));
        }
    }
    text
}

fn ses_event(request: &EventRequest, taken: &Taken, recipient: &str, at: Timestamp) -> Value {
    let headers: Vec<Value> = taken
        .headers()
        .into_iter()
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect();
    let tags: serde_json::Map<String, Value> = taken
        .options
        .iter()
        .map(|(name, value)| (name.clone(), json!([value])))
        .collect();
    let mail = json!({
        "timestamp": taken.at.to_string(),
        "messageId": taken.id,
        "source": taken.header("from").unwrap_or_default(),
        "destination": taken.recipients,
        "headersTruncated": false,
        "headers": headers,
        "tags": tags,
    });
    let (reply, time) = (reply_of(request), at.to_string());
    let feedback_id = format!("0100{:012x}-feedback", at.as_millisecond());
    let (kind, key, detail) = match request.event {
        EventKind::Delivered | EventKind::Subscription => (
            "Delivery",
            "delivery",
            json!({ "timestamp": time, "recipients": [recipient], "smtpResponse": reply }),
        ),
        EventKind::Deferred => (
            "DeliveryDelay",
            "deliveryDelay",
            json!({
                "timestamp": time,
                "delayType": "TransientCommunicationFailure",
                "delayedRecipients": [{ "emailAddress": recipient, "status": "4.4.1", "diagnosticCode": reply }],
            }),
        ),
        EventKind::Bounced => (
            "Bounce",
            "bounce",
            json!({
                "bounceType": "Permanent",
                "bounceSubType": "General",
                "bouncedRecipients": [{ "emailAddress": recipient, "action": "failed", "status": "5.1.1", "diagnosticCode": format!("smtp; {reply}") }],
                "timestamp": time,
                "feedbackId": feedback_id,
            }),
        ),
        EventKind::Complained => (
            "Complaint",
            "complaint",
            json!({
                "complainedRecipients": [{ "emailAddress": recipient }],
                "complaintFeedbackType": "abuse",
                "timestamp": time,
                "feedbackId": feedback_id,
            }),
        ),
        EventKind::Unsubscribed => (
            "Subscription",
            "subscription",
            json!({
                "contactList": "all",
                "timestamp": time,
                "source": "UnsubscribeHeader",
                "newTopicPreferences": { "unsubscribeAll": true, "topicSubscriptionStatus": [] },
            }),
        ),
    };
    json!({ "eventType": kind, "mail": mail, key: detail })
}

/// Mailgun documentation, "Webhooks" and "Securing webhooks".
async fn emit_mailgun(
    sandbox: &Sandbox,
    request: &EventRequest,
    at: Timestamp,
) -> Result<u16, EmitError> {
    let (taken, recipient) = subject_of(sandbox, request)?;
    let serial = sandbox.mailbox().next_serial();
    let (timestamp, token) = (at.as_second().to_string(), format!("{serial:050x}"));
    let signing_key = &sandbox.config().mailgun.webhook_signing_key;
    let mut signature = hex_hmac(signing_key, &format!("{timestamp}{token}"));
    if request.forged {
        signature = signature.chars().rev().collect();
    }
    let (event, severity) = match request.event {
        EventKind::Delivered | EventKind::Subscription => ("delivered", None),
        EventKind::Deferred => ("failed", Some("temporary")),
        EventKind::Bounced => ("failed", Some("permanent")),
        EventKind::Complained => ("complained", None),
        EventKind::Unsubscribed => ("unsubscribed", None),
    };
    let variables: serde_json::Map<String, Value> = taken
        .options
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("v:")?.to_owned(), json!(value))))
        .collect();
    let reply = reply_of(request);
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
    let body = json!({
        "signature": { "timestamp": timestamp, "token": token, "signature": signature },
        "event-data": data,
    });
    let headers = [("Content-Type", "application/json")];
    Ok(post(&request.url, &headers, &body.to_string()).await?)
}

#[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
fn hex_hmac(key: &str, message: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("any length will do");
    mac.update(message.as_bytes());
    let digest = mac.finalize().into_bytes();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_string_to_sign_leaves_out_what_is_absent() {
        let envelope = json!({ "Type": "Notification", "Message": "m", "MessageId": "1",
            "Timestamp": "t", "TopicArn": "a", "SigningCertURL": "no", "Signature": "no" });
        assert_eq!(
            string_to_sign(&envelope),
            "Message\nm\nMessageId\n1\nTimestamp\nt\nTopicArn\na\nType\nNotification\n"
        );
    }

    #[test]
    fn the_hmac_is_the_one_of_rfc_4231() {
        let digest = hex_hmac("Jefe", "what do ya want for nothing?");
        assert_eq!(
            digest,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
