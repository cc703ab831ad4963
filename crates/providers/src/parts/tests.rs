//! Messages and what becomes of them as fields.

use malote_core::provider::Verdict;

use super::*;
use crate::correlation::tests::outgoing;

fn take(head: &str, body: &str, to: &[&str]) -> Result<Parts, SendError> {
    let text = format!("{head}\r\n\r\n{body}").replace('\n', "\r\n");
    let text = text.replace("\r\r\n", "\r\n");
    parts(text.as_bytes(), &outgoing(to).recipients)
}

fn why_not(head: &str, body: &str) -> String {
    let head = format!("From: a@shop.example\nTo: x@d.example\n{head}");
    let error = take(&head, body, &["x@d.example"]).unwrap_err();
    assert_eq!(error.verdict, Verdict::Rejected(Fault::MessageHere));
    error.reply.text().to_owned()
}

const MIXED: &str = "\
--m
Content-Type: multipart/alternative; boundary=a

--a
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

ol=C3=A1
--a
Content-Type: multipart/related; boundary=r

--r
Content-Type: text/html; charset=utf-8

<img src=cid:logo@x>
--r
Content-Type: image/png; name=logo.png
Content-ID: <logo@x>
Content-Disposition: inline; filename=logo.png
Content-Transfer-Encoding: base64

AAEC
--r--
--a--
--m
Content-Type: application/pdf
Content-Disposition: attachment; filename*=utf-8''nota%20f%C3%ADscal.pdf
Content-Transfer-Encoding: base64

JVBERg==
--m
Content-Type: message/rfc822

Subject: inner

x
--m--
";

#[test]
fn text_html_image_and_files_come_apart() {
    let head = "From: =?utf-8?q?Jos=C3=A9?= <a@shop.example>\nTo: X <x@d.example>\n\
        Subject: =?utf-8?b?T2zDoQ==?=\nMIME-Version: 1.0\nReply-To: r@shop.example\n\
        List-Unsubscribe: <https://u.example/1>,\n <mailto:u@shop.example>\n\
        DKIM-Signature: v=1; b=x\nMessage-ID: <1@shop.example>\n\
        Content-Type: multipart/mixed; boundary=m";
    let parts = take(head, MIXED, &["x@d.example"]).unwrap();
    assert_eq!(parts.from.name.as_deref(), Some("José"));
    assert_eq!(parts.to[0].name.as_deref(), Some("X"));
    assert_eq!(parts.subject, "Olá");
    assert_eq!(parts.reply_to[0].email, "r@shop.example");
    assert_eq!(parts.text.as_deref(), Some("olá"));
    assert_eq!(parts.html.as_deref(), Some("<img src=cid:logo@x>"));
    let [logo, pdf, inner] = parts.attachments.as_slice() else {
        panic!("{:?}", parts.attachments);
    };
    assert!(logo.is_inline && logo.content == [0, 1, 2]);
    assert_eq!(logo.content_id.as_deref(), Some("logo@x"));
    assert_eq!(pdf.filename.as_deref(), Some("nota físcal.pdf"));
    assert!(!pdf.is_inline && pdf.content == b"%PDF");
    assert_eq!(inner.content_type, "message/rfc822");
    assert!(inner.content.starts_with(b"Subject: inner"), "{inner:?}");
    let unsubscribe = "<https://u.example/1>, <mailto:u@shop.example>";
    assert_eq!(parts.header("list-unsubscribe"), Some(unsubscribe));
    assert_eq!(parts.header("message-id"), Some("<1@shop.example>"));
    assert_eq!(parts.header("dkim-signature"), None);
    assert_eq!(parts.header("content-type"), None);
}

#[test]
fn recipients_stand_where_the_header_shows_them_and_the_rest_is_hidden() {
    let head =
        "From: a@shop.example\nTo: Um <UM@d.example>, dois@d.example\nCc: \"C\" <c@d.example>";
    let all = [
        "um@d.example",
        "dois@d.example",
        "c@d.example",
        "b@d.example",
    ];
    let parts = take(head, "x", &all).unwrap();
    let emails = |list: &[Mailbox]| -> Vec<String> {
        list.iter().map(|shown| shown.email.clone()).collect()
    };
    assert_eq!(emails(&parts.to), ["um@d.example", "dois@d.example"]);
    assert_eq!(emails(&parts.cc), ["c@d.example"]);
    assert_eq!(emails(&parts.bcc), ["b@d.example"]);
    assert_eq!(parts.to[0].name.as_deref(), Some("Um"));
    // Who is not in the call is not listed, as the service would deliver to them.
    let parts = take(head, "x", &["c@d.example"]).unwrap();
    assert_eq!(
        (emails(&parts.to), parts.cc.len()),
        (vec!["c@d.example".to_owned()], 0)
    );
    let parts = take(head, "x", &["b@d.example"]).unwrap();
    assert_eq!(emails(&parts.to), ["b@d.example"]);
}

#[test]
fn hidden_recipients_never_see_each_other() {
    let head = "From: a@shop.example\nTo: x@d.example";
    let error = take(head, "x", &["b1@d.example", "b2@d.example"]).unwrap_err();
    assert_eq!(error.verdict, Verdict::Ungroup);
}

#[test]
fn what_fields_cannot_say_is_refused_with_the_reason() {
    let multipart = |kind: &str, second: &str| {
        (
            format!("MIME-Version: 1.0\nContent-Type: multipart/{kind}; boundary=m"),
            format!("--m\n\nhi\n--m\n{second}\n\nx\n--m--\n"),
        )
    };
    for (kind, second, why) in [
        (
            "signed",
            "Content-Type: application/pgp-signature",
            "multipart/signed",
        ),
        (
            "encrypted",
            "Content-Type: application/octet-stream",
            "multipart/encrypted",
        ),
        (
            "report",
            "Content-Type: message/delivery-status",
            "multipart/report",
        ),
        (
            "alternative",
            "Content-Type: text/calendar; method=REQUEST",
            "calendar",
        ),
        (
            "mixed",
            "Content-Type: text/calendar; method=REQUEST",
            "calendar",
        ),
        (
            "alternative",
            "Content-Type: text/x-amp-html",
            "text/x-amp-html",
        ),
        ("mixed", "Content-Type: text/plain", "behind the first part"),
        ("alternative", "Content-Type: text/plain", "a second text"),
    ] {
        let (head, body) = multipart(kind, second);
        let told = why_not(&head, &body);
        assert!(told.contains(why), "{kind} {second}: {told}");
    }
    let smime = "MIME-Version: 1.0\nContent-Type: application/pkcs7-mime";
    assert!(why_not(smime, "AA==").contains("S/MIME"));
    let image = "MIME-Version: 1.0\nContent-Type: image/png\nContent-Transfer-Encoding: base64";
    assert!(why_not(image, "AA==").contains("no text"));
}

#[test]
fn a_field_that_occurs_twice_is_refused_where_one_of_each_name_is_taken() {
    let head = "From: a@shop.example\nTo: x@d.example\nX-A: 1\nx-a: 2\nX-B: 3";
    let parts = take(head, "x", &["x@d.example"]).unwrap();
    assert_eq!(parts.headers.len(), 3);
    assert!(parts.header_map(&[]).is_err());
    let map = parts.header_map(&["x-a"]).unwrap();
    assert_eq!(
        map.into_iter().collect::<Vec<_>>(),
        [("X-B".into(), "3".into())]
    );
}

#[test]
fn an_empty_message_is_an_empty_text() {
    let parts = take(
        "From: a@shop.example\nTo: x@d.example",
        "",
        &["x@d.example"],
    )
    .unwrap();
    assert_eq!(parts.text.as_deref().map(str::trim), Some(""));
    assert_eq!(parts.html, None);
}

#[test]
fn a_message_lists_its_recipients_exactly_or_it_does_not() {
    let both = &["x@d.example", "y@d.example"][..];
    for (head, to, expected) in [
        ("To: X <x@d.example>\nCc: y@D.example", both, true),
        ("Cc: y@d.example, x@d.example", both, true),
        ("To: x@d.example, y@d.example", &both[..1], false),
        ("To: x@d.example", both, false),
        ("To: x@d.example, X@d.example", &both[..1], false),
        ("To: x@d.example\nTo: y@d.example", both, false),
        ("To: x@d.example\nBcc: y@d.example", &both[..1], false),
        ("To: x@d.example\nResent-Cc: y@d.example", &both[..1], false),
        ("To: list: x@d.example;", &both[..1], false),
        ("To: x@d.example, Undisclosed", &both[..1], false),
        ("Subject: nobody", &both[..1], false),
    ] {
        let mut sent = outgoing(to);
        let text = format!("From: a@shop.example\n{head}\n\nhi\n");
        sent.body = text.replace('\n', "\r\n").into();
        assert_eq!(lists_exactly(&sent), expected, "{head} {to:?}");
    }
}

#[test]
fn a_name_that_would_be_read_as_something_else_is_quoted() {
    for (name, written) in [
        (None, "a@x.test"),
        (Some("Ana Sá"), "Ana Sá <a@x.test>"),
        (Some("Sá, Ana"), "\"Sá, Ana\" <a@x.test>"),
        (
            Some("<b@y.test>, \"x\\"),
            "\"<b@y.test>, \\\"x\\\\\" <a@x.test>",
        ),
    ] {
        let mailbox = Mailbox {
            name: name.map(str::to_owned),
            email: "a@x.test".to_owned(),
        };
        assert_eq!(mailbox.shown(), written);
    }
}
