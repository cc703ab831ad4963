//! TLS, STARTTLS and login: nothing said in clear counts, nothing secret is said in clear.

use std::io::Write as _;
use std::sync::Arc;

use tempfile::NamedTempFile;
use tokio_rustls::TlsAcceptor;

use super::server::{ALL, Server, Step, hello, message, say, script, taken};
use super::*;
use crate::certificates::{Valid, certified, server_hello_of_tls_1_0};

/// A certificate for `name`, as a server has it and as an authority's file.
fn certificate(name: &str) -> (TlsAcceptor, NamedTempFile) {
    certificate_valid(name, Valid::Today)
}

fn certificate_valid(name: &str, valid: Valid) -> (TlsAcceptor, NamedTempFile) {
    let (certificate, server) = certified(name, valid);
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(certificate.pem().as_bytes()).unwrap();
    (TlsAcceptor::from(Arc::new(server)), file)
}

fn table(port: u16, tls: &str, authority: &NamedTempFile) -> String {
    let path = authority.path().display();
    format!(
        "host = 'localhost'\nprivate_addresses = true\nport = {port}\ntls = '{tls}'\nca_file = '{path}'\nuser = 'u'\npassword = 'S3cr3tMarker'"
    )
}

const AUTH_OK: &str = "235 2.7.0 welcome\r\n";

fn auth() -> Vec<Step> {
    vec![Step::Hear, say(AUTH_OK)]
}

#[tokio::test]
async fn implicit_tls_and_starttls_carry_login_and_mail() {
    let (acceptor, authority) = certificate("localhost");
    let offers = ["PIPELINING", "AUTH LOGIN PLAIN"];
    let mail = || script([auth(), message(), vec![taken("Q")]]);
    let upgrade = vec![
        Step::Hear,
        say("220 go\r\n"),
        Step::StartTls(acceptor.clone()),
    ];
    let inside = hello(&offers).split_off(1);
    for (tls, steps) in [
        (
            "implicit",
            script([vec![Step::StartTls(acceptor)], hello(&offers), mail()]),
        ),
        (
            "starttls",
            script([hello(&["STARTTLS", "X-CLEAR"]), upgrade, inside, mail()]),
        ),
    ] {
        let server = Server::start(vec![steps]).await;
        let provider = provider_of(&table(server.port, tls, &authority), &[]);
        let report = send(&provider, &outgoing(&["x@x.test"])).await;
        assert_eq!(results(report), [Ok("Q".to_owned())], "{tls}");
        let lines = &server.heard()[0].lines;
        assert!(
            lines.contains(&"AUTH PLAIN AHUAUzNjcjN0TWFya2Vy".to_owned()),
            "{lines:?}"
        );
    }
}

#[tokio::test]
async fn auth_login_is_used_where_plain_is_not_offered() {
    let (acceptor, authority) = certificate("localhost");
    let steps = vec![
        Step::Hear,
        say("334 VXNlcm5hbWU6\r\n"),
        Step::Hear,
        say("334 UGFzc3dvcmQ6\r\n"),
        Step::Hear,
        say(AUTH_OK),
        Step::Hear,
        say("221 bye\r\n"),
    ];
    let server = Server::start(vec![script([
        vec![Step::StartTls(acceptor)],
        hello(&["SIZE 5", "AUTH LOGIN"]),
        steps,
    ])]);
    let server = server.await;
    let provider = provider_of(&table(server.port, "implicit", &authority), &[]);
    let account = provider.check().await.unwrap();
    assert_eq!(
        account.note,
        format!("localhost:{} takes 5 octets, logged in", server.port)
    );
    let lines = &server.heard()[0].lines;
    assert_eq!(
        lines[1..],
        ["AUTH LOGIN", "dQ==", "UzNjcjN0TWFya2Vy", "QUIT"]
    );
}

#[tokio::test]
async fn a_refused_login_takes_the_provider_out_and_is_never_repeated_in_words() {
    let (acceptor, authority) = certificate("localhost");
    for (offers, answer, verdict) in [
        (
            "AUTH PLAIN",
            "535 5.7.8 bad credentials\r\n",
            Verdict::ProviderUnusable,
        ),
        ("AUTH PLAIN", "454 4.7.0 later\r\n", Verdict::Transient),
        (
            "AUTH PLAIN",
            "535 what is AHUAUzNjcjN0TWFya2Vy\r\n",
            Verdict::ProviderUnusable,
        ),
        ("AUTH CRAM-MD5", "", Verdict::ProviderUnusable),
    ] {
        let steps = vec![Step::Hear, say(answer), Step::Hear];
        let tls = vec![Step::StartTls(acceptor.clone())];
        let server = Server::start(vec![script([tls, hello(&[offers]), steps])]).await;
        let provider = provider_of(&table(server.port, "implicit", &authority), &[]);
        let error = provider.check().await.unwrap_err();
        assert_eq!(error.verdict, verdict, "{offers} {answer}");
        let said = format!("{error:?}");
        assert!(
            !said.contains("S3cr3tMarker") && !said.contains("UzNjcjN0"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn answers_given_in_clear_behind_220_are_not_believed() {
    let (acceptor, authority) = certificate("localhost");
    let steps = vec![
        Step::Hear,
        say("220 go\r\n250-evil\r\n250 x\r\n"),
        Step::StartTls(acceptor),
        Step::Hear,
    ];
    let server = Server::start(vec![script([hello(&["STARTTLS"]), steps])]).await;
    let provider = provider_of(&table(server.port, "starttls", &authority), &[]);
    let report = send(&provider, &outgoing(&["x@x.test"])).await;
    let error = report[0].as_ref().unwrap_err();
    assert_eq!(error.verdict, Verdict::Transient);
    assert!(error.reply.text().starts_with("starttls_injection"));
    assert_eq!(server.heard()[0].lines.len(), 2, "EHLO and STARTTLS only");
}

#[tokio::test]
async fn without_tls_neither_login_nor_mail_is_sent() {
    let (_, authority) = certificate("localhost");
    for (offers, answer, verdict) in [
        ("X-NO-TLS", "", Verdict::ProviderUnusable),
        ("STARTTLS", "454 4.7.0 not now\r\n", Verdict::Transient),
        ("STARTTLS", "502 5.5.1 no\r\n", Verdict::ProviderUnusable),
        ("STARTTLS", "220 go\r\n", Verdict::Transient),
    ] {
        let steps = vec![Step::Hear, say(answer), Step::HearOnce];
        let server = Server::start(vec![script([hello(&[offers, "AUTH PLAIN"]), steps])]).await;
        let provider = provider_of(&table(server.port, "starttls", &authority), &[]);
        let report = send(&provider, &outgoing(&["x@x.test"])).await;
        assert_eq!(results(report), [Err(verdict)], "{offers} {answer}");
        let lines = &server.heard()[0].lines;
        assert!(
            !lines
                .iter()
                .any(|l| l.starts_with("AUTH") || l.starts_with("MAIL")),
            "{lines:?}"
        );
    }
}

#[tokio::test]
async fn a_certificate_of_another_name_authority_or_time_is_refused() {
    let (right, _) = certificate("localhost");
    let (other_name, its_authority) = certificate("other.example");
    let (_, other_authority) = certificate("localhost");
    let (expired, same_authority) = certificate_valid("localhost", Valid::Once);
    for (acceptor, authority) in [
        (other_name, &its_authority),
        (right, &other_authority),
        (expired, &same_authority),
    ] {
        let steps = script([vec![Step::StartTls(acceptor)], hello(&ALL), auth()]);
        let server = Server::start(vec![steps]).await;
        let provider = provider_of(&table(server.port, "implicit", authority), &[]);
        let report = send(&provider, &outgoing(&["x@x.test"])).await;
        assert_eq!(results(report), [Err(Verdict::ProviderUnusable)]);
        assert!(server.heard()[0].lines.is_empty());
    }
}

#[tokio::test]
async fn a_server_of_tls_1_0_hears_nothing() {
    let (_, authority) = certificate("localhost");
    let answer = Step::Say(server_hello_of_tls_1_0());
    let steps = vec![Step::HearOnce, answer, Step::HearOnce];
    let server = Server::start(vec![steps]).await;
    let provider = provider_of(&table(server.port, "implicit", &authority), &[]);
    let error = send(&provider, &outgoing(&["x@x.test"]))
        .await
        .remove(0)
        .unwrap_err();
    assert_eq!(error.verdict, Verdict::Transient);
    assert!(error.reply.text().starts_with("the TLS handshake failed"));
}

#[tokio::test]
async fn a_tls_handshake_that_hangs_ends() {
    let (_, authority) = certificate("localhost");
    let server = Server::start(vec![vec![Step::Hang]]).await;
    let provider = provider_of(&table(server.port, "implicit", &authority), &[]);
    let report = send(&provider, &outgoing(&["x@x.test"])).await;
    assert_eq!(results(report), [Err(Verdict::Transient)]);
}
