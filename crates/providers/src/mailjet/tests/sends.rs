//! Whole calls against a scripted peer on loopback, and the table of the configuration.

use std::sync::Arc;
use std::time::Duration;

use malote_core::clock::FixedClock;
use malote_core::fault::{ConfigFault, Severity};
use malote_core::name::ProviderName;
use malote_core::provider::{Fault, Outgoing, Provider, Verdict};
use serde_json::{Value, json};

use crate::correlation::tests::outgoing;
use crate::http::responder::{Act, Responder, answer};
use crate::{Adapter, ProviderConfig, build};

pub(super) fn built(toml: &str) -> (Option<Adapter>, Vec<ConfigFault>) {
    let config: ProviderConfig = toml::from_str(toml).unwrap();
    let name = ProviderName::try_from("mailjet").unwrap();
    let clock = FixedClock("2026-11-22T00:00:00Z".parse().unwrap());
    let mut faults = Vec::new();
    let adapter = build(&name, &config, &(Arc::new(clock) as _), &mut faults);
    (adapter, faults)
}

pub(super) fn provider(endpoint: &str) -> Arc<dyn Provider> {
    let (adapter, faults) = built(&format!(
        "[mailjet]\nendpoint = '{endpoint}'\napi_key = 'pub'\nsecret_key = 's3cret'\n"
    ));
    let is_warning = |fault: &ConfigFault| fault.severity == Severity::Warning;
    assert!(faults.iter().all(is_warning), "{faults:?}");
    adapter.unwrap().provider
}

fn success(to: &[&str]) -> String {
    let copy = |(n, email): (usize, &&str)| json!({ "Email": email, "MessageID": n + 1 });
    let copies: Vec<Value> = to.iter().enumerate().map(copy).collect();
    json!({ "Messages": [{ "Status": "success", "To": copies, "Cc": [], "Bcc": [] }] }).to_string()
}

/// The request's head and its only message.
async fn request_of(message: &Outgoing) -> (String, Value) {
    let to: Vec<&str> = message
        .recipients
        .iter()
        .map(|r| r.address.as_str())
        .collect();
    let peer = Responder::start(vec![answer("200 OK", "", &success(&to))]).await;
    let report = provider(&peer.url()).send(message).await;
    assert!(report.iter().all(Result::is_ok), "{report:?}");
    let request = peer.texts().remove(0);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body.as_object().unwrap().len(), 1, "Messages and no more");
    assert_eq!(body["Messages"].as_array().unwrap().len(), 1);
    (head.to_owned(), body["Messages"][0].take())
}

fn message(to: &[&str], text: &str) -> Outgoing {
    Outgoing {
        body: text.replace('\n', "\r\n").into(),
        ..outgoing(to)
    }
}

const MIXED: &str = "\
From: \"Shop, Inc\" <news@shop.example>
Sender: robot@shop.example
To: =?utf-8?q?Jos=C3=A9?= <a@x.test>, b@x.test
Cc: c@x.test
Reply-To: help@shop.example
Subject: =?utf-8?q?Ol=C3=A1?=
Date: Sun, 22 Nov 2026 00:00:00 +0000
Message-ID: <1@shop.example>
List-Id: <shop.example>
List-Unsubscribe: <https://shop.example/u>
List-Unsubscribe-Post: List-Unsubscribe=One-Click
X-Mailer: shop
User-Agent: shop
X-MJ-TemplateID: 7
X-Mailjet-Prio: 2
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=m

--m
Content-Type: multipart/related; boundary=r

--r
Content-Type: multipart/alternative; boundary=a

--a
Content-Type: text/plain; charset=utf-8

hi
--a
Content-Type: text/html; charset=utf-8

<p>hi <img src=\"cid:logo@shop\"></p>
--a--
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
    let (head, message) = request_of(&sent).await;
    assert!(head.starts_with("POST /v3.1/send HTTP/1.1\r\n"), "{head}");
    let lower = head.to_lowercase();
    // pub:s3cret
    assert!(
        lower.contains("authorization: basic chvionmzy3jlda=="),
        "{head}"
    );
    assert!(lower.contains("content-type: application/json"));
    let expected = json!({
        "From": { "Email": "news@shop.example", "Name": "Shop, Inc" },
        "To": [{ "Email": "a@x.test", "Name": "José" }, { "Email": "b@x.test" }],
        "Cc": [{ "Email": "c@x.test" }],
        "Bcc": [{ "Email": "d@x.test" }],
        "ReplyTo": { "Email": "help@shop.example" },
        "Subject": "Olá",
        "TextPart": "hi",
        "HTMLPart": "<p>hi <img src=\"cid:logo@shop\"></p>",
        "Attachments": [{
            "ContentType": "application/pdf", "Filename": "contaç.pdf",
            "Base64Content": "JVBERi0=",
        }],
        "InlinedAttachments": [{
            "ContentType": "image/png", "Filename": "logo.png", "Base64Content": "AQID",
            "ContentID": "logo@shop",
        }],
        "Headers": {
            "List-Unsubscribe": "<https://shop.example/u>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        },
        "CustomCampaign": "welcome",
        "CustomID": sent.message.simple(),
        "EventPayload": message["EventPayload"],
    });
    assert_eq!(message, expected, "{message:#}");
    let payload = message["EventPayload"].as_str().unwrap();
    let payload: Value = serde_json::from_str(payload).unwrap();
    assert_eq!(payload["malote-message"], sent.message.simple());
    assert_eq!(
        payload.get("malote-to"),
        None,
        "nobody learns of the hidden one"
    );
    assert_eq!(payload["order"], "42");
}

#[tokio::test]
async fn tag_and_payload_stay_within_bounds() {
    let mut sent = outgoing(&["x@dest.example"]);
    sent.tags = vec![
        "é!".into(),
        format!("a&b {}", "c".repeat(300)),
        "third".into(),
    ];
    for n in 0..20 {
        sent.metadata.insert(format!("k{n}"), "v".repeat(1000));
    }
    sent.metadata
        .insert("malote-message".into(), "forged".into());
    let (_, message) = request_of(&sent).await;
    let campaign = message["CustomCampaign"].as_str().unwrap();
    assert!(campaign.starts_with("ab c") && campaign.len() == 255);
    let payload = message["EventPayload"].as_str().unwrap();
    assert!((2000..=4096).contains(&payload.len()), "{}", payload.len());
    let payload: Value = serde_json::from_str(payload).unwrap();
    assert_eq!(payload["malote-message"], sent.message.simple());
    assert!(payload["malote-to"].as_str().unwrap().starts_with("0-"));
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
    let file = |size: &str, content: &str| {
        format!(
            "{head}Content-Type: multipart/mixed; boundary=m\n\n--m\n\nhi\n--m\n\
             Content-Type: application/pdf\nContent-Disposition: attachment; filename={size}\n\
             Content-Transfer-Encoding: 8bit\n\n{content}\n--m--\n"
        )
    };
    let here = Verdict::Rejected(Fault::MessageHere);
    for (what, to, text, verdict) in [
        (
            "no text",
            vec!["x@dest.example"],
            format!("{head}\n"),
            &here,
        ),
        (
            "two to reply to",
            vec!["x@dest.example"],
            format!("{head}Reply-To: b@shop.example, c@shop.example\n\nhi\n"),
            &here,
        ),
        (
            "a long subject",
            vec!["x@dest.example"],
            format!("{head}Subject: {}\n\nhi\n", "s".repeat(256)),
            &here,
        ),
        (
            "a field twice",
            vec!["x@dest.example"],
            format!("{head}X-A: 1\nx-a: 2\n\nhi\n"),
            &here,
        ),
        (
            "an empty file",
            vec!["x@dest.example"],
            file("empty", ""),
            &here,
        ),
        (
            "a large file",
            vec!["x@dest.example"],
            file("large", &"seventy octets or so\n".repeat(600_000)),
            &here,
        ),
        (
            "a calendar entry",
            vec!["x@dest.example"],
            format!("{head}Content-Type: text/calendar; method=REQUEST\n\nx\n"),
            &here,
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
    let good = success(&["x@dest.example"]);
    for (what, act, expected) in [
        ("good", answer("200 OK", "", &good), Ok("1".to_owned())),
        ("hang", Act::Hang, Err(Verdict::Unknown)),
        ("cut", Act::Close, Err(Verdict::Unknown)),
        (
            "cut body",
            Act::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{\"Mess".to_vec()),
            Err(Verdict::Unknown),
        ),
        (
            "redirect",
            answer("307 Moved", "Location: http://127.0.0.1:1/\r\n", ""),
            Err(Verdict::Transient),
        ),
        (
            "too fast",
            answer("429 Slow", "Retry-After: 3\r\n", "Rate limit exceeded"),
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
    let good = "[mailjet]\napi_key = 'k'\nsecret_key = 's'\n";
    for (toml, path) in [
        ("[mailjet]\nsecret_key = 's'".to_owned(), "mailjet.api_key"),
        ("[mailjet]\napi_key = 'k'".to_owned(), "mailjet.secret_key"),
        (
            "[mailjet]\napi_key = 'k:l'\nsecret_key = 's'".to_owned(),
            "mailjet.api_key",
        ),
        (
            "[mailjet]\napi_key = 'k'\nsecret_key = 's t'".to_owned(),
            "mailjet.secret_key",
        ),
        (
            "[mailjet]\napi_key = 'k'\nsecret_key_file = '/no/such/file'".to_owned(),
            "mailjet.secret_key_file",
        ),
        (
            format!("{good}endpoint = 'http://api.mailjet.com'"),
            "mailjet.endpoint",
        ),
        (format!("{good}[pools.a]\nip_pool = 'x'"), "pools.a.ip_pool"),
        (format!("{good}[webhook]"), "webhook.secret"),
    ] {
        let (_, faults) = built(&toml);
        let path = format!("providers.mailjet.{path}");
        let is_told = |fault: &ConfigFault| fault.path == path && fault.severity == Severity::Error;
        assert!(faults.iter().any(is_told), "{toml} {faults:?}");
    }
    let unknown = toml::from_str::<ProviderConfig>("[mailjet]\ntransport = 'smtp'").unwrap_err();
    assert!(unknown.to_string().contains("unknown field"), "{unknown}");
}
