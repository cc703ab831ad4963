//! Whole calls against a scripted peer on loopback.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use malote_core::clock::FixedClock;
use malote_core::fault::{ConfigFault, Severity};
use malote_core::name::ProviderName;
use malote_core::provider::{Provider, SendError, Verdict};

use crate::correlation::tests::outgoing;
use crate::http::responder::{Act, Responder, answer};
use crate::reencode::tests::{contents, unfit_message};
use crate::{Adapter, ProviderConfig, build};

const OK: &str = r#"{"MessageId":"0100-1"}"#;

fn built(toml: &str) -> (Option<Adapter>, Vec<ConfigFault>) {
    let config: ProviderConfig = toml::from_str(toml).unwrap();
    let name = ProviderName::try_from("ses").unwrap();
    let clock = FixedClock("2026-11-22T00:00:00Z".parse().unwrap());
    let mut faults = Vec::new();
    let adapter = build(&name, &config, &(Arc::new(clock) as _), &mut faults);
    (adapter, faults)
}

fn provider(endpoint: &str) -> Arc<dyn Provider> {
    let (adapter, faults) = built(&format!(
        "[ses]\nregion = 'us-east-1'\nendpoint = '{endpoint}'\n\
         access_key_id = 'AKIAIOSFODNN7EXAMPLE'\nsecret_access_key = 'wJalr'\n\
         [pools.tx]\nconfiguration_set = 'transactional'\n"
    ));
    assert!(
        faults
            .iter()
            .all(|fault| fault.severity == Severity::Warning),
        "{faults:?}"
    );
    adapter.unwrap().provider
}

async fn verdict_after(act: Act) -> Result<String, Verdict> {
    let peer = Responder::start(vec![act]).await;
    let mut message = outgoing(&["a@x.test", "b@x.test"]);
    message.reply_wait_max = Duration::from_millis(300);
    let report = provider(&peer.url()).send(&message).await;
    assert_eq!(report.len(), 2, "one result per recipient");
    assert_eq!(report[0], report[1]);
    let short = |error: SendError| error.verdict;
    report[0]
        .clone()
        .map(|receipt| receipt.provider_message_id)
        .map_err(short)
}

#[tokio::test]
async fn the_peers_behaviour_becomes_a_verdict() {
    let gzip = "Content-Encoding: gzip\r\n";
    let mut flood = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n".to_vec();
    flood.resize(1_200_000, b'{');
    for (what, act, expected) in [
        ("good", answer("200 OK", "", OK), Ok("0100-1".to_owned())),
        ("empty", answer("200 OK", "", ""), Err(Verdict::Unknown)),
        ("hang", Act::Hang, Err(Verdict::Unknown)),
        ("cut", Act::Close, Err(Verdict::Unknown)),
        (
            "cut body",
            Act::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{\"Mess".to_vec()),
            Err(Verdict::Unknown),
        ),
        ("flood", Act::WriteAndHang(flood), Err(Verdict::Unknown)),
        (
            "compressed",
            answer("200 OK", gzip, OK.get(..9).unwrap()),
            Err(Verdict::Unknown),
        ),
        (
            "redirect",
            answer("307 Moved", "Location: http://127.0.0.1:1/\r\n", ""),
            Err(Verdict::Transient),
        ),
        (
            "not HTTP",
            Act::Write(b"220 mail ESMTP\r\n".to_vec()),
            Err(Verdict::Unknown),
        ),
        (
            "own 500",
            answer(
                "500 Oops",
                "x-amzn-ErrorType: InternalServiceError\r\n",
                "{}",
            ),
            Err(Verdict::Transient),
        ),
    ] {
        assert_eq!(verdict_after(act).await, expected, "{what}");
    }
}

#[tokio::test]
async fn nobody_listening_is_transient() {
    let peer = Responder::start(vec![Act::Close]).await;
    let url = peer.url();
    drop(peer);
    tokio::task::yield_now().await;
    let report = provider(&url).send(&outgoing(&["a@x.test"])).await;
    assert_eq!(report[0].as_ref().unwrap_err().verdict, Verdict::Transient);
}

#[tokio::test]
async fn the_request_is_signed_and_names_the_pools_configuration_set() {
    let peer = Responder::start(vec![answer("200 OK", "", OK)]).await;
    provider(&peer.url()).send(&outgoing(&["a@x.test"])).await;
    let request = peer.texts().remove(0);
    assert!(
        request.starts_with("POST /v2/email/outbound-emails HTTP/1.1\r\n"),
        "{request}"
    );
    let lower = request.to_lowercase();
    assert!(lower.contains("authorization: aws4-hmac-sha256 credential=akiaiosfodnn7example/20261122/us-east-1/ses/aws4_request"));
    assert!(lower.contains("x-amz-date: 20261122t000000z"));
    assert!(request.contains(r#""ConfigurationSetName":"transactional""#));
}

#[tokio::test]
async fn lines_that_are_too_long_and_8_bit_text_leave_encoded() {
    let peer = Responder::start(vec![answer("200 OK", "", OK)]).await;
    let mut sent = outgoing(&["a@x.test"]);
    sent.body = unfit_message();
    assert!(provider(&peer.url()).send(&sent).await[0].is_ok());
    let request = peer.texts().remove(0);
    let (_, json) = request.split_once("\r\n\r\n").unwrap();
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    let data = json["Content"]["Raw"]["Data"].as_str().unwrap();
    let message = STANDARD.decode(data).unwrap();
    let mut lines = message.split(|octet| *octet == b'\n');
    assert!(lines.all(|line| line.len() <= 999) && message.is_ascii());
    assert_eq!(contents(&message), contents(&sent.body));
}

#[tokio::test]
async fn a_clock_that_is_off_is_corrected_once_and_remembered() {
    let skewed = answer(
        "403 Forbidden",
        "x-amzn-ErrorType: RequestTimeTooSkewed\r\nDate: Sun, 22 Nov 2026 01:00:00 GMT\r\n",
        "{}",
    );
    let good = answer("200 OK", "", OK);
    let peer = Responder::start(vec![skewed.clone(), good]).await;
    let ses = provider(&peer.url());
    assert!(ses.send(&outgoing(&["a@x.test"])).await[0].is_ok());
    assert!(ses.send(&outgoing(&["a@x.test"])).await[0].is_ok());
    let dates: Vec<bool> = peer
        .texts()
        .iter()
        .map(|r| r.contains("20261122T010000Z"))
        .collect();
    assert_eq!(dates, [false, true, true]);

    let peer = Responder::start(vec![skewed]).await;
    let report = provider(&peer.url()).send(&outgoing(&["a@x.test"])).await;
    assert_eq!(
        report[0].as_ref().unwrap_err().verdict,
        Verdict::ProviderUnusable
    );
    assert_eq!(peer.texts().len(), 2, "one retry and no more");
}

#[tokio::test]
async fn a_check_learns_the_account_and_never_says_unknown() {
    let body = include_str!("../../../testdata/ses_get_account_2026.json");
    let peer = Responder::start(vec![answer("200 OK", "", body)]).await;
    let account = provider(&peer.url()).check().await.unwrap();
    assert_eq!(account.per_second, Some(14.0));
    let request = peer.texts().remove(0);
    assert!(request.starts_with("GET /v2/email/account HTTP/1.1\r\n"));
    let peer = Responder::start(vec![Act::Close]).await;
    let error = provider(&peer.url()).check().await.unwrap_err();
    assert_eq!(error.verdict, Verdict::Transient);
}

#[test]
fn faults_of_the_table_name_their_key() {
    for (toml, path) in [
        ("[ses]", "providers.ses.ses.region"),
        ("[ses]\nregion = 'us east'", "providers.ses.ses.region"),
        (
            "[ses]\nregion = 'us-east-1'\nendpoint = 'http://ses.example.com'",
            "providers.ses.ses.endpoint",
        ),
        (
            "[ses]\nregion = 'us-east-1'\naccess_key_id = 'AKIA'",
            "providers.ses.ses.access_key_id",
        ),
        (
            "[ses]\nregion = 'us-east-1'\nsecret_access_key_env = 'MALOTE_NOT_SET'",
            "providers.ses.ses.secret_access_key_env",
        ),
        (
            "[ses]\nregion = 'us-east-1'\n[pools.a]\nconfiguration_set = 'a b'",
            "providers.ses.pools.a.configuration_set",
        ),
    ] {
        let (adapter, faults) = built(toml);
        assert!(adapter.is_none(), "{toml}");
        assert!(
            faults.iter().any(|fault| fault.path == path),
            "{toml} {faults:?}"
        );
    }
}
