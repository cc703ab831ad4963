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

const OK: &str = r#"{"id":"49a3999c-0ce1-4ea6-ab68-afcd6dc2e794"}"#;

fn built(toml: &str) -> (Option<Adapter>, Vec<ConfigFault>) {
    let config: ProviderConfig = toml::from_str(toml).unwrap();
    let name = ProviderName::try_from("p").unwrap();
    let clock = FixedClock("2026-11-22T00:00:00Z".parse().unwrap());
    let mut faults = Vec::new();
    let adapter = build(&name, &config, &(Arc::new(clock) as _), &mut faults);
    (adapter, faults)
}

pub(super) fn provider(endpoint: &str) -> Arc<dyn Provider> {
    let (adapter, faults) = built(&format!(
        "[resend]\napi_key = 're_k3y'\nendpoint = '{endpoint}'\n"
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
    let in_progress = r#"{"statusCode":409,"name":"concurrent_idempotent_requests","message":"x"}"#;
    for (what, act, expected) in [
        (
            "good",
            answer("200 OK", "", OK),
            Ok("49a3999c-0ce1-4ea6-ab68-afcd6dc2e794".to_owned()),
        ),
        ("no id", answer("200 OK", "", "{}"), Err(Verdict::Unknown)),
        (
            "garbage",
            answer("200 OK", "", "<html>"),
            Err(Verdict::Unknown),
        ),
        ("hang", Act::Hang, Err(Verdict::Unknown)),
        ("cut", Act::Close, Err(Verdict::Unknown)),
        (
            "in progress",
            answer("409 Conflict", "", in_progress),
            Err(Verdict::Deferred),
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
async fn the_request_has_key_recipients_and_the_same_idempotency_key_each_time() {
    let peer = Responder::start(vec![answer("200 OK", "", OK)]).await;
    let provider = provider(&peer.url());
    for to in [["a@x.test", "hidden@x.test"], ["a@x.test", "hidden@x.test"]] {
        let report = provider.send(&message(&to)).await;
        assert!(report.iter().all(Result::is_ok), "{report:?}");
    }
    let requests = peer.texts();
    assert_eq!(requests[0], requests[1]);
    let request = &requests[0];
    assert!(
        request.starts_with("POST /emails HTTP/1.1\r\n"),
        "{request}"
    );
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let head = head.to_lowercase();
    let id = message(&["a@x.test"]).message.simple();
    for field in [
        "\r\nauthorization: bearer re_k3y",
        "\r\ncontent-type: application/json",
        "\r\nuser-agent: malote/",
        &format!("\r\nidempotency-key: malote/{id}/"),
    ] {
        assert!(head.contains(field), "{field} in {head}");
    }
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["to"][0], "a@x.test");
    assert_eq!(body["bcc"][0], "hidden@x.test");
    assert!(
        !body.to_string().contains("b@x.test"),
        "not a recipient of this call"
    );
}

#[test]
fn faults_of_the_table_name_their_key() {
    let good = "[resend]\napi_key = 'k'\n";
    for (toml, path) in [
        ("[resend]".to_owned(), "resend.api_key"),
        ("[resend]\napi_key = ''".to_owned(), "resend.api_key"),
        ("[resend]\napi_key = \"a\\nb\"".to_owned(), "resend.api_key"),
        (
            format!("{good}endpoint = 'http://api.resend.com'"),
            "resend.endpoint",
        ),
        (
            format!("{good}[pools.a]\nip_pool_name = 'news'"),
            "pools.a.ip_pool_name",
        ),
        (format!("{good}[webhook]"), "webhook.secret"),
    ] {
        let (adapter, faults) = built(&toml);
        let path = format!("providers.p.{path}");
        assert!(
            faults.iter().any(|fault| fault.path == path),
            "{toml} {faults:?}"
        );
        assert!(adapter.is_none() || path.contains(".pools."), "{toml}");
    }
    let unknown = toml::from_str::<ProviderConfig>("[resend]\nregion = 'eu'");
    assert!(unknown.unwrap_err().to_string().contains("region"));
}
