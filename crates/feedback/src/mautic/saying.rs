//! What Mautic is told, of which event, in which words: decisions without a peer.

use malote_core::event::{Blame, EventKind};
use malote_core::feed::FeedEvent;
use malote_core::provider::{Reply, bounded};
use serde::Deserialize;

/// Longest comment beside an entry, in octets.
const COMMENT_BYTES_MAX: usize = 400;
/// What a comment begins with, so that only entries of ours are taken back.
const COMMENT_PREFIX: &str = "malote:";

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
    /// rate, a delay. A full mailbox is told once it has led to a suppression.
    pub(crate) fn of(event: &FeedEvent) -> Option<Self> {
        match (&event.kind, event.blame) {
            (EventKind::Bounced, Some(Blame::Recipient))
            | (EventKind::Suppressed, Some(Blame::Recipient | Blame::MailboxFull)) => {
                Some(Self::Bounced)
            }
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

    /// The word in a comment where nothing was replied.
    const fn word(self) -> &'static str {
        match self {
            Self::Bounced => "bounced",
            Self::Complained => "complained",
            Self::Unsubscribed => "unsubscribed",
            Self::Resubscribed => "resubscribed",
        }
    }

    /// The comment beside the entry: `malote: CODE REPLY (PROVIDER)`. Of addresses that the reply
    /// quotes only the domains stay, and no mark-up, which Mautic would strip with what is in it.
    pub(crate) fn comment(self, event: &FeedEvent) -> String {
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
            Some(provider) => format!("{COMMENT_PREFIX} {said} ({provider})"),
            None => format!("{COMMENT_PREFIX} {said}"),
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
const UNSUBSCRIBED: i64 = 1;
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
    },
    /// Our entry is removed.
    Remove,
}

/// What is to be done with a contact that has these entries; `None` if they are not known.
///
/// Mautic replaces a bounce by an unsubscribe only if that comes without `channelId`
/// (`DoNotContact::addDncForContact` compares the channel with what is then a list), and answers
/// 200 either way. A second entry of the same reason changes nothing.
pub(crate) fn act(saying: Saying, entries: Option<&[Entry]>, email_id: Option<u64>) -> Act {
    let of_email = |entry: &&Entry| entry.channel == "email";
    let entry = entries.map(|entries| entries.iter().find(of_email));
    match (saying, entry) {
        (Saying::Bounced, Some(Some(_))) => Act::Leave,
        (Saying::Bounced, Some(None) | None) => Act::Add {
            reason: BOUNCED,
            channel_id: email_id,
        },
        (Saying::Complained | Saying::Unsubscribed, Some(None)) => Act::Add {
            reason: UNSUBSCRIBED,
            channel_id: email_id,
        },
        (Saying::Complained | Saying::Unsubscribed, Some(Some(entry)))
            if entry.reason == UNSUBSCRIBED =>
        {
            Act::Leave
        }
        (Saying::Complained | Saying::Unsubscribed, Some(Some(_)) | None) => Act::Add {
            reason: UNSUBSCRIBED,
            channel_id: None,
        },
        (Saying::Resubscribed, Some(Some(entry))) if is_ours(entry) => Act::Remove,
        (Saying::Resubscribed, Some(_) | None) => Act::Leave,
    }
}

fn is_ours(entry: &Entry) -> bool {
    let comments = entry.comments.as_deref().unwrap_or_default();
    comments.starts_with(COMMENT_PREFIX)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::webhook::tests::event;

    #[test]
    fn only_the_recipient_s_own_part_is_told() {
        for (kind, blame, saying) in [
            ("bounced", Some(Blame::Recipient), Some(Saying::Bounced)),
            ("bounced", Some(Blame::MailboxFull), None),
            ("bounced", Some(Blame::Content), None),
            ("bounced", Some(Blame::SenderAuth), None),
            ("bounced", Some(Blame::Reputation), None),
            ("bounced", Some(Blame::Rate), None),
            ("bounced", Some(Blame::Infrastructure), None),
            ("bounced", Some(Blame::Policy), None),
            ("bounced", Some(Blame::Unknown), None),
            ("bounced", None, None),
            ("suppressed", Some(Blame::Recipient), Some(Saying::Bounced)),
            (
                "suppressed",
                Some(Blame::MailboxFull),
                Some(Saying::Bounced),
            ),
            ("suppressed", None, None),
            ("complained", None, Some(Saying::Complained)),
            ("unsubscribed", None, Some(Saying::Unsubscribed)),
            ("resubscribed", None, Some(Saying::Resubscribed)),
            ("deferred", Some(Blame::Recipient), None),
            ("rejected", Some(Blame::Recipient), None),
            ("expired", None, None),
            ("delivered", None, None),
        ] {
            let mut event = event(kind);
            event.blame = blame;
            assert_eq!(Saying::of(&event), saying, "{kind} {blame:?}");
        }
    }

    #[test]
    fn a_comment_begins_with_malote_and_names_nobody() {
        let mut event = event("bounced");
        event.reply = "550 5.1.1 <ana@one.example>: \"User\" unknown & gone".into();
        assert_eq!(
            Saying::Bounced.comment(&event),
            "malote: 550 5.1.1 ***@one.example: User unknown  gone (ses)"
        );
        assert_eq!(
            Saying::Complained.comment(&event),
            "malote: complained: 550 5.1.1 ***@one.example: User unknown  gone (ses)"
        );
        event.reply = "ses/tx-550: rejected_recipient: 551 5.1.6 moved".into();
        assert_eq!(
            Saying::Bounced.comment(&event),
            "malote: 551 5.1.6 moved (ses)"
        );
        event.reply.clear();
        event.provider = None;
        assert_eq!(Saying::Bounced.comment(&event), "malote: bounced");
    }

    #[test]
    fn a_contact_s_entries_decide() {
        let entry = |reason, comments: &str| Entry {
            reason,
            channel: "email".into(),
            comments: Some(comments.into()),
        };
        let sms = Entry {
            channel: "sms".into(),
            ..entry(1, "")
        };
        let add = |reason, channel_id| Act::Add { reason, channel_id };
        let none: &[Entry] = &[];
        for (saying, entries, expected) in [
            (Saying::Bounced, Some(none), add(2, Some(12))),
            (Saying::Bounced, None, add(2, Some(12))),
            (Saying::Bounced, Some(&[sms.clone()][..]), add(2, Some(12))),
            (Saying::Bounced, Some(&[entry(1, "")][..]), Act::Leave),
            (Saying::Bounced, Some(&[entry(2, "")][..]), Act::Leave),
            (Saying::Complained, Some(none), add(1, Some(12))),
            (Saying::Complained, None, add(1, None)),
            (Saying::Complained, Some(&[entry(2, "")][..]), add(1, None)),
            (
                Saying::Unsubscribed,
                Some(&[entry(3, "")][..]),
                add(1, None),
            ),
            (Saying::Unsubscribed, Some(&[entry(1, "")][..]), Act::Leave),
            (Saying::Resubscribed, Some(none), Act::Leave),
            (Saying::Resubscribed, None, Act::Leave),
            (
                Saying::Resubscribed,
                Some(&[entry(1, "by hand")][..]),
                Act::Leave,
            ),
            (
                Saying::Resubscribed,
                Some(&[entry(1, "malote: unsubscribed")][..]),
                Act::Remove,
            ),
            (
                Saying::Resubscribed,
                Some(&[sms, entry(2, "malote: 550")][..]),
                Act::Remove,
            ),
        ] {
            assert_eq!(
                act(saying, entries, Some(12)),
                expected,
                "{saying:?} {entries:?}"
            );
        }
    }

    #[test]
    fn codes_are_found_where_they_stand() {
        for (reply, expected) in [
            ("550 5.1.1 no such user", (Some(550), Some([5, 1, 1]))),
            ("550-5.1.1 no such user", (Some(550), Some([5, 1, 1]))),
            ("smtp; 552 5.2.2. full", (Some(552), Some([5, 2, 2]))),
            ("no such user", (None, None)),
            ("from 192.0.2.1: 4.7.0 later", (None, Some([4, 7, 0]))),
            ("user 250 is gone", (None, None)),
        ] {
            assert_eq!(codes(reply), expected, "{reply}");
        }
    }

    proptest! {
        #[test]
        fn any_reply_makes_a_bounded_comment(reply in "\\PC{0,600}") {
            let mut event = event("bounced");
            event.reply = reply.clone();
            let comment = Saying::Bounced.comment(&event);
            prop_assert!(comment.starts_with("malote: ") && comment.len() < 512);
            prop_assert!(!comment.contains(['<', '>', '\r', '\n']));
            codes(&reply);
        }
    }
}
