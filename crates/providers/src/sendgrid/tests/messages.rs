//! What of a message stands where in the JSON.

use malote_core::provider::{Fault, Outgoing, SendError, Verdict};
use serde_json::{Value, json};

use crate::correlation::tests::outgoing;
use crate::sendgrid::message::body;

fn json_of(outgoing: &Outgoing) -> Result<Value, SendError> {
    let body = body(outgoing, Some("pool-1".to_owned()))?;
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
Cc: C <c@d.example>
Reply-To: r@shop.example
Subject: =?utf-8?b?T2zDoQ==?=
Message-ID: <1@shop.example>
Date: Sun, 22 Nov 2026 00:00:00 +0000
List-Unsubscribe: <https://u.example/1>
List-Unsubscribe-Post: List-Unsubscribe=One-Click
X-SG-EID: forged
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=m

--m
Content-Type: multipart/alternative; boundary=a

--a
Content-Type: text/plain

hi
--a
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
--a--
--m
Content-Type: message/rfc822

Subject: inner

x
--m--
";

#[test]
fn every_field_of_the_request_is_where_the_service_wants_it() {
    let outgoing = sent(&["x@d.example", "c@d.example", "hidden@d.example"], MESSAGE);
    let ids = crate::correlation::recipients(&outgoing, 8_000).remove(0);
    let expected = json!({
        "personalizations": [{
            "to": [{ "email": "x@d.example", "name": "\"X, \\\"Y\\\"\"" }],
            "cc": [{ "email": "c@d.example", "name": "C" }],
            "bcc": [{ "email": "hidden@d.example" }],
            "custom_args": {
                "malote-message": outgoing.message.simple(),
                "malote-to-0": ids,
                "order": "42",
            },
        }],
        "from": { "email": "a@shop.example", "name": "José" },
        "reply_to": { "email": "r@shop.example" },
        "subject": "Olá",
        "content": [
            { "type": "text/plain", "value": "hi" },
            { "type": "text/html", "value": "<img src=cid:logo@x>" },
        ],
        "attachments": [
            {
                "content": "AAEC",
                "type": "image/png",
                "filename": "attachment-1.png",
                "disposition": "inline",
                "content_id": "logo@x",
            },
            {
                "content": "U3ViamVjdDogaW5uZXINCg0KeA==",
                "type": "message/rfc822",
                "filename": "attachment-2.eml",
                "disposition": "attachment",
            },
        ],
        "headers": {
            "Message-ID": "<1@shop.example>",
            "Date": "Sun, 22 Nov 2026 00:00:00 +0000",
            "List-Unsubscribe": "<https://u.example/1>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        },
        "categories": ["welcome"],
        "ip_pool_name": "pool-1",
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
            "another transport's field",
            format!("{head}Subject: s\nX-SMTPAPI: {{}}\n\nhi\n"),
            "X-SMTPAPI",
        ),
        (
            "an empty file",
            format!(
                "{head}Subject: s\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=m\n\n\
                 --m\n\nhi\n--m\nContent-Type: image/png; name=a.png\n\n\n--m--\n"
            ),
            "empty attachment",
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
fn several_addresses_to_answer_stand_in_the_list_and_none_nowhere() {
    let head = "From: a@shop.example\nTo: x@d.example\nSubject: s\n";
    let json = json_of(&sent(
        &["x@d.example"],
        &format!("{head}Reply-To: r@a.test, s@a.test\n\nhi\n"),
    ));
    let json = json.unwrap();
    assert_eq!(
        json["reply_to_list"],
        json!([{ "email": "r@a.test" }, { "email": "s@a.test" }])
    );
    assert!(json.get("reply_to").is_none());
    let json = json_of(&sent(&["x@d.example"], &format!("{head}\nhi\n"))).unwrap();
    assert!(json.get("reply_to").is_none() && json.get("reply_to_list").is_none());
}

#[test]
fn an_address_twice_in_a_call_and_hidden_recipients_go_one_by_one() {
    let message = "From: a@shop.example\nTo: x@d.example\nSubject: s\n\nhi\n";
    for to in [
        ["x@d.example", "X@d.example"],
        ["y@d.example", "z@d.example"],
    ] {
        let error = json_of(&sent(&to, message)).unwrap_err();
        assert_eq!(error.verdict, Verdict::Ungroup, "{to:?}");
    }
}

#[test]
fn labels_stay_within_the_services_bounds_and_beside_an_events_own_members() {
    let addresses: Vec<String> = (0..500).map(|n| format!("r{n}@d.example")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut outgoing = sent(
        &addresses,
        "From: a@shop.example\nTo: r1@d.example\nSubject: s\n\nhi\n",
    );
    for recipient in &mut outgoing.recipients {
        recipient.delivery.index += 65_000;
    }
    outgoing.tags = vec!["é".into(), "a\r\nb".into(), "ab".into(), "c".repeat(500)];
    outgoing.tags.extend((0..20).map(|n| format!("t{n}")));
    outgoing.metadata.insert("email".into(), "x".into());
    outgoing
        .metadata
        .insert("malote-message".into(), "x".into());
    for n in 0..50 {
        outgoing.metadata.insert(format!("k{n}"), "v".repeat(100));
    }
    let json = json_of(&outgoing).unwrap();
    let args = json["personalizations"][0]["custom_args"]
        .as_object()
        .unwrap();
    let bytes: usize = args
        .iter()
        .map(|(k, v)| k.len() + v.as_str().unwrap().len())
        .sum();
    assert!((8_000..=10_000).contains(&bytes), "{bytes}");
    assert_eq!(args["malote-message"], outgoing.message.simple());
    let entries = args["malote-to-0"].as_str().unwrap().split('_').count();
    assert_eq!(entries, 500);
    assert_eq!(args["metadata-email"], "x");
    assert!(!args.contains_key("email"));
    let categories: Vec<&str> = json["categories"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c.as_str().unwrap())
        .collect();
    assert_eq!(categories.len(), 10);
    assert_eq!((categories[0], categories[1].len()), ("ab", 255));
}
