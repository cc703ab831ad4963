//! SMTP2GO's events: believed with the secret, read from JSON or a form.

use malote_core::event::Blame;
use malote_core::webhook::Webhook;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::correlation::{Readers, as_one, tests::outgoing};
use crate::smtp2go::events;
use crate::webhook::rig::{
    NOW, SECRET, believes_nothing_without_the_secret, over, parser, post, told, with_secret,
};

const FIXTURE: &str = include_str!("../../../testdata/smtp2go_bounce_2026.json");

fn tables() -> [String; 3] {
    let webhook = format!("[webhook]\nsecret = '{SECRET}'");
    [
        format!("[smtp2go]\napi_key = 'k'\n{webhook}"),
        format!("[smtp2go]\napi_key = 'k'\nuser = 'u'\n{webhook}"),
        format!("[smtp]\npreset = 'smtp2go'\nuser = 'u'\npassword = 'k'\n{webhook}"),
    ]
}

/// The same members as the form that the service posts unless it is told otherwise.
fn as_form(json: &str) -> String {
    let members: Value = serde_json::from_str(json).unwrap();
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in members.as_object().unwrap() {
        form.append_pair(name, value.as_str().unwrap_or("b@x.test"));
    }
    form.finish()
}

#[tokio::test]
async fn an_event_is_the_same_in_json_and_as_a_form() {
    let sent = outgoing(&["b@x.test"]);
    let body = FIXTURE.replace("@ID@", &as_one(&sent, Readers::Recipients, 255));
    for table in tables() {
        let parser = parser(&table);
        let json = parser.parse(&with_secret(&body)).await.unwrap();
        let form = parser.parse(&with_secret(as_form(&body))).await.unwrap();
        assert_eq!(told(&json), [("bounced", Some(Blame::Recipient))]);
        let (event, again) = (&json.events[0], &form.events[0]);
        assert_eq!(event.dedup_key, again.dedup_key);
        assert_eq!((event.at, event.delivery), (again.at, again.delivery));
        assert_eq!(event.delivery, Some(sent.recipients[0].delivery));
        assert_eq!(
            event.provider_message_id.as_deref(),
            Some("1u0SwL-0000000abcd-1234")
        );
        assert_eq!(event.at.to_string(), "2026-11-05T16:33:54Z");
        assert!(event.detail.starts_with("550 5.1.1"));
    }
    for table in tables() {
        believes_nothing_without_the_secret(&table, &body).await;
    }
}

fn read(given: &Value) -> Webhook {
    let own = json!({"email_id": "1u0SwL-1", "rcpt": "a@x.test", "time": "2026-11-05T16:33:54Z"});
    let body = over(own, given).to_string();
    events::read(&post(body, &[]), NOW.parse().unwrap()).unwrap()
}

#[test]
fn every_event_has_its_word_and_its_blame() {
    let bounce =
        |how: &str, message: &str| json!({"event": "bounce", "bounce": how, "message": message});
    let reject = |message: &str| json!({"event": "reject", "message": message});
    for (given, kind, blame) in [
        (json!({"event": "processed"}), "sent", None),
        (json!({"event": "delivered"}), "delivered", None),
        (json!({"event": "open"}), "opened", None),
        (
            json!({"event": "click", "url": "https://x.test"}),
            "clicked",
            None,
        ),
        (json!({"event": "spam"}), "complained", None),
        (json!({"event": "unsubscribe"}), "unsubscribed", None),
        (json!({"event": "resubscribe"}), "resubscribed", None),
        (json!({"event": "brewed"}), "brewed", None),
        (bounce("hard", ""), "bounced", Some(Blame::Recipient)),
        (
            bounce("hard", "550 5.7.1 blocked by Spamhaus"),
            "bounced",
            Some(Blame::Reputation),
        ),
        (bounce("soft", "451 4.7.1 later"), "deferred", None),
        (
            bounce("soft", "552 5.2.2 over quota"),
            "bounced",
            Some(Blame::MailboxFull),
        ),
        (
            bounce("soft", "550 5.1.1 user unknown"),
            "bounced",
            Some(Blame::Unknown),
        ),
        (
            reject("recipient is on the suppression list"),
            "suppressed",
            None,
        ),
        (
            reject("From sender domain not verified"),
            "rejected",
            Some(Blame::SenderAuth),
        ),
        (reject("sandboxed"), "rejected", Some(Blame::Unknown)),
    ] {
        assert_eq!(told(&read(&given)), [(kind, blame)], "{given}");
    }
}

#[test]
fn a_time_that_nobody_can_read_loses_no_event() {
    for (time, at) in [
        (json!("2026-11-05 16:33:54"), "2026-11-05T16:33:54Z"),
        (json!(1_763_769_540), "2025-11-21T23:59:00Z"),
        (json!("soon"), NOW),
        (json!(null), NOW),
    ] {
        let webhook = read(&json!({"event": "spam", "time": time}));
        assert_eq!(webhook.events[0].at.to_string(), at, "{time}");
    }
}

#[test]
fn what_cannot_be_read_is_set_aside() {
    for given in [
        json!({"event": "spam", "rcpt": "a@x\nb"}),
        json!({"rcpt": "a@x.test"}),
    ] {
        let webhook = read(&given);
        assert_eq!(
            (webhook.events.len(), webhook.unreadable.len()),
            (0, 1),
            "{given}"
        );
    }
    let now = NOW.parse().unwrap();
    assert!(events::read(&post("{", &[]), now).is_err());
    assert_eq!(events::read(&post(" ", &[]), now), Ok(Webhook::default()));
}

proptest! {
    #[test]
    fn no_body_breaks_the_reader(body in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,40}", n in any::<i64>()) {
        drop(events::read(&post(&body, &[]), NOW.parse().unwrap()));
        for event in ["bounce", "reject", "click", &text] {
            let webhook = read(&json!({"event": event, "message": [text], "time": n, "rcpt": text,
                "bounce": n, "x-malote-id": text, "email_id": text}));
            prop_assert_eq!(webhook.events.len() + webhook.unreadable.len(), 1);
        }
    }
}
