//! Notifications by SNS, signed as Amazon signs them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::SigningKey as _;
use serde_json::{Value, json};

use crate::event::{EmitError, EventKind, Report, Webhook};
use crate::sandbox::Sandbox;

/// The id in the URL of the signing certificate: 32 hexadecimal digits, as in the service's.
const CERTIFICATE_ID: &str = "5a9d80b0c0ffee0000000000005a9d80";

/// What stands in place of a server's reply where none was asked.
const ON_LIST: &str = "Amazon SES did not send the message to this address because it is on the \
    suppression list for your account.";

/// SES developer guide, "Contents of event data that Amazon SES publishes to Amazon SNS".
pub(crate) fn webhook(sandbox: &Sandbox, report: &Report) -> Result<Webhook, EmitError> {
    let (at, serial) = (report.at, report.serial);
    let signer = sandbox.signer().ok_or(EmitError::NoKey)?;
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
    let kind = if report.event == EventKind::Subscription {
        envelope["Message"] = "You have chosen to subscribe to the topic.".into();
        let token = format!("{serial:064x}");
        let query = format!("Action=ConfirmSubscription&TopicArn={topic_arn}&Token={token}");
        envelope["SubscribeURL"] = format!("https://{host}/?{query}").into();
        envelope["Token"] = token.into();
        "SubscriptionConfirmation"
    } else {
        let message = notification(report);
        envelope["Message"] = message.to_string().into();
        "Notification"
    };
    envelope["Type"] = kind.into();
    let mut signature = signer
        .key
        .sign(string_to_sign(&envelope).as_bytes())
        .map_err(|_| EmitError::NoKey)?;
    if report.forged {
        signature.reverse();
    }
    envelope["Signature"] = STANDARD.encode(signature).into();
    let id = envelope["MessageId"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    Ok(Webhook::new(envelope.to_string())
        .header("Content-Type", "text/plain; charset=UTF-8")
        .header("x-amz-sns-message-type", kind)
        .header("x-amz-sns-message-id", &id)
        .header("x-amz-sns-topic-arn", topic_arn))
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

fn notification(report: &Report) -> Value {
    let taken = &report.taken;
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
    let (kind, key, detail) = of_kind(report);
    json!({ "eventType": kind, "mail": mail, key: detail })
}

/// The event's type, its own member, and what stands there.
fn of_kind(report: &Report) -> (&'static str, &'static str, Value) {
    let (recipient, at) = (&report.recipient, report.at);
    let (reply, time) = (report.reply(), at.to_string());
    let feedback_id = format!("0100{:012x}-feedback", at.as_millisecond());
    match report.event {
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
        EventKind::Suppressed => (
            "Bounce",
            "bounce",
            json!({
                "bounceType": "Permanent",
                "bounceSubType": "OnAccountSuppressionList",
                "bouncedRecipients": [{ "emailAddress": recipient, "action": "failed", "status": "5.1.1", "diagnosticCode": ON_LIST }],
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
    }
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
}
