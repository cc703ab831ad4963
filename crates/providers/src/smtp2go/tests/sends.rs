//! Whole calls against a scripted peer on loopback.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malote_core::provider::{Fault, Outgoing, Verdict};
use serde_json::{Value, json};

use super::provider;
use crate::correlation::tests::outgoing;
use crate::http::responder::{Act, Responder, answer};

const OK: &str = r#"{"request_id":"r","data":{"succeeded":1,"failed":0,"failures":[],"email_id":"1u0SwL-B9zBpi9ffUq-JAB2"}}"#;

/// To x and y, Cc z, an image inside the HTML and a file.
const MESSAGE: &str = "From: =?utf-8?q?S=C3=A1=2C_Ana?= <a@shop.example>\r\n\
To: X <x@dest.example>, y@dest.example\r\nCc: z@dest.example\r\n\
Reply-To: =?utf-8?q?Ol=C3=A1?= <help@shop.example>,\r\n b@shop.example\r\n\
Subject: =?utf-8?b?T2zDoQ==?=\r\n\
Date: Sun, 22 Nov 2026 00:00:00 +0000\r\nMessage-ID: <1@shop.example>\r\n\
List-Unsubscribe: <https://u.example/1>\r\nX-A: 1\r\nX-A: 2\r\nMIME-Version: 1.0\r\n\
Content-Type: multipart/mixed; boundary=m\r\n\r\n\
--m\r\nContent-Type: multipart/related; boundary=r\r\n\r\n\
--r\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<img src=cid:i@x>\r\n\
--r\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\
Content-ID: <i@x>\r\nContent-Disposition: inline; filename=logo.png\r\n\r\nAAEC\r\n--r--\r\n\
--m\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\
Content-Disposition: attachment; filename=a.pdf\r\n\r\nJVBERg==\r\n--m--\r\n";

const SHOWN: [&str; 3] = ["z@dest.example", "x@dest.example", "y@DEST.example"];
const ALL: [&str; 4] = [
    "x@dest.example",
    "y@dest.example",
    "z@dest.example",
    "hidden@dest.example",
];

fn message(body: &str, to: &[&str]) -> Outgoing {
    let mut sent = outgoing(to);
    sent.body = body.to_owned().into();
    sent
}

fn json_of(request: &str) -> Value {
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

#[tokio::test]
async fn a_message_that_names_all_its_recipients_goes_as_it_is() {
    let peer = Responder::start(vec![answer("200 OK", "", OK)]).await;
    let sent = message(MESSAGE, &SHOWN);
    let report = provider(&peer.url()).send(&sent).await;
    let ids = report
        .iter()
        .map(|r| r.as_ref().unwrap().provider_message_id.as_str());
    assert_eq!(ids.collect::<Vec<_>>(), ["1u0SwL-B9zBpi9ffUq-JAB2"; 3]);
    let request = peer.texts().remove(0);
    assert!(request.starts_with("POST /v3/email/mime HTTP/1.1\r\n"));
    let head = request.to_lowercase();
    assert!(head.contains("x-smtp2go-api-key: api-1\r\n"));
    assert!(head.contains("content-type: application/json\r\n"));
    let document = json_of(&request);
    assert_eq!(document.as_object().unwrap().len(), 1);
    let raw = STANDARD
        .decode(document["mime_email"].as_str().unwrap())
        .unwrap();
    let ours = format!("X-Malote-Id: {}\r\n", sent.message.simple());
    assert_eq!(String::from_utf8(raw).unwrap(), format!("{ours}{MESSAGE}"));
}

#[tokio::test]
async fn whoever_is_hidden_or_left_out_makes_it_fields() {
    let peer = Responder::start(vec![answer("200 OK", "", OK)]).await;
    let sent = message(MESSAGE, &ALL);
    let report = provider(&peer.url()).send(&sent).await;
    assert!(report.iter().all(Result::is_ok) && report.len() == 4);
    let request = peer.texts().remove(0);
    assert!(request.starts_with("POST /v3/email/send HTTP/1.1\r\n"));
    let document = json_of(&request);
    let id = sent.message.simple();
    assert_eq!(
        document,
        json!({
            "sender": "\"Sá, Ana\" <a@shop.example>",
            "to": ["X <x@dest.example>", "y@dest.example"],
            "cc": ["z@dest.example"],
            "bcc": ["hidden@dest.example"],
            "subject": "Olá",
            "html_body": "<img src=cid:i@x>",
            "custom_headers": [
                { "header": "Reply-To",
                  "value": "=?utf-8?q?Ol=C3=A1?= <help@shop.example>, b@shop.example" },
                { "header": "List-Unsubscribe", "value": "<https://u.example/1>" },
                { "header": "X-A", "value": "1" },
                { "header": "X-A", "value": "2" },
                { "header": "X-Malote-Id", "value": id },
            ],
            "attachments": [
                { "filename": "a.pdf", "fileblob": "JVBERg==", "mimetype": "application/pdf" },
            ],
            "inlines": [
                { "filename": "i@x", "fileblob": "AAEC", "mimetype": "image/png" },
            ],
        })
    );
    // A second attempt for one of several must not reach the others again.
    let peer = Responder::start(vec![answer("200 OK", "", OK)]).await;
    let again = message(MESSAGE, &ALL[1..2]);
    assert!(provider(&peer.url()).send(&again).await[0].is_ok());
    let document = json_of(&peer.texts()[0]);
    assert_eq!(document["to"], json!(["y@dest.example"]));
    assert_eq!(document["cc"], Value::Null);
    let id = document["custom_headers"][4]["value"].as_str().unwrap();
    assert!(id.starts_with(&format!("{}.0-", again.message.simple())));
}

#[tokio::test]
async fn an_image_that_the_html_shows_is_found_by_it_whatever_it_is_called() {
    let called = MESSAGE.replace("Disposition: inline", "Disposition: attachment");
    let unseen = called.replace("cid:i@x", "cid:other");
    for (body, inlines) in [(called, 1), (unseen, 0)] {
        let peer = Responder::start(vec![answer("200 OK", "", OK)]).await;
        assert!(provider(&peer.url()).send(&message(&body, &ALL)).await[0].is_ok());
        let document = json_of(&peer.texts()[0]);
        let shown = document["inlines"].as_array().map_or(0, Vec::len);
        let attached = document["attachments"].as_array().map_or(0, Vec::len);
        assert_eq!((shown, attached), (inlines, 2 - inlines));
    }
}

#[tokio::test]
async fn what_could_name_somebody_else_is_never_sent_raw() {
    for more in [
        "Resent-To: other@dest.example",
        "To: y@dest.example",
        "Cc: friends: y@dest.example;",
        "Cc: not an address",
    ] {
        let body = format!("From: a@shop.example\r\nTo: x@dest.example\r\n{more}\r\n\r\nhi\r\n");
        let peer = Responder::start(vec![answer("200 OK", "", OK)]).await;
        let sent = message(&body, &ALL[..1]);
        assert!(provider(&peer.url()).send(&sent).await[0].is_ok(), "{more}");
        let request = peer.texts().remove(0);
        assert!(request.starts_with("POST /v3/email/send "), "{more}");
        assert_eq!(json_of(&request)["to"], json!(["x@dest.example"]), "{more}");
    }
}

#[tokio::test]
async fn what_fields_cannot_say_is_left_to_another_target() {
    let peer = Responder::start(vec![answer("200 OK", "", OK)]).await;
    let provider = provider(&peer.url());
    let calendar = MESSAGE.replace("application/pdf", "text/calendar; method=REQUEST");
    let raw_field = MESSAGE.replace("X-A: 1", "X-A: é");
    for (body, refusal) in [
        (calendar, Verdict::Rejected(Fault::MessageHere)),
        (raw_field, Verdict::Rejected(Fault::MessageHere)),
    ] {
        let report = provider.send(&message(&body, &ALL)).await;
        let error = report[0].as_ref().unwrap_err();
        assert_eq!(error.verdict, refusal, "{:?}", error.reply);
    }
    let hidden = provider
        .send(&message(MESSAGE, &["p@dest.example", "q@dest.example"]))
        .await;
    assert_eq!(hidden[1].as_ref().unwrap_err().verdict, Verdict::Ungroup);
    assert!(peer.texts().is_empty());
}

#[tokio::test]
async fn the_peers_behaviour_becomes_a_verdict() {
    let failed = r#"{"request_id":"r","data":{"succeeded":0,"failed":1,"failures":["550 From header sender domain not verified"]}}"#;
    for (what, act, expected) in [
        ("garbage", answer("200 OK", "", "<html>"), Verdict::Unknown),
        ("hang", Act::Hang, Verdict::Unknown),
        ("cut", Act::Close, Verdict::Unknown),
        (
            "cut body",
            Act::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{\"req".to_vec()),
            Verdict::Unknown,
        ),
        (
            "a failure inside a success",
            answer("200 OK", "", failed),
            Verdict::SenderUnusable,
        ),
        (
            "redirect",
            answer("307 Moved", "Location: http://127.0.0.1:1/\r\n", ""),
            Verdict::Transient,
        ),
    ] {
        let peer = Responder::start(vec![act]).await;
        let mut sent = message(MESSAGE, &ALL);
        sent.reply_wait_max = Duration::from_millis(300);
        let report = provider(&peer.url()).send(&sent).await;
        let verdicts: Vec<_> = report
            .iter()
            .map(|r| &r.as_ref().unwrap_err().verdict)
            .collect();
        assert_eq!(verdicts, [&expected; 4], "{what}");
    }
}
