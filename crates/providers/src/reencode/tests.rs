//! What changes and what does not, structure by structure; mail-parser judges the content.

mod property;

use mail_parser::{Message, MessageParser, PartType};

use super::*;

/// Type and decoded content of each leaf, enclosed messages included, in their order; in front of
/// each message its fields, but for those that name encodings.
pub(crate) fn contents(message: &[u8]) -> Vec<(String, Vec<u8>)> {
    let parsed = MessageParser::default().parse(message);
    let mut found = Vec::new();
    collect(&parsed.expect("a message"), &mut found);
    found
}

fn collect(message: &Message<'_>, found: &mut Vec<(String, Vec<u8>)>) {
    for part in &message.parts {
        let mut name = String::new();
        for header in &part.headers {
            let field = header.name.as_str().to_ascii_lowercase();
            if !matches!(&*field, "content-transfer-encoding" | "mime-version") {
                name.push_str(&format!("{field}: {:?}\n", header.value));
            }
        }
        match &part.body {
            PartType::Message(enclosed) => collect(enclosed, found),
            PartType::Multipart(_) => found.push((name, Vec::new())),
            PartType::Text(_)
            | PartType::Html(_)
            | PartType::Binary(_)
            | PartType::InlineBinary(_) => found.push((name, part.contents().to_vec())),
        }
    }
}

/// A message that no service takes as it is: a long line of 8-bit text, a picture on one line of
/// base64, a long field.
pub(crate) fn unfit_message() -> Bytes {
    let text = "ol\u{e1} mundo. ".repeat(200);
    let picture = "iVBORw0KGgoA".repeat(300);
    let references = "<0123456789@shop.example> ".repeat(60);
    format!(
        "From: a@shop.example\r\nReferences: {}\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=\"=_b\"\r\n\r\n\
         --=_b\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: 8bit\r\n\r\n.{text}\r\nend\r\n\
         --=_b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n{picture}\r\n\
         --=_b--\r\n",
        references.trim_end()
    )
    .into()
}

fn changed(message: &str, eight_bit: EightBit) -> String {
    let message = Bytes::copy_from_slice(message.as_bytes());
    let fitting = reencode(&message, eight_bit).unwrap();
    assert!(!has_long_line(&fitting));
    assert_eq!(contents(&fitting), contents(&message));
    let again = reencode(&fitting, eight_bit).unwrap();
    assert_eq!(again, fitting, "what fits stays");
    String::from_utf8(fitting.to_vec()).unwrap()
}

fn refusal(message: &str) -> Unencodable {
    reencode(&message.to_owned().into(), EightBit::Forbidden).unwrap_err()
}

#[test]
fn a_line_is_long_from_999_octets_on_wherever_it_stands() {
    for (bytes, is_long) in [
        (0, false),
        (997, false),
        (998, false),
        (999, true),
        (5000, true),
    ] {
        let line = "x".repeat(bytes);
        let short = "y\r\n".repeat(500);
        for text in [
            line.clone(),
            format!("{line}\r\n"),
            format!("{short}{line}"),
            format!("{short}{line}\r\n{short}"),
            format!("{line}\r\n{line}\r\n"),
        ] {
            assert_eq!(has_long_line(text.as_bytes()), is_long, "{bytes}");
        }
    }
}

#[test]
fn a_message_that_fits_is_not_copied() {
    let ascii = Bytes::from(format!("A: b\r\n\r\n{}\r\n", "x".repeat(998)));
    let eight_bit = Bytes::from("A: b\r\n\r\nol\u{e1}\r\n");
    for (message, rule) in [
        (&ascii, EightBit::Allowed),
        (&ascii, EightBit::Unwanted),
        (&ascii, EightBit::Forbidden),
        (&eight_bit, EightBit::Allowed),
    ] {
        let fitting = reencode(message, rule).unwrap();
        assert_eq!(fitting.as_ptr(), message.as_ptr());
    }
}

#[test]
fn a_single_body_is_encoded_and_says_so() {
    let long = "x".repeat(999);
    let soft = format!("{}=\r\n", "x".repeat(75)).repeat(13);
    let end = "x".repeat(999 - 75 * 13);
    for (head, body, expected_head, expected_body) in [
        (
            "A: b\r\n",
            format!("{long}\r\n.\r\n"),
            "A: b\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n",
            format!("{soft}{end}\r\n.\r\n"),
        ),
        (
            "A: b\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n",
            "ol\u{e1} = \r\nmundo inteiro\r\n".to_owned(),
            "A: b\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: quoted-printable\r\n",
            "ol=C3=A1 =3D=20\r\nmundo inteiro\r\n".to_owned(),
        ),
        (
            "content-transfer-encoding : 8BIT\r\nMIME-Version: 1.0\r\nContent-Type: text/html;\r\n charset=utf-8\r\nZ: z\r\n",
            "\u{4f60}\u{597d}\r\n".to_owned(),
            "Content-Transfer-Encoding: base64\r\nMIME-Version: 1.0\r\nContent-Type: text/html;\r\n charset=utf-8\r\nZ: z\r\n",
            "5L2g5aW9DQo=\r\n".to_owned(),
        ),
        (
            "MIME-Version: 1.0\r\nContent-Type: application/json\r\n",
            "{\"a\":\"\u{e1}\"}".to_owned(),
            "MIME-Version: 1.0\r\nContent-Type: application/json\r\n\
             Content-Transfer-Encoding: base64\r\n",
            "eyJhIjoiw6EifQ==".to_owned(),
        ),
    ] {
        assert_eq!(
            changed(&format!("{head}\r\n{body}"), EightBit::Forbidden),
            format!("{expected_head}\r\n{expected_body}")
        );
    }
}

#[test]
fn encoded_bodies_get_shorter_lines_and_keep_their_encoding() {
    let qp = format!(
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: Quoted-Printable\r\n\r\n\
         short =3d line stays=20\r\n{}=C3=A1{}=\r\nnext\r\n",
        "=C3=A1".repeat(300),
        "b".repeat(40),
    );
    let mended = changed(&qp, EightBit::Allowed);
    assert!(mended.contains("\r\nshort =3d line stays=20\r\n=C3=A1"));
    assert!(mended.lines().all(|line| line.len() <= 76));
    let base64 = format!(
        "MIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime; smime-type=signed-data\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{}\r\n",
        "QUJD".repeat(400)
    );
    let mended = changed(&base64, EightBit::Allowed);
    assert!(mended.contains(&format!("\r\n{}\r\n", "QUJD".repeat(19))));
}

#[test]
fn raw_octets_in_quoted_printable_are_encoded_as_well() {
    let head = "MIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n";
    let message = Bytes::from(format!("{head}\u{e1} = b=C3 \t\r\n=\u{e1} =\r\nc\r\n"));
    let fitting = reencode(&message, EightBit::Forbidden).unwrap();
    let expected = format!("{head}=C3=A1 =3D b=C3\r\n=3D=C3=A1 =\r\nc\r\n");
    assert_eq!(fitting, expected);
}

#[test]
fn only_the_offending_parts_of_a_multipart_change() {
    let long = "x".repeat(1200);
    let message = format!(
        "A: b\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n\
         Content-Type: multipart/mixed; boundary=\"out er\"\r\n\r\n\
         for old readers\r\n--out er  \r\n\
         Content-Type: multipart/alternative; boundary=in\r\n\
         Content-Transfer-Encoding: binary\r\n\r\n\
         --in\r\n\r\nplain  \r\n\r\n\
         --in\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>ol\u{e1} mundo\r\n\
         --in--\r\ninner end\r\n\
         --out er\r\nContent-Type: application/x\r\nX: y\r\n\r\n{long}\r\n\
         --out er\r\n--out er--not\r\n\r\nlast\r\n\
         --out er--\r\nbye"
    );
    let expected = message
        .replace("Encoding: 8bit", "Encoding: 7bit")
        .replace("Encoding: binary", "Encoding: 7bit")
        .replace(
            "charset=utf-8\r\n\r\n<p>ol\u{e1} mundo",
            "charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>ol=C3=A1 mundo",
        )
        .replace(
            &format!("X: y\r\n\r\n{long}"),
            &format!(
                "X: y\r\nContent-Transfer-Encoding: base64\r\n\r\n{}",
                ["eHh4".repeat(19).as_str(); 21].join("\r\n") + "\r\neHh4",
            ),
        );
    let fitting = reencode(&message.into(), EightBit::Forbidden).unwrap();
    assert_eq!(String::from_utf8_lossy(&fitting), expected);
}

#[test]
fn what_is_nobodys_content_is_left_out_if_it_does_not_fit() {
    let head = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n";
    let parts = "--b\r\n\r\none\r\n--b--\r\n";
    let message = format!("{head}pr\u{e9}\r\n{parts}{}\r\n", "x".repeat(1000));
    assert_eq!(
        changed(&message, EightBit::Forbidden),
        [head, parts].concat()
    );
    let padded = format!("{head}--b{}\r\n\r\none\r\n--b--\r\n", " ".repeat(1000));
    assert_eq!(changed(&padded, EightBit::Allowed), [head, parts].concat());
    let open = format!("{head}--b\r\n\r\nol\u{e1} mundo inteiro\r\n");
    let field = "--b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n";
    let expected = format!("{head}{field}ol=C3=A1 mundo inteiro\r\n");
    let fitting = reencode(&open.into(), EightBit::Forbidden).unwrap();
    assert_eq!(fitting, expected, "an end that is missing stays missing");
}

#[test]
fn enclosed_messages_are_walked_through_and_never_encoded() {
    let enclosed = "Subject: s\r\n\r\nol\u{e1} mundo inteiro\r\n";
    let encoded = "Subject: s\r\nMIME-Version: 1.0\r\n\
                   Content-Transfer-Encoding: quoted-printable\r\n\r\nol=C3=A1 mundo inteiro\r\n";
    for head in [
        "MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\n\r\n",
        "MIME-Version: 1.0\r\nContent-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\n",
    ] {
        let message = [head, enclosed].concat();
        let fitting = reencode(&message.into(), EightBit::Forbidden).unwrap();
        assert_eq!(fitting, [head, encoded].concat());
    }
    let labelled = "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n";
    let fitting = changed(&[labelled, enclosed].concat(), EightBit::Unwanted);
    assert_eq!(fitting, labelled.replace("8bit", "7bit") + encoded);
}

#[test]
fn long_fields_are_folded_in_front_of_white_space() {
    let word = "w".repeat(600);
    let message = format!(
        "Subject: {word} {word}\t{word}\r\n and\r\nX: {}\r\nContent-Type: text/plain;\r\n name=\"{word} {word}\";\r\n x=y\r\n\r\nhi\r\n",
        " ".repeat(1200),
    );
    let fitting = reencode(&message.clone().into(), EightBit::Allowed).unwrap();
    assert!(!has_long_line(&fitting));
    let unfolded = |text: &[u8]| String::from_utf8_lossy(text).replace("\r\n", "");
    let expected = message.replace(&" ".repeat(1200), "");
    assert_eq!(
        unfolded(&fitting).replace("X: ", "X:"),
        unfolded(expected.as_bytes()).replace("X: ", "X:")
    );
    assert!(
        fitting
            .starts_with(format!("Subject: {word}\r\n {word}\r\n\t{word}\r\n and\r\n").as_bytes())
    );
    for solid in [
        format!("X: {}\r\n\r\n", "x".repeat(999)),
        format!("{}: a b\r\n\r\n", "x".repeat(999)),
    ] {
        let refused = reencode(&solid.into(), EightBit::Allowed);
        assert_eq!(refused, Err(Unencodable::HeaderLine));
    }
}

#[test]
fn what_must_not_or_cannot_change_is_refused_with_the_reason() {
    let multipart = |subtype: &str, part: &str| {
        format!("Content-Type: multipart/{subtype}; boundary=b\r\n\r\n--b\r\n{part}\r\n--b--\r\n")
    };
    let text = "Content-Type: text/plain\r\n\r\nol\u{e1}";
    for (message, why) in [
        (multipart("signed", text), Unencodable::Signed),
        (
            multipart(
                "mixed",
                &multipart("signed", text)
                    .replace("=b", "=c")
                    .replace("--b", "--c"),
            ),
            Unencodable::Signed,
        ),
        (
            multipart("mixed", &text.replace("text/", "message/")),
            Unencodable::MessageType,
        ),
        (
            text.replace("text/plain", "message/delivery-status"),
            Unencodable::MessageType,
        ),
        (
            text.replace(
                "\r\n\r\n",
                "\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\n",
            ),
            Unencodable::UnknownEncoding,
        ),
        (
            text.replace(
                "\r\n\r\n",
                "\r\nContent-Transfer-Encoding: (x) base64\r\n\r\n",
            ),
            Unencodable::UnknownEncoding,
        ),
        (
            text.replace("\r\n\r\n", "\r\nContent-Type: text/html\r\n\r\n"),
            Unencodable::Ambiguous,
        ),
        (
            text.replace("text/plain", "multipart/mixed"),
            Unencodable::Boundary,
        ),
        (
            text.replace("text/plain", "multipart/mixed; boundary=b"),
            Unencodable::Boundary,
        ),
        (
            "Subject: ol\u{e1}\r\n\r\nhi\r\n".to_owned(),
            Unencodable::HeaderNotAscii,
        ),
        (
            "Content-Type: message/rfc822\r\n\r\n".repeat(51) + text,
            Unencodable::TooDeep,
        ),
    ] {
        assert_eq!(refusal(&message), why, "{message}");
        let same = reencode(&message.clone().into(), EightBit::Unwanted).unwrap();
        assert_eq!(same, message, "what is only unwanted leaves as it is");
    }
}

#[test]
fn what_is_encrypted_or_signed_once_decoded_may_be_encoded() {
    let octets = "ol\u{e1} mundo";
    let encrypted = format!(
        "Content-Type: multipart/encrypted; boundary=b\r\n\r\n\
         --b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\
         --b\r\nContent-Type: application/octet-stream\r\n\r\n{octets}\r\n--b--\r\n"
    );
    let enveloped = format!("Content-Type: application/pkcs7-mime\r\n\r\n{octets}\r\n");
    for message in [encrypted, enveloped] {
        assert!(changed(&message, EightBit::Forbidden).contains("b2zDoSBtdW5kb"));
    }
}

#[tokio::test]
async fn a_refusal_is_of_this_provider_only_and_tells_why() {
    let signed =
        "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nol\u{e1}\r\n--b--\r\n";
    let error = fit(&signed.into(), EightBit::Forbidden, 1000)
        .await
        .unwrap_err();
    assert_eq!(error.verdict, Verdict::Rejected(Fault::MessageHere));
    assert_eq!(
        error.reply.to_string(),
        "5.6.3 8-bit content is not taken here and the message has it inside multipart/signed, \
         where a change would break the signature"
    );
    let growing: Bytes = format!("A: b\r\n\r\n{}", "\u{4f60}".repeat(300_000)).into();
    let bytes_max = growing.len() as u64;
    let error = fit(&growing, EightBit::Forbidden, bytes_max)
        .await
        .unwrap_err();
    assert_eq!(error.verdict, Verdict::Rejected(Fault::MessageHere));
    assert_eq!(error.reply.enhanced.as_deref(), Some("5.3.4"));
    assert!(
        fit(&growing, EightBit::Forbidden, 2 * bytes_max)
            .await
            .is_ok()
    );
}
