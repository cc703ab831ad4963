//! What is composed, read back by another parser.

use std::collections::BTreeMap;

use mail_parser::{Message, MessageParser, MimeHeaders};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::http::json as strict;

fn rules() -> ComposeRules {
    ComposeRules {
        now: "2026-11-22T10:00:00Z".parse().unwrap(),
        seed: Uuid::from_u128(7),
        provider_headers: false,
        message_bytes_max: 25 << 20,
    }
}

fn composed(request: Value) -> Result<Composed, Problem> {
    let request: MessageRequest = strict::from_value(request)?;
    compose(request, &rules())
}

fn refusal(request: Value) -> (ProblemKind, String) {
    let problem = composed(request).unwrap_err();
    let pointer = problem.errors().first().map(|fault| fault.pointer.clone());
    (problem.kind(), pointer.unwrap_or_default())
}

fn with(member: &str, value: Value) -> Value {
    let mut request = json!({
        "from": "Shop <orders@shop.example>", "to": ["ana@dest.example"],
        "subject": "Hi", "text": "Hello",
    });
    request[member] = value;
    request
}

fn text_of(body: &Bytes) -> &str {
    std::str::from_utf8(body).unwrap()
}

fn parsed(body: &Bytes) -> Message<'_> {
    MessageParser::default().parse(&body[..]).unwrap()
}

#[test]
fn a_whole_message_is_read_back_as_it_was_meant() {
    let composed = composed(json!({
        "from": {"email": "orders@shop.example", "name": "Loja São João"},
        "to": ["Ana Silva <ana@dest.example>", {"email": "bob@dest.example"}],
        "cc": ["\"Silva, C\" <c@dest.example>"],
        "bcc": ["hidden@dest.example", "ANA@dest.example"],
        "reply_to": ["help@shop.example"],
        "subject": "Pedido nº 17 confirmado",
        "text": "Olá\n.\nfim", "html": "<p>Olá <img src=\"cid:logo\"></p>",
        "headers": {"X-EMAIL-ID": "42", "List-Unsubscribe": "<https://shop.example/u?x=1>"},
        "attachments": [
            {"filename": "logo.png", "content_type": "image/png", "content": "AAEC",
             "content_id": "logo"},
            {"filename": "nota.txt", "content_type": "text/plain", "content": "YQpiCg=="},
        ],
        "stream": "transactional", "tags": ["order"], "metadata": {"order": "17"},
        "send_at": "2026-11-23T10:00:00Z",
    }))
    .unwrap();
    let envelope: Vec<_> = composed
        .recipients
        .iter()
        .map(EmailAddress::as_str)
        .collect();
    let expected = [
        "ana@dest.example",
        "bob@dest.example",
        "c@dest.example",
        "hidden@dest.example",
    ];
    assert_eq!(envelope, expected);
    assert_eq!(
        composed.hints.metadata,
        BTreeMap::from([("order".into(), "17".into())])
    );
    assert!(composed.hints.send_at.is_some());

    assert!(!text_of(&composed.body).contains("hidden"));
    let message = parsed(&composed.body);
    let from = message.from().unwrap().first().unwrap();
    assert_eq!(
        (from.name(), from.address()),
        (Some("Loja São João"), Some("orders@shop.example"))
    );
    let cc = message.cc().unwrap().first().unwrap();
    assert_eq!(cc.name(), Some("Silva, C"));
    assert_eq!(message.subject(), Some("Pedido nº 17 confirmado"));
    assert_eq!(message.body_text(0).unwrap(), "Olá\r\n.\r\nfim");
    assert!(message.body_html(0).unwrap().contains("cid:logo"));
    assert_eq!(message.header("List-Unsubscribe").map(|_| ()), Some(()));
    assert_eq!(message.attachment_count(), 2);
    let contents: Vec<_> = message
        .attachments()
        .map(|part| part.contents().to_vec())
        .collect();
    assert!(contents.contains(&vec![0, 1, 2]) && contents.contains(&b"a\nb\n".to_vec()));
    let names: Vec<_> = message
        .attachments()
        .filter_map(|p| p.attachment_name())
        .collect();
    assert_eq!(names.len(), 2);
    assert!(message.message_id().unwrap().ends_with("@shop.example"));
    assert!(text_of(&composed.body).contains("Date: Sun, 22 Nov 2026 10:00:00 +0000\r\n"));
}

/// Member, value, and the kind and place of the fault.
type Case = (&'static str, Value, ProblemKind, &'static str);

fn check(cases: impl IntoIterator<Item = Case>) {
    for (member, value, kind, pointer) in cases {
        let found = refusal(with(member, value));
        assert_eq!(found, (kind, pointer.to_owned()), "{member}");
    }
}

#[test]
fn faults_of_text_and_fields_are_refused_with_their_kind_and_place() {
    use ProblemKind::{ControlCharacter, InvalidHeaderName, MissingField, ReservedHeader, TooLong};
    let subjects = ["x\r\nBcc: e@x.test", "x\ny", "x\ry", "x\u{0}y", "x\u{b}y"];
    check(subjects.map(|text| ("subject", json!(text), ControlCharacter, "/subject")));
    let injected = json!({"X-A": "1\r\n\r\n<html>"});
    let split = json!({"X-A: b\r\nY": "1"});
    let ordering = [
        ("X-SES-Tag", "/headers/X-SES-Tag"),
        ("x-mt-category", "/headers/x-mt-category"),
        ("X-Postal-Tag", "/headers/X-Postal-Tag"),
    ];
    check(ordering.map(|(name, at)| ("headers", json!({name: "1"}), ReservedHeader, at)));
    check([
        ("subject", json!("x".repeat(2001)), TooLong, "/subject"),
        ("headers", injected, ControlCharacter, "/headers/X-A"),
        ("headers", split, InvalidHeaderName, "/headers/X-A: b  Y"),
        (
            "headers",
            json!({"BCC": "e"}),
            ReservedHeader,
            "/headers/BCC",
        ),
        ("text", Value::Null, MissingField, "/text"),
    ]);
}

#[test]
fn faults_of_people_are_refused_with_their_kind_and_place() {
    use ProblemKind::{ControlCharacter, InvalidAddress, MissingField, TooManyRecipients};
    let many: Vec<_> = (0..1001).map(|n| format!("u{n}@x.test")).collect();
    let named = json!({"name": "A\r\nTo: z", "email": "a@b.test"});
    let two = json!([{"email": "b@y.test, c@y.test"}]);
    check([
        ("from", named, ControlCharacter, "/from/name"),
        ("from", Value::Null, MissingField, "/from"),
        (
            "to",
            json!(["a@x.test, evil@y.test"]),
            InvalidAddress,
            "/to/0",
        ),
        (
            "to",
            json!(["ok@x.test", "a@x;b@y"]),
            InvalidAddress,
            "/to/1",
        ),
        ("to", json!(["a@x\nRCPT TO:<b@y>"]), InvalidAddress, "/to/0"),
        (
            "to",
            json!(["<a@x.test> b@y.test"]),
            InvalidAddress,
            "/to/0",
        ),
        ("to", two, InvalidAddress, "/to/0/email"),
        ("to", json!([]), MissingField, "/to"),
        ("to", json!(many), TooManyRecipients, "/to"),
    ]);
}

#[test]
fn faults_of_files_and_hints_are_refused_with_their_kind_and_place() {
    use ProblemKind::{
        ControlCharacter, InvalidBase64, InvalidContentType, InvalidSendAt, InvalidValue, TooLong,
    };
    let name = json!("a\r\nContent-Type: text/html");
    for (member, value, kind) in [
        ("filename", name, ControlCharacter),
        ("filename", json!("x".repeat(10_000)), TooLong),
        ("content_type", json!("message/rfc822"), InvalidContentType),
        ("content", json!("*"), InvalidBase64),
        ("content_id", json!("a>\r\nX: y"), InvalidValue),
    ] {
        let mut file = json!({"filename": "a.txt", "content": "YQ=="});
        file[member] = value;
        let found = refusal(with("attachments", json!([file])));
        assert_eq!(found, (kind, format!("/attachments/0/{member}")));
    }
    check([
        ("stream", json!("No Such"), InvalidValue, "/stream"),
        ("send_at", json!("2026-13-01"), InvalidSendAt, "/send_at"),
        ("tags", json!(["a\"}\n"]), ControlCharacter, "/tags/0"),
    ]);
}

#[test]
fn all_faults_are_told_at_once() {
    let mut request = with("subject", json!("a\nb"));
    request["to"] = json!(["x", "y"]);
    let problem = composed(request).unwrap_err();
    let pointers: Vec<_> = problem
        .errors()
        .iter()
        .map(|fault| &fault.pointer[..])
        .collect();
    assert_eq!(pointers, ["/to/0", "/to/1", "/subject"]);
}

#[test]
fn unicode_line_ends_are_encoded_and_stay_one_field() {
    for subject in ["a\u{85}Bcc: x@y.test", "a\u{2028}Bcc: x@y.test"] {
        let composed = composed(with("subject", json!(subject))).unwrap();
        assert!(text_of(&composed.body).is_ascii());
        assert_eq!(parsed(&composed.body).subject(), Some(subject));
    }
}

#[test]
fn megabytes_on_one_line_or_of_line_ends_are_written_in_short_lines_and_in_time() {
    for html in ["<b>x</b>".repeat(5 << 17), "\n".repeat(2 << 20)] {
        let began = std::time::Instant::now();
        let composed = composed(with("html", json!(html))).unwrap();
        assert!(wire::is_sendable(&composed.body));
        assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    }
}

#[test]
fn size_is_bounded_before_anything_is_decoded() {
    let content = "AAAA".repeat(7 << 20);
    let request = with(
        "attachments",
        json!([{"filename": "a", "content": content}]),
    );
    assert_eq!(refusal(request).0, ProblemKind::MessageTooLarge);
}

#[test]
fn a_message_to_hidden_recipients_only_shows_none() {
    let mut request = with("to", json!([]));
    request["bcc"] = json!(["hidden@x.test"]);
    let composed = composed(request).unwrap();
    assert!(text_of(&composed.body).contains("To: undisclosed-recipients:;\r\n"));
    assert!(!text_of(&composed.body).contains("hidden"));
    assert_eq!(composed.recipients.len(), 1);
}

proptest! {
    #[test]
    fn no_text_becomes_a_line_end_a_field_or_a_trace_of_bcc(
        subject in "\\PC{0,60}|[\\x00-\\x7f\u{85}\u{2028}]{0,40}",
        name in "\\PC{0,40}|[\\x00-\\x7f]{0,40}",
        value in "\\PC{0,90}|[ -~]{0,200}",
        text in "[\\x00-\\x7fé]{0,120}",
        file in "\\PC{0,40}",
    ) {
        let request = json!({
            "from": {"email": "a@shop.example", "name": name},
            "to": [{"email": "b@dest.example", "name": name}],
            "bcc": ["secretperson@dest.example"],
            "subject": subject, "text": text, "html": text,
            "headers": {"X-Test": value},
            "attachments": [{"filename": file, "content": "YQ=="}],
        });
        if let Ok(composed) = composed(request) {
            prop_assert!(wire::is_sendable(&composed.body));
            let lower = text_of(&composed.body).to_ascii_lowercase();
            prop_assert!(!lower.contains("secretperson"));
            let message = parsed(&composed.body);
            let names: Vec<_> = message.headers().iter().map(|h| h.name().to_owned()).collect();
            let known = ["From", "To", "Subject", "Date", "Message-ID", "X-Test", "MIME-Version",
                "Content-Type"];
            prop_assert!(names.iter().all(|n| known.iter().any(|k| k.eq_ignore_ascii_case(n))),
                "{names:?}");
            let shown = message.from().unwrap().first().unwrap().name().unwrap_or_default();
            prop_assert_eq!(shown, name.trim());
        }
    }
}
