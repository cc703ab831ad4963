//! What a service adds, on the wire: fields before the message, its answers, tokens at login.

use malote_core::name::ProviderName;
use malote_core::provider::Fault;
use malote_core::secret::Secret;

use super::server::{ALL, Server, Step, hello, message, say, script, taken};
use super::*;
use crate::http::responder::{Responder, answer};
use crate::smtp::{Native, Preset, build, build_native};
use crate::{Adapter, ProviderConfig};

/// The adapter of these tables, which have no fault.
fn adapter(tables: &str) -> Adapter {
    let config: ProviderConfig = toml::from_str(tables).unwrap();
    let name = ProviderName::try_from("a").unwrap();
    let mut faults = Vec::new();
    let table = config.smtp.as_ref().unwrap();
    let adapter = build(&name, table, &config, &clock(), &mut faults);
    adapter.unwrap_or_else(|| panic!("{faults:?}"))
}

async fn sent(adapter: &Adapter, outgoing: &Outgoing) -> Result<String, Verdict> {
    let sent = tokio::time::timeout(DEADLINE, adapter.provider.send(outgoing));
    results(sent.await.expect("a send ends by itself")).remove(0)
}

#[tokio::test]
async fn fields_go_before_the_message_and_count_in_its_size() {
    let server = Server::start(vec![script([hello(&ALL), message(), vec![taken("Q")]])]).await;
    let adapter = adapter(&format!(
        "smtp = {{ preset = 'sendgrid', host = '127.0.0.1', port = {}, tls = 'none' }}\n\
         pools.bulk.ip_pool_name = 'news'\npools.bulk.headers = {{ X-Pool = 'b' }}",
        server.port
    ));
    assert_eq!(
        sent(&adapter, &outgoing(&["x@dest.example"])).await,
        Ok("Q".to_owned())
    );
    let heard = server.heard().remove(0);
    let data = String::from_utf8(heard.data[0].clone()).unwrap();
    let (front, rest) = data.split_once("From: ").unwrap();
    assert!(
        front.starts_with("X-Pool: b\r\nX-SMTPAPI: {\"ip_pool\":\"news\",\r\n"),
        "{front}"
    );
    assert_eq!(
        format!("From: {rest}"),
        format!("{}.\r\n", BODY.replace("\r\n.hi", "\r\n..hi"))
    );
    let octets = front.len() + BODY.len();
    let mail = heard
        .lines
        .iter()
        .find(|line| line.starts_with("MAIL"))
        .unwrap();
    assert!(mail.contains(&format!(" SIZE={octets}")), "{mail} {octets}");
}

#[tokio::test]
async fn a_message_that_only_the_fields_make_too_large_is_refused_here() {
    let size = format!("SIZE {}", BODY.len() + 10);
    let server = Server::start(vec![hello(&[&size])]).await;
    let adapter = adapter(&format!(
        "smtp = {{ preset = 'postmark', host = '127.0.0.1', port = {}, tls = 'none' }}",
        server.port
    ));
    let expected = Err(Verdict::Rejected(Fault::MessageHere));
    assert_eq!(
        sent(&adapter, &outgoing(&["x@dest.example"])).await,
        expected
    );
}

#[tokio::test]
async fn a_client_cannot_choose_a_pool_by_its_private_field() {
    let server = Server::start(vec![script([hello(&ALL), message(), vec![taken("Q")]])]).await;
    let adapter = adapter(&format!(
        "smtp = {{ preset = 'exim', host = '127.0.0.1', port = {}, tls = 'none' }}\n\
         pools.bulk.headers = {{ X-Pool = 'bulk' }}",
        server.port
    ));
    let mut message = outgoing(&["x@dest.example"]);
    message.body = format!("x-pool: tx\r\n{BODY}").into();
    assert_eq!(sent(&adapter, &message).await, Ok("Q".to_owned()));
    let data = String::from_utf8(server.heard()[0].data[0].clone()).unwrap();
    assert!(data.starts_with("X-Pool: bulk\r\nFrom: "), "{data}");
    assert!(!data.contains("tx"), "{data}");
}

#[tokio::test]
async fn a_services_own_words_decide_at_login_and_at_the_final_dot() {
    let ends = |answer: &str| script([hello(&ALL), message(), vec![say(answer)]]);
    let quota = Verdict::QuotaSpent { until: None };
    for (preset, steps, verdict) in [
        (
            "mailtrap",
            vec![say("535 5.7.8 Too many connections per account\r\n")],
            Verdict::Throttled { after: None },
        ),
        (
            "google",
            ends("550 5.4.5 Daily user sending limit exceeded\r\n"),
            quota.clone(),
        ),
        (
            "postal",
            ends("530 From/Sender name is not valid\r\n"),
            Verdict::SenderUnusable,
        ),
        (
            "ses",
            ends("454 Throttling failure: Daily message quota exceeded\r\n"),
            quota,
        ),
    ] {
        let server = Server::start(vec![steps]).await;
        let region = if preset == "ses" {
            "region = 'us-east-1', "
        } else {
            ""
        };
        let adapter = adapter(&format!(
            "smtp = {{ preset = '{preset}', {region}host = '127.0.0.1', port = {}, tls = 'none' }}",
            server.port
        ));
        assert_eq!(
            sent(&adapter, &outgoing(&["x@dest.example"])).await,
            Err(verdict),
            "{preset}"
        );
    }
}

#[tokio::test]
async fn a_native_kind_speaks_its_services_dialect() {
    let offers = ["PIPELINING", "AUTH PLAIN"];
    let auth = vec![Step::Hear, say("235 2.7.0 ok\r\n")];
    let steps = script([hello(&offers), auth, message(), vec![taken("Q")]]);
    let server = Server::start(vec![steps]).await;
    let endpoint = format!("smtp://127.0.0.1:{}", server.port);
    let native = Native {
        preset: Preset::Postmark,
        region: None,
        endpoint: Some(&endpoint),
        user: None,
        password: Secret::new("token"),
    };
    let config: ProviderConfig = toml::from_str("pools.bulk.message_stream = 'news'").unwrap();
    let name = ProviderName::try_from("a").unwrap();
    let mut faults = Vec::new();
    let at = "providers.a.postmark";
    let adapter = build_native(&name, at, native, &config, &clock(), &mut faults).unwrap();
    assert_eq!(adapter.provider.kind(), "postmark");
    assert!(!adapter.provider.capabilities().envelope_sender);
    assert_eq!(
        sent(&adapter, &outgoing(&["x@dest.example"])).await,
        Ok("Q".to_owned())
    );
    let heard = server.heard().remove(0);
    assert!(
        heard
            .lines
            .contains(&"AUTH PLAIN AHRva2VuAHRva2Vu".to_owned()),
        "{:?}",
        heard.lines
    );
    assert!(heard.data[0].starts_with(b"X-PM-Message-Stream: news\r\nX-PM-KeepID: true\r\n"));
}

/// A server that offers `mechanism` and answers the logins so.
fn logins(mechanism: &str, answers: &[&str]) -> Vec<Step> {
    let offer = format!("AUTH PLAIN {mechanism}");
    let mut steps = hello(&["PIPELINING", &offer]);
    for answer in answers {
        steps.extend([Step::Hear, say(answer)]);
    }
    steps
}

fn mailbox(smtp_port: u16, token_url: &str) -> String {
    format!(
        "[smtp]\npreset = 'google'\nhost = '127.0.0.1'\nport = {smtp_port}\ntls = 'none'\nuser = 'u@shop.example'\n\
         [smtp.oauth2]\ntoken_url = '{token_url}'\nclient_id = 'c'\nrefresh_token = 'R3fresh'"
    )
}

fn token(text: &str) -> crate::http::responder::Act {
    let body = format!("{{\"access_token\":\"{text}\",\"expires_in\":3600}}");
    answer("200 OK", "", &body)
}

const REFUSED: [&str; 2] = ["334 eyJzdGF0dXMiOiI0MDEifQ==\r\n", "535 5.7.8 no\r\n"];

#[tokio::test]
async fn a_token_is_shown_at_login_and_a_refused_one_replaced_once() {
    let ok = "235 2.7.0 Accepted\r\n";
    for (mechanism, answers, shown) in [
        ("XOAUTH2", vec![ok], vec!["T1"]),
        ("OAUTHBEARER", vec![ok], vec!["T1"]),
        (
            "XOAUTH2",
            vec![REFUSED[0], REFUSED[1], ok],
            vec!["T1", "T2"],
        ),
        (
            "OAUTHBEARER",
            vec![REFUSED[0], REFUSED[1], ok],
            vec!["T1", "T2"],
        ),
        ("XOAUTH2", vec![REFUSED[1], ok], vec!["T1", "T2"]),
    ] {
        let id = Responder::start(vec![token("T1"), token("T2")]).await;
        let steps = script([logins(mechanism, &answers), message(), vec![taken("Q")]]);
        let server = Server::start(vec![steps]).await;
        let adapter = adapter(&mailbox(server.port, &id.url()));
        let result = sent(&adapter, &outgoing(&["x@dest.example"])).await;
        // Google's answer has no id of its events: the message's own.
        assert_eq!(result, Ok("own@x".to_owned()), "{mechanism} {answers:?}");
        let lines = server.heard().remove(0).lines;
        let start = format!("AUTH {mechanism} ");
        let tokens: Vec<String> = lines
            .iter()
            .filter_map(|l| l.strip_prefix(&start))
            .map(bearer)
            .collect();
        assert_eq!(tokens, shown, "{lines:?}");
        assert_eq!(id.texts().len(), shown.len());
    }
}

/// The token in a login's answer.
fn bearer(response: &str) -> String {
    use base64::Engine as _;
    let response = base64::engine::general_purpose::STANDARD
        .decode(response)
        .unwrap();
    let response = String::from_utf8(response).unwrap();
    assert!(response.contains("u@shop.example"), "{response:?}");
    let (_, rest) = response.split_once("\u{1}auth=Bearer ").unwrap();
    rest.strip_suffix("\u{1}\u{1}").unwrap().to_owned()
}

#[tokio::test]
async fn a_mailbox_that_takes_no_token_is_out_and_a_silent_endpoint_is_not() {
    let twice = [REFUSED, REFUSED].concat();
    let down = answer("503 Service Unavailable", "", "");
    let withdrawn = answer("400 Bad Request", "", "{\"error\":\"invalid_grant\"}");
    for (steps, tokens, verdict) in [
        (
            logins("XOAUTH2", &twice),
            vec![token("T1"), token("T2")],
            Verdict::ProviderUnusable,
        ),
        (
            logins("XOAUTH2", &[]),
            vec![withdrawn],
            Verdict::ProviderUnusable,
        ),
        (logins("XOAUTH2", &[]), vec![down], Verdict::Transient),
        (
            logins("", &[]),
            vec![token("T1")],
            Verdict::ProviderUnusable,
        ),
        (
            logins("XOAUTH2", &["454 4.7.0 Too many login attempts\r\n"]),
            vec![token("T1")],
            Verdict::Throttled { after: None },
        ),
    ] {
        let id = Responder::start(tokens).await;
        let server = Server::start(vec![steps]).await;
        let adapter = adapter(&mailbox(server.port, &id.url()));
        let outgoing = outgoing(&["x@dest.example"]);
        let sent = tokio::time::timeout(DEADLINE, adapter.provider.send(&outgoing));
        let error = sent.await.unwrap().remove(0).unwrap_err();
        assert_eq!(error.verdict, verdict, "{error:?}");
        let shown = format!("{error:?}");
        assert!(
            !shown.contains("T1") && !shown.contains("R3fresh"),
            "{shown}"
        );
    }
}
