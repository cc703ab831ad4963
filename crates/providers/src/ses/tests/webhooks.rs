//! SNS posts: what is believed, and that nothing is fetched for what is not.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use malote_core::clock::FixedClock;
use malote_core::event::{Blame, EventKind};
use malote_core::name::ProviderName;
use malote_core::webhook::{Webhook, WebhookParser, WebhookRefusal, WebhookRequest};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256,
    RsaKeySize, SigningKey,
};
use serde_json::{Value, json};

use crate::http::FetchFault;
use crate::ses::certificate::{Certificates, SigningCertificate, Web};
use crate::ses::sns::Topic;
use crate::ses::webhook::SnsWebhook;

pub(in crate::ses) const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:malote";
const CERTIFICATE_URL: &str = "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem";
const SUBSCRIBE_URL: &str = "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:us-east-1:123456789012:malote&Token=2336412f37";
const SIGNED_V1: &str = include_str!("../../../testdata/sns_bounce_signed_v1_2026.json");
pub(in crate::ses) const SIGNED_V2: &str =
    include_str!("../../../testdata/sns_bounce_signed_v2_2026.json");
const CERTIFICATE: &[u8] = include_bytes!("../../../testdata/sns_certificate_2026.pem");

fn now() -> Timestamp {
    "2026-12-01T00:00:00Z".parse().unwrap()
}

/// Answers what it is told and notes every call.
struct FakeWeb {
    answer: Result<Bytes, FetchFault>,
    calls: Mutex<Vec<String>>,
}

#[async_trait]
impl Web for FakeWeb {
    async fn get(&self, url: &str, _bytes_max: usize) -> Result<Bytes, FetchFault> {
        self.calls.lock().unwrap().push(url.to_owned());
        self.answer.clone()
    }
}

struct Rig {
    webhook: SnsWebhook,
    web: Arc<FakeWeb>,
}

impl Rig {
    fn new(pinned: Option<&[u8]>, answer: Result<Bytes, FetchFault>) -> Self {
        let web = Arc::new(FakeWeb {
            answer,
            calls: Mutex::default(),
        });
        let pinned = pinned.map(|pem| SigningCertificate::read(pem).unwrap());
        let webhook = SnsWebhook {
            name: ProviderName::try_from("ses").unwrap(),
            topics: vec![Topic::parse(TOPIC).unwrap()],
            allow_sha1: true,
            certificates: Certificates::new(pinned, Arc::clone(&web) as _),
            web: Arc::clone(&web) as _,
            clock: Arc::new(FixedClock(now())),
            has_warned_of_sha1: AtomicBool::new(false),
            secret: None,
        };
        Self { webhook, web }
    }

    async fn post(&self, body: &str) -> Result<Webhook, WebhookRefusal> {
        self.webhook.parse(&request(body, &[])).await
    }

    fn calls(&self) -> usize {
        self.web.calls.lock().unwrap().len()
    }
}

pub(in crate::ses) fn request(body: &str, headers: &[(&str, &str)]) -> WebhookRequest {
    let headers = headers
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
    WebhookRequest {
        method: "POST".into(),
        path_secret: None,
        headers: headers.collect(),
        query: String::new(),
        body: Bytes::from(body.to_owned()),
        peer: [127, 0, 0, 1].into(),
    }
}

/// A key with certificates as SNS might have them.
struct Authority {
    key: KeyPair,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "Test CA");
        let issuer = Issuer::new(params, KeyPair::generate().unwrap());
        Self { key, issuer }
    }

    fn params(name: &str, until_year: i32) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until_year, 1, 1);
        params
    }

    fn certificate(&self, name: &str, until_year: i32) -> Bytes {
        let params = Self::params(name, until_year);
        params
            .signed_by(&self.key, &self.issuer)
            .unwrap()
            .pem()
            .into()
    }

    fn self_signed(&self) -> Bytes {
        let params = Self::params("sns.amazonaws.com", 2100);
        params.self_signed(&self.key).unwrap().pem().into()
    }

    /// Signs the envelope's members as SNS does.
    fn sign(&self, mut envelope: Value) -> String {
        let names: &[&str] = match envelope["Type"].as_str().unwrap() {
            "Notification" => &[
                "Message",
                "MessageId",
                "Subject",
                "Timestamp",
                "TopicArn",
                "Type",
            ],
            _ => &[
                "Message",
                "MessageId",
                "SubscribeURL",
                "Timestamp",
                "Token",
                "TopicArn",
                "Type",
            ],
        };
        let text: String = names
            .iter()
            .filter_map(|name| Some(format!("{name}\n{}\n", envelope[name].as_str()?)))
            .collect();
        let signature = self.key.sign(text.as_bytes()).unwrap();
        envelope["Signature"] = json!(STANDARD.encode(signature));
        envelope.to_string()
    }
}

fn confirmation() -> Value {
    json!({
        "Type": "SubscriptionConfirmation", "MessageId": "165545c9", "TopicArn": TOPIC,
        "Token": "2336412f37", "Message": "You have chosen to subscribe", "SignatureVersion": "2",
        "Timestamp": "2026-11-22T00:00:00.000Z", "SigningCertURL": CERTIFICATE_URL,
        "SubscribeURL": SUBSCRIBE_URL,
    })
}

fn signed_v2() -> Value {
    serde_json::from_str(SIGNED_V2).unwrap()
}

#[tokio::test]
async fn both_signature_versions_are_believed_with_the_operators_certificate() {
    let mut rig = Rig::new(Some(CERTIFICATE), Err(FetchFault::NotWhole));
    for body in [SIGNED_V1, SIGNED_V2] {
        let webhook = rig.post(body).await.unwrap();
        let event = &webhook.events[0];
        assert_eq!(
            (&event.kind, event.blame),
            (&EventKind::Bounced, Some(Blame::Recipient))
        );
        assert_eq!(event.dedup_key, "2d3cfafb-fab7-4468-a7c9-f0bb0ca673fe#0");
        assert_eq!(event.delivery.unwrap().index, 0);
        assert_eq!(
            event.provider_message_id.as_deref(),
            Some("0100019aa-example-000000")
        );
    }
    assert_eq!(rig.calls(), 0);
    rig.webhook.allow_sha1 = false;
    assert!(matches!(
        rig.post(SIGNED_V1).await,
        Err(WebhookRefusal::Forbidden(_))
    ));
    assert!(rig.post(SIGNED_V2).await.is_ok());
}

#[tokio::test]
async fn a_changed_or_unsigned_post_is_not_believed() {
    let rig = Rig::new(Some(CERTIFICATE), Err(FetchFault::NotWhole));
    for (key, value) in [
        ("Message", json!("{}")),
        ("MessageId", json!("another")),
        ("Timestamp", json!("2026-11-22T00:00:07.000Z")),
        ("Subject", json!("another")),
        ("Subject", Value::Null),
        ("Signature", json!("AAAA")),
        ("Signature", json!("not base64")),
        ("Signature", json!("")),
        ("Signature", json!(7)),
        ("Type", json!("SomethingNew")),
        ("Type", json!("UnsubscribeConfirmation")),
        ("MessageId", json!("a\r\nb")),
    ] {
        let mut envelope = signed_v2();
        envelope[key] = value.clone();
        let refused = rig.post(&envelope.to_string()).await;
        assert!(
            matches!(refused, Err(WebhookRefusal::Unverified(_))),
            "{key} {value} {refused:?}"
        );
    }
    for body in [
        "",
        "[]",
        "{}",
        "null",
        "{\"Type\":\"Notification\"}",
        "\u{0}",
    ] {
        assert!(
            matches!(rig.post(body).await, Err(WebhookRefusal::Unverified(_))),
            "{body}"
        );
    }
    let mut envelope = signed_v2();
    envelope["SignatureVersion"] = json!("3");
    let refused = rig.post(&envelope.to_string()).await;
    assert!(matches!(refused, Err(WebhookRefusal::Forbidden(_))));
    assert_eq!(rig.calls(), 0);
}

#[tokio::test]
async fn header_fields_must_agree_with_the_body() {
    let rig = Rig::new(Some(CERTIFICATE), Err(FetchFault::NotWhole));
    let id = (
        "x-amz-sns-message-id",
        "2d3cfafb-fab7-4468-a7c9-f0bb0ca673fe",
    );
    let good = [
        ("x-amz-sns-message-type", "Notification"),
        id,
        ("x-amz-sns-topic-arn", TOPIC),
    ];
    assert!(rig.webhook.parse(&request(SIGNED_V2, &good)).await.is_ok());
    for bad in [
        ("x-amz-sns-message-type", "SubscriptionConfirmation"),
        ("x-amz-sns-message-id", "another"),
        ("x-amz-sns-topic-arn", "another"),
    ] {
        let refused = rig.webhook.parse(&request(SIGNED_V2, &[bad])).await;
        assert!(
            matches!(refused, Err(WebhookRefusal::Forbidden(_))),
            "{bad:?}"
        );
    }
    let raw = request("{}", &[("x-amz-sns-rawdelivery", "true")]);
    assert!(matches!(
        rig.webhook.parse(&raw).await,
        Err(WebhookRefusal::Unverified(_))
    ));
}

#[tokio::test]
async fn certificates_are_fetched_from_the_topics_region_only() {
    let rig = Rig::new(None, Ok(Bytes::from_static(CERTIFICATE)));
    let id = "0123456789abcdef0123456789abcdef.pem";
    let host = "https://sns.us-east-1.amazonaws.com";
    for url in [
        "https://evil.test/SimpleNotificationService.pem".to_owned(),
        format!("http://sns.us-east-1.amazonaws.com/SimpleNotificationService-{id}"),
        format!("https://sns.us-east-1.amazonaws.com.evil.test/SimpleNotificationService-{id}"),
        format!("https://sns.us-east-1.amazonaws.com@evil.test/SimpleNotificationService-{id}"),
        format!("https://sns.us-east-1.amazonaws.com:8443/SimpleNotificationService-{id}"),
        format!("https://s3.amazonaws.com/b/SimpleNotificationService-{id}"),
        format!("https://sns.s3-ap-southeast-2.amazonaws.com/SimpleNotificationService-{id}"),
        format!("https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-{id}"),
        format!("https://sns.us-east-1.amazonaws.com.cn/SimpleNotificationService-{id}"),
        format!("https://sns.us-east-1。amazonaws.com/SimpleNotificationService-{id}"),
        format!("https://sns.us-east-1.amazonaws.com./SimpleNotificationService-{id}"),
        format!("https://SNS.us-east-1.amazonaws.com/SimpleNotificationService-{id}"),
        format!("{host}/../SimpleNotificationService-{id}"),
        format!("{host}/%2e/SimpleNotificationService-{id}"),
        format!("{host}/SimpleNotificationService-{id}?x"),
        format!("{host}/SimpleNotificationService-{id}#"),
        format!("{host}/SimpleNotificationService-{id}\r\n"),
        format!("{host}/SimpleNotificationService-{}", id.to_uppercase()),
        format!("{host}/SimpleNotificationService-1{id}"),
        format!("{host}/SimpleNotificationService-.pem"),
        String::new(),
    ] {
        let mut envelope = signed_v2();
        envelope["SigningCertURL"] = json!(url);
        let refused = rig.post(&envelope.to_string()).await;
        assert!(
            matches!(refused, Err(WebhookRefusal::Forbidden(_))),
            "{url}"
        );
    }
    let mut foreign = signed_v2();
    foreign["TopicArn"] = json!("arn:aws:sns:us-east-1:999999999999:malote");
    let refused = rig.post(&foreign.to_string()).await;
    assert!(matches!(refused, Err(WebhookRefusal::Forbidden(_))));
    assert_eq!(rig.calls(), 0, "nothing is fetched for what is refused");

    for _ in 0..3 {
        assert!(rig.post(SIGNED_V2).await.is_ok());
    }
    assert_eq!(
        *rig.web.calls.lock().unwrap(),
        [CERTIFICATE_URL],
        "fetched once"
    );
}

#[tokio::test]
async fn a_certificate_that_is_not_sns_own_is_refused() {
    let authority = Authority::new();
    let envelope = authority.sign(signed_v2());
    let good = authority.certificate("sns.amazonaws.com", 2100);
    assert!(Rig::new(None, Ok(good)).post(&envelope).await.is_ok());
    let too_late = Rig::new(None, Ok(authority.certificate("sns.amazonaws.com", 2026)));
    for (what, rig) in [
        ("expired", too_late),
        (
            "other name",
            Rig::new(None, Ok(authority.certificate("evil.test", 2100))),
        ),
        (
            "other region",
            Rig::new(
                None,
                Ok(authority.certificate("sns-signing.me-south-1.amazonaws.com", 2100)),
            ),
        ),
        ("self-signed", Rig::new(None, Ok(authority.self_signed()))),
        (
            "no certificate",
            Rig::new(None, Ok(Bytes::from_static(b"<html>"))),
        ),
    ] {
        let refused = rig.post(&envelope).await;
        assert!(
            matches!(refused, Err(WebhookRefusal::Forbidden(_))),
            "{what} {refused:?}"
        );
    }
    // SNS takes a 4xx for a delivery, and nothing is known of the post yet.
    for fault in [
        FetchFault::NotWhole,
        FetchFault::Status(302),
        FetchFault::Status(403),
        FetchFault::Status(500),
        FetchFault::Unreachable("timed out".into()),
    ] {
        let refused = Rig::new(None, Err(fault)).post(&envelope).await;
        assert!(
            matches!(refused, Err(WebhookRefusal::Unavailable(_))),
            "{refused:?}"
        );
    }
    let other_key = Rig::new(
        None,
        Ok(Authority::new().certificate("sns.amazonaws.com", 2100)),
    );
    let refused = other_key.post(&envelope).await;
    assert!(
        matches!(refused, Err(WebhookRefusal::Unverified(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_operators_certificate_may_be_self_signed_but_not_expired_or_foreign() {
    let authority = Authority::new();
    let envelope = authority.sign(signed_v2());
    let none = || Err(FetchFault::NotWhole);
    assert!(
        Rig::new(Some(&authority.self_signed()), none())
            .post(&envelope)
            .await
            .is_ok()
    );
    for (name, until) in [("sns.amazonaws.com", 2026), ("evil.test", 2100)] {
        let rig = Rig::new(Some(&authority.certificate(name, until)), none());
        let refused = rig.post(&envelope).await;
        assert!(
            matches!(refused, Err(WebhookRefusal::Forbidden(_))),
            "{name} {until}"
        );
    }
}

#[tokio::test]
async fn a_subscription_to_our_topic_is_confirmed_and_no_other() {
    let authority = Authority::new();
    let certificate = authority.certificate("sns.amazonaws.com", 2100);
    let rig = Rig::new(
        Some(&certificate),
        Ok(Bytes::from_static(b"<ConfirmSubscriptionResponse>")),
    );
    let webhook = rig.post(&authority.sign(confirmation())).await.unwrap();
    assert_eq!(webhook, Webhook::default());
    assert_eq!(*rig.web.calls.lock().unwrap(), [SUBSCRIBE_URL]);

    let rig = Rig::new(Some(&certificate), Ok(Bytes::new()));
    for url in [
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        SUBSCRIBE_URL.replace("https", "http"),
        SUBSCRIBE_URL.replace(".com/", ".com.evil.test/"),
        SUBSCRIBE_URL.replace("ConfirmSubscription", "DeleteTopic"),
        SUBSCRIBE_URL.replace(":malote", ":other"),
        SUBSCRIBE_URL.replace("Token=2", "Token=3"),
        format!("{SUBSCRIBE_URL}&Action=DeleteTopic"),
        format!("{SUBSCRIBE_URL}#x"),
        format!("{SUBSCRIBE_URL}\r\nX: y"),
        format!("{SUBSCRIBE_URL}&x={}", "y".repeat(3000)),
    ] {
        let mut envelope = confirmation();
        envelope["SubscribeURL"] = json!(url);
        let refused = rig.post(&authority.sign(envelope)).await;
        assert!(
            matches!(refused, Err(WebhookRefusal::Forbidden(_))),
            "{url}"
        );
    }
    let mut forged = confirmation();
    forged["Signature"] = json!("AAAA");
    let refused = rig.post(&forged.to_string()).await;
    assert!(matches!(refused, Err(WebhookRefusal::Unverified(_))));
    assert_eq!(rig.calls(), 0);

    let rig = Rig::new(Some(&certificate), Err(FetchFault::Status(500)));
    let refused = rig.post(&authority.sign(confirmation())).await;
    assert!(
        matches!(refused, Err(WebhookRefusal::Unavailable(_))),
        "SNS comes again"
    );
    let mut leaving = confirmation();
    leaving["Type"] = json!("UnsubscribeConfirmation");
    assert_eq!(
        rig.post(&authority.sign(leaving)).await,
        Ok(Webhook::default())
    );
}

proptest! {
    #[test]
    fn no_body_breaks_the_parser(body in "\\PC{0,200}", text in "\\PC{0,80}", key in 0usize..11) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let rig = Rig::new(Some(CERTIFICATE), Err(FetchFault::NotWhole));
        prop_assert!(runtime.block_on(rig.post(&body)).is_err());
        let mut envelope = signed_v2();
        let name = envelope.as_object().unwrap().keys().nth(key % 10).unwrap().clone();
        if name != "UnsubscribeURL" {
            envelope[&name] = json!(text);
            prop_assert!(runtime.block_on(rig.post(&envelope.to_string())).is_err());
        }
        prop_assert!(SigningCertificate::read(body.as_bytes()).is_err());
        prop_assert_eq!(rig.calls(), 0);
    }
}
