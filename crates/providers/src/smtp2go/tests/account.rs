//! Check and inspection against a scripted peer.

use std::time::Duration;

use malote_core::provider::{About, Verdict};
use serde_json::{Value, json};

use super::provider;
use crate::http::responder::{Act, Responder, answer};

fn good(data: &Value) -> Act {
    answer(
        "200 OK",
        "",
        &json!({ "request_id": "r", "data": data }).to_string(),
    )
}

fn denied() -> Act {
    let body = r#"{"request_id":"r","data":{"error":"You do not have permission to access this API endpoint","error_code":"E_ApiResponseCodes.ENDPOINT_PERMISSION_DENIED"}}"#;
    answer("400 Bad Request", "", body)
}

fn paths() -> Act {
    good(&json!(["/email/send", "/email/mime", "/stats/email_cycle"]))
}

fn cycle(remaining: i64) -> Act {
    good(
        &json!({ "cycle_start": "2026-11-01 00:00:00+00:00", "cycle_used": 1,
        "cycle_end": "2026-12-01 00:00:00+00:00", "cycle_remaining": remaining,
        "cycle_max": 10000 }),
    )
}

#[tokio::test]
async fn a_check_tells_a_bad_key_from_one_that_may_only_send() {
    let bad_key = r#"{"data":{"error":"invalid","error_code":"E_ApiResponseCodes.NON_VALIDATING_IN_PAYLOAD","field_validation_errors":{"fieldname":"api_key","message":"The API Key passed was not in the correct format"}}}"#;
    let untold = "the key may not ask for the month's allowance";
    for (what, acts, expected) in [
        (
            "good",
            vec![paths(), cycle(9999)],
            Ok("9999 of the month's 10000 are left"),
        ),
        ("may only send", vec![paths(), denied()], Ok(untold)),
        (
            "may not send",
            vec![good(&json!(["/email/send"]))],
            Err(Verdict::ProviderUnusable),
        ),
        (
            "bad key",
            vec![answer("400 Bad", "", bad_key)],
            Err(Verdict::ProviderUnusable),
        ),
        (
            "no key",
            vec![answer("401 Unauthorized", "", "{}")],
            Err(Verdict::ProviderUnusable),
        ),
        (
            "emulator",
            vec![answer("404 None", "", "<html>")],
            Ok("the endpoint tells nothing of the account: the key was not checked"),
        ),
        (
            "too fast",
            vec![answer("429 Slow", "", "")],
            Err(Verdict::Throttled {
                after: Some(Duration::from_secs(60)),
            }),
        ),
        (
            "nonsense",
            vec![answer("200 OK", "", "hi")],
            Err(Verdict::Transient),
        ),
        (
            "down",
            vec![answer("500 Oops", "", "")],
            Err(Verdict::Transient),
        ),
        ("cut", vec![Act::Close], Err(Verdict::Transient)),
    ] {
        let peer = Responder::start(acts).await;
        let checked = provider(&peer.url()).check().await;
        let checked = checked
            .map(|account| account.note)
            .map_err(|error| error.verdict);
        assert_eq!(checked, expected.map(str::to_owned), "{what}");
        let request = peer.texts().remove(0);
        assert!(request.starts_with("POST /v3/api_keys/permissions HTTP/1.1\r\n"));
        assert!(request.ends_with("\r\n\r\n{}"), "{request}");
    }
}

fn domain(name: &str, dkim: bool) -> Value {
    json!({ "domain": { "fulldomain": name, "dkim_verified": dkim, "rpath_verified": true },
        "trackers": [] })
}

#[tokio::test]
async fn an_inspection_finds_what_mail_would_fail_on() {
    let domains = json!({ "domains": [
        domain("Shop.example", true), domain("new.example", false), domain("one.example", false),
    ] });
    let singles = json!({ "senders": [
        { "email_address": "a@One.example", "verified": true },
        { "email_address": "a@new.example", "verified": false },
    ] });
    let key = |status: &str| good(&json!([{ "api_key": "api-1***", "status": status }]));
    let senders = [
        "shop.example",
        "new.example",
        "one.example",
        "other.example",
    ];
    let senders = senders.map(str::to_owned);
    let about = |name: &str| About::Sender(name.to_owned());
    for (what, acts, expected) in [
        (
            "two are not verified",
            vec![key("allowed"), cycle(5), good(&domains), good(&singles)],
            vec![about("new.example"), about("other.example")],
        ),
        (
            "a sandboxed key and a spent month",
            vec![key("sandbox"), cycle(0), denied()],
            vec![About::Account, About::Account],
        ),
        (
            "only addresses may not be asked for",
            vec![denied(), denied(), good(&domains), denied()],
            vec![
                about("new.example"),
                about("one.example"),
                about("other.example"),
            ],
        ),
        ("a key that may only send", vec![denied()], vec![]),
        ("an emulator", vec![answer("404 None", "", "")], vec![]),
    ] {
        let peer = Responder::start(acts).await;
        let found = provider(&peer.url()).inspect(&senders).await.unwrap();
        let about: Vec<About> = found.iter().map(|finding| finding.about.clone()).collect();
        assert_eq!(about, expected, "{what}");
        let texts: Vec<&str> = found.iter().map(|finding| finding.text.as_str()).collect();
        assert!(
            !texts.iter().any(|text| text.contains("api-1")),
            "{texts:?}"
        );
        let asked = peer.texts();
        assert!(asked[0].starts_with("POST /v3/api_keys/view "), "{what}");
    }
    let peer = Responder::start(vec![answer("401 No", "", "{}")]).await;
    let refused = provider(&peer.url()).inspect(&senders).await;
    assert_eq!(refused.unwrap_err().verdict, Verdict::ProviderUnusable);
}
