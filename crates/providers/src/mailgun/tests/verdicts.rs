//! The table of Mailgun's answers, row by row.

use std::time::Duration;

use jiff::Timestamp;
use malote_core::provider::{Receipt, SendError, Verdict};
use proptest::prelude::*;

use crate::http::Answer;
use crate::mailgun::DOCUMENTED;
use crate::mailgun::classify::{Sent, classify};

fn now() -> Timestamp {
    "2026-11-22T00:00:00Z".parse().unwrap()
}

fn classified(status: u16, body: &str, recipients: usize) -> Result<Receipt, SendError> {
    let answer = Answer {
        status,
        body: body.to_owned().into(),
        is_whole: true,
        ..Answer::default()
    };
    let sent = Sent {
        recipients,
        names_pool: true,
    };
    classify(&answer, sent, now())
}

fn verdict(status: u16, text: &str) -> Verdict {
    let body = serde_json::json!({ "message": text }).to_string();
    classified(status, &body, 1).unwrap_err().verdict
}

#[test]
fn success_is_200_with_an_id_kept_without_brackets() {
    let good = r#"{"id":"<2026.1.AB@news.example.com>","message":"Queued. Thank you."}"#;
    let receipt = classified(200, good, 1).unwrap();
    assert_eq!(receipt.provider_message_id, "2026.1.AB@news.example.com");
    for (status, body) in [
        (200, "Mailgun Magnificent API"),
        (200, r#"{"message":"Queued. Thank you."}"#),
        (200, r#"{"id":"","message":"x"}"#),
        (200, r#"{"id":"<>","message":"x"}"#),
        (200, r#"{"id":["x"],"message":"x"}"#),
        (200, r#"{"id":"<2026"#),
        (200, ""),
        (202, good),
    ] {
        let error = classified(status, body, 1).unwrap_err();
        assert_eq!(error.verdict, Verdict::Unknown, "{status} {body}");
    }
}

#[test]
fn every_row_of_the_error_table() {
    for row in DOCUMENTED {
        let result = classified(row.status, row.answer, 1);
        let found = result.map_or_else(|error| error.verdict.as_str(), |_| "accepted");
        assert_eq!(found, row.verdict, "{} {}", row.status, row.answer);
    }
}

#[test]
fn the_wait_is_read_in_both_forms() {
    for (text, after) in [
        ("x, try again after 30 seconds", 30),
        ("x, try again after Sun, 22 Nov 2026 00:02:00 UTC", 120),
        ("x, try again after Sat, 21 Nov 2026 00:02:00 UTC", 0),
    ] {
        let after = Some(Duration::from_secs(after));
        assert_eq!(verdict(429, text), Verdict::Throttled { after }, "{text}");
    }
    let untold = verdict(429, "x, try again after a while");
    assert_eq!(untold, Verdict::Throttled { after: None });
}

#[test]
fn a_limit_of_hours_is_a_quota_with_its_end() {
    let until = |text: &str| Some(text.parse().unwrap());
    for (text, until) in [
        (
            "x, try again after Sun, 22 Nov 2026 06:00:00 UTC",
            until("2026-11-22T06:00:00Z"),
        ),
        (
            "x, try again after Sun, 22 Nov 2026 06:00:00 GMT",
            until("2026-11-22T06:00:00Z"),
        ),
        (
            "x, try again after 7200 seconds",
            until("2026-11-22T02:00:00Z"),
        ),
        (
            "x, try again after 99999999999999999999 seconds",
            until("2026-12-23T00:00:00Z"),
        ),
    ] {
        assert_eq!(verdict(429, text), Verdict::QuotaSpent { until }, "{text}");
    }
}

#[test]
fn a_group_refused_for_one_of_its_recipients_is_taken_apart() {
    for text in [
        "to parameter is not a valid address",
        "Domain x is not allowed to send: add the address to authorized recipients",
    ] {
        let body = serde_json::json!({ "message": text }).to_string();
        let error = classified(400, &body, 2).unwrap_err();
        assert_eq!(error.verdict, Verdict::Ungroup, "{text}");
    }
}

#[test]
fn answers_that_are_not_the_services_own_decide_nothing_final() {
    for (status, body, expected) in [
        (401, "Forbidden", Verdict::ProviderUnusable),
        (400, "<html>bad request</html>", Verdict::Transient),
        (500, "<html>", Verdict::Unknown),
        (503, "<html>", Verdict::Transient),
        (307, "", Verdict::Transient),
    ] {
        assert_eq!(
            classified(status, body, 1).unwrap_err().verdict,
            expected,
            "{status}"
        );
    }
}

proptest! {
    #[test]
    fn no_answer_breaks_the_classifier_and_none_but_200_succeeds(
        status in 100u16..1000,
        body in "\\PC{0,200}",
        after in "\\PC{0,60}",
    ) {
        prop_assert!(classified(status, &body, 2).is_err() || status == 200);
        verdict(429, &format!("try again after {after}"));
    }
}
