//! The table of Mailjet's answers, row by row, and what a group makes of them.

use std::time::Duration;

use jiff::Timestamp;
use malote_core::provider::{Fault, Outgoing, Verdict};
use proptest::prelude::*;
use serde_json::json;

use crate::correlation::tests::outgoing;
use crate::http::Answer;
use crate::mailjet::DOCUMENTED;
use crate::mailjet::classify::report;

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

fn words(answer: &Answer, outgoing: &Outgoing) -> Vec<String> {
    let results = report(answer, outgoing, now()).into_iter();
    results
        .map(|result| match result {
            Ok(receipt) => format!("accepted {}", receipt.provider_message_id),
            Err(error) => error.verdict.as_str().to_owned(),
        })
        .collect()
}

#[test]
fn every_documented_answer_has_its_verdict() {
    for row in DOCUMENTED {
        let words = words(&answer(row.status, row.answer), &outgoing(&["a@x.test"]));
        let word = words[0].split(' ').next().unwrap();
        assert_eq!(word, row.verdict, "{row:?}");
    }
}

#[test]
fn every_recipient_has_an_id_of_its_own() {
    let body = r#"{"Messages":[{"Status":"success",
        "To":[{"Email":"A@x.test","MessageID":70650219165027411}],
        "Cc":[{"Email":"b@x.test","MessageID":"70650219165027412"}],
        "Bcc":[{"Email":"c@x.test","MessageID":1.5}]}]}"#;
    let group = outgoing(&["c@x.test", "a@x.test", "b@x.test", "d@x.test"]);
    assert_eq!(
        words(&answer(200, body), &group),
        [
            "unknown",
            "accepted 70650219165027411",
            "accepted 70650219165027412",
            "unknown"
        ]
    );
}

#[test]
fn what_is_not_a_plain_success_is_unknown() {
    let good = r#"{"Messages":[{"Status":"success","To":[{"Email":"a@x.test","MessageID":1}]}]}"#;
    let one = outgoing(&["a@x.test"]);
    assert_eq!(words(&answer(200, good), &one), ["accepted 1"]);
    let cut = Answer {
        is_whole: false,
        ..answer(200, good)
    };
    assert_eq!(words(&cut, &one), ["unknown"]);
    for (status, body) in [
        (200, ""),
        (200, "yikes, this isn't a real response"),
        (200, "{}"),
        (200, r#"{"Messages":[]}"#),
        (200, r#"{"Messages":[{"Status":"success"}]}"#),
        (200, r#"{"Messages":[{"Status":"pending"}]}"#),
        (
            200,
            r#"{"Messages":[{"Status":"success","Errors":[{"ErrorCode":"mj-0013","StatusCode":400}],"To":[{"Email":"a@x.test","MessageID":1}]}]}"#,
        ),
        (201, good),
        (400, good),
    ] {
        assert_eq!(
            words(&answer(status, body), &one),
            ["unknown"],
            "{status} {body}"
        );
    }
}

fn refused(errors: &serde_json::Value) -> Answer {
    let body = json!({ "Messages": [{ "Status": "error", "Errors": errors }] });
    answer(400, &body.to_string())
}

#[test]
fn a_group_refused_for_one_of_its_recipients_is_taken_apart() {
    let group = outgoing(&["a@x.test", "b@x.test"]);
    for errors in [
        json!([{ "ErrorCode": "mj-0013", "StatusCode": 400, "ErrorRelatedTo": ["Bcc[0].Email"] }]),
        json!([{ "ErrorCode": "send-0015", "StatusCode": 400, "ErrorRelatedTo": ["To"] }]),
    ] {
        assert_eq!(
            words(&refused(&errors), &group),
            ["ungroup", "ungroup"],
            "{errors}"
        );
    }
}

#[test]
fn a_recipient_is_blamed_only_if_nothing_else_is() {
    let recipient =
        json!({ "ErrorCode": "mj-0013", "StatusCode": 400, "ErrorRelatedTo": ["To[0].Email"] });
    let content =
        json!({ "ErrorCode": "send-0003", "StatusCode": 400, "ErrorRelatedTo": ["TextPart"] });
    let sender = json!({ "ErrorCode": "send-0008", "StatusCode": 403, "ErrorRelatedTo": ["From"] });
    let one = outgoing(&["a@x.test"]);
    for (errors, expected) in [
        (json!([recipient]), "rejected_recipient"),
        (json!([recipient, content]), "rejected_message_here"),
        (json!([recipient, content, sender]), "sender_unusable"),
    ] {
        assert_eq!(words(&refused(&errors), &one), [expected], "{errors}");
    }
    let quoted = outgoing(&["\"a b\"@x.test"]);
    assert_eq!(
        words(&refused(&json!([recipient])), &quoted),
        ["rejected_message_here"]
    );
}

#[test]
fn a_wait_that_is_asked_for_is_kept() {
    let mut slow = answer(429, "Rate limit exceeded");
    slow.headers.insert("retry-after", "7".parse().unwrap());
    let error = report(&slow, &outgoing(&["a@x.test"]), now())[0]
        .clone()
        .unwrap_err();
    let after = Some(Duration::from_secs(7));
    assert_eq!(error.verdict, Verdict::Throttled { after });
}

#[test]
fn answers_that_are_not_the_services_own_decide_nothing_final() {
    for (status, expected) in [
        (400, Verdict::Transient),
        (401, Verdict::ProviderUnusable),
        (403, Verdict::ProviderUnusable),
        (413, Verdict::Rejected(Fault::MessageHere)),
        (500, Verdict::Unknown),
        (502, Verdict::Unknown),
        (503, Verdict::Transient),
        (307, Verdict::Transient),
    ] {
        let results = report(&answer(status, "<html>"), &outgoing(&["a@x.test"]), now());
        let verdict = results[0].clone().unwrap_err().verdict;
        assert_eq!(verdict, expected, "{status}");
    }
}

proptest! {
    #[test]
    fn no_answer_breaks_the_classifier_and_none_but_200_succeeds(
        status in 100u16..1000,
        word in "success|error|\\PC{0,9}",
        code in "(mj|send)-00[01][0-9]|\\PC{0,9}",
        field in "\\PC{0,20}",
        id in proptest::num::u64::ANY,
    ) {
        let body = json!({ "Messages": [{
            "Status": word,
            "To": [{ "Email": "a@x.test", "MessageID": id }],
            "Errors": [{ "ErrorCode": code, "StatusCode": 400, "ErrorRelatedTo": [field] }],
        }] });
        let group = outgoing(&["a@x.test", "b@x.test"]);
        let results = report(&answer(status, &body.to_string()), &group, now());
        prop_assert!(results.len() == 2 && results.iter().all(Result::is_err));
        let body = json!({ "Messages": [{
            "Status": word,
            "To": [{ "Email": "a@x.test", "MessageID": id }],
        }] });
        let results = report(&answer(status, &body.to_string()), &group, now());
        let is_success = status == 200 && word == "success" && id != 0;
        prop_assert_eq!(results[0].is_ok(), is_success);
        prop_assert!(results[1].is_err());
    }
}
