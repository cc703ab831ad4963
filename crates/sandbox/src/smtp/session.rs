//! The state of one SMTP session, without I/O: a line or a message comes in, a step comes out.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::services::{answer, stage};
use super::words::{Act, act, stage_of_recipient};
use crate::config::Kind;
use crate::fault::{Fault, FaultKind, Stage};
use crate::mailbox::Arrival;
use crate::sandbox::Sandbox;

/// Where words name the sender.
const SENDER: &str = "{sender}";
/// Recipients of one message; RFC 5321 4.5.3.1.8 asks for 100 at least.
const RECIPIENTS_MAX: usize = 1_000;

/// What the connection does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Write this and go on.
    Say(String),
    /// Write this; a message follows.
    Listen(String),
    /// Write this and close.
    Close(String),
    /// Say nothing more.
    Hang,
    /// Say this, then read nothing more.
    Deaf(String),
    /// Wait, then write this and go on.
    Late(std::time::Duration, String),
}

/// What the next line is.
enum Expect {
    Command,
    PlainToken,
    LoginUser,
    LoginPassword(String),
}

/// One mail transaction.
struct Transaction {
    mail_from: String,
    params: Vec<(String, String)>,
    recipients: Vec<String>,
    /// The fault that one of the recipients asks for at a later stage.
    fault: Option<Fault>,
}

/// One session.
pub(crate) struct Session {
    sandbox: Sandbox,
    peer: SocketAddr,
    expect: Expect,
    is_greeted: bool,
    is_logged_in: bool,
    transaction: Option<Transaction>,
}

fn say(text: &str) -> Step {
    Step::Say(format!("{text}\r\n"))
}

impl Session {
    pub(crate) fn new(sandbox: Sandbox, peer: SocketAddr) -> Self {
        let is_logged_in = sandbox.config().smtp.login.is_none();
        Self {
            sandbox,
            peer,
            expect: Expect::Command,
            is_greeted: false,
            is_logged_in,
            transaction: None,
        }
    }

    /// How long the answer to a message waits.
    pub(super) fn latency(&self) -> std::time::Duration {
        self.sandbox.mood().latency()
    }

    /// The greeting.
    pub(crate) fn greet(&self) -> Step {
        let hostname = &self.sandbox.config().smtp.hostname;
        self.or_fault(
            Stage::Connect,
            say(&format!("220 {hostname} ESMTP sandbox")),
        )
    }

    /// One line, without its end.
    pub(crate) fn line(&mut self, line: &[u8]) -> Step {
        let Ok(line) = std::str::from_utf8(line) else {
            return say("500 5.5.2 Not UTF-8");
        };
        match std::mem::replace(&mut self.expect, Expect::Command) {
            Expect::Command => self.command(line),
            Expect::PlainToken => self.plain(line),
            Expect::LoginUser => {
                self.expect = Expect::LoginPassword(decoded(line));
                say("334 UGFzc3dvcmQ6")
            }
            Expect::LoginPassword(user) => self.log_in(&user, &decoded(line)),
        }
    }

    /// A message, un-stuffed; `None` when it was over the size.
    pub(crate) fn message(&mut self, raw: Option<Bytes>) -> Step {
        self.sandbox.mailbox().note_send();
        let Some(transaction) = self.transaction.take() else {
            return say("503 5.5.1 No transaction");
        };
        let Some(raw) = raw else {
            return say("552 5.3.4 Message too big");
        };
        if let Some(refused) = self.refused_sender(&transaction.mail_from, Stage::End) {
            return refused;
        }
        let armed = self.armed(Stage::End);
        let fault = armed.or_else(|| self.sandbox.faults().play(transaction.fault.clone()));
        let Some(fault) = fault else {
            return self.take(transaction, raw);
        };
        let mail_from = transaction.mail_from.clone();
        let act = act(self.service(), &fault, Stage::End);
        let ends_well = matches!(fault.kind, FaultKind::Slow | FaultKind::CutReply);
        let usual = match fault.after_take || ends_well || act == Act::Usual {
            true => self.take(transaction, raw),
            false => say(""),
        };
        naming(step(act, usual), SENDER, &mail_from)
    }

    fn command(&mut self, line: &str) -> Step {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => self.ehlo(),
            "HELO" => {
                self.is_greeted = true;
                let hostname = &self.sandbox.config().smtp.hostname;
                self.or_fault(Stage::Ehlo, say(&format!("250 {hostname}")))
            }
            "AUTH" => self.auth(rest),
            "MAIL" => self.mail(rest),
            "RCPT" => self.rcpt(rest),
            "DATA" => self.data(),
            "RSET" => {
                self.transaction = None;
                say("250 2.0.0 Ok")
            }
            "NOOP" => say("250 2.0.0 Ok"),
            "QUIT" => Step::Close("221 2.0.0 Bye\r\n".to_owned()),
            _ => say("500 5.5.1 Unknown command"),
        }
    }

    fn ehlo(&mut self) -> Step {
        self.is_greeted = true;
        self.transaction = None;
        let account = &self.sandbox.config().smtp;
        let mut reply = format!(
            "250-{}\r\n250-PIPELINING\r\n250-SIZE {}\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n",
            account.hostname, account.message_bytes_max
        );
        if account.login.is_some() {
            reply.push_str("250-AUTH PLAIN LOGIN\r\n");
        }
        reply.push_str("250 ENHANCEDSTATUSCODES\r\n");
        self.or_fault(Stage::Ehlo, Step::Say(reply))
    }

    fn auth(&mut self, rest: &str) -> Step {
        let (mechanism, initial) = rest.split_once(' ').unwrap_or((rest, ""));
        match mechanism.to_ascii_uppercase().as_str() {
            "PLAIN" if initial.is_empty() => {
                self.expect = Expect::PlainToken;
                say("334 ")
            }
            "PLAIN" => self.plain(initial),
            "LOGIN" => {
                self.expect = Expect::LoginUser;
                say("334 VXNlcm5hbWU6")
            }
            _ => say("504 5.5.4 Unknown mechanism"),
        }
    }

    fn plain(&mut self, token: &str) -> Step {
        let token = decoded(token);
        let mut parts = token.split('\0').skip(1);
        let user = parts.next().unwrap_or_default();
        self.log_in(user, parts.next().unwrap_or_default())
    }

    fn log_in(&mut self, user: &str, password: &str) -> Step {
        let login = &self.sandbox.config().smtp.login;
        let is_right = login
            .as_ref()
            .is_some_and(|(known, secret)| known == user && secret == password);
        if !is_right {
            let own = answer(self.service(), FaultKind::Status(401)).and_then(|own| own.reply);
            return say(own.unwrap_or("535 5.7.8 Authentication credentials invalid"));
        }
        let step = self.or_fault(Stage::Auth, say("235 2.7.0 Authentication successful"));
        let token = STANDARD.encode(format!("\0{user}\0{password}"));
        let step = naming(step, "{login}", &format!("{token} {user} {password}"));
        self.is_logged_in = matches!(&step, Step::Say(text) if text.starts_with('2'));
        step
    }

    fn mail(&mut self, rest: &str) -> Step {
        if !self.is_greeted || self.transaction.is_some() {
            return say("503 5.5.1 Bad sequence of commands");
        }
        if !self.is_logged_in {
            return say("530 5.7.0 Authentication required");
        }
        let Some((mail_from, params)) = path(rest, "FROM:") else {
            return say("501 5.5.4 Syntax: MAIL FROM:<address>");
        };
        let params = parameters(params);
        let size_max = self.sandbox.config().smtp.message_bytes_max;
        let is_big = |(name, value): &(String, String)| {
            name == "SIZE" && value.parse::<usize>().map_or(true, |size| size > size_max)
        };
        if params.iter().any(is_big) {
            return say("552 5.3.4 Message too big");
        }
        let refused = self.refused_sender(mail_from, Stage::Mail);
        let usual = refused.unwrap_or_else(|| say("250 2.1.0 Ok"));
        let step = self.or_fault(Stage::Mail, usual);
        if matches!(&step, Step::Say(text) | Step::Late(_, text) if text.starts_with('2')) {
            self.transaction = Some(Transaction {
                mail_from: mail_from.to_owned(),
                params,
                recipients: Vec::new(),
                fault: None,
            });
        }
        step
    }

    fn rcpt(&mut self, rest: &str) -> Step {
        let Some((address, _)) = path(rest, "TO:").filter(|(address, _)| address.contains('@'))
        else {
            return say("501 5.1.3 Syntax: RCPT TO:<address>");
        };
        let address = address.to_owned();
        let asked = Fault::of_recipient(&address);
        let service = self.service();
        let usual = self.or_fault(Stage::Rcpt, say("250 2.1.5 Ok"));
        let Some(transaction) = &mut self.transaction else {
            return say("503 5.5.1 MAIL first");
        };
        if transaction.recipients.len() >= RECIPIENTS_MAX {
            return say("452 4.5.3 Too many recipients");
        }
        let is_taken = |step: &Step| matches!(step, Step::Say(text) | Step::Late(_, text) if text.starts_with('2'));
        if !is_taken(&usual) {
            return usual;
        }
        match asked.filter(|_| transaction.fault.is_none()) {
            Some(fault) if stage_of_recipient(service, &fault) == Stage::Rcpt => {
                self.sandbox.faults().play(Some(fault.clone()));
                return step(act(service, &fault, Stage::Rcpt), usual);
            }
            Some(fault) => transaction.fault = Some(fault),
            None => {}
        }
        transaction.recipients.push(address);
        usual
    }

    fn data(&mut self) -> Step {
        let Some(transaction) = &self.transaction else {
            return say("503 5.5.1 MAIL first");
        };
        if transaction.recipients.is_empty() {
            return say("554 5.5.1 No valid recipients");
        }
        let go = "354 End data with <CR><LF>.<CR><LF>\r\n".to_owned();
        let (service, asked) = (self.service(), transaction.fault.clone());
        let is_due = |fault: &Fault| stage_of_recipient(service, fault) == Stage::Data;
        if let Some(fault) = asked.filter(is_due) {
            self.sandbox.faults().play(Some(fault.clone()));
            return step(act(service, &fault, Stage::Data), Step::Listen(go));
        }
        match self.or_fault(Stage::Data, Step::Listen(go)) {
            // The message is not even begun: the transaction is over.
            Step::Say(text) => {
                self.transaction = None;
                Step::Say(text)
            }
            step @ (Step::Listen(_)
            | Step::Close(_)
            | Step::Hang
            | Step::Deaf(_)
            | Step::Late(..)) => step,
        }
    }

    fn take(&self, transaction: Transaction, raw: Bytes) -> Step {
        let arrival = Arrival {
            peer: self.peer,
            mail_from: Some(transaction.mail_from),
            recipients: transaction.recipients,
            pool: None,
            options: transaction.params,
            raw,
            fields: None,
        };
        let at = (self.sandbox.config().clock)();
        let name = |seq| format!("SB{seq:010X}");
        let id = self.sandbox.mailbox().take(arrival, at, name);
        say(&format!("250 2.0.0 Ok: queued as {id}"))
    }

    /// In whose words it answers.
    fn service(&self) -> Option<Kind> {
        self.sandbox.config().smtp.service
    }

    /// The refusal of a sender that the account does not have, if it is told here.
    fn refused_sender(&self, mail_from: &str, at: Stage) -> Option<Step> {
        if mail_from.is_empty() || self.sandbox.config().account.may_send_from(mail_from) {
            return None;
        }
        let Some(own) = answer(self.service(), FaultKind::Sender) else {
            return (at == Stage::Mail).then(|| say("550 5.7.1 Sender domain not allowed"));
        };
        let reply = own.reply.filter(|_| own.stage == at)?;
        Some(naming(say(reply), SENDER, mail_from))
    }

    /// The armed fault that strikes here.
    fn armed(&self, at: Stage) -> Option<Fault> {
        let service = self.service();
        let faults = self.sandbox.faults();
        faults.for_stage(|fault| stage(service, fault) == at)
    }

    fn or_fault(&self, at: Stage, usual: Step) -> Step {
        match self.armed(at) {
            Some(fault) => step(act(self.service(), &fault, at), usual),
            None => usual,
        }
    }
}

/// The same step, in whose words `place` has this name.
fn naming(step: Step, place: &str, name: &str) -> Step {
    match step {
        Step::Say(text) => Step::Say(text.replace(place, name)),
        other
        @ (Step::Listen(_) | Step::Close(_) | Step::Hang | Step::Deaf(_) | Step::Late(..)) => other,
    }
}

/// The step of an act, given what would have been said without it.
fn step(act: Act, usual: Step) -> Step {
    match act {
        Act::Reply(text) => Step::Say(text),
        Act::Last(text) => Step::Close(text),
        Act::Hang => Step::Hang,
        Act::Usual => usual,
        Act::Deaf => match usual {
            Step::Say(text) | Step::Listen(text) => Step::Deaf(text),
            unsaid @ (Step::Close(_) | Step::Hang | Step::Deaf(_) | Step::Late(..)) => unsaid,
        },
        Act::Late(delay) => match usual {
            Step::Say(text) => Step::Late(delay, text),
            unsaid @ (Step::Listen(_)
            | Step::Close(_)
            | Step::Hang
            | Step::Deaf(_)
            | Step::Late(..)) => unsaid,
        },
    }
}

/// The path after this keyword, and what follows it.
fn path<'a>(rest: &'a str, keyword: &str) -> Option<(&'a str, &'a str)> {
    let given = rest.get(..keyword.len())?;
    if !given.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let after = rest.get(keyword.len()..)?.trim_start().strip_prefix('<')?;
    after.rsplit_once('>')
}

fn parameters(text: &str) -> Vec<(String, String)> {
    text.split_ascii_whitespace()
        .map(|param| {
            let (name, value) = param.split_once('=').unwrap_or((param, ""));
            (name.to_ascii_uppercase(), value.to_owned())
        })
        .collect()
}

fn decoded(token: &str) -> String {
    let octets = STANDARD.decode(token).unwrap_or_default();
    String::from_utf8(octets).unwrap_or_default()
}
