//! Whole calls against a scripted peer on loopback.

use std::time::Duration;

use malote_core::fault::Severity;
use malote_core::provider::Verdict;

use super::{built, provider};
use crate::correlation::tests::outgoing;
use crate::http::responder::{Act, Responder, answer};

const OK: &str = r#"{"messageId":"<201798300811.5787683@smtp-relay.mailin.fr>"}"#;

fn message() -> malote_core::provider::Outgoing {
    let mut message = outgoing(&["x@dest.example", "y@dest.example"]);
    message.body = "From: a@shop.example\r\nTo: x@dest.example\r\nSubject: s\r\n\r\nhi\r\n".into();
    message.reply_wait_max = Duration::from_millis(300);
    message
}

#[tokio::test]
async fn the_request_has_the_key_in_its_own_field() {
    let peer = Responder::start(vec![answer("201 Created", "", OK)]).await;
    let report = provider(&peer.url()).send(&message()).await;
    let ids = report
        .iter()
        .map(|r| r.as_ref().unwrap().provider_message_id.as_str());
    let id = "<201798300811.5787683@smtp-relay.mailin.fr>";
    assert_eq!(ids.collect::<Vec<_>>(), [id, id]);
    let request = peer.texts().remove(0);
    assert!(
        request.starts_with("POST /v3/smtp/email HTTP/1.1\r\n"),
        "{request}"
    );
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let head = head.to_lowercase();
    for field in ["\r\napi-key: k3y", "\r\ncontent-type: application/json"] {
        assert!(head.contains(field), "{field} {head}");
    }
    let json: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(json["to"][0]["email"], "x@dest.example");
    assert_eq!(json["bcc"][0]["email"], "y@dest.example");
}

#[tokio::test]
async fn hidden_recipients_alone_go_one_by_one_and_nothing_is_sent() {
    let peer = Responder::start(vec![answer("201 Created", "", OK)]).await;
    let mut message = message();
    message.body = "From: a@shop.example\r\nSubject: s\r\n\r\nhi\r\n".into();
    let report = provider(&peer.url()).send(&message).await;
    assert_eq!(report[0].as_ref().unwrap_err().verdict, Verdict::Ungroup);
    assert!(peer.texts().is_empty());
}

#[tokio::test]
async fn the_peers_behaviour_becomes_a_verdict() {
    let cut_body =
        Act::Write(b"HTTP/1.1 201 OK\r\nContent-Length: 90\r\n\r\n{\"messageId\"".to_vec());
    let redirect = answer("307 Moved", "Location: http://127.0.0.1:1/\r\n", "");
    let after = |seconds| Verdict::Throttled {
        after: Some(Duration::from_secs(seconds)),
    };
    let reset = "x-sib-ratelimit-reset: 9\r\nRetry-After: 7\r\n";
    let endless = "x-sib-ratelimit-reset: 99999999\r\n";
    let busy = r#"{"code":"too_many_requests","message":"x"}"#;
    for (what, act, expected) in [
        ("no id", answer("201 Created", "", "{}"), Verdict::Unknown),
        ("empty", answer("201 Created", "", ""), Verdict::Unknown),
        (
            "another success",
            answer("200 OK", "", OK),
            Verdict::Unknown,
        ),
        (
            "garbage",
            answer("200 OK", "", "It works!"),
            Verdict::Unknown,
        ),
        ("hang", Act::Hang, Verdict::Unknown),
        ("cut", Act::Close, Verdict::Unknown),
        ("cut body", cut_body, Verdict::Unknown),
        ("redirect", redirect, Verdict::Transient),
        ("slow down", answer("429 Slow", reset, busy), after(9)),
        ("for ever", answer("429 Slow", endless, busy), after(3600)),
        (
            "other field",
            answer("429 Slow", "Retry-After: 7\r\n", ""),
            after(7),
        ),
        (
            "untold",
            answer("429 Slow", "", busy),
            Verdict::Throttled { after: None },
        ),
        ("proxy", answer("502 Bad", "", "<html>"), Verdict::Unknown),
        (
            "a proxy's 400",
            answer("400 Bad", "", "<html>"),
            Verdict::Transient,
        ),
    ] {
        let peer = Responder::start(vec![act]).await;
        let report = provider(&peer.url()).send(&message()).await;
        assert_eq!(report.len(), 2, "{what}");
        assert_eq!(report[1].as_ref().unwrap_err().verdict, expected, "{what}");
    }
}

#[test]
fn faults_of_the_table_name_their_key() {
    let good = "[brevo]\napi_key = 'k'\n";
    for (toml, path) in [
        ("[brevo]".to_owned(), "providers.b.brevo.api_key"),
        (
            "[brevo]\napi_key = ''".to_owned(),
            "providers.b.brevo.api_key",
        ),
        (
            "[brevo]\napi_key = \"k\\n\"".to_owned(),
            "providers.b.brevo.api_key",
        ),
        (
            "[brevo]\napi_key = 'xsmtpsib-1'".to_owned(),
            "providers.b.brevo.api_key",
        ),
        (
            format!("{good}endpoint = 'http://api.brevo.com'"),
            "providers.b.brevo.endpoint",
        ),
        (
            format!("{good}[pools.a]\nip_pool = 'x'"),
            "providers.b.pools.a.ip_pool",
        ),
        (format!("{good}[webhook]"), "providers.b.webhook.secret"),
    ] {
        let (_, faults) = built(&toml);
        let is_told = |fault: &malote_core::fault::ConfigFault| {
            fault.path == path && fault.severity == Severity::Error
        };
        assert!(faults.iter().any(is_told), "{toml} {faults:?}");
    }
    let unknown = toml::from_str::<crate::ProviderConfig>(&format!("{good}region = 'eu'"));
    assert!(unknown.is_err(), "this kind has no regions");
}
