//! What is asked of a server without a message.

use malote_core::provider::{About, Provider as _, SendError};

use super::server::{Server, Step, hello, say, script};
use super::{provider, provider_of};

/// A reply to MAIL, then RSET.
fn asked(reply: &str) -> Vec<Step> {
    vec![Step::Hear, say(reply), Step::Hear, say("250 ok\r\n")]
}

fn quit() -> Vec<Step> {
    vec![Step::Hear, say("221 bye\r\n")]
}

fn senders(domains: &[&str]) -> Vec<String> {
    domains.iter().map(|domain| (*domain).to_owned()).collect()
}

#[tokio::test]
async fn a_sender_domain_that_is_refused_for_good_is_found_by_mail_and_rset_alone() {
    let server = Server::start(vec![script([
        hello(&["PIPELINING"]),
        asked("250 ok\r\n"),
        asked("550 5.7.1 not from here\r\n"),
        asked("451 4.7.1 later\r\n"),
        quit(),
    ])])
    .await;
    let asked_for = senders(&["a.test", "b.test", "c.test", "é.test"]);
    let found = provider(server.port).inspect(&asked_for).await.unwrap();
    let about: Vec<&About> = found.iter().map(|finding| &finding.about).collect();
    assert_eq!(about, [&About::Sender("b.test".to_owned())]);
    assert!(found[0].text.contains("5.7.1 not from here"));
    let lines = server.heard().remove(0).lines;
    let expected = [
        "MAIL FROM:<postmaster@a.test>",
        "RSET",
        "MAIL FROM:<postmaster@b.test>",
        "RSET",
        "MAIL FROM:<postmaster@c.test>",
        "RSET",
        "QUIT",
    ];
    let lines: Vec<&str> = lines.iter().skip(1).map(|line| line.trim_end()).collect();
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn a_server_that_wants_a_login_is_found() {
    let wants = asked("530 5.7.0 Authentication required\r\n");
    let server = Server::start(vec![script([hello(&[]), wants, quit()])]).await;
    let found = provider(server.port).inspect(&senders(&["a.test"])).await;
    assert_eq!(found.unwrap()[0].about, About::Account);
}

#[tokio::test]
async fn a_service_that_judges_elsewhere_is_not_asked() {
    let server = Server::start(Vec::new()).await;
    let table = format!(
        "preset = 'postal'\nhost = '127.0.0.1'\nport = {}\ntls = 'none'\npassword = 'k'",
        server.port
    );
    let found = provider_of(&table, &[])
        .inspect(&senders(&["a.test"]))
        .await;
    assert_eq!(found, Ok(Vec::new()));
    assert!(server.heard().is_empty());
}

#[tokio::test]
async fn a_server_that_goes_away_is_an_error_and_no_finding() {
    let server = Server::start(vec![script([hello(&[]), vec![Step::Hear]])]).await;
    let found = provider(server.port).inspect(&senders(&["a.test"])).await;
    let verdict = found.map_err(|SendError { verdict, .. }| verdict.as_str());
    assert_eq!(verdict, Err("transient"));
}
