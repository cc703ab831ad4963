//! Webhooks: what is believed, and what believed events mean.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malote_core::event::{Blame, EventKind};
use malote_core::webhook::{Unread, Webhook, WebhookRefusal};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::correlation;
use crate::correlation::tests::outgoing;
use crate::mailtrap::events;
use crate::webhook::rig::{meaning, only, parser, post, refused};

const FIXTURE: &str = include_str!("../../../testdata/mailtrap_events_2026.json");
const KEY: &str = "0123456789abcdef0123456789abcdef";
const NATIVE: &str = "[mailtrap]\napi_token = 'k'";
const PRESET: &str = "[smtp]\npreset = 'mailtrap'\npassword = 'k'";

fn by_key(own: &str) -> String {
    format!("{own}\n[webhook]\nsigning_key = '{KEY}'")
}

fn sign(key: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let tag = hmac::sign(&key, body.as_bytes());
    tag.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

#[tokio::test]
async fn posted_events_reach_their_deliveries() {
    let sent = outgoing(&["x@dest.example", "y@dest.example"]);
    let body = FIXTURE
        .replace("@MESSAGE@", &sent.message.simple())
        .replace("@TO@", &correlation::recipients(&sent, 900)[0]);
    let signature = sign(KEY, &body);
    let request = post(&body, &[("mailtrap-signature", &signature)]);
    for own in [NATIVE, PRESET] {
        let webhook = parser(&by_key(own)).parse(&request).await.unwrap();
        assert_eq!(webhook.unreadable, []);
        let [delivered, bounced] = &webhook.events[..] else {
            panic!("{webhook:?}")
        };
        assert_eq!(delivered.kind, EventKind::Delivered);
        assert_eq!(delivered.delivery, Some(sent.recipients[0].delivery));
        assert_eq!(bounced.delivery, Some(sent.recipients[1].delivery));
        assert_eq!(
            (&bounced.kind, bounced.blame),
            (&EventKind::Bounced, Some(Blame::Recipient))
        );
        assert_eq!(bounced.dedup_key, "bede7236-2284-43d6-a953-1fdcafd0fdbd");
        let id = bounced.provider_message_id.as_deref();
        assert_eq!(id, Some("46fc5fbe-9f2e-11f0-8000-123456789abd"));
        assert_eq!(bounced.detail, "550 5.1.1 user unknown bad-mailbox");
        let raw: Value = serde_json::from_slice(&bounced.raw).unwrap();
        assert_eq!(raw["event_id"], "bede7236-2284-43d6-a953-1fdcafd0fdbd");
    }
}

#[tokio::test]
async fn what_is_not_signed_with_the_key_is_unverified() {
    let parser = parser(&by_key(NATIVE));
    let good = sign(KEY, FIXTURE);
    let altered = FIXTURE.replace("y@dest", "z@dest");
    let spaced = FIXTURE.replace(": ", ":");
    let (upper, other) = (good.to_ascii_uppercase(), sign("other", FIXTURE));
    let field = "mailtrap-signature";
    for (body, headers) in [
        (FIXTURE, vec![]),
        (FIXTURE, vec![(field, "")]),
        (FIXTURE, vec![(field, &good[1..])]),
        (FIXTURE, vec![(field, &*upper)]),
        (FIXTURE, vec![(field, &*other)]),
        (FIXTURE, vec![("x-mailtrap-signature", &*good)]),
        (FIXTURE, vec![("authorization", &*format!("Bearer {KEY}"))]),
        (&*altered, vec![(field, &*good)]),
        (&*spaced, vec![(field, &*good)]),
    ] {
        let refused = parser.parse(&post(body, &headers)).await;
        assert!(
            matches!(refused, Err(WebhookRefusal::Unverified(_))),
            "{headers:?}"
        );
    }
}

#[tokio::test]
async fn a_login_in_the_url_will_do_in_the_place_of_a_signature_but_one_of_them_must_be() {
    let table = format!("{NATIVE}\n[webhook]\nsecret = '{KEY}'");
    let parser = parser(&table);
    let login = format!("Basic {}", STANDARD.encode(format!("malote:{KEY}")));
    let request = post(FIXTURE, &[("authorization", &login)]);
    assert_eq!(parser.parse(&request).await.unwrap().events.len(), 2);
    let signed = post(FIXTURE, &[("mailtrap-signature", &sign(KEY, FIXTURE))]);
    assert!(parser.parse(&signed).await.is_err());
    let both = refused(&format!("{table}\nsigning_key = 'k'"));
    assert!(both.contains("not both"), "{both}");
    let none = refused(&format!("{NATIVE}\n[webhook]"));
    assert!(none.contains("signing_key: is missing"), "{none}");
}

fn read(entry: &Value) -> Webhook {
    let mut entry = entry.clone();
    entry["timestamp"] = json!(1_795_305_600);
    let body = json!({ "events": [entry] });
    events::read(body.to_string().as_bytes()).unwrap()
}

#[test]
fn each_event_has_its_kind() {
    let infrastructure = Some(Blame::Infrastructure);
    for (entry, kind, blame) in [
        (json!({ "event": "delivery" }), EventKind::Delivered, None),
        (json!({ "event": "soft bounce" }), EventKind::Deferred, None),
        (json!({ "event": "suspension" }), EventKind::Deferred, None),
        (json!({ "event": "open" }), EventKind::Opened, None),
        (
            json!({ "event": "click", "url": "https://a" }),
            EventKind::Clicked,
            None,
        ),
        (
            json!({ "event": "unsubscribe" }),
            EventKind::Unsubscribed,
            None,
        ),
        (json!({ "event": "spam" }), EventKind::Complained, None),
        (
            json!({ "event": "reject" }),
            EventKind::Rejected,
            infrastructure,
        ),
        (
            json!({ "event": "reject", "reason": "Recipient in suppression list. Reason: unsubscription" }),
            EventKind::Suppressed,
            None,
        ),
        (
            json!({ "event": "novelty" }),
            EventKind::Other("novelty".into()),
            None,
        ),
    ] {
        assert_eq!(meaning(read(&entry)), (kind, blame), "{entry}");
    }
}

#[test]
fn a_bounce_is_blamed_by_its_category_and_the_remote_servers_words() {
    for (category, response, blame) in [
        ("bad-mailbox", "550 5.1.1 no", Blame::Recipient),
        ("badrecipient", "", Blame::Recipient),
        ("inactive_mailbox", "550 no", Blame::Recipient),
        (
            "bad-domain",
            "550 5.1.1 blocked by Spamhaus",
            Blame::Reputation,
        ),
        ("quota-issues", "", Blame::MailboxFull),
        ("spam-related", "550 5.1.1 user unknown", Blame::Reputation),
        ("content-related", "", Blame::Content),
        ("invalid-sender", "", Blame::SenderAuth),
        ("policy-related", "550 5.1.1 user unknown", Blame::Policy),
        ("policy-related", "550 5.7.1 blocked", Blame::Reputation),
        ("no-answer-from-host", "", Blame::Infrastructure),
        ("other", "550 5.1.1 user unknown", Blame::Recipient),
        ("other", "550 no", Blame::Unknown),
        ("", "", Blame::Unknown),
    ] {
        let entry = json!({ "event": "bounce", "bounce_category": category, "response": response });
        let expected = (EventKind::Bounced, Some(blame));
        assert_eq!(meaning(read(&entry)), expected, "{category} {response}");
    }
}

#[test]
fn json_lines_and_single_events_are_read_too() {
    let line = |id: &str| {
        json!({ "event": "delivery", "timestamp": 1_795_305_600, "event_id": id }).to_string()
    };
    let lines = format!("{}\n{{broken\r\n\r\n{}\n", line("a"), line("b"));
    let webhook = events::read(lines.as_bytes()).unwrap();
    let ids: Vec<&str> = webhook
        .events
        .iter()
        .map(|e| e.dedup_key.as_str())
        .collect();
    assert_eq!(ids, ["a", "b"]);
    assert_eq!(webhook.unreadable.len(), 1);
    assert!(webhook.unreadable[0].to_string().ends_with(": {broken"));
    let single = events::read(line("c").as_bytes()).unwrap();
    assert_eq!(only(single).dedup_key, "c");
}

#[test]
fn a_bad_entry_is_set_aside_and_the_good_ones_are_read() {
    let good = json!({ "event": "delivery", "timestamp": 1_795_305_600, "email": "a@x.test" });
    let with = |name: &str, value: Value| {
        let mut entry = good.clone();
        entry[name] = value;
        entry
    };
    let bad = [
        with("email", json!("canary@x\r\nb")),
        with("email", json!("canary@x".repeat(130_000))),
        with("email", json!(7)),
        with("timestamp", json!("soon")),
        with("event", json!(["canary"])),
        json!("canary"),
        Value::Null,
    ];
    let entries: Vec<Value> = bad
        .iter()
        .flat_map(|bad| [bad.clone(), good.clone()])
        .collect();
    let body = json!({ "events": entries }).to_string();
    let webhook = events::read(body.as_bytes()).unwrap();
    assert_eq!((webhook.events.len(), webhook.unreadable.len()), (7, 7));
    let is_shown = |own: &Unread| own.reason.contains("canary");
    assert!(!webhook.unreadable.iter().any(is_shown));
    let keys = webhook.events.iter().map(|event| &event.dedup_key);
    assert!(
        keys.clone().all(|key| Some(key) == keys.clone().next()),
        "one event, told often"
    );
    for body in ["", "{", "{}", "7", "{\"events\":{}}"] {
        let refused = events::read(body.as_bytes());
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
        events::read(&octets).ok();
        events::read(text.as_bytes()).ok();
        let entry = json!({
            "event": text, "timestamp": number, "email": text, "response": text,
            "bounce_category": text, "reason": text, "custom_variables": { "malote-message": text },
        });
        let mut bounce = entry.clone();
        bounce["event"] = json!("bounce");
        let body = json!({ "events": [entry, bounce, text, number] }).to_string();
        let webhook = events::read(body.as_bytes()).unwrap();
        prop_assert_eq!(webhook.events.len() + webhook.unreadable.len(), 4);
        prop_assert!(webhook.events.iter().all(|event| event.detail.len() <= 512));
    }
}
