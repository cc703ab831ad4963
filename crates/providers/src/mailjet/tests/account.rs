//! Check and inspection against a scripted peer.

use malote_core::provider::{About, Verdict};
use serde_json::json;

use super::sends::provider;
use crate::http::responder::{Act, Responder, answer};

const REFUSED: &str = r#"{"ErrorInfo":"","ErrorMessage":"API key authentication/authorization failure.","StatusCode":401}"#;

#[tokio::test]
async fn a_check_tells_a_bad_key_from_a_bad_moment() {
    for (what, act, expected) in [
        (
            "good",
            answer("200 OK", "", r#"{"Count":0,"Data":[],"Total":0}"#),
            Ok(""),
        ),
        (
            "emulator",
            answer("404 None", "", "<html>"),
            Ok("the endpoint does not know GET /v3/REST/sender: the key was not checked"),
        ),
        (
            "bad key",
            answer("401 Unauthorized", "", REFUSED),
            Err(Verdict::ProviderUnusable),
        ),
        (
            "too fast",
            answer("429 Slow", "", "Rate limit exceeded"),
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
        if what == "good" {
            let request = peer.texts().remove(0);
            let line = "GET /v3/REST/sender?Limit=1 HTTP/1.1\r\n";
            assert!(request.starts_with(line), "{request}");
        }
    }
}

async fn findings(keys: &str, senders: &str) -> Result<Vec<About>, Verdict> {
    let acts = vec![answer("200 OK", "", keys), answer("200 OK", "", senders)];
    let peer = Responder::start(acts).await;
    let domains = ["shop.example".to_owned(), "news.shop.example".to_owned()];
    let found = provider(&peer.url()).inspect(&domains).await;
    let asked = peer.texts();
    assert!(
        asked[0].starts_with("GET /v3/REST/apikey?Limit=1000 "),
        "{}",
        asked[0]
    );
    assert!(
        asked[1].starts_with("GET /v3/REST/sender?Limit=1000 "),
        "{}",
        asked[1]
    );
    found
        .map(|found| found.into_iter().map(|finding| finding.about).collect())
        .map_err(|error| error.verdict)
}

#[tokio::test]
async fn an_inspection_finds_what_mail_would_fail_on() {
    let key = |runlevel: &str, is_active: serde_json::Value| {
        json!({ "Data": [{ "APIKey": "pub", "Runlevel": runlevel, "IsActive": is_active }] })
            .to_string()
    };
    let senders = |rows: &[(&str, &str)]| {
        let row = |(email, status): &(&str, &str)| json!({ "Email": email, "Status": status });
        let rows: Vec<_> = rows.iter().map(row).collect();
        json!({ "Count": rows.len(), "Data": rows }).to_string()
    };
    let both = senders(&[
        ("*@Shop.example", "Active"),
        ("a@news.shop.example", "Active"),
    ]);
    let sender = |domain: &str| About::Sender(domain.to_owned());
    for (what, keys, senders, expected) in [
        ("all well", key("Normal", true.into()), both.clone(), vec![]),
        ("may not ask", "{}".to_owned(), both.clone(), vec![]),
        (
            "another key is locked",
            key("Hardlock", true.into()).replace("pub", "other"),
            both.clone(),
            vec![],
        ),
        (
            "locked",
            key("Hardlock", "true".into()),
            both.clone(),
            vec![About::Account],
        ),
        (
            "inactive",
            key("Normal", "false".into()),
            both,
            vec![About::Account],
        ),
        (
            "not validated",
            key("Normal", true.into()),
            senders(&[
                ("*@shop.example", "Inactive"),
                ("*@other.example", "Active"),
            ]),
            vec![sender("shop.example"), sender("news.shop.example")],
        ),
        (
            "more senders than one answer holds",
            key("Normal", true.into()),
            senders(&[("*@other.example", "Active"); 1000]),
            vec![],
        ),
    ] {
        assert_eq!(findings(&keys, &senders).await, Ok(expected), "{what}");
    }
    let broken = findings("{}", "<html>").await;
    assert_eq!(broken, Err(Verdict::Transient));
}
