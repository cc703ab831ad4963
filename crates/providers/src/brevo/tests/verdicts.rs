//! The table of Brevo's answers, row by row.

use jiff::Timestamp;
use malote_core::provider::{Fault, Verdict};
use proptest::prelude::*;

use super::super::classify::classify;
use super::super::errors::DOCUMENTED;
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

fn word(status: u16, body: &str, recipients: usize) -> &'static str {
    match classify(&answer(status, body), recipients, now()) {
        Ok(_) => "accepted",
        Err(error) => error.verdict.as_str(),
    }
}

#[test]
fn every_documented_answer_has_its_verdict() {
    for row in DOCUMENTED {
        let word = word(row.status, row.answer, 1);
        assert_eq!(word, row.verdict, "{} {}", row.status, row.answer);
    }
}

#[test]
fn one_bad_address_spoils_a_group() {
    let body = r#"{"code":"invalid_parameter","message":"email is not valid in bcc"}"#;
    assert_eq!(word(400, body, 2), "ungroup");
    assert_eq!(word(400, body, 1), "rejected_recipient");
}

#[test]
fn a_code_counts_more_than_its_status() {
    let body = r#"{"code":"not_enough_credits","message":"x"}"#;
    assert_eq!(word(400, body, 1), "quota_spent");
    let error = classify(&answer(402, body), 1, now()).unwrap_err();
    assert_eq!(error.reply.to_string(), "402 not_enough_credits x");
    let body = r#"{"code":"account_under_validation","message":"x"}"#;
    assert_eq!(word(400, body, 1), "provider_unusable");
}

#[test]
fn an_answer_that_is_not_whole_is_no_success() {
    let cut = Answer {
        is_whole: false,
        ..answer(201, DOCUMENTED[0].answer)
    };
    let error = classify(&cut, 1, now()).unwrap_err();
    assert_eq!(error.verdict, Verdict::Unknown);
    for body in [
        r#"{"messageId":""}"#,
        r#"{"messageId":"a b c"}"#,
        r#"{"messageId":7}"#,
    ] {
        assert_eq!(word(201, body, 1), "unknown", "{body}");
    }
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic_or_suppress(status in 100u16..600, body in ".{0,200}") {
        if let Err(error) = classify(&answer(status, &body), 1, now()) {
            prop_assert_ne!(error.verdict, Verdict::Rejected(Fault::Recipient));
        }
    }
}
