//! What is learnt without sending mail.

use malote_core::provider::{About, Finding, Verdict};

use super::sends::provider;
use crate::http::responder::{Act, Responder, answer};

fn ok(body: &str) -> Act {
    answer("200 OK", "", body)
}

fn forbidden() -> Act {
    answer(
        "403 Forbidden",
        "",
        r#"{"errors":[{"message":"access forbidden","field":null}]}"#,
    )
}

const SCOPES: &str = r#"{"scopes":["mail.send","user.credits.read"]}"#;

fn credits(every: &str) -> Act {
    ok(&format!(
        r#"{{"remain":40,"total":100,"overage":0,"used":60,"last_reset":"2026-11-22","next_reset":"2026-11-23","reset_frequency":"{every}"}}"#
    ))
}

type Learnt = (Option<u64>, Option<u64>, &'static str);

async fn checked(acts: Vec<Act>) -> Result<(Option<u64>, Option<u64>, String), Verdict> {
    let peer = Responder::start(acts).await;
    let checked = provider(&peer.url()).check().await;
    let request = peer.texts().remove(0).to_lowercase();
    assert!(
        request.starts_with("get /v3/scopes http/1.1\r\n"),
        "{request}"
    );
    assert!(request.contains("\r\nauthorization: bearer sg.k3y\r\n"));
    let learnt = checked.map(|account| (account.per_day, account.sent_last_day, account.note));
    learnt.map_err(|error| error.verdict)
}

#[tokio::test]
async fn a_check_learns_scopes_and_credits() {
    let rows: [(Vec<Act>, Learnt); 5] = [
        (
            vec![ok(SCOPES), credits("daily")],
            (
                Some(100),
                Some(60),
                "40 of 100 credits left until 2026-11-23 (renewed: daily)",
            ),
        ),
        (
            vec![ok(SCOPES), credits("monthly")],
            (
                None,
                None,
                "40 of 100 credits left until 2026-11-23 (renewed: monthly)",
            ),
        ),
        (
            vec![ok(SCOPES), forbidden()],
            (None, None, "the credits are not known"),
        ),
        (
            vec![ok(r#"{"scopes":["mail.send"]}"#)],
            (
                None,
                None,
                "the key may not read its credits (scope user.credits.read)",
            ),
        ),
        (
            vec![answer("404 None", "", "<html>")],
            (None, None, "the endpoint tells nothing of the key"),
        ),
    ];
    for (acts, (per_day, sent, note)) in rows {
        assert_eq!(checked(acts).await, Ok((per_day, sent, note.to_owned())));
    }
}

#[tokio::test]
async fn a_check_tells_a_key_that_may_not_send_from_a_service_out_of_order() {
    let refused = r#"{"errors":[{"message":"authorization required","field":null}]}"#;
    for (act, expected) in [
        (
            ok(r#"{"scopes":["stats.read"]}"#),
            Verdict::ProviderUnusable,
        ),
        (
            answer("401 Unauthorized", "", refused),
            Verdict::ProviderUnusable,
        ),
        (ok("<html>"), Verdict::Transient),
        (answer("500 Oops", "", ""), Verdict::Transient),
        (Act::Close, Verdict::Transient),
    ] {
        assert_eq!(checked(vec![act.clone()]).await, Err(expected), "{act:?}");
    }
}

async fn inspected(
    acts: Vec<Act>,
    senders: &[&str],
) -> (Result<Vec<Finding>, Verdict>, Vec<String>) {
    let peer = Responder::start(acts).await;
    let senders: Vec<String> = senders.iter().map(|&s| s.to_owned()).collect();
    let findings = provider(&peer.url()).inspect(&senders).await;
    let lines = peer.texts().into_iter().map(|request| {
        let line = request.lines().next().unwrap_or_default();
        line.to_owned()
    });
    (findings.map_err(|error| error.verdict), lines.collect())
}

#[tokio::test]
async fn an_inspection_finds_plan_pool_and_unverified_senders() {
    let acts = vec![
        ok(r#"{"type":"free","reputation":100}"#),
        ok(r#"[{"name":"marketing"}]"#),
        ok(
            r#"{"results":[{"id":1,"from_email":"me@single.example","verified":true},{"id":2,"from_email":"x@new.example","verified":false}]}"#,
        ),
        ok(r#"[{"id":1,"domain":"Good.example","valid":true}]"#),
        ok(r#"[{"id":2,"domain":"pending.example","valid":false}]"#),
        ok("[]"),
        ok(r#"[{"id":3,"domain":"mail.new.example","valid":true}]"#),
    ];
    let senders = [
        "good.example",
        "pending.example",
        "single.example",
        "new.example",
    ];
    let (findings, requests) = inspected(acts, &senders).await;
    let about: Vec<About> = findings.unwrap().into_iter().map(|f| f.about).collect();
    let pool = "tx".to_owned().try_into().unwrap();
    assert_eq!(
        about,
        [
            About::Account,
            About::Pool(pool),
            About::Sender("pending.example".to_owned()),
            About::Sender("new.example".to_owned()),
        ]
    );
    assert_eq!(
        requests[3],
        "GET /v3/whitelabel/domains?domain=good%2Eexample&limit=50 HTTP/1.1"
    );
    assert_eq!(requests[1], "GET /v3/ips/pools HTTP/1.1");
}

#[tokio::test]
async fn what_the_key_may_not_ask_is_no_finding_and_a_service_out_of_order_is_an_error() {
    let (findings, _) = inspected(vec![forbidden()], &["shop.example"]).await;
    assert_eq!(findings, Ok(Vec::new()));
    let (findings, _) = inspected(vec![answer("503 Down", "", "")], &["shop.example"]).await;
    assert_eq!(findings, Err(Verdict::Transient));
    let good = vec![
        ok(r#"{"type":"paid","reputation":100}"#),
        ok(r#"[{"name":"pool-1"}]"#),
        ok(r#"{"results":[]}"#),
        ok(r#"[{"domain":"shop.example","valid":true}]"#),
    ];
    let (findings, _) = inspected(good, &["news@shop.example"]).await;
    assert_eq!(findings, Ok(Vec::new()));
}
