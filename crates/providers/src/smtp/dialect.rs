//! What a service adds to plain SMTP: where it is, what it can carry, the header fields it reads
//! and the words of its answers. Data, so that tests and the documentation can read it.

pub(crate) mod fields;
pub(crate) mod services;

#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;
use malote_core::provider::{Fault, Outgoing, Verdict};
use malote_core::tracking::TrackingSwitches;

use self::fields::Fields;
use super::classify::{Context, Stage, Words, classify};
use super::config::Protection;
use super::reply::{self, ServerReply};
use crate::{Documented, PoolConfig};

/// A service. Plain SMTP is one that adds nothing.
pub(crate) struct Dialect {
    /// The preset's name, and the native kind's where there is one.
    pub(crate) name: &'static str,
    /// Where the service is.
    pub(crate) host: Host,
    /// How its connections are protected.
    pub(crate) tls: Protection,
    /// Who logs in.
    pub(crate) user: User,
    /// What it can carry.
    pub(crate) bounds: Defaults,
    /// Whether MAIL FROM stays as it is given; else the service puts an address of its own there.
    pub(crate) keeps_mail_from: bool,
    /// Whether a refusal of MAIL speaks of the sender's domain, whoever its mailbox is: only then is
    /// it worth asking without sending. Elsewhere a sender is judged by mailbox, or behind DATA.
    pub(crate) judges_domain_at_mail: bool,
    /// The key of a pool's table that chooses something at the service.
    pub(crate) pool_key: Option<PoolKey>,
    /// Writes the service's fields; the pool's key, if it has one, is the last argument.
    pub(crate) fields: fn(&mut Fields<'_>, &Outgoing, Option<&str>),
    /// Which tracking a message can switch by SMTP.
    pub(crate) tracking: TrackingSwitches,
    /// What its answers mean, first match first; what none matches is as on plain SMTP.
    pub(crate) rules: &'static [Rule],
    /// What an answer means that says whom of the message it is about.
    pub(crate) by_message: Option<ByMessage>,
    /// Where the id is that its events carry.
    pub(crate) message_id: MessageIdIn,
    /// The answers that it documents, as `STAGE: text`. They are the rows of the table test.
    pub(crate) documented: &'static [Documented],
}

/// A verdict that needs the message; `None` is as if it were not there.
pub(crate) type ByMessage = fn(Context, &ServerReply, &Outgoing) -> Option<Verdict>;

/// Where a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host {
    /// Where the table says: a server of one's own.
    Given,
    /// At one of these, by `region`; the first is the default.
    ByRegion(&'static [(&'static str, &'static str)]),
    /// At `email-smtp.{region}.amazonaws.com`.
    Aws,
}

/// Who logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// Whom the table names.
    Given,
    /// Always this one; the key is the password.
    Fixed(&'static str),
    /// The same token is user and password.
    Token,
}

/// What stands where the table says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Defaults {
    /// Recipients in one transaction.
    pub(crate) recipients_max: u16,
    /// Octets in one message.
    pub(crate) message_bytes_max: u64,
    /// Connections of each class.
    pub(crate) connections_max: u16,
    /// Messages on one connection.
    pub(crate) messages_per_connection_max: u32,
}

impl Defaults {
    /// What any server should take: RFC 5321 4.5.3.1.8 asks for 100 recipients, and Postfix allows
    /// one client 50 connections, which both classes together stay below. The size is what the
    /// server says in EHLO.
    pub(crate) const PLAIN: Self = Self {
        recipients_max: 100,
        message_bytes_max: 100 << 20,
        connections_max: 20,
        messages_per_connection_max: 1000,
    };
}

/// A key of `[providers.NAME.pools.POOL]` that a service reads.
#[derive(Clone, Copy)]
pub(crate) struct PoolKey {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its value.
    pub(crate) value: fn(&PoolConfig) -> Option<&str>,
    /// Most octets of it.
    pub(crate) bytes_max: usize,
}

/// One answer of a service and what it means.
#[derive(Debug)]
pub(crate) struct Rule {
    /// What was asked; empty is anything.
    pub(crate) stages: &'static [Stage],
    /// The reply codes; empty is any 4xx or 5xx.
    pub(crate) codes: &'static [u16],
    /// Subject and detail of the enhanced code; `None` is any, or none.
    pub(crate) enhanced: Option<(u16, u16)>,
    /// Phrases in lower case, one of which the text has; empty is any text.
    pub(crate) words: &'static [&'static str],
    /// What it means.
    pub(crate) verdict: Verdict,
}

impl Rule {
    /// Any answer with one of these phrases, whatever its code: for what no other service says.
    pub(crate) const fn words(words: &'static [&'static str], verdict: Verdict) -> Self {
        Self {
            stages: &[],
            codes: &[],
            enhanced: None,
            words,
            verdict,
        }
    }

    fn fits(&self, stage: Stage, reply: &ServerReply, words: &Words) -> bool {
        let enhanced = reply.enhanced.map(|e| (e.subject, e.detail));
        (self.stages.is_empty() || self.stages.contains(&stage))
            && (self.codes.is_empty() || self.codes.contains(&reply.code))
            && self.enhanced.is_none_or(|wanted| enhanced == Some(wanted))
            && (self.words.is_empty() || words.any(self.words))
    }
}

/// Where the id is that a service's events carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageIdIn {
    /// In the answer to the final dot.
    Reply,
    /// In the message: its own Message-ID.
    Message,
}

/// Any server.
pub(crate) static PLAIN: Dialect = Dialect {
    judges_domain_at_mail: true,
    ..ANY
};

/// What a dialect adds to.
const ANY: Dialect = Dialect {
    name: "smtp",
    host: Host::Given,
    tls: Protection::Implicit,
    user: User::Given,
    bounds: Defaults::PLAIN,
    keeps_mail_from: true,
    judges_domain_at_mail: false,
    pool_key: None,
    fields: fields::none,
    // What stands behind a name that nobody knows may track.
    tracking: TrackingSwitches::ACCOUNT,
    rules: &[],
    by_message: None,
    message_id: MessageIdIn::Reply,
    documented: &[],
};

impl Dialect {
    /// The header fields that go before the message: whole lines, ASCII, each at most 998 octets
    /// (RFC 5322 2.1.1). `own` are the pool's from the table.
    pub(crate) fn front(
        &self,
        outgoing: &Outgoing,
        key: Option<&str>,
        own: &[(String, String)],
    ) -> Bytes {
        let mut fields = Fields::of(&outgoing.body);
        for (name, value) in own {
            fields.add(name, value);
        }
        (self.fields)(&mut fields, outgoing, key);
        fields.into_lines()
    }

    /// What a reply that is not the one hoped for means.
    pub(crate) fn verdict(
        &self,
        context: Context,
        reply: &ServerReply,
        outgoing: Option<&Outgoing>,
    ) -> Verdict {
        if reply.code < 400 {
            return classify(context, reply);
        }
        let by_message = self.by_message.zip(outgoing);
        if let Some(verdict) = by_message.and_then(|(by, message)| by(context, reply, message)) {
            return verdict;
        }
        let words = Words::of(reply);
        let mut rules = self.rules.iter();
        match rules.find(|rule| rule.fits(context.stage, reply, &words)) {
            Some(rule) => of_group(context, &rule.verdict),
            None => classify(context, reply),
        }
    }

    /// The service's id of the message, if the answer to the final dot says it.
    pub(crate) fn message_id(&self, reply: &ServerReply) -> Option<String> {
        match self.message_id {
            MessageIdIn::Reply => reply::message_id(reply),
            MessageIdIn::Message => None,
        }
    }
}

/// What is said of one recipient at the end of a message for several is said of nobody knows whom.
fn of_group(context: Context, verdict: &Verdict) -> Verdict {
    let is_about_one = matches!(
        verdict,
        Verdict::Suppressed | Verdict::Rejected(Fault::Recipient | Fault::NotPermitted)
    );
    if is_about_one && context.is_group() && context.stage == Stage::FinalDot {
        return Verdict::Ungroup;
    }
    verdict.clone()
}

impl fmt::Debug for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dialect").field(&self.name).finish()
    }
}
