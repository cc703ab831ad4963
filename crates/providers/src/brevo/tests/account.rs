//! What is learnt without sending mail.

use malote_core::provider::{About, Verdict};

use super::provider;
use crate::http::responder::{Act, Responder, answer};

const ACCOUNT: &str = r#"{"organization_id":"o","email":"a@x.test","plan":[
    {"type":"free","creditsType":"sendLimit","credits":287},
    {"type":"sms","creditsType":"sendLimit","credits":10.5},
    {"type":"subscription","creditsType":"userLimit","credits":5}],
    "relay":{"enabled":true,"data":{"userName":"a","relay":"smtp-relay.brevo.com","port":587}}}"#;

#[tokio::test]
async fn a_check_tells_keys_and_accounts_apart() {
    let disabled = ACCOUNT.replace("\"enabled\":true", "\"enabled\":false");
    let refused = |code: &str| format!(r#"{{"code":"{code}","message":"x"}}"#);
    for (what, act, expected) in [
        (
            "good",
            answer("200 OK", "", ACCOUNT),
            Ok("plan free: 287 mails left"),
        ),
        ("few words", answer("200 OK", "", "{}"), Ok("")),
        (
            "not activated",
            answer("200 OK", "", &disabled),
            Err(Verdict::ProviderUnusable),
        ),
        (
            "bad key",
            answer("401 Unauthorized", "", &refused("unauthorized")),
            Err(Verdict::ProviderUnusable),
        ),
        (
            "too often",
            answer("429 Slow", "", "{}"),
            Err(Verdict::Throttled { after: None }),
        ),
        (
            "odd",
            answer("400 Bad", "", &refused("invalid_parameter")),
            Err(Verdict::Transient),
        ),
        ("down", answer("500 Oops", "", ""), Err(Verdict::Transient)),
        (
            "nonsense",
            answer("200 OK", "", "hi"),
            Err(Verdict::Transient),
        ),
        ("cut", Act::Close, Err(Verdict::Transient)),
    ] {
        let peer = Responder::start(vec![act]).await;
        let checked = provider(&peer.url()).check().await;
        let checked = checked.map(|account| account.note);
        let checked = checked.map_err(|error| error.verdict);
        assert_eq!(checked, expected.map(str::to_owned), "{what}");
        let request = peer.texts().remove(0);
        assert!(
            request.starts_with("GET /v3/account HTTP/1.1\r\n"),
            "{what} {request}"
        );
    }
}

#[tokio::test]
async fn a_sender_domain_is_good_if_it_is_authenticated_or_has_a_verified_sender() {
    let domains = r#"{"domains":[
        {"id":"1","domain_name":"Good.example","authenticated":true,"verified":true},
        {"id":"2","domain_name":"new.example","authenticated":false,"verified":true}]}"#;
    let senders = r#"{"senders":[
        {"id":1,"name":"A","email":"a@Single.example","active":true},
        {"id":2,"name":"B","email":"b@new.example","active":false}]}"#;
    let peer = Responder::start(vec![
        answer("200 OK", "", domains),
        answer("200 OK", "", senders),
    ])
    .await;
    let asked = [
        "good.example",
        "single.example",
        "new.example",
        "none.example",
    ];
    let asked = asked.map(str::to_owned);
    let findings = provider(&peer.url()).inspect(&asked).await.unwrap();
    let about: Vec<_> = findings.into_iter().map(|finding| finding.about).collect();
    let sender = |domain: &str| About::Sender(domain.to_owned());
    assert_eq!(about, [sender("new.example"), sender("none.example")]);
    assert!(peer.texts()[1].starts_with("GET /v3/senders HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_key_that_is_refused_is_an_error_and_no_finding() {
    let body = r#"{"code":"unauthorized","message":"Key not found"}"#;
    let peer = Responder::start(vec![answer("401 Unauthorized", "", body)]).await;
    let inspected = provider(&peer.url())
        .inspect(&["x.example".to_owned()])
        .await;
    assert_eq!(inspected.unwrap_err().verdict, Verdict::ProviderUnusable);
}
