//! Posts in the manner of Amazon SNS, signed with a key of our own.

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malote_tests::SHOP_KEY;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize, SigningKey as _};
use serde_json::{Value, json};

use super::{Rig, now_s};
use crate::send_order;

const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:malote";
const HOST: &str = "https://sns.us-east-1.amazonaws.com";
const FILE: &str = "SimpleNotificationService-5a9d80b0c0ffee0000000000005a9d80.pem";
/// What is signed, in this order (SNS developer guide, "Verifying the signatures").
const SIGNED: [&str; 8] = [
    "Message",
    "MessageId",
    "Subject",
    "SubscribeURL",
    "Timestamp",
    "Token",
    "TopicArn",
    "Type",
];

pub(super) struct Signer {
    key: KeyPair,
    pub(super) certificate_pem: String,
}

impl Signer {
    pub(super) fn generate() -> Result<Self> {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
        let params = CertificateParams::new(vec!["sns.amazonaws.com".to_owned()])?;
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self {
            key,
            certificate_pem,
        })
    }

    fn sign(&self, mut envelope: Value) -> Result<Value> {
        let mut text = String::new();
        for member in SIGNED {
            if let Some(value) = envelope[member].as_str() {
                text.push_str(&format!("{member}\n{value}\n"));
            }
        }
        let signature = self.key.sign(text.as_bytes())?;
        envelope["Signature"] = STANDARD.encode(signature).into();
        Ok(envelope)
    }
}

/// An event of SES about this message, not yet signed.
fn notification(id: &str, event: &Value) -> Value {
    json!({
        "Type": "Notification",
        "MessageId": id,
        "TopicArn": TOPIC,
        "Message": event.to_string(),
        "Timestamp": "2026-01-02T03:04:05.000Z",
        "SignatureVersion": "2",
        "SigningCertURL": format!("{HOST}/{FILE}"),
    })
}

fn bounce(message: &str, recipient: &str) -> Value {
    json!({
        "eventType": "Bounce",
        "mail": {
            "timestamp": "2026-01-02T03:04:05.000Z", "messageId": message,
            "destination": [recipient], "tags": {},
        },
        "bounce": {
            "bounceType": "Permanent", "bounceSubType": "General", "feedbackId": "f",
            "timestamp": "2026-01-02T03:04:06.000Z",
            "bouncedRecipients": [{
                "emailAddress": recipient, "action": "failed", "status": "5.1.1",
                "diagnosticCode": "smtp; 550 5.1.1 user unknown",
            }],
        },
    })
}

fn subscription(url: &str) -> Value {
    json!({
        "Type": "SubscriptionConfirmation",
        "MessageId": "subscription",
        "Token": "2336412f",
        "TopicArn": TOPIC,
        "Message": "You have chosen to subscribe to the topic.",
        "SubscribeURL": url,
        "Timestamp": "2026-01-02T03:04:05.000Z",
        "SignatureVersion": "2",
        "SigningCertURL": format!("{HOST}/{FILE}"),
    })
}

fn with(mut envelope: Value, member: &str, value: impl Into<Value>) -> Value {
    envelope[member] = value.into();
    envelope
}

/// Sends an order; answers the id that the service gave it.
async fn sent(rig: &Rig, recipient: &str) -> Result<String> {
    let timeline = send_order(&rig.world, recipient).await?;
    let id = timeline["deliveries"][0]["provider_message_id"].as_str();
    Ok(id.context("no id")?.to_owned())
}

pub(super) async fn forged(rig: &Rig) -> Result<()> {
    let recipient = "sns-forged@case.example";
    let event = bounce(&sent(rig, recipient).await?, recipient);
    let good = notification("forged", &event);
    let sign = |envelope| rig.signer.sign(envelope);
    let unsigned = with(good.clone(), "Signature", "");
    rig.expect("ses", &unsigned, 401).await?;
    for signature in ["AAAA", "*", "MAYCAQACAQA=", "\r\n"] {
        rig.expect("ses", &with(good.clone(), "Signature", signature), 401)
            .await?;
    }
    rig.expect("ses", &with(good.clone(), "Signature", json!(["x"])), 401)
        .await?;
    // Signed, then altered.
    let signed = sign(good.clone())?;
    let other = bounce("another", recipient).to_string();
    rig.expect("ses", &with(signed.clone(), "Message", other), 401)
        .await?;
    rig.expect("ses", &with(signed, "MessageId", "another"), 401)
        .await?;
    // Signed by somebody else who may sign.
    let stranger = Signer::generate()?.sign(good.clone())?;
    rig.expect("ses", &stranger, 401).await?;
    // Anybody can own a topic.
    for arn in [
        "arn:aws:sns:us-east-1:999999999999:malote",
        "arn:aws:sns:us-east-1:123456789012:malote2",
        "arn:aws:sns:eu-west-1:123456789012:malote",
        "ARN:AWS:SNS:us-east-1:123456789012:malote",
        "",
    ] {
        let foreign = sign(with(good.clone(), "TopicArn", arn))?;
        rig.expect("ses", &foreign, 403).await?;
    }
    for (version, status) in [("1", 401), ("3", 403), ("", 403), ("02", 403)] {
        let signed = sign(with(good.clone(), "SignatureVersion", version))?;
        rig.expect("ses", &signed, status).await?;
    }
    let (state, bounces) = rig.told(recipient, SHOP_KEY, "bounced").await?;
    ensure!(
        state == "sent" && bounces == 0,
        "{state}, {bounces} bounces"
    );
    Ok(())
}

/// URLs that point elsewhere: refused, and nobody is called. `ses` has its certificate in a file,
/// `fetching` would have to fetch it.
pub(super) async fn urls(rig: &Rig) -> Result<()> {
    let ear = rig.ear.address;
    let event = bounce("urls", "urls@case.example");
    for url in [
        format!("https://{ear}/{FILE}"),
        format!("http://{ear}/{FILE}"),
        format!("https://sns.us-east-1.amazonaws.com@{ear}/{FILE}"),
        format!("https://sns.us-east-1.amazonaws.com:x@{ear}/{FILE}"),
        format!("https://{ear}\\@sns.us-east-1.amazonaws.com/{FILE}"),
        format!("http://sns.us-east-1.amazonaws.com/{FILE}"),
        format!("{HOST}.evil.example/{FILE}"),
        format!("{HOST}:8443/{FILE}"),
        format!("{HOST}./{FILE}"),
        format!("{HOST}/../{FILE}"),
        format!("{HOST}/{FILE}?x"),
        format!("{HOST}/{FILE}#"),
        format!("{HOST}/{FILE}\r\nHost: evil.example"),
        format!("{HOST}/SimpleNotificationService-5a9d.pem"),
        format!("{HOST}/SimpleNotificationService-%35a9d80b0c0ffee0000000000005a9d80.pem"),
        format!("HTTPS://SNS.US-EAST-1.AMAZONAWS.COM/{FILE}"),
        format!("https://sns。us-east-1。amazonaws。com/{FILE}"),
        format!("https://sns%2eus-east-1.amazonaws.com/{FILE}"),
        format!("https://sns.eu-west-1.amazonaws.com/{FILE}"),
        format!("https://sns.s3-ap-southeast-2.amazonaws.com/{FILE}"),
        format!("https://s3.amazonaws.com/bucket/{FILE}"),
        "https://evil.example/SimpleNotificationService.pem".to_owned(),
        "file:///etc/passwd".to_owned(),
        String::new(),
    ] {
        let envelope = with(notification("urls", &event), "SigningCertURL", url);
        let signed = rig.signer.sign(envelope)?;
        rig.expect("ses", &signed, 403).await?;
        rig.expect("fetching", &signed, 403).await?;
    }
    let query = format!("Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f");
    for url in [
        format!("http://{ear}/?{query}"),
        format!("https://{ear}/?{query}"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        format!("http://sns.us-east-1.amazonaws.com/?{query}"),
        format!("https://sns.us-east-1.amazonaws.com@{ear}/?{query}"),
        format!("{HOST}:8443/?{query}"),
        format!("{HOST}/?Action=DeleteTopic&TopicArn={TOPIC}&Token=2336412f"),
        format!("{HOST}/?{query}&Action=DeleteTopic"),
        format!("{HOST}/?{query}x"),
        format!("{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}2&Token=2336412f"),
        format!("{HOST}/elsewhere?{query}"),
        format!("{HOST}/?{query}#x"),
        String::new(),
    ] {
        let signed = rig.signer.sign(subscription(&url))?;
        rig.expect("ses", &signed, 403).await?;
        rig.expect("fetching", &signed, 403).await?;
    }
    // The signature comes before the link.
    let forged = with(
        subscription(&format!("{HOST}/?{query}")),
        "Signature",
        "AAAA",
    );
    rig.expect("ses", &forged, 401).await
}

pub(super) async fn repeated(rig: &Rig) -> Result<()> {
    let recipient = "sns-repeated@case.example";
    let message = sent(rig, recipient).await?;
    // The envelope's own time is long past: services deliver late.
    let id = format!("repeated-{}", now_s());
    let signed = rig
        .signer
        .sign(notification(&id, &bounce(&message, recipient)))?;
    for _ in 0..3 {
        rig.expect("ses", &signed, 200).await?;
    }
    let (state, bounces) = rig.told(recipient, SHOP_KEY, "bounced").await?;
    ensure!(
        state == "bounced" && bounces == 1,
        "{state}, {bounces} bounces"
    );
    // What nobody sent is taken and changes nothing.
    let stranger = notification("unknown", &bounce("unknown", "sns-stranger@case.example"));
    rig.expect("ses", &rig.signer.sign(stranger)?, 200).await?;
    send_order(&rig.world, "sns-stranger@case.example").await?;
    Ok(())
}
