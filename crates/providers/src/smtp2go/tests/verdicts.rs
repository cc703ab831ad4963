//! What becomes of the service's answers.

use std::time::Duration;

use jiff::Timestamp;
use malote_core::provider::{SendReport, Verdict};
use proptest::prelude::*;
use serde_json::json;

use crate::correlation::tests::outgoing;
use crate::http::Answer;
use crate::smtp2go::DOCUMENTED;
use crate::smtp2go::classify::report;

fn now() -> Timestamp {
    "2026-11-22T00:00:00Z".parse().unwrap()
}

fn answer(status: u16, body: &str) -> Answer {
    Answer {
        status,
        body: body.to_owned().into(),
        is_whole: true,
        ..Answer::default()
    }
}

fn words(report: &SendReport) -> Vec<&'static str> {
    let word = |result: &Result<_, malote_core::provider::SendError>| match result {
        Ok(_) => "accepted",
        Err(error) => error.verdict.as_str(),
    };
    report.iter().map(word).collect()
}

fn told(status: u16, body: &str, to: &[&str]) -> Vec<&'static str> {
    words(&report(&outgoing(to), &answer(status, body), now()))
}

#[test]
fn every_documented_answer_has_its_verdict() {
    for row in DOCUMENTED {
        let told = told(row.status, row.answer, &["a@dest.example"]);
        assert_eq!(told, [row.verdict], "{} {}", row.status, row.answer);
    }
}

#[test]
fn what_an_address_is_called_says_nothing_of_the_account() {
    let to = "api-key@sandbox.quota.example";
    let failure = format!("Verification failed for <{to}>\nUnrouteable address");
    let data = serde_json::json!({"succeeded": 0, "failed": 1, "failures": [failure]});
    let body = serde_json::json!({"request_id": "r-1", "data": data}).to_string();
    assert_eq!(told(200, &body, &[to]), ["rejected_recipient"]);
    let failure = "Verification failed for <no-reply@sandbox.shop.example>";
    let data = serde_json::json!({"succeeded": 0, "failed": 1, "failures": [failure]});
    let body = serde_json::json!({"request_id": "r-1", "data": data}).to_string();
    assert_eq!(told(200, &body, &["a@dest.example"]), ["sender_unusable"]);
}

#[test]
fn success_needs_an_id_and_a_whole_answer() {
    let good = r#"{"request_id":"r-1","data":{"succeeded":1,"failed":0,"email_id":"1u0SwL-B9"}}"#;
    let sent = outgoing(&["a@dest.example"]);
    let receipt = report(&sent, &answer(200, good), now()).remove(0).unwrap();
    assert_eq!(receipt.provider_message_id, "1u0SwL-B9");
    for body in [
        "",
        "{}",
        "It works!",
        r#"{"request_id":"r-1"}"#,
        r#"{"request_id":"r-1","data":{}}"#,
        r#"{"request_id":"r-1","data":[]}"#,
        r#"{"request_id":"r-1","data":{"succeeded":1,"failed":0,"failures":[]}}"#,
        r#"{"request_id":"r-1","data":{"succeeded":1,"failed":0,"email_id":""}}"#,
        r#"{"request_id":"r-1","data":{"succeeded":0,"failed":0,"email_id":" "}}"#,
        r#"{"request_id":"r-1","data":{"succeeded":1,"email_id":7}}"#,
    ] {
        assert_eq!(told(200, body, &["a@dest.example"]), ["unknown"], "{body}");
    }
    let cut = Answer {
        is_whole: false,
        ..answer(200, good)
    };
    assert_eq!(words(&report(&sent, &cut, now())), ["unknown"]);
}

#[test]
fn raw_mail_is_in_when_the_service_counts_it_even_without_an_id() {
    let counted = r#"{"request_id":"r-1","data":{"succeeded":1,"failed":0,"failures":[]}}"#;
    // The message's To is the call's recipient, so it goes as raw mail.
    let sent = outgoing(&["x@dest.example"]);
    let receipt = report(&sent, &answer(200, counted), now())
        .remove(0)
        .unwrap();
    assert_eq!(receipt.provider_message_id, "r-1");
    let uncounted = r#"{"request_id":"r-1","data":{"failed":0,"failures":[]}}"#;
    assert_eq!(told(200, uncounted, &["x@dest.example"]), ["unknown"]);
}

#[test]
fn a_bad_recipient_takes_the_group_apart_and_a_bad_sender_does_not() {
    let two = ["a@dest.example", "b@dest.example"];
    let failed = |text: &str| {
        let data = json!({ "succeeded": 0, "failed": 1, "failures": [text], "email_id": "" });
        json!({ "request_id": "r", "data": data }).to_string()
    };
    for text in [
        "recipient is suppressed",
        "550 no such user",
        "Verification failed for <b@dest.example>",
    ] {
        assert_eq!(told(200, &failed(text), &two), ["ungroup"; 2], "{text}");
    }
    let sender = failed("Verification failed for <bb@dest.example>");
    assert_eq!(told(200, &sender, &two), ["sender_unusable"; 2]);
    let field = json!({
        "error": "invalid", "error_code": "E_ApiResponseCodes.NON_VALIDATING_IN_PAYLOAD",
        "field_validation_errors": { "fieldname": "cc.0", "message": "no address" },
    });
    assert_eq!(told(400, &field.to_string(), &two), ["ungroup"; 2]);
}

#[test]
fn a_mail_that_is_in_for_some_is_out_for_those_whom_a_failure_names() {
    let to = ["a@dest.example", "b@dest.example", "c@dest.example"];
    let part = |failures: &[&str]| {
        let data =
            json!({ "succeeded": 1, "failed": 0, "failures": failures, "email_id": "1u0-1" });
        json!({ "request_id": "r", "data": data }).to_string()
    };
    for (failures, expected) in [
        (
            &[
                "550 <b@dest.example>: user unknown",
                "C@dest.example suppressed",
            ][..],
            ["accepted", "rejected_recipient", "suppressed"],
        ),
        (
            &["550 <b@dest.example>: user unknown", "and another"],
            ["unknown", "rejected_recipient", "unknown"],
        ),
        (&["bb@dest.example is suppressed"], ["unknown"; 3]),
    ] {
        assert_eq!(told(200, &part(failures), &to), expected, "{failures:?}");
    }
    let uncounted = r#"{"data":{"succeeded":1,"failed":1,"failures":[],"email_id":"1u0-1"}}"#;
    assert_eq!(told(200, uncounted, &to), ["unknown"; 3]);
}

#[test]
fn whoever_is_too_fast_waits_a_minute_or_as_long_as_asked() {
    let mut slow = answer(429, "");
    for (header, seconds) in [(None, 60), (Some("7"), 7)] {
        if let Some(value) = header {
            slow.headers.insert("retry-after", value.parse().unwrap());
        }
        let told = report(&outgoing(&["a@dest.example"]), &slow, now()).remove(0);
        let after = Some(Duration::from_secs(seconds));
        assert_eq!(told.unwrap_err().verdict, Verdict::Throttled { after });
    }
}

proptest! {
    #[test]
    fn no_answer_breaks_the_classifier_and_only_2xx_succeeds(
        status in 100u16..1000,
        body in "\\PC{0,200}",
        text in "\\PC{0,80}",
    ) {
        let is_success = (200..300).contains(&status);
        let to = ["x@dest.example", "y@dest.example"];
        prop_assert!(!told(status, &body, &to).contains(&"accepted") || is_success);
        let body = json!({ "data": { "failed": 1, "failures": [text] } }).to_string();
        prop_assert!(!told(status, &body, &to).contains(&"accepted"));
    }
}
