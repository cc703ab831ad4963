//! The JSON of a message, or why there is none.

use malote_core::provider::Outgoing;
use serde_json::{Value, json};

use super::super::request;
use crate::correlation::tests::outgoing;
use crate::parts;

fn message(addresses: &[&str], body: &str) -> Outgoing {
    let mut message = outgoing(addresses);
    message.body = body.replace('\n', "\r\n").into();
    message
}

fn made(outgoing: &Outgoing) -> Result<Value, String> {
    let parts =
        parts::parts(&outgoing.body, &outgoing.recipients).map_err(|e| e.reply.to_string())?;
    match request::json(outgoing, &parts) {
        Ok(json) => Ok(serde_json::from_slice(&json).unwrap()),
        Err(error) => {
            assert_eq!(error.verdict.as_str(), "rejected_message_here");
            Err(error.reply.to_string())
        }
    }
}

const FULL: &str = "From: =?utf-8?Q?Sh=C3=B6p?= <a@shop.example>\n\
    To: =?utf-8?Q?M=C3=BCller=2C_Ana?= <x@dest.example>, gone@dest.example\n\
    Cc: Cy <y@dest.example>\n\
    Reply-To: Help <help@shop.example>\n\
    Subject: =?utf-8?Q?Ol=C3=A1?=\n\
    Date: Sun, 22 Nov 2026 00:00:00 +0000\n\
    Message-ID: <1@shop.example>\n\
    List-Unsubscribe: <https://shop.example/u>\n\
    List-Unsubscribe-Post: List-Unsubscribe=One-Click\n\
    sender.ip: 192.0.2.1\n\
    IdempotencyKey: x\n\
    MIME-Version: 1.0\n\
    Content-Type: multipart/mixed; boundary=m\n\n\
    --m\nContent-Type: multipart/alternative; boundary=a\n\n\
    --a\nContent-Type: text/plain; charset=utf-8\n\nt\u{e9}xt\n\
    --a\nContent-Type: text/html; charset=utf-8\n\n<p>h\u{e9}</p>\n--a--\n\
    --m\nContent-Type: application/pdf; name=bill.PDF\n\
    Content-Disposition: attachment; filename=bill.PDF\n\
    Content-Transfer-Encoding: base64\n\nJVBERg==\n--m--\n";

#[test]
fn every_field_has_its_place_and_hidden_recipients_stay_hidden() {
    let sent = message(
        &["x@dest.example", "y@dest.example", "z@dest.example"],
        FULL,
    );
    let expected = json!({
        "sender": { "email": "a@shop.example", "name": "Shöp" },
        "to": [{ "email": "x@dest.example", "name": "=?utf-8?B?TcO8bGxlciwgQW5h?=" }],
        "cc": [{ "email": "y@dest.example", "name": "Cy" }],
        "bcc": [{ "email": "z@dest.example" }],
        "replyTo": { "email": "help@shop.example", "name": "Help" },
        "subject": "Olá",
        "textContent": "t\u{e9}xt",
        "htmlContent": "<p>h\u{e9}</p>",
        "headers": {
            "List-Unsubscribe": "<https://shop.example/u>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            "X-Mailin-custom": sent.message.simple(),
        },
        "attachment": [{ "name": "bill.PDF", "content": "JVBERg==" }],
        "tags": ["welcome"],
    });
    assert_eq!(made(&sent).unwrap(), expected);
}

#[test]
fn a_single_recipient_is_named_in_our_ids_and_empty_places_are_left_out() {
    let plain = "From: a@shop.example\nTo: x@dest.example\nSubject: s\n\nhi\n";
    let mut sent = message(&["x@dest.example"], plain);
    sent.tags = vec!["\u{7}".into(), "é".repeat(100)];
    sent.tags.extend((0..20).map(|n| n.to_string()));
    let json = made(&sent).unwrap();
    let ids = json["headers"]["X-Mailin-custom"].as_str().unwrap();
    assert!(
        ids.starts_with(&format!("{}.0-", sent.message.simple())),
        "{ids}"
    );
    assert_eq!(json["tags"].as_array().unwrap().len(), 10);
    assert_eq!(json["tags"][0].as_str().unwrap().len(), 128);
    for absent in ["cc", "bcc", "replyTo", "attachment"] {
        assert_eq!(json.get(absent), None, "{absent}");
    }
}

#[test]
fn text_alone_gets_the_same_words_as_html_beside_it() {
    let plain = "From: a@shop.example\nTo: x@dest.example\nSubject: s\n\n1 < 2 & <b>\nx\n";
    let json = made(&message(&["x@dest.example"], plain)).unwrap();
    assert_eq!(json["textContent"], "1 < 2 & <b>\r\nx\r\n");
    let html = json["htmlContent"].as_str().unwrap();
    assert!(
        html.starts_with("<pre ") && html.ends_with("</pre>"),
        "{html}"
    );
    assert!(html.contains(">1 &lt; 2 &amp; &lt;b>\r\nx\r\n<"), "{html}");
}

const HEAD: &str = "From: a@shop.example\nTo: x@dest.example\n";

fn refusal(body: &str) -> String {
    made(&message(&["x@dest.example"], body)).unwrap_err()
}

#[test]
fn fields_that_the_service_cannot_say_are_for_another_provider() {
    let name = "n".repeat(71);
    let with = |fields: &str| format!("{HEAD}{fields}\nhi\n");
    let long = format!("From: {name} <a@shop.example>\nTo: x@dest.example\nSubject: s\n\nhi\n");
    let encoded = format!(
        "From: a@shop.example\nTo: =?utf-8?Q?=C3=BC=2C{}?= <x@dest.example>\nSubject: s\n\nhi\n",
        &name[..45]
    );
    let garbled = "Subject: s\nReply-To: =?utf-8?Q?M=C3=BC=2C?= <b@x.test>\n";
    for (what, body, words) in [
        ("no subject", with(""), "no subject"),
        (
            "template",
            with("Subject: {{ contact.X }}\n"),
            "may replace",
        ),
        (
            "in the text",
            format!("{HEAD}Subject: s\n\n{{% if x %}}\n"),
            "may replace",
        ),
        (
            "two",
            with("Subject: s\nReply-To: b@x.test, c@x.test\n"),
            "Reply-To",
        ),
        ("garbled Reply-To", with(garbled), "Reply-To"),
        ("long name", long, "70 characters"),
        ("long encoded name", encoded, "70 characters"),
        ("8-bit field", with("Subject: s\nX-A: \u{e9}\n"), "X-A"),
        (
            "a field twice",
            with("Subject: s\nX-A: 1\nX-A: 2\n"),
            "twice",
        ),
    ] {
        let refusal = refusal(&body);
        assert!(refusal.contains(words), "{what}: {refusal}");
    }
}

#[test]
fn files_that_the_service_does_not_take_are_for_another_provider() {
    let mixed = |part: &str| {
        format!(
            "{HEAD}Subject: s\nContent-Type: multipart/mixed; boundary=m\n\n\
             --m\nContent-Type: text/plain\n\nhi\n--m\n{part}\n--m--\n"
        )
    };
    let file = |name: &str, content: &str| {
        mixed(&format!(
            "Content-Type: application/octet-stream\n\
             Content-Disposition: attachment; filename=\"{name}\"\n\n{content}"
        ))
    };
    let related = format!(
        "{HEAD}Subject: s\nContent-Type: multipart/related; boundary=r\n\n\
         --r\nContent-Type: text/html\n\n<img src=cid:i>\n\
         --r\nContent-Type: image/png; name=i.png\nContent-ID: <i>\n\nx\n--r--\n"
    );
    let nameless = "Content-Type: application/pdf\nContent-Disposition: attachment\n\nx";
    for (what, body, words) in [
        ("unknown ending", file("a.exe", "x"), "ending"),
        ("no ending", file("readme", "x"), "ending"),
        (
            "name not ASCII",
            file("=?utf-8?Q?=C3=BC.pdf?=", "x"),
            "ASCII",
        ),
        ("empty file", file("a.pdf", ""), "empty"),
        ("no name", mixed(nameless), "no name"),
        ("inline image", related, "image"),
    ] {
        let refusal = refusal(&body);
        assert!(refusal.contains(words), "{what}: {refusal}");
    }
}

#[test]
fn names_that_only_one_side_would_garble_are_kept_as_they_are() {
    for (name, shown) in [
        ("=?utf-8?Q?M=C3=BCller?=", "Müller"),
        ("\"Doe, Jo\"", "Doe, Jo"),
    ] {
        let body = format!(
            "From: a@shop.example\nTo: {name} <x@dest.example>\nReply-To: {name} <r@x.test>\n\
             Subject: s\n\nhi\n"
        );
        let json = made(&message(&["x@dest.example"], &body)).unwrap();
        assert_eq!(json["to"][0]["name"], shown);
        assert_eq!(json["replyTo"]["name"], shown);
    }
}
