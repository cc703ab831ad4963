//! SparkPost's batches: believed with the secret, read by type and bounce class.

use malote_core::event::Blame;
use malote_core::webhook::Webhook;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::sparkpost::events;
use crate::webhook::rig::{
    SECRET, believes_nothing_without_the_secret, over, parser, sent, told, with_secret,
};

const FIXTURE: &str = include_str!("../../../testdata/sparkpost_batch_2026.json");

fn tables() -> [String; 2] {
    let webhook = format!("[webhook]\nsecret = '{SECRET}'");
    [
        format!("[sparkpost]\napi_key = 'k'\n{webhook}"),
        format!("[smtp]\npreset = 'sparkpost'\npassword = 'k'\n{webhook}"),
    ]
}

#[tokio::test]
async fn a_batch_with_the_secret_finds_its_deliveries() {
    let (sent, members) = sent();
    let own = members["malote-to-0"].as_str().unwrap().split('_').nth(1);
    let body = FIXTURE.replace("@TO@", own.unwrap());
    for table in tables() {
        let webhook = parser(&table).parse(&with_secret(&body)).await.unwrap();
        let expected = [("bounced", Some(Blame::Recipient)), ("unsubscribed", None)];
        assert_eq!(told(&webhook), expected);
        let event = &webhook.events[0];
        assert_eq!(event.delivery, Some(sent.recipients[1].delivery));
        assert_eq!(event.dedup_key, "92356927693813856");
        assert_eq!(
            event.provider_message_id.as_deref(),
            Some("65832150921904138")
        );
        assert_eq!(event.at.as_second(), 1_763_769_540);
        assert_eq!(event.detail, "550 5.1.1 No such user");
        assert!(!event.raw.is_empty());
    }
    for table in tables() {
        believes_nothing_without_the_secret(&table, &body).await;
    }
}

#[tokio::test]
async fn the_batch_by_which_the_service_tries_an_address_is_taken_and_tells_nothing() {
    let ping = with_secret(r#"[{"msys":{}}]"#);
    let webhook = parser(&tables()[0]).parse(&ping).await.unwrap();
    assert_eq!(webhook, Webhook::default());
}

fn read(given: &Value) -> Webhook {
    let own = json!({"event_id": "1", "timestamp": "1763769540", "rcpt_to": "a@x.test"});
    let batch = json!([{ "msys": { "message_event": over(own, given) } }]);
    events::read(batch.to_string().as_bytes()).unwrap()
}

#[test]
fn every_type_has_its_word() {
    for (given, kind, blame) in [
        (json!({"type": "injection"}), "sent", None),
        (json!({"type": "delivery"}), "delivered", None),
        (
            json!({"type": "delay", "raw_reason": "451 later"}),
            "deferred",
            None,
        ),
        (
            json!({"type": "out_of_band", "bounce_class": 10}),
            "bounced",
            Some(Blame::Recipient),
        ),
        (
            json!({"type": "policy_rejection", "bounce_class": "25", "raw_reason": "550 5.7.1 recipient address suppressed due to customer policy"}),
            "suppressed",
            None,
        ),
        (
            json!({"type": "policy_rejection"}),
            "rejected",
            Some(Blame::Policy),
        ),
        (
            json!({"type": "generation_rejection"}),
            "rejected",
            Some(Blame::Content),
        ),
        (
            json!({"type": "generation_failure"}),
            "rejected",
            Some(Blame::Content),
        ),
        (
            json!({"type": "spam_complaint", "fbtype": "abuse"}),
            "complained",
            None,
        ),
        (
            json!({"type": "spam_complaint", "fbtype": "not-spam"}),
            "not_spam",
            None,
        ),
        (json!({"type": "list_unsubscribe"}), "unsubscribed", None),
        (json!({"type": "link_unsubscribe"}), "unsubscribed", None),
        (
            json!({"type": "open", "is_prefetched": true}),
            "opened",
            None,
        ),
        (json!({"type": "initial_open"}), "initial_open", None),
        (
            json!({"type": "click", "target_link_url": "https://x.test"}),
            "clicked",
            None,
        ),
        (json!({"type": "sms_status"}), "sms_status", None),
        (json!({}), "message_event", None),
    ] {
        let webhook = read(&given);
        assert_eq!(told(&webhook), [(kind, blame)], "{given}");
        if given["is_prefetched"] == true {
            assert_eq!(webhook.events[0].detail, "opened by a machine, read or not");
        }
    }
}

#[test]
fn every_bounce_class_has_its_blame_and_a_block_is_never_the_recipients() {
    let unknown_user = "550 5.1.1 user unknown";
    let bounced = |blame| ("bounced", Some(blame));
    for (class, reason, expected) in [
        ("1", "", bounced(Blame::Unknown)),
        ("1", unknown_user, bounced(Blame::Recipient)),
        ("10", unknown_user, bounced(Blame::Recipient)),
        ("10", "550 blocked by Spamhaus", bounced(Blame::Reputation)),
        ("20", unknown_user, bounced(Blame::Unknown)),
        ("21", "", bounced(Blame::Infrastructure)),
        ("22", "", bounced(Blame::MailboxFull)),
        ("23", "", bounced(Blame::Content)),
        ("24", "", bounced(Blame::Infrastructure)),
        ("25", "recipient address suppressed", ("suppressed", None)),
        ("25", "", ("rejected", Some(Blame::Policy))),
        ("30", "", bounced(Blame::Recipient)),
        ("40", "", bounced(Blame::Infrastructure)),
        ("50", unknown_user, bounced(Blame::Reputation)),
        ("51", unknown_user, bounced(Blame::Reputation)),
        ("52", "", bounced(Blame::Content)),
        ("53", "", bounced(Blame::Content)),
        ("54", unknown_user, bounced(Blame::Infrastructure)),
        ("60", "", ("auto_reply", None)),
        ("70", "", bounced(Blame::Unknown)),
        ("80", "", ("subscribe", None)),
        ("90", "", ("unsubscribed", None)),
        ("100", "", ("challenge_response", None)),
        ("999", "", bounced(Blame::Unknown)),
    ] {
        let given = json!({"type": "bounce", "bounce_class": class, "raw_reason": reason});
        assert_eq!(told(&read(&given)), [expected], "{class} {reason}");
    }
}

#[test]
fn a_bad_entry_is_set_aside_and_the_good_ones_are_read() {
    let good = |id: &str| json!({"msys": {"message_event": {"type": "delivery", "event_id": id, "timestamp": "1763769540", "rcpt_to": "a@x.test"}}});
    let bad = json!({"msys": {"message_event": {"type": "delivery", "timestamp": "1763769540", "rcpt_to": "a@x\nb"}}});
    let batch = json!([good("1"), bad, {"msys": 1}, 7, {"msys": {}}, {"msys": {"track_event": {}}}, good("2")]);
    let webhook = events::read(batch.to_string().as_bytes()).unwrap();
    assert_eq!((webhook.events.len(), webhook.unreadable.len()), (2, 4));
    assert!(
        webhook
            .unreadable
            .iter()
            .all(|own| !own.reason.contains("a@x"))
    );
}

proptest! {
    #[test]
    fn no_body_breaks_the_reader(body in "\\PC{0,200}", kind in "(bounce|open|[a-z_]{0,12})", n in any::<i64>()) {
        drop(events::read(body.as_bytes()));
        let webhook = read(&json!({"type": kind, "bounce_class": n, "raw_reason": [body], "rcpt_to": body,
            "timestamp": n, "rcpt_meta": body, "event_id": body}));
        prop_assert_eq!(webhook.events.len() + webhook.unreadable.len(), 1);
    }
}
