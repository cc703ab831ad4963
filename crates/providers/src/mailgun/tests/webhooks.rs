//! Webhooks: what is believed, and what believed events mean.

use aws_lc_rs::hmac;
use bytes::Bytes;
use jiff::Timestamp;
use malote_core::event::{Blame, EventKind};
use malote_core::secret::Secret;
use malote_core::webhook::{Webhook, WebhookRefusal, WebhookRequest};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::sends::built;
use crate::correlation;
use crate::correlation::tests::outgoing;
use crate::mailgun::{events, webhook};

const KEY: &str = "signing-key";
const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef01";
const FIXTURE: &str = include_str!("../../../testdata/mailgun_failed_permanent_2026.json");

fn now() -> Timestamp {
    "2026-11-22T00:00:00Z".parse().unwrap()
}

fn signature(key: &str, timestamp: &str, token: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let tag = hmac::sign(&key, format!("{timestamp}{token}").as_bytes());
    tag.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

fn signed_at(seconds_ago: i64) -> Value {
    let timestamp = (now().as_second() - seconds_ago).to_string();
    json!({
        "token": TOKEN,
        "timestamp": timestamp,
        "signature": signature(KEY, &timestamp, TOKEN),
    })
}

fn verified(signature: &Value) -> Result<String, WebhookRefusal> {
    let body = json!({ "signature": signature, "event-data": {} }).to_string();
    webhook::verify(body.as_bytes(), &Secret::new(KEY), now())
}

#[test]
fn a_good_signature_of_this_time_is_believed() {
    for seconds_ago in [0, 60, -60, 8 * 3600, 12 * 3600] {
        assert_eq!(
            verified(&signed_at(seconds_ago)).as_deref(),
            Ok(TOKEN),
            "{seconds_ago}"
        );
    }
    for seconds_ago in [13 * 3600, -600, 12 * 3600 + 1] {
        assert!(verified(&signed_at(seconds_ago)).is_err(), "{seconds_ago}");
    }
}

#[test]
fn anything_else_is_unverified_and_never_an_error_of_ours() {
    let good = signed_at(0);
    let with = |key: &str, value: Value| {
        let mut signature = good.clone();
        signature[key] = value;
        signature
    };
    let hex = good["signature"].as_str().unwrap();
    let timestamp = good["timestamp"].as_str().unwrap();
    let other_key = signature("other", timestamp, TOKEN);
    for bad in [
        with("signature", json!(hex.to_uppercase())),
        with("signature", json!(&hex[1..])),
        with("signature", json!("")),
        with("signature", Value::Null),
        with("signature", json!([hex])),
        with("signature", json!(other_key)),
        with("timestamp", json!("1e9")),
        with("timestamp", json!("-1")),
        with("timestamp", json!("9".repeat(400))),
        with("timestamp", json!("999999999999")),
        with("timestamp", json!(timestamp.parse::<i64>().unwrap())),
        with("token", json!("")),
        with("token", json!("a".repeat(400))),
        with("token", json!("other")),
        json!({"parent-signature": hex, "timestamp": timestamp, "token": TOKEN}),
        json!([]),
        Value::Null,
    ] {
        assert!(
            matches!(verified(&bad), Err(WebhookRefusal::Unverified(_))),
            "{bad}"
        );
    }
    for body in [
        "",
        "{",
        "[]",
        "null",
        "timestamp=1&token=2&signature=3",
        "{\"signature\":{}}",
    ] {
        let refused = webhook::verify(body.as_bytes(), &Secret::new(KEY), now());
        assert!(
            matches!(refused, Err(WebhookRefusal::Unverified(_))),
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_posted_event_reaches_its_delivery() {
    let (adapter, faults) = built(&format!(
        "[mailgun]\ndomain = 'x.test'\napi_key = 'k'\n[webhook]\nsigning_key = '{KEY}'"
    ));
    assert_eq!(faults.len(), 2, "two literals warn: {faults:?}");
    let parser = adapter.unwrap().webhook.unwrap();
    let sent = outgoing(&["a@x.test", "b@x.test"]);
    let timestamp = now().as_second().to_string();
    let body = FIXTURE
        .replace("@TOKEN@", TOKEN)
        .replace("@TIMESTAMP@", &timestamp)
        .replace("@SIGNATURE@", &signature(KEY, &timestamp, TOKEN))
        .replace("@TO@", &correlation::recipients(&sent, 1000)[0]);
    let request = WebhookRequest {
        method: "POST".into(),
        path_secret: None,
        headers: Vec::new(),
        query: String::new(),
        body: Bytes::from(body),
        peer: [127, 0, 0, 1].into(),
    };
    let mut webhook = parser.parse(&request).await.unwrap();
    let event = webhook.events.remove(0);
    assert_eq!(event.dedup_key, TOKEN);
    assert_eq!(
        (event.kind, event.blame),
        (EventKind::Bounced, Some(Blame::Recipient))
    );
    assert_eq!(event.delivery, Some(sent.recipients[0].delivery));
    let id = event.provider_message_id.unwrap();
    assert_eq!(id, "20261122000000.1.ABCDEF@news.example.com");
    assert_eq!(event.recipient.unwrap().as_str(), "a@x.test");
    assert!(
        event.detail.starts_with("550 5.1.1 The email account"),
        "{}",
        event.detail
    );
    assert_eq!(event.at.as_second(), 1_763_769_540);
}

fn read(event_data: &Value) -> Webhook {
    let body = json!({ "event-data": event_data }).to_string();
    events::read(body.as_bytes(), TOKEN).unwrap()
}

fn kind_of(event_data: &Value) -> (EventKind, Option<Blame>) {
    let mut data = json!({ "timestamp": 1763769540.5, "recipient": "a@x.test" });
    let given = event_data.as_object().unwrap().clone();
    data.as_object_mut().unwrap().extend(given);
    let mut webhook = read(&data);
    assert!(
        webhook.unreadable.is_empty(),
        "{event_data} {:?}",
        webhook.unreadable
    );
    let event = webhook.events.remove(0);
    (event.kind, event.blame)
}

#[test]
fn every_kind_of_event_has_its_word() {
    for (word, kind) in [
        ("accepted", EventKind::Sent),
        ("delivered", EventKind::Delivered),
        ("opened", EventKind::Opened),
        ("clicked", EventKind::Clicked),
        ("unsubscribed", EventKind::Unsubscribed),
        ("complained", EventKind::Complained),
        (
            "list_member_uploaded",
            EventKind::Other("list_member_uploaded".into()),
        ),
    ] {
        assert_eq!(kind_of(&json!({ "event": word })), (kind, None));
    }
    let rejected = json!({ "event": "rejected", "reject": { "reason": "virus" } });
    assert_eq!(
        kind_of(&rejected),
        (EventKind::Rejected, Some(Blame::Content))
    );
}

#[test]
fn a_failure_is_blamed_by_severity_reason_and_code() {
    let failed = |severity: &str, reason: &str, status: Value| {
        kind_of(&json!({
            "event": "failed", "severity": severity, "reason": reason, "delivery-status": status,
        }))
    };
    let status = |code: u16, enhanced: &str, message: &str| json!({ "code": code, "enhanced-code": enhanced, "message": message });
    assert_eq!(
        failed("temporary", "generic", status(450, "4.2.1", "")),
        (EventKind::Deferred, None)
    );
    for reason in [
        "suppress-bounce",
        "suppress-complaint",
        "suppress-unsubscribe",
    ] {
        let found = failed("permanent", reason, status(605, "", "Not delivering"));
        assert_eq!(found, (EventKind::Suppressed, None), "{reason}");
    }
    for (reason, status, blame) in [
        (
            "bounce",
            status(550, "5.1.1", "no such user"),
            Blame::Recipient,
        ),
        ("generic", status(550, "", "user unknown"), Blame::Recipient),
        ("generic", status(552, "5.2.2", "full"), Blame::MailboxFull),
        ("generic", status(550, "5.7.1", "policy"), Blame::Policy),
        ("espblock", status(550, "", "go away"), Blame::Reputation),
        (
            "bounce",
            status(550, "5.1.1", "your network is blocked"),
            Blame::Reputation,
        ),
        ("old", status(602, "", "Too old"), Blame::Unknown),
        ("bounce", Value::Null, Blame::Unknown),
        (
            "bounce",
            json!({ "code": "550", "message": ["x"] }),
            Blame::Unknown,
        ),
        (
            "bounce",
            json!({ "code": 99999999, "enhanced-code": 5 }),
            Blame::Unknown,
        ),
    ] {
        let found = failed("permanent", reason, status);
        assert_eq!(found, (EventKind::Bounced, Some(blame)), "{reason}");
    }
}

#[test]
fn what_cannot_be_read_is_set_aside_for_a_reason_without_the_address() {
    for data in [
        json!({}),
        json!([]),
        json!("text"),
        json!({ "event": "delivered" }),
        json!({ "event": 7, "timestamp": 1763769540.5 }),
        json!({ "event": "delivered", "timestamp": "1763769540" }),
        json!({ "event": "delivered", "timestamp": 1e300 }),
        json!({ "event": "delivered", "timestamp": -1.0 }),
        json!({ "event": "delivered", "timestamp": 1763769540.5, "recipient": "canary@x\r\nb" }),
        json!({ "event": "delivered", "timestamp": 1763769540.5, "recipient": "canary@" }),
        json!({ "event": "delivered", "timestamp": 1763769540.5, "recipient": ["canary@x.test"] }),
    ] {
        let webhook = read(&data);
        assert!(
            webhook.events.is_empty() && webhook.unreadable.len() == 1,
            "{data}"
        );
        let unread = &webhook.unreadable[0];
        assert!(!unread.reason.contains("canary"));
        let part = data.as_str().map_or(data.to_string(), ToOwned::to_owned);
        assert_eq!(unread.to_string(), format!("{}: {part}", unread.reason));
    }
    let none = events::read(b"{}", TOKEN);
    assert!(matches!(none, Err(WebhookRefusal::Malformed(_))));
}

#[test]
fn a_rejected_message_finds_its_recipient_in_the_header() {
    for (to, expected) in [
        ("a@x.test", Some("a@x.test")),
        ("A <a@x.test>, b@x.test", None),
    ] {
        let data = json!({
            "event": "rejected", "timestamp": 1763769540.5,
            "message": { "headers": { "to": to, "message-id": "<1@x>" } },
        });
        let event = read(&data).events.remove(0);
        assert_eq!(event.recipient.as_ref().map(|r| r.as_str()), expected);
        assert_eq!(event.provider_message_id.as_deref(), Some("1@x"));
    }
}

proptest! {
    #[test]
    fn no_body_breaks_the_parser(
        body in proptest::collection::vec(any::<u8>(), 0..300),
        text in "\\PC{0,40}",
        number in any::<f64>(),
    ) {
        prop_assert!(webhook::verify(&body, &Secret::new(KEY), now()).is_err());
        events::read(&body, TOKEN).ok();
        let data = json!({
            "event": text, "timestamp": number, "recipient": text, "severity": text,
            "reason": number, "delivery-status": { "code": number, "message": text },
            "message": text, "user-variables": { "malote-message": text, "malote-to-0": text },
        });
        let webhook = read(&data);
        prop_assert!(webhook.events.iter().all(|event| event.detail.len() <= 512));
        let failed = json!({ "event": "failed", "timestamp": 1763769540.5, "recipient": "a@x.test",
            "delivery-status": { "code": 550, "enhanced-code": text, "message": text } });
        prop_assert_eq!(read(&failed).events.len(), 1);
    }
}
