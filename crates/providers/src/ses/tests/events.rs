//! SES's events, type by type.

use malote_core::event::{Blame, EventKind, ProviderEvent};
use malote_core::webhook::Webhook;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::correlation;
use crate::correlation::tests::outgoing;
use crate::ses::events;

fn read(event: &Value) -> Webhook {
    events::read(&event.to_string(), "id")
}

/// An event of this type about a message to `destination`, with our tags.
fn event(kind: &str, destination: &[&str], object: (&str, Value)) -> Value {
    let sent = outgoing(&["a@x.test", "b@x.test"]);
    let (name, object) = object;
    json!({
        "eventType": kind,
        "mail": {
            "timestamp": "2026-11-22T00:00:00.000Z",
            "messageId": "0100-1",
            "destination": destination,
            "tags": {
                "ses:configuration-set": ["tx"],
                "malote-message": [sent.message.simple()],
                "malote-to-0": correlation::recipients(&sent, 1000),
            },
        },
        name: object,
    })
}

fn only(webhook: Webhook) -> ProviderEvent {
    assert_eq!(
        (webhook.events.len(), webhook.unreadable.len()),
        (1, 0),
        "{webhook:?}"
    );
    webhook.events.into_iter().next().unwrap()
}

#[test]
fn a_delivery_is_told_per_recipient_with_our_ids() {
    let delivery = json!({
        "timestamp": "2026-11-22T00:00:03.250Z", "smtpResponse": "250 2.0.0 OK",
        "recipients": ["b@x.test", "Ann <a@X.test>", "c@x.test", "not an address"],
    });
    let webhook = read(&event(
        "Delivery",
        &["a@x.test", "b@x.test"],
        ("delivery", delivery),
    ));
    let found: Vec<_> = webhook
        .events
        .iter()
        .map(|e| (e.dedup_key.as_str(), e.delivery.map(|d| d.index)))
        .collect();
    assert_eq!(
        found,
        [("id#0", Some(1)), ("id#1", Some(0)), ("id#2", None)]
    );
    let unread = &webhook.unreadable[0];
    assert_eq!(unread.reason, "ses: a recipient that is no address");
    assert!(unread.to_string().contains("\"eventType\""), "{unread}");
    let first = &webhook.events[0];
    assert_eq!(first.kind, EventKind::Delivered);
    assert_eq!(first.detail, "250 2.0.0 OK");
    assert_eq!(first.provider_message_id.as_deref(), Some("0100-1"));
    assert_eq!(first.at.to_string(), "2026-11-22T00:00:03.25Z");
}

#[test]
fn bounces_are_blamed_by_type_and_by_the_servers_words() {
    for (kind, sub_kind, status, diagnostic, expected) in [
        ("Permanent", "General", "", "", Blame::Recipient),
        (
            "Permanent",
            "NoEmail",
            "5.1.1",
            "user unknown",
            Blame::Recipient,
        ),
        ("Permanent", "General", "5.7.1", "", Blame::Policy),
        (
            "Permanent",
            "General",
            "5.1.1",
            "550 blocked using Spamhaus",
            Blame::Reputation,
        ),
        ("Permanent", "General", "5.2.2", "", Blame::MailboxFull),
        ("Transient", "General", "4.4.7", "expired", Blame::Unknown),
        (
            "Transient",
            "General",
            "5.1.1",
            "user unknown",
            Blame::Unknown,
        ),
        ("Transient", "General", "5.7.1", "", Blame::Policy),
        ("Transient", "MailboxFull", "", "", Blame::MailboxFull),
        ("Transient", "MessageTooLarge", "", "", Blame::Content),
        ("Transient", "ContentRejected", "", "", Blame::Content),
        ("Transient", "AttachmentRejected", "", "", Blame::Content),
        ("Undetermined", "Undetermined", "", "", Blame::Unknown),
        ("New", "New", "", "", Blame::Unknown),
    ] {
        let bounce = json!({
            "bounceType": kind, "bounceSubType": sub_kind, "timestamp": "2026-11-22T00:00:03Z",
            "bouncedRecipients": [{ "emailAddress": "a@x.test", "status": status, "diagnosticCode": diagnostic }],
        });
        let found = only(read(&event("Bounce", &["a@x.test"], ("bounce", bounce))));
        assert_eq!(
            (found.kind, found.blame),
            (EventKind::Bounced, Some(expected)),
            "{kind} {sub_kind} {status}"
        );
    }
    for sub_kind in ["Suppressed", "OnAccountSuppressionList"] {
        let bounce = json!({
            "bounceType": "Permanent", "bounceSubType": sub_kind, "timestamp": "2026-11-22T00:00:03Z",
            "bouncedRecipients": [{ "emailAddress": "a@x.test" }],
        });
        let found = only(read(&event("Bounce", &["a@x.test"], ("bounce", bounce))));
        assert_eq!(
            (found.kind, found.blame),
            (EventKind::Suppressed, None),
            "{sub_kind}"
        );
    }
}

#[test]
fn complaints_are_told_apart() {
    for (feedback, sub_kind, kind) in [
        (json!("abuse"), Value::Null, EventKind::Complained),
        (Value::Null, Value::Null, EventKind::Complained),
        (
            json!("not-spam"),
            Value::Null,
            EventKind::Other("not_spam".into()),
        ),
        (
            Value::Null,
            json!("OnAccountSuppressionList"),
            EventKind::Suppressed,
        ),
    ] {
        let complaint = json!({
            "complaintFeedbackType": feedback, "complaintSubType": sub_kind,
            "timestamp": "2026-11-22T00:00:03Z",
            "complainedRecipients": [{ "emailAddress": "a@x.test" }],
        });
        let found = only(read(&event(
            "Complaint",
            &["a@x.test"],
            ("complaint", complaint),
        )));
        assert_eq!(found.kind, kind, "{feedback} {sub_kind}");
    }
}

#[test]
fn the_other_types_have_their_words() {
    let at = "2026-11-22T00:00:03Z";
    let delay = json!({
        "delayType": "TransientCommunicationFailure", "timestamp": at,
        "delayedRecipients": [{ "emailAddress": "a@x.test", "status": "4.4.1" }],
    });
    let leaving = json!({ "timestamp": at, "contactList": "news", "newTopicPreferences": { "unsubscribeAll": true } });
    let leaving_topic = json!({ "timestamp": at, "newTopicPreferences": {
        "topicSubscriptionStatus": [{ "topicName": "t", "subscriptionStatus": "OptOut" }] } });
    let joining = json!({ "timestamp": at, "newTopicPreferences": {
        "unsubscribeAll": false,
        "topicSubscriptionStatus": [{ "topicName": "t", "subscriptionStatus": "OptIn" }] } });
    for (word, name, object, kind) in [
        ("Send", "send", json!({}), EventKind::Sent),
        ("DeliveryDelay", "deliveryDelay", delay, EventKind::Deferred),
        (
            "Reject",
            "reject",
            json!({ "reason": "Bad content" }),
            EventKind::Rejected,
        ),
        (
            "Open",
            "open",
            json!({ "timestamp": at }),
            EventKind::Opened,
        ),
        (
            "Click",
            "click",
            json!({ "timestamp": at, "link": "https://x.test" }),
            EventKind::Clicked,
        ),
        (
            "Subscription",
            "subscription",
            leaving,
            EventKind::Unsubscribed,
        ),
        (
            "Subscription",
            "subscription",
            leaving_topic,
            EventKind::Unsubscribed,
        ),
        (
            "Subscription",
            "subscription",
            joining,
            EventKind::Other("subscription".into()),
        ),
        (
            "Rendering Failure",
            "failure",
            json!({}),
            EventKind::Other("Rendering Failure".into()),
        ),
        (
            "Brand New",
            "new",
            json!({}),
            EventKind::Other("Brand New".into()),
        ),
    ] {
        let found = only(read(&event(word, &["a@x.test"], (name, object))));
        assert_eq!(
            (found.kind, found.delivery.map(|d| d.index)),
            (kind, Some(0)),
            "{word}"
        );
    }
}

#[test]
fn an_open_of_a_message_to_several_belongs_to_nobody() {
    let open = json!({ "timestamp": "2026-11-22T00:00:03Z" });
    let found = only(read(&event(
        "Open",
        &["a@x.test", "b@x.test"],
        ("open", open),
    )));
    assert_eq!((found.recipient, found.delivery), (None, None));
}

#[test]
fn identity_feedback_has_no_tags_and_finds_its_way_by_the_services_id() {
    let mut feedback = event(
        "Bounce",
        &["a@x.test"],
        (
            "bounce",
            json!({
                "bounceType": "Permanent", "bounceSubType": "General", "timestamp": "2026-11-22T00:00:03Z",
                "bouncedRecipients": [{ "emailAddress": "a@x.test" }],
            }),
        ),
    );
    let object = feedback.as_object_mut().unwrap();
    object.remove("eventType");
    object.insert("notificationType".into(), json!("Bounce"));
    object["mail"].as_object_mut().unwrap().remove("tags");
    let found = only(read(&feedback));
    assert_eq!(found.delivery, None);
    assert_eq!(found.provider_message_id.as_deref(), Some("0100-1"));
    assert_eq!(found.recipient.unwrap().as_str(), "a@x.test");
}

#[test]
fn announcements_are_no_events_and_nonsense_is_set_aside() {
    for message in [
        "Successfully validated SNS topic for Amazon SES event publishing.",
        r#"{"notificationType":"AmazonSnsSubscriptionSucceeded","message":"You have subscribed"}"#,
    ] {
        assert_eq!(events::read(message, "id"), Webhook::default(), "{message}");
    }
    for message in [
        "",
        "text",
        "{}",
        "[]",
        "7",
        r#"{"eventType":7}"#,
        r#"{"eventType":"Send"}"#,
        r#"{"eventType":"Open","mail":{"timestamp":"yesterday"}}"#,
    ] {
        let webhook = events::read(message, "id");
        assert!(
            webhook.events.is_empty() && webhook.unreadable.len() == 1,
            "{message}"
        );
    }
}

proptest! {
    #[test]
    fn no_message_breaks_the_reader(text in "\\PC{0,100}", word in 0usize..9, shape in 0usize..4) {
        events::read(&text, "id");
        let words = ["Send", "Delivery", "DeliveryDelay", "Bounce", "Complaint", "Reject", "Open",
            "Click", "Subscription"];
        let value = match shape {
            0 => json!(text),
            1 => json!([text, 7, null]),
            2 => json!({ "emailAddress": text, "status": [text], "timestamp": text }),
            _ => Value::Null,
        };
        let fields = json!({
            "timestamp": "2026-11-22T00:00:03Z", "recipients": value, "delayedRecipients": [value],
            "bouncedRecipients": [value], "complainedRecipients": [value], "bounceType": value,
            "newTopicPreferences": value, "link": value,
        });
        let mut event = json!({ "eventType": words[word], "mail": {
            "timestamp": "2026-11-22T00:00:00Z", "messageId": value, "destination": value,
            "tags": { "malote-message": value, "malote-to-0": value } } });
        for name in ["delivery", "deliveryDelay", "bounce", "complaint", "reject", "open", "click", "subscription"] {
            event[name] = fields.clone();
        }
        let webhook = read(&event);
        for event in webhook.events {
            prop_assert!(event.detail.len() <= 512);
        }
    }
}
