//! What Mautic is told, of which event, in which words: decisions without a peer.

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
            Act::Add { is_first: true, .. } | Act::Leave | Act::Remove => COMMENT_PREFIX,
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
        /// Whether nothing stands there that it could replace.
        is_first: bool,
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
        (Saying::Complained | Saying::Unsubscribed, Some(entries)) if is_unsubscribed(entries) => {
            Act::Leave
        }
        (Saying::Complained | Saying::Unsubscribed, Some([_, ..]) | None) => Act::Add {
            reason: UNSUBSCRIBED,
            channel_id: None,
            is_first: false,
        },
        // Alone: Mautic removes the first entry of the channel, whatever its reason.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::webhook::tests::event;

    const FIRST: Act = Act::Add {
        reason: BOUNCED,
        channel_id: None,
        is_first: true,
    };

    #[test]
    fn of_every_kind_and_class_only_what_is_the_recipient_s_own_part_is_told() {
        const KINDS: [&str; 21] = [
            "accepted",
            "sent",
            "delivered",
            "deferred",
            "failed_over",
            "bounced",
            "complained",
            "unsubscribed",
            "resubscribed",
            "opened",
            "clicked",
            "suppressed",
            "rejected",
            "held",
            "released",
            "expired",
            "cancelled",
            "unknown",
            "resend_risk",
            "quarantined",
            "a_kind_to_come",
        ];
        let classes = Blame::ALL.map(Some).into_iter().chain([None]);
        let mut told = Vec::new();
        for (kind, blame) in KINDS
            .into_iter()
            .flat_map(|kind| classes.clone().map(move |blame| (kind, blame)))
        {
            let event = FeedEvent {
                blame,
                ..event(kind)
            };
            let expected = match (kind, blame) {
                ("bounced" | "suppressed", Some(Blame::Recipient)) => Some(Saying::Bounced),
                ("complained", _) => Some(Saying::Complained),
                ("unsubscribed", _) => Some(Saying::Unsubscribed),
                ("resubscribed", _) => Some(Saying::Resubscribed),
                _ => None,
            };
            assert_eq!(Saying::of(&event), expected, "{kind} {blame:?}");
            told.extend(expected);
        }
        assert_eq!(told.len(), 2 + 3 * (Blame::ALL.len() + 1));
    }

    #[test]
    fn a_comment_begins_with_malote_and_names_nobody() {
        let mut event = event("bounced");
        event.reply = "550 5.1.1 <ana@one.example>: \"User\" unknown & gone".into();
        assert_eq!(
            Saying::Bounced.comment(&event, &FIRST),
            "malote: 550 5.1.1 ***@one.example: User unknown  gone (ses)"
        );
        assert_eq!(
            Saying::Complained.comment(&event, &FIRST),
            "malote: complained: 550 5.1.1 ***@one.example: User unknown  gone (ses)"
        );
        event.reply = "ses/tx-550: rejected_recipient: 551 5.1.6 moved".into();
        assert_eq!(
            Saying::Bounced.comment(&event, &FIRST),
            "malote: 551 5.1.6 moved (ses)"
        );
        event.reply.clear();
        event.provider = None;
        assert_eq!(Saying::Bounced.comment(&event, &FIRST), "malote: bounced");
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
        let add = |reason, channel_id| Act::Add {
            reason,
            channel_id,
            is_first: true,
        };
        let replace = || Act::Add {
            reason: 1,
            channel_id: None,
            is_first: false,
        };
        let none: &[Entry] = &[];
        for (saying, entries, expected) in [
            (Saying::Bounced, Some(none), add(2, Some(12))),
            (Saying::Bounced, None, add(2, Some(12))),
            (Saying::Bounced, Some(&[sms.clone()][..]), add(2, Some(12))),
            (Saying::Bounced, Some(&[entry(1, "")][..]), Act::Leave),
            (Saying::Bounced, Some(&[entry(2, "")][..]), Act::Leave),
            (Saying::Complained, Some(none), add(1, Some(12))),
            (Saying::Complained, None, replace()),
            (Saying::Complained, Some(&[entry(2, "")][..]), replace()),
            (Saying::Unsubscribed, Some(&[entry(3, "")][..]), replace()),
            (
                Saying::Unsubscribed,
                Some(&[entry(2, ""), entry(1, "")][..]),
                Act::Leave,
            ),
            (Saying::Unsubscribed, Some(&[entry(1, "")][..]), Act::Leave),
            (Saying::Resubscribed, Some(none), Act::Leave),
            (Saying::Resubscribed, None, Act::Leave),
        ] {
            assert_eq!(
                act(saying, entries, Some(12)),
                expected,
                "{saying:?} {entries:?}"
            );
        }
    }

    #[test]
    fn only_an_unsubscribe_that_stands_alone_and_is_ours_is_taken_back() {
        let entry = |reason, comments: &str| Entry {
            reason,
            channel: "email".into(),
            comments: Some(comments.into()),
        };
        let sms = Entry {
            channel: "sms".into(),
            ..entry(1, "")
        };
        let ours = || entry(1, "malote: unsubscribed (ses)");
        let bounce = || entry(2, "malote: 550 5.1.1 no such user (ses)");
        let complaint = || entry(1, "malote: complained: abuse (ses)");
        for (entries, expected) in [
            (vec![], Act::Leave),
            (vec![ours()], Act::Remove),
            (vec![sms.clone(), ours()], Act::Remove),
            (vec![sms], Act::Leave),
            (vec![bounce()], Act::Leave),
            (vec![complaint()], Act::Leave),
            (vec![entry(2, "malote: unsubscribed user")], Act::Leave),
            (vec![entry(1, "by hand")], Act::Leave),
            (vec![entry(1, "User unsubscribed")], Act::Leave),
            (vec![entry(3, "malote: unsubscribed")], Act::Leave),
            // Mautic removes the first entry that it finds, whatever its reason.
            (vec![ours(), bounce()], Act::Leave),
            (vec![complaint(), ours()], Act::Leave),
            (vec![ours(), entry(3, "by hand")], Act::Leave),
        ] {
            let found = act(Saying::Resubscribed, Some(&entries), Some(12));
            assert_eq!(found, expected, "{entries:?}");
        }
        assert_eq!(act(Saying::Resubscribed, None, None), Act::Leave);
    }

    #[test]
    fn an_unsubscribe_that_may_stand_in_place_of_another_entry_is_never_taken_back() {
        let event = event("unsubscribed");
        let bounced = Entry {
            reason: 2,
            channel: "email".into(),
            comments: None,
        };
        for (entries, is_taken_back) in [
            (Some(&[][..]), true),
            (Some(&[bounced][..]), false),
            (None, false),
        ] {
            let act_now = act(Saying::Unsubscribed, entries, None);
            let stands = Entry {
                reason: 1,
                channel: "email".into(),
                comments: Some(Saying::Unsubscribed.comment(&event, &act_now)),
            };
            let undone = act(Saying::Resubscribed, Some(&[stands]), None);
            assert_eq!(undone == Act::Remove, is_taken_back, "{entries:?}");
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
            let comment = Saying::Bounced.comment(&event, &FIRST);
            prop_assert!(comment.starts_with("malote: ") && comment.len() < 512);
            prop_assert!(!comment.contains(['<', '>', '\r', '\n']));
            codes(&reply);
        }
    }
}
