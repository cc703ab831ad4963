//! What a reply means: pure, by stage, code, enhanced code and, where those say too little, words.

use std::fmt;

use malote_core::event::Blame;
use malote_core::provider::{Fault, Verdict};

use super::reply::{Enhanced, ServerReply};
use crate::bounce::{self, Refusal};
use crate::words::{says_any, spoken};

/// What the server was answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its own greeting.
    Banner,
    /// EHLO.
    Ehlo,
    /// STARTTLS.
    StartTls,
    /// AUTH.
    Auth,
    /// MAIL FROM.
    MailFrom,
    /// RCPT TO.
    RcptTo,
    /// The command DATA.
    Data,
    /// The final dot.
    FinalDot,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Banner => "greeting",
            Self::Ehlo => "EHLO",
            Self::StartTls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::MailFrom => "MAIL FROM",
            Self::RcptTo => "RCPT TO",
            Self::Data => "DATA",
            Self::FinalDot => "end of data",
        })
    }
}

/// What the transaction was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Context {
    /// What the server was answering.
    pub(crate) stage: Stage,
    /// How many recipients the transaction has.
    pub(crate) recipients: usize,
}

impl Context {
    pub(crate) const fn is_group(self) -> bool {
        self.recipients > 1
    }
}

/// What a reply that is not the one hoped for means on plain SMTP. What a service has words of its
/// own for is its [`super::dialect::Dialect`]'s to know.
pub(crate) fn classify(context: Context, reply: &ServerReply) -> Verdict {
    let words = Words::of(reply);
    match reply.code / 100 {
        4 => temporary(context, reply, &words),
        5 => permanent(context, reply, &words),
        // After the final dot only 250 is an answer; before it nothing has been sent.
        _ => match context.stage {
            Stage::FinalDot => Verdict::Unknown,
            Stage::Banner
            | Stage::Ehlo
            | Stage::StartTls
            | Stage::Auth
            | Stage::MailFrom
            | Stage::RcptTo
            | Stage::Data => Verdict::Transient,
        },
    }
}

fn temporary(context: Context, reply: &ServerReply, words: &Words) -> Verdict {
    let enhanced = reply.enhanced.map(subject_and_detail);
    if reply.code == 421 {
        // The service closes: too much of us (4.7), or its own affairs (4.3 system, 4.4 network).
        return match enhanced {
            Some((3 | 4, _)) => Verdict::Transient,
            _ if words.any(&["shutting down", "shutdown", "timeout", "timed out"]) => {
                Verdict::Transient
            }
            _ => Verdict::Throttled { after: None },
        };
    }
    if is_at_rcpt_or_dot(context.stage) && is_too_many_recipients(reply, words) {
        return if context.is_group() {
            Verdict::Ungroup
        } else {
            Verdict::Deferred
        };
    }
    // 4.2 speaks of the recipient's mailbox: "over quota" there is not our quota.
    let is_mailbox = matches!(enhanced, Some((2, _)));
    if !is_mailbox && words.any(DAILY_QUOTA) {
        return Verdict::QuotaSpent { until: None };
    }
    let is_mailbox = is_mailbox || is_at_rcpt_or_dot(context.stage) && words.any(FULL);
    if !is_mailbox && words.any(RATE) {
        return Verdict::Throttled { after: None };
    }
    match context.stage {
        Stage::RcptTo => Verdict::Deferred,
        Stage::Auth if reply.code == 432 => Verdict::ProviderUnusable,
        Stage::FinalDot if is_mailbox => mailbox_full(context),
        Stage::FinalDot if words.any(&["greylist", "graylist", "grey list"]) => Verdict::Deferred,
        Stage::FinalDot | Stage::Data | Stage::MailFrom if matches!(enhanced, Some((7, _))) => {
            Verdict::Throttled { after: None }
        }
        Stage::Banner
        | Stage::Ehlo
        | Stage::StartTls
        | Stage::Auth
        | Stage::MailFrom
        | Stage::Data
        | Stage::FinalDot => Verdict::Transient,
    }
}

fn permanent(context: Context, reply: &ServerReply, words: &Words) -> Verdict {
    match context.stage {
        // 554 instead of a greeting: this server does not talk to our address.
        Stage::Banner if reply.code == 554 => Verdict::ProviderUnusable,
        Stage::Banner | Stage::Ehlo => Verdict::Transient,
        Stage::StartTls | Stage::Auth => Verdict::ProviderUnusable,
        Stage::MailFrom | Stage::RcptTo | Stage::Data | Stage::FinalDot => {
            refusal(context, reply, words)
        }
    }
}

/// A permanent refusal inside a transaction: whose fault is it?
fn refusal(context: Context, reply: &ServerReply, words: &Words) -> Verdict {
    if matches!(reply.code, 530 | 534 | 535 | 538) || words.any(NO_RELAY) {
        return Verdict::ProviderUnusable;
    }
    if context.is_group()
        && is_at_rcpt_or_dot(context.stage)
        && is_too_many_recipients(reply, words)
    {
        return Verdict::Ungroup;
    }
    let enhanced = reply.enhanced.map(subject_and_detail);
    // 5.1.7 and 5.1.8 speak of the sender's address (RFC 3463 3.2).
    if matches!(enhanced, Some((1, 7 | 8))) || words.any(SENDER) {
        return Verdict::SenderUnusable;
    }
    match (enhanced, reply.code) {
        // 5.3.4 and a 552 without more: too large for this server. 5.2.2 is a full mailbox.
        (Some((3, 4)), _) | (None, 552) if !words.any(FULL) => {
            Verdict::Rejected(Fault::MessageHere)
        }
        (Some((2, 2)), _) | (None, 552) => mailbox_full(context),
        (Some((2, 3)), _) => Verdict::Rejected(Fault::Message),
        // What the server does not understand, another may.
        (Some((5, _)), _) | (None, 500..=504 | 555) => Verdict::Rejected(Fault::MessageHere),
        // 5.6.7 and 5.6.3: this server lacks SMTPUTF8 or a conversion.
        (Some((6, 3 | 7)), _) => Verdict::Rejected(Fault::MessageHere),
        (Some((6, _)), _) => Verdict::Rejected(Fault::Message),
        _ => by_stage(context, reply, words),
    }
}

fn by_stage(context: Context, reply: &ServerReply, words: &Words) -> Verdict {
    let enhanced = reply.enhanced.map(subject_and_detail);
    let is_policy = matches!(enhanced, Some((7, _)));
    match context.stage {
        // Who logged in, unless it speaks of a mailbox: "account disabled" is said of these, too.
        Stage::MailFrom | Stage::Data | Stage::FinalDot
            if words.any(ACCOUNT) && !matches!(enhanced, Some((1 | 2, _))) =>
        {
            Verdict::ProviderUnusable
        }
        Stage::MailFrom if words.any(BLOCK) => Verdict::Rejected(Fault::Reputation),
        Stage::MailFrom => Verdict::SenderUnusable,
        Stage::RcptTo => recipient(context, reply),
        Stage::Data | Stage::FinalDot if words.any(BLOCK) => Verdict::Rejected(Fault::Reputation),
        // Authentication of the sender's domain: DKIM, SPF, DMARC (RFC 7372), Gmail's 5.7.26.
        Stage::Data | Stage::FinalDot if matches!(enhanced, Some((7, 20..=29))) => {
            Verdict::Rejected(Fault::Reputation)
        }
        Stage::FinalDot if matches!(enhanced, Some((1 | 2, _))) => {
            if context.is_group() {
                Verdict::Ungroup
            } else {
                recipient(context, reply)
            }
        }
        Stage::Data | Stage::FinalDot if said(reply) == Some(Blame::SenderAuth) => {
            Verdict::Rejected(Fault::Reputation)
        }
        Stage::FinalDot if said(reply) == Some(Blame::Recipient) => {
            if context.is_group() {
                Verdict::Ungroup
            } else {
                Verdict::Rejected(Fault::Recipient)
            }
        }
        // The server itself: not set up to carry this (5.3).
        Stage::Data | Stage::FinalDot if matches!(enhanced, Some((3, _))) && !is_policy => {
            Verdict::Rejected(Fault::MessageHere)
        }
        Stage::Data | Stage::FinalDot => Verdict::Rejected(Fault::Message),
        Stage::Banner | Stage::Ehlo | Stage::StartTls | Stage::Auth => Verdict::ProviderUnusable,
    }
}

/// A 5xx that is about one recipient. Only what can be nothing else is the address's fault, since
/// that stops all mail to it: [`bounce`] decides, as for what services report.
fn recipient(context: Context, reply: &ServerReply) -> Verdict {
    match said(reply) {
        Some(Blame::Recipient) => Verdict::Rejected(Fault::Recipient),
        Some(Blame::MailboxFull) => mailbox_full(context),
        Some(Blame::Content) => Verdict::Rejected(Fault::Message),
        Some(Blame::SenderAuth | Blame::Reputation | Blame::Rate | Blame::Policy) => {
            Verdict::Rejected(Fault::Reputation)
        }
        // Nothing against the address, and nothing that the next provider must meet, too.
        Some(Blame::Infrastructure | Blame::Unknown) | None => {
            Verdict::Rejected(Fault::MessageHere)
        }
    }
}

/// Whose fault a reply's words say it is. Where they say nothing, a refused message is not for that
/// the content's fault.
pub(crate) fn blame_of(verdict: &Verdict, reply: &ServerReply) -> Option<Blame> {
    let is_of_message = matches!(
        verdict,
        Verdict::Rejected(Fault::Message | Fault::MessageHere)
    );
    said(reply).or(is_of_message.then_some(Blame::Unknown))
}

fn said(reply: &ServerReply) -> Option<Blame> {
    let enhanced = reply.enhanced;
    let status = enhanced.map(|e| format!("{}.{}.{}", e.class, e.subject, e.detail));
    let text = reply.lines().collect::<Vec<_>>().join(" ");
    bounce::blame(Refusal {
        code: Some(reply.code),
        enhanced: status.as_deref(),
        text: &text,
    })
}

/// A full mailbox is neither the address's end nor ours: later it may be emptied.
const fn mailbox_full(context: Context) -> Verdict {
    match context.stage {
        Stage::FinalDot if context.is_group() => Verdict::Ungroup,
        Stage::Banner
        | Stage::Ehlo
        | Stage::StartTls
        | Stage::Auth
        | Stage::MailFrom
        | Stage::RcptTo
        | Stage::Data
        | Stage::FinalDot => Verdict::Deferred,
    }
}

/// 4.5.3 and 5.5.3 (RFC 3463 3.6), or RFC 5321 4.5.3.1.10's words.
fn is_too_many_recipients(reply: &ServerReply, words: &Words) -> bool {
    reply.enhanced.map(subject_and_detail) == Some((5, 3)) || words.any(&["too many recipients"])
}

const fn is_at_rcpt_or_dot(stage: Stage) -> bool {
    match stage {
        Stage::RcptTo | Stage::Data | Stage::FinalDot => true,
        Stage::Banner | Stage::Ehlo | Stage::StartTls | Stage::Auth | Stage::MailFrom => false,
    }
}

const fn subject_and_detail(enhanced: Enhanced) -> (u16, u16) {
    (enhanced.subject, enhanced.detail)
}

const DAILY_QUOTA: &[&str] = &[
    "daily message quota",
    "daily quota",
    "daily sending quota",
    "daily limit",
    "daily user sending",
    "hourly limit",
    "monthly",
    "sending quota",
    "sending limit exceeded",
];
const RATE: &[&str] = &[
    "throttl",
    "rate limit",
    "ratelimit",
    "sending rate",
    "too many connections",
    "too many concurrent",
    "too many messages",
    "too much mail",
    "too fast",
    "limit exceeded",
    "quota exceeded",
];
const NO_RELAY: &[&str] = &[
    "relay access denied",
    "relaying denied",
    "relay denied",
    "relay not permitted",
    "relaying not",
    "relay not allowed",
    "not permitted to relay",
    "unable to relay",
    "cannot relay",
    "authentication required",
    "authentication is required",
    "must authenticate",
];
const ACCOUNT: &[&str] = &[
    "account suspended",
    "account is suspended",
    "account has been suspended",
    "account disabled",
    "account is disabled",
    "account has been disabled",
    "sending suspended",
    "sending is suspended",
];
const SENDER: &[&str] = &[
    "sender address",
    "sender verif",
    "sender not",
    "sender domain",
    "sender rejected",
    "sender denied",
    "send as this sender",
    "from address",
    "from header",
    "address is not verified",
    "domain is not verified",
    "not owned by user",
];
const FULL: &[&str] = &[
    "mailbox full",
    "mailbox is full",
    "over quota",
    "overquota",
    "out of storage",
    "quota exceeded",
    "exceeded storage",
    "insufficient storage",
];
const BLOCK: &[&str] = &[
    "blacklist",
    "blocklist",
    "block list",
    "blocked",
    "listed",
    "dnsbl",
    "reputation",
    "spamhaus",
    "banned",
    "unsolicited",
];

/// A reply's text in lower case.
pub(crate) struct Words {
    text: String,
}

impl Words {
    pub(crate) fn of(reply: &ServerReply) -> Self {
        let lines: Vec<&str> = reply.lines().collect();
        Self {
            text: spoken(&lines.join(" ")),
        }
    }

    /// Whether one of `phrases` (lower case) is in it.
    pub(crate) fn any(&self, phrases: &[&str]) -> bool {
        says_any(&self.text, phrases)
    }
}

#[cfg(test)]
mod tests;
