//! The table of SparkPost's answers, row by row, and what groups make of it.

use jiff::Timestamp;
use malote_core::provider::{Fault, SendReport, Verdict};
use proptest::prelude::*;

use super::super::classify::{Sent, classify, report};
use super::super::errors::DOCUMENTED;
use crate::correlation::tests::outgoing;
use crate::http::Answer;

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

fn word(status: u16, body: &str, recipients: usize, names_pool: bool) -> &'static str {
    let sent = Sent {
        recipients,
        names_pool,
    };
    match classify(&answer(status, body), sent, now()) {
        Ok(_) => "accepted",
        Err(error) => error.verdict.as_str(),
    }
}

#[test]
fn every_documented_answer_has_its_verdict() {
    for row in DOCUMENTED {
        let word = word(row.status, row.answer, 1, true);
        assert_eq!(word, row.verdict, "{} {}", row.status, row.answer);
    }
}

#[test]
fn a_recipient_that_spoils_a_group_is_found_by_sending_one_by_one() {
    let none_valid = r#"{"errors":[{"message":"No valid recipients in list","code":"5002"}]}"#;
    let suppressed = r#"{"errors":[{"message":"Message generation rejected","description":"recipient address was suppressed due to customer policy","code":"1902"}]}"#;
    for body in [none_valid, suppressed] {
        assert_eq!(word(400, body, 2, false), "ungroup", "{body}");
    }
}

#[test]
fn a_pool_is_out_only_if_one_was_named() {
    let body = r#"{"errors":[{"message":"IP Pool 'x' does not exist","code":"1300"}]}"#;
    assert_eq!(word(422, body, 1, true), "pool_unusable");
    assert_eq!(word(422, body, 1, false), "rejected_message_here");
}

#[test]
fn the_quota_rests_for_an_hour_and_not_for_a_day() {
    let body = r#"{"errors":[{"message":"Exceed Sending Limit (daily)","code":"2102"}]}"#;
    let sent = Sent {
        recipients: 1,
        names_pool: false,
    };
    let error = classify(&answer(420, body), sent, now()).unwrap_err();
    assert_eq!(error.verdict, Verdict::QuotaSpent { until: None });
    assert_eq!(
        error.reply.to_string(),
        "420 2102 Exceed Sending Limit (daily)"
    );
}

fn partly(accepted: u64, rejected: u64, texts: &[&str]) -> SendReport {
    let errors: Vec<_> = texts
        .iter()
        .map(|text| serde_json::json!({ "message": text, "code": "1300" }))
        .collect();
    let body = serde_json::json!({ "results": {
        "id": "1", "total_accepted_recipients": accepted,
        "total_rejected_recipients": rejected, "rcpt_to_errors": errors,
    } });
    let sent = outgoing(&["a@x.test", "aa@x.test", "b@x.test"]);
    report(&sent, &answer(200, &body.to_string()), false, now())
}

fn words(report: &SendReport) -> Vec<&'static str> {
    let word = |result: &Result<_, malote_core::provider::SendError>| match result {
        Ok(_) => "accepted",
        Err(error) => error.verdict.as_str(),
    };
    report.iter().map(word).collect()
}

#[test]
fn success_with_rejected_recipients_is_told_apart_as_far_as_the_service_does() {
    for (report, expected) in [
        (partly(3, 0, &[]), ["accepted", "accepted", "accepted"]),
        (
            partly(2, 1, &["'a@x.test' is not valid"]),
            ["rejected_recipient", "accepted", "accepted"],
        ),
        (
            partly(1, 2, &["bad: AA@x.test.", "bad: <b@x.test>"]),
            ["accepted", "rejected_recipient", "rejected_recipient"],
        ),
        (
            partly(2, 1, &["required field is missing"]),
            ["unknown", "unknown", "unknown"],
        ),
        (
            partly(1, 2, &["bad: b@x.test"]),
            ["unknown", "unknown", "rejected_recipient"],
        ),
        (
            partly(2, 1, &["b@x.test.example is not valid"]),
            ["unknown", "unknown", "unknown"],
        ),
        (
            partly(0, 3, &["none is valid"]),
            ["ungroup", "ungroup", "ungroup"],
        ),
    ] {
        assert_eq!(words(&report), expected, "{report:?}");
    }
}

#[test]
fn a_success_that_is_not_whole_or_no_200_is_unknown() {
    let good = DOCUMENTED[0].answer;
    for (status, body) in [
        (202, good),
        (200, &good[..40]),
        (200, "[]"),
        (200, r#"{"results":{"id":""}}"#),
        (200, r#"{"results":{"id":"a b"}}"#),
        (200, r#"{"results":{"id":7}}"#),
    ] {
        assert_eq!(word(status, body, 1, false), "unknown", "{status} {body}");
    }
    let cut = Answer {
        is_whole: false,
        ..answer(200, good)
    };
    let report = report(&outgoing(&["a@x.test"]), &cut, false, now());
    assert_eq!(words(&report), ["unknown"]);
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic_or_suppress(status in 100u16..600, body in ".{0,200}") {
        let report = report(&outgoing(&["a@x.test"]), &answer(status, &body), true, now());
        prop_assert_eq!(report.len(), 1);
        let is_suppressing = matches!(
            &report[0],
            Err(error) if matches!(
                error.verdict,
                Verdict::Rejected(Fault::Recipient) | Verdict::Suppressed
            )
        );
        prop_assert!(!is_suppressing);
    }
}
