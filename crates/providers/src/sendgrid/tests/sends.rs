//! Whole calls against a scripted peer on loopback, and the table.

use std::sync::Arc;
use std::time::Duration;

use malote_core::clock::FixedClock;
use malote_core::fault::{ConfigFault, Severity};
use malote_core::name::ProviderName;
use malote_core::provider::{Outgoing, Provider, Verdict};
use serde_json::Value;

use crate::correlation::tests::outgoing;
use crate::http::responder::{Act, Responder, answer};
use crate::{Adapter, ProviderConfig, build};

const ID: &str = "X-Message-Id: abc\r\n";

pub(super) fn built(toml: &str) -> (Option<Adapter>, Vec<ConfigFault>) {
    let config: ProviderConfig = toml::from_str(toml).unwrap();
    let name = ProviderName::try_from("p").unwrap();
    let clock = FixedClock("2026-11-22T00:00:00Z".parse().unwrap());
    let mut faults = Vec::new();
    let adapter = build(&name, &config, &(Arc::new(clock) as _), &mut faults);
    (adapter, faults)
}

pub(super) fn provider(endpoint: &str) -> Arc<dyn Provider> {
    let (adapter, faults) = built(&format!(
        "[sendgrid]\napi_key = 'SG.k3y'\nendpoint = '{endpoint}'\ntransport = 'api'\n\
         on_behalf_of = 'sub1'\n[pools.tx]\nip_pool_name = 'pool-1'\n"
    ));
    let is_warning = |fault: &ConfigFault| fault.severity == Severity::Warning;
    assert!(faults.iter().all(is_warning), "{faults:?}");
    adapter.unwrap().provider
}

fn message(to: &[&str]) -> Outgoing {
    let mut message = outgoing(to);
    message.body =
        "From: a@shop.example\r\nTo: a@x.test, b@x.test\r\nSubject: s\r\n\r\nhi\r\n".into();
    message.reply_wait_max = Duration::from_millis(300);
    message
}

#[tokio::test]
async fn the_peers_behaviour_becomes_a_verdict() {
    let spent = r#"{"errors":[{"message":"Maximum credits exceeded","field":null,"help":null}]}"#;
    for (what, act, expected) in [
        ("good", answer("202 Accepted", ID, ""), Ok("abc".to_owned())),
        (
            "no id",
            answer("202 Accepted", "", ""),
            Err(Verdict::Unknown),
        ),
        (
            "garbage",
            answer("200 OK", "", "<html>"),
            Err(Verdict::Unknown),
        ),
        ("hang", Act::Hang, Err(Verdict::Unknown)),
        ("cut", Act::Close, Err(Verdict::Unknown)),
        (
            "quota",
            answer("401 Unauthorized", "", spent),
            Err(Verdict::QuotaSpent { until: None }),
        ),
        (
            "throttled",
            answer("429 Slow", "Retry-After: 3\r\n", ""),
            Err(Verdict::Throttled {
                after: Some(Duration::from_secs(3)),
            }),
        ),
        (
            "redirect",
            answer("307 Moved", "Location: http://127.0.0.1:1/\r\n", ""),
            Err(Verdict::Transient),
        ),
    ] {
        let peer = Responder::start(vec![act]).await;
        let report = provider(&peer.url())
            .send(&message(&["a@x.test", "b@x.test"]))
            .await;
        assert_eq!(report.len(), 2, "{what}");
        let result = report[1].clone();
        let result = result
            .map(|receipt| receipt.provider_message_id)
            .map_err(|error| error.verdict);
        assert_eq!(result, expected, "{what}");
    }
}

#[tokio::test]
async fn the_request_has_key_subuser_pool_and_recipients() {
    let peer = Responder::start(vec![answer("202 Accepted", ID, "")]).await;
    let report = provider(&peer.url())
        .send(&message(&["a@x.test", "hidden@x.test"]))
        .await;
    assert!(report[0].is_ok(), "{report:?}");
    let request = peer.texts().remove(0);
    assert!(
        request.starts_with("POST /v3/mail/send HTTP/1.1\r\n"),
        "{request}"
    );
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let head = head.to_lowercase();
    for field in [
        "\r\nauthorization: bearer sg.k3y",
        "\r\non-behalf-of: sub1",
        "\r\ncontent-type: application/json",
        "\r\naccept: application/json",
    ] {
        assert!(head.contains(field), "{field} in {head}");
    }
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["ip_pool_name"], "pool-1");
    assert_eq!(body["personalizations"][0]["to"][0]["email"], "a@x.test");
    assert_eq!(
        body["personalizations"][0]["bcc"][0]["email"],
        "hidden@x.test"
    );
    assert!(
        !body.to_string().contains("b@x.test"),
        "not a recipient of this call"
    );
}

#[tokio::test]
async fn a_message_that_fields_cannot_say_is_not_sent() {
    let peer = Responder::start(vec![answer("202 Accepted", ID, "")]).await;
    let mut signed = message(&["a@x.test"]);
    signed.body = "From: a@shop.example\r\nTo: a@x.test\r\nSubject: s\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/signed; boundary=m\r\n\r\n--m\r\n\r\nhi\r\n--m--\r\n"
        .into();
    let report = provider(&peer.url()).send(&signed).await;
    let word = report[0].as_ref().unwrap_err().verdict.as_str();
    assert_eq!(word, "rejected_message_here");
    assert!(peer.texts().is_empty());
}

#[test]
fn smtp_is_the_default_and_needs_the_key_only() {
    let (adapter, _) = built("[sendgrid]\napi_key = 'k'\n[pools.a]\nip_pool_name = 'news'\n");
    let provider = adapter.unwrap().provider;
    assert_eq!(provider.kind(), "sendgrid");
    assert_eq!(
        provider.account_poll_every(),
        None,
        "there is nothing to ask by SMTP"
    );
    let (adapter, faults) =
        built("[sendgrid]\napi_key = 'k'\nregion = 'eu'\nendpoint = 'smtp://127.0.0.1:2525'\n");
    assert!(adapter.is_some(), "{faults:?}");
}

#[test]
fn faults_of_the_table_name_their_key() {
    let good = "[sendgrid]\napi_key = 'k'\n";
    let api = "[sendgrid]\napi_key = 'k'\ntransport = 'api'\n";
    for (toml, path) in [
        (
            "[sendgrid]\ntransport = 'api'".to_owned(),
            "sendgrid.api_key",
        ),
        ("[sendgrid]".to_owned(), "sendgrid.api_key"),
        ("[sendgrid]\napi_key = ''".to_owned(), "sendgrid.api_key"),
        (
            "[sendgrid]\napi_key = \"a\\nb\"\ntransport = 'api'".to_owned(),
            "sendgrid.api_key",
        ),
        (
            format!("{api}endpoint = 'http://api.sendgrid.com'"),
            "sendgrid.endpoint",
        ),
        (
            format!("{api}endpoint = 'smtp://127.0.0.1'"),
            "sendgrid.endpoint",
        ),
        (
            format!("{good}endpoint = 'https://api.sendgrid.com'"),
            "sendgrid.endpoint",
        ),
        (
            format!("{api}on_behalf_of = 'a b'"),
            "sendgrid.on_behalf_of",
        ),
        (format!("{good}on_behalf_of = 'a'"), "sendgrid.on_behalf_of"),
        (
            format!("{api}[pools.a]\nip_pool_name = 'x'"),
            "pools.a.ip_pool_name",
        ),
        (
            format!("{good}[pools.a]\nip_pool_name = 'x'"),
            "pools.a.ip_pool_name",
        ),
        (format!("{api}[webhook]"), "webhook.public_key"),
        (format!("{good}[webhook]"), "webhook.public_key"),
    ] {
        let (adapter, faults) = built(&toml);
        assert!(adapter.is_none(), "{toml}");
        let path = format!("providers.p.{path}");
        assert!(
            faults.iter().any(|fault| fault.path == path),
            "{toml} {faults:?}"
        );
    }
    let unknown = toml::from_str::<ProviderConfig>("[sendgrid]\napi_kex = 'k'");
    assert!(unknown.unwrap_err().to_string().contains("api_kex"));
}
