//! Whole calls against a scripted peer on loopback.

use std::sync::Arc;
use std::time::Duration;

use malote_core::clock::FixedClock;
use malote_core::fault::{ConfigFault, Severity};
use malote_core::name::ProviderName;
use malote_core::provider::{Provider, Verdict};

use crate::correlation::tests::outgoing;
use crate::http::responder::{Act, Responder, answer};
use crate::reencode::tests::{contents, unfit_message};
use crate::{Adapter, ProviderConfig, build};

const OK: &str = r#"{"id":"<1@news.example.com>","message":"Queued. Thank you."}"#;

pub(super) fn built(toml: &str) -> (Option<Adapter>, Vec<ConfigFault>) {
    let config: ProviderConfig = toml::from_str(toml).unwrap();
    let name = ProviderName::try_from("mailgun").unwrap();
    let clock = FixedClock("2026-11-22T00:00:00Z".parse().unwrap());
    let mut faults = Vec::new();
    let adapter = build(&name, &config, &(Arc::new(clock) as _), &mut faults);
    (adapter, faults)
}

fn provider(endpoint: &str) -> Arc<dyn Provider> {
    let (adapter, faults) = built(&format!(
        "[mailgun]\ndomain = 'News.example.com'\nendpoint = '{endpoint}'\napi_key = 'k3y'\n\
         on_behalf_of = 'sub1'\n[pools.tx]\nsending_ip_pool = 'pool-1'\n"
    ));
    assert!(
        faults
            .iter()
            .all(|fault| fault.severity == Severity::Warning),
        "{faults:?}"
    );
    adapter.unwrap().provider
}

#[tokio::test]
async fn the_peers_behaviour_becomes_a_verdict() {
    for (what, act, expected) in [
        (
            "good",
            answer("200 OK", "", OK),
            Ok("1@news.example.com".to_owned()),
        ),
        (
            "wrong path",
            answer("200 OK", "", "Mailgun Magnificent API"),
            Err(Verdict::Unknown),
        ),
        ("hang", Act::Hang, Err(Verdict::Unknown)),
        ("cut", Act::Close, Err(Verdict::Unknown)),
        (
            "cut body",
            Act::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{\"id\"".to_vec()),
            Err(Verdict::Unknown),
        ),
        (
            "refused",
            answer("401 Unauthorized", "", "Forbidden"),
            Err(Verdict::ProviderUnusable),
        ),
        (
            "redirect",
            answer("307 Moved", "Location: http://127.0.0.1:1/\r\n", ""),
            Err(Verdict::Transient),
        ),
    ] {
        let peer = Responder::start(vec![act]).await;
        let mut message = outgoing(&["a@x.test", "b@x.test"]);
        message.reply_wait_max = Duration::from_millis(300);
        let report = provider(&peer.url()).send(&message).await;
        assert_eq!(report.len(), 2, "{what}");
        let result = report[1].clone();
        let result = result
            .map(|r| r.provider_message_id)
            .map_err(|error| error.verdict);
        assert_eq!(result, expected, "{what}");
    }
}

#[tokio::test]
async fn the_request_goes_to_the_domain_with_basic_auth_and_subaccount() {
    let peer = Responder::start(vec![answer("200 OK", "", OK)]).await;
    provider(&peer.url()).send(&outgoing(&["a@x.test"])).await;
    let request = peer.texts().remove(0);
    assert!(request.starts_with("POST /v3/news.example.com/messages.mime HTTP/1.1\r\n"));
    let lower = request.to_lowercase();
    assert!(lower.contains("authorization: basic yxbpomszeq=="));
    assert!(lower.contains("x-mailgun-on-behalf-of: sub1"));
    assert!(request.contains("name=\"o:sending-ip-pool\"\r\n\r\npool-1\r\n"));
}

#[tokio::test]
async fn lines_that_are_too_long_leave_encoded() {
    let peer = Responder::start(vec![answer("200 OK", "", OK)]).await;
    let mut sent = outgoing(&["a@x.test"]);
    sent.body = unfit_message();
    assert!(provider(&peer.url()).send(&sent).await[0].is_ok());
    let request = peer.texts().remove(0);
    let (_, part) = request
        .split_once("Content-Type: message/rfc822\r\n\r\n")
        .unwrap();
    let (message, _) = part.rsplit_once("\r\n--malote-").unwrap();
    assert!(message.lines().all(|line| line.len() <= 998));
    assert_eq!(contents(message.as_bytes()), contents(&sent.body));
}

#[tokio::test]
async fn a_check_tells_keys_and_domains_apart() {
    let known = |state: &str| {
        answer(
            "200 OK",
            "",
            &format!(r#"{{"domain":{{"state":"{state}"}}}}"#),
        )
    };
    let forbidden = answer("401 Unauthorized", "", "Forbidden");
    let missing = answer("400 Bad", "", r#"{"message":"to parameter is missing"}"#);
    let not_found = answer("404 None", "", r#"{"message":"Domain not found: x"}"#);
    for (what, acts, expected) in [
        ("active", vec![known("active")], Ok("")),
        (
            "unverified",
            vec![known("unverified")],
            Ok("the domain is unverified"),
        ),
        (
            "disabled",
            vec![known("disabled")],
            Err(Verdict::ProviderUnusable),
        ),
        (
            "sending key",
            vec![forbidden.clone(), missing],
            Ok("a sending key: the domain's state is not known"),
        ),
        ("bad key", vec![forbidden], Err(Verdict::ProviderUnusable)),
        (
            "other region",
            vec![not_found],
            Err(Verdict::ProviderUnusable),
        ),
        (
            "emulator",
            vec![answer("404 None", "", "<html>")],
            Ok("the endpoint tells nothing of the domain"),
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
    }
}

#[test]
fn faults_of_the_table_name_their_key() {
    let good = "[mailgun]\ndomain = 'x.test'\napi_key = 'k'\n";
    for (toml, path) in [
        (
            "[mailgun]\napi_key = 'k'".to_owned(),
            "providers.mailgun.mailgun.domain",
        ),
        (
            "[mailgun]\ndomain = 'x.test/messages'\napi_key = 'k'".to_owned(),
            "providers.mailgun.mailgun.domain",
        ),
        (
            "[mailgun]\ndomain = 'x.test'".to_owned(),
            "providers.mailgun.mailgun.api_key",
        ),
        (
            "[mailgun]\ndomain = 'x.test'\napi_key = ''".to_owned(),
            "providers.mailgun.mailgun.api_key",
        ),
        (
            format!("{good}endpoint = 'http://api.mailgun.net'"),
            "providers.mailgun.mailgun.endpoint",
        ),
        (
            format!("{good}on_behalf_of = 'a b'"),
            "providers.mailgun.mailgun.on_behalf_of",
        ),
        (
            format!("{good}[pools.a]\nsending_ip_pool = ''"),
            "providers.mailgun.pools.a.sending_ip_pool",
        ),
        (
            format!("{good}[webhook]"),
            "providers.mailgun.webhook.signing_key",
        ),
    ] {
        let (adapter, faults) = built(&toml);
        assert!(adapter.is_none(), "{toml}");
        assert!(
            faults.iter().any(|fault| fault.path == path),
            "{toml} {faults:?}"
        );
    }
}
