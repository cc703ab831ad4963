//! Each service's documented answers, fields and ids.

use malote_core::provider::Outgoing;
use malote_core::stream::Class;
use malote_core::tracking::{Switch, TrackingSwitches};

use super::services::*;
use super::*;
use crate::correlation::tests::outgoing;
use crate::smtp::Preset;

fn all() -> impl Iterator<Item = &'static Dialect> {
    Preset::ALL.into_iter().map(Preset::dialect)
}

const STAGES: [Stage; 8] = [
    Stage::Banner,
    Stage::Ehlo,
    Stage::StartTls,
    Stage::Auth,
    Stage::MailFrom,
    Stage::RcptTo,
    Stage::Data,
    Stage::FinalDot,
];

/// A row's stage and reply.
fn parts(row: &Documented) -> (Stage, ServerReply) {
    let (stage, text) = row.answer.split_once(": ").expect("STAGE: text");
    let mut stages = STAGES.into_iter();
    let stage = stages.find(|s| s.to_string() == stage).expect("a stage");
    let line = format!("{} {text}\r\n", row.status);
    let (reply, _) = reply::parse(line.as_bytes()).unwrap().unwrap();
    (stage, reply)
}

fn message() -> Outgoing {
    let mut message = outgoing(&["x@dest.example"]);
    message.mail_from = Some("a@shop.example".parse().unwrap());
    message
}

#[test]
fn each_documented_answer_means_what_its_row_says() {
    let message = message();
    for dialect in all() {
        for row in dialect.documented {
            let (stage, reply) = parts(row);
            let context = Context {
                stage,
                recipients: 1,
            };
            let verdict = dialect.verdict(context, &reply, Some(&message));
            assert_eq!(verdict.as_str(), row.verdict, "{dialect:?} {row:?}");
            assert!(!row.source.is_empty(), "{row:?}");
        }
    }
}

#[test]
fn each_rule_has_a_documented_answer() {
    for dialect in all() {
        for rule in dialect.rules {
            let fits = |row: &Documented| {
                let (stage, reply) = parts(row);
                rule.fits(stage, &reply, &Words::of(&reply))
            };
            assert!(dialect.documented.iter().any(fits), "{dialect:?} {rule:?}");
            let is_lower = |words: &&str| words.to_ascii_lowercase() == *words;
            assert!(rule.words.iter().all(is_lower), "{rule:?}");
        }
    }
}

#[test]
fn what_is_said_of_one_of_several_ungroups_them() {
    let text = "550 not allowed to send: add the address to authorized recipients\r\n";
    let (reply, _) = reply::parse(text.as_bytes()).unwrap().unwrap();
    for (stage, recipients, expected) in [
        (Stage::FinalDot, 1, "rejected_not_permitted"),
        (Stage::FinalDot, 2, "ungroup"),
        (Stage::RcptTo, 2, "rejected_not_permitted"),
    ] {
        let context = Context { stage, recipients };
        let verdict = MAILGUN.verdict(context, &reply, None);
        assert_eq!(verdict.as_str(), expected, "{stage} {recipients}");
    }
}

#[test]
fn only_a_limit_that_ends_is_waited_for() {
    for (stage, text, expected) in [
        (
            Stage::RcptTo,
            "550 not allowed to send: request limit exceeded, try again after 30 seconds",
            "throttled",
        ),
        (
            Stage::MailFrom,
            "552 size limit exceeded",
            "rejected_message_here",
        ),
        (
            Stage::FinalDot,
            "552 5.3.4 Message size limit exceeded",
            "rejected_message_here",
        ),
    ] {
        let (reply, _) = reply::parse(format!("{text}\r\n").as_bytes())
            .unwrap()
            .unwrap();
        let context = Context {
            stage,
            recipients: 1,
        };
        let verdict = MAILGUN.verdict(context, &reply, None);
        assert_eq!(verdict.as_str(), expected, "{stage} {text}");
    }
}

fn front(dialect: &Dialect, message: &Outgoing, key: Option<&str>) -> String {
    let front = dialect.front(message, key, &[]);
    String::from_utf8(front.to_vec()).unwrap()
}

#[test]
fn services_get_pool_tags_and_metadata_in_their_fields() {
    let message = outgoing(&["x@dest.example"]);
    let id = message.message.simple();
    let to = crate::correlation::recipients(&message, 100).remove(0);
    let ids = format!("\"malote-message\":\"{id}\",\r\n \"malote-to-0\":\"{to}\"");
    for (dialect, key, expected) in [
        (
            &SES,
            Some("set-1"),
            format!(
                "X-SES-CONFIGURATION-SET: set-1\r\n\
                 X-SES-MESSAGE-TAGS: malote-message={id},\r\n malote-to-0={to}, tag-0=welcome, order=42\r\n"
            ),
        ),
        (
            &MAILGUN,
            Some("pool-1"),
            format!(
                "X-Mailgun-Suppress-Headers: X-Mailgun-Variables,X-Mailgun-Tag\r\n\
                 X-Mailgun-Sending-Ip-Pool: pool-1\r\nX-Mailgun-Tag: welcome\r\n\
                 X-Mailgun-Variables: {{{ids},\r\n \"order\":\"42\"}}\r\n"
            ),
        ),
        (
            &SENDGRID,
            Some("bulk"),
            format!(
                "X-SMTPAPI: {{\"category\":[\"welcome\"],\r\n \"ip_pool\":\"bulk\",\r\n \
                 \"unique_args\":{{{ids},\r\n \"order\":\"42\"}}}}\r\n"
            ),
        ),
        (
            &POSTMARK,
            Some("news"),
            format!(
                "X-PM-Message-Stream: news\r\nX-PM-KeepID: true\r\nX-PM-Tag: welcome\r\n\
                 X-PM-Metadata-malote-message: {id}\r\nX-PM-Metadata-malote-to-0: {to}\r\n\
                 X-PM-Metadata-order: 42\r\n"
            ),
        ),
        (
            &SPARKPOST,
            Some("pool-1"),
            format!(
                "X-MSYS-API: {{\"metadata\":{{{ids},\r\n \"order\":\"42\"}},\r\n \
                 \"options\":{{\"ip_pool\":\"pool-1\",\r\n \"transactional\":true}},\r\n \
                 \"tags\":[\"welcome\"]}}\r\n"
            ),
        ),
        (
            &MAILTRAP,
            None,
            format!(
                "X-MT-Category: welcome\r\n\
                 X-MT-Custom-Variables: {{{ids},\r\n \"order\":\"42\"}}\r\n"
            ),
        ),
    ] {
        assert_eq!(front(dialect, &message, key), expected, "{dialect:?}");
    }
}

#[test]
fn tracking_is_switched_in_the_fields_of_services_that_have_some() {
    let mut message = outgoing(&["x@dest.example"]);
    message.tracking.opens = Some(true);
    message.tracking.clicks = Some(false);
    for (dialect, fields) in [
        (
            &MAILGUN,
            [
                "X-Mailgun-Track-Opens: yes\r\n",
                "X-Mailgun-Track-Clicks: no\r\n",
            ],
        ),
        (
            &SENDGRID,
            [
                "\"clicktrack\":{\"settings\":{\"enable\":0}}",
                "\"opentrack\":{\"settings\":{\"enable\":1}}",
            ],
        ),
        (
            &POSTMARK,
            ["X-PM-TrackOpens: true\r\n", "X-PM-TrackLinks: None\r\n"],
        ),
        (
            &SPARKPOST,
            ["\"click_tracking\":false", "\"open_tracking\":true"],
        ),
        (
            &MAILJET,
            ["X-Mailjet-TrackOpen: 1\r\n", "X-Mailjet-TrackClick: 0\r\n"],
        ),
    ] {
        let text = front(dialect, &message, None);
        let unfolded = text.replace("\r\n ", "");
        for field in fields {
            assert!(unfolded.contains(field), "{dialect:?} {field} {text}");
        }
        assert!(!TrackingSwitches::ACCOUNT.eq(&dialect.tracking));
    }
    let silent = outgoing(&["x@dest.example"]);
    for dialect in Preset::ALL.map(Preset::dialect) {
        let text = front(dialect, &silent, None).to_lowercase();
        assert!(!text.contains("track"), "{dialect:?} {text}");
        let says_more = front(dialect, &silent, None) != front(dialect, &message, None);
        let can_switch = dialect.tracking.clicks == Switch::Both;
        assert_eq!(says_more, can_switch, "{dialect:?}");
    }
}

#[test]
fn services_without_metadata_get_our_ids_and_others_nothing() {
    let message = outgoing(&["x@dest.example"]);
    let id = message.message.simple();
    let to = crate::correlation::recipients(&message, 100).remove(0);
    for (dialect, key, expected) in [
        (
            &ELASTICEMAIL,
            Some("news"),
            format!("X-ElasticEmail-Channel: news\r\nX-ElasticEmail-Postback: {id}.{to}\r\n"),
        ),
        (&SMTP2GO, None, String::new()),
        (&POSTAL, None, format!("X-Postal-Tag: {id}.{to}\r\n")),
        (
            &BREVO,
            None,
            format!("X-Mailin-custom: {id}.{to}\r\nX-Mailin-Tag: welcome\r\n"),
        ),
        (
            &MAILJET,
            None,
            format!("X-MJ-CustomID: {id}.{to}\r\nX-Mailjet-Campaign: welcome\r\n"),
        ),
        (&MICROSOFT365, None, String::new()),
        (&GOOGLE, None, String::new()),
        (&PLAIN, None, String::new()),
    ] {
        assert_eq!(front(dialect, &message, key), expected, "{dialect:?}");
    }
}

#[test]
fn a_repeat_to_the_same_recipients_has_the_same_idempotency_key_and_no_other_has() {
    let field = |addresses: &[&str]| front(&RESEND, &outgoing(addresses), None);
    let one = field(&["a@x.test"]);
    assert!(
        one.starts_with("Resend-Idempotency-Key: malote/07070707"),
        "{one}"
    );
    assert_eq!(one, field(&["a@x.test"]));
    assert_ne!(one, field(&["a@x.test", "b@x.test"]));
}

#[test]
fn campaigns_are_not_transactional() {
    let mut message = outgoing(&["x@dest.example"]);
    message.class = Class::Campaign;
    assert!(front(&SPARKPOST, &message, None).contains("\"transactional\":false"));
}

#[test]
fn lines_stay_within_998_octets_of_ascii_and_no_text_escapes_its_field() {
    for dialect in all() {
        let addresses: Vec<String> = (0..dialect.bounds.recipients_max)
            .map(|n| format!("r{n}@x.test"))
            .collect();
        let mut message = outgoing(&addresses.iter().map(String::as_str).collect::<Vec<_>>());
        message.tags = vec![
            "é\r\nBcc: t@evil.test".into(),
            "t".repeat(5000),
            "😀".repeat(500),
        ];
        for n in 0..20 {
            let value = format!("{n}\r\nBcc: m@evil.test\r\n\r\n{}", "é".repeat(5000));
            message
                .metadata
                .insert(format!("k{n}\r\nBcc: k@evil.test"), value);
        }
        let text = front(dialect, &message, Some("p"));
        assert!(text.is_ascii(), "{dialect:?}");
        assert!(text.is_empty() || text.ends_with("\r\n"), "{dialect:?}");
        assert!(!text.contains("\r\n\r\n"), "{dialect:?}");
        for line in text.split_terminator("\r\n") {
            assert!(line.len() <= 998, "{dialect:?} {}", line.len());
            assert!(line.starts_with([' ', 'X', 'R']), "{dialect:?} {line}");
        }
        // A bound of 16 KB is the widest that a service has.
        assert!(text.len() <= 16_000, "{dialect:?} {}", text.len());
    }
}

#[test]
fn what_recipients_may_read_does_not_say_who_the_others_are() {
    let message = outgoing(&["a@x.test", "b@x.test"]);
    let hashes = crate::correlation::recipients(&message, 1000).remove(0);
    let hash = hashes.split(['-', '_']).nth(1).unwrap().to_owned();
    for dialect in all() {
        let text = front(dialect, &message, Some("p"));
        let is_hidden = ["ses", "mailgun", "sendgrid", "postmark", "sparkpost"];
        assert_eq!(
            text.contains(&hash),
            is_hidden.contains(&dialect.name),
            "{text}"
        );
        assert!(!text.contains("@x.test"), "{text}");
    }
}

#[test]
fn ids_are_those_that_events_carry() {
    for (dialect, answer, id) in [
        (
            &SES,
            "250 Ok 0100018f3c2a-aaaa-bbbb-000000",
            Some("0100018f3c2a-aaaa-bbbb-000000"),
        ),
        (&SENDGRID, "250 Ok: queued as abcDEF123", Some("abcDEF123")),
        (
            &SMTP2GO,
            "250 OK id=1u0SwL-4o5RqM-0x",
            Some("1u0SwL-4o5RqM-0x"),
        ),
        (
            &BREVO,
            "250 2.0.0 OK: queued as <2026.1@smtp-relay.mailin.fr>",
            Some("2026.1@smtp-relay.mailin.fr"),
        ),
        (&MAILGUN, "250 Great success", None),
        (&MAILGUN, "250 Ok: queued as not-in-events", None),
        (&POSTAL, "250 OK", None),
    ] {
        let (reply, _) = reply::parse(format!("{answer}\r\n").as_bytes())
            .unwrap()
            .unwrap();
        assert_eq!(dialect.message_id(&reply).as_deref(), id, "{answer}");
    }
}

#[test]
fn presets_and_their_dialects_have_the_same_names() {
    for dialect in all() {
        let preset: Preset = serde_json::from_value(dialect.name.into()).unwrap();
        assert_eq!(preset.dialect().name, dialect.name);
    }
}
