//! What of a message stands where in the JSON.

use malote_core::provider::{Fault, Outgoing, SendError, Verdict};
use serde_json::{Value, json};

use crate::correlation;
use crate::correlation::tests::outgoing;
use crate::resend::message::body;

fn json_of(outgoing: &Outgoing) -> Result<Value, SendError> {
    let body = body(outgoing)?;
    Ok(serde_json::from_slice(&body).unwrap())
}

fn sent(to: &[&str], message: &str) -> Outgoing {
    let mut outgoing = outgoing(to);
    outgoing.body = message.replace('\n', "\r\n").into();
    outgoing
}

const MESSAGE: &str = "\
From: =?utf-8?q?Jos=C3=A9?= <a@shop.example>
To: \"X, \\\"Y\\\"\" <x@d.example>, other@d.example
Cc: =?utf-8?q?Andr=C3=A9_O'Neil?= <c@d.example>
Reply-To: r@shop.example
Subject: =?utf-8?b?T2zDoQ==?=
Message-ID: <1@shop.example>
List-Unsubscribe: <https://u.example/1>
List-Unsubscribe-Post: List-Unsubscribe=One-Click
Resend-Idempotency-Key: theirs
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=m

--m
Content-Type: multipart/related; boundary=r

--r
Content-Type: text/html

<img src=cid:logo@x>
--r
Content-Type: image/png
Content-ID: <logo@x>
Content-Transfer-Encoding: base64

AAEC
--r--
--m
Content-Type: application/pdf
Content-Disposition: attachment; filename*=utf-8''nota%20f%C3%ADscal.pdf
Content-Transfer-Encoding: base64

JVBERg==
--m--
";

#[test]
fn every_field_of_the_request_is_where_the_service_wants_it() {
    let outgoing = sent(&["x@d.example", "c@d.example", "hidden@d.example"], MESSAGE);
    let ids = correlation::recipients(&outgoing, 256).remove(0);
    let expected = json!({
        "from": "José <a@shop.example>",
        "to": ["=?utf-8?b?WCwgIlki?= <x@d.example>"],
        "cc": ["André O'Neil <c@d.example>"],
        "bcc": ["hidden@d.example"],
        "reply_to": ["r@shop.example"],
        "subject": "Olá",
        "text": "",
        "html": "<img src=cid:logo@x>",
        "headers": {
            "Message-ID": "<1@shop.example>",
            "List-Unsubscribe": "<https://u.example/1>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        },
        "attachments": [
            {
                "content": "AAEC",
                "filename": "attachment-1.png",
                "content_type": "image/png",
                "content_id": "logo@x",
            },
            {
                "content": "JVBERg==",
                "filename": "nota físcal.pdf",
                "content_type": "application/pdf",
            },
        ],
        "tags": [
            { "name": "malote-message", "value": outgoing.message.simple() },
            { "name": "malote-to-0", "value": ids },
            { "name": "order", "value": "42" },
            { "name": "tag-0", "value": "welcome" },
        ],
    });
    assert_eq!(json_of(&outgoing).unwrap(), expected);
}

#[test]
fn what_the_service_has_no_place_for_is_refused_with_its_reason() {
    let head = "From: a@shop.example\nTo: x@d.example\n";
    for (what, message, reason) in [
        ("no subject", format!("{head}\nhi\n"), "without a subject"),
        ("no text", format!("{head}Subject: s\n\n"), "without a text"),
        (
            "two fields of a name",
            format!("{head}Subject: s\nX-A: 1\nx-a: 2\n\nhi\n"),
            "x-a occurs twice",
        ),
        (
            "an author with a comma",
            "From: \"Doe, J\" <a@shop.example>\nTo: x@d.example\nSubject: s\n\nhi\n".to_owned(),
            "author's name",
        ),
        (
            "an author with another address for a name",
            "From: \"X <y@z.test>\" <a@shop.example>\nTo: x@d.example\nSubject: s\n\nhi\n"
                .to_owned(),
            "author's name",
        ),
        (
            "two authors",
            "From: a@shop.example, b@shop.example\nTo: x@d.example\nSubject: s\n\nhi\n".to_owned(),
            "more than one address",
        ),
    ] {
        let error = json_of(&sent(&["x@d.example"], &message)).unwrap_err();
        assert_eq!(
            error.verdict,
            Verdict::Rejected(Fault::MessageHere),
            "{what}"
        );
        assert!(
            error.reply.text().contains(reason),
            "{what}: {}",
            error.reply.text()
        );
    }
}

#[test]
fn a_plain_text_stays_the_only_form() {
    let message = "From: a@shop.example\nTo: x@d.example\nSubject: s\n\nhi\n";
    let json = json_of(&sent(&["x@d.example"], message)).unwrap();
    assert_eq!(json["from"], "a@shop.example");
    assert_eq!(json["text"], "hi\r\n");
    assert!(json.get("html").is_none() && json.get("cc").is_none() && json.get("bcc").is_none());
    assert!(json.get("headers").is_none() && json.get("attachments").is_none());
}

#[test]
fn a_long_name_is_cut_into_words_between_its_characters() {
    let name = "é,".repeat(60);
    let encoded = format!(
        "=?utf-8?q?{}?=",
        name.replace('é', "=C3=A9").replace(',', "=2C")
    );
    let message = format!("From: a@shop.example\nTo: {encoded} <x@d.example>\nSubject: s\n\nhi\n");
    let json = json_of(&sent(&["x@d.example"], &message)).unwrap();
    let shown = json["to"][0].as_str().unwrap();
    assert!(shown.ends_with(" <x@d.example>"), "{shown}");
    assert!(shown.split(' ').all(|word| word.len() <= 75), "{shown}");
    let read = format!("From: a@shop.example\nTo: {shown}\nSubject: s\n\nhi\n");
    let parts = crate::parts::parts(read.as_bytes(), &outgoing(&["x@d.example"]).recipients);
    assert_eq!(parts.unwrap().to[0].name.as_deref(), Some(name.as_str()));
}

#[test]
fn tags_hold_what_the_service_allows_and_ours_come_first() {
    let addresses: Vec<String> = (0..50).map(|n| format!("r{n}@d.example")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let message = "From: a@shop.example\nTo: r1@d.example\nSubject: s\n\nhi\n";
    let mut outgoing = sent(&addresses, message);
    outgoing.tags = vec!["é ç!".into(), String::new(), "c".repeat(500)];
    outgoing
        .metadata
        .insert("malote-message".into(), "forged".into());
    for n in 0..100 {
        outgoing.metadata.insert(format!("k {n}"), "v@w".into());
    }
    let json = json_of(&outgoing).unwrap();
    let tags = json["tags"].as_array().unwrap();
    assert_eq!(tags.len(), 50);
    let text = |tag: &Value, member: &str| tag[member].as_str().unwrap().to_owned();
    let value = |name: &str| {
        let tag = tags.iter().find(|tag| tag["name"] == name).unwrap();
        text(tag, "value")
    };
    assert_eq!(value("malote-message"), outgoing.message.simple());
    assert_eq!(value("tag-0"), "____");
    assert_eq!(value("k_0"), "v_w");
    let is_word = |text: String| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        (1..=256).contains(&text.len()) && text.bytes().all(allowed)
    };
    assert!(
        tags.iter()
            .all(|tag| is_word(text(tag, "name")) && is_word(text(tag, "value")))
    );
    let recipients = tags
        .iter()
        .filter(|tag| text(tag, "name").starts_with("malote-to-"));
    let entries: usize = recipients
        .map(|tag| text(tag, "value").split('_').count())
        .sum();
    assert_eq!(entries, 50);
}
