//! Postmark.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malote_sandbox::{Account, Fault, FaultKind, Kind, SandboxConfig};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::{Running, client, config, start, told};

fn strict() -> SandboxConfig {
    SandboxConfig {
        account: Account {
            senders: Some(vec!["example.com".to_owned()]),
            pools: Some(vec!["news".to_owned()]),
            ..Account::default()
        },
        ..config()
    }
}

fn email() -> Value {
    json!({
        "From": "Shop <s@example.com>",
        "To": "\"Ana, A.\" <a@x.example>, b@x.example",
        "Cc": "c@x.example",
        "Bcc": "d@x.example",
        "ReplyTo": "help@example.com",
        "Subject": "x",
        "TextBody": "hi",
        "HtmlBody": "<p>hi",
        "Tag": "welcome",
        "Headers": [{ "Name": "X-A", "Value": "1" }, { "Name": "X-PM-KeepID", "Value": "true" }],
        "Attachments": [{
            "Name": "a.pdf",
            "Content": "JVBERg==",
            "ContentType": "application/pdf",
            "ContentID": "cid:a",
        }],
        "Metadata": { "malote-message": "m1" },
        "TrackOpens": false,
        "TrackLinks": "None",
        "MessageStream": "news",
    })
}

fn bare(running: &Running, token: &str) -> RequestBuilder {
    let request = client().post(running.url("/email"));
    request.header("X-Postmark-Server-Token", token)
}

fn post(running: &Running, body: &Value) -> RequestBuilder {
    let request = bare(running, "key-sandbox").header("Accept", "application/json");
    request.json(body)
}

async fn answered(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

fn said(answer: &Value) -> (u64, &str) {
    let code = answer["ErrorCode"].as_u64().unwrap_or_default();
    (code, answer["Message"].as_str().unwrap())
}

#[tokio::test]
async fn an_email_is_taken_with_its_stream_and_everybody_it_goes_to() {
    let running = start(Kind::Postmark, strict()).await;
    let (status, answer) = answered(post(&running, &email())).await;
    let taken = running.sandbox.messages().remove(0);
    assert_eq!((status, said(&answer)), (200, (0, "OK")));
    assert_eq!(answer["MessageID"], taken.id.as_str());
    assert_eq!(answer["To"], email()["To"]);
    let all = ["a@x.example", "b@x.example", "c@x.example", "d@x.example"];
    assert_eq!(taken.recipients, all);
    assert_eq!(taken.pool.as_deref(), Some("news"));
    let options = [
        ("Tag", "welcome"),
        ("TrackOpens", "false"),
        ("TrackLinks", "None"),
        ("Metadata.malote-message", "m1"),
    ];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(taken.options, options);
    assert_eq!(taken.fields, Some(email()));
    let mut plain = email();
    plain.as_object_mut().unwrap().remove("MessageStream");
    answered(post(&running, &plain)).await;
    let taken = running.sandbox.messages().remove(1);
    assert_eq!(taken.pool.as_deref(), Some("outbound"));
}

#[tokio::test]
async fn what_the_service_would_refuse_is_refused_in_its_words() {
    let running = start(Kind::Postmark, strict()).await;
    let changed = |name: &str, value: Value| {
        let mut email = email();
        email[name] = value;
        email
    };
    let file = |name: &str, content: &str| {
        let file = json!({ "Name": name, "Content": content, "ContentType": "x/y" });
        changed("Attachments", json!([file]))
    };
    let header =
        |name: &str, value: &str| changed("Headers", json!([{ "Name": name, "Value": value }]));
    let many: Vec<String> = (0..48).map(|n| format!("r{n}@x.example")).collect();
    let fields = |count: usize| -> Value {
        let fields = (0..count).map(|n| (format!("k{n}"), "v".into()));
        fields.collect::<serde_json::Map<_, _>>().into()
    };
    let mut nobody = email();
    for name in ["To", "Cc", "Bcc"] {
        nobody[name] = "".into();
    }
    let mut empty = changed("TextBody", Value::Null);
    empty["HtmlBody"] = "".into();
    for (what, body, code, words) in [
        ("no object", json!([]), 402, "JSON"),
        ("odd type", changed("Subject", json!(1)), 403, "Subject"),
        (
            "odd sender",
            changed("From", json!("s")),
            300,
            "'From' address",
        ),
        (
            "no sender",
            changed("From", Value::Null),
            300,
            "'From' address",
        ),
        (
            "odd to",
            changed("To", json!("a")),
            300,
            "Error parsing 'To'",
        ),
        (
            "odd cc",
            changed("Cc", json!("a@x..example")),
            300,
            "Invalid 'Cc' address",
        ),
        (
            "unquoted",
            changed("To", json!("Ana, A. <a@x.example>")),
            300,
            "'To'",
        ),
        ("nobody", nobody, 300, "Zero recipients"),
        (
            "too many",
            changed("Bcc", json!(many.join(","))),
            300,
            "limit",
        ),
        ("no text", empty, 300, "TextBody or HtmlBody"),
        (
            "long text",
            changed("TextBody", json!("x".repeat(5_242_881))),
            300,
            "5 MB",
        ),
        (
            "long tag",
            changed("Tag", json!("t".repeat(1001))),
            300,
            "Tag length",
        ),
        (
            "odd answer",
            changed("ReplyTo", json!("@")),
            300,
            "'Reply-To'",
        ),
        (
            "reserved field",
            header("Content-Type", "x"),
            300,
            "not allowed",
        ),
        ("injection", header("X-A", "1\r\nBcc: x"), 300, "invalid"),
        (
            "odd field",
            changed("Headers", json!({ "X-A": "1" })),
            403,
            "Headers",
        ),
        (
            "odd metadata",
            changed("Metadata", json!({ "a": 1 })),
            403,
            "Metadata",
        ),
        (
            "much metadata",
            changed("Metadata", fields(11)),
            300,
            "10 metadata",
        ),
        (
            "long name",
            changed("Metadata", json!({ "abcdefghijklmnopqrstu": "" })),
            300,
            "20",
        ),
        (
            "long value",
            changed("Metadata", json!({ "a": "v".repeat(81) })),
            300,
            "80",
        ),
        (
            "same name",
            changed("Metadata", json!({ "a": "", "A": "" })),
            300,
            "Duplicate",
        ),
        (
            "odd tracking",
            changed("TrackLinks", json!("All")),
            403,
            "TrackLinks",
        ),
        ("no base64", file("a.pdf", "?"), 300, "base64"),
        ("no file name", file("", "eA=="), 300, "'Name'"),
        ("program", file("a.EXE", "eA=="), 411, "not allowed"),
        (
            "no stream",
            changed("MessageStream", json!("other")),
            1235,
            "does not exist",
        ),
        (
            "its inbox",
            changed("MessageStream", json!("inbound")),
            1236,
            "not supported",
        ),
        (
            "another's",
            changed("From", json!("s@other.example")),
            400,
            "Sender Signature",
        ),
    ] {
        let (status, answer) = answered(post(&running, &body)).await;
        let (seen, text) = said(&answer);
        assert!(
            status == 422 && seen == code && text.contains(words),
            "{what}: {status} {seen} {text}"
        );
    }
    let large = STANDARD.encode(vec![b'x'; 10 * 1024 * 1024]);
    let (status, _) = answered(post(&running, &file("a.pdf", &large))).await;
    assert_eq!(status, 413);
    assert!(running.sandbox.messages().is_empty());
}

#[tokio::test]
async fn the_token_and_both_header_fields_are_required() {
    let running = start(Kind::Postmark, config()).await;
    let text = email().to_string();
    let json = "application/json";
    let with = |token: &str, accept: &str, kind: &str| {
        let request = bare(&running, token).body(text.clone());
        request
            .header("Accept", accept)
            .header("Content-Type", kind)
    };
    for (request, status, code) in [
        (with("other", json, json), 401, 10),
        (client().post(running.url("/email")).json(&email()), 401, 10),
        (with("key-sandbox", "*/*", json), 415, 409),
        (with("key-sandbox", json, "text/plain"), 415, 409),
    ] {
        let (seen, answer) = answered(request).await;
        assert_eq!((seen, said(&answer).0), (status, code));
    }
    let charset = "application/json; charset=utf-8";
    assert_eq!(answered(with("key-sandbox", json, charset)).await.0, 200);
    assert_eq!(running.sandbox.messages().len(), 1);
    let (status, answer) = answered(with("POSTMARK_API_TEST", json, json)).await;
    assert_eq!((status, said(&answer)), (200, (0, "Test job accepted")));
    assert_eq!(running.sandbox.messages().len(), 1);
}

#[tokio::test]
async fn a_pending_account_mails_its_own_domain_only() {
    let mut pending = strict();
    pending.account.is_limited = true;
    let running = start(Kind::Postmark, pending).await;
    let (status, answer) = answered(post(&running, &email())).await;
    assert_eq!((status, said(&answer).0), (422, 412));
    assert!(said(&answer).1.contains("'x.example'"), "{answer}");
    let mut own = email();
    own["To"] = "me@Example.com".into();
    own["Cc"] = Value::Null;
    own["Bcc"] = Value::Null;
    assert_eq!(answered(post(&running, &own)).await.0, 200);
}

#[tokio::test]
async fn faults_speak_the_services_language() {
    let running = start(Kind::Postmark, strict()).await;
    for (kind, status, code, words) in [
        (FaultKind::Status(401), 401, 10, "token"),
        (FaultKind::Status(429), 429, 429, "Rate Limit"),
        (FaultKind::Status(500), 500, 0, "500"),
        (FaultKind::Status(503), 503, 100, "maintenance"),
        (FaultKind::Quota, 422, 405, "credits"),
        (FaultKind::Suspended, 422, 413, "may not send"),
        (FaultKind::Sender, 422, 400, "Sender Signature"),
        (
            FaultKind::Recipient,
            422,
            300,
            "'To' address: 'a@x.example'",
        ),
        (FaultKind::Content, 422, 411, "attachment"),
    ] {
        assert!(running.sandbox.arm(Fault::once(kind)));
        let (seen, answer) = answered(post(&running, &email())).await;
        let (seen_code, text) = said(&answer);
        assert!(
            seen == status && seen_code == code && text.contains(words),
            "{kind}: {seen} {answer}"
        );
    }
    assert!(running.sandbox.messages().is_empty());
}

#[tokio::test]
async fn a_half_refused_send_is_200_and_names_the_inactive_in_its_text() {
    let running = start(Kind::Postmark, strict()).await;
    assert!(running.sandbox.arm(Fault::once(FaultKind::Partial)));
    let (status, answer) = answered(post(&running, &email())).await;
    let (code, text) = said(&answer);
    assert_eq!((status, code), (200, 0));
    assert!(
        text.contains("inactive addresses: a@x.example, b@x.example. Inactive"),
        "{text}"
    );
    let taken = running.sandbox.messages().remove(0);
    assert_eq!(taken.recipients, ["c@x.example", "d@x.example"]);
    let mut one = email();
    one["To"] = "A@x.example".into();
    one["Cc"] = Value::Null;
    one["Bcc"] = Value::Null;
    assert!(running.sandbox.arm(Fault::once(FaultKind::Partial)));
    let (status, answer) = answered(post(&running, &one)).await;
    assert_eq!((status, said(&answer).0), (422, 406));
    assert!(
        said(&answer).1.contains("inactive addresses: a@x.example."),
        "{answer}"
    );
}

#[tokio::test]
async fn server_and_streams_are_told_to_those_who_have_the_token() {
    let running = start(Kind::Postmark, strict()).await;
    let get = |path: &str, token: &str| {
        let request = client()
            .get(running.url(path))
            .header("Accept", "application/json");
        request.header("X-Postmark-Server-Token", token)
    };
    let (status, server) = answered(get("/server", "key-sandbox")).await;
    assert_eq!((status, &server["DeliveryType"]), (200, &json!("Live")));
    let (_, list) = answered(get("/message-streams?MessageStreamType=All", "key-sandbox")).await;
    let ids: Vec<&str> = list["MessageStreams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stream| stream["ID"].as_str().unwrap())
        .collect();
    assert_eq!(
        (ids, &list["TotalCount"]),
        (vec!["outbound", "inbound", "news"], &json!(3))
    );
    let (status, stream) = answered(get("/message-streams/news", "key-sandbox")).await;
    assert_eq!((status, &stream["ID"]), (200, &json!("news")));
    let (status, missing) = answered(get("/message-streams/other", "key-sandbox")).await;
    assert_eq!((status, said(&missing).0), (422, 1226));
    let (status, refused) = answered(get("/server", "other")).await;
    assert_eq!((status, said(&refused).0), (401, 10));
    assert_eq!(running.sandbox.stats().checks, 4);
}

#[tokio::test]
async fn events_carry_the_login_of_the_webhooks_url() {
    let running = start(Kind::Postmark, strict()).await;
    let (_, sent) = answered(post(&running, &email())).await;
    for (event, record, member, value) in [
        ("delivered", "Delivery", "Details", "250 2.0.0 OK"),
        ("deferred", "Bounce", "Type", "Transient"),
        ("bounced", "Bounce", "Type", "HardBounce"),
        ("complained", "SpamComplaint", "Type", "SpamComplaint"),
        (
            "unsubscribed",
            "SubscriptionChange",
            "SuppressionReason",
            "ManualSuppression",
        ),
    ] {
        let order = json!({ "event": event, "recipient": "c@x.example" });
        let (headers, body) = told(&running, order).await;
        let login = STANDARD.encode("sandbox:webhook-secret-sandbox");
        assert_eq!(headers["authorization"], format!("Basic {login}").as_str());
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (&body["RecordType"], &body[member]),
            (&json!(record), &json!(value))
        );
        let recipient = match record {
            "Bounce" | "SpamComplaint" => &body["Email"],
            _ => &body["Recipient"],
        };
        assert_eq!(recipient, "c@x.example", "{event}");
        assert_eq!(body["MessageID"], sent["MessageID"]);
        assert_eq!(body["MessageStream"], "news");
        assert_eq!(body["Metadata"]["malote-message"], "m1");
    }
    let (headers, _) = told(&running, json!({ "event": "bounced", "forged": true })).await;
    let login = STANDARD.encode("sandbox:webhook-secret-sandbox");
    assert_ne!(headers["authorization"], format!("Basic {login}").as_str());
}

async fn batch(running: &Running, body: &Value, token: &str) -> (u16, Value) {
    let request = client().post(running.url("/email/batch"));
    let request = request.header("X-Postmark-Server-Token", token);
    answered(request.header("Accept", "application/json").json(body)).await
}

#[tokio::test]
async fn each_email_of_a_batch_has_its_own_answer() {
    let running = start(Kind::Postmark, strict()).await;
    let mut bad = email();
    bad["From"] = "s@other.example".into();
    let emails = json!([email(), bad, email()]);
    let codes = |answer: &Value| -> Vec<Value> {
        let list = answer.as_array().unwrap().iter();
        list.map(|one| one["ErrorCode"].clone()).collect()
    };
    let (status, answer) = batch(&running, &emails, "key-sandbox").await;
    assert_eq!(
        (status, codes(&answer)),
        (200, vec![json!(0), json!(400), json!(0)])
    );
    let taken = running.sandbox.messages();
    assert_eq!(taken.len(), 2);
    assert_eq!(answer[2]["MessageID"], taken[1].id);
    assert!(running.sandbox.arm(Fault::once(FaultKind::Partial)));
    let (_, answer) = batch(&running, &emails, "key-sandbox").await;
    assert_eq!(codes(&answer), [json!(406), json!(400), json!(0)]);
    let (_, answer) = batch(&running, &emails, "POSTMARK_API_TEST").await;
    assert_eq!(answer[0]["Message"], "Test job accepted");
    assert_eq!(running.sandbox.messages().len(), 3);
}

#[tokio::test]
async fn a_batch_has_its_bounds() {
    let running = start(Kind::Postmark, strict()).await;
    let (status, answer) = batch(&running, &json!(vec![json!({}); 501]), "key-sandbox").await;
    assert_eq!((status, &answer["ErrorCode"]), (422, &json!(410)));
    let (status, answer) = batch(&running, &email(), "key-sandbox").await;
    assert_eq!((status, &answer["ErrorCode"]), (422, &json!(402)));
    assert!(running.sandbox.arm(Fault::once(FaultKind::Status(503))));
    let (status, answer) = batch(&running, &json!([email()]), "key-sandbox").await;
    assert_eq!((status, &answer["ErrorCode"]), (503, &json!(100)));
    let (status, _) = batch(&running, &json!([email()]), "other").await;
    assert_eq!(status, 401);
    assert!(running.sandbox.messages().is_empty());
}
