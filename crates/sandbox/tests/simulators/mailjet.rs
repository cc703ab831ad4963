//! Mailjet.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malote_sandbox::{Account, Fault, FaultKind, Kind, SandboxConfig};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::{Running, client, config, start, told};

fn strict() -> SandboxConfig {
    SandboxConfig {
        account: Account {
            senders: Some(vec!["example.com".to_owned(), "second.example".to_owned()]),
            ..Account::default()
        },
        ..config()
    }
}

fn message() -> Value {
    json!({
        "From": { "Email": "s@example.com", "Name": "Shop" },
        "To": [{ "Email": "a@x.example", "Name": "Ana" }, { "Email": "b@x.example" }],
        "Cc": [{ "Email": "c@x.example" }],
        "Bcc": [{ "Email": "d@x.example" }],
        "ReplyTo": { "Email": "help@example.com" },
        "Subject": "x",
        "TextPart": "hi",
        "HTMLPart": "<p>hi",
        "Attachments": [{ "ContentType": "application/pdf", "Filename": "a.pdf", "Base64Content": "JVBERg==" }],
        "InlinedAttachments": [{ "ContentType": "image/png", "Filename": "i.png", "Base64Content": "eA==", "ContentID": "i" }],
        "Headers": { "X-A": "1" },
        "CustomID": "m1",
        "EventPayload": "0-ab",
        "TrackOpens": "disabled",
    })
}

fn post(running: &Running, body: &Value) -> RequestBuilder {
    let request = client().post(running.url("/v3.1/send"));
    let request = request.basic_auth("key-sandbox", Some("second-half"));
    request.json(body)
}

async fn answered(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

/// The codes of the faults of the first message.
fn codes(answer: &Value) -> Vec<&str> {
    let first = &answer["Messages"][0];
    assert_eq!(first["Status"], "error", "{answer}");
    let errors = first["Errors"].as_array().unwrap().iter();
    errors
        .map(|error| error["ErrorCode"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_message_is_taken_and_each_recipient_has_a_number_beyond_a_floats_reach() {
    let running = start(Kind::Mailjet, strict()).await;
    let (status, answer) = answered(post(&running, &json!({ "Messages": [message()] }))).await;
    let result = &answer["Messages"][0];
    assert_eq!(
        (status, &result["Status"]),
        (200, &json!("success")),
        "{answer}"
    );
    assert_eq!(result["CustomID"], "m1");
    let taken = running.sandbox.messages().remove(0);
    let all = ["a@x.example", "b@x.example", "c@x.example", "d@x.example"];
    assert_eq!(taken.recipients, all);
    let first: u64 = taken.id.parse().unwrap();
    assert!(first > 1 << 53);
    let id = |pointer: &str| {
        result.pointer(pointer).unwrap()["MessageID"]
            .as_u64()
            .unwrap()
    };
    let ids = ["/To/0", "/To/1", "/Cc/0", "/Bcc/0"].map(id);
    assert_eq!(ids, [first, first + 1, first + 2, first + 3]);
    assert_eq!(result["Bcc"][0]["Email"], "d@x.example");
    let options = [
        ("CustomID", "m1"),
        ("EventPayload", "0-ab"),
        ("TrackOpens", "disabled"),
    ];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(taken.options, options);
    assert_eq!(taken.fields, Some(message()));
}

#[tokio::test]
async fn somebody_listed_twice_gets_one_copy() {
    let running = start(Kind::Mailjet, strict()).await;
    let mut twice = message();
    twice["Cc"] = json!([{ "Email": "A@x.example" }]);
    let (_, answer) = answered(post(&running, &json!({ "Messages": [twice] }))).await;
    let taken = running.sandbox.messages().remove(0);
    assert_eq!(
        taken.recipients,
        ["a@x.example", "b@x.example", "d@x.example"]
    );
    let result = &answer["Messages"][0];
    assert_eq!(result["Cc"][0]["MessageID"], result["To"][0]["MessageID"]);
}

#[tokio::test]
async fn what_is_wrong_with_the_call_is_told_of_the_call() {
    let running = start(Kind::Mailjet, strict()).await;
    let many = vec![message(); 51];
    let mut odd = message();
    odd["Colour"] = json!("red");
    for (what, body, code) in [
        ("no object", json!([]), "mj-0002"),
        ("no messages", json!({}), "mj-0003"),
        ("odd messages", json!({ "Messages": {} }), "mj-0002"),
        ("none", json!({ "Messages": [] }), "mj-0007"),
        ("too many", json!({ "Messages": many }), "mj-0008"),
        (
            "odd property",
            json!({ "Messages": [message()], "Colour": "red" }),
            "mj-0002",
        ),
        (
            "odd property of a message",
            json!({ "Messages": [odd] }),
            "mj-0002",
        ),
    ] {
        let (status, answer) = answered(post(&running, &body)).await;
        assert_eq!(
            (status, &answer["ErrorCode"]),
            (400, &json!(code)),
            "{what}"
        );
        assert_eq!(answer["StatusCode"], 400, "{what}");
    }
    for (key, secret) in [("key-sandbox", "other"), ("other", "second-half")] {
        let request = client()
            .post(running.url("/v3.1/send"))
            .basic_auth(key, Some(secret));
        let (status, answer) = answered(request.json(&json!({ "Messages": [message()] }))).await;
        assert_eq!((status, &answer["ErrorCode"]), (401, &json!("mj-0015")));
    }
    assert!(running.sandbox.messages().is_empty());
}

#[tokio::test]
async fn what_the_service_would_refuse_of_a_message_is_refused_with_its_code() {
    let running = start(Kind::Mailjet, strict()).await;
    let changed = |pointer: &str, value: Value| {
        let mut message = message();
        *message.pointer_mut(pointer).unwrap() = value;
        message
    };
    let without = |names: &[&str]| {
        let mut message = message();
        for name in names {
            message.as_object_mut().unwrap().remove(*name);
        }
        message
    };
    let many: Vec<Value> = (0..48)
        .map(|n| json!({ "Email": format!("r{n}@x.example") }))
        .collect();
    let mut once = message();
    once["DeduplicateCampaign"] = json!(true);
    let large = STANDARD.encode(vec![b'x'; 15 * 1024 * 1024]);
    for (what, body, status, code) in [
        ("no sender", without(&["From"]), 400, "mj-0003"),
        (
            "no address",
            changed("/From", json!({ "Name": "s" })),
            400,
            "mj-0003",
        ),
        (
            "odd sender",
            changed("/From/Email", json!("s")),
            400,
            "mj-0013",
        ),
        (
            "shown address",
            changed("/From/Email", json!("S <s@example.com>")),
            400,
            "mj-0013",
        ),
        ("odd name", changed("/From/Name", json!(1)), 400, "mj-0004"),
        ("no recipient", without(&["To"]), 400, "mj-0003"),
        ("empty to", changed("/To", json!([])), 400, "mj-0007"),
        (
            "to is no list",
            changed("/To", json!({ "Email": "a@x.example" })),
            400,
            "mj-0004",
        ),
        ("odd to", changed("/To/1/Email", json!("b")), 400, "mj-0013"),
        (
            "empty address",
            changed("/Bcc/0/Email", json!("")),
            400,
            "mj-0012",
        ),
        ("too many", changed("/Bcc", json!(many)), 400, "send-0015"),
        (
            "odd answer",
            changed("/ReplyTo", json!("help@example.com")),
            400,
            "mj-0004",
        ),
        (
            "no text",
            without(&["TextPart", "HTMLPart"]),
            400,
            "send-0003",
        ),
        ("odd text", changed("/TextPart", json!(1)), 400, "mj-0004"),
        (
            "long subject",
            changed("/Subject", json!("s".repeat(256))),
            400,
            "mj-0006",
        ),
        (
            "reserved field",
            changed("/Headers", json!({ "Message-ID": "<1@x>" })),
            400,
            "send-0011",
        ),
        (
            "its own field",
            changed("/Headers", json!({ "List-Id": "x" })),
            400,
            "send-0011",
        ),
        (
            "injection",
            changed("/Headers/X-A", json!("1\nBcc: x")),
            400,
            "mj-0004",
        ),
        (
            "odd tracking",
            changed("/TrackOpens", json!("no")),
            400,
            "mj-0005",
        ),
        ("no campaign", once, 400, "send-0012"),
        (
            "no base64",
            changed("/Attachments/0/Base64Content", json!("?")),
            400,
            "mj-0004",
        ),
        (
            "no file name",
            changed("/Attachments/0/Filename", json!("")),
            400,
            "mj-0012",
        ),
        (
            "too large",
            changed("/Attachments/0/Base64Content", json!(large)),
            400,
            "mj-0011",
        ),
        (
            "another's",
            changed("/From/Email", json!("s@other.example")),
            403,
            "send-0008",
        ),
    ] {
        let (seen, answer) = answered(post(&running, &json!({ "Messages": [body] }))).await;
        assert_eq!((seen, codes(&answer)), (status, vec![code]), "{what}");
    }
    let worse = json!({ "From": { "Email": "s" }, "To": [] });
    let (_, answer) = answered(post(&running, &json!({ "Messages": [worse] }))).await;
    assert_eq!(
        codes(&answer),
        ["mj-0013", "mj-0007", "send-0003"],
        "all faults at once"
    );
    assert!(running.sandbox.messages().is_empty());
}

#[tokio::test]
async fn good_messages_go_though_others_of_the_call_are_wrong() {
    let running = start(Kind::Mailjet, strict()).await;
    let mut wrong = message();
    wrong["To"] = json!([]);
    let (status, answer) =
        answered(post(&running, &json!({ "Messages": [wrong, message()] }))).await;
    assert_eq!((status, codes(&answer)), (400, vec!["mj-0007"]));
    assert_eq!(answer["Messages"][1]["Status"], "success");
    assert_eq!(running.sandbox.messages().len(), 1);
    assert!(running.sandbox.arm(Fault::once(FaultKind::Partial)));
    let (status, answer) = answered(post(
        &running,
        &json!({ "Messages": [message(), message()] }),
    ))
    .await;
    assert_eq!((status, codes(&answer)), (400, vec!["mj-0013"]));
    assert_eq!(running.sandbox.messages().len(), 2);
}

#[tokio::test]
async fn its_own_sandbox_mode_checks_and_takes_nothing() {
    let running = start(Kind::Mailjet, strict()).await;
    let body = json!({ "Messages": [message()], "SandboxMode": true });
    let (status, answer) = answered(post(&running, &body)).await;
    assert_eq!(
        (status, &answer["Messages"][0]["To"][0]["MessageID"]),
        (200, &json!(0))
    );
    assert!(running.sandbox.messages().is_empty());
}

#[tokio::test]
async fn faults_speak_the_services_language() {
    let running = start(Kind::Mailjet, strict()).await;
    let send = || post(&running, &json!({ "Messages": [message()] }));
    for (kind, status, code) in [
        (FaultKind::Status(401), 401, "mj-0015"),
        (FaultKind::Suspended, 401, "mj-0001"),
    ] {
        assert!(running.sandbox.arm(Fault::once(kind)));
        let (seen, answer) = answered(send()).await;
        assert_eq!(
            (seen, &answer["ErrorCode"]),
            (status, &json!(code)),
            "{kind}"
        );
    }
    for (kind, status, code) in [
        (FaultKind::Sender, 403, "send-0008"),
        (FaultKind::Recipient, 400, "mj-0013"),
        (FaultKind::Partial, 400, "mj-0013"),
        (FaultKind::Content, 400, "mj-0006"),
    ] {
        assert!(running.sandbox.arm(Fault::once(kind)));
        let (seen, answer) = answered(send()).await;
        assert_eq!((seen, codes(&answer)), (status, vec![code]), "{kind}");
    }
    assert!(running.sandbox.arm(Fault::once(FaultKind::Status(500))));
    let (status, answer) = answered(send()).await;
    assert_eq!((status, &answer["StatusCode"]), (500, &json!(500)));
    for kind in [FaultKind::Status(429), FaultKind::Quota] {
        assert!(running.sandbox.arm(Fault::once(kind)));
        let response = send().send().await.unwrap();
        assert_eq!(response.status(), 429);
        assert_eq!(
            response.text().await.unwrap(),
            "Too Many Requests",
            "no JSON"
        );
    }
    assert!(running.sandbox.messages().is_empty());
}

#[tokio::test]
async fn key_and_senders_are_told_in_pages() {
    let mut limited = strict();
    limited.account.is_limited = true;
    let running = start(Kind::Mailjet, limited).await;
    let get = |path: &str, secret: &str| {
        client()
            .get(running.url(path))
            .basic_auth("key-sandbox", Some(secret))
    };
    let (status, keys) = answered(get("/v3/REST/apikey", "second-half")).await;
    assert_eq!(
        (status, &keys["Data"][0]["Runlevel"]),
        (200, &json!("Softlock"))
    );
    let (_, senders) = answered(get("/v3/REST/sender", "second-half")).await;
    assert_eq!(
        (&senders["Count"], &senders["Total"]),
        (&json!(2), &json!(2))
    );
    let first = &senders["Data"][0];
    assert_eq!(
        (&first["Email"], &first["Status"]),
        (&json!("*@example.com"), &json!("Active"))
    );
    let (_, page) = answered(get("/v3/REST/sender?Limit=1&Offset=1", "second-half")).await;
    assert_eq!(
        (&page["Count"], &page["Data"][0]["Email"]),
        (&json!(1), &json!("*@second.example"))
    );
    let (status, refused) = answered(get("/v3/REST/sender", "other")).await;
    assert_eq!((status, &refused["StatusCode"]), (401, &json!(401)));
    assert_eq!(running.sandbox.stats().checks, 3);
}

#[tokio::test]
async fn events_carry_the_login_and_the_recipients_own_number() {
    let running = start(Kind::Mailjet, strict()).await;
    let (_, sent) = answered(post(&running, &json!({ "Messages": [message()] }))).await;
    for (order, name, member, value) in [
        (
            "delivered",
            "sent",
            "smtp_reply",
            json!("sent (250 2.0.0 OK)"),
        ),
        ("deferred", "bounce", "hard_bounce", json!(false)),
        ("bounced", "bounce", "hard_bounce", json!(true)),
        ("complained", "spam", "source", json!("JMRPP")),
        ("unsubscribed", "unsub", "mj_list_id", json!(0)),
    ] {
        let order = json!({ "event": order, "recipient": "C@x.example" });
        let (headers, body) = told(&running, order).await;
        let login = STANDARD.encode("sandbox:webhook-secret-sandbox");
        assert_eq!(headers["authorization"], format!("Basic {login}").as_str());
        let events: Value = serde_json::from_str(&body).unwrap();
        let event = &events[0];
        assert_eq!((&event["event"], &event[member]), (&json!(name), &value));
        let cc = &sent["Messages"][0]["Cc"][0];
        assert_eq!(event["MessageID"], cc["MessageID"]);
        assert_eq!(event["Message_GUID"], cc["MessageUUID"]);
        assert_eq!(
            (&event["CustomID"], &event["Payload"]),
            (&json!("m1"), &json!("0-ab"))
        );
        assert_eq!(event["email"], "C@x.example");
    }
    let (headers, _) = told(&running, json!({ "event": "bounced", "forged": true })).await;
    let login = STANDARD.encode("sandbox:webhook-secret-sandbox");
    assert_ne!(headers["authorization"], format!("Basic {login}").as_str());
}
