//! Webhooks: what is believed, and what believed events mean.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use malote_core::event::{Blame, EventKind};
use malote_core::webhook::{Webhook, WebhookRefusal, WebhookRequest};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::correlation;
use crate::correlation::tests::outgoing;
use crate::resend::events;
use crate::webhook::rig::{NOW, meaning, only, parser, post, refused};

const FIXTURE: &str = include_str!("../../../testdata/resend_bounced_2026.json");
const TABLE: &str =
    "[resend]\napi_key = 'k'\n[webhook]\nsecret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'";
const KEY: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn sign(key: &str, id: &str, timestamp: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(key).unwrap());
    let tag = hmac::sign(&key, format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag.as_ref()))
}

fn signed_at(body: &str, seconds_ago: i64) -> WebhookRequest {
    let timestamp = (now().as_second() - seconds_ago).to_string();
    let signature = sign(KEY, ID, &timestamp, body);
    with(body, ID, &timestamp, &signature)
}

fn with(body: &str, id: &str, timestamp: &str, signature: &str) -> WebhookRequest {
    let headers = [
        ("svix-id", id),
        ("svix-timestamp", timestamp),
        ("svix-signature", signature),
    ];
    post(body, &headers)
}

#[tokio::test]
async fn a_posted_event_reaches_its_delivery() {
    let sent = outgoing(&["x@dest.example"]);
    let body = FIXTURE
        .replace("@MESSAGE@", &sent.message.simple())
        .replace("@TO@", &correlation::recipients(&sent, 256)[0]);
    for table in [
        TABLE.to_owned(),
        TABLE.replace(
            "[resend]\napi_key = 'k'",
            "[smtp]\npreset = 'resend'\npassword = 'k'",
        ),
    ] {
        let event = only(parser(&table).parse(&signed_at(&body, 0)).await.unwrap());
        assert_eq!(event.dedup_key, ID);
        assert_eq!(
            (event.kind, event.blame),
            (EventKind::Bounced, Some(Blame::Recipient))
        );
        assert_eq!(event.delivery, Some(sent.recipients[0].delivery));
        let id = event.provider_message_id.unwrap();
        assert_eq!(id, "56761188-7520-42d8-8898-ff6fc54ce618");
        assert_eq!(event.recipient.unwrap().as_str(), "x@dest.example");
        assert_eq!(event.at.to_string(), "2026-11-22T00:00:00.126Z");
        assert_eq!(
            event.detail,
            "Permanent General smtp; 550 5.1.1 user unknown"
        );
    }
}

#[tokio::test]
async fn a_signature_holds_five_minutes_either_way() {
    let parser = parser(TABLE);
    for (seconds_ago, is_good) in [
        (0, true),
        (300, true),
        (-300, true),
        (301, false),
        (-301, false),
        (13 * 3600, false),
    ] {
        let request = signed_at(FIXTURE, seconds_ago);
        let result = parser.parse(&request).await;
        assert_eq!(result.is_ok(), is_good, "{seconds_ago}");
    }
}

#[tokio::test]
async fn one_good_signature_of_a_list_is_enough_and_anything_else_is_unverified() {
    let parser = parser(TABLE);
    let now_s = now().as_second().to_string();
    let good = sign(KEY, ID, &now_s, FIXTURE);
    let wrong_key = sign("AAAA", ID, &now_s, FIXTURE);
    let digest = good.strip_prefix("v1,").unwrap();
    for list in [
        good.clone(),
        format!("{wrong_key} {good}"),
        format!("v1a,{digest} v1, {good}"),
    ] {
        let request = with(FIXTURE, ID, &now_s, &list);
        assert!(parser.parse(&request).await.is_ok(), "{list}");
    }
    let altered = FIXTURE.replace("x@dest", "y@dest");
    let many = format!("{}{good}", format!("{wrong_key} ").repeat(100));
    let upper = digest.to_ascii_uppercase();
    for request in [
        post(FIXTURE, &[]),
        post(FIXTURE, &[("svix-id", ID), ("svix-timestamp", &now_s)]),
        with(FIXTURE, ID, &now_s, ""),
        with(FIXTURE, ID, &now_s, "v1,"),
        with(FIXTURE, ID, &now_s, digest),
        with(FIXTURE, ID, &now_s, &wrong_key),
        with(FIXTURE, ID, &now_s, &format!("v2,{digest}")),
        with(FIXTURE, ID, &now_s, &format!("v1,{upper}")),
        with(FIXTURE, ID, &now_s, &many),
        with(&altered, ID, &now_s, &good),
        with(FIXTURE, "msg_other", &now_s, &good),
        with(FIXTURE, "", &now_s, &good),
        with(FIXTURE, ID, &(now().as_second() - 1).to_string(), &good),
        with(FIXTURE, ID, "1e9", &sign(KEY, ID, "1e9", FIXTURE)),
        with(FIXTURE, ID, "-1", &sign(KEY, ID, "-1", FIXTURE)),
        with(FIXTURE, ID, &"9".repeat(400), &good),
    ] {
        let refused = parser.parse(&request).await;
        assert!(
            matches!(refused, Err(WebhookRefusal::Unverified(_))),
            "{:?}",
            request.headers
        );
    }
}

#[test]
fn a_secret_of_another_form_is_told() {
    for key in [
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_",
        "whsec_*",
        "re_123",
    ] {
        let table = format!("[resend]\napi_key = 'k'\n[webhook]\nsecret = '{key}'");
        let errors = refused(&table);
        assert!(errors.contains("p.webhook.secret"), "{errors}");
    }
    let errors = refused("[resend]\napi_key = 'k'\n[webhook]");
    assert!(errors.contains("secret: is missing"), "{errors}");
}

fn read(kind: &str, data: &Value) -> Webhook {
    let body = json!({ "type": kind, "created_at": "2026-11-22T00:00:00Z", "data": data });
    events::read(body.to_string().as_bytes(), "id").unwrap()
}

#[test]
fn each_event_has_its_kind() {
    for (word, kind, blame) in [
        ("email.sent", EventKind::Sent, None),
        ("email.delivered", EventKind::Delivered, None),
        ("email.delivery_delayed", EventKind::Deferred, None),
        ("email.complained", EventKind::Complained, None),
        ("email.opened", EventKind::Opened, None),
        ("email.clicked", EventKind::Clicked, None),
        ("email.suppressed", EventKind::Suppressed, None),
        (
            "email.failed",
            EventKind::Rejected,
            Some(Blame::Infrastructure),
        ),
        (
            "contact.updated",
            EventKind::Other("contact.updated".into()),
            None,
        ),
        (
            "email.novelty",
            EventKind::Other("email.novelty".into()),
            None,
        ),
    ] {
        assert_eq!(meaning(read(word, &json!({}))), (kind, blame), "{word}");
    }
}

#[test]
fn a_bounce_is_blamed_by_its_type_and_the_remote_servers_words() {
    for (kind, sub_kind, code, expected) in [
        (
            "Permanent",
            "General",
            json!(["smtp; 550 5.1.1 x"]),
            Some(Blame::Recipient),
        ),
        ("Permanent", "NoEmail", Value::Null, Some(Blame::Recipient)),
        (
            "Permanent",
            "General",
            json!("550 5.7.1 blocked"),
            Some(Blame::Reputation),
        ),
        ("Permanent", "Suppressed", Value::Null, None),
        ("Permanent", "OnAccountSuppressionList", Value::Null, None),
        (
            "Transient",
            "MailboxFull",
            Value::Null,
            Some(Blame::MailboxFull),
        ),
        (
            "Transient",
            "ContentRejected",
            Value::Null,
            Some(Blame::Content),
        ),
        (
            "Transient",
            "General",
            json!(["550 5.1.1 x"]),
            Some(Blame::Unknown),
        ),
        (
            "Undetermined",
            "Undetermined",
            Value::Null,
            Some(Blame::Unknown),
        ),
        ("", "", json!({ "a": 1 }), Some(Blame::Unknown)),
    ] {
        let bounce = json!({ "type": kind, "subType": sub_kind, "diagnosticCode": code });
        let found = meaning(read("email.bounced", &json!({ "bounce": bounce })));
        let event = match expected {
            Some(_) => EventKind::Bounced,
            None => EventKind::Suppressed,
        };
        assert_eq!(found, (event, expected), "{kind}/{sub_kind}");
    }
}

#[test]
fn an_event_of_several_recipients_is_nobodys_but_its_messages() {
    for (to, expected) in [
        (json!(["a@x.test"]), Some("a@x.test")),
        (json!(["A <a@x.test>"]), Some("a@x.test")),
        (json!(["a@x.test", "b@x.test"]), None),
        (json!([]), None),
        (Value::Null, None),
    ] {
        let event = only(read(
            "email.delivered",
            &json!({ "to": to, "email_id": "1" }),
        ));
        assert_eq!(event.recipient.as_ref().map(|r| r.as_str()), expected);
        assert_eq!(event.provider_message_id.as_deref(), Some("1"));
    }
}

#[test]
fn what_cannot_be_read_is_set_aside_for_a_reason_without_the_address() {
    for to in [
        json!(["canary@x\r\nb"]),
        json!(["canary@x".repeat(130_000)]),
        json!([7]),
    ] {
        let webhook = read("email.delivered", &json!({ "to": to }));
        assert!(webhook.events.is_empty() && webhook.unreadable.len() == 1);
        assert!(!webhook.unreadable[0].reason.contains("canary"));
    }
    let timeless = events::read(b"{\"type\":\"email.sent\"}", "id").unwrap();
    assert_eq!(timeless.unreadable.len(), 1);
    for body in ["", "{", "[]", "{}", "{\"type\":7}"] {
        let refused = events::read(body.as_bytes(), "id");
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
    ) {
        events::read(&octets, "id").ok();
        let bounce = json!({ "type": text, "subType": text, "diagnosticCode": [text, text] });
        let data = json!({ "to": [text], "email_id": text, "bounce": bounce, "tags": { "malote-message": text } });
        for word in ["email.bounced", "email.clicked", &text] {
            let body = json!({ "type": word, "created_at": text, "data": data });
            if let Ok(webhook) = events::read(body.to_string().as_bytes(), &text) {
                prop_assert!(webhook.events.iter().all(|event| event.detail.len() <= 512));
            }
        }
    }
}
