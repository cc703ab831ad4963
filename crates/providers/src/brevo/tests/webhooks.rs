//! Webhooks: what is believed, and what believed events mean.

use malote_core::event::{Blame, EventKind};
use malote_core::secret::Secret;
use malote_core::webhook::{Unread, Webhook, WebhookRefusal};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::brevo::events;
use crate::correlation::tests::outgoing;
use crate::correlation::{Readers, as_one};
use crate::webhook::Ids;
use crate::webhook::rig::{meaning, only, parser, post, refused};

const FIXTURE: &str = include_str!("../../../testdata/brevo_hard_bounce_2026.json");
const SECRET: &str = "0123456789abcdef";
const NATIVE: &str = "[brevo]\napi_key = 'k'";
const PRESET: &str = "[smtp]\npreset = 'brevo'\nuser = 'u'\npassword = 'k'";

fn table(own: &str) -> String {
    format!("{own}\n[webhook]\nsecret = '{SECRET}'")
}

#[tokio::test]
async fn a_posted_event_reaches_its_delivery() {
    let sent = outgoing(&["x@dest.example"]);
    let body = FIXTURE.replace("@IDS@", &as_one(&sent, Readers::Recipients, 900));
    let token = format!("Bearer {SECRET}");
    let request = post(&body, &[("authorization", &token)]);
    for (own, id) in [
        (NATIVE, "<202611220000.7264382@smtp-relay.mailin.fr>"),
        (PRESET, "202611220000.7264382@smtp-relay.mailin.fr"),
    ] {
        let event = only(parser(&table(own)).parse(&request).await.unwrap());
        assert_eq!(
            (event.kind, event.blame),
            (EventKind::Bounced, Some(Blame::Recipient))
        );
        assert_eq!(event.delivery, Some(sent.recipients[0].delivery));
        assert_eq!(event.provider_message_id.as_deref(), Some(id));
        assert_eq!(event.recipient.unwrap().as_str(), "x@dest.example");
        assert_eq!(event.at.to_string(), "2026-11-22T00:00:00.25Z");
        assert!(event.detail.starts_with("550 5.1.1"), "{}", event.detail);
        let raw: Value = serde_json::from_slice(&event.raw).unwrap();
        assert_eq!(raw, serde_json::from_str::<Value>(&body).unwrap());
    }
}

#[tokio::test]
async fn without_the_secret_nothing_is_believed() {
    let parser = parser(&table(NATIVE));
    let mut in_query = post(FIXTURE, &[]);
    in_query.query = format!("secret={SECRET}");
    let mut in_path = post(FIXTURE, &[]);
    in_path.path_secret = Some(Secret::new(SECRET));
    assert!(parser.parse(&in_path).await.is_ok());
    for request in [
        post(FIXTURE, &[]),
        post(FIXTURE, &[("authorization", "Bearer 0123456789abcdeF")]),
        post(FIXTURE, &[("authorization", "")]),
        in_query,
    ] {
        let refused = parser.parse(&request).await;
        assert!(matches!(refused, Err(WebhookRefusal::Unverified(_))));
    }
    let none = refused(&format!("{NATIVE}\n[webhook]"));
    assert!(none.contains("secret: is missing"), "{none}");
}

fn read(entry: &Value) -> Webhook {
    let mut entry = entry.clone();
    entry["ts_epoch"] = json!(1_795_305_600_000_u64);
    events::read(entry.to_string().as_bytes(), Ids::Api).unwrap()
}

#[test]
fn each_event_has_its_kind() {
    for (word, kind, blame) in [
        ("request", EventKind::Sent, None),
        ("delivered", EventKind::Delivered, None),
        ("deferred", EventKind::Deferred, None),
        ("soft_bounce", EventKind::Bounced, Some(Blame::Unknown)),
        ("hard_bounce", EventKind::Bounced, Some(Blame::Recipient)),
        ("invalid_email", EventKind::Bounced, Some(Blame::Recipient)),
        ("blocked", EventKind::Suppressed, None),
        ("error", EventKind::Rejected, Some(Blame::Unknown)),
        ("spam", EventKind::Complained, None),
        ("complaint", EventKind::Complained, None),
        ("opened", EventKind::Opened, None),
        ("unique_opened", EventKind::Opened, None),
        ("proxy_open", EventKind::Opened, None),
        ("unique_proxy_open", EventKind::Opened, None),
        ("click", EventKind::Clicked, None),
        ("unsubscribe", EventKind::Unsubscribed, None),
        ("unsubscribed", EventKind::Unsubscribed, None),
        (
            "list_addition",
            EventKind::Other("list_addition".into()),
            None,
        ),
    ] {
        let entry = json!({ "event": word, "email": "a@x.test" });
        assert_eq!(meaning(read(&entry)), (kind, blame), "{word}");
    }
    let proxy = only(read(&json!({ "event": "unique_proxy_open" })));
    assert_eq!(proxy.detail, "by a proxy");
}

#[test]
fn the_remote_servers_words_correct_the_services_sorting() {
    for (word, reason, blame) in [
        (
            "hard_bounce",
            "550 5.1.1 blocked by Spamhaus",
            Blame::Reputation,
        ),
        ("hard_bounce", "550 5.7.1 rejected", Blame::Policy),
        ("hard_bounce", "552 5.2.2 full", Blame::MailboxFull),
        ("soft_bounce", "452 4.2.2 mailbox full", Blame::MailboxFull),
        ("soft_bounce", "550 5.1.1 user unknown", Blame::Unknown),
        ("soft_bounce", "554 5.7.1 blocked", Blame::Reputation),
    ] {
        let found = meaning(read(&json!({ "event": word, "reason": reason })));
        assert_eq!(found, (EventKind::Bounced, Some(blame)), "{word} {reason}");
    }
}

#[test]
fn the_time_is_read_from_the_best_of_three_members() {
    for (members, expected) in [
        (
            json!({ "ts_epoch": 1_795_305_600_250_u64, "ts_event": 1 }),
            Some("2026-11-22T00:00:00.25Z"),
        ),
        (
            json!({ "ts_epoch": 1_795_305_600 }),
            Some("2026-11-22T00:00:00Z"),
        ),
        (
            json!({ "ts_epoch": 0, "ts_event": 1_795_305_600 }),
            Some("2026-11-22T00:00:00Z"),
        ),
        (json!({ "ts": "1795305600" }), Some("2026-11-22T00:00:00Z")),
        (json!({ "ts_epoch": 1e300 }), None),
        (
            json!({ "ts_epoch": -1, "date": "2026-11-22 00:00:00" }),
            None,
        ),
    ] {
        let mut entry = members.clone();
        entry["event"] = json!("delivered");
        let webhook = events::read(entry.to_string().as_bytes(), Ids::Api).unwrap();
        let found = webhook.events.first().map(|event| event.at.to_string());
        assert_eq!(found.as_deref(), expected, "{members}");
    }
}

#[test]
fn a_bad_entry_is_set_aside_and_the_good_ones_are_read() {
    let good = json!({ "event": "delivered", "ts_epoch": 1_795_305_600_000_u64, "email": "a@x.test", "message-id": "<1@b>" });
    let with = |name: &str, value: Value| {
        let mut entry = good.clone();
        entry[name] = value;
        entry
    };
    let body = json!([
        good,
        with("email", json!("canary@x\r\nb")),
        with("email", json!("canary@x".repeat(130_000))),
        with("event", json!(7)),
        "canary",
        good,
        with("event", json!("opened")),
    ]);
    let webhook = events::read(body.to_string().as_bytes(), Ids::Api).unwrap();
    assert_eq!((webhook.events.len(), webhook.unreadable.len()), (3, 4));
    let is_shown = |own: &Unread| own.reason.contains("canary");
    assert!(!webhook.unreadable.iter().any(is_shown));
    let keys: Vec<&String> = webhook
        .events
        .iter()
        .map(|event| &event.dedup_key)
        .collect();
    assert!(
        keys[0] == keys[1] && keys[0] != keys[2],
        "one of them is told twice"
    );
    for body in ["", "{", "7", "null", "\"x\""] {
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
        for word in ["hard_bounce", "click", &text] {
            let entry = json!({
                "event": word, "ts_epoch": number, "ts": 1_795_305_600, "email": text,
                "message-id": text, "reason": text, "link": text, "X-Mailin-custom": text,
            });
            let webhook = events::read(entry.to_string().as_bytes(), Ids::Smtp).unwrap();
            prop_assert_eq!(webhook.events.len() + webhook.unreadable.len(), 1);
            prop_assert!(webhook.events.iter().all(|event| event.detail.len() <= 512));
        }
    }
}
