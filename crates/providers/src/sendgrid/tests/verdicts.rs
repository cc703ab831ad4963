//! The table of SendGrid's answers, row by row.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use malote_core::provider::{Fault, Receipt, SendError, Verdict};
use proptest::prelude::*;

use crate::http::Answer;
use crate::sendgrid::DOCUMENTED;
use crate::sendgrid::classify::{Sent, classify};

fn now() -> Timestamp {
    "2026-11-22T00:00:00Z".parse().unwrap()
}

fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
    let fields = headers.iter().map(|(name, value)| {
        let value = HeaderValue::from_str(value).unwrap();
        (HeaderName::from_static(name), value)
    });
    Answer {
        status,
        headers: fields.collect::<HeaderMap>(),
        body: body.to_owned().into(),
        is_whole: true,
    }
}

fn classified(answer: &Answer, recipients: usize) -> Result<Receipt, SendError> {
    let sent = Sent {
        recipients,
        names_pool: true,
    };
    classify(answer, sent, now())
}

fn complaint(message: &str, field: &str) -> String {
    serde_json::json!({ "errors": [{ "message": message, "field": field, "help": null }] })
        .to_string()
}

fn verdict(status: u16, body: &str, recipients: usize) -> Verdict {
    let answer = answer(status, &[], body);
    classified(&answer, recipients).unwrap_err().verdict
}

#[test]
fn every_documented_answer_has_its_verdict() {
    for row in DOCUMENTED {
        let answer = answer(row.status, &[("x-message-id", "abc")], row.answer);
        let word = match classified(&answer, 1) {
            Ok(_) => "accepted",
            Err(error) => error.verdict.as_str(),
        };
        assert_eq!(word, row.verdict, "{row:?}");
    }
}

#[test]
fn success_is_202_with_the_id_in_its_header() {
    let receipt = classified(&answer(202, &[("x-message-id", " a-1_B ")], ""), 1).unwrap();
    assert_eq!(receipt.provider_message_id, "a-1_B");
    for (status, headers, body) in [
        (202, vec![], ""),
        (202, vec![("x-message-id", "")], ""),
        (202, vec![("x-message-id", "a b")], ""),
        (202, vec![], r#"{"id":"abc"}"#),
        (202, vec![], r#"{"errors":[{"message":"x","field":null}]}"#),
        (200, vec![("x-message-id", "abc")], ""),
        (204, vec![("x-message-id", "abc")], ""),
    ] {
        let error = classified(&answer(status, &headers, body), 1).unwrap_err();
        assert_eq!(
            error.verdict,
            Verdict::Unknown,
            "{status} {headers:?} {body}"
        );
    }
}

#[test]
fn a_group_refused_for_one_of_its_recipients_is_taken_apart() {
    for (message, field) in [
        (
            "Does not contain a valid address.",
            "personalizations.0.bcc.3.email",
        ),
        (
            "Each unique email address in the personalizations array should only be included once. You have included a@x.test more than once.",
            "personalizations",
        ),
        (
            "There is a limit of 1000 total recipients (to + cc + bcc) per request.",
            "personalizations",
        ),
        (
            "anything else about one of them",
            "personalizations.0.to.1.name",
        ),
    ] {
        let body = complaint(message, field);
        let expected = if field.ends_with(".name") {
            Verdict::Rejected(Fault::MessageHere)
        } else {
            Verdict::Ungroup
        };
        assert_eq!(verdict(400, &body, 2), expected, "{message} {field}");
    }
}

#[test]
fn only_a_bad_address_is_held_against_the_recipient() {
    let here = Verdict::Rejected(Fault::MessageHere);
    for (message, field, expected) in [
        (
            "Does not contain a valid address.",
            "personalizations.0.to.0.email",
            Verdict::Rejected(Fault::Recipient),
        ),
        (
            "Does not contain a valid address.",
            "from.email",
            here.clone(),
        ),
        (
            "Does not contain a valid address.",
            "reply_to.email",
            here.clone(),
        ),
        ("invalid name", "personalizations.0.to.0.name", here.clone()),
        ("the list is full", "personalizations.0.to", here.clone()),
        (
            "custom_args cannot be empty.",
            "personalizations.0.custom_args",
            here.clone(),
        ),
    ] {
        assert_eq!(
            verdict(400, &complaint(message, field), 1),
            expected,
            "{message} {field}"
        );
    }
    let both = r#"{"errors":[
        {"message":"Does not contain a valid address.","field":"personalizations.0.to.0.email"},
        {"message":"Header cannot be one of the reserved keys.","field":"headers"}]}"#;
    assert_eq!(verdict(400, both, 1), here);
}

#[test]
fn a_pool_is_only_to_blame_if_one_was_named() {
    let body = complaint(
        "The IP Pool name must be a valid pool name for your account. You provided x.",
        "ip_pool_name",
    );
    assert_eq!(verdict(400, &body, 2), Verdict::PoolUnusable);
    let unnamed = Sent {
        recipients: 1,
        names_pool: false,
    };
    let error = classify(&answer(400, &[], &body), unnamed, now()).unwrap_err();
    assert_eq!(error.verdict, Verdict::Rejected(Fault::MessageHere));
}

#[test]
fn the_wait_is_taken_from_either_header() {
    let second = now().as_second();
    for (headers, after) in [
        (vec![("retry-after", "7".to_owned())], Some(7)),
        (
            vec![("x-ratelimit-reset", (second + 20).to_string())],
            Some(20),
        ),
        (
            vec![("x-ratelimit-reset", (second - 5).to_string())],
            Some(0),
        ),
        (
            vec![("x-ratelimit-reset", (second + 9_999_999).to_string())],
            Some(3600),
        ),
        (vec![("x-ratelimit-reset", "soon".to_owned())], None),
        (vec![("x-ratelimit-reset", i64::MAX.to_string())], None),
        (vec![], None),
    ] {
        let fields: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let answer = answer(429, &fields, &complaint("too many requests", ""));
        let after = after.map(Duration::from_secs);
        let error = classified(&answer, 1).unwrap_err();
        assert_eq!(error.verdict, Verdict::Throttled { after }, "{headers:?}");
    }
}

#[test]
fn the_refusals_field_and_texts_are_kept() {
    let body = r#"{"errors":[{"message":"one","field":"null"},{"message":"two","field":"from"}]}"#;
    let error = classified(&answer(400, &[], body), 1).unwrap_err();
    assert_eq!(error.reply.text(), "one; two");
    assert_eq!(error.reply.code, Some(400));
}

#[test]
fn answers_that_are_not_the_services_own_decide_nothing_final() {
    for (status, body, expected) in [
        (400, "<html>bad request</html>", Verdict::Transient),
        (400, r#"{"errors":[]}"#, Verdict::Transient),
        (
            400,
            r#"{"errors":"Maximum credits exceeded"}"#,
            Verdict::Transient,
        ),
        (401, "Forbidden", Verdict::ProviderUnusable),
        (415, "<html>", Verdict::Transient),
        (500, "<html>", Verdict::Unknown),
        (502, "", Verdict::Unknown),
        (503, "<html>", Verdict::Transient),
        (307, "", Verdict::Transient),
    ] {
        assert_eq!(verdict(status, body, 1), expected, "{status} {body}");
    }
    let mut cut = answer(
        400,
        &[],
        &complaint(
            "Does not contain a valid address.",
            "personalizations.0.to.0.email",
        ),
    );
    cut.is_whole = false;
    assert_eq!(classified(&cut, 1).unwrap_err().verdict, Verdict::Transient);
}

proptest! {
    #[test]
    fn no_answer_breaks_the_classifier_and_none_but_202_succeeds(
        status in 100u16..1000,
        body in "\\PC{0,200}",
        message in "\\PC{0,60}",
        field in "[a-z_.0-9]{0,40}",
    ) {
        let headers = [("x-message-id", "abc")];
        prop_assert!(classified(&answer(status, &headers, &body), 2).is_err() || status == 202);
        let complaint = complaint(&message, &field);
        prop_assert!(classified(&answer(status, &headers, &complaint), 2).is_err() || status == 202);
    }
}
