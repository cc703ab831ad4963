//! The table of Postmark's answers, row by row, and what a group makes of them.

use std::time::Duration;

use jiff::Timestamp;
use malote_core::provider::{Fault, Outgoing, Verdict};
use proptest::prelude::*;

use crate::correlation::tests::outgoing;
use crate::http::Answer;
use crate::postmark::DOCUMENTED;
use crate::postmark::classify::report;

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
    let results = report(answer, outgoing, true, now()).into_iter();
    let word = |result: Result<malote_core::provider::Receipt, _>| match result {
        Ok(receipt) => format!("accepted {}", receipt.provider_message_id),
        Err(malote_core::provider::SendError { verdict, .. }) => verdict.as_str().to_owned(),
    };
    results.map(word).collect()
}

#[test]
fn every_documented_answer_has_its_verdict() {
    for row in DOCUMENTED {
        let words = words(&answer(row.status, row.answer), &outgoing(&["a@x.test"]));
        let word = words[0].split(' ').next().unwrap();
        assert_eq!(word, row.verdict, "{row:?}");
    }
}

const OK: &str = r#"{"MessageID":"b7bc2f4a-e38e","ErrorCode":0,"Message":"OK"}"#;

#[test]
fn success_is_200_with_an_id_and_code_zero() {
    let group = outgoing(&["a@x.test", "b@x.test"]);
    assert_eq!(
        words(&answer(200, OK), &group),
        ["accepted b7bc2f4a-e38e", "accepted b7bc2f4a-e38e"]
    );
    let cut = Answer {
        is_whole: false,
        ..answer(200, OK)
    };
    assert_eq!(words(&cut, &group), ["unknown", "unknown"]);
    for (status, body) in [
        (200, ""),
        (200, "<html>"),
        (200, "{}"),
        (200, "[]"),
        (200, r#"{"ErrorCode":0,"Message":"OK"}"#),
        (200, r#"{"ErrorCode":0,"MessageID":"","Message":"OK"}"#),
        (200, r#"{"ErrorCode":0,"MessageID":"a b","Message":"OK"}"#),
        (200, r#"{"ErrorCode":0,"MessageID":7,"Message":"OK"}"#),
        (202, OK),
        (204, ""),
    ] {
        let words = words(&answer(status, body), &outgoing(&["a@x.test"]));
        assert_eq!(words, ["unknown"], "{status} {body}");
    }
}

#[test]
fn the_inactive_among_a_group_are_suppressed_and_the_others_accepted() {
    let body = r#"{"MessageID":"m1","ErrorCode":0,"Message":"Message OK, but will not deliver to these inactive addresses: b@x.test, d@x.test. Inactive recipients are ones that have generated a hard bounce or a spam complaint."}"#;
    let group = outgoing(&["a@x.test", "B@x.test", "c@x.test", "d@x.test"]);
    assert_eq!(
        words(&answer(200, body), &group),
        ["accepted m1", "suppressed", "accepted m1", "suppressed"]
    );
    let others = outgoing(&["y@x.test", "z@x.test"]);
    assert_eq!(
        words(&answer(200, body), &others),
        ["unknown", "unknown"],
        "it does not say which of ours"
    );
}

#[test]
fn a_group_refused_for_one_of_its_recipients_is_taken_apart() {
    let group = outgoing(&["a@x.test", "b@x.test"]);
    for (body, expected) in [
        (
            r#"{"ErrorCode":406,"Message":"Found inactive addresses: b@x.test.\n Inactive recipients are"}"#,
            ["ungroup", "suppressed"],
        ),
        (
            r#"{"ErrorCode":406,"Message":"inactive"}"#,
            ["ungroup", "ungroup"],
        ),
        (
            r#"{"ErrorCode":300,"Message":"Invalid 'Bcc' address: 'b@x.test'."}"#,
            ["ungroup", "ungroup"],
        ),
        (
            r#"{"ErrorCode":412,"Message":"pending"}"#,
            ["ungroup", "ungroup"],
        ),
    ] {
        assert_eq!(words(&answer(422, body), &group), expected, "{body}");
    }
}

#[test]
fn a_missing_stream_is_the_pools_fault_only_where_the_pool_names_one() {
    let refused = answer(422, r#"{"ErrorCode":1235,"Message":"no such stream"}"#);
    let one = outgoing(&["a@x.test"]);
    for (names_stream, verdict) in [
        (true, Verdict::PoolUnusable),
        (false, Verdict::ProviderUnusable),
    ] {
        let error = report(&refused, &one, names_stream, now())[0]
            .clone()
            .unwrap_err();
        assert_eq!(error.verdict, verdict);
        assert_eq!(error.reply.enhanced.as_deref(), Some("1235"));
    }
}

#[test]
fn a_wait_that_is_asked_for_is_kept() {
    let mut slow = answer(429, "");
    slow.headers.insert("retry-after", "7".parse().unwrap());
    let error = report(&slow, &outgoing(&["a@x.test"]), true, now())[0]
        .clone()
        .unwrap_err();
    let after = Some(Duration::from_secs(7));
    assert_eq!(error.verdict, Verdict::Throttled { after });
}

#[test]
fn answers_that_are_not_the_services_own_decide_nothing_final() {
    for (status, body, expected) in [
        (400, "<html>", Verdict::Transient),
        (422, "<html>", Verdict::Transient),
        (403, "<html>", Verdict::Transient),
        (401, "<html>", Verdict::ProviderUnusable),
        (413, "", Verdict::Rejected(Fault::MessageHere)),
        (500, "<html>", Verdict::Unknown),
        (502, "<html>", Verdict::Unknown),
        (503, "<html>", Verdict::Transient),
        (307, "", Verdict::Transient),
    ] {
        let results = report(&answer(status, body), &outgoing(&["a@x.test"]), true, now());
        let verdict = results[0].clone().unwrap_err().verdict;
        assert_eq!(verdict, expected, "{status} {body}");
    }
}

proptest! {
    #[test]
    fn no_answer_breaks_the_classifier_and_none_but_200_succeeds(
        status in 100u16..1000,
        code in proptest::option::of(-2i64..1300),
        text in "\\PC{0,80}|.{0,20}inactive addresses:.{0,60}",
        id in proptest::option::of("[a-z0-9-]{0,40}"),
    ) {
        let mut body = serde_json::json!({ "Message": text });
        if let Some(code) = code {
            body["ErrorCode"] = code.into();
        }
        if let Some(id) = id {
            body["MessageID"] = id.into();
        }
        let group = outgoing(&["a@x.test", "b@x.test"]);
        let results = report(&answer(status, &body.to_string()), &group, false, now());
        prop_assert_eq!(results.len(), 2);
        let is_success = status == 200 && code.unwrap_or(0) == 0;
        prop_assert!(is_success || results.iter().all(Result::is_err));
    }
}
