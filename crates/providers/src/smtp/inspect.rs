//! Which sender domains a server refuses, as far as it says so before a message: MAIL and RSET, never
//! RCPT or DATA.

use std::net::IpAddr;

use malote_core::provider::{About, Finding, Question, SendError, Unasked, Verdict, bounded};

use super::classify::{Context, Stage};
use super::connect::{Endpoint, transient};
use super::dialect::Dialect;
use super::reply::ServerReply;

/// Most sender domains that one inspection asks about.
const SENDERS_MAX: usize = 100;
/// The mailbox that every domain has (RFC 5321 4.5.1), so that a server which verifies senders
/// refuses the domain and not the mailbox.
const MAILBOX: &str = "postmaster";

/// Asks for each sender domain. An acceptance proves nothing and is no finding: many servers judge
/// at RCPT or behind DATA.
pub(super) async fn inspect(
    endpoint: &Endpoint,
    source: Option<IpAddr>,
    senders: &[String],
) -> Result<Vec<Finding>, SendError> {
    // A domain that is not in ASCII would need SMTPUTF8 (RFC 6531).
    let asked: Vec<&String> = senders.iter().filter(|sender| sender.is_ascii()).collect();
    if !endpoint.dialect.judges_domain_at_mail || asked.is_empty() {
        return Ok(Vec::new());
    }
    let mut link = endpoint.open(source).await?;
    let wait = endpoint.timing.command;
    let mut findings = Vec::new();
    for sender in asked.into_iter().take(SENDERS_MAX) {
        let mail = format!("MAIL FROM:<{MAILBOX}@{sender}>\r\n");
        let reply = link.ask(&mail, wait).await;
        let reply = reply.map_err(|trouble| transient(&format!("MAIL FROM: {trouble}")))?;
        if is_final(endpoint, &reply) {
            findings.push(finding(endpoint, sender, &reply));
        }
        let reset = link.ask("RSET\r\n", wait).await;
        reset.map_err(|trouble| transient(&format!("RSET: {trouble}")))?;
    }
    // A server that hangs up without an answer to QUIT has told all it was asked.
    drop(link.ask("QUIT\r\n", wait).await);
    Ok(findings)
}

/// What is refused for now (RFC 5321 4.2.1) may be a greylist or a moment, unless the service is
/// known to mean the sender by it.
fn is_final(endpoint: &Endpoint, reply: &ServerReply) -> bool {
    let context = Context {
        stage: Stage::MailFrom,
        recipients: 1,
    };
    matches!(reply.code, 500..=599)
        || endpoint.dialect.verdict(context, reply, None) == Verdict::SenderUnusable
}

const SENDERS: Unasked = Unasked {
    question: Question::Senders,
    look_at: "the service's console or the server's settings: it judges a sender only when mail comes",
};
const POOLS: Unasked = Unasked {
    question: Question::Pools,
    look_at: "the service's console: SMTP tells nothing of what there is",
};
const ACCOUNT: Unasked = Unasked {
    question: Question::Account,
    look_at: "the service's console or the server's settings: SMTP tells only that the login is good",
};

/// What SMTP does not tell of this service.
pub(super) const fn unasked(dialect: &Dialect) -> &'static [Unasked] {
    match (dialect.judges_domain_at_mail, dialect.pool_key.is_some()) {
        (true, false) => &[ACCOUNT],
        (true, true) => &[POOLS, ACCOUNT],
        (false, false) => &[SENDERS, ACCOUNT],
        (false, true) => &[SENDERS, POOLS, ACCOUNT],
    }
}

fn finding(endpoint: &Endpoint, sender: &str, reply: &ServerReply) -> Finding {
    // RFC 4954 6: it wants a login before any sender.
    let (about, way_out) = match (reply.code, &endpoint.login) {
        (530, None) => (About::Account, "give user and password"),
        _ => (
            About::Sender(sender.to_owned()),
            "allow the domain there, or send it by another provider",
        ),
    };
    let answer = reply.to_reply();
    let text = format!("MAIL FROM of {sender} is refused with \"{answer}\": {way_out}");
    Finding {
        about,
        text: bounded(&text, 300),
    }
}
