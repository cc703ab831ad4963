//! Whole calls against a scripted peer on loopback, and the table of the configuration.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use malote_core::clock::FixedClock;
use malote_core::fault::{ConfigFault, Severity};
use malote_core::name::ProviderName;
use malote_core::provider::{Fault, Outgoing, Provider, Verdict};
use serde_json::{Value, json};

use crate::correlation::tests::outgoing;
use crate::http::responder::{Act, Responder, answer};
use crate::{Adapter, ProviderConfig, build};

const OK: &str = r#"{"To":"a@x.test","MessageID":"b7bc2f4a","ErrorCode":0,"Message":"OK"}"#;

pub(super) fn built(toml: &str) -> (Option<Adapter>, Vec<ConfigFault>) {
    let config: ProviderConfig = toml::from_str(toml).unwrap();
    let name = ProviderName::try_from("postmark").unwrap();
    let clock = FixedClock("2026-11-22T00:00:00Z".parse().unwrap());
    let mut faults = Vec::new();
    let adapter = build(&name, &config, &(Arc::new(clock) as _), &mut faults);
    (adapter, faults)
}

pub(super) fn provider(endpoint: &str) -> Arc<dyn Provider> {
    let (adapter, faults) = built(&format!(
        "[postmark]\ntransport = 'api'\nendpoint = '{endpoint}'\nserver_token = 't0ken'\n\
         [pools.tx]\nmessage_stream = 'receipts'\n"
    ));
    let is_warning = |fault: &ConfigFault| fault.severity == Severity::Warning;
    assert!(faults.iter().all(is_warning), "{faults:?}");
    adapter.unwrap().provider
}

/// The request's head and its body.
async fn request_of(message: &Outgoing) -> (String, Value) {
    let peer = Responder::start(vec![answer("200 OK", "", OK)]).await;
    let report = provider(&peer.url()).send(message).await;
    assert!(report.iter().all(Result::is_ok), "{report:?}");
    let request = peer.texts().remove(0);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), serde_json::from_str(body).unwrap())
}

fn message(to: &[&str], text: &str) -> Outgoing {
    Outgoing {
        body: text.replace('\n', "\r\n").into(),
        ..outgoing(to)
    }
}

const MIXED: &str = "\
From: \"Shop, Inc\" <news@shop.example>
To: =?utf-8?q?Jos=C3=A9_\"J\"?= <a@x.test>, b@x.test
Cc: c@x.test
Reply-To: help@shop.example
Subject: =?utf-8?q?Ol=C3=A1?=
Date: Sun, 22 Nov 2026 00:00:00 +0000
Message-ID: <1@shop.example>
List-Unsubscribe: <https://shop.example/u>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=m

--m
Content-Type: multipart/related; boundary=r

--r
Content-Type: text/html; charset=utf-8

<p>hi <img src=\"cid:logo@shop\"></p>
--r
Content-Type: image/png; name=logo.png
Content-ID: <logo@shop>
Content-Disposition: inline; filename=logo.png
Content-Transfer-Encoding: base64

AQID
--r--
--m
Content-Type: application/pdf
Content-Disposition: attachment; filename*=utf-8''conta%C3%A7.pdf
Content-Transfer-Encoding: base64

JVBERi0=
--m--
";

#[tokio::test]
async fn the_call_says_what_the_message_says() {
    let sent = message(&["a@x.test", "b@x.test", "c@x.test", "d@x.test"], MIXED);
    let (head, body) = request_of(&sent).await;
    assert!(head.starts_with("POST /email HTTP/1.1\r\n"), "{head}");
    let lower = head.to_lowercase();
    for field in [
        "x-postmark-server-token: t0ken",
        "accept: application/json",
        "content-type: application/json",
    ] {
        assert!(lower.contains(field), "{field}");
    }
    let expected = json!({
        "From": "\"Shop, Inc\" <news@shop.example>",
        "To": "\"José \\\"J\\\"\" <a@x.test>, b@x.test",
        "Cc": "c@x.test",
        "Bcc": "d@x.test",
        "ReplyTo": "help@shop.example",
        "Subject": "Olá",
        "HtmlBody": "<p>hi <img src=\"cid:logo@shop\"></p>",
        "Tag": "welcome",
        "MessageStream": "receipts",
        "Metadata": {
            "malote-message": sent.message.simple(),
            "malote-to-0": body["Metadata"]["malote-to-0"],
            "order": "42",
        },
        "Headers": [
            { "Name": "Message-ID", "Value": "<1@shop.example>" },
            { "Name": "List-Unsubscribe", "Value": "<https://shop.example/u>" },
            { "Name": "X-PM-KeepID", "Value": "true" },
        ],
        "Attachments": [
            {
                "Name": "logo.png", "Content": "AQID", "ContentType": "image/png",
                "ContentID": "cid:logo@shop",
            },
            { "Name": "contaç.pdf", "Content": "JVBERi0=", "ContentType": "application/pdf" },
        ],
    });
    assert_eq!(body, expected, "{body:#}");
    let recipients = body["Metadata"]["malote-to-0"].as_str().unwrap();
    assert_eq!(recipients.split('_').count(), 4);
}

#[tokio::test]
async fn a_pool_without_a_stream_names_none() {
    let mut sent = outgoing(&["x@dest.example"]);
    sent.pool = "other".parse().unwrap();
    let (_, body) = request_of(&sent).await;
    assert_eq!(body["MessageStream"], Value::Null);
    assert_eq!(body["To"], "x@dest.example");
    assert_eq!(body.get("Bcc"), None);
}

#[tokio::test]
async fn tag_and_metadata_stay_within_the_services_bounds() {
    let addresses: Vec<String> = (0..50).map(|n| format!("r{n}@x.test")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let text = format!("From: a@shop.example\nTo: {}\n\nhi\n", addresses.join(", "));
    let mut sent = message(&addresses, &text);
    for (n, recipient) in (950..).zip(&mut sent.recipients) {
        recipient.delivery.index = n;
    }
    sent.tags = vec!["\r\n".into(), "é".repeat(2000), "third".into()];
    sent.metadata.insert("Order".into(), "43".into());
    let (_, body) = request_of(&sent).await;
    assert_eq!(body["Tag"].as_str().unwrap().chars().count(), 1000);
    let metadata = body["Metadata"].as_object().unwrap();
    assert!(metadata.len() <= 10, "{metadata:?}");
    let is_short = |value: &Value| value.as_str().unwrap().len() <= 80;
    assert!(metadata.keys().all(|name| name.len() <= 20) && metadata.values().all(is_short));
    let to = metadata
        .iter()
        .filter(|(name, _)| name.starts_with("malote-to-"));
    let entries: usize = to
        .map(|(_, v)| v.as_str().unwrap().split('_').count())
        .sum();
    assert_eq!(entries, 50, "every recipient is found again");

    let mut sent = outgoing(&["x@dest.example"]);
    sent.metadata = [
        ("Order Id", "1"),
        ("order_id", "2"),
        ("a-name-that-is-too-long", "3"),
        ("malote-message", "forged"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    sent.metadata.insert("long".into(), "v".repeat(81));
    let (_, body) = request_of(&sent).await;
    let metadata = body["Metadata"].as_object().unwrap();
    let names: Vec<&str> = metadata.keys().map(String::as_str).collect();
    assert_eq!(names, ["malote-message", "malote-to-0", "order_id"]);
    assert_eq!(metadata["malote-message"], sent.message.simple());
}

async fn refusal(message: &Outgoing) -> (Verdict, String) {
    let peer = Responder::start(vec![Act::Close]).await;
    let report = provider(&peer.url()).send(message).await;
    assert!(peer.texts().is_empty(), "nothing may be sent");
    let error = report[0].clone().unwrap_err();
    (error.verdict, error.reply.text().to_owned())
}

#[tokio::test]
async fn what_the_service_would_refuse_is_refused_before_it_is_sent() {
    let head = "From: a@shop.example\nTo: x@dest.example\n";
    let file = STANDARD.encode(vec![7_u8; 8_000_000]);
    let lines: Vec<&str> = file
        .as_bytes()
        .chunks(76)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    let large = format!(
        "{head}Content-Type: multipart/mixed; boundary=m\n\n--m\n\nhi\n--m\n\
         Content-Type: application/pdf\nContent-Disposition: attachment; filename=a.pdf\n\
         Content-Transfer-Encoding: base64\n\n{}\n--m--\n",
        lines.join("\n")
    );
    let here = Verdict::Rejected(Fault::MessageHere);
    for (what, to, text, verdict) in [
        (
            "no text",
            vec!["x@dest.example"],
            format!("{head}\n"),
            &here,
        ),
        (
            "a long text",
            vec!["x@dest.example"],
            format!("{head}\n{}", "seventy octets or so\n".repeat(300_000)),
            &here,
        ),
        ("a large file", vec!["x@dest.example"], large, &here),
        (
            "a report",
            vec!["x@dest.example"],
            format!("{head}Content-Type: message/delivery-status\n\nx\n"),
            &here,
        ),
        (
            "a quoted local part",
            vec!["\"x y\"@dest.example"],
            format!("{head}\nhi\n"),
            &here,
        ),
        (
            "a quoted local part in a group",
            vec!["\"x y\"@dest.example", "b@dest.example"],
            format!("{head}\nhi\n"),
            &Verdict::Ungroup,
        ),
        (
            "hidden recipients only",
            vec!["y@dest.example", "z@dest.example"],
            format!("{head}\nhi\n"),
            &Verdict::Ungroup,
        ),
    ] {
        let (found, why) = refusal(&message(&to, &text)).await;
        assert_eq!(&found, verdict, "{what}: {why}");
        assert!(!why.is_empty(), "{what}");
    }
}

#[tokio::test]
async fn the_peers_behaviour_becomes_a_verdict() {
    for (what, act, expected) in [
        ("good", answer("200 OK", "", OK), Ok("b7bc2f4a".to_owned())),
        (
            "refused in a success",
            answer("200 OK", "", r#"{"ErrorCode":405,"Message":"no credits"}"#),
            Err(Verdict::QuotaSpent { until: None }),
        ),
        ("hang", Act::Hang, Err(Verdict::Unknown)),
        ("cut", Act::Close, Err(Verdict::Unknown)),
        (
            "cut body",
            Act::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{\"Err".to_vec()),
            Err(Verdict::Unknown),
        ),
        (
            "redirect",
            answer("307 Moved", "Location: http://127.0.0.1:1/\r\n", ""),
            Err(Verdict::Transient),
        ),
        (
            "too fast",
            answer("429 Slow", "Retry-After: 3\r\n", ""),
            Err(Verdict::Throttled {
                after: Some(Duration::from_secs(3)),
            }),
        ),
    ] {
        let peer = Responder::start(vec![act]).await;
        let mut message = outgoing(&["x@dest.example"]);
        message.reply_wait_max = Duration::from_millis(300);
        let report = provider(&peer.url()).send(&message).await;
        let result = report[0].clone();
        let result = result
            .map(|r| r.provider_message_id)
            .map_err(|error| error.verdict);
        assert_eq!(result, expected, "{what}");
    }
}

#[test]
fn faults_of_the_table_name_their_key() {
    let api = "[postmark]\ntransport = 'api'\nserver_token = 'k'\n";
    let smtp = "[postmark]\nserver_token = 'k'\n";
    for (toml, path) in [
        ("[postmark]".to_owned(), "postmark.server_token"),
        (
            "[postmark]\ntransport = 'api'".to_owned(),
            "postmark.server_token",
        ),
        (
            "[postmark]\ntransport = 'api'\nserver_token = 'a b'".to_owned(),
            "postmark.server_token",
        ),
        (
            "[postmark]\nserver_token = 'k'\nserver_token_env = 'K'".to_owned(),
            "postmark.server_token",
        ),
        (
            format!("{api}endpoint = 'http://api.postmarkapp.com'"),
            "postmark.endpoint",
        ),
        (
            format!("{smtp}endpoint = 'https://x.test'"),
            "postmark.endpoint",
        ),
        (
            format!("{api}[pools.a]\nmessage_stream = 'Two Words'"),
            "pools.a.message_stream",
        ),
        (
            format!("{smtp}[pools.a]\nmessage_stream = ''"),
            "pools.a.message_stream",
        ),
        (format!("{api}[pools.a]\nip_pool = 'x'"), "pools.a.ip_pool"),
        (format!("{api}[webhook]"), "webhook.secret"),
        (format!("{smtp}[webhook]"), "webhook.secret"),
    ] {
        let (_, faults) = built(&toml);
        let path = format!("providers.postmark.{path}");
        let is_told = |fault: &ConfigFault| fault.path == path && fault.severity == Severity::Error;
        assert!(faults.iter().any(is_told), "{toml} {faults:?}");
    }
    let unknown = toml::from_str::<ProviderConfig>("[postmark]\napi_key = 'k'").unwrap_err();
    assert!(unknown.to_string().contains("unknown field"), "{unknown}");
}

#[test]
fn smtp_is_what_a_table_without_a_transport_means() {
    let (adapter, faults) = built(
        "[postmark]\nserver_token = 'POSTMARK_API_TEST'\nendpoint = 'smtp://127.0.0.1:2525'\n\
         [pools.a]\nmessage_stream = 'receipts'",
    );
    let provider = adapter.unwrap().provider;
    assert_eq!(provider.kind(), "postmark");
    assert_eq!(provider.capabilities().recipients_max, 50);
    let warns = |fault: &ConfigFault| fault.message.contains("sends none");
    assert!(faults.iter().any(warns), "{faults:?}");
}

#[test]
fn a_stream_by_smtp_wants_to_know_its_host_and_each_host_of_postmark_has_the_list() {
    for (endpoint, stream, warns, has_list) in [
        ("", "outbound", false, true),
        ("", "news", true, true),
        ("smtp://smtp.postmarkapp.com", "receipts", false, true),
        (
            "smtp://smtp-broadcasts.postmarkapp.com",
            "news",
            false,
            true,
        ),
        (
            "smtp://SMTP-Broadcasts.PostmarkApp.com:2525",
            "news",
            false,
            true,
        ),
        ("smtp://notpostmarkapp.com", "news", false, false),
        ("smtp://postmarkapp.com.example", "news", false, false),
        ("smtp://127.0.0.1:2525", "news", false, false),
    ] {
        let place = match endpoint {
            "" => String::new(),
            endpoint => format!("endpoint = '{endpoint}'\n"),
        };
        let (adapter, faults) = built(&format!(
            "[postmark]\nserver_token = 'k'\n{place}[pools.a]\nmessage_stream = '{stream}'"
        ));
        let of_host = |fault: &ConfigFault| {
            fault.path == "providers.postmark.pools.a.message_stream"
                && fault.severity == Severity::Warning
                && fault.message.contains("smtp-broadcasts.postmarkapp.com")
        };
        assert_eq!(faults.iter().any(of_host), warns, "{endpoint} {faults:?}");
        assert_eq!(adapter.unwrap().list.is_some(), has_list, "{endpoint}");
    }
}
