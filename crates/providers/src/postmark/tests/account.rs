//! Check and inspection against a scripted peer.

use malote_core::provider::{About, Verdict};

use super::sends::provider;
use crate::http::responder::{Act, Responder, answer};

const SERVER: &str = r#"{"ID":1,"Name":"shop","DeliveryType":"Live"}"#;
const SANDBOX: &str = r#"{"ID":1,"Name":"shop","DeliveryType":"Sandbox"}"#;
const BAD_TOKEN: &str = r#"{"ErrorCode":10,"Message":"No Account or Server API tokens"}"#;

#[tokio::test]
async fn a_check_tells_a_bad_token_from_a_bad_moment() {
    for (what, act, expected) in [
        ("live", answer("200 OK", "", SERVER), Ok("")),
        (
            "sandbox",
            answer("200 OK", "", SANDBOX),
            Ok("a sandbox server: Postmark delivers nothing"),
        ),
        (
            "emulator",
            answer("404 None", "", "<html>"),
            Ok("the endpoint does not know GET /server: the token was not checked"),
        ),
        (
            "bad token",
            answer("401 Unauthorized", "", BAD_TOKEN),
            Err(Verdict::ProviderUnusable),
        ),
        (
            "not approved",
            answer("422 No", "", r#"{"ErrorCode":413,"Message":"x"}"#),
            Err(Verdict::ProviderUnusable),
        ),
        (
            "a filter in front",
            answer("403 Forbidden", "", "<html>"),
            Err(Verdict::Transient),
        ),
        (
            "too fast",
            answer("429 Slow", "", ""),
            Err(Verdict::Throttled { after: None }),
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
        let checked = checked
            .map(|account| account.note)
            .map_err(|error| error.verdict);
        assert_eq!(checked, expected.map(str::to_owned), "{what}");
        if what == "live" {
            let request = peer.texts().remove(0);
            assert!(request.starts_with("GET /server HTTP/1.1\r\n"), "{request}");
            assert!(
                request
                    .to_lowercase()
                    .contains("x-postmark-server-token: t0ken")
            );
        }
    }
}

async fn findings(server: &str, streams: &str) -> Result<Vec<About>, Verdict> {
    let acts = vec![answer("200 OK", "", server), answer("200 OK", "", streams)];
    let peer = Responder::start(acts).await;
    let senders = ["shop.example".to_owned()];
    let found = provider(&peer.url()).inspect(&senders).await;
    let asked = peer.texts().pop().unwrap();
    assert!(
        asked.starts_with("GET /message-streams HTTP/1.1\r\n"),
        "{asked}"
    );
    found
        .map(|found| found.into_iter().map(|finding| finding.about).collect())
        .map_err(|error| error.verdict)
}

#[tokio::test]
async fn an_inspection_finds_what_mail_would_fail_on() {
    let stream = |fields: &str| {
        format!(r#"{{"MessageStreams":[{{"ID":"outbound"}},{{"ID":"receipts"{fields}}}]}}"#)
    };
    let pool = About::Pool("tx".parse().unwrap());
    for (what, server, streams, expected) in [
        ("all well", SERVER, stream(""), vec![]),
        (
            "archived",
            SERVER,
            stream(r#","ArchivedAt":"2026-01-01T00:00:00Z""#),
            vec![pool.clone()],
        ),
        (
            "inbound",
            SERVER,
            stream(r#","MessageStreamType":"Inbound""#),
            vec![pool.clone()],
        ),
        (
            "sandbox without streams",
            SANDBOX,
            r#"{"MessageStreams":[]}"#.to_owned(),
            vec![About::Account, pool],
        ),
    ] {
        assert_eq!(findings(server, &streams).await, Ok(expected), "{what}");
    }
    let broken = findings(SERVER, "<html>").await;
    assert_eq!(broken, Err(Verdict::Transient));
}
