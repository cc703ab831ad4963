//! What is learnt without sending mail.

use malote_core::provider::{About, Finding, Verdict};

use super::sends::provider;
use crate::http::responder::{Act, Responder, answer};

fn ok(headers: &str, body: &str) -> Act {
    answer("200 OK", headers, body)
}

fn refused(status: &str, name: &str) -> Act {
    let code = status.split(' ').next().unwrap();
    let body = format!(r#"{{"statusCode":{code},"name":"{name}","message":"x"}}"#);
    answer(status, "", &body)
}

const DOMAINS: &str = r#"{"object":"list","has_more":false,"data":[]}"#;
const USAGE: &str = r#"{"object":"usage","emails":{"daily":{"used":40,"limit":100},"monthly":{"used":900,"limit":3000}}}"#;
const PAID: &str = r#"{"object":"usage","emails":{"daily":{"used":4000,"limit":null},"monthly":{"used":9000,"limit":50000}}}"#;

type Learnt = (Option<f64>, Option<u64>, Option<u64>, String);

async fn checked(acts: Vec<Act>) -> Result<Learnt, Verdict> {
    let peer = Responder::start(acts).await;
    let checked = provider(&peer.url()).check().await;
    let request = peer.texts().remove(0).to_lowercase();
    assert!(
        request.starts_with("get /domains?limit=1 http/1.1\r\n"),
        "{request}"
    );
    assert!(request.contains("\r\nauthorization: bearer re_k3y\r\n"));
    let learnt = checked.map(|a| (a.per_second, a.per_day, a.sent_last_day, a.note));
    learnt.map_err(|error| error.verdict)
}

#[tokio::test]
async fn a_check_learns_rate_and_quota() {
    let sending = refused("401 Unauthorized", "restricted_api_key");
    for (acts, per_second, per_day, sent, note) in [
        (
            vec![ok("ratelimit-limit: 5\r\n", DOMAINS), ok("", USAGE)],
            Some(5.0),
            Some(100),
            Some(40),
            "900 of 3000 used this month",
        ),
        (
            vec![ok("ratelimit-limit: 20, 20;w=2\r\n", DOMAINS), ok("", PAID)],
            Some(10.0),
            None,
            Some(4000),
            "9000 of 50000 used this month",
        ),
        (
            vec![
                ok("ratelimit-limit: many\r\n", DOMAINS),
                refused("404 None", "not_found"),
            ],
            None,
            None,
            None,
            "",
        ),
        (
            vec![sending],
            None,
            None,
            None,
            "a sending key: the domains are not known",
        ),
        (
            vec![answer("404 None", "", "<html>")],
            None,
            None,
            None,
            "the endpoint tells nothing of the domains",
        ),
    ] {
        let expected = (per_second, per_day, sent, note.to_owned());
        assert_eq!(checked(acts).await, Ok(expected));
    }
}

#[tokio::test]
async fn a_check_tells_a_refused_key_from_a_service_out_of_order() {
    for (act, expected) in [
        (
            refused("403 Forbidden", "invalid_api_key"),
            Verdict::ProviderUnusable,
        ),
        (
            refused("401 Unauthorized", "missing_api_key"),
            Verdict::ProviderUnusable,
        ),
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
async fn an_inspection_reads_every_page_and_finds_senders_that_cannot_send() {
    let acts = vec![
        ok(
            "",
            r#"{"object":"list","has_more":true,"data":[
                {"id":"a/1","name":"Good.example","status":"verified","capabilities":{"sending":"enabled"}},
                {"id":"a/2","name":"new.example","status":"pending"}]}"#,
        ),
        ok(
            "",
            r#"{"object":"list","has_more":false,"data":[
                {"id":"b","name":"in.example","status":"verified","capabilities":{"sending":"disabled"}},
                {"id":"c","name":"second.example","status":"verified"}]}"#,
        ),
    ];
    let senders = [
        "good.example",
        "second.example",
        "new.example",
        "in.example",
        "other.example",
    ];
    let (findings, requests) = inspected(acts, &senders).await;
    let about: Vec<About> = findings.unwrap().into_iter().map(|f| f.about).collect();
    let expected = ["new.example", "in.example", "other.example"];
    assert_eq!(
        about,
        expected.map(|domain| About::Sender(domain.to_owned()))
    );
    assert_eq!(
        requests,
        [
            "GET /domains?limit=100 HTTP/1.1",
            "GET /domains?limit=100&after=a%2F2 HTTP/1.1"
        ]
    );
}

#[tokio::test]
async fn a_team_without_a_verified_domain_may_mail_itself_alone() {
    let (findings, _) = inspected(vec![ok("", DOMAINS)], &[]).await;
    let findings = findings.unwrap();
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].about, About::Account);
}

#[tokio::test]
async fn what_the_key_may_not_ask_is_no_finding_and_a_refused_key_is_an_error() {
    let sending = refused("401 Unauthorized", "restricted_api_key");
    let (findings, _) = inspected(vec![sending], &["shop.example"]).await;
    assert_eq!(findings, Ok(Vec::new()));
    for (act, verdict) in [
        (
            refused("403 Forbidden", "invalid_api_key"),
            Verdict::ProviderUnusable,
        ),
        (ok("", "<html>"), Verdict::Transient),
    ] {
        let (findings, _) = inspected(vec![act], &["shop.example"]).await;
        assert_eq!(findings, Err(verdict));
    }
}
