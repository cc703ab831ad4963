//! What becomes of the service's answers.

use std::time::Duration;

use jiff::Timestamp;
use malote_core::provider::{SendError, SendReport, Verdict};
use proptest::prelude::*;
use serde_json::json;

use crate::correlation::tests::outgoing;
use crate::http::Answer;
use crate::postal::DOCUMENTED;
use crate::postal::classify::report;

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

fn reported(answer: &Answer, to: &[&str]) -> SendReport {
    report(&outgoing(to), answer, now())
}

fn told(status: u16, body: &str, to: &[&str]) -> Vec<&'static str> {
    let report = reported(&answer(status, body), to);
    let word = |result: &Result<_, SendError>| match result {
        Ok(_) => "accepted",
        Err(error) => error.verdict.as_str(),
    };
    report.iter().map(word).collect()
}

#[test]
fn every_documented_answer_has_its_verdict() {
    for row in DOCUMENTED {
        let told = told(row.status, row.answer, &["a@dest.example"]);
        assert_eq!(told, [row.verdict], "{} {}", row.status, row.answer);
    }
}

#[test]
fn each_recipient_has_the_id_of_its_own_message() {
    let body = json!({ "status": "success", "data": { "message_id": "x@y", "messages": {
        "b@dest.example": { "id": 8, "token": "u" },
        "a@dest.example": { "id": 7, "token": "t" },
    } } });
    let to = ["a@dest.example", "b@dest.example", "c@dest.example"];
    let report = reported(&answer(200, &body.to_string()), &to);
    let ids = report[..2]
        .iter()
        .map(|r| r.as_ref().unwrap().provider_message_id.as_str());
    assert_eq!(ids.collect::<Vec<_>>(), ["7", "8"]);
    assert_eq!(report[2].as_ref().unwrap_err().verdict, Verdict::Unknown);
}

#[test]
fn a_success_that_says_nothing_is_in_doubt() {
    for body in [
        "",
        "{}",
        "It works!",
        r#"{"status":"success"}"#,
        r#"{"status":"success","data":[]}"#,
        r#"{"status":"success","data":{"message_id":"x@y"}}"#,
        r#"{"status":"success","data":{"messages":{"a@dest.example":{"token":"t"}}}}"#,
        r#"{"status":"success","data":{"messages":{"a@dest.example":{"id":"x"}}}}"#,
        r#"{"status":"done","data":{"messages":{"a@dest.example":{"id":1}}}}"#,
    ] {
        assert_eq!(told(200, body, &["a@dest.example"]), ["unknown"], "{body}");
    }
    let cut = Answer {
        is_whole: false,
        ..answer(200, DOCUMENTED[0].answer)
    };
    let error = reported(&cut, &["a@dest.example"]).remove(0).unwrap_err();
    assert_eq!(error.verdict, Verdict::Unknown);
    // A proxy's 202 is no word of Postal's.
    assert_eq!(
        told(202, DOCUMENTED[0].answer, &["a@dest.example"]),
        ["unknown"]
    );
}

#[test]
fn a_wait_that_the_proxy_asks_for_is_kept() {
    let mut slow = answer(429, "");
    slow.headers.insert("retry-after", "7".parse().unwrap());
    let error = reported(&slow, &["a@dest.example"]).remove(0).unwrap_err();
    let after = Some(Duration::from_secs(7));
    assert_eq!(error.verdict, Verdict::Throttled { after });
}

proptest! {
    #[test]
    fn no_answer_breaks_the_classifier_or_blames_a_recipient(
        status in 100u16..1000,
        body in "\\PC{0,200}",
        code in "\\PC{0,40}",
    ) {
        let error = json!({ "status": "error", "data": { "code": code } }).to_string();
        for body in [body, error] {
            let told = told(status, &body, &["a@dest.example", "b@dest.example"]);
            prop_assert_eq!(told.len(), 2);
            prop_assert!(!told.contains(&"accepted") && !told.contains(&"rejected_recipient"));
        }
    }
}
