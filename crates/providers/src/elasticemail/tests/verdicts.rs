//! What becomes of the service's answers.

use std::time::Duration;

use jiff::Timestamp;
use malote_core::provider::{Fault, Receipt, SendError, Verdict};
use proptest::prelude::*;

use crate::elasticemail::DOCUMENTED;
use crate::elasticemail::classify::{Sent, classify};
use crate::http::Answer;

fn now() -> Timestamp {
    "2026-11-22T00:00:00Z".parse().unwrap()
}

const ONE: Sent = Sent {
    recipients: 1,
    names_pool: true,
};

fn classified(status: u16, body: &str, sent: Sent) -> Result<Receipt, SendError> {
    let answer = Answer {
        status,
        body: body.to_owned().into(),
        is_whole: true,
        ..Answer::default()
    };
    classify(&answer, sent, now())
}

fn verdict(body: &str, sent: Sent) -> Verdict {
    classified(400, body, sent).unwrap_err().verdict
}

#[test]
fn every_documented_answer_has_its_verdict() {
    for row in DOCUMENTED {
        let word = match classified(row.status, row.answer, ONE) {
            Ok(_) => "accepted",
            Err(error) => error.verdict.as_str(),
        };
        assert_eq!(word, row.verdict, "{} {}", row.status, row.answer);
    }
}

#[test]
fn success_needs_an_id_and_a_whole_answer() {
    let good = r#"{"TransactionID":"t-1","MessageID":"-m_1"}"#;
    let receipt = classified(200, good, ONE).unwrap();
    assert_eq!(receipt.provider_message_id, "t-1");
    assert!(receipt.reply.text().contains("-m_1"));
    for body in [
        "",
        "{}",
        "It works!",
        r#"{"TransactionID":"","MessageID":" "}"#,
        r#"{"TransactionID":7}"#,
        r#"{"TransactionID":"t-1""#,
    ] {
        let error = classified(200, body, ONE).unwrap_err();
        assert_eq!(error.verdict, Verdict::Unknown, "{body}");
    }
    let cut = Answer {
        status: 200,
        body: good.into(),
        is_whole: false,
        ..Answer::default()
    };
    let error = classify(&cut, ONE, now()).unwrap_err();
    assert_eq!(error.verdict, Verdict::Unknown);
}

#[test]
fn one_bad_address_takes_the_group_apart_and_a_bad_request_does_not() {
    let group = Sent {
        recipients: 3,
        ..ONE
    };
    for (body, alone) in [
        (
            r#"{"Error":"Invalid recipient: nobody"}"#,
            Verdict::Rejected(Fault::Recipient),
        ),
        (
            r#"{"Error":"Recipient a@x.test is suppressed"}"#,
            Verdict::Suppressed,
        ),
    ] {
        assert_eq!(verdict(body, group), Verdict::Ungroup, "{body}");
        assert_eq!(verdict(body, ONE), alone, "{body}");
    }
    let ours = r#"{"Error":"At least one recipient is required"}"#;
    assert_eq!(verdict(ours, group), Verdict::Rejected(Fault::Message));
}

#[test]
fn words_are_read_in_the_order_of_what_they_stop() {
    for (text, expected) in [
        (
            "API Key has no permission for this domain",
            Verdict::ProviderUnusable,
        ),
        (
            "No permission to send from this domain",
            Verdict::SenderUnusable,
        ),
        ("Permission required", Verdict::ProviderUnusable),
        (
            "Attachment type is not allowed",
            Verdict::Rejected(Fault::MessageHere),
        ),
        (
            "Too many concurrent connections",
            Verdict::Throttled { after: None },
        ),
        (
            "Daily recipients limit exceeded",
            Verdict::QuotaSpent { until: None },
        ),
        // Whoever is mailed may be called anything.
        (
            "Recipient apikey@suspended.account.example is not valid",
            Verdict::Rejected(Fault::Recipient),
        ),
        ("Something new", Verdict::Rejected(Fault::Message)),
    ] {
        let body = serde_json::json!({ "Error": text }).to_string();
        assert_eq!(verdict(&body, ONE), expected, "{text}");
    }
}

#[test]
fn a_pool_is_at_fault_only_if_one_was_named() {
    let body = r#"{"Error":"Pool not found"}"#;
    let without = Sent {
        names_pool: false,
        ..ONE
    };
    assert_eq!(verdict(body, ONE), Verdict::PoolUnusable);
    assert_eq!(verdict(body, without), Verdict::Rejected(Fault::Message));
}

#[test]
fn a_wait_that_the_service_asks_for_is_kept() {
    let mut answer = Answer {
        status: 429,
        is_whole: true,
        ..Answer::default()
    };
    answer.headers.insert("retry-after", "7".parse().unwrap());
    let error = classify(&answer, ONE, now()).unwrap_err();
    let after = Some(Duration::from_secs(7));
    assert_eq!(error.verdict, Verdict::Throttled { after });
}

proptest! {
    #[test]
    fn no_answer_breaks_the_classifier_and_only_2xx_succeeds(
        status in 100u16..1000,
        body in "\\PC{0,200}",
        text in "\\PC{0,80}",
    ) {
        let is_success = (200..300).contains(&status);
        prop_assert!(classified(status, &body, ONE).is_err() || is_success);
        let body = serde_json::json!({ "Error": text }).to_string();
        prop_assert!(classified(status, &body, ONE).is_err());
    }
}
