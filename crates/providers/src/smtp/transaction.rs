//! One message on one connection: MAIL, RCPT, DATA, the message, and what became of each recipient.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use malote_core::provider::{
    Fault, Outgoing, Receipt, Reply, SendError, SendReport, Verdict, report_for_all,
};
use memchr::memmem;
use tokio::time::timeout;

use super::classify::{Context, Stage, blame_of};
use super::command::{self, DataChunks, FINAL_DOT, MailParameters};
use super::connect::{Timing, transient};
use super::connection::{Link, Trouble};
use super::dialect::Dialect;
use super::ehlo::Extensions;
use super::reply::ServerReply;
use crate::reencode::{self, EightBit};

/// How a transaction ended.
pub(crate) enum Ended {
    /// Each recipient has its result.
    Settled(SendReport, Next),
    /// The server closed the connection before the final dot: nothing was sent, and on a
    /// connection that had been idle it means nothing but that.
    Closed(SendError),
}

/// What the connection is good for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The next message.
    Reuse,
    /// Nothing.
    Close,
}

/// How commands travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// All up to DATA in one write, where the server knows PIPELINING (RFC 2920).
    Pipelined,
    /// One at a time.
    Stepwise,
}

/// How long to wait for the answer that a server may have left behind when it closed while the
/// message was being written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How this server is spoken to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner<'a> {
    /// What its answers mean.
    pub(crate) dialect: &'static Dialect,
    /// Most octets of a message, which it must not grow over where the server needs it encoded.
    pub(crate) bytes_max: u64,
    /// How commands travel.
    pub(crate) pace: Pace,
    /// How long each step may take.
    pub(crate) timing: &'a Timing,
}

/// Sends `outgoing` with the lines of `front` before its message.
pub(crate) async fn run(
    link: &mut Link,
    outgoing: &Outgoing,
    front: &[u8],
    manner: Manner<'_>,
) -> Ended {
    let eight_bit = if link.extensions.eight_bit {
        EightBit::Allowed
    } else {
        EightBit::Forbidden
    };
    let front_bytes = u64::try_from(front.len()).unwrap_or(u64::MAX);
    let bytes_max = manner.bytes_max.saturating_sub(front_bytes);
    let body = match reencode::fit(&outgoing.body, eight_bit, bytes_max).await {
        Ok(body) => body,
        Err(error) => return Ended::Settled(report_for_all(outgoing, &Err(error)), Next::Reuse),
    };
    let message = Message { front, body };
    let mut transaction = match Transaction::prepare(link, outgoing, message, manner) {
        Ok(transaction) => transaction,
        Err(report) => return Ended::Settled(report, Next::Reuse),
    };
    match transaction.envelope().await {
        Ok(Go::SendData) => transaction.data().await,
        Ok(Go::Stop(next)) => transaction.finish(next),
        Err(End::Closed(error)) => Ended::Closed(error),
        Err(End::Failed(error)) => transaction.fail_rest(&error, Next::Close),
    }
}

/// What goes on the wire.
struct Message<'a> {
    /// Whole header lines that go before it.
    front: &'a [u8],
    /// The message as this server can take it.
    body: Bytes,
}

impl Message<'_> {
    fn len(&self) -> usize {
        self.front.len() + self.body.len()
    }
}

struct Transaction<'a> {
    link: &'a mut Link,
    outgoing: &'a Outgoing,
    message: Message<'a>,
    dialect: &'static Dialect,
    timing: &'a Timing,
    is_pipelined: bool,
    /// MAIL, each RCPT and DATA, in this order; RSET in front if needed.
    commands: Vec<u8>,
    /// Where each command ends.
    ends: Vec<usize>,
    /// Commands written so far.
    asked: usize,
    /// One per recipient; `None` while it is undecided or accepted by RCPT.
    results: Vec<Option<Result<Receipt, SendError>>>,
}

enum Go {
    SendData,
    Stop(Next),
}

enum End {
    Closed(SendError),
    Failed(SendError),
}

impl<'a> Transaction<'a> {
    /// Checks the message against what the server offers, and writes the commands.
    fn prepare(
        link: &'a mut Link,
        outgoing: &'a Outgoing,
        message: Message<'a>,
        manner: Manner<'a>,
    ) -> Result<Self, SendReport> {
        let from_needs_smtputf8 = outgoing
            .mail_from
            .as_ref()
            .is_some_and(|a| a.needs_smtputf8());
        if let Some(error) = refuse_here(&link.extensions, outgoing, message.len()) {
            return Err(outgoing
                .recipients
                .iter()
                .map(|_| Err(error.clone()))
                .collect());
        }
        let mut needs_smtputf8 = from_needs_smtputf8;
        let mut results = Vec::with_capacity(outgoing.recipients.len());
        for recipient in &outgoing.recipients {
            let needs = recipient.address.needs_smtputf8();
            let refused = (needs && !link.extensions.smtputf8).then(|| Err(no_smtputf8()));
            needs_smtputf8 |= needs && refused.is_none();
            results.push(refused);
        }
        if results.iter().all(Option::is_some) {
            return Err(results.into_iter().flatten().collect());
        }
        let mut commands = Vec::with_capacity(128 * (outgoing.recipients.len() + 2));
        let mut ends = Vec::with_capacity(outgoing.recipients.len() + 3);
        if link.needs_reset {
            commands.extend_from_slice(b"RSET\r\n");
            ends.push(commands.len());
        }
        let parameters = MailParameters {
            size: message.len(),
            is_8bit: !message.body.is_ascii(),
            needs_smtputf8,
            dsn: &outgoing.dsn,
        };
        let from = outgoing.mail_from.as_ref();
        command::mail(&mut commands, from, parameters, &link.extensions);
        ends.push(commands.len());
        for (recipient, refused) in outgoing.recipients.iter().zip(&results) {
            if refused.is_none() {
                command::rcpt(&mut commands, recipient, &link.extensions);
                ends.push(commands.len());
            }
        }
        commands.extend_from_slice(b"DATA\r\n");
        ends.push(commands.len());
        Ok(Self {
            is_pipelined: manner.pace == Pace::Pipelined && link.extensions.pipelining,
            link,
            outgoing,
            message,
            dialect: manner.dialect,
            timing: manner.timing,
            commands,
            ends,
            asked: 0,
            results,
        })
    }

    /// MAIL, RCPT and DATA.
    async fn envelope(&mut self) -> Result<Go, End> {
        let must_reset = self.link.needs_reset;
        self.link.needs_reset = true;
        self.link.messages += 1;
        if self.is_pipelined {
            let wait = self.timing.command;
            let written = self.link.write(&self.commands, wait).await;
            written.map_err(|trouble| end(Stage::MailFrom, &trouble))?;
        }
        if must_reset {
            let reset = self.ask(Stage::MailFrom).await?;
            if reset.code != 250 {
                return Err(End::Closed(self.error(Stage::MailFrom, &reset)));
            }
        }
        let mail = self.ask(Stage::MailFrom).await?;
        if mail.code == 421 {
            return Err(End::Closed(self.error(Stage::MailFrom, &mail)));
        }
        if mail.code != 250 {
            let error = self.error(Stage::MailFrom, &mail);
            self.settle_rest(&Err(error));
            return self.drain().await;
        }
        if let Some(go) = self.recipients().await? {
            return Ok(go);
        }
        if self.results.iter().all(Option::is_some) {
            return self.drain().await;
        }
        let data = self.ask(Stage::Data).await?;
        if data.code == 354 && self.link.has_unread() {
            // It would be taken for the answer to what is not sent yet.
            return Err(End::Failed(transient("answered before it had the message")));
        }
        if data.code == 354 {
            return Ok(Go::SendData);
        }
        let error = self.error(Stage::Data, &data);
        self.settle_rest(&Err(error));
        // A 2xx here would be the answer to something else.
        let next = if data.code == 421 || data.code < 400 {
            Next::Close
        } else {
            Next::Reuse
        };
        Ok(Go::Stop(next))
    }

    /// Each RCPT in turn; what is refused is settled.
    async fn recipients(&mut self) -> Result<Option<Go>, End> {
        for at in 0..self.results.len() {
            if self.results[at].is_some() {
                continue;
            }
            let rcpt = self.ask(Stage::RcptTo).await?;
            // 251 and 252: the server takes it and forwards, or cannot verify it (RFC 5321 4.3.2).
            if matches!(rcpt.code, 250..=252) {
                continue;
            }
            let error = self.error(Stage::RcptTo, &rcpt);
            if rcpt.code == 421 {
                self.settle_rest(&Err(error));
                return Ok(Some(Go::Stop(Next::Close)));
            }
            self.results[at] = Some(Err(error));
        }
        Ok(None)
    }

    /// Reads the answers to commands that were pipelined in vain.
    async fn drain(&mut self) -> Result<Go, End> {
        if !self.is_pipelined {
            return Ok(Go::Stop(Next::Reuse));
        }
        while self.asked < self.ends.len() {
            match self.link.read_reply(self.timing.command).await {
                // A 354 in spite of it all: only closing keeps an empty message from being sent.
                Ok(reply) if reply.code < 400 && self.asked + 1 == self.ends.len() => {
                    return Ok(Go::Stop(Next::Close));
                }
                Ok(_) => self.asked += 1,
                Err(_) => return Ok(Go::Stop(Next::Close)),
            }
        }
        Ok(Go::Stop(Next::Reuse))
    }

    /// The answer to the next command, written now unless it is pipelined.
    async fn ask(&mut self, stage: Stage) -> Result<ServerReply, End> {
        let wait = self.timing.command;
        if !self.is_pipelined {
            // RSET and MAIL come first, DATA last; a refused RCPT does not shift the others.
            let start = self
                .asked
                .checked_sub(1)
                .map_or(0, |before| self.ends[before]);
            let command = &self.commands[start..self.ends[self.asked]];
            let written = self.link.write(command, wait).await;
            written.map_err(|trouble| end(stage, &trouble))?;
        }
        self.asked += 1;
        let reply = self.link.read_reply(wait).await;
        reply.map_err(|trouble| end(stage, &trouble))
    }

    /// The message, the final dot and the answer.
    async fn data(mut self) -> Ended {
        let bytes = self.message.len() as u64;
        let wait = self.outgoing.write_pace.wait_for(bytes);
        let mut is_dot_written = false;
        let write = write_message(self.link, &self.message, &mut is_dot_written);
        match timeout(wait, write).await {
            Ok(Ok(())) => {}
            _ if is_dot_written => {
                let error = unknown("the connection broke while the end of the message was sent");
                return self.fail_rest(&error, Next::Close);
            }
            Ok(Err(_)) => return self.last_words().await,
            Err(_) => {
                let what = "the server did not take the whole message in time";
                return self.fail_rest(&transient(what), Next::Close);
            }
        }
        let answer = self.link.read_reply(self.outgoing.reply_wait_max).await;
        match answer {
            Ok(reply) if reply.code == 250 => {
                self.link.needs_reset = false;
                let receipt = Receipt {
                    provider_message_id: self.message_id(&reply),
                    reply: reply.to_reply(),
                };
                self.settle_rest(&Ok(receipt));
                self.finish(Next::Reuse)
            }
            Ok(reply) => {
                let next = if reply.code == 421 || reply.code < 400 {
                    Next::Close
                } else {
                    Next::Reuse
                };
                let error = self.error(Stage::FinalDot, &reply);
                self.fail_rest(&error, next)
            }
            Err(trouble) => {
                let error = unknown(&format!("after the end of the message: {trouble}"));
                self.fail_rest(&error, Next::Close)
            }
        }
    }

    /// The connection broke before the final dot: the message was not sent. A server that refuses
    /// half-way may have said why.
    async fn last_words(self) -> Ended {
        let said = self.link.read_reply(LAST_WORDS).await;
        match said {
            Ok(reply) if reply.code >= 400 => {
                let error = self.error(Stage::FinalDot, &reply);
                self.fail_rest(&error, Next::Close)
            }
            Ok(_) | Err(_) => Ended::Closed(transient(
                "the server closed the connection before the end of the message",
            )),
        }
    }

    /// The service's id, or else what its events are likely to carry.
    fn message_id(&self, reply: &ServerReply) -> String {
        self.dialect
            .message_id(reply)
            .or_else(|| message_id_field(&self.message.body))
            .unwrap_or_else(|| self.outgoing.message.simple())
    }

    fn error(&self, stage: Stage, reply: &ServerReply) -> SendError {
        let context = Context {
            stage,
            recipients: self.outgoing.recipients.len(),
        };
        let verdict = self.dialect.verdict(context, reply, Some(self.outgoing));
        let blame = blame_of(&verdict, reply);
        SendError::new(verdict, reply.to_reply()).with_blame(blame)
    }

    fn settle_rest(&mut self, result: &Result<Receipt, SendError>) {
        for undecided in self.results.iter_mut().filter(|r| r.is_none()) {
            *undecided = Some(result.clone());
        }
    }

    fn fail_rest(mut self, error: &SendError, next: Next) -> Ended {
        self.settle_rest(&Err(error.clone()));
        self.finish(next)
    }

    fn finish(self, next: Next) -> Ended {
        // Every path here has settled every recipient; were one forgotten, nobody could say.
        let forgotten = || Err(unknown("the transaction ended early"));
        let report = self
            .results
            .into_iter()
            .map(|r| r.unwrap_or_else(forgotten));
        Ended::Settled(report.collect(), next)
    }
}

/// Writes the message; `is_dot_written` tells whether the final dot may have reached the server.
async fn write_message(
    link: &mut Link,
    message: &Message<'_>,
    is_dot_written: &mut bool,
) -> io::Result<()> {
    let mut chunks = DataChunks::new(message.front, &message.body);
    let mut chunk = Vec::with_capacity(chunks.size_hint());
    while chunks.fill(&mut chunk) {
        let mut written = 0;
        while written < chunk.len() {
            let taken = link.write_some(&chunk[written..]).await?;
            if taken == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            written += taken;
            *is_dot_written = chunks.is_done() && written > chunk.len() - FINAL_DOT.len();
        }
    }
    link.flush().await
}

/// What this server cannot carry at all.
fn refuse_here(
    server: &Extensions,
    outgoing: &Outgoing,
    message_bytes: usize,
) -> Option<SendError> {
    let bytes = u64::try_from(message_bytes).unwrap_or(u64::MAX);
    if let Some(size_max) = server.size_max().filter(|max| bytes > *max) {
        let what = format!("the message has {bytes} octets, the server takes {size_max}");
        let reply = Reply::new(None, Some("5.3.4".to_owned()), &what);
        let verdict = Verdict::Rejected(Fault::MessageHere);
        return Some(SendError::new(verdict, reply));
    }
    let from_needs_smtputf8 = outgoing
        .mail_from
        .as_ref()
        .is_some_and(|a| a.needs_smtputf8());
    (from_needs_smtputf8 && !server.smtputf8).then(no_smtputf8)
}

fn no_smtputf8() -> SendError {
    let what = "the address is not ASCII and the server does not offer SMTPUTF8";
    let reply = Reply::new(None, Some("5.6.7".to_owned()), what);
    SendError::new(Verdict::Rejected(Fault::MessageHere), reply)
}

fn unknown(what: &str) -> SendError {
    SendError::new(Verdict::Unknown, Reply::none(what))
}

fn end(stage: Stage, trouble: &Trouble) -> End {
    let error = transient(&format!("{stage}: {trouble}"));
    match trouble {
        Trouble::Lost(_) => End::Closed(error),
        Trouble::Late(_) | Trouble::Protocol(_) => End::Failed(error),
    }
}

/// The message's own Message-ID, without angle brackets.
fn message_id_field(message: &[u8]) -> Option<String> {
    let end = memmem::find(message, b"\r\n\r\n").unwrap_or(message.len());
    let section = std::str::from_utf8(&message[..end]).ok()?;
    let name = "message-id:";
    let is_own = |line: &&str| line.to_ascii_lowercase().starts_with(name);
    let field = section.split("\r\n").find(is_own)?;
    let id = field[name.len()..].trim().trim_matches(['<', '>']);
    (!id.is_empty() && id.len() <= 256).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_own_id_is_found() {
        for (message, id) in [
            ("A: b\r\nmessage-ID: <x@y>\r\n\r\n", Some("x@y")),
            ("Message-ID:\r\n\r\n", None),
            ("A: b\r\n\r\nMessage-ID: <x@y>\r\n", None),
            ("", None),
        ] {
            let found = message_id_field(message.as_bytes());
            assert_eq!(found.as_deref(), id, "{message:?}");
        }
    }
}
