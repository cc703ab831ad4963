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

const OK: &str = r#"{"TransactionID":"t-1","MessageID":"m-1"}"#;

fn built(toml: &str) -> (Option<Adapter>, Vec<ConfigFault>) {
    let config: ProviderConfig = toml::from_str(toml).unwrap();
    let name = ProviderName::try_from("ee").unwrap();
    let clock = FixedClock("2026-11-22T00:00:00Z".parse().unwrap());
    let mut faults = Vec::new();
    let adapter = build(&name, &config, &(Arc::new(clock) as _), &mut faults);
    (adapter, faults)
}

fn provider(endpoint: &str) -> Arc<dyn Provider> {
    let (adapter, faults) = built(&format!(
        "[elasticemail]\napi_key = 'k3y'\ntransport = 'api'\nendpoint = '{endpoint}'\n\
         [pools.tx]\npool_name = 'My Pool'\nchannel = 'orders'\n"
    ));
    let is_warning = |fault: &ConfigFault| fault.severity == Severity::Warning;
    assert!(faults.iter().all(is_warning), "{faults:?}");
    adapter.unwrap().provider
}

/// To x and y, Cc z; the last recipient is nowhere to be seen.
const MESSAGE: &str = "From: =?utf-8?q?S=C3=A1=2C_Ana?= <a@shop.example>\r\n\
To: X <x@dest.example>, y@dest.example\r\nCc: z@dest.example\r\n\
Reply-To: help@shop.example\r\nSubject: =?utf-8?b?T2zDoQ==?=\r\n\
Date: Sun, 22 Nov 2026 00:00:00 +0000\r\nMessage-ID: <1@shop.example>\r\n\
List-Unsubscribe: <https://u.example/1>\r\nMIME-Version: 1.0\r\n\
Content-Type: multipart/mixed; boundary=m\r\n\r\n\
--m\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>hi</p>\r\n\
--m\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\
Content-Disposition: attachment; filename=a.pdf\r\n\r\nJVBERg==\r\n--m--\r\n";

fn message(body: &str, to: &[&str]) -> Outgoing {
    let mut sent = outgoing(to);
    sent.body = body.to_owned().into();
    sent
}

const RECIPIENTS: [&str; 4] = [
    "x@dest.example",
    "y@dest.example",
    "z@dest.example",
    "hidden@dest.example",
];

fn json_of(request: &str) -> Value {
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

#[tokio::test]
async fn the_request_has_the_published_shape_and_hides_who_is_hidden() {
    let peer = Responder::start(vec![answer("200 OK", "", OK)]).await;
    let sent = message(MESSAGE, &RECIPIENTS);
    let report = provider(&peer.url()).send(&sent).await;
    assert_eq!(report.len(), 4);
    assert_eq!(report[3].as_ref().unwrap().provider_message_id, "t-1");
    let request = peer.texts().remove(0);
    assert!(request.starts_with("POST /v4/emails/transactional HTTP/1.1\r\n"));
    let head = request.to_lowercase();
    assert!(head.contains("x-elasticemail-apikey: k3y\r\n"));
    assert!(head.contains("content-type: application/json\r\n"));
    let document = json_of(&request);
    assert_eq!(
        document["Recipients"],
        json!({
            "To": ["X <x@dest.example>", "y@dest.example"],
            "CC": ["z@dest.example"],
            "BCC": ["hidden@dest.example"],
        })
    );
    assert_eq!(
        document["Options"],
        json!({ "PoolName": "My Pool", "ChannelName": "orders" })
    );
    let content = &document["Content"];
    assert_eq!(content["From"], "\"Sá, Ana\" <a@shop.example>");
    assert_eq!(content["ReplyTo"], "help@shop.example");
    assert_eq!(content["Subject"], "Olá");
    assert_eq!(
        content["Headers"],
        json!({ "List-Unsubscribe": "<https://u.example/1>" })
    );
    assert_eq!(
        content["Body"],
        json!([{ "ContentType": "HTML", "Content": "<p>hi</p>", "Charset": "utf-8" }])
    );
    assert_eq!(
        content["Attachments"],
        json!([{
            "BinaryContent": "JVBERg==",
            "Name": "a.pdf",
            "ContentType": "application/pdf",
            "Size": 4,
        }])
    );
    // All recipients can read it, so it tells none of the other.
    assert_eq!(content["Postback"], sent.message.simple());
    let outside = document.to_string().replace("\"hidden@dest.example\"", "");
    assert!(!outside.contains("hidden"), "{outside}");
}

#[tokio::test]
async fn an_only_recipient_is_named_in_the_postback() {
    let peer = Responder::start(vec![answer("200 OK", "", OK)]).await;
    let sent = message(MESSAGE, &RECIPIENTS[3..]);
    assert!(provider(&peer.url()).send(&sent).await[0].is_ok());
    let document = json_of(&peer.texts()[0]);
    assert_eq!(document["Recipients"], json!({ "To": [RECIPIENTS[3]] }));
    let postback = document["Content"]["Postback"].as_str().unwrap();
    assert!(postback.starts_with(&format!("{}.0-", sent.message.simple())));
}

#[tokio::test]
async fn what_fields_cannot_say_is_left_to_another_target() {
    let peer = Responder::start(vec![answer("200 OK", "", OK)]).await;
    let provider = provider(&peer.url());
    let related = MESSAGE
        .replace("multipart/mixed", "multipart/related")
        .replace(
            "Content-Disposition: attachment",
            "Content-ID: <i@x>\r\nContent-Disposition: inline",
        );
    let twice = MESSAGE.replace("MIME-Version", "X-A: 1\r\nX-A: 2\r\nMIME-Version");
    let answers = MESSAGE.replace("help@shop.example", "a@shop.example, b@shop.example");
    for body in [related, twice, answers] {
        let report = provider.send(&message(&body, &RECIPIENTS[..1])).await;
        let error = report[0].as_ref().unwrap_err();
        let expected = Verdict::Rejected(Fault::MessageHere);
        assert_eq!(error.verdict, expected, "{:?}", error.reply);
    }
    assert!(peer.texts().is_empty());
}

#[tokio::test]
async fn the_peers_behaviour_becomes_a_verdict() {
    let bad_key = r#"{"Error":"APIKey Expired"}"#;
    for (what, act, expected) in [
        ("garbage", answer("200 OK", "", "<html>"), Verdict::Unknown),
        ("hang", Act::Hang, Verdict::Unknown),
        ("cut", Act::Close, Verdict::Unknown),
        (
            "cut body",
            Act::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{\"Tra".to_vec()),
            Verdict::Unknown,
        ),
        (
            "a bad key is 400",
            answer("400 Bad Request", "", bad_key),
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
            .map(|r| &r.as_ref().unwrap_err().verdict)
            .collect();
        assert_eq!(verdicts, [&expected; 4], "{what}");
    }
}

const DOMAINS: &str = r#"[
    {"Domain":"shop.example","Spf":true,"Dkim":true,"Verify":false},
    {"Domain":"new.example","Spf":true,"Dkim":false}
]"#;

#[tokio::test]
async fn a_check_tells_a_bad_key_from_one_that_may_only_send() {
    let denied = answer("400 Bad", "", r#"{"Error":"Access Denied."}"#);
    let incomplete = answer("400 Bad", "", r#"{"Error":"Content is required"}"#);
    for (what, acts, expected) in [
        ("good", vec![answer("200 OK", "", DOMAINS)], Ok("")),
        (
            "may only send",
            vec![denied.clone(), incomplete],
            Ok("a key that may only send: domains are not known"),
        ),
        ("bad key", vec![denied], Err(Verdict::ProviderUnusable)),
        (
            "another API",
            vec![answer("404 Not Found", "", "<html>")],
            Ok("the endpoint tells nothing of the domains"),
        ),
        (
            "too many",
            vec![answer("429 Slow", "Retry-After: 3\r\n", "")],
            Err(Verdict::Throttled {
                after: Some(Duration::from_secs(3)),
            }),
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
        assert!(peer.texts()[0].starts_with("GET /v4/domains HTTP/1.1\r\n"));
    }
}

#[tokio::test]
async fn senders_that_are_not_verified_are_found() {
    let peer = Responder::start(vec![answer("200 OK", "", DOMAINS)]).await;
    let senders = ["SHOP.example", "new.example", "other.example"].map(str::to_owned);
    let found = provider(&peer.url()).inspect(&senders).await.unwrap();
    let [new, other] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(new.about, About::Sender("new.example".to_owned()));
    assert!(new.text.contains("DKIM") && !new.text.contains("SPF"));
    assert_eq!(other.about, About::Sender("other.example".to_owned()));
}

#[test]
fn the_default_is_smtp_and_needs_no_more_than_the_key() {
    for toml in [
        "[elasticemail]\napi_key = 'k'",
        "[elasticemail]\napi_key = 'k'\nuser = 'a@shop.example'\n[pools.tx]\nchannel = 'c'",
        "[elasticemail]\napi_key = 'k'\nendpoint = 'smtp://127.0.0.1:2525'",
    ] {
        let (adapter, faults) = built(toml);
        let adapter = adapter.unwrap_or_else(|| panic!("{toml} {faults:?}"));
        assert_eq!(adapter.provider.kind(), "elasticemail");
        assert!(adapter.provider.capabilities().eight_bit);
    }
}

#[test]
fn faults_of_the_table_name_their_key() {
    let api = "[elasticemail]\napi_key = 'k'\ntransport = 'api'\n";
    for (toml, path) in [
        ("[elasticemail]".to_owned(), "elasticemail.api_key"),
        (
            "[elasticemail]\ntransport = 'api'\napi_key = 'a b'".to_owned(),
            "elasticemail.api_key",
        ),
        (
            format!("{api}endpoint = 'http://api.elasticemail.com'"),
            "elasticemail.endpoint",
        ),
        (
            "[elasticemail]\napi_key = 'k'\nendpoint = 'https://x.example'".to_owned(),
            "elasticemail.endpoint",
        ),
        (format!("{api}user = 'a@shop.example'"), "elasticemail.user"),
        (
            format!("{api}[pools.a]\npool_name = ''"),
            "pools.a.pool_name",
        ),
        (
            format!("{api}[pools.a]\nchannel = \"a\\nb\""),
            "pools.a.channel",
        ),
        (format!("{api}[webhook]"), "webhook.secret"),
        (
            "[elasticemail]\napi_key = 'k'\n[webhook]".to_owned(),
            "webhook.secret",
        ),
    ] {
        let (adapter, faults) = built(&toml);
        assert!(adapter.is_none(), "{toml}");
        let path = format!("providers.ee.{path}");
        let is_told = faults.iter().any(|fault| fault.path == path);
        assert!(is_told, "{toml} {faults:?}");
    }
    let unknown = toml::from_str::<ProviderConfig>("[elasticemail]\napi_kex = 'k'");
    assert!(unknown.unwrap_err().to_string().contains("api_kex"));
}
