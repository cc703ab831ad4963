//! MAIL, RCPT, DATA and BDAT: one transaction, up to its custody.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Buf as _;
use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_core::credential::{BadRecipients, Credential};
use malote_core::intake::{Accepted, Refusal};
use malote_core::message::{Channel, DsnParameters, ImpossibleRecipient, Recipient, Submission};
use malote_core::returned::{ReturnPlace, ReturnSender};
use malote_core::tracking::Tracking;

use super::super::body::{Body, BodyFault, BodyRules};
use super::super::data::{ChunkReader, DataProgress, DataReader};
use super::super::parameters::{MailParameters, RcptParameters, parse_decimal};
use super::super::path::{Path, PathFault, RawPath};
use super::super::reply::{self, Reply};
use super::super::trace::{Protocol, Trace};
use super::{CameBack, CloseReason, Recogniser, Session, State, Step};

/// A mail transaction (RFC 5321 3.3).
#[derive(Debug)]
pub(super) struct Transaction {
    /// As whom the client submits; `None` where mail comes back.
    credential: Option<Arc<Credential>>,
    mail_from: Option<EmailAddress>,
    size: Option<u64>,
    with_utf8: bool,
    dsn: DsnParameters,
    recipients: Vec<Recipient>,
    /// The addresses of ours that mail comes back to.
    returned_to: Vec<ReturnPlace>,
    impossible: Vec<ImpossibleRecipient>,
    /// Keys of the recipients so far: a mailbox named twice gets the message once.
    keys: HashSet<String>,
    /// RCPT commands answered 250.
    rcpts_accepted: usize,
    /// Whether a RCPT was refused.
    has_refused: bool,
    chunks: Option<ChunkReader>,
}

impl Session {
    /// The message being received.
    pub(super) fn body(&mut self) -> Option<&mut Body> {
        match &mut self.state {
            State::Data(reader) => Some(reader.body()),
            State::Command
            | State::Sasl(_)
            | State::Chunk { .. }
            | State::Discard { .. }
            | State::Waiting => {
                let chunks = self.transaction.as_mut()?.chunks.as_mut()?;
                Some(chunks.body())
            }
        }
    }

    pub(super) fn mail(&mut self, arguments: &[u8]) -> Option<Step> {
        if self.greeting.is_none() {
            return self.fail(&reply::GREETING_MISSING);
        }
        let credential = self.credential().cloned();
        if credential.is_none() && self.rules.returns.is_none() {
            let is_clear = self.rules.offers_starttls && !self.peer.is_tls;
            return if is_clear {
                self.fail(&reply::STARTTLS_REQUIRED)
            } else {
                self.fail(&reply::LOGIN_REQUIRED)
            };
        }
        if self.transaction.is_some() {
            return self.fail(&reply::BAD_SEQUENCE);
        }
        match parse_mail(arguments, self.rules.message_bytes_max) {
            Ok((mail_from, parameters)) => {
                self.transaction = Some(Transaction {
                    credential,
                    mail_from,
                    size: parameters.size,
                    with_utf8: parameters.with_utf8,
                    dsn: parameters.dsn,
                    recipients: Vec::new(),
                    returned_to: Vec::new(),
                    impossible: Vec::new(),
                    keys: HashSet::new(),
                    rcpts_accepted: 0,
                    has_refused: false,
                    chunks: None,
                });
                // What comes back needs no room in the queue.
                if self.rules.returns.is_some() {
                    self.write(&reply::SENDER_OK);
                    return None;
                }
                self.state = State::Waiting;
                Some(Step::CheckCustody)
            }
            Err(refusal) => self.fail(&refusal),
        }
    }

    /// The credential as it is in force now, for a session that may be older than the
    /// configuration; `None` ends it.
    pub(crate) fn renew(&mut self, credential: Option<Arc<Credential>>) {
        let Some(credential) = credential else {
            self.close(CloseReason::LoginRevoked);
            return;
        };
        if let Some(transaction) = &mut self.transaction {
            transaction.credential = Some(Arc::clone(&credential));
        }
        if self.login.is_some() {
            self.login = Some(credential);
        } else {
            self.peer.anonymous = Some(credential);
        }
    }

    /// The answer to [`Step::CheckCustody`].
    pub(crate) fn custody(&mut self, possible: Result<(), Refusal>) {
        if self.closing.is_some() {
            return;
        }
        self.state = State::Command;
        match possible {
            Ok(()) => self.write(&reply::SENDER_OK),
            Err(Refusal::Draining) => self.close(CloseReason::Stopping),
            Err(refusal) => {
                self.transaction = None;
                self.write(&reply::of_refusal(&refusal));
            }
        }
    }

    pub(super) fn rcpt(&mut self, arguments: &[u8]) -> Option<Step> {
        let recipients_max = self.rules.recipients_max;
        let Some(transaction) = self.transaction.as_mut() else {
            return self.fail(&reply::BAD_SEQUENCE);
        };
        if transaction.chunks.is_some() {
            return self.fail(&reply::BAD_SEQUENCE);
        }
        let answer = if transaction.rcpts_accepted >= recipients_max {
            reply::TOO_MANY_RECIPIENTS
        } else if let Some(returns) = &self.rules.returns {
            transaction.add_returned(arguments, returns)
        } else {
            transaction.add(arguments)
        };
        if answer.code == 250 {
            transaction.rcpts_accepted += 1;
        } else {
            transaction.has_refused = true;
        }
        // A refused recipient is no abuse: a campaign may hold a hundred of them. A malformed
        // parameter is, and so is mail to addresses that we never gave out.
        if answer.enhanced == "5.5.4" || answer == reply::NOT_OURS {
            self.fail(&answer)
        } else {
            self.write(&answer);
            None
        }
    }

    pub(super) fn data(&mut self, now: Timestamp) -> Option<Step> {
        if let Err(refusal) = self.check_ready_for_content(false) {
            self.fail(&refusal);
            if self.closing.is_none() && !self.input.is_empty() {
                // DATA ends a pipelined group (RFC 2920 3.1), so this is message content, and
                // must not be read as commands.
                self.close(CloseReason::Pipelining);
            }
            return None;
        }
        let body = self.begin_body(now)?;
        self.write(&reply::GO_AHEAD);
        self.state = State::Data(Box::new(DataReader::new(body)));
        None
    }

    fn check_ready_for_content(&self, is_chunked: bool) -> Result<(), Reply> {
        let Some(transaction) = &self.transaction else {
            return Err(reply::BAD_SEQUENCE);
        };
        if transaction.rcpts_accepted == 0 {
            return Err(if transaction.has_refused {
                reply::NO_VALID_RECIPIENTS
            } else {
                reply::BAD_SEQUENCE
            });
        }
        if !is_chunked && transaction.chunks.is_some() {
            return Err(reply::BAD_SEQUENCE);
        }
        Ok(())
    }

    fn begin_body(&mut self, now: Timestamp) -> Option<Body> {
        self.transactions += 1;
        let id = self.transaction_id();
        let transaction = self.transaction.as_ref()?;
        let greeting = self.greeting.as_ref();
        let trace = Trace {
            hostname: &self.rules.hostname,
            protocol: Protocol {
                is_extended: greeting.is_some_and(|greeting| greeting.is_extended),
                is_utf8: transaction.with_utf8,
                is_tls: self.peer.is_tls,
                is_logged_in: self.login.is_some(),
            },
            id: &id,
            now,
            greeting: greeting.map_or(&b""[..], |greeting| &greeting.name),
            peer: self.peer.ip,
        };
        // Mail that comes back goes nowhere else, so it needs no trace.
        let credential = transaction.credential.as_ref();
        let field = credential.map(|credential| trace.field(credential.received));
        let field = field.unwrap_or_default();
        let rules = BodyRules {
            bytes_max: self.rules.message_bytes_max,
            allows_utf8_header: transaction.with_utf8
                || credential.is_none_or(|credential| credential.lenient_headers),
        };
        Some(Body::new(field.as_bytes(), transaction.size, rules))
    }

    pub(super) fn take_data(&mut self) -> Option<Step> {
        let State::Data(reader) = &mut self.state else {
            return None;
        };
        match reader.read(&mut self.input) {
            DataProgress::More => Some(Step::Read),
            progress @ (DataProgress::Complete | DataProgress::Stray | DataProgress::Endless) => {
                let State::Data(reader) = std::mem::replace(&mut self.state, State::Command) else {
                    return None;
                };
                self.end_content(reader.into_body(), progress)
            }
        }
    }

    fn end_content(&mut self, body: Body, progress: DataProgress) -> Option<Step> {
        let transaction = self.transaction.take()?;
        match body.finish() {
            Ok(octets) => {
                self.state = State::Waiting;
                let channel = Channel::Smtp(self.peer.ip);
                return Some(transaction.into_step(octets, channel));
            }
            Err(fault) => self.write(&fault.reply()),
        }
        match progress {
            DataProgress::More | DataProgress::Complete => {}
            DataProgress::Stray => self.close(CloseReason::BareLineEnd),
            DataProgress::Endless => self.close(CloseReason::TooLarge),
        }
        None
    }

    /// The answer to [`Step::Deliver`].
    pub(crate) fn delivered(&mut self, outcome: &Result<Accepted, Refusal>) {
        self.state = State::Command;
        match outcome {
            Ok(accepted) => {
                // A long-lived session that delivers is no abuse, whatever went wrong before.
                self.errors = 0;
                let text = format!("Ok: queued as {}", accepted.id);
                self.write(&Reply::with_text(250, "2.0.0", text));
            }
            Err(refusal) => self.write(&reply::of_refusal(refusal)),
        }
    }

    pub(super) fn bdat(&mut self, arguments: &[u8], now: Timestamp) -> Option<Step> {
        // Without a size nobody knows where the next command begins.
        let Some((bytes, is_last)) = parse_chunk(arguments) else {
            return self.fail_and_close(&reply::BAD_ARGUMENT, CloseReason::TooLarge);
        };
        if bytes > self.rules.message_bytes_max.saturating_mul(2) {
            return self.fail_and_close(&reply::TOO_LARGE, CloseReason::TooLarge);
        }
        if let Err(reply) = self.check_ready_for_content(true) {
            self.state = State::Discard { left: bytes, reply };
            return None;
        }
        let is_first = self.transaction.as_ref()?.chunks.is_none();
        if is_first {
            let body = self.begin_body(now)?;
            self.transaction.as_mut()?.chunks = Some(ChunkReader::new(body));
        }
        self.transaction.as_mut()?.chunks.as_mut()?.begin(bytes);
        self.state = State::Chunk { bytes, is_last };
        None
    }

    pub(super) fn take_chunk(&mut self) -> Option<Step> {
        let State::Chunk { bytes, is_last } = self.state else {
            return None;
        };
        let chunks = self.transaction.as_mut()?.chunks.as_mut()?;
        let progress = chunks.read(&mut self.input);
        match progress {
            DataProgress::More => return Some(Step::Read),
            DataProgress::Complete if !is_last => {
                let fault = chunks.body().fault();
                self.state = State::Command;
                let answer = fault.map_or_else(
                    || Reply::with_text(250, "2.0.0", format!("{bytes} octets received")),
                    BodyFault::reply,
                );
                self.write(&answer);
                return None;
            }
            DataProgress::Complete | DataProgress::Stray | DataProgress::Endless => {}
        }
        self.state = State::Command;
        let chunks = self.transaction.as_mut()?.chunks.take()?;
        self.end_content(chunks.into_body(), progress)
    }

    pub(super) fn take_discarded(&mut self) -> Option<Step> {
        let State::Discard { left, reply } = &mut self.state else {
            return None;
        };
        let take = usize::try_from(*left).map_or(self.input.len(), |l| l.min(self.input.len()));
        self.input.advance(take);
        *left -= take as u64;
        if *left > 0 {
            return Some(Step::Read);
        }
        let reply = reply.clone();
        self.state = State::Command;
        self.fail(&reply)
    }
}

impl Transaction {
    /// Takes a recipient, or says why not.
    fn add(&mut self, arguments: &[u8]) -> Reply {
        let Some((path, rest)) = RawPath::split(arguments) else {
            return reply::BAD_RECIPIENT;
        };
        let parameters = match RcptParameters::parse(rest) {
            Ok(parameters) => parameters,
            Err(refusal) => return refusal,
        };
        match path.mailbox(self.with_utf8) {
            Ok(Path::Null) => return reply::BAD_RECIPIENT,
            Ok(Path::Mailbox(address)) => {
                if self.keys.insert(address.key()) {
                    self.recipients.push(Recipient {
                        address,
                        notify: parameters.notify,
                        orcpt: parameters.orcpt,
                    });
                }
            }
            Err(fault) => match self.credential.as_ref().map(|own| own.bad_recipients) {
                Some(BadRecipients::Refuse) | None => return of_recipient_fault(fault),
                Some(BadRecipients::Report) => {
                    self.report(path.printable(), fault, parameters);
                }
            },
        }
        reply::RECIPIENT_OK
    }

    /// Takes an address that mail comes back to; every other one is refused, and in the same words.
    fn add_returned(&mut self, arguments: &[u8], returns: &Recogniser) -> Reply {
        let Some((path, rest)) = RawPath::split(arguments) else {
            return reply::BAD_RECIPIENT;
        };
        if let Err(refusal) = RcptParameters::parse(rest) {
            return refusal;
        }
        let Ok(Path::Mailbox(address)) = path.mailbox(self.with_utf8) else {
            return reply::NOT_OURS;
        };
        let Some(known) = returns.recognise(&address) else {
            return reply::NOT_OURS;
        };
        if !self.returned_to.contains(&known) {
            self.returned_to.push(known);
        }
        reply::RECIPIENT_OK
    }

    fn report(&mut self, text: String, fault: PathFault, parameters: RcptParameters) {
        if self.impossible.iter().all(|known| known.text != text) {
            self.impossible.push(ImpossibleRecipient {
                text,
                reason: fault.reason().to_owned(),
                notify: parameters.notify,
                orcpt: parameters.orcpt,
            });
        }
    }

    fn into_step(self, message: bytes::Bytes, channel: Channel) -> Step {
        let Some(credential) = self.credential else {
            return Step::TakeBack(Box::new(CameBack {
                to: self.returned_to,
                sender: match self.mail_from {
                    Some(_) => ReturnSender::Somebody,
                    None => ReturnSender::Nobody,
                },
                message,
            }));
        };
        Step::Deliver(Box::new(Submission {
            credential,
            channel,
            mail_from: self.mail_from,
            recipients: self.recipients,
            impossible: self.impossible,
            body: message,
            stream: None,
            tags: Vec::new(),
            metadata: BTreeMap::new(),
            send_at: None,
            idempotency: None,
            tracking: Tracking::default(),
            dsn: self.dsn,
        }))
    }
}

fn parse_mail(
    arguments: &[u8],
    size_max: u64,
) -> Result<(Option<EmailAddress>, MailParameters), Reply> {
    let (path, rest) = RawPath::split(arguments).ok_or(reply::BAD_SENDER)?;
    let parameters = MailParameters::parse(rest, size_max)?;
    match path.mailbox(parameters.with_utf8) {
        Ok(Path::Null) => Ok((None, parameters)),
        Ok(Path::Mailbox(address)) => Ok((Some(address), parameters)),
        Err(PathFault::NonAscii) => Err(reply::NON_ASCII_ADDRESS),
        Err(PathFault::Syntax(_) | PathFault::Postmaster | PathFault::Literal) => {
            Err(reply::BAD_SENDER)
        }
    }
}

const fn of_recipient_fault(fault: PathFault) -> Reply {
    match fault {
        PathFault::Syntax(_) => reply::BAD_RECIPIENT,
        PathFault::Postmaster => reply::POSTMASTER_WITHOUT_DOMAIN,
        PathFault::Literal => reply::LITERAL_RECIPIENT,
        PathFault::NonAscii => reply::NON_ASCII_ADDRESS,
    }
}

/// `chunk-size [LAST]` (RFC 3030 2).
fn parse_chunk(arguments: &[u8]) -> Option<(u64, bool)> {
    let mut words = arguments
        .split(|octet| *octet == b' ')
        .filter(|w| !w.is_empty());
    let bytes = parse_decimal(words.next()?)?;
    let is_last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case(b"LAST") => true,
        Some(_) => return None,
    };
    words.next().is_none().then_some((bytes, is_last))
}
