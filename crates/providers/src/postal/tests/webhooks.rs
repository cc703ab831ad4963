//! Webhooks: what is believed, and what believed events mean.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malote_core::event::{Blame, EventKind};
use malote_core::webhook::{Webhook, WebhookRefusal};
use proptest::prelude::*;
use rcgen::{KeyPair, PKCS_RSA_SHA256, PublicKeyData as _, RsaKeySize, SigningKey as _};
use serde_json::{Value, json};

use crate::correlation::tests::outgoing;
use crate::correlation::{Readers, as_one};
use crate::postal::events::{self, Told};
use crate::postal::key::{Digests, Key};
use crate::webhook::Ids;
use crate::webhook::rig::{built, meaning, only, parser, post, refused};

const FIXTURE: &str = include_str!("../../../testdata/postal_delivery_failed_2026.json");
/// Made by OpenSSL for this test, 1,024 bits as by Postal's installer, with what it signed:
/// `{"event":"MessageSent"}`, with SHA-1.
const SHORT_KEY: &str = include_str!("../../../testdata/postal_key_1024_2026.pem");
const SIGNED_BODY: &str = "{\"event\":\"MessageSent\"}";
const SIGNED_SHA1: &str = include_str!("../../../testdata/postal_signed_sha1_2026.txt");

static KEY: LazyLock<KeyPair> =
    LazyLock::new(|| KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap());

fn signature(body: &str) -> String {
    STANDARD.encode(KEY.sign(body.as_bytes()).unwrap())
}

fn table(own: &str, public_key: &str, more: &str) -> String {
    format!("{own}\n[webhook]\npublic_key = '''{public_key}'''\n{more}")
}

const NATIVE: &str = "[postal]\nserver_key = 'k'\nendpoint = 'https://postal.shop.example'";
const PRESET: &str = "[smtp]\npreset = 'postal'\nhost = 'postal.shop.example'\npassword = 'k'";

#[tokio::test]
async fn a_posted_event_reaches_its_delivery() {
    let sent = outgoing(&["x@dest.example"]);
    let body = FIXTURE.replace("@TAG@", &as_one(&sent, Readers::Recipients, 255));
    let signature = signature(&body);
    let request = post(&body, &[("x-postal-signature-256", &signature)]);
    let dkim = KEY.public_key_pem();
    let dkim: String = dkim.lines().filter(|line| !line.starts_with('-')).collect();
    let record = format!("v=DKIM1; t=s; h=sha256; p={dkim};");
    for (own, key, id) in [
        (NATIVE, KEY.public_key_pem(), "37171"),
        (NATIVE, dkim, "37171"),
        (PRESET, record, "5f2f8b7e@shop.example"),
    ] {
        let parser = parser(&table(own, &key, ""));
        let event = only(parser.parse(&request).await.unwrap());
        assert_eq!(event.dedup_key, "0f2a4e61-6a2f-4d6b-9c3c-7d1a3d2f9b10");
        assert_eq!(
            (event.kind, event.blame),
            (EventKind::Bounced, Some(Blame::Recipient))
        );
        assert_eq!(event.delivery, Some(sent.recipients[0].delivery));
        assert_eq!(event.provider_message_id.as_deref(), Some(id));
        assert_eq!(event.recipient.unwrap().as_str(), "x@dest.example");
        assert_eq!(event.at.to_string(), "2026-11-22T00:00:00Z");
        assert!(event.detail.starts_with("550 5.1.1"), "{}", event.detail);
        assert!(!event.raw.is_empty());
    }
}

#[tokio::test]
async fn what_the_installation_did_not_sign_is_unverified() {
    let parser = parser(&table(NATIVE, &KEY.public_key_pem(), ""));
    let good = signature(FIXTURE);
    let (kid, other) = ("x-postal-signature-kid", signature("{}"));
    let altered = FIXTURE.replace("37171", "37172");
    for (body, headers) in [
        (FIXTURE, vec![]),
        (FIXTURE, vec![("x-postal-signature-256", "")]),
        (FIXTURE, vec![("x-postal-signature-256", "*")]),
        (FIXTURE, vec![("x-postal-signature-256", &*other)]),
        (FIXTURE, vec![(kid, &*good)]),
        // The older digest, which nobody has allowed.
        (FIXTURE, vec![("x-postal-signature", &*good)]),
        (&*altered, vec![("x-postal-signature-256", &*good)]),
        ("", vec![("x-postal-signature-256", &*good)]),
    ] {
        let refused = parser.parse(&post(body, &headers)).await;
        assert!(
            matches!(refused, Err(WebhookRefusal::Unverified(_))),
            "{headers:?}"
        );
    }
}

#[test]
fn sha_1_is_believed_only_where_it_is_allowed_and_stands_alone() {
    let octets = STANDARD
        .decode(
            SHORT_KEY
                .lines()
                .filter(|l| !l.starts_with('-'))
                .collect::<String>(),
        )
        .unwrap();
    let key = Key::read(&octets).unwrap();
    assert!(key.is_short());
    let signature = SIGNED_SHA1.trim();
    let alone = post(SIGNED_BODY, &[("x-postal-signature", signature)]);
    assert!(key.verify(&alone, Digests::Sha1Too).is_ok());
    assert!(key.verify(&alone, Digests::Sha256).is_err());
    let both = [
        ("x-postal-signature", signature),
        ("x-postal-signature-256", signature),
    ];
    let both = post(SIGNED_BODY, &both);
    assert!(
        key.verify(&both, Digests::Sha1Too).is_err(),
        "the better one is wrong"
    );
}

#[test]
fn a_short_key_and_sha_1_warn_and_another_key_is_refused() {
    let (adapter, faults) = built(&table(NATIVE, SHORT_KEY, "allow_sha1 = true"));
    assert!(adapter.is_some());
    for path in ["p.webhook.public_key", "p.webhook.allow_sha1"] {
        let is_told = faults.iter().any(|fault| fault.contains(path));
        assert!(is_told, "{path}: {faults:?}");
    }
    let ecdsa = KeyPair::generate().unwrap();
    for key in [&ecdsa.public_key_pem(), "nonsense", ""] {
        let errors = refused(&table(NATIVE, key, ""));
        assert!(errors.contains("p.webhook.public_key"), "{errors}");
    }
    let octets = KEY.subject_public_key_info();
    assert!(!Key::read(&octets).unwrap().is_short());
}

fn read(value: &Value) -> Webhook {
    match events::read(value.to_string().as_bytes(), Ids::Api).unwrap() {
        Told::Messages(webhook) => webhook,
        Told::Server(words) => panic!("{words}"),
    }
}

fn event(word: &str, payload: &Value) -> Value {
    let message = json!({ "id": 1, "to": "a@x.test", "tag": null });
    let mut payload = payload.clone();
    if payload["original_message"].is_null() {
        payload["message"] = message;
    }
    json!({ "event": word, "timestamp": 1795305600.5, "payload": payload, "uuid": "u" })
}

#[test]
fn each_event_has_its_kind() {
    let failed = |details: &str, output: &str| {
        let payload = json!({ "status": "HardFail", "details": details, "output": output });
        event("MessageDeliveryFailed", &payload)
    };
    let held = |details: &str| event("MessageHeld", &json!({ "details": details }));
    let back = json!({ "original_message": { "id": 1, "to": "a@x.test" }, "bounce": { "subject": "Undelivered" } });
    let bounced = |blame| (EventKind::Bounced, Some(blame));
    for (value, expected) in [
        (
            event("MessageSent", &json!({ "status": "Sent" })),
            (EventKind::Delivered, None),
        ),
        (
            event("MessageDelayed", &json!({ "status": "SoftFail" })),
            (EventKind::Deferred, None),
        ),
        (
            failed("", "550 5.1.1 no such user"),
            bounced(Blame::Recipient),
        ),
        (
            failed("", "550 5.1.1 blocked by Spamhaus"),
            bounced(Blame::Reputation),
        ),
        (
            failed("", "552 5.2.2 mailbox full"),
            bounced(Blame::MailboxFull),
        ),
        (failed("", "550 go away"), bounced(Blame::Unknown)),
        (
            failed("Message is likely spam. Threshold is 5", ""),
            bounced(Blame::Content),
        ),
        (
            failed("Message's domain no longer exist", ""),
            bounced(Blame::Infrastructure),
        ),
        (
            held("Message held because send limit (500) has been reached."),
            (EventKind::Held, None),
        ),
        (
            held("Recipient (a@x.test) is on the suppression list (reason: x)"),
            (EventKind::Suppressed, None),
        ),
        (event("MessageBounced", &back), bounced(Blame::Unknown)),
        (
            event("MessageLinkClicked", &json!({ "url": "https://a" })),
            (EventKind::Clicked, None),
        ),
        (
            event("MessageLoaded", &json!({})),
            (EventKind::Opened, None),
        ),
        (
            event("MessageNovel", &json!({})),
            (EventKind::Other("MessageNovel".into()), None),
        ),
    ] {
        assert_eq!(meaning(read(&value)), expected, "{value}");
    }
    assert_eq!(
        only(read(&event("MessageBounced", &back))).detail,
        "came back: Undelivered"
    );
}

#[tokio::test]
async fn trouble_of_the_server_itself_is_kept_in_words() {
    let body = json!({
        "event": "DomainDNSError", "timestamp": 1795305600.5, "uuid": "u",
        "payload": { "domain": "shop.example", "spf_status": "Missing", "spf_error": "No SPF record",
            "dkim_status": "OK", "mx_status": "OK", "return_path_status": "OK" },
    })
    .to_string();
    let parser = parser(&table(NATIVE, &KEY.public_key_pem(), ""));
    let signature = signature(&body);
    let request = post(&body, &[("x-postal-signature-256", &signature)]);
    let webhook = parser.parse(&request).await.unwrap();
    assert!(webhook.events.is_empty());
    let words = "postal: trouble of the server itself: DomainDNSError shop.example spf: Missing No SPF record";
    assert_eq!(webhook.unreadable.len(), 1);
    assert_eq!(webhook.unreadable[0].to_string(), words);
    let limit = json!({ "event": "SendLimitExceeded", "payload": { "volume": 501, "limit": 500 } });
    assert_eq!(
        events::read(limit.to_string().as_bytes(), Ids::Api),
        Ok(Told::Server(
            "SendLimitExceeded volume 501 limit 500".into()
        ))
    );
}

#[test]
fn what_cannot_be_read_is_set_aside_for_a_reason_without_the_address() {
    let good = event("MessageSent", &json!({}));
    let with = |recipient: Value| {
        let mut value = good.clone();
        value["payload"]["message"]["to"] = recipient;
        value
    };
    let mut timeless = good.clone();
    timeless["timestamp"] = json!(-1);
    for value in [
        with(json!("canary@x\r\nb")),
        with(json!("canary@x".repeat(130_000))),
        with(json!(["canary@x.test"])),
        timeless,
    ] {
        let webhook = read(&value);
        assert!(webhook.events.is_empty() && webhook.unreadable.len() == 1);
        assert!(!webhook.unreadable[0].reason.contains("canary"));
    }
    for body in ["", "{", "[]", "7", "{}", "{\"event\":7}"] {
        let refused = events::read(body.as_bytes(), Ids::Api);
        assert!(
            matches!(refused, Err(WebhookRefusal::Malformed(_))),
            "{body}"
        );
    }
}

proptest! {
    #[test]
    fn no_body_breaks_the_parser(
        octets in prop::collection::vec(any::<u8>(), 0..300),
        text in "\\PC{0,40}",
        number in any::<f64>(),
    ) {
        events::read(&octets, Ids::Smtp).ok();
        for word in ["MessageDeliveryFailed", "MessageHeld", "DomainDNSError", &text] {
            let body = json!({
                "event": word, "timestamp": number, "uuid": text,
                "payload": { "details": text, "output": text, "domain": text, "spf_status": text,
                    "volume": number, "message": { "id": number, "tag": text, "to": text } },
            });
            if let Ok(Told::Messages(told)) = events::read(body.to_string().as_bytes(), Ids::Api) {
                prop_assert!(told.events.iter().all(|event| event.detail.len() <= 512));
            }
        }
    }
}
