//! What the header section's rules promise, as tables and properties.

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Header, HeaderFault> {
    Header::parse(&Bytes::copy_from_slice(text.as_bytes()))
}

fn from(text: &str) -> Option<(String, Option<String>)> {
    FromMailbox::parse(text).map(|m| (m.address.to_string(), m.phrase))
}

#[test]
fn fields_are_found_with_their_folds() {
    let header = parse(
        "Received: by x;\r\n\tSun\r\nSubject:  a\r\n  b \r\nX-Blank: v\r\n \r\nsubject: two\r\n\r\nBody: no\r\n",
    )
    .unwrap();
    let all: Vec<_> = header.iter().map(|(n, v)| format!("{n}={v}")).collect();
    assert_eq!(
        all,
        [
            "Received=by x;\tSun",
            "Subject=a  b",
            "X-Blank=v",
            "subject=two"
        ]
    );
    assert_eq!(header.count("SUBJECT"), 2);
    assert_eq!(header.first("received").as_deref(), Some("by x;\tSun"));
    assert_eq!(&header.message()[header.body_offset()..], b"Body: no\r\n");
}

#[test]
fn a_message_without_header_or_without_body_is_legal() {
    for (text, fields, body) in [
        ("", 0, ""),
        ("\r\n", 0, ""),
        ("\r\nbody\r\n", 0, "body\r\n"),
        ("A: b\r\n", 1, ""),
        ("A: b", 1, ""),
        ("A: b\r\n\r\n", 1, ""),
        ("A:\r\n\r\nx", 1, "x"),
    ] {
        let header = parse(text).unwrap();
        assert_eq!(header.fields().count(), fields, "{text:?}");
        let rest = &header.message()[header.body_offset()..];
        assert_eq!(rest, body.as_bytes(), "{text:?}");
    }
}

#[test]
fn a_broken_section_says_what_is_wrong() {
    let many = "A: b\r\n".repeat(HEADER_FIELDS_MAX + 1);
    let long = format!("A: {}\r\n\r\n", "x".repeat(HEADER_BYTES_MAX));
    let endless = "x".repeat(HEADER_BYTES_MAX * 2);
    for (text, fault) in [
        ("no colon\r\n\r\n", HeaderFault::NotAField { line: 1 }),
        ("A: b\r\nno colon\r\n", HeaderFault::NotAField { line: 2 }),
        (" fold first\r\n", HeaderFault::NotAField { line: 1 }),
        ("Bcc : x\r\n", HeaderFault::BadName { line: 1 }),
        (": x\r\n", HeaderFault::BadName { line: 1 }),
        ("A: b\r\n\u{e9}: x\r\n", HeaderFault::BadName { line: 2 }),
        ("A: b\nBcc: x\r\n", HeaderFault::BareCrLf),
        ("A: b\rBcc: x\r\n", HeaderFault::BareCrLf),
        ("A: b\r", HeaderFault::BareCrLf),
        ("A: \0\r\n", HeaderFault::Nul),
        (&many, HeaderFault::TooManyFields),
        (&long, HeaderFault::TooLarge),
        (&endless, HeaderFault::TooLarge),
    ] {
        assert_eq!(parse(text).unwrap_err(), fault, "{:.40}", text);
    }
    assert!(parse(&"A: b\r\n".repeat(HEADER_FIELDS_MAX)).is_ok());
}

#[test]
fn from_is_one_mailbox() {
    for (value, address, phrase) in [
        ("a@x.test", "a@x.test", None),
        ("  <a@x.test> ", "a@x.test", None),
        ("a@x.test (Ann)", "a@x.test", None),
        ("Ann <a@X.TEST>", "a@x.test", Some("Ann")),
        ("\"Doe, Ann\" <a@x.test>", "a@x.test", Some("\"Doe, Ann\"")),
        (
            "\"A \\\" <z@y>\" <a@x.test>",
            "a@x.test",
            Some("\"A \\\" <z@y>\""),
        ),
        (
            "=?UTF-8?B?w6k=?= (c) <a@x.test>",
            "a@x.test",
            Some("=?UTF-8?B?w6k=?="),
        ),
        ("J. Doe <a@x.test>", "a@x.test", Some("\"J. Doe\"")),
        ("b@y.test <a@x.test>", "a@x.test", Some("\"b@y.test\"")),
        ("\"a>b\"@x.test", "\"a>b\"@x.test", None),
        ("A <\"a>b\"@x.test>", "\"a>b\"@x.test", Some("A")),
        ("Jörg <j@x.test>", "j@x.test", Some("Jörg")),
    ] {
        let expected = Some((address.to_owned(), phrase.map(str::to_owned)));
        assert_eq!(from(value), expected, "{value}");
    }
}

#[test]
fn from_that_could_be_read_two_ways_is_refused() {
    for value in [
        "",
        "Ann",
        "a@x.test, b@y.test",
        "A <a@x.test>, B <b@y.test>",
        "<a@x.test> <b@y.test>",
        "<a@x.test> b@y.test",
        "<a@x.test> \"b\"",
        "friends: a@x.test;",
        "undisclosed-recipients:;",
        "<@r.test:a@x.test>",
        "A <a@x.test",
        "\"A <a@x.test>",
        "(A <a@x.test>",
        "<<a@x.test>>",
        "A <>",
        "a@[127.0.0.1]",
        "A \\<b@y.test> <a@x.test>",
    ] {
        assert_eq!(from(value), None, "{value}");
    }
    assert_eq!(from(&format!("{}a@x.test", "(".repeat(5000))), None);
}

#[test]
fn from_must_stand_there_once() {
    let fault = |text: &str| parse(text).unwrap().from_mailbox().map(drop);
    assert_eq!(fault("To: a@x.test\r\n\r\n"), Err(HeaderFault::FromMissing));
    let twice = "From: a@x.test\r\nfrom: a@x.test\r\n\r\n";
    assert_eq!(fault(twice), Err(HeaderFault::FromRepeated));
    let group = "From: g: a@x.test;\r\n\r\n";
    assert_eq!(fault(group), Err(HeaderFault::FromMalformed));
    assert_eq!(fault("From: A\r\n <a@x.test>\r\n\r\n"), Ok(()));
}

#[test]
fn private_and_control_fields_are_removed_and_the_rest_is_byte_exact() {
    let text = "From: a@x.test\r\nBCC: s@x.test,\r\n t@x.test\r\nX-Malote-Stream: s\r\nX-SES-A: 1\r\n\
        X-Smtpapi: {}\r\nX-Sib-A: 1\r\nx-sg-eid: 1\r\nSubject:  odd   blanks \r\nReturn-Path: <r@x>\r\nX-MCX: kept\r\n\r\nBcc: body\r\n";
    let header = parse(text).unwrap();
    let trusted = header.rewrite(&Edits::hygiene());
    assert_eq!(
        trusted,
        "From: a@x.test\r\nX-SES-A: 1\r\nX-Smtpapi: {}\r\nX-Sib-A: 1\r\nx-sg-eid: 1\r\n\
         Subject:  odd   blanks \r\nX-MCX: kept\r\n\r\nBcc: body\r\n"
    );
    let foreign = header.rewrite(&Edits::hygiene().without_provider_controls());
    assert_eq!(
        foreign,
        "From: a@x.test\r\nSubject:  odd   blanks \r\nX-MCX: kept\r\n\r\nBcc: body\r\n"
    );
}

#[test]
fn fields_are_replaced_in_place_and_added_at_the_end() {
    let edits = Edits::default()
        .replace("From", "N <n@x.test>".into())
        .replace("Reply-To", "a@x.test".into())
        .add("Date", "now\r\nBcc: evil@x.test".into());
    for (text, expected) in [
        (
            "FROM: a@x.test\r\nTo: b\r\nfrom: c\r\n\r\nbody",
            "From: N <n@x.test>\r\nTo: b\r\nReply-To: a@x.test\r\nDate: now Bcc: evil@x.test\r\n\r\nbody",
        ),
        (
            "\r\nbody",
            "From: N <n@x.test>\r\nReply-To: a@x.test\r\nDate: now Bcc: evil@x.test\r\n\r\nbody",
        ),
        (
            "To: b",
            "To: b\r\nFrom: N <n@x.test>\r\nReply-To: a@x.test\r\nDate: now Bcc: evil@x.test\r\n",
        ),
    ] {
        assert_eq!(parse(text).unwrap().rewrite(&edits), expected, "{text:?}");
    }
}

#[test]
fn long_values_are_folded_at_blanks() {
    let value = "word ".repeat(60);
    let out = parse("\r\n")
        .unwrap()
        .rewrite(&Edits::default().add("X-Long", value.clone()));
    let header = Header::parse(&out).unwrap();
    assert!(out.split(|b| *b == b'\n').all(|line| line.len() <= 79));
    assert_eq!(header.first("X-Long").as_deref(), Some(value.trim()));
}

#[test]
fn mautic_hashes_are_read_from_bounce_addresses() {
    for (address, hash) in [
        ("m+bounce_656e1a2b3c4d5@x.test", Some("656e1a2b3c4d5")),
        (
            "<m+bounce_656e1a2b3c4d5678901234@x.test>",
            Some("656e1a2b3c4d5678901234"),
        ),
        (
            " <m+bounce_656e1a2b3c4d56789012345@x.test> ",
            Some("656e1a2b3c4d56789012345"),
        ),
        ("m+bounce@x.test", None),
        ("m+bounce_xyz1a2b3c4d5@x.test", None),
        ("m+bounce_656e@x.test", None),
        ("m@x.test", None),
        ("", None),
    ] {
        assert_eq!(mautic_hash(address), hash, "{address}");
    }
}

#[test]
fn dates_and_message_ids_follow_rfc_5322() {
    let now: Timestamp = "2026-11-02T03:04:05Z".parse().unwrap();
    assert_eq!(date(now), "Mon, 02 Nov 2026 03:04:05 +0000");
    let id = MessageId::from_bytes([7; 16]);
    assert_eq!(
        message_id(id, "x.test"),
        format!("<{}@x.test>", "07".repeat(16))
    );
}

proptest! {
    #[test]
    fn parsing_never_panics_and_editing_nothing_is_identity(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let message = Bytes::from(bytes);
        if let Ok(header) = Header::parse(&message) {
            let same = header.rewrite(&Edits::default());
            prop_assert_eq!(same.as_ptr(), message.as_ptr());
            prop_assert_eq!(same, message);
            prop_assert!(header.iter().all(|(_, value)| !value.contains("\r\n")));
        }
    }

    #[test]
    fn removed_fields_never_appear_and_others_stay(
        fields in prop::collection::vec(("(Bcc|bcc|To|X-Malote-A|X-SES-B|Subject)", "[ -~]{0,20}(\r\n [ -~]{1,9})?"), 0..12),
        body in "[ -~\r\n]{0,40}",
    ) {
        let section: String = fields.iter().map(|(n, v)| format!("{n}:{v}\r\n")).collect();
        let message = Bytes::from(format!("{section}\r\n{body}"));
        let header = Header::parse(&message).unwrap();
        let out = header.rewrite(&Edits::hygiene().without_provider_controls());
        let kept: String = fields.iter()
            .filter(|(n, _)| n == "To" || n == "Subject")
            .map(|(n, v)| format!("{n}:{v}\r\n")).collect();
        prop_assert_eq!(out, format!("{}\r\n{}", kept, body));
    }

    #[test]
    fn from_never_panics_and_what_is_read_reads_back(value in "[a-c@.<>\"(), \\\\:é=?]{0,40}") {
        if let Some(mailbox) = FromMailbox::parse(&value) {
            let again = FromMailbox::parse(&mailbox.to_string());
            prop_assert_eq!(again.map(|m| m.address), Some(mailbox.address));
        }
    }

    #[test]
    fn no_value_makes_a_field(value in "\\PC{0,30}[\r\n]{0,2}Bcc: \\PC{0,200}") {
        let out = parse("From: a@x.test\r\n\r\n").unwrap()
            .rewrite(&Edits::default().add("X-A", value));
        let header = Header::parse(&out).unwrap();
        prop_assert_eq!(header.fields().count(), 2);
    }
}
