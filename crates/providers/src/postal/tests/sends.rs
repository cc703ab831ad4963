//! Whole calls against a scripted peer on loopback, and the table of the configuration.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malote_core::clock::FixedClock;
use malote_core::fault::{ConfigFault, Severity};
use malote_core::name::ProviderName;
use malote_core::provider::{About, Outgoing, Provider, Verdict};
use serde_json::{Value, json};

use crate::correlation::tests::outgoing;
use crate::http::responder::{Act, Responder, answer};
use crate::{Adapter, ProviderConfig, build};

const OK: &str = r#"{"status":"success","time":0.02,"flags":{},"data":{"message_id":"a@rp","messages":{"x@dest.example":{"id":37171,"token":"t"},"hidden@dest.example":{"id":37172,"token":"u"}}}}"#;
const UNKNOWN_KEY: &str = r#"{"status":"error","time":0.0,"flags":{},"data":{"message":"The API token provided in X-Server-API-Key was not valid.","token":"k3y","code":"InvalidServerAPIKey"}}"#;

fn built(toml: &str) -> (Option<Adapter>, Vec<ConfigFault>) {
    let config: ProviderConfig = toml::from_str(toml).unwrap();
    let name = ProviderName::try_from("own").unwrap();
    let clock = FixedClock("2026-11-22T00:00:00Z".parse().unwrap());
    let mut faults = Vec::new();
    let adapter = build(&name, &config, &(Arc::new(clock) as _), &mut faults);
    (adapter, faults)
}

fn provider(endpoint: &str) -> Arc<dyn Provider> {
    let (adapter, faults) = built(&format!(
        "[postal]\nserver_key = 'k3y'\nendpoint = '{endpoint}'\n"
    ));
    let is_warning = |fault: &ConfigFault| fault.severity == Severity::Warning;
    assert!(faults.iter().all(is_warning), "{faults:?}");
    adapter.unwrap().provider
}

const MESSAGE: &str = "From: A <a@shop.example>\r\nTo: x@dest.example\r\n\
Subject: =?utf-8?b?T2zDoQ==?=\r\n\r\nhi\r\n";

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
async fn the_request_has_the_envelope_and_the_message_as_it_is() {
    let peer = Responder::start(vec![answer("200 OK", "", OK)]).await;
    let sent = message(MESSAGE, &["hidden@dest.example", "x@dest.example"]);
    let report = provider(&peer.url()).send(&sent).await;
    let ids = report
        .iter()
        .map(|r| r.as_ref().unwrap().provider_message_id.as_str());
    assert_eq!(ids.collect::<Vec<_>>(), ["37172", "37171"]);
    let request = peer.texts().remove(0);
    assert!(request.starts_with("POST /api/v1/send/raw HTTP/1.1\r\n"));
    let head = request.to_lowercase();
    assert!(head.contains("x-server-api-key: k3y\r\n"));
    assert!(head.contains("content-type: application/json\r\n"));
    let tag = format!("X-Postal-Tag: {}\r\n", sent.message.simple());
    assert_eq!(
        json_of(&request),
        json!({
            "mail_from": "bounce@shop.example",
            "rcpt_to": ["hidden@dest.example", "x@dest.example"],
            "data": STANDARD.encode(format!("{tag}{MESSAGE}")),
            "bounce": false,
        })
    );
}

#[tokio::test]
async fn a_report_leaves_without_a_return_path() {
    let peer = Responder::start(vec![answer("200 OK", "", OK)]).await;
    let mut sent = message(MESSAGE, &["x@dest.example"]);
    sent.mail_from = None;
    assert!(provider(&peer.url()).send(&sent).await[0].is_ok());
    let document = json_of(&peer.texts()[0]);
    assert_eq!(document["bounce"], true);
    assert_eq!(document["mail_from"], "a@shop.example");
    let data = STANDARD.decode(document["data"].as_str().unwrap()).unwrap();
    let tag = format!("X-Postal-Tag: {}.0-", sent.message.simple());
    assert!(String::from_utf8(data).unwrap().starts_with(&tag));
}

#[tokio::test]
async fn long_lines_are_encoded() {
    let peer = Responder::start(vec![answer("200 OK", "", OK)]).await;
    let body = format!("{MESSAGE}{}\r\n", "x".repeat(2000));
    let sent = message(&body, &["x@dest.example"]);
    assert!(provider(&peer.url()).send(&sent).await[0].is_ok());
    let document = json_of(&peer.texts()[0]);
    let data = STANDARD.decode(document["data"].as_str().unwrap()).unwrap();
    let lines = data.split(|octet| *octet == b'\n');
    assert!(lines.map(<[u8]>::len).max() <= Some(999));
}

#[tokio::test]
async fn the_peers_behaviour_becomes_a_verdict() {
    for (what, act, expected) in [
        ("garbage", answer("200 OK", "", "<html>"), Verdict::Unknown),
        ("hang", Act::Hang, Verdict::Unknown),
        ("cut", Act::Close, Verdict::Unknown),
        (
            "cut body",
            Act::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{\"sta".to_vec()),
            Verdict::Unknown,
        ),
        (
            "a failure inside a success",
            answer("200 OK", "", UNKNOWN_KEY),
            Verdict::ProviderUnusable,
        ),
        (
            "redirect",
            answer("301 Moved", "Location: https://127.0.0.1:1/\r\n", ""),
            Verdict::Transient,
        ),
    ] {
        let peer = Responder::start(vec![act]).await;
        let mut sent = message(MESSAGE, &["x@dest.example", "y@dest.example"]);
        sent.reply_wait_max = Duration::from_millis(300);
        let report = provider(&peer.url()).send(&sent).await;
        let verdicts: Vec<_> = report
            .iter()
            .map(|r| &r.as_ref().unwrap_err().verdict)
            .collect();
        assert_eq!(verdicts, [&expected; 2], "{what}");
    }
}

const NO_ID: &str = r#"{"status":"parameter-error","time":0.0,"flags":{},"data":{"message":"`id` parameter is required but is missing"}}"#;

#[tokio::test]
async fn a_check_tells_a_bad_key_from_a_bad_moment() {
    let suspended = r#"{"status":"error","data":{"code":"ServerSuspended"}}"#;
    for (what, act, expected) in [
        ("good", answer("200 OK", "", NO_ID), Ok(())),
        (
            "bad key",
            answer("200 OK", "", UNKNOWN_KEY),
            Err(Verdict::ProviderUnusable),
        ),
        (
            "suspended",
            answer("200 OK", "", suspended),
            Err(Verdict::ProviderUnusable),
        ),
        (
            "no Postal",
            answer("404 None", "", "<html>"),
            Err(Verdict::ProviderUnusable),
        ),
        (
            "nonsense",
            answer("200 OK", "", "hi"),
            Err(Verdict::Transient),
        ),
        ("down", answer("502 Oops", "", ""), Err(Verdict::Transient)),
        ("cut", Act::Close, Err(Verdict::Transient)),
    ] {
        let peer = Responder::start(vec![act]).await;
        let checked = provider(&peer.url()).check().await;
        let checked = checked.map(|_| ()).map_err(|error| error.verdict);
        assert_eq!(checked, expected, "{what}");
        let request = peer.texts().remove(0);
        assert!(request.starts_with("POST /api/v1/messages/message HTTP/1.1\r\n"));
    }
}

#[tokio::test]
async fn senders_that_are_not_verified_are_found_without_sending() {
    let nobody = r#"{"status":"success","data":{"message_id":null,"messages":{}}}"#;
    let unverified = r#"{"status":"error","data":{"code":"UnauthenticatedFromAddress"}}"#;
    let acts = [nobody, unverified].map(|body| answer("200 OK", "", body));
    let peer = Responder::start(acts.to_vec()).await;
    let senders = ["shop.example", "other.example"].map(str::to_owned);
    let found = provider(&peer.url()).inspect(&senders).await.unwrap();
    let about: Vec<&About> = found.iter().map(|finding| &finding.about).collect();
    assert_eq!(about, [&About::Sender("other.example".to_owned())]);
    let document = json_of(&peer.texts()[1]);
    assert_eq!(document["rcpt_to"], json!([]));
    let data = STANDARD.decode(document["data"].as_str().unwrap()).unwrap();
    assert!(data.starts_with(b"From: postmaster@other.example\r\n"));

    let peer = Responder::start(vec![answer("200 OK", "", UNKNOWN_KEY)]).await;
    let refused = provider(&peer.url()).inspect(&senders).await;
    assert_eq!(refused.unwrap_err().verdict, Verdict::ProviderUnusable);
}

#[test]
fn faults_of_the_table_name_their_key() {
    let good = "[postal]\nserver_key = 'k'\nendpoint = 'https://postal.shop.example'\n";
    assert!(built(good).0.is_some());
    for (toml, path) in [
        (
            "[postal]\nendpoint = 'https://p.example'".to_owned(),
            "postal.server_key",
        ),
        ("[postal]\nserver_key = 'k'".to_owned(), "postal.endpoint"),
        (
            "[postal]\nserver_key = 'a b'\nendpoint = 'https://p.example'".to_owned(),
            "postal.server_key",
        ),
        (
            "[postal]\nserver_key = 'k'\nendpoint = 'http://p.example'".to_owned(),
            "postal.endpoint",
        ),
        (format!("{good}[webhook]"), "webhook.public_key"),
        (
            format!("{good}[pools.a]\nsource_addresses = ['192.0.2.1']"),
            "pools.a.source_addresses",
        ),
    ] {
        let (_, faults) = built(&toml);
        let path = format!("providers.own.{path}");
        let is_told = |fault: &ConfigFault| fault.path == path && fault.severity == Severity::Error;
        assert!(faults.iter().any(is_told), "{toml} {faults:?}");
    }
    let unknown = toml::from_str::<ProviderConfig>("[postal]\nserver_kex = 'k'");
    assert!(unknown.unwrap_err().to_string().contains("server_kex"));
}
