//! What becomes of the service's answers.

use std::time::Duration;

use jiff::Timestamp;
use malote_core::provider::{Fault, Receipt, SendError, Verdict};
use proptest::prelude::*;

use crate::http::Answer;
use crate::mailtrap::DOCUMENTED;
use crate::mailtrap::classify::classify;

fn now() -> Timestamp {
    "2026-11-22T00:00:00Z".parse().unwrap()
}

fn classified(status: u16, body: &str, recipients: usize) -> Vec<Result<Receipt, SendError>> {
    let answer = Answer {
        status,
        body: body.to_owned().into(),
        is_whole: true,
        ..Answer::default()
    };
    classify(&answer, recipients, now())
}

fn word(result: &Result<Receipt, SendError>) -> &'static str {
    match result {
        Ok(_) => "accepted",
        Err(error) => error.verdict.as_str(),
    }
}

#[test]
fn every_documented_answer_has_its_verdict() {
    for row in DOCUMENTED {
        let results = classified(row.status, row.answer, 1);
        assert_eq!(
            word(&results[0]),
            row.verdict,
            "{} {}",
            row.status,
            row.answer
        );
    }
}

#[test]
fn each_recipient_has_an_id_or_nobody_knows() {
    let results = classified(200, r#"{"success":true,"message_ids":["a",""]}"#, 3);
    assert_eq!(results[0].as_ref().unwrap().provider_message_id, "a");
    assert_eq!(word(&results[1]), "unknown");
    assert_eq!(word(&results[2]), "unknown");
}

#[test]
fn success_needs_ids_and_a_whole_answer() {
    for body in [
        "",
        "It works!",
        r#"{"success":true}"#,
        r#"{"success":true,"message_ids":[]}"#,
        r#"{"success":true,"message_ids":"a"}"#,
        r#"{"success":true,"message_ids":["a""#,
    ] {
        assert_eq!(word(&classified(200, body, 1)[0]), "unknown", "{body}");
    }
    let cut = Answer {
        status: 200,
        body: r#"{"success":true,"message_ids":["a"]}"#.into(),
        is_whole: false,
        ..Answer::default()
    };
    assert_eq!(word(&classify(&cut, 1, now())[0]), "unknown");
}

#[test]
fn a_group_refused_for_one_of_its_recipients_is_taken_apart() {
    for text in [
        "'to' address is invalid",
        "'bcc' address is invalid",
        "Demo domains can only be used to send emails to account owners",
    ] {
        let body = serde_json::json!({ "success": false, "errors": [text] }).to_string();
        let results = classified(400, &body, 2);
        assert_eq!(results.len(), 2);
        assert_eq!(word(&results[1]), "ungroup", "{text}");
    }
    let missing = r#"{"success":false,"errors":["'to', 'cc' or 'bcc' address is required"]}"#;
    assert_eq!(word(&classified(400, missing, 2)[0]), "rejected_message");
}

#[test]
fn answers_that_are_not_the_services_own_decide_nothing_final() {
    for (status, body, expected) in [
        (400, "<html>bad request</html>", Verdict::Transient),
        (403, "<html>blocked</html>", Verdict::ProviderUnusable),
        (500, "<html>", Verdict::Unknown),
        (307, "", Verdict::Transient),
    ] {
        let results = classified(status, body, 1);
        assert_eq!(
            results[0].as_ref().unwrap_err().verdict,
            expected,
            "{status}"
        );
    }
    let ours = r#"{"success":false,"errors":[{"header":"is not a string"}]}"#;
    let results = classified(400, ours, 1);
    let expected = Verdict::Rejected(Fault::MessageHere);
    assert_eq!(results[0].as_ref().unwrap_err().verdict, expected);
}

#[test]
fn a_wait_that_the_service_asks_for_is_kept() {
    let mut answer = Answer {
        status: 429,
        body: r#"{"errors":"Rate limit exceeded"}"#.into(),
        is_whole: true,
        ..Answer::default()
    };
    answer.headers.insert("retry-after", "7".parse().unwrap());
    let results = classify(&answer, 1, now());
    let after = Some(Duration::from_secs(7));
    assert_eq!(
        results[0].as_ref().unwrap_err().verdict,
        Verdict::Throttled { after }
    );
}

proptest! {
    #[test]
    fn no_answer_breaks_the_classifier_and_only_2xx_succeeds(
        status in 100u16..1000,
        body in "\\PC{0,200}",
        text in "\\PC{1,80}",
    ) {
        let is_success = (200..300).contains(&status);
        let results = classified(status, &body, 3);
        prop_assert_eq!(results.len(), 3);
        prop_assert!(results.iter().all(Result::is_err) || is_success);
        let body = serde_json::json!({ "success": false, "errors": [text] }).to_string();
        prop_assert!(classified(status, &body, 1)[0].is_err());
    }
}
