//! What the server says, and does, for each fault.

use std::time::Duration;

use super::services::answer;
use crate::config::Kind;
use crate::fault::{Fault, FaultKind, Stage};

/// Octets of a reply line that no client should keep.
const HUGE_REPLY_BYTES: usize = 1024 * 1024;

/// What is done in place of the usual reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// This reply.
    Reply(String),
    /// These octets, then the connection closes.
    Last(String),
    /// Nothing, ever.
    Hang,
    /// The usual reply, and no further octet is read.
    Deaf,
    /// The usual reply, late.
    Late(Duration),
    /// The usual reply.
    Usual,
}

/// The act of a fault at a stage, in the words of this service.
pub(crate) fn act(service: Option<Kind>, fault: &Fault, stage: Stage) -> Act {
    let reply = |text: &str| Act::Reply(format!("{text}\r\n"));
    if let Some(answer) = answer(service, fault.kind) {
        return answer.reply.map_or(Act::Usual, reply);
    }
    match fault.kind {
        FaultKind::Status(number) => status(number, stage),
        FaultKind::Bare(number) => Act::Reply(format!("{number} error\r\n")),
        FaultKind::Quota => reply("454 4.7.0 Throttling failure: Daily message quota exceeded"),
        FaultKind::Suspended => reply("550 5.7.1 Account suspended"),
        FaultKind::Sender => reply("553 5.7.1 Sender domain is not verified"),
        FaultKind::Recipient | FaultKind::Partial => reply("550 5.1.1 User unknown"),
        FaultKind::Content => reply("554 5.6.0 Message refused for its content"),
        FaultKind::Reputation => reply("554 5.7.1 Client host blocked using a block list"),
        FaultKind::Hang => Act::Hang,
        FaultKind::HangEarly => Act::Deaf,
        FaultKind::Cut | FaultKind::CutEarly => Act::Last(String::new()),
        FaultKind::CutReply => Act::Last("25".to_owned()),
        FaultKind::Nonsense => reply("200 It works!"),
        FaultKind::Redirect => reply("551 5.1.6 User not local; please try <x@elsewhere.example>"),
        FaultKind::Huge => reply(&format!("250 2.0.0 {}", "x".repeat(HUGE_REPLY_BYTES))),
        FaultKind::Echo => reply("535 5.7.8 Not understood: {login}"),
        FaultKind::Slow => Act::Late(fault.delay()),
    }
}

/// Where a fault that a recipient asks for strikes: not before that recipient is known.
pub(crate) fn stage_of_recipient(service: Option<Kind>, fault: &Fault) -> Stage {
    if fault.after_take {
        return Stage::End;
    }
    if let Some(answer) = answer(service, fault.kind) {
        return match answer.stage {
            Stage::Rcpt | Stage::Data | Stage::End => answer.stage,
            Stage::Connect | Stage::Ehlo | Stage::Auth | Stage::Mail => Stage::Rcpt,
        };
    }
    match fault.kind {
        FaultKind::Status(_)
        | FaultKind::Bare(_)
        | FaultKind::Recipient
        | FaultKind::Partial
        | FaultKind::Redirect
        | FaultKind::Echo => Stage::Rcpt,
        FaultKind::CutEarly | FaultKind::HangEarly => Stage::Data,
        FaultKind::Quota
        | FaultKind::Suspended
        | FaultKind::Sender
        | FaultKind::Content
        | FaultKind::Reputation
        | FaultKind::Hang
        | FaultKind::Cut
        | FaultKind::CutReply
        | FaultKind::Nonsense
        | FaultKind::Huge
        | FaultKind::Slow => Stage::End,
    }
}

fn status(number: u16, stage: Stage) -> Act {
    let text = match (number, stage) {
        (401 | 403 | 535, Stage::Auth) => "535 5.7.8 Authentication credentials invalid",
        (401 | 403 | 530, _) => "530 5.7.0 Authentication required",
        (421 | 429, _) => {
            return Act::Last("421 4.7.0 Too many messages, slow down\r\n".to_owned());
        }
        (404 | 550, Stage::Rcpt) => "550 5.1.1 User unknown",
        (500 | 502 | 503 | 504, _) => "451 4.3.0 Temporary service failure",
        (450, _) => "450 4.2.0 Mailbox busy",
        (451, _) => "451 4.3.0 Local error in processing",
        (452, _) => "452 4.3.1 Insufficient system storage",
        (552, _) => "552 5.3.4 Message too big",
        (554, Stage::Connect) => "554 5.7.1 No SMTP service here for you",
        (400..500, _) => return Act::Reply(format!("{number} 4.0.0 Temporary failure\r\n")),
        _ => return Act::Reply(format!("{number} 5.0.0 Permanent failure\r\n")),
    };
    Act::Reply(format!("{text}\r\n"))
}
