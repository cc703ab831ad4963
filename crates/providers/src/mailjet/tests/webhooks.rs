//! Webhooks: what is believed, and what believed events mean.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malote_core::event::{Blame, EventKind};
use malote_core::webhook::{Unread, Webhook, WebhookRefusal};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::correlation;
use crate::correlation::tests::outgoing;
use crate::correlation::{Readers, as_one};
use crate::mailjet::events;
use crate::webhook::Ids;
use crate::webhook::rig::{meaning, only, parser, post, refused};

const FIXTURE: &str = include_str!("../../../testdata/mailjet_bounce_2026.json");
const SECRET: &str = "0123456789abcdef";
const NATIVE: &str = "[mailjet]\napi_key = 'k'\nsecret_key = 's'";
const PRESET: &str = "[smtp]\npreset = 'mailjet'\nuser = 'u'\npassword = 'k'";

fn table(own: &str) -> String {
    format!("{own}\n[webhook]\nsecret = '{SECRET}'")
}

#[tokio::test]
async fn a_posted_event_reaches_its_delivery() {
    let sent = outgoing(&["x@dest.example"]);
    let body = FIXTURE
        .replace("@MESSAGE@", &sent.message.simple())
        .replace("@TO@", &correlation::recipients(&sent, 1000)[0]);
    let login = format!("Basic {}", STANDARD.encode(format!("malote:{SECRET}")));
    let request = post(&body, &[("authorization", &login)]);
    for (own, id) in [
        (NATIVE, "9223372036854775807"),
        (PRESET, "1ab23cd4-e567-8901-2345-6789f0gh1i2j"),
    ] {
        let event = only(parser(&table(own)).parse(&request).await.unwrap());
        assert_eq!(
            (event.kind, event.blame),
            (EventKind::Bounced, Some(Blame::Recipient))
        );
        assert_eq!(event.delivery, Some(sent.recipients[0].delivery));
        assert_eq!(event.provider_message_id.as_deref(), Some(id));
        assert_eq!(event.at.to_string(), "2026-11-22T00:00:00Z");
        assert!(event.raw.len() > 100);
    }
}

#[tokio::test]
async fn without_the_secret_nothing_is_believed() {
    let parser = parser(&table(NATIVE));
    let login = |login: &str| format!("Basic {}", STANDARD.encode(login));
    let mut in_query = post(FIXTURE, &[]);
    in_query.query = format!("secret={SECRET}");
    for request in [
        post(FIXTURE, &[]),
        post(
            FIXTURE,
            &[("authorization", &login("malote:fedcba9876543210"))],
        ),
        post(FIXTURE, &[("authorization", &login(&format!("{SECRET}:")))]),
        in_query,
    ] {
        let refused = parser.parse(&request).await;
        assert!(matches!(refused, Err(WebhookRefusal::Unverified(_))));
    }
    let short = refused(&format!("{NATIVE}\n[webhook]\nsecret = 'short'"));
    assert!(short.contains("secret: is too short"), "{short}");
}

fn read(entry: &Value) -> Webhook {
    let mut entry = entry.clone();
    entry["time"] = json!(1_795_305_600);
    events::read(entry.to_string().as_bytes(), Ids::Api).unwrap()
}

#[test]
fn each_event_has_its_kind() {
    for (word, kind) in [
        ("sent", EventKind::Delivered),
        ("open", EventKind::Opened),
        ("click", EventKind::Clicked),
        ("spam", EventKind::Complained),
        ("unsub", EventKind::Unsubscribed),
        ("parseapi", EventKind::Other("parseapi".into())),
    ] {
        let entry = json!({ "event": word, "email": "a@x.test" });
        assert_eq!(meaning(read(&entry)), (kind, None), "{word}");
    }
}

/// Event, `hard_bounce`, `error_related_to`, `error`, `comment`; kind and blame.
type Row = (
    &'static str,
    Option<bool>,
    [&'static str; 3],
    EventKind,
    Option<Blame>,
);

const fn bounced(is_hard: bool, words: [&'static str; 3], blame: Blame) -> Row {
    (
        "bounce",
        Some(is_hard),
        words,
        EventKind::Bounced,
        Some(blame),
    )
}

const fn blocked(words: [&'static str; 3], kind: EventKind, blame: Option<Blame>) -> Row {
    ("blocked", None, words, kind, blame)
}

#[rustfmt::skip]
const FAILURES: [Row; 20] = [
    bounced(true, ["recipient", "user unknown", ""], Blame::Recipient),
    bounced(true, ["recipient", "user unknown", "550 5.7.1 blocked"], Blame::Reputation),
    bounced(false, ["recipient", "user unknown", ""], Blame::Unknown),
    bounced(false, ["recipient", "quota exceeded", ""], Blame::MailboxFull),
    ("bounce", Some(false), ["domain", "greylisted", ""], EventKind::Deferred, None),
    bounced(true, ["domain", "invalid domain", ""], Blame::Recipient),
    bounced(true, ["domain", "relay/access denied", "550 5.1.1 x"], Blame::Policy),
    bounced(true, ["spam", "sender blocked", "550 5.1.1 x"], Blame::Reputation),
    bounced(true, ["spam", "content blocked", ""], Blame::Content),
    bounced(true, ["spam", "policy issue", ""], Blame::Policy),
    bounced(true, ["system", "connection issue", ""], Blame::Infrastructure),
    bounced(true, ["recipient", "novelty", ""], Blame::Recipient),
    bounced(true, ["spam", "novelty", "550 5.1.1 x"], Blame::Reputation),
    bounced(false, ["", "", "550 5.1.1 x"], Blame::Unknown),
    blocked(["recipient", "user unknown", ""], EventKind::Bounced, Some(Blame::Recipient)),
    blocked(["mailjet", "preblocked", ""], EventKind::Suppressed, None),
    blocked(["recipient", "spam reporter", ""], EventKind::Suppressed, None),
    blocked(["recipient", "blacklisted", ""], EventKind::Suppressed, None),
    blocked(["mailjet", "duplicate in campaign", ""], EventKind::Rejected, Some(Blame::Policy)),
    blocked(["content", "bad or empty template", ""], EventKind::Bounced, Some(Blame::Content)),
];

#[test]
fn a_failure_is_blamed_by_the_table_of_errors_and_the_remote_servers_words() {
    for (word, is_hard, [related, error, comment], kind, blame) in FAILURES {
        let entry = json!({
            "event": word, "hard_bounce": is_hard, "error_related_to": related, "error": error,
            "comment": comment,
        });
        assert_eq!(meaning(read(&entry)), (kind, blame), "{entry}");
    }
}

#[test]
fn our_ids_are_found_as_the_api_and_as_smtp_bring_them_back() {
    let sent = outgoing(&["a@x.test"]);
    let (message, to) = (
        sent.message.simple(),
        correlation::recipients(&sent, 100).remove(0),
    );
    let payload = json!({ correlation::MESSAGE: message, correlation::RECIPIENTS: to }).to_string();
    let one = as_one(&sent, Readers::Recipients, 255);
    let ours = Some(sent.recipients[0].delivery);
    for (custom_id, payload, expected) in [
        (message.as_str(), payload.as_str(), ours),
        (&one, "", ours),
        (&one, "not json", ours),
        (&message, "", None),
        ("", "{}", None),
    ] {
        let entry = json!({ "event": "sent", "email": "A@X.test", "CustomID": custom_id, "Payload": payload });
        assert_eq!(
            only(read(&entry)).delivery,
            expected,
            "{custom_id} {payload}"
        );
    }
}

#[test]
fn a_bad_entry_is_set_aside_and_the_good_ones_are_read() {
    let good =
        json!({ "event": "sent", "time": 1_795_305_600, "email": "a@x.test", "MessageID": 1 });
    let with = |name: &str, value: Value| {
        let mut entry = good.clone();
        entry[name] = value;
        entry
    };
    let body = json!([
        good,
        with("email", json!("canary@x\r\nb")),
        with("email", json!("canary@x".repeat(130_000))),
        with("time", json!("soon")),
        ["canary"],
        good,
        with("MessageID", json!("2")),
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
    for body in ["", "{", "7", "null"] {
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
        for word in ["bounce", "blocked", &text] {
            let entry = json!({
                "event": word, "time": number, "email": text, "MessageID": number,
                "CustomID": text, "Payload": text, "error": text, "error_related_to": text,
                "comment": text, "smtp_reply": text, "hard_bounce": text,
            });
            let webhook = events::read(entry.to_string().as_bytes(), Ids::Api).unwrap();
            prop_assert_eq!(webhook.events.len() + webhook.unreadable.len(), 1);
            prop_assert!(webhook.events.iter().all(|event| event.detail.len() <= 512));
        }
    }
}
