//! What Mautic is told, of which event, in which words: decisions without a peer.

#[cfg(test)]
mod tests;

use malote_core::event::{Blame, EventKind};
use malote_core::feed::FeedEvent;
use malote_core::provider::{Reply, bounded};
use serde::Deserialize;

/// Longest comment beside an entry, in octets.
const COMMENT_BYTES_MAX: usize = 400;
/// What a comment of ours begins with.
const COMMENT_PREFIX: &str = "malote:";
/// What the comment of an entry begins with that may have replaced another one.
const IN_PLACE_PREFIX: &str = "malote: in place of another entry:";
/// What the comment of an entry begins with that a resubscribe takes back: an unsubscribe that
/// stands in nobody's place.
const UNDOABLE_PREFIX: &str = "malote: unsubscribed";

/// A way to tell Mautic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SinkKind {
    /// Its REST API.
    Api,
    /// The one-click address of the message itself (RFC 8058).
    OneClick,
    /// A report mailed to the mailbox that Mautic reads.
    Dsn,
    /// The callback that a plug-in for KumoMTA's webhooks takes.
    KumomtaCallback,
}

/// What Mautic is told of a contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Saying {
    /// The address takes no mail.
    Bounced,
    /// The recipient called it spam.
    Complained,
    /// The recipient wants no more.
    Unsubscribed,
    /// The recipient wants it again.
    Resubscribed,
}

impl Saying {
    /// What is to be said of an event; `None` for everything that is no reason never to write to a
    /// contact again. Of what failed only the recipient's own part counts: not a block, a policy, a
    /// rate, a delay, and not a full mailbox, however often it was full: what the gateway makes of that
    /// ends by itself, and an entry in Mautic does not.
    pub(crate) fn of(event: &FeedEvent) -> Option<Self> {
        match (&event.kind, event.blame) {
            (EventKind::Bounced, Some(Blame::Recipient))
            | (EventKind::Suppressed, Some(Blame::Recipient)) => Some(Self::Bounced),
            (EventKind::Complained, _) => Some(Self::Complained),
            (EventKind::Unsubscribed, _) => Some(Self::Unsubscribed),
            (EventKind::Resubscribed, _) => Some(Self::Resubscribed),
            (
                EventKind::Bounced
                | EventKind::Suppressed
                | EventKind::Accepted
                | EventKind::Sent
                | EventKind::Delivered
                | EventKind::Deferred
                | EventKind::FailedOver
                | EventKind::Opened
                | EventKind::Clicked
                | EventKind::Rejected
                | EventKind::Held
                | EventKind::Released
                | EventKind::Expired
                | EventKind::Cancelled
                | EventKind::Unknown
                | EventKind::ResendRisk
                | EventKind::Quarantined
                | EventKind::Other(_),
                _,
            ) => None,
        }
    }

    /// What undoes what is said of an event of this kind: Mautic keeps one entry.
    pub(crate) const fn undone_by(kind: &EventKind) -> Option<EventKind> {
        match kind {
            EventKind::Unsubscribed => Some(EventKind::Resubscribed),
            EventKind::Resubscribed => Some(EventKind::Unsubscribed),
            EventKind::Bounced
            | EventKind::Complained
            | EventKind::Suppressed
            | EventKind::Accepted
            | EventKind::Sent
            | EventKind::Delivered
            | EventKind::Deferred
            | EventKind::FailedOver
            | EventKind::Opened
            | EventKind::Clicked
            | EventKind::Rejected
            | EventKind::Held
            | EventKind::Released
            | EventKind::Expired
            | EventKind::Cancelled
            | EventKind::Unknown
            | EventKind::ResendRisk
            | EventKind::Quarantined
            | EventKind::Other(_) => None,
        }
    }

    /// The word in a comment where nothing was replied.
    const fn word(self) -> &'static str {
        match self {
            Self::Bounced => "bounced",
            Self::Complained => "complained",
            Self::Unsubscribed => "unsubscribed",
            Self::Resubscribed => "resubscribed",
        }
    }

    /// The comment beside the entry that `act` adds: `malote: CODE REPLY (PROVIDER)`. Of addresses that
    /// the reply quotes only the domains stay, and no mark-up, which Mautic would strip with what is in
    /// it.
    pub(crate) fn comment(self, event: &FeedEvent, act: &Act) -> String {
        let prefix = match act {
            Act::Add {
                is_first: false, ..
            } => IN_PLACE_PREFIX,
            Act::Add { is_first: true, .. } | Act::Replace { .. } | Act::Leave | Act::Remove => {
                COMMENT_PREFIX
            }
        };
        let reply = Reply::none(spoken(event)).without_local_parts();
        let shown = |c: &char| !matches!(c, '<' | '>' | '"' | '\'' | '&');
        let reply: String = reply.chars().filter(shown).collect();
        let said = match (self, reply.trim()) {
            (Self::Bounced, reply) if !reply.is_empty() => reply.to_owned(),
            (_, "") => self.word().to_owned(),
            (_, reply) => format!("{}: {reply}", self.word()),
        };
        let said = bounded(&said, COMMENT_BYTES_MAX);
        match &event.provider {
            Some(provider) => format!("{prefix} {said} ({provider})"),
            None => format!("{prefix} {said}"),
        }
    }
}

/// What was replied, without the gateway's own words in front: `PROVIDER/POOL: VERDICT: `.
pub(crate) fn spoken(event: &FeedEvent) -> &str {
    let reply = event.reply.as_str();
    let provider = event.provider.as_ref();
    let behind_provider = provider.and_then(|name| reply.strip_prefix(name.as_str()));
    let Some(behind) = behind_provider.and_then(|rest| rest.strip_prefix('/')) else {
        return reply;
    };
    let is_word = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let behind_pool = behind.split_once(": ").map_or(reply, |(_, rest)| rest);
    match behind_pool.split_once(": ") {
        Some((word, rest)) if is_word(word) => rest,
        Some(_) | None => behind_pool,
    }
}

impl SinkKind {
    /// Whether this way has words for it. The table in docs/OPERATING.md says the same.
    pub(crate) const fn can_say(self, saying: Saying) -> bool {
        match (self, saying) {
            (Self::Api, _)
            | (Self::OneClick, Saying::Complained | Saying::Unsubscribed)
            | (Self::Dsn, Saying::Bounced | Saying::Complained | Saying::Unsubscribed)
            | (Self::KumomtaCallback, Saying::Bounced) => true,
            (Self::OneClick, Saying::Bounced | Saying::Resubscribed)
            | (Self::Dsn, Saying::Resubscribed)
            | (
                Self::KumomtaCallback,
                Saying::Complained | Saying::Unsubscribed | Saying::Resubscribed,
            ) => false,
        }
    }

    /// Its name in the configuration.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::OneClick => "one_click",
            Self::Dsn => "dsn",
            Self::KumomtaCallback => "kumomta_callback",
        }
    }
}

/// One entry of a contact's `doNotContact`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Entry {
    /// 1 unsubscribed, 2 bounced, 3 by hand.
    #[serde(default)]
    pub reason: i64,
    /// `email` and others.
    #[serde(default)]
    pub channel: String,
    /// Why, in words.
    #[serde(default)]
    pub comments: Option<String>,
}

/// `reason` of somebody who wants no more mail.
pub(crate) const UNSUBSCRIBED: i64 = 1;
/// `reason` of an address that takes no mail.
const BOUNCED: i64 = 2;

/// What is to be done with one contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// Nothing: it stands there already, or is not ours to take back.
    Leave,
    /// An entry is added.
    Add {
        /// 1 or 2.
        reason: i64,
        /// The e-mail whose report counts it.
        channel_id: Option<u64>,
        /// Whether nothing stands there that it could replace.
        is_first: bool,
    },
    /// Our unsubscribe is removed, and one added that a resubscribe does not take back: Mautic changes
    /// no comment of an entry that stands.
    Replace {
        /// The e-mail whose report counts it.
        channel_id: Option<u64>,
    },
    /// Our unsubscribe is removed.
    Remove,
}

/// What is to be done with a contact that has these entries; `None` if they are not known.
///
/// Mautic replaces a bounce by an unsubscribe only if that comes without `channelId`
/// (`DoNotContact::addDncForContact` compares the channel with what is then a list), and answers
/// 200 either way. A second entry of the same reason changes nothing.
pub(crate) fn act(saying: Saying, entries: Option<&[Entry]>, email_id: Option<u64>) -> Act {
    let of_email = |entries: &'_ [Entry]| -> Vec<Entry> {
        let own = entries.iter().filter(|entry| entry.channel == "email");
        own.cloned().collect()
    };
    let entries = entries.map(of_email);
    let is_unsubscribed =
        |entries: &[Entry]| entries.iter().any(|entry| entry.reason == UNSUBSCRIBED);
    match (saying, entries.as_deref()) {
        (Saying::Bounced, Some([_, ..])) => Act::Leave,
        (Saying::Bounced, Some([]) | None) => Act::Add {
            reason: BOUNCED,
            channel_id: email_id,
            is_first: true,
        },
        (Saying::Complained | Saying::Unsubscribed, Some([])) => Act::Add {
            reason: UNSUBSCRIBED,
            channel_id: email_id,
            is_first: true,
        },
        // Alone: Mautic removes the first entry of the channel, whatever its reason.
        (Saying::Complained, Some([entry])) if is_undoable(entry) => Act::Replace {
            channel_id: email_id,
        },
        (Saying::Complained | Saying::Unsubscribed, Some(entries)) if is_unsubscribed(entries) => {
            Act::Leave
        }
        (Saying::Complained | Saying::Unsubscribed, Some([_, ..]) | None) => Act::Add {
            reason: UNSUBSCRIBED,
            channel_id: None,
            is_first: false,
        },
        // Alone here, too.
        (Saying::Resubscribed, Some([entry])) if is_undoable(entry) => Act::Remove,
        (Saying::Resubscribed, Some(_) | None) => Act::Leave,
    }
}

/// Whether it is an unsubscribe of ours. A bounce and a complaint stay, also ours: whoever
/// subscribes again does not mend an address and does not take back a complaint.
fn is_undoable(entry: &Entry) -> bool {
    let comments = entry.comments.as_deref().unwrap_or_default();
    entry.reason == UNSUBSCRIBED && comments.starts_with(UNDOABLE_PREFIX)
}

/// The SMTP code and enhanced status code (RFC 3463) that a reply's words begin with or hold.
pub(crate) fn codes(reply: &str) -> (Option<u16>, Option<[u16; 3]>) {
    let words = || reply.split(|c: char| !c.is_ascii_digit() && c != '.');
    let code = |word: &str| (word.len() == 3).then(|| word.parse().ok()).flatten();
    let code = words()
        .find_map(code)
        .filter(|code| (400..600).contains(code));
    let enhanced = |word: &str| {
        let mut parts = word.trim_end_matches('.').split('.');
        let mut part = |digits_max: usize| {
            let text = parts
                .next()
                .filter(|t| (1..=digits_max).contains(&t.len()))?;
            text.parse().ok()
        };
        let found: [u16; 3] = [part(1)?, part(3)?, part(3)?];
        (parts.next().is_none() && matches!(found[0], 2 | 4 | 5)).then_some(found)
    };
    (code, words().find_map(enhanced))
}
