//! SendGrid's events: believed when signed over the raw octets, read one by one.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use malote_core::event::Blame;
use malote_core::webhook::{WebhookParser, WebhookRefusal, WebhookRequest};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::sendgrid::events;
use crate::webhook::rig::{NOW, over, parser, post, sent, told};

const FIXTURE: &str = include_str!("../../../testdata/sendgrid_batch_2026.json");
const TABLE: &str = "[sendgrid]\napi_key = 'k'\n[webhook]\npublic_key = ";
/// SubjectPublicKeyInfo of a key on P-256 up to the point (RFC 5480 2).
const SPKI_PREFIX: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgA";

struct Signer(EcdsaKeyPair);

impl Signer {
    fn generate() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    fn parser(&self) -> std::sync::Arc<dyn WebhookParser> {
        let mut spki = STANDARD.decode(format!("{SPKI_PREFIX}A")).unwrap();
        spki.truncate(26);
        spki.extend_from_slice(self.0.public_key().as_ref());
        parser(&format!("{TABLE}'{}'", STANDARD.encode(spki)))
    }

    fn sign(&self, timestamp: &str, body: &str) -> String {
        let message = format!("{timestamp}{body}");
        let signature = self.0.sign(&SystemRandom::new(), message.as_bytes());
        STANDARD.encode(signature.unwrap())
    }
}

fn at(seconds: i64) -> String {
    let now: Timestamp = NOW.parse().unwrap();
    let at = now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    at.as_second().to_string()
}

fn request(signature: &str, timestamp: &str, body: &str) -> WebhookRequest {
    let headers = [
        ("x-twilio-email-event-webhook-signature", signature),
        ("x-twilio-email-event-webhook-timestamp", timestamp),
    ];
    post(body, &headers)
}

#[tokio::test]
async fn a_signed_batch_is_believed_and_finds_its_deliveries() {
    let signer = Signer::generate();
    let (sent, members) = sent();
    let body = FIXTURE.replace("@TO@", members["malote-to-0"].as_str().unwrap());
    let good = request(&signer.sign(&at(-299), &body), &at(-299), &body);
    let webhook = signer.parser().parse(&good).await.unwrap();
    assert_eq!(
        told(&webhook),
        [("bounced", Some(Blame::Recipient)), ("opened", None)]
    );
    let [bounced, opened] = webhook.events.as_slice() else {
        panic!("{webhook:?}");
    };
    assert_eq!(bounced.delivery, Some(sent.recipients[0].delivery));
    assert_eq!(bounced.dedup_key, "6g4ZI7SA-xmRDv57GoPIPw==");
    assert_eq!(bounced.at.as_second(), 1_763_769_540);
    assert_eq!(bounced.provider_message_id.as_deref(), Some("14c5d75ce93"));
    let raw: Value = serde_json::from_slice(&bounced.raw).unwrap();
    assert_eq!(raw["order"], "42");
    assert!(bounced.detail.starts_with("Invalid Address 550 5.1.1"));
    assert_eq!(
        (opened.delivery, opened.detail.as_str()),
        (None, "opened by a machine, read or not")
    );
}

#[tokio::test]
async fn whatever_is_not_signed_as_it_stands_and_now_is_refused() {
    let (signer, other) = (Signer::generate(), Signer::generate());
    let parser = signer.parser();
    let body = r#"[{"event":"open","email":"a@x.test","timestamp":1763769540}]"#;
    let good = signer.sign(&at(0), body);
    assert!(parser.parse(&request(&good, &at(0), body)).await.is_ok());
    // Both numbers of a signature nought (CVE-2022-21449), and DER that is none.
    let noughts = STANDARD.encode([0x30, 6, 2, 1, 0, 2, 1, 0]);
    let mut long = STANDARD.decode(&good).unwrap();
    long.push(0);
    for (what, signature, timestamp, body) in [
        (
            "spaces",
            good.as_str(),
            at(0),
            r#"[{"event": "open","email":"a@x.test","timestamp":1763769540}]"#,
        ),
        ("time", &good, at(1), body),
        ("another key", &other.sign(&at(0), body), at(0), body),
        ("noughts", &noughts, at(0), body),
        ("trailing octet", &STANDARD.encode(long), at(0), body),
        ("line end", &format!("{good}\n"), at(0), body),
        ("garbage", "AAAA", at(0), body),
        ("no base64", "!", at(0), body),
        ("empty", "", at(0), body),
        ("huge", &"A".repeat(4096), at(0), body),
        ("old", &signer.sign(&at(-301), body), at(-301), body),
        ("ahead", &signer.sign(&at(301), body), at(301), body),
        ("1e9", &signer.sign("1e9", body), "1e9".to_owned(), body),
        ("negative", &signer.sign("-1", body), "-1".to_owned(), body),
        (
            "digits",
            &signer.sign(&"9".repeat(400), body),
            "9".repeat(400),
            body,
        ),
    ] {
        let refused = parser.parse(&request(signature, &timestamp, body)).await;
        assert!(
            matches!(refused, Err(WebhookRefusal::Unverified(_))),
            "{what}: {refused:?}"
        );
    }
    let refused = parser.parse(&post(body, &[])).await;
    assert!(matches!(refused, Err(WebhookRefusal::Unverified(_))));
}

/// The order of P-256 (SP 800-186 3.2.1.3).
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6,
    0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// The same signature with the other one of its second number and the order less it.
fn other_half(signature: &str) -> String {
    let der = STANDARD.decode(signature).unwrap();
    let (first, second) = der[2..].split_at(2 + usize::from(der[3]));
    let digits = second[2..].strip_prefix(&[0]).unwrap_or(&second[2..]);
    let mut number = [0; 32];
    number[32 - digits.len()..].copy_from_slice(digits);
    let mut is_borrowed = false;
    for (octet, of_order) in number.iter_mut().zip(ORDER).rev() {
        let (less, is_under) = of_order.overflowing_sub(*octet);
        let (less, is_under_too) = less.overflowing_sub(u8::from(is_borrowed));
        (*octet, is_borrowed) = (less, is_under || is_under_too);
    }
    let mut digits: Vec<u8> = number.into_iter().skip_while(|octet| *octet == 0).collect();
    if digits[0] > 0x7f {
        digits.insert(0, 0);
    }
    let length = |octets: usize| u8::try_from(octets).unwrap();
    let second = [&[2, length(digits.len())], &digits[..]].concat();
    let all = [first, &second].concat();
    STANDARD.encode([&[0x30, length(all.len())], &all[..]].concat())
}

/// The service's own verifier (`starkbank-ecdsa` in its client for Node.js) asks of the second
/// number only that it is from 1 to below the order, so a high one is as good. Whoever turns it
/// has not another event, but the same one, whose id is known.
#[tokio::test]
async fn a_signature_is_good_with_a_high_second_number_as_with_a_low_one() {
    let signer = Signer::generate();
    let parser = signer.parser();
    let body = r#"[{"event":"open","email":"a@x.test","timestamp":1763769540,"sg_event_id":"e"}]"#;
    let good = signer.sign(&at(0), body);
    let other = other_half(&good);
    assert_ne!(good, other);
    assert_eq!(other_half(&other), good);
    let mut keys = Vec::new();
    for signature in [&good, &other] {
        let told = parser.parse(&request(signature, &at(0), body)).await;
        keys.push(told.unwrap().events[0].dedup_key.clone());
    }
    assert_eq!(keys[0], keys[1]);
}

#[test]
fn a_key_of_another_curve_or_kind_is_refused_at_start() {
    for key in [
        "",
        "AAAA",
        "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=",
    ] {
        let (_, faults) = super::sends::built(&format!("{TABLE}'{key}'"));
        let is_told = faults
            .iter()
            .any(|f| f.path == "providers.p.webhook.public_key");
        assert!(is_told, "{key} {faults:?}");
    }
}

fn read(given: &Value) -> malote_core::webhook::Webhook {
    let own = json!({"email": "a@x.test", "timestamp": 1763769540, "sg_event_id": "e"});
    events::read(over(own, given).to_string().as_bytes()).unwrap()
}

#[test]
fn every_kind_of_event_has_its_word() {
    for (event, more, kind) in [
        ("processed", json!({}), "sent"),
        ("delivered", json!({"response": "250 OK"}), "delivered"),
        ("deferred", json!({"response": "400 later"}), "deferred"),
        ("spamreport", json!({}), "complained"),
        ("unsubscribe", json!({}), "unsubscribed"),
        (
            "group_unsubscribe",
            json!({"asm_group_id": 10}),
            "unsubscribed",
        ),
        (
            "group_resubscribe",
            json!({"asm_group_id": 10}),
            "resubscribed",
        ),
        ("open", json!({}), "opened"),
        ("click", json!({"url": "https://x.test"}), "clicked"),
        ("account_status_change", json!({}), "account_status_change"),
    ] {
        let webhook = read(&over(json!({"event": event}), &more));
        assert_eq!(told(&webhook), [(kind, None)], "{event}");
    }
}

#[test]
fn a_bounce_is_blamed_by_its_sorting_and_a_block_never_on_the_recipient() {
    let unknown_user = "550 5.1.1 user unknown";
    for (kind, class, reason, blame) in [
        ("bounce", "", unknown_user, Blame::Recipient),
        ("bounce", "", "", Blame::Recipient),
        ("bounce", "Invalid Address", unknown_user, Blame::Recipient),
        (
            "bounce",
            "Invalid Address",
            "550 blocked by Spamhaus",
            Blame::Reputation,
        ),
        ("bounce", "Content", unknown_user, Blame::Content),
        ("bounce", "Reputation", unknown_user, Blame::Reputation),
        ("bounce", "Frequency or Volume Too High", "", Blame::Rate),
        ("bounce", "Technical Failure", "", Blame::Infrastructure),
        (
            "bounce",
            "Mailbox Unavailable",
            "552 5.2.2 over quota",
            Blame::MailboxFull,
        ),
        ("bounce", "Unclassified", "", Blame::Unknown),
        ("blocked", "", unknown_user, Blame::Reputation),
        (
            "blocked",
            "Invalid Address",
            unknown_user,
            Blame::Reputation,
        ),
        ("blocked", "Unclassified", "", Blame::Reputation),
        ("blocked", "Content", "", Blame::Content),
    ] {
        let given = json!({"event": "bounce", "type": kind, "bounce_classification": class, "reason": reason});
        let expected = [("bounced", Some(blame))];
        assert_eq!(told(&read(&given)), expected, "{kind} {class} {reason}");
    }
    let older = read(&json!({"event": "blocked", "reason": unknown_user}));
    assert_eq!(told(&older), [("bounced", Some(Blame::Reputation))]);
}

#[test]
fn what_the_service_did_not_try_is_suppressed_or_rejected_by_its_reason() {
    for (reason, expected) in [
        ("Bounced Address", ("suppressed", None)),
        ("Unsubscribed Address", ("suppressed", None)),
        ("Spam Reporting Address", ("suppressed", None)),
        ("Invalid", ("suppressed", None)),
        (
            "Spam Content (if Spam Checker app is enabled)",
            ("rejected", Some(Blame::Content)),
        ),
        (
            "Recipient List over Package Quota",
            ("rejected", Some(Blame::Infrastructure)),
        ),
        ("Invalid SMTPAPI header", ("rejected", Some(Blame::Unknown))),
    ] {
        let webhook = read(&json!({"event": "dropped", "reason": reason}));
        assert_eq!(told(&webhook), [expected], "{reason}");
    }
}

#[test]
fn a_bad_entry_is_set_aside_and_the_good_ones_are_read() {
    let body = json!([
        {"event": "delivered", "email": "a@x.test", "timestamp": 1763769540, "sg_message_id": 7},
        {"event": "delivered", "email": "a@x\r\nb", "timestamp": 1763769540},
        {"event": "delivered", "email": "a@x.test", "timestamp": "soon"},
        {"email": "a@x.test", "timestamp": 1763769540},
        17,
        {"event": "delivered", "email": "b@x.test", "timestamp": "1763769540"},
    ]);
    let webhook = events::read(body.to_string().as_bytes()).unwrap();
    assert_eq!((webhook.events.len(), webhook.unreadable.len()), (2, 4));
    assert!(
        webhook
            .unreadable
            .iter()
            .all(|own| own.reason.len() < 80 && !own.reason.contains("a@x"))
    );
    let keys: Vec<&str> = webhook
        .events
        .iter()
        .map(|e| e.dedup_key.as_str())
        .collect();
    assert_ne!(keys[0], keys[1], "without ids of their own");
    assert!(events::read(b"\"x\"").is_err());
}

proptest! {
    #[test]
    fn no_body_breaks_the_reader(body in "\\PC{0,200}", event in "[a-z_]{0,12}", value in any::<i64>()) {
        drop(events::read(body.as_bytes()));
        let odd = json!([{"event": event, "email": body, "timestamp": value, "reason": value,
            "type": [body], "sg_message_id": {"a": 1}, "sg_machine_open": body}]);
        let webhook = events::read(odd.to_string().as_bytes()).unwrap();
        prop_assert_eq!(webhook.events.len() + webhook.unreadable.len(), 1);
    }
}
