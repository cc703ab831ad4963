//! Whole calls against a scripted peer on loopback.

use std::sync::Arc;
use std::time::Duration;

use malote_core::clock::FixedClock;
use malote_core::fault::{ConfigFault, Severity};
use malote_core::name::ProviderName;
use malote_core::provider::{About, Fault, Outgoing, Provider, Verdict};
use serde_json::{Value, json};

use crate::correlation::tests::outgoing;
use crate::http::responder::{Act, Responder, answer};
use crate::{Adapter, ProviderConfig, build};

const OK: &str = r#"{"success":true,"message_ids":["to-1","cc-1","bcc-1"]}"#;

fn built(toml: &str) -> (Option<Adapter>, Vec<ConfigFault>) {
    let config: ProviderConfig = toml::from_str(toml).unwrap();
    let name = ProviderName::try_from("mt").unwrap();
    let clock = FixedClock("2026-11-22T00:00:00Z".parse().unwrap());
    let mut faults = Vec::new();
    let adapter = build(&name, &config, &(Arc::new(clock) as _), &mut faults);
    (adapter, faults)
}

fn provider(endpoint: &str) -> Arc<dyn Provider> {
    let (adapter, faults) = built(&format!(
        "[mailtrap]\napi_token = 't0ken'\nendpoint = '{endpoint}'\n"
    ));
    let is_warning = |fault: &ConfigFault| fault.severity == Severity::Warning;
    assert!(faults.iter().all(is_warning), "{faults:?}");
    adapter.unwrap().provider
}

/// To x, Cc z, with an image inside the HTML.
const MESSAGE: &str = "From: =?utf-8?q?S=C3=A1=2C_Ana?= <a@shop.example>\r\n\
To: X <x@dest.example>\r\nCc: z@dest.example\r\nReply-To: Help <help@shop.example>\r\n\
Subject: =?utf-8?b?T2zDoQ==?=\r\nDate: Sun, 22 Nov 2026 00:00:00 +0000\r\n\
Message-ID: <1@shop.example>\r\nList-Unsubscribe: <https://u.example/1>\r\n\
MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=m\r\n\r\n\
--m\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<img src=cid:i@x>\r\n\
--m\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\
Content-ID: <i@x>\r\nContent-Disposition: inline\r\n\r\nAAEC\r\n--m--\r\n";

fn message(body: &str, to: &[&str]) -> Outgoing {
    let mut sent = outgoing(to);
    sent.body = body.to_owned().into();
    sent
}

/// In another order than the message shows them.
const RECIPIENTS: [&str; 3] = ["hidden@dest.example", "z@dest.example", "x@dest.example"];

#[tokio::test]
async fn the_request_has_the_published_shape_and_each_recipient_its_own_id() {
    let peer = Responder::start(vec![answer("200 OK", "", OK)]).await;
    let sent = message(MESSAGE, &RECIPIENTS);
    let report = provider(&peer.url()).send(&sent).await;
    let ids: Vec<_> = report
        .iter()
        .map(|result| result.as_ref().unwrap().provider_message_id.as_str())
        .collect();
    assert_eq!(ids, ["bcc-1", "cc-1", "to-1"]);
    let request = peer.texts().remove(0);
    assert!(request.starts_with("POST /api/send HTTP/1.1\r\n"));
    let head = request.to_lowercase();
    assert!(head.contains("authorization: bearer t0ken\r\n"));
    assert!(head.contains("user-agent: malote/"));
    let (_, document) = request.split_once("\r\n\r\n").unwrap();
    let mut document: Value = serde_json::from_str(document).unwrap();
    let variables = document["custom_variables"].take();
    assert_eq!(
        variables["malote-message"],
        sent.message.simple().to_string()
    );
    assert!(variables["malote-to"].as_str().unwrap().starts_with("0-"));
    assert_eq!(variables["order"], "42");
    assert_eq!(
        document,
        json!({
            "from": { "email": "a@shop.example", "name": "Sá, Ana" },
            "to": [{ "email": "x@dest.example", "name": "X" }],
            "cc": [{ "email": "z@dest.example" }],
            "bcc": [{ "email": "hidden@dest.example" }],
            "reply_to": { "email": "help@shop.example", "name": "Help" },
            "subject": "Olá",
            "html": "<img src=cid:i@x>",
            "attachments": [{
                "content": "AAEC",
                "filename": "attachment-1.png",
                "type": "image/png",
                "disposition": "inline",
                "content_id": "i@x",
            }],
            "headers": { "List-Unsubscribe": "<https://u.example/1>" },
            "custom_variables": null,
            "category": "welcome",
        })
    );
}

#[tokio::test]
async fn what_the_service_refuses_or_fields_cannot_say_is_left_to_another_target() {
    let peer = Responder::start(vec![answer("200 OK", "", OK)]).await;
    let provider = provider(&peer.url());
    let twice = MESSAGE.replace("MIME-Version", "X-A: 1\r\nX-A: 2\r\nMIME-Version");
    let answers = MESSAGE.replace("Help <help@shop.example>", "a@shop.example, b@shop.example");
    let untitled = MESSAGE.replace("=?utf-8?b?T2zDoQ==?=", "");
    let empty = "From: a@shop.example\r\nTo: x@dest.example\r\nSubject: x\r\n\r\n".to_owned();
    for body in [twice, answers, untitled, empty] {
        let report = provider.send(&message(&body, &["x@dest.example"])).await;
        let error = report[0].as_ref().unwrap_err();
        let expected = Verdict::Rejected(Fault::MessageHere);
        assert_eq!(error.verdict, expected, "{:?}", error.reply);
    }
    assert!(peer.texts().is_empty());
}

#[tokio::test]
async fn the_peers_behaviour_becomes_a_verdict() {
    let refused = r#"{"success":false,"errors":["Unauthorized"]}"#;
    for (what, act, expected) in [
        ("garbage", answer("200 OK", "", "<html>"), Verdict::Unknown),
        ("hang", Act::Hang, Verdict::Unknown),
        ("cut", Act::Close, Verdict::Unknown),
        (
            "cut body",
            Act::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{\"suc".to_vec()),
            Verdict::Unknown,
        ),
        (
            "bad token",
            answer("401 Unauthorized", "", refused),
            Verdict::ProviderUnusable,
        ),
        (
            "redirect",
            answer("307 Moved", "Location: http://127.0.0.1:1/\r\n", ""),
            Verdict::Transient,
        ),
    ] {
        let peer = Responder::start(vec![act]).await;
        let mut sent = message(MESSAGE, &RECIPIENTS);
        sent.reply_wait_max = Duration::from_millis(300);
        let report = provider(&peer.url()).send(&sent).await;
        let verdicts: Vec<_> = report
            .iter()
            .map(|result| &result.as_ref().unwrap_err().verdict)
            .collect();
        assert_eq!(verdicts, [&expected; 3], "{what}");
    }
}

#[tokio::test]
async fn a_check_asks_for_the_accounts_of_the_token() {
    let accounts = r#"[{"id":26730,"name":"James","access_levels":[100]}]"#;
    for (what, act, expected) in [
        ("good", answer("200 OK", "", accounts), Ok("")),
        (
            "may only send",
            answer(
                "403 Forbidden",
                "",
                r#"{"errors":"Account access forbidden"}"#,
            ),
            Ok("a token that may only send: the account is not known"),
        ),
        (
            "bad token",
            answer("401 No", "", r#"{"error":"Incorrect API token"}"#),
            Err(Verdict::ProviderUnusable),
        ),
        (
            "too many",
            answer(
                "429 Slow",
                "Retry-After: 3\r\n",
                r#"{"errors":"Rate limit exceeded"}"#,
            ),
            Err(Verdict::Throttled {
                after: Some(Duration::from_secs(3)),
            }),
        ),
        ("down", answer("500 Oops", "", ""), Err(Verdict::Transient)),
        ("cut", Act::Close, Err(Verdict::Transient)),
    ] {
        let peer = Responder::start(vec![act]).await;
        let checked = provider(&peer.url()).check().await;
        let checked = checked
            .map(|account| account.note)
            .map_err(|error| error.verdict);
        assert_eq!(checked, expected.map(str::to_owned), "{what}");
        assert!(peer.texts()[0].starts_with("GET /api/accounts HTTP/1.1\r\n"));
    }
}

#[tokio::test]
async fn senders_that_may_not_send_are_found() {
    let domains = json!({ "data": [
        { "domain_name": "shop.example", "compliance_status": "compliant", "dns_verified": true },
        { "domain_name": "old.example", "dns_verified": true },
        { "domain_name": "new.example", "compliance_status": "unverified_dns" },
        { "domain_name": "bad.example", "compliance_status": "suspended" },
        { "domain_name": "demo.example", "compliance_status": "demo" },
    ]});
    let peer = Responder::start(vec![answer("200 OK", "", &domains.to_string())]).await;
    let senders = ["shop", "old", "new", "bad", "demo", "other"];
    let senders = senders.map(|name| format!("{name}.example"));
    let found = provider(&peer.url()).inspect(&senders).await.unwrap();
    let about: Vec<_> = found.iter().map(|finding| finding.about.clone()).collect();
    let sender = |name: &str| About::Sender(format!("{name}.example"));
    assert_eq!(
        about,
        [
            sender("new"),
            sender("bad"),
            About::Account,
            sender("other")
        ]
    );
    assert!(found[1].text.contains("suspended"));
    assert!(found[2].text.contains("demo.example"));
    assert!(peer.texts()[0].starts_with("GET /api/domains HTTP/1.1\r\n"));
}

#[test]
fn faults_of_the_table_name_their_key() {
    for (toml, path) in [
        ("[mailtrap]", "mailtrap.api_token"),
        ("[mailtrap]\napi_token = ''", "mailtrap.api_token"),
        ("[mailtrap]\napi_token = 'a b'", "mailtrap.api_token"),
        (
            "[mailtrap]\napi_token = 't'\nendpoint = 'http://send.api.mailtrap.io'",
            "mailtrap.endpoint",
        ),
        (
            "[mailtrap]\napi_token = 't'\n[pools.a]\nip_pool = 'x'",
            "pools.a.ip_pool",
        ),
        (
            "[mailtrap]\napi_token = 't'\n[webhook]",
            "webhook.signing_key",
        ),
    ] {
        let (adapter, faults) = built(toml);
        let path = format!("providers.mt.{path}");
        let is_told = faults.iter().any(|fault| fault.path == path);
        assert!(is_told, "{toml} {faults:?}");
        assert!(adapter.is_none() || path.ends_with("ip_pool"), "{toml}");
    }
    let unknown = toml::from_str::<ProviderConfig>("[mailtrap]\ntransport = 'api'");
    assert!(unknown.unwrap_err().to_string().contains("transport"));
}
