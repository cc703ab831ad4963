//! Tokens from a token endpoint on loopback, and what a server says to them.

use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::certificates::{Valid, certified};
use crate::http::responder::{Act, Responder, answer};
use crate::smtp::SmtpConfig;
use crate::smtp::tests::clock;

fn table(url: &str, rest: &str) -> OAuth2Config {
    toml::from_str(&format!("token_url = '{url}'\nclient_id = 'c&d'\n{rest}")).unwrap()
}

fn tokens(responder: &Responder, rest: &str) -> Tokens {
    tokens_from(&format!("{}/token", responder.url()), rest)
}

fn tokens_from(url: &str, rest: &str) -> Tokens {
    let mut faults = Vec::new();
    let tokens = table(url, rest).tokens("t", &clock(), &mut faults);
    tokens.unwrap_or_else(|| panic!("{faults:?}"))
}

const REFRESH: &str = "refresh_token = 'R3fresh'\nclient_secret = 'S3cr3t=/'";

fn granted(token: &str, expires_in: u32) -> Act {
    let body = format!(
        "{{\"access_token\":\"{token}\",\"token_type\":\"Bearer\",\"expires_in\":{expires_in}}}"
    );
    answer("200 OK", "Content-Type: application/json\r\n", &body)
}

async fn text(tokens: &Tokens) -> Result<String, SendError> {
    let token = tokens.get().await?;
    Ok(token.text.expose().to_owned())
}

#[tokio::test]
async fn a_token_is_asked_for_as_the_grant_says_and_kept() {
    for (rest, form) in [
        (
            REFRESH,
            "grant_type=refresh%5Ftoken&refresh_token=R3fresh&client_id=c%26d&client_secret=S3cr3t%3D%2F",
        ),
        (
            "refresh_token = 'r'\nscope = 'https://x/.default'",
            "grant_type=refresh%5Ftoken&refresh_token=r&client_id=c%26d&scope=https%3A%2F%2Fx%2F%2Edefault",
        ),
        (
            "grant = 'client_credentials'\nclient_secret = 's'",
            "grant_type=client%5Fcredentials&client_id=c%26d&client_secret=s",
        ),
    ] {
        let responder = Responder::start(vec![granted("T1", 3600)]).await;
        let tokens = tokens(&responder, rest);
        for _ in 0..3 {
            assert_eq!(text(&tokens).await.unwrap(), "T1");
        }
        let requests = responder.texts();
        assert_eq!(requests.len(), 1, "kept");
        let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
        assert_eq!(body, form);
        assert!(head.starts_with("POST /token HTTP/1.1"), "{head}");
        let head = head.to_ascii_lowercase();
        assert!(
            head.contains("content-type: application/x-www-form-urlencoded"),
            "{head}"
        );
    }
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_for_all_who_had_it() {
    let responder = Responder::start(vec![granted("T1", 3600), granted("T2", 3600)]).await;
    let tokens = tokens(&responder, REFRESH);
    let (first, second) = (tokens.get().await.unwrap(), tokens.get().await.unwrap());
    tokens.refused(&first);
    assert_eq!(text(&tokens).await.unwrap(), "T2");
    tokens.refused(&second);
    assert_eq!(text(&tokens).await.unwrap(), "T2", "T1 was refused, not T2");
    assert_eq!(responder.texts().len(), 2);
}

#[tokio::test]
async fn a_token_at_its_end_is_renewed() {
    let responder = Responder::start(vec![granted("T1", 0), granted("T2", 3600)]).await;
    let tokens = tokens(&responder, REFRESH);
    for expected in ["T1", "T2", "T2"] {
        assert_eq!(text(&tokens).await.unwrap(), expected);
    }
}

#[test]
fn tokens_are_renewed_before_their_end_however_it_is_written() {
    for (expires_in, seconds) in [
        (serde_json::json!(3600), 3600),
        (serde_json::json!("3599"), 3599),
        (serde_json::json!(-5), 0),
        (serde_json::json!(1e300), 300),
        (serde_json::json!(i64::MAX), 86_400),
        (serde_json::json!(null), 300),
    ] {
        let life = life(Some(&expires_in));
        assert_eq!(life.as_secs(), seconds, "{expires_in}");
    }
    assert_eq!(life(None), LIFE_UNSAID);
}

#[tokio::test]
async fn a_new_refresh_token_takes_the_olds_place() {
    let body = "{\"access_token\":\"T1\",\"expires_in\":\"0\",\"refresh_token\":\"Newer\"}";
    let responder = Responder::start(vec![answer("200 OK", "", body)]).await;
    let tokens = tokens(&responder, REFRESH);
    text(&tokens).await.unwrap();
    text(&tokens).await.unwrap();
    let requests = responder.texts();
    assert!(
        requests[0].contains("refresh_token=R3fresh&"),
        "{requests:?}"
    );
    assert!(requests[1].contains("refresh_token=Newer&"), "{requests:?}");
}

/// What endpoints answer in place of a token, and what it means.
fn failures() -> Vec<(Act, Verdict)> {
    let refused = |body| answer("400 Bad Request", "", body);
    vec![
        (
            refused(
                "{\"error\":\"invalid_grant\",\"error_description\":\"R3fresh S3cr3t=/ is expired\"}",
            ),
            Verdict::ProviderUnusable,
        ),
        (
            refused("{\"error\":\"invalid_grant\",\"error_description\":null}"),
            Verdict::ProviderUnusable,
        ),
        (
            answer("401 Unauthorized", "", "{\"error\":\"invalid_client\"}"),
            Verdict::ProviderUnusable,
        ),
        (
            refused("{\"error\":\"invalid_scope\"}"),
            Verdict::ProviderUnusable,
        ),
        (
            refused("{\"error\":\"temporarily_unavailable\"}"),
            Verdict::Transient,
        ),
        (refused("<html>"), Verdict::Transient),
        (
            answer("429 Too Many Requests", "", "{\"error\":\"slow\"}"),
            Verdict::Transient,
        ),
        (
            answer(
                "500 Internal Server Error",
                "",
                "{\"error\":\"invalid_grant\"}",
            ),
            Verdict::Transient,
        ),
        (
            answer("302 Found", "Location: http://127.0.0.1:1/\r\n", ""),
            Verdict::Transient,
        ),
        (
            answer("200 OK", "", "{\"token\":\"S3cr3tT0ken\"}"),
            Verdict::Transient,
        ),
        (
            answer(
                "200 OK",
                "",
                "{\"access_token\":\"S3cr3tT0ken\\u0001auth=\"}",
            ),
            Verdict::Transient,
        ),
        (
            answer(
                "200 OK",
                "",
                &format!("{{\"access_token\":\"{}\"}}", "x".repeat(9000)),
            ),
            Verdict::Transient,
        ),
        (answer("200 OK", "", "S3cr3tT0ken"), Verdict::Transient),
        (Act::Close, Verdict::Transient),
    ]
}

#[tokio::test]
async fn what_the_endpoint_refuses_a_human_must_mend_and_what_it_fails_at_passes() {
    for (act, verdict) in failures() {
        let responder = Responder::start(vec![act.clone()]).await;
        let tokens = tokens(&responder, REFRESH);
        let error = text(&tokens).await.unwrap_err();
        assert_eq!(error.verdict, verdict, "{act:?}");
        let shown = format!("{error:?} {tokens:?}");
        for secret in ["R3fresh", "S3cr3t=/", "S3cr3tT0ken"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

#[tokio::test]
async fn an_endpoint_with_a_bad_certificate_gets_no_secret_and_a_human_must_act() {
    let (_, server) = certified("localhost", Valid::Today);
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepted = async {
        let (tcp, _) = listener.accept().await.unwrap();
        acceptor.accept(tcp).await
    };
    let tokens = tokens_from(&format!("https://localhost:{port}/token"), REFRESH);
    let (told, accepted) = tokio::join!(text(&tokens), accepted);
    assert_eq!(told.unwrap_err().verdict, Verdict::ProviderUnusable);
    assert!(accepted.is_err(), "nothing was told under it");
}

#[tokio::test]
async fn many_connections_ask_for_one_token() {
    let responder = Responder::start(vec![granted("T1", 3600)]).await;
    let tokens = tokens(&responder, REFRESH);
    let all = futures_util::future::join_all((0..50).map(|_| text(&tokens))).await;
    assert!(all.into_iter().all(|text| text.unwrap() == "T1"));
    assert_eq!(responder.texts().len(), 1);
}

#[test]
fn faults_of_the_table_are_told_with_their_key() {
    let url = "https://id.example/token";
    for (url, rest, path) in [
        ("", REFRESH, "t.oauth2.token_url"),
        ("http://id.example/token", REFRESH, "t.oauth2.token_url"),
        (url, "", "t.oauth2.refresh_token"),
        (
            url,
            "grant = 'client_credentials'",
            "t.oauth2.client_secret",
        ),
        (
            url,
            "grant = 'client_credentials'\nclient_secret = 's'\nrefresh_token = 'r'",
            "t.oauth2.refresh_token",
        ),
        (
            url,
            "client_id = ''\nrefresh_token = 'r'",
            "t.oauth2.client_id",
        ),
        (
            url,
            "refresh_token_env = 'MALOTE_NOT_SET'",
            "t.oauth2.refresh_token_env",
        ),
    ] {
        let text = if rest.contains("client_id") {
            format!("token_url = '{url}'\n{rest}")
        } else {
            format!("token_url = '{url}'\nclient_id = 'c'\n{rest}")
        };
        let table: OAuth2Config = toml::from_str(&text).unwrap();
        let mut faults = Vec::new();
        assert!(table.tokens("t", &clock(), &mut faults).is_none(), "{text}");
        let errors = faults
            .iter()
            .filter(|f| f.severity == malote_core::fault::Severity::Error);
        let paths: Vec<_> = errors.map(|f| f.path.as_str()).collect();
        assert_eq!(paths, [path], "{text}");
    }
    assert!(toml::from_str::<OAuth2Config>("grant = 'password'").is_err());
}

#[test]
fn debug_shows_no_secret() {
    let text = "oauth2 = { client_secret = 'CANARY', refresh_token = 'CANARY' }\nsecret_access_key = 'CANARY'";
    let table: SmtpConfig = toml::from_str(text).unwrap();
    let shown = format!("{table:?}");
    assert!(!shown.contains("CANARY"), "{shown}");
}
