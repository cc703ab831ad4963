//! Postmark's records: believed with the secret, read by their `RecordType`.

use malote_core::event::Blame;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::postmark::events::{self, NO_MESSAGE};
use crate::webhook::rig::{
    SECRET, believes_nothing_without_the_secret, over, parser, sent, told, with_secret,
};

const FIXTURE: &str = include_str!("../../../testdata/postmark_bounce_2026.json");

fn tables() -> [String; 3] {
    let webhook = format!("[webhook]\nsecret = '{SECRET}'");
    [
        format!("[postmark]\nserver_token = 'k'\n{webhook}"),
        format!("[postmark]\nserver_token = 'k'\ntransport = 'api'\n{webhook}"),
        format!("[smtp]\npreset = 'postmark'\npassword = 'k'\n{webhook}"),
    ]
}

#[tokio::test]
async fn a_record_with_the_secret_finds_its_delivery() {
    let (sent, members) = sent();
    let body = FIXTURE.replace("@TO@", members["malote-to-0"].as_str().unwrap());
    for table in tables() {
        let webhook = parser(&table).parse(&with_secret(&body)).await.unwrap();
        assert_eq!(told(&webhook), [("bounced", Some(Blame::Recipient))]);
        let event = &webhook.events[0];
        assert_eq!(event.delivery, Some(sent.recipients[1].delivery));
        let id = event.provider_message_id.as_deref();
        assert_eq!(id, Some("883953f4-6105-42a2-a16a-77a8eac79483"));
        assert_eq!(event.at.to_string(), "2026-11-05T16:33:54.9070259Z");
        assert!(event.detail.starts_with("HardBounce smtp;550 5.1.1"));
        let raw: Value = serde_json::from_slice(&event.raw).unwrap();
        assert_eq!(raw["ID"], 4_323_372_036_854_775_807_u64);
    }
    for table in tables() {
        believes_nothing_without_the_secret(&table, &body).await;
    }
}

fn read(given: &Value) -> malote_core::webhook::Webhook {
    let own = json!({
        "MessageID": "883953f4-6105-42a2-a16a-77a8eac79483",
        "Recipient": "a@x.test",
        "DeliveredAt": "2026-11-05T16:33:54.9070259Z",
        "BouncedAt": "2026-11-05T16:33:54Z",
        "ReceivedAt": "2026-11-05T16:33:54-05:00",
        "ChangedAt": "2026-11-05T16:33:54Z",
    });
    events::read(over(own, given).to_string().as_bytes()).unwrap()
}

#[test]
fn every_type_of_bounce_has_its_word_and_its_blame() {
    let unknown_user = "550 5.1.1 user unknown";
    let bounced = |blame| ("bounced", Some(blame));
    let rejected = |blame| ("rejected", Some(blame));
    for (kind, details, expected) in [
        ("HardBounce", "", bounced(Blame::Recipient)),
        ("BadEmailAddress", "", bounced(Blame::Recipient)),
        (
            "HardBounce",
            "550 5.7.1 blocked",
            bounced(Blame::Reputation),
        ),
        ("SoftBounce", "", bounced(Blame::Unknown)),
        ("SoftBounce", unknown_user, bounced(Blame::Unknown)),
        (
            "SoftBounce",
            "552 5.2.2 mailbox full",
            bounced(Blame::MailboxFull),
        ),
        ("Blocked", unknown_user, bounced(Blame::Reputation)),
        ("DMARCPolicy", "", bounced(Blame::SenderAuth)),
        ("Transient", "451 later", ("deferred", None)),
        ("DnsError", "", ("deferred", None)),
        ("OpenRelayTest", "", ("deferred", None)),
        ("SpamNotification", "", ("complained", None)),
        ("Unsubscribe", "", ("unsubscribed", None)),
        ("ManuallyDeactivated", "", ("suppressed", None)),
        ("VirusNotification", "", rejected(Blame::Content)),
        ("TemplateRenderingFailed", "", rejected(Blame::Content)),
        (
            "SMTPApiError",
            "a recipient that has been marked as inactive",
            ("suppressed", None),
        ),
        (
            "SMTPApiError",
            "The 'From' is no Sender Signature",
            rejected(Blame::Unknown),
        ),
        ("AutoResponder", "", ("AutoResponder", None)),
        ("AddressChange", "", ("AddressChange", None)),
        ("ChallengeVerification", "", ("ChallengeVerification", None)),
    ] {
        let given = json!({"RecordType": "Bounce", "Type": kind, "Details": details});
        assert_eq!(told(&read(&given)), [expected], "{kind} {details}");
    }
}

#[test]
fn every_record_has_its_word() {
    let change = |suppress: bool, reason: &str| json!({"RecordType": "SubscriptionChange", "SuppressSending": suppress, "SuppressionReason": reason});
    for (given, kind) in [
        (
            json!({"RecordType": "Delivery", "Details": "250 OK"}),
            "delivered",
        ),
        (
            json!({"RecordType": "SpamComplaint", "Type": "SpamComplaint"}),
            "complained",
        ),
        (json!({"RecordType": "Open", "FirstOpen": true}), "opened"),
        (
            json!({"RecordType": "Click", "OriginalLink": "https://x.test"}),
            "clicked",
        ),
        (change(true, "ManualSuppression"), "unsubscribed"),
        (change(true, "SpamComplaint"), "complained"),
        (change(true, "HardBounce"), "SubscriptionChange/HardBounce"),
        (change(false, ""), "resubscribed"),
        (json!({"RecordType": "Inbound"}), "Inbound"),
    ] {
        assert_eq!(told(&read(&given)), [(kind, None)], "{given}");
    }
}

#[test]
fn a_change_without_a_message_names_none_and_each_record_is_one_of_its_own() {
    let change = json!({
        "RecordType": "SubscriptionChange", "SuppressSending": true, "SuppressionReason": "ManualSuppression",
        "MessageID": "00000000-0000-0000-0000-000000000000", "Metadata": {},
    });
    let webhook = read(&change);
    assert_eq!(webhook.events[0].provider_message_id, None);
    let key = |given: &Value| read(given).events.remove(0).dedup_key;
    assert_eq!(key(&change), key(&change));
    let bounce = json!({"RecordType": "Bounce", "Type": "Transient", "ID": 1});
    let again = json!({"RecordType": "Bounce", "Type": "Transient", "ID": 2});
    assert_ne!(key(&bounce), key(&again));
    let clicks = ["https://x.test/1", "https://x.test/2"];
    let clicks = clicks.map(|link| key(&json!({"RecordType": "Click", "OriginalLink": link})));
    assert_ne!(clicks[0], clicks[1]);
}

#[test]
fn a_complaint_is_one_however_many_records_tell_of_it() {
    let key = |given: Value| {
        let webhook = read(&given);
        assert_eq!(told(&webhook), [("complained", None)], "{given}");
        webhook.events[0].dedup_key.clone()
    };
    let change = || json!({"RecordType": "SubscriptionChange", "SuppressSending": true, "SuppressionReason": "SpamComplaint", "ChangedAt": "2026-11-05T16:34:01Z"});
    // This record names its recipient by another member.
    let own = json!({"RecordType": "SpamComplaint", "Type": "SpamComplaint", "ID": 1, "Recipient": null, "Email": "a@x.test"});
    let bounce = json!({"RecordType": "Bounce", "Type": "SpamComplaint", "ID": 1, "Recipient": null, "Email": "a@x.test"});
    let one = key(change());
    assert_eq!([key(own), key(bounce)], [one.clone(), one.clone()]);
    for (member, value) in [
        ("Recipient", "b@x.test"),
        ("MessageID", "883953f4-6105-42a2-a16a-77a8eac79484"),
    ] {
        let mut other = change();
        other[member] = value.into();
        assert_ne!(key(other), one, "{member}");
    }
    // Of no message, only its own time tells two of them apart.
    let mut stray = change();
    stray["MessageID"] = NO_MESSAGE.into();
    let first = key(stray.clone());
    stray["ChangedAt"] = "2026-12-05T16:34:01Z".into();
    assert_ne!(key(stray), first);
}

#[test]
fn what_cannot_be_read_is_set_aside_for_a_reason_without_the_address() {
    for given in [
        json!({"RecordType": "Delivery", "Recipient": "a@x\r\nb"}),
        json!({"RecordType": "Delivery", "DeliveredAt": "soon"}),
        json!({"RecordType": ""}),
    ] {
        let webhook = read(&given);
        assert_eq!(
            (webhook.events.len(), webhook.unreadable.len()),
            (0, 1),
            "{given}"
        );
        assert!(!webhook.unreadable[0].reason.contains("a@x"));
    }
    assert!(events::read(b"RecordType=Bounce").is_err());
}

proptest! {
    #[test]
    fn no_body_breaks_the_reader(body in "\\PC{0,200}", record in "(Bounce|Open|SubscriptionChange|[A-Z]{0,9})", n in any::<i64>()) {
        drop(events::read(body.as_bytes()));
        let odd = json!({"RecordType": record, "Type": body, "Details": n, "Recipient": body, "ID": body,
            "BouncedAt": n, "ReceivedAt": body, "Metadata": [body], "SuppressSending": body});
        let webhook = events::read(odd.to_string().as_bytes()).unwrap();
        prop_assert_eq!(webhook.events.len() + webhook.unreadable.len(), 1);
    }
}
