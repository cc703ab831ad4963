//! Elastic Email's notifications: believed with the secret, read from a query or a form.

use malote_core::event::Blame;
use malote_core::secret::Secret;
use malote_core::webhook::{Webhook, WebhookRequest};
use proptest::prelude::*;

use crate::correlation::{Readers, as_one, tests::outgoing};
use crate::elasticemail::events;
use crate::webhook::rig::{
    NOW, SECRET, believes_nothing_without_the_secret, parser, post, told, with_secret,
};

const FIXTURE: &str = include_str!("../../../testdata/elasticemail_error_2026.txt");

fn tables() -> [String; 3] {
    let webhook = format!("[webhook]\nsecret = '{SECRET}'");
    [
        format!("[elasticemail]\napi_key = 'k'\n{webhook}"),
        format!("[elasticemail]\napi_key = 'k'\ntransport = 'api'\n{webhook}"),
        format!("[smtp]\npreset = 'elasticemail'\nuser = 'u'\npassword = 'k'\n{webhook}"),
    ]
}

/// As the service asks when the URL has the secret at its end.
fn by_get(query: &str) -> WebhookRequest {
    WebhookRequest {
        method: "GET".into(),
        path_secret: Some(Secret::new(SECRET)),
        query: query.to_owned(),
        ..post("", &[])
    }
}

#[tokio::test]
async fn a_notification_is_the_same_as_a_query_and_as_a_form() {
    let sent = outgoing(&["b@x.test"]);
    let body = FIXTURE.replace("@POSTBACK@", &as_one(&sent, Readers::Recipients, 255));
    for table in tables() {
        let parser = parser(&table);
        let by_form = parser.parse(&with_secret(&body)).await.unwrap();
        let by_query = parser.parse(&by_get(&body)).await.unwrap();
        assert_eq!(by_form, by_query, "so one told twice has its effect once");
        assert_eq!(told(&by_form), [("bounced", Some(Blame::Recipient))]);
        let event = &by_form.events[0];
        assert_eq!(event.delivery, Some(sent.recipients[0].delivery));
        assert_eq!(event.at.to_string(), "2026-11-05T16:33:54Z");
        assert_eq!(event.detail, "NoMailbox");
        let id = event.provider_message_id.as_deref();
        assert_eq!(id, Some("0c7f1e1a-6f6e-4c47-9d4f-1b1c8d9a2f10"));
        assert!(!event.raw.is_empty());
    }
    for table in tables() {
        believes_nothing_without_the_secret(&table, &body).await;
    }
}

#[tokio::test]
async fn a_request_that_tells_nothing_is_how_the_service_tries_the_address() {
    let parser = parser(&tables()[0]);
    assert_eq!(parser.parse(&by_get("")).await.unwrap(), Webhook::default());
    let mut unproven = by_get("status=AbuseReport&to=a%40x.test");
    unproven.path_secret = None;
    assert!(parser.parse(&unproven).await.is_err());
}

fn read(pairs: &str) -> Webhook {
    events::read(&post(pairs, &[]), NOW.parse().unwrap()).unwrap()
}

#[test]
fn every_status_and_category_has_its_word_and_its_blame() {
    let bounced = |blame| ("bounced", Some(blame));
    let account = ("rejected", Some(Blame::Infrastructure));
    for (status, expected) in [
        ("status=Sent", ("delivered", None)),
        ("status=Opened", ("opened", None)),
        (
            "status=Clicked&target=https%3A%2F%2Fx.test",
            ("clicked", None),
        ),
        ("status=AbuseReport", ("complained", None)),
        ("status=Unsubscribed", ("unsubscribed", None)),
        ("status=Paused", ("Paused", None)),
        ("status=Error&category=NoMailbox", bounced(Blame::Recipient)),
        ("status=Error&category=Spam", bounced(Blame::Reputation)),
        (
            "status=Error&category=BlackListed",
            bounced(Blame::Reputation),
        ),
        (
            "status=Error&category=ContentFilter",
            bounced(Blame::Content),
        ),
        (
            "status=Error&category=SPFProblem",
            bounced(Blame::SenderAuth),
        ),
        (
            "status=Error&category=WhitelistingProblem",
            bounced(Blame::Policy),
        ),
        (
            "status=Error&category=Timeout",
            bounced(Blame::Infrastructure),
        ),
        (
            "status=Error&category=ConnectionProblem",
            bounced(Blame::Infrastructure),
        ),
        (
            "status=Error&category=ConnectionTerminated",
            bounced(Blame::Infrastructure),
        ),
        (
            "status=Error&category=DNSProblem",
            bounced(Blame::Infrastructure),
        ),
        (
            "status=Error&category=CodeError",
            bounced(Blame::Infrastructure),
        ),
        ("status=Error&category=GreyListed", ("deferred", None)),
        ("status=Error&category=Throttled", ("deferred", None)),
        ("status=Error&category=ManualCancel", account),
        ("status=Error&category=NotDeliveredCancelled", account),
        (
            "status=Error&category=AccountProblem",
            bounced(Blame::Unknown),
        ),
        (
            "status=Error&category=NotDelivered",
            bounced(Blame::Unknown),
        ),
        ("status=Error&category=Ignore", bounced(Blame::Unknown)),
        ("status=Error", bounced(Blame::Unknown)),
    ] {
        let webhook = read(&format!("{status}&to=a%40x.test&transaction=1"));
        assert_eq!(told(&webhook), [expected], "{status}");
    }
}

#[test]
fn a_date_that_nobody_can_read_loses_no_event() {
    for (date, at) in [
        ("2026-11-05T16:33:54Z", "2026-11-05T16:33:54Z"),
        ("11/5/2026+4:33:54+PM", "2026-11-05T16:33:54Z"),
        ("5.+November", NOW),
        ("", NOW),
    ] {
        let webhook = read(&format!("status=AbuseReport&to=a%40x.test&date={date}"));
        assert_eq!(webhook.events[0].at.to_string(), at, "{date}");
    }
}

#[test]
fn what_cannot_be_read_is_set_aside() {
    for body in [
        "to=a%40x.test",
        "status=Sent&to=a%0D%0Ab",
        "{\"status\":\"Sent\"}",
        "[]",
        "x",
    ] {
        let webhook = read(body);
        assert_eq!(
            (webhook.events.len(), webhook.unreadable.len()),
            (0, 1),
            "{body}"
        );
    }
}

proptest! {
    #[test]
    fn no_request_breaks_the_reader(body in prop::collection::vec(any::<u8>(), 0..200), query in "\\PC{0,200}", text in "\\PC{0,40}") {
        let mut request = post(&body, &[]);
        request.query = query;
        let webhook = events::read(&request, NOW.parse().unwrap()).unwrap();
        prop_assert!(webhook.events.len() + webhook.unreadable.len() <= 1);
        let webhook = read(&format!("status={text}&date={text}&postback={text}&category={text}"));
        prop_assert!(webhook.events.len() + webhook.unreadable.len() <= 1);
    }
}
