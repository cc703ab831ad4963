//! What Mautic is told, by tables.

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
        (
            Saying::Complained,
            Some(&[entry(1, "malote: unsubscribed (ses)"), sms.clone()][..]),
            Act::Replace {
                channel_id: Some(12),
            },
        ),
        (
            Saying::Unsubscribed,
            Some(&[entry(1, "malote: unsubscribed (ses)")][..]),
            Act::Leave,
        ),
        (
            Saying::Complained,
            Some(&[entry(1, "malote: complained (ses)")][..]),
            Act::Leave,
        ),
        (Saying::Complained, Some(&[entry(1, "")][..]), Act::Leave),
        (
            Saying::Complained,
            Some(&[entry(1, "malote: unsubscribed"), entry(2, "")][..]),
            Act::Leave,
        ),
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
