//! The table of Resend's answers, row by row.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use malote_core::provider::{Fault, Receipt, SendError, Verdict};
use proptest::prelude::*;

use crate::http::Answer;
use crate::resend::DOCUMENTED;
use crate::resend::classify::classify;

fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Answer {
    let fields = headers.iter().map(|(name, value)| {
        let name = HeaderName::from_static(name);
        (name, HeaderValue::from_static(value))
    });
    Answer {
        status,
        headers: fields.collect::<HeaderMap>(),
        body: body.to_owned().into(),
        is_whole: true,
    }
}

fn classified(answer: &Answer, recipients: usize) -> Result<Receipt, SendError> {
    let now: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
    classify(answer, recipients, now)
}

fn refused(status: u16, name: &str, message: &str) -> Answer {
    let body = serde_json::json!({ "statusCode": status, "name": name, "message": message });
    answer(status, &[], &body.to_string())
}

fn verdict(answer: &Answer, recipients: usize) -> Verdict {
    classified(answer, recipients).unwrap_err().verdict
}

#[test]
fn every_documented_answer_has_its_verdict() {
    for row in DOCUMENTED {
        let word = match classified(&answer(row.status, &[], row.answer), 1) {
            Ok(_) => "accepted",
            Err(error) => error.verdict.as_str(),
        };
        assert_eq!(word, row.verdict, "{row:?}");
    }
}

#[test]
fn success_is_200_with_an_id() {
    for (status, body) in [
        (200, ""),
        (200, "{}"),
        (200, r#"{"id":""}"#),
        (200, r#"{"id":null}"#),
        (200, r#"{"id":"a b"}"#),
        (200, r#"{"id":"49a39"#),
        (
            200,
            r#"{"statusCode":422,"name":"validation_error","message":"x"}"#,
        ),
        (201, r#"{"id":"a"}"#),
        (204, ""),
    ] {
        assert_eq!(
            verdict(&answer(status, &[], body), 1),
            Verdict::Unknown,
            "{status} {body}"
        );
    }
    let mut cut = answer(200, &[], r#"{"id":"a"}"#);
    cut.is_whole = false;
    assert_eq!(verdict(&cut, 1), Verdict::Unknown);
}

#[test]
fn a_group_refused_for_one_of_its_recipients_is_taken_apart() {
    let format = "field. The email address needs to follow the `email@example.com` format.";
    for field in ["to", "cc", "bcc"] {
        let answer = refused(
            422,
            "validation_error",
            &format!("Invalid `{field}` {format}"),
        );
        assert_eq!(
            verdict(&answer, 1),
            Verdict::Rejected(Fault::Recipient),
            "{field}"
        );
        assert_eq!(verdict(&answer, 2), Verdict::Ungroup, "{field}");
    }
    let reply_to = refused(
        422,
        "validation_error",
        &format!("Invalid `reply_to` {format}"),
    );
    assert_eq!(verdict(&reply_to, 2), Verdict::Rejected(Fault::MessageHere));
    let text = "You can only send testing emails to your own email address (o@x.test).";
    let testing = refused(403, "validation_error", text);
    assert_eq!(verdict(&testing, 2), Verdict::Ungroup);
}

#[test]
fn older_names_and_texts_are_known_too() {
    for (status, name, message, expected) in [
        (
            403,
            "invalid_from_address",
            "The from address is not valid.",
            Verdict::SenderUnusable,
        ),
        (
            400,
            "validation_error",
            "API key is invalid",
            Verdict::ProviderUnusable,
        ),
        (
            403,
            "invalid_to_address",
            "You can only send testing emails to your own email address.",
            Verdict::Rejected(Fault::NotPermitted),
        ),
        (403, "something_new", "x", Verdict::ProviderUnusable),
        (
            422,
            "something_new",
            "x",
            Verdict::Rejected(Fault::MessageHere),
        ),
        (500, "something_new", "x", Verdict::Transient),
    ] {
        assert_eq!(
            verdict(&refused(status, name, message), 1),
            expected,
            "{name}"
        );
    }
}

#[test]
fn the_wait_is_taken_from_either_header() {
    let body = r#"{"statusCode":429,"name":"rate_limit_exceeded","message":"Too many requests."}"#;
    for (headers, after) in [
        (
            vec![("retry-after", "2"), ("ratelimit-reset", "9")],
            Some(2),
        ),
        (vec![("ratelimit-reset", "1")], Some(1)),
        (vec![("ratelimit-reset", "99999999")], Some(3600)),
        (vec![("ratelimit-reset", "-1")], None),
        (vec![], None),
    ] {
        let after = after.map(Duration::from_secs);
        let expected = Verdict::Throttled { after };
        assert_eq!(
            verdict(&answer(429, &headers, body), 1),
            expected,
            "{headers:?}"
        );
        assert_eq!(
            verdict(&answer(429, &headers, "<html>"), 1),
            expected,
            "{headers:?}"
        );
    }
}

#[test]
fn answers_that_are_not_the_services_own_decide_nothing_final() {
    for (status, body, expected) in [
        (400, "<html>", Verdict::Transient),
        (403, "error code: 1010", Verdict::ProviderUnusable),
        (409, "<html>", Verdict::Transient),
        (413, "<html>", Verdict::Rejected(Fault::MessageHere)),
        (422, r#"{"message":"x"}"#, Verdict::Transient),
        (500, "<html>", Verdict::Unknown),
        (502, "<html>", Verdict::Unknown),
        (503, "", Verdict::Transient),
        (307, "", Verdict::Transient),
    ] {
        assert_eq!(
            verdict(&answer(status, &[], body), 1),
            expected,
            "{status} {body}"
        );
    }
}

proptest! {
    #[test]
    fn no_answer_breaks_the_classifier_and_none_but_200_succeeds(
        status in 100u16..1000,
        body in "\\PC{0,200}",
        name in "[a-z_]{0,30}",
    ) {
        prop_assert!(classified(&answer(status, &[], &body), 2).is_err() || status == 200);
        prop_assert!(classified(&refused(status, &name, &body), 2).is_err());
    }
}
