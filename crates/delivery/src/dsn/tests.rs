//! Notifications as their readers see them.

use std::collections::BTreeMap;

use mail_parser::{MessageParser, MimeHeaders as _};
use malote_core::id::DeliveryId;
use malote_core::message::{Channel, DsnParameters};
use malote_core::name::{CredentialName, StreamName};
use malote_core::stream::Class;
use malote_store::Leased;
use proptest::prelude::*;

use super::*;

const VERP: &str = "m+bounce_656e1a2b3c4d5678901234@shop.example";
const ORIGINAL: &str =
    "From: News <n@shop.example>\r\nSubject: your mailbox is full\r\n\r\nquota exceeded\r\n";

fn record(mail_from: Option<&str>) -> MessageRecord {
    MessageRecord {
        id: MessageId::from_bytes([1; 16]),
        credential: CredentialName::try_from("mautic").unwrap(),
        channel: Channel::Smtp("127.0.0.1".parse().unwrap()),
        stream: StreamName::try_from("campaign").unwrap(),
        class: Class::Campaign,
        stream_reason: String::new(),
        mail_from: mail_from.map(|a| a.parse().unwrap()),
        from: "n@shop.example".parse().unwrap(),
        message_id_header: "<orig@shop.example>".into(),
        campaign: None,
        tracking_hash: None,
        one_click: None,
        tags: Vec::new(),
        metadata: BTreeMap::new(),
        tracking: malote_core::tracking::Tracking::default(),
        asked_fields: BTreeMap::new(),
        dsn: DsnParameters::default(),
        size_bytes: 0,
        accepted_at: Timestamp::UNIX_EPOCH,
        expires_at: Timestamp::UNIX_EPOCH,
    }
}

fn leased(recipient: &str) -> Leased {
    Leased {
        id: DeliveryId {
            message: MessageId::from_bytes([1; 16]),
            index: 0,
        },
        stream: StreamName::try_from("campaign").unwrap(),
        recipient: recipient.parse().unwrap(),
        notify: None,
        orcpt: None,
        mailbox_provider: None,
        state: State::Sending,
        attempts: 1,
        calls: 1,
        progress: None,
        crashes: 0,
        damaged: None,
    }
}

fn notify(record: &MessageRecord, delivery: &Leased, body: &Bytes, reply: &Reply) -> Option<Dsn> {
    compose(&DsnInput {
        id: MessageId::from_bytes([9; 16]),
        now: "2026-11-22T01:00:00Z".parse().unwrap(),
        reporting_mta: "gw.example",
        record,
        body,
        recipient: delivery.recipient.as_str(),
        orcpt: delivery.orcpt.as_deref(),
        state: State::Bounced,
        reply: Some(reply),
    })
}

fn said(code: u16, enhanced: &str, text: &str) -> Reply {
    Reply::new(Some(code), Some(enhanced.to_owned()), text)
}

fn text(dsn: &Dsn) -> String {
    String::from_utf8(dsn.body.to_vec()).unwrap()
}

#[test]
fn a_report_has_its_three_parts() {
    let mut record = record(Some("ann@shop.example"));
    record.dsn.envid = Some("QQ+3D1".into());
    let mut delivery = leased("no@dest.example");
    delivery.orcpt = Some("rfc822;no+2Bx@dest.example".into());
    let reply = said(550, "5.1.1", "<no@dest.example> não existe");
    let dsn = notify(&record, &delivery, &Bytes::from(ORIGINAL), &reply).unwrap();
    let message = MessageParser::default().parse(&dsn.body[..]).unwrap();
    let address = |list: Option<&mail_parser::Address<'_>>| {
        list.and_then(|a| a.first())
            .and_then(|a| a.address())
            .map(str::to_owned)
    };
    assert_eq!(address(message.to()).as_deref(), Some("ann@shop.example"));
    assert_eq!(address(message.from()).as_deref(), Some(dsn.from.as_str()));
    assert_eq!(dsn.from.as_str(), "mailer-daemon@shop.example");
    let content_type = message.content_type().unwrap();
    assert_eq!(content_type.subtype(), Some("report"));
    assert_eq!(
        content_type.attribute("report-type"),
        Some("delivery-status")
    );
    assert!(
        message
            .body_text(0)
            .unwrap()
            .contains("550 5.1.1 <no@dest.example> não existe")
    );
    let kinds: Vec<_> = message
        .parts
        .iter()
        .skip(1)
        .map(|p| {
            p.content_type()
                .and_then(|c| c.subtype())
                .unwrap_or_default()
        })
        .collect();
    assert_eq!(kinds, ["plain", "delivery-status", "rfc822-headers"]);
    assert!(
        message.parts[3]
            .text_contents()
            .unwrap()
            .starts_with("From: News")
    );
    let status = "Reporting-MTA: dns; gw.example\r\n\
        Original-Envelope-Id: QQ=1\r\n\
        Arrival-Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n\
        \r\n\
        Original-Recipient: rfc822;no+x@dest.example\r\n\
        Final-Recipient: rfc822; no@dest.example\r\n\
        Action: failed\r\n\
        Status: 5.1.1\r\n\
        Diagnostic-Code: smtp; 550 5.1.1 <no@dest.example> n?o existe\r\n\
        Last-Attempt-Date: Sun, 22 Nov 2026 01:00:00 +0000\r\n";
    assert!(text(&dsn).contains(status), "{}", text(&dsn));
}

/// The patterns that could take a report of another failure for the address's fault, or for a full
/// mailbox, which counts the same; a choice of those in DsnParser.php of Mautic 5 to 7.
fn stops_mail_in_mautic(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let nouns = [
        "alias",
        "account",
        "recipient:",
        "address",
        "email",
        "mailbox",
        "user",
    ];
    let ends = [
        "unknown",
        "full",
        "unavailable",
        "reject",
        "disabled",
        "exist",
        "not found",
        "expire",
    ];
    text.lines().any(|line| {
        let noun = nouns.iter().filter_map(|n| line.find(n)).min();
        let is_about = noun.is_some_and(|at| ends.iter().any(|end| line[at..].contains(end)));
        let anywhere = [
            "quota",
            "access denied",
            "service unavailable",
            "relay",
            "message refused",
            "blocked",
            "suspend",
            "spam",
            "host unknown",
        ];
        is_about || anywhere.iter().any(|phrase| line.contains(phrase))
    })
}

#[test]
fn mautic_reads_unknown_mailboxes_and_nothing_else() {
    let record = record(Some(VERP));
    let body = Bytes::from(ORIGINAL);
    for (reply, diagnostic) in [
        (
            said(550, "5.1.1", "<no@dest.example> mailbox full, quota"),
            "smtp; 550 5.1.1 User unknown",
        ),
        (
            Reply::none("smtp; 550 5.1.2 no"),
            "smtp; 550 5.1.2 User unknown",
        ),
        (
            said(550, "5.7.1", "Mailbox unavailable, block list (S3150)"),
            "smtp; 550 5.7.1 delivery refused",
        ),
        (
            said(554, "5.6.0", "Service unavailable; user quota exceeded"),
            "smtp; 550 5.6.0 delivery refused",
        ),
        (
            said(400, "MessageRejected", "user unknown to the relay, spam"),
            "smtp; 550 5.0.0 delivery refused",
        ),
    ] {
        let dsn = notify(&record, &leased("no@dest.example"), &body, &reply).unwrap();
        let report = MessageParser::default().parse(&dsn.body[..]).unwrap();
        let human = report.body_text(0).unwrap().into_owned();
        let answer = human
            .lines()
            .find(|line| line.contains("last answer"))
            .unwrap();
        assert!(!answer.contains('@'), "{answer}");
        let text = text(&dsn);
        assert!(text.contains(&format!("To: {VERP}\r\n")));
        assert!(
            text.contains(&format!("Diagnostic-Code: {diagnostic}\r\n")),
            "{text}"
        );
        let is_stopped = diagnostic.ends_with("User unknown");
        assert_eq!(stops_mail_in_mautic(&text), is_stopped, "{reply}\n{text}");
    }
}

#[test]
fn an_expired_message_says_so_and_stops_nothing() {
    let (record, body) = (record(Some(VERP)), Bytes::from(ORIGINAL));
    let dsn = compose(&DsnInput {
        id: MessageId::from_bytes([9; 16]),
        now: Timestamp::UNIX_EPOCH,
        reporting_mta: "gw.example",
        record: &record,
        body: &body,
        recipient: "no@dest.example",
        orcpt: None,
        state: State::Expired,
        reply: None,
    });
    let text = text(&dsn.unwrap());
    assert!(
        text.contains(
            "Status: 4.4.7\r\nDiagnostic-Code: smtp; 451 4.4.7 delivery time ran out\r\n"
        )
    );
    assert!(!stops_mail_in_mautic(&text), "{text}");
}

#[test]
fn a_message_without_sender_is_not_answered() {
    let reply = said(550, "5.1.1", "no");
    assert!(
        notify(
            &record(None),
            &leased("no@dest.example"),
            &Bytes::new(),
            &reply
        )
        .is_none()
    );
}

#[test]
fn the_message_is_given_back_whole_only_if_asked_for_and_small() {
    let mut record = record(Some("ann@shop.example"));
    let reply = said(554, "5.7.1", "no");
    let eight_bit = Bytes::from("From: a@x\r\n\r\nolá\r\n");
    let large = Bytes::from([ORIGINAL, &"x".repeat(RETURNED_BYTES_MAX)].concat());
    for (ret_full, body, kind, encoding) in [
        (false, &eight_bit, "text/rfc822-headers", "7bit"),
        (true, &eight_bit, "message/rfc822", "8bit"),
        (true, &large, "text/rfc822-headers", "7bit"),
    ] {
        record.dsn.ret_full = ret_full;
        let dsn = notify(&record, &leased("no@dest.example"), body, &reply).unwrap();
        let text = text(&dsn);
        assert!(
            text.contains(&format!("Content-Type: {kind}")),
            "{ret_full}"
        );
        let (head, _) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Transfer-Encoding: {encoding}")),
            "{head}"
        );
        assert!(text.len() < RETURNED_BYTES_MAX);
    }
    let dsn = notify(&record, &leased("no@dest.example"), &Bytes::new(), &reply).unwrap();
    assert!(!text(&dsn).contains("rfc822-headers"));
}

#[test]
fn addresses_beyond_ascii_are_written_in_seven_bits() {
    let reply = said(550, "5.1.1", "no");
    let record = record(Some("ann@shop.example"));
    let dsn = notify(&record, &leased("j\u{f6}+x@x.test"), &Bytes::new(), &reply).unwrap();
    assert!(text(&dsn).contains("Final-Recipient: utf-8; j\\x{F6}\\x{2B}x@x.test\r\n"));
    assert!(dsn.body.is_ascii());
}

#[test]
fn xtext_is_decoded_or_left_out() {
    for (text, decoded) in [
        ("rfc822;a+2Bb@x", Some("rfc822;a+b@x")),
        ("a+0D+0AX: y", None),
        ("a+2", None),
        ("a+zz", None),
        ("", None),
        ("é", None),
    ] {
        assert_eq!(decode_xtext(text).as_deref(), decoded, "{text}");
    }
}

proptest! {
    #[test]
    fn whatever_was_said_the_report_stays_well_formed(
        words in "\\PC{0,600}", orcpt in "\\PC{0,60}", original in "[ -~\r\n]{0,80}",
    ) {
        let mut delivery = leased("no@dest.example");
        delivery.orcpt = Some(orcpt);
        let reply = Reply::new(Some(550), None, &words);
        let dsn = notify(&record(Some("a@x.test")), &delivery, &Bytes::from(original), &reply).unwrap();
        prop_assert!(dsn.body.is_ascii());
        prop_assert!(!malote_core::message::has_bare_cr_lf(&dsn.body));
        prop_assert!(dsn.body.split(|b| *b == b'\n').all(|line| line.len() <= 999));
        let header = Header::parse(&dsn.body).unwrap();
        prop_assert_eq!(header.count("Bcc"), 0);
        prop_assert_eq!(header.fields().count(), 9);
        let message = MessageParser::default().parse(&dsn.body[..]).unwrap();
        prop_assert!((3..=4).contains(&message.parts.len()));
    }
}
