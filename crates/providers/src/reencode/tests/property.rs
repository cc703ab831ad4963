//! Messages of any structure keep their content; any octets at all do no harm.

use std::sync::atomic::{AtomicUsize, Ordering};

use malote_core::message::has_bare_cr_lf;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        4 => "[a-z=.]{1,9}",
        1 => "[a-z]{990,1010}",
        1 => "\u{e1}{1,400}",
        1 => Just("=C3".to_owned()),
        1 => Just("\u{4f60}\u{597d}".repeat(170)),
    ];
    let space = prop_oneof![4 => Just(" "), 1 => Just("\t"), 2 => Just("\r\n"), 1 => Just(" \r\n")];
    vec((word, space), 0..12).prop_map(|words| {
        words
            .iter()
            .map(|(word, space)| format!("{word}{space}"))
            .collect()
    })
}

/// A leaf, header and all.
fn leaf() -> impl Strategy<Value = String> {
    let head = prop_oneof![
        Just("Content-Type: text/plain; charset=utf-8\r\n"),
        Just("Content-Type: TEXT/html (comment);\r\n\tcharset=\"utf-8\"\r\n"),
        Just("Content-Type: application/pdf; name=\"a b.pdf\"\r\n"),
        Just("Content-Disposition: attachment; filename=x\r\n"),
    ];
    let identity = prop_oneof![
        Just(""),
        Just("Content-Transfer-Encoding: 8bit\r\n"),
        Just("content-transfer-encoding: 7BIT (as if)\r\n"),
        Just("Content-Transfer-Encoding:\r\n binary\r\n"),
    ];
    let plain = (identity, text()).prop_map(|(label, text)| format!("{label}\r\n{text}"));
    let quoted = text().prop_map(|text| {
        let options = quoted_printable::Options::default().line_length_limit(3000);
        let encoded = quoted_printable::encode_with_options(text, options);
        format!("Content-Transfer-Encoding: quoted-printable\r\n\r\n{encoded}")
    });
    let base64 = text().prop_map(|text| {
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::STANDARD.encode(text);
        format!("Content-Transfer-Encoding: BASE64\r\n\r\n{encoded}")
    });
    let body = prop_oneof![3 => plain, 1 => quoted, 1 => base64];
    (head, body).prop_map(|(head, body)| format!("{head}{body}"))
}

/// Boundaries must differ; which number one gets does not matter.
static BOUNDARIES: AtomicUsize = AtomicUsize::new(0);

fn entity() -> impl Strategy<Value = String> {
    leaf().prop_recursive(4, 24, 4, |inner| {
        let label = prop_oneof![
            Just(""),
            Just("Content-Transfer-Encoding: 8bit\r\n"),
            Just("Content-Transfer-Encoding: binary\r\n"),
        ];
        let subtype = prop_oneof![Just("mixed"), Just("alternative"), Just("related")];
        let parts = vec(inner.clone(), 1..4);
        let multipart = (subtype, label, parts).prop_map(|(subtype, label, parts)| {
            let number = BOUNDARIES.fetch_add(1, Ordering::Relaxed);
            let boundary = format!("=_{number}_");
            let parts: String = parts
                .iter()
                .map(|part| format!("--{boundary}\r\n{part}\r\n"))
                .collect();
            format!(
                "Content-Type: multipart/{subtype}; boundary=\"{boundary}\"\r\n{label}\r\n\
                 {parts}--{boundary}--\r\n"
            )
        });
        // The judge stumbles over a message that is nothing but a message within a multipart.
        let enclosed = inner.prop_filter("a message in a message", |inner| {
            !inner.starts_with("Content-Type: message/")
        });
        let message = enclosed.prop_map(|enclosed| {
            format!(
                "Content-Type: message/rfc822\r\n\r\nSubject: s\r\nMIME-Version: 1.0\r\n{enclosed}"
            )
        });
        prop_oneof![3 => multipart, 1 => message]
    })
}

fn rule() -> impl Strategy<Value = EightBit> {
    prop_oneof![
        Just(EightBit::Allowed),
        Just(EightBit::Unwanted),
        Just(EightBit::Forbidden),
    ]
}

/// Pieces that make structures, good and bad.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<Vec<u8>> = [
        "\r\n",
        "\r\n\r\n",
        "--b\r\n",
        "--b--\r\n",
        "--b",
        "\r\n--c\r\n",
        "Content-Type: multipart/mixed; boundary=b\r\n",
        "Content-Type: multipart/digest; boundary=c\r\n",
        "Content-Type: multipart/signed; boundary=b\r\n",
        "Content-Type: message/rfc822\r\n",
        "Content-Type: text/plain\r\n",
        "Content-Transfer-Encoding: base64\r\n",
        "Content-Transfer-Encoding: quoted-printable\r\n",
        "Content-Transfer-Encoding: 8bit\r\n",
        "=",
        "=A",
        " ",
        ":",
    ]
    .iter()
    .map(|piece| piece.as_bytes().to_vec())
    .chain([
        b"x".repeat(1200),
        b"a b ".repeat(300),
        b" ".repeat(1200),
        b"\xe9".repeat(9),
    ])
    .collect();
    prop_oneof![
        6 => proptest::sample::select(known),
        1 => vec(any::<u8>().prop_filter("no line ends", |b| !b"\r\n".contains(b)), 0..9),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_structure_fits_afterwards_and_holds_the_same(entity in entity(), rule in rule()) {
        let message = Bytes::from(format!("From: a@x.test\r\nMIME-Version: 1.0\r\n{entity}"));
        let fitting = reencode(&message, rule).unwrap();
        prop_assert!(!has_long_line(&fitting));
        prop_assert!(rule == EightBit::Allowed || fitting.is_ascii());
        prop_assert!(!has_bare_cr_lf(&fitting));
        prop_assert_eq!(contents(&fitting), contents(&message));
        let again = reencode(&fitting, rule).unwrap();
        prop_assert_eq!(again.as_ptr(), fitting.as_ptr());
    }

    #[test]
    fn any_content_type_is_read_without_harm(value in "[a-z/;=\"'*()%\\\\ \t\r\n0-9\u{e9},<>:-]{0,60}") {
        let message = Bytes::from(format!("Content-Type: multipart/{value}\r\n\r\n\u{e1}"));
        assert!(reencode(&message, EightBit::Unwanted).is_ok());
        let message = Bytes::from(format!("Content-Type: {value}\r\n\r\n\u{e1}"));
        assert!(reencode(&message, EightBit::Unwanted).is_ok());
    }

    #[test]
    fn any_octets_fit_afterwards_or_are_refused(pieces in vec(piece(), 0..40), rule in rule()) {
        let message = Bytes::from(pieces.concat());
        if let Ok(fitting) = reencode(&message, rule) {
            prop_assert!(!has_long_line(&fitting));
            prop_assert!(rule != EightBit::Forbidden || fitting.is_ascii());
            prop_assert!(!has_bare_cr_lf(&fitting));
            prop_assert_eq!(reencode(&fitting, rule).unwrap(), fitting);
        } else {
            prop_assert!(rule.must_change(&message));
        }
    }
}
