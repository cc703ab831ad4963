//! One SMTP session as a state machine without I/O: octets in, replies and steps out.
//!
//! The server appends what it read to [`Session::input`], calls [`Session::advance`] until it
//! says [`Step::Read`], and writes what [`Session::output`] holds. A step that needs the outside
//! (TLS, a login, custody) is answered by the method that its variant names.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::BytesMut;
use jiff::Timestamp;
use malote_core::credential::Credential;
use malote_core::message::Submission;

use super::auth::{Exchange, Login};
use super::command::{Command, CommandFault};
use super::data::DataReader;
use super::reply::{self, Reply};

mod greeting;
mod lines;
mod returning;
mod transaction;

use lines::Overlong;
pub(crate) use returning::{CameBack, Recogniser};
use transaction::Transaction;

/// Faulty commands answered; the next one ends the session.
const ERRORS_MAX: u32 = 10;
/// Commands without effect answered before a login; the next one ends the session.
const IDLE_COMMANDS_MAX: u32 = 100;
/// Wrong passwords answered; the last one ends the session.
const LOGIN_FAILURES_MAX: u32 = 5;
/// Replies are handed out at the latest when they reach this size, so that a client that never
/// reads costs a small buffer.
const OUTPUT_BYTES_MAX: usize = 16 * 1024;
/// What a session may do, by its listener.
#[derive(Debug, Clone)]
pub(crate) struct SessionRules {
    /// Our name, in the banner, EHLO and trace fields.
    pub(crate) hostname: Arc<str>,
    /// SIZE, in octets.
    pub(crate) message_bytes_max: u64,
    /// Recipients of one transaction.
    pub(crate) recipients_max: usize,
    /// Whether the listener offers STARTTLS.
    pub(crate) offers_starttls: bool,
    /// Whether AUTH is allowed in clear.
    pub(crate) is_trusted_plaintext: bool,
    /// On a listener for mail that comes back: whose addresses it takes mail for, and no other.
    pub(crate) returns: Option<Recogniser>,
}

/// Who is on the other side.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Address, after PROXY protocol.
    pub(crate) ip: IpAddr,
    /// Identifies the session in logs and trace fields.
    pub(crate) session: String,
    /// As whom it acts without a login, on an anonymous listener.
    pub(crate) anonymous: Option<Arc<Credential>>,
    /// Whether TLS came before the banner.
    pub(crate) is_tls: bool,
}

/// What the server has to do next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Write the output, then read more input.
    Read,
    /// Write the output, then advance again.
    Write,
    /// Write the output, make the TLS handshake, then [`Session::tls_started`]. Input that
    /// arrived before the handshake must end the connection.
    StartTls,
    /// Is this a login? Answer with [`Session::authenticated`].
    Authenticate(Login),
    /// Can custody be taken at all? Answer with [`Session::custody`].
    CheckCustody,
    /// Take custody. Answer with [`Session::delivered`].
    Deliver(Box<Submission>),
    /// Take in what came back. Answer with [`Session::taken_back`].
    TakeBack(Box<CameBack>),
    /// Write the output, then close.
    Close(CloseReason),
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CloseReason {
    /// QUIT.
    Quit,
    /// The client went away without QUIT.
    PeerGone,
    /// Nothing came in time.
    Timeout,
    /// The gateway stops.
    Stopping,
    /// Too many faulty commands.
    Errors,
    /// Too many commands without effect before a login.
    IdleCommands,
    /// Too many wrong passwords.
    LoginFailures,
    /// The credential was removed, or its password changed, while it was logged in.
    LoginRevoked,
    /// HTTP, or TLS on a plain port.
    NotSmtp,
    /// The client talked before the banner.
    TalkedFirst,
    /// Message content was sent though DATA was refused.
    Pipelining,
    /// A CR or LF stood alone.
    BareLineEnd,
    /// A line without an end.
    LineTooLong,
    /// A message of more than twice the SIZE, or a chunk of no size.
    TooLarge,
    /// Commands were hidden behind STARTTLS.
    StartTlsInjection,
    /// The TLS handshake failed.
    TlsFailed,
    /// The client did not read our replies.
    WriteStalled,
    /// Too many connections, from its source or in all.
    Crowded,
    /// A proxy did not begin with a PROXY protocol header, or somebody sent one who is no proxy.
    BadProxyHeader,
}

impl CloseReason {
    /// The word in metrics and logs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Quit => "quit",
            Self::PeerGone => "peer_gone",
            Self::Timeout => "timeout",
            Self::Stopping => "stopping",
            Self::Errors => "errors",
            Self::IdleCommands => "idle_commands",
            Self::LoginFailures => "login_failures",
            Self::LoginRevoked => "login_revoked",
            Self::NotSmtp => "not_smtp",
            Self::TalkedFirst => "talked_first",
            Self::Pipelining => "pipelining",
            Self::BareLineEnd => "bare_line_end",
            Self::LineTooLong => "line_too_long",
            Self::TooLarge => "too_large",
            Self::StartTlsInjection => "starttls_injection",
            Self::TlsFailed => "tls_failed",
            Self::WriteStalled => "write_stalled",
            Self::Crowded => "crowded",
            Self::BadProxyHeader => "bad_proxy_header",
        }
    }
}

/// What the session waits for, which decides how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A command, and nothing of it came yet.
    Idle,
    /// The rest of a command line.
    Line,
    /// The content of a message.
    Data,
}

#[derive(Debug)]
enum State {
    Command,
    Sasl(Exchange),
    Data(Box<DataReader>),
    /// Octets of a BDAT chunk, for the transaction's reader.
    Chunk {
        bytes: u64,
        is_last: bool,
    },
    /// Octets of a BDAT chunk that nobody wants, then this reply.
    Discard {
        left: u64,
        reply: Reply,
    },
    /// The server's answer to a step.
    Waiting,
}

#[derive(Debug)]
struct Greeting {
    is_extended: bool,
    name: Vec<u8>,
}

/// One SMTP session.
#[derive(Debug)]
pub(crate) struct Session {
    rules: Arc<SessionRules>,
    peer: Peer,
    input: BytesMut,
    /// Octets of `input` known to hold no LF.
    scanned: usize,
    overlong: Option<Overlong>,
    line: Vec<u8>,
    output: Vec<u8>,
    state: State,
    closing: Option<CloseReason>,
    greeting: Option<Greeting>,
    login: Option<Arc<Credential>>,
    transaction: Option<Transaction>,
    transactions: u64,
    errors: u32,
    idle_commands: u32,
    login_failures: u32,
    replies: u64,
}

impl Session {
    /// A session whose banner is in the output.
    pub(crate) fn new(rules: Arc<SessionRules>, peer: Peer) -> Self {
        let mut output = Vec::with_capacity(512);
        let banner = format!("{} ESMTP malote", rules.hostname);
        Reply::with_text(220, "", banner).write(&mut output);
        Self {
            rules,
            peer,
            input: BytesMut::new(),
            scanned: 0,
            overlong: None,
            line: Vec::new(),
            output,
            state: State::Command,
            closing: None,
            greeting: None,
            login: None,
            transaction: None,
            transactions: 0,
            errors: 0,
            idle_commands: 0,
            login_failures: 0,
            replies: 0,
        }
    }

    /// Where the server appends what it read.
    pub(crate) const fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// What the server has to write and clear.
    pub(crate) const fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// As whom the client acts: its login, or the listener's anonymous credential.
    pub(crate) fn credential(&self) -> Option<&Arc<Credential>> {
        self.login.as_ref().or(self.peer.anonymous.as_ref())
    }

    /// Whether the client acts by a login, not by the listener's leave.
    pub(crate) const fn is_logged_in(&self) -> bool {
        self.login.is_some()
    }

    /// Identifies the transaction under way, or the last one, in logs and trace fields.
    pub(crate) fn transaction_id(&self) -> String {
        format!("{}.{}", self.peer.session, self.transactions)
    }

    /// Replies so far: grows with every command that was complete.
    pub(crate) const fn replies(&self) -> u64 {
        self.replies
    }

    /// What the session waits for.
    pub(crate) fn phase(&self) -> Phase {
        match self.state {
            State::Data(_) | State::Chunk { .. } | State::Discard { .. } => Phase::Data,
            State::Command | State::Sasl(_) | State::Waiting => {
                if self.input.is_empty() && self.overlong.is_none() {
                    Phase::Idle
                } else {
                    Phase::Line
                }
            }
        }
    }

    /// Whether nothing is lost for the client by closing now.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.phase() == Phase::Idle
            && matches!(self.state, State::Command)
            && self.transaction.is_none()
    }

    /// Octets of memory that the message being received holds.
    pub(crate) fn body_bytes_held(&mut self) -> u64 {
        self.body().map_or(0, |body| body.bytes_held())
    }

    /// Whether the content of a message is being received.
    pub(crate) fn is_receiving(&mut self) -> bool {
        self.body().is_some()
    }

    /// Refuses the message being received, since there is no memory for it.
    pub(crate) fn refuse_for_memory(&mut self) {
        if let Some(body) = self.body() {
            body.refuse(super::body::BodyFault::NoMemory);
        }
    }

    /// Ends the session with the reply that goes with `reason`, if one does.
    pub(crate) fn close(&mut self, reason: CloseReason) {
        let last = match reason {
            CloseReason::Timeout => Some(reply::TIMED_OUT),
            CloseReason::Stopping => Some(reply::STOPPING),
            CloseReason::Errors => Some(reply::TOO_MANY_ERRORS),
            CloseReason::IdleCommands => Some(reply::TOO_MANY_IDLE_COMMANDS),
            CloseReason::LoginFailures => Some(reply::TOO_MANY_LOGINS),
            CloseReason::LoginRevoked => Some(reply::LOGIN_REVOKED),
            CloseReason::NotSmtp => Some(reply::NOT_SMTP),
            CloseReason::Crowded => Some(reply::TOO_MANY_CONNECTIONS),
            CloseReason::TalkedFirst => {
                self.output.clear();
                Some(reply::TALKED_FIRST)
            }
            CloseReason::Quit
            | CloseReason::PeerGone
            | CloseReason::Pipelining
            | CloseReason::BareLineEnd
            | CloseReason::LineTooLong
            | CloseReason::TooLarge
            | CloseReason::StartTlsInjection
            | CloseReason::TlsFailed
            | CloseReason::WriteStalled
            | CloseReason::BadProxyHeader => None,
        };
        if let Some(last) = last {
            self.write(&last);
        }
        self.transaction = None;
        self.state = State::Command;
        self.closing = Some(reason);
    }

    /// Takes what it can from the input, up to the next thing that the server has to do.
    pub(crate) fn advance(&mut self, now: Timestamp) -> Step {
        loop {
            if let Some(reason) = self.closing {
                return Step::Close(reason);
            }
            if self.output.len() >= OUTPUT_BYTES_MAX {
                return Step::Write;
            }
            let step = match &self.state {
                State::Command | State::Sasl(_) => self.take_line(now),
                State::Data(_) => self.take_data(),
                State::Chunk { .. } => self.take_chunk(),
                State::Discard { .. } => self.take_discarded(),
                State::Waiting => Some(Step::Read),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    fn write(&mut self, reply: &Reply) {
        self.replies += 1;
        reply.write(&mut self.output);
    }

    /// Answers a faulty command; one too many ends the session.
    fn fail(&mut self, reply: &Reply) -> Option<Step> {
        self.errors += 1;
        if self.errors > ERRORS_MAX {
            self.close(CloseReason::Errors);
        } else {
            self.write(reply);
        }
        None
    }

    /// Answers and closes.
    fn fail_and_close(&mut self, reply: &Reply, reason: CloseReason) -> Option<Step> {
        self.write(reply);
        self.close(reason);
        None
    }

    /// Answers a command that changes nothing.
    fn answer_idle(&mut self, reply: &Reply) -> Option<Step> {
        if self.has_idle_command_left() {
            self.write(reply);
        }
        None
    }

    /// Counts a command that changes nothing; one too many ends the session. Who is logged in may
    /// send any number of them: some clients send RSET and NOOP around every message.
    fn has_idle_command_left(&mut self) -> bool {
        if self.credential().is_none() {
            self.idle_commands += 1;
            if self.idle_commands > IDLE_COMMANDS_MAX {
                self.close(CloseReason::IdleCommands);
                return false;
            }
        }
        true
    }

    fn take_command(&mut self, line: &[u8], now: Timestamp) -> Option<Step> {
        match Command::parse(line) {
            Ok(Command::Ehlo(name)) => self.greet(name, true),
            Ok(Command::Helo(name)) => self.greet(name, false),
            Ok(Command::Mail(arguments)) => self.mail(arguments),
            Ok(Command::Rcpt(arguments)) => self.rcpt(arguments),
            Ok(Command::Data) => self.data(now),
            Ok(Command::Bdat(arguments)) => self.bdat(arguments, now),
            Ok(Command::Rset) => {
                self.transaction = None;
                self.answer_idle(&reply::OK)
            }
            Ok(Command::Noop) => self.answer_idle(&reply::OK),
            Ok(Command::Vrfy) => self.answer_idle(&reply::CANNOT_VERIFY),
            Ok(Command::Help) => self.answer_idle(&reply::HELP),
            Ok(Command::StartTls) => self.start_tls(),
            Ok(Command::Auth(arguments)) => self.auth(arguments),
            Ok(Command::Quit) => self.fail_and_close(&reply::BYE, CloseReason::Quit),
            Ok(Command::NotOffered) => self.fail(&reply::NOT_IMPLEMENTED),
            Ok(Command::ProxyClaim) => self.fail(&reply::PROXY_REFUSED),
            Ok(Command::ProxyHeader) => {
                self.fail_and_close(&reply::PROXY_REFUSED, CloseReason::BadProxyHeader)
            }
            Ok(Command::Http) => {
                self.close(CloseReason::NotSmtp);
                None
            }
            Err(CommandFault::Syntax) => self.fail(&reply::BAD_SYNTAX),
            Err(CommandFault::Unknown) => self.fail(&reply::UNKNOWN_COMMAND),
            Err(CommandFault::Arguments) => self.fail(&reply::BAD_ARGUMENT),
        }
    }
}

#[cfg(test)]
mod tests;
