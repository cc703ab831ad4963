//! The table of SES's answers, row by row.

use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_core::provider::{Fault, Receipt, SendError, Verdict};
use proptest::prelude::*;

use crate::http::Answer;
use crate::ses::DOCUMENTED;
use crate::ses::classify::{Sent, classify, clock_skew};

fn now() -> Timestamp {
    "2026-11-22T00:00:00Z".parse().unwrap()
}

fn answer(status: u16, error_type: &str, body: &str) -> Answer {
    let mut answer = Answer {
        status,
        is_whole: true,
        ..Answer::default()
    };
    answer.body = body.to_owned().into();
    if !error_type.is_empty() {
        answer
            .headers
            .insert("x-amzn-errortype", error_type.parse().unwrap());
    }
    answer
}

fn classified(answer: &Answer, recipients: &[&str]) -> Result<Receipt, SendError> {
    let sender: EmailAddress = "news@shop.example".parse().unwrap();
    let recipients: Vec<EmailAddress> = recipients.iter().map(|r| r.parse().unwrap()).collect();
    let recipients: Vec<&EmailAddress> = recipients.iter().collect();
    let sent = Sent {
        sender: Some(&sender),
        recipients: &recipients,
        names_configuration_set: true,
    };
    classify(answer, sent, now())
}

fn verdict(status: u16, error_type: &str, text: &str, recipients: &[&str]) -> Verdict {
    let body = serde_json::json!({ "message": text }).to_string();
    classified(&answer(status, error_type, &body), recipients)
        .unwrap_err()
        .verdict
}

#[test]
fn success_is_200_with_an_id_and_nothing_else() {
    let good = answer(200, "", r#"{"MessageId":"0100018c-example-000000"}"#);
    let receipt = classified(&good, &["a@x.test"]).unwrap();
    assert_eq!(receipt.provider_message_id, "0100018c-example-000000");
    for (status, body) in [
        (200, ""),
        (200, "{}"),
        (200, r#"{"MessageId":""}"#),
        (200, r#"{"MessageId":null}"#),
        (200, r#"{"MessageId":7}"#),
        (200, r#"{"MessageId":"a b"}"#),
        (200, r#"{"MessageId":"01000"#),
        (200, "<html>captive portal</html>"),
        (202, r#"{"MessageId":"0100"}"#),
        (204, ""),
    ] {
        let error = classified(&answer(status, "", body), &["a@x.test"]).unwrap_err();
        assert_eq!(error.verdict, Verdict::Unknown, "{status} {body}");
    }
    let mut cut = good;
    cut.is_whole = false;
    assert_eq!(
        classified(&cut, &["a@x.test"]).unwrap_err().verdict,
        Verdict::Unknown
    );
}

#[test]
fn every_row_of_the_error_table() {
    for row in DOCUMENTED {
        let result = classified(&answer(row.status, "", row.answer), &["a@x.test"]);
        let found = result.map_or_else(|error| error.verdict.as_str(), |_| "accepted");
        assert_eq!(found, row.verdict, "{} {}", row.status, row.answer);
    }
}

#[test]
fn a_group_refused_for_one_of_its_recipients_is_taken_apart() {
    let pair = ["a@x.test", "b@y.test"];
    for (code, text) in [
        (
            "MessageRejected",
            "Email address is not verified. The following identities failed the check in region US-EAST-1: b@y.test",
        ),
        (
            "BadRequestException",
            "Domain contains illegal character: b@y.test",
        ),
        ("BadRequestException", "Missing final '@domain'"),
        ("BadRequestException", "Invalid recipient address."),
    ] {
        assert_eq!(verdict(400, code, text, &pair), Verdict::Ungroup, "{text}");
    }
    for text in [
        "Missing required header 'From'.",
        "Illegal address: news@shop.example",
    ] {
        let found = verdict(400, "BadRequestException", text, &pair);
        assert_eq!(found, Verdict::Rejected(Fault::Message), "{text}");
    }
}

#[test]
fn the_code_is_found_wherever_it_stands() {
    let quota = r#"{"Message":"Daily message quota exceeded"}"#;
    for error_type in [
        "TooManyRequestsException",
        "TooManyRequestsException:http://internal.amazon.com/coral/com.amazonaws.ses/",
        "com.amazonaws.ses#TooManyRequestsException",
    ] {
        let error = classified(&answer(429, error_type, quota), &["a@x.test"]).unwrap_err();
        assert_eq!(
            error.verdict,
            Verdict::QuotaSpent { until: None },
            "{error_type}"
        );
        assert_eq!(
            error.reply.enhanced.as_deref(),
            Some("TooManyRequestsException")
        );
        assert_eq!(error.reply.text(), "Daily message quota exceeded");
    }
    let in_body = r#"{"__type":"a.b#MessageRejected","Message":"Email address not verified x"}"#;
    let error = classified(&answer(400, "", in_body), &["a@x.test"]).unwrap_err();
    assert_eq!(error.verdict, Verdict::SenderUnusable);
}

#[test]
fn retry_after_is_honoured() {
    let mut slow = answer(429, "TooManyRequestsException", "{}");
    slow.headers.insert("retry-after", "7".parse().unwrap());
    let error = classified(&slow, &["a@x.test"]).unwrap_err();
    let after = Some(std::time::Duration::from_secs(7));
    assert_eq!(error.verdict, Verdict::Throttled { after });
}

#[test]
fn skew_is_read_from_the_services_date() {
    let mut skewed = answer(403, "RequestTimeTooSkewed", "{}");
    assert_eq!(clock_skew(&skewed, now()), None, "no date");
    skewed
        .headers
        .insert("date", "Sun, 22 Nov 2026 00:20:00 GMT".parse().unwrap());
    assert_eq!(clock_skew(&skewed, now()).unwrap().as_secs(), 1200);
    let other = answer(403, "AccessDeniedException", "{}");
    assert_eq!(clock_skew(&other, now()), None);
}

proptest! {
    #[test]
    fn no_answer_breaks_the_classifier_and_none_but_200_succeeds(
        status in 100u16..1000,
        code in "[ -~]{0,40}",
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut answer = answer(status, &code, "");
        answer.body = body.into();
        let result = classified(&answer, &["a@x.test"]);
        prop_assert!(result.is_err() || status == 200);
    }
}
