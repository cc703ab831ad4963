//! Elastic Email.

use malote_sandbox::{Account, Fault, FaultKind, Kind, SandboxConfig};
use reqwest::Response;
use serde_json::{Value, json};

use crate::{Running, client, config, start, told};

fn strict() -> SandboxConfig {
    SandboxConfig {
        account: Account {
            senders: Some(vec!["example.com".to_owned()]),
            pools: Some(vec!["fast".to_owned()]),
            ..Account::default()
        },
        ..config()
    }
}

fn email() -> Value {
    json!({
        "Recipients": {
            "To": ["Ana <a@x.example>", "b@x.example"],
            "CC": ["c@x.example"],
            "BCC": ["d@x.example"],
        },
        "Content": {
            "From": "Shop <s@example.com>",
            "ReplyTo": "help@example.com",
            "Subject": "x",
            "Body": [
                { "ContentType": "PlainText", "Content": "hi", "Charset": "utf-8" },
                { "ContentType": "HTML", "Content": "<p>hi" },
            ],
            "Headers": { "X-A": "1" },
            "Postback": "m1",
            "Attachments": [{ "Name": "a.pdf", "BinaryContent": "JVBERg==", "Size": 4 }],
        },
        "Options": { "PoolName": "fast", "ChannelName": "shop", "TrackOpens": false },
    })
}

async fn post(running: &Running, path: &str, body: &Value) -> Response {
    let request = client().post(running.url(path));
    let request = request.header("X-ElasticEmail-ApiKey", "key-sandbox");
    request.json(body).send().await.unwrap()
}

async fn answered(running: &Running, body: &Value) -> (u16, Value) {
    let response = post(running, "/v4/emails/transactional", body).await;
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

#[tokio::test]
async fn an_email_is_taken_with_all_who_get_a_copy() {
    let running = start(Kind::Elasticemail, strict()).await;
    let (status, answer) = answered(&running, &email()).await;
    let taken = running.sandbox.messages().remove(0);
    assert_eq!((status, &answer["TransactionID"]), (200, &json!(taken.id)));
    assert!(answer["MessageID"].as_str().is_some_and(|id| id.len() > 8));
    let all = ["a@x.example", "b@x.example", "c@x.example", "d@x.example"];
    assert_eq!(taken.recipients, all);
    assert_eq!(taken.pool.as_deref(), Some("fast"));
    let option = |name: &str| taken.options.iter().find(|(known, _)| known == name);
    for (name, value) in [
        ("ChannelName", "shop"),
        ("Postback", "m1"),
        ("TrackOpens", "false"),
    ] {
        assert_eq!(option(name).map(|(_, value)| value.as_str()), Some(value));
    }
    assert_eq!(taken.fields, Some(email()));
}

#[tokio::test]
async fn a_bulk_email_goes_to_each_of_its_list() {
    let running = start(Kind::Elasticemail, strict()).await;
    let mut bulk = email();
    bulk["Recipients"] = json!([{ "Email": "a@x.example", "Fields": { "n": "1" } }]);
    let response = post(&running, "/v4/emails", &bulk).await;
    assert_eq!(response.status(), 200);
    assert_eq!(running.sandbox.messages()[0].recipients, ["a@x.example"]);
    bulk["Recipients"] = json!([]);
    assert_eq!(post(&running, "/v4/emails", &bulk).await.status(), 400);
}

#[tokio::test]
async fn what_the_service_would_refuse_is_refused_in_its_words() {
    let running = start(Kind::Elasticemail, strict()).await;
    let changed = |pointer: &str, value: Value| {
        let mut email = email();
        *email.pointer_mut(pointer).unwrap() = value;
        email
    };
    let many: Vec<String> = (0..51).map(|n| format!("r{n}@x.example")).collect();
    let large = "A".repeat(27_962_032);
    for (what, body, words) in [
        ("no recipients", json!({ "Content": {} }), "missing field"),
        (
            "empty To",
            changed("/Recipients/To", json!([])),
            "Recipients.To",
        ),
        (
            "odd To",
            changed("/Recipients/To/1", json!("b")),
            "Invalid recipient",
        ),
        (
            "too many",
            changed("/Recipients/To", json!(many)),
            "1 to 50",
        ),
        ("no sender", changed("/Content/From", json!("shop")), "From"),
        (
            "another's",
            changed("/Content/From", json!("a@other.example")),
            "not verified",
        ),
        (
            "odd ReplyTo",
            changed("/Content/ReplyTo", json!("x")),
            "no email address",
        ),
        (
            "no body",
            changed("/Content/Body", json!([])),
            "Body is required",
        ),
        (
            "unknown type",
            changed("/Content/Body/0/ContentType", json!("Text")),
            "unknown variant",
        ),
        (
            "one type twice",
            changed("/Content/Body/0/ContentType", json!("HTML")),
            "one ContentType",
        ),
        (
            "injection",
            changed("/Content/Headers/X-A", json!("1\r\nBcc: x")),
            "no header field",
        ),
        (
            "no text",
            changed("/Content/Headers/X-A", json!(1)),
            "invalid type",
        ),
        (
            "no base64",
            changed("/Content/Attachments/0/BinaryContent", json!("?")),
            "base64",
        ),
        (
            "wrong size",
            changed("/Content/Attachments/0/Size", json!(5)),
            "Size",
        ),
        (
            "no name",
            changed("/Content/Attachments/0/Name", json!("")),
            "Name",
        ),
        (
            "too large",
            changed(
                "/Content/Attachments/0",
                json!({ "Name": "a", "BinaryContent": large }),
            ),
            "20 MB",
        ),
        (
            "no such pool",
            changed("/Options/PoolName", json!("slow")),
            "no such pool",
        ),
        (
            "too late",
            changed("/Options", json!({ "TimeOffset": 50_401 })),
            "35 days",
        ),
    ] {
        let (status, answer) = answered(&running, &body).await;
        let error = answer["Error"].as_str().unwrap();
        assert!(
            status == 400 && error.contains(words),
            "{what}: {status} {error}"
        );
    }
    assert!(running.sandbox.messages().is_empty());
    assert_eq!(running.sandbox.stats().sends, 18);
}

#[tokio::test]
async fn a_key_that_is_wrong_or_missing_is_a_bad_request() {
    let running = start(Kind::Elasticemail, config()).await;
    for key in [None, Some("other")] {
        for path in ["/v4/emails/transactional", "/v4/emails"] {
            let mut request = client().post(running.url(path)).json(&email());
            if let Some(key) = key {
                request = request.header("X-ElasticEmail-ApiKey", key);
            }
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 400);
            let answer: Value = response.json().await.unwrap();
            assert!(answer["Error"].as_str().unwrap().contains("APIKey"));
        }
    }
}

#[tokio::test]
async fn a_limited_account_mails_itself_only() {
    let mut limited = strict();
    limited.account.is_limited = true;
    let running = start(Kind::Elasticemail, limited).await;
    let (status, answer) = answered(&running, &email()).await;
    assert_eq!(status, 400, "{answer}");
    let mut own = email();
    own["Recipients"] = json!({ "To": ["me@example.com"] });
    assert_eq!(answered(&running, &own).await.0, 200);
}

#[tokio::test]
async fn faults_speak_the_services_language() {
    let running = start(Kind::Elasticemail, strict()).await;
    for (kind, status, words) in [
        (FaultKind::Status(401), 400, "Access Denied"),
        (FaultKind::Status(429), 429, "concurrent"),
        (FaultKind::Status(500), 500, "500"),
        (FaultKind::Quota, 400, "credits"),
        (FaultKind::Suspended, 400, "suspended"),
        (FaultKind::Sender, 400, "not verified"),
        (FaultKind::Recipient, 400, "recipient"),
        (FaultKind::Content, 400, "content"),
    ] {
        assert!(running.sandbox.arm(Fault::once(kind)));
        let (seen, answer) = answered(&running, &email()).await;
        let error = answer["Error"].as_str().unwrap();
        assert!(
            seen == status && error.contains(words),
            "{kind}: {seen} {error}"
        );
    }
    assert!(running.sandbox.messages().is_empty());
    assert_eq!(answered(&running, &email()).await.0, 200);
}

async fn get(running: &Running, path: &str) -> (u16, Value) {
    let request = client().get(running.url(path));
    let request = request.header("X-ElasticEmail-ApiKey", "key-sandbox");
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn the_accounts_domains_are_told() {
    let running = start(Kind::Elasticemail, strict()).await;
    let (status, list) = get(&running, "/v4/domains").await;
    assert_eq!((status, &list[0]["Domain"]), (200, &json!("example.com")));
    assert_eq!(
        get(&running, "/v4/domains/example.com").await.1["Spf"],
        true
    );
    assert_eq!(get(&running, "/v4/domains/other.example").await.0, 404);
    assert!(running.sandbox.arm(Fault::always(FaultKind::Suspended)));
    assert_eq!(get(&running, "/v4/domains").await.0, 400);
    assert_eq!(running.sandbox.stats().checks, 4);
}

#[tokio::test]
async fn events_are_posted_as_a_form() {
    let running = start(Kind::Elasticemail, strict()).await;
    let (_, sent) = answered(&running, &email()).await;
    let order = json!({ "event": "bounced", "recipient": "c@x.example" });
    let (headers, body) = told(&running, order).await;
    let media_type = headers["content-type"].to_str().unwrap();
    assert_eq!(media_type, "application/x-www-form-urlencoded");
    let transaction = format!("transaction={}", sent["TransactionID"].as_str().unwrap());
    let message = format!("messageid={}", sent["MessageID"].as_str().unwrap());
    for pair in [
        "to=c%40x.example",
        "from=Shop+%3Cs%40example.com%3E",
        "status=Error",
        "category=NoMailbox",
        "date=2026-01-02+03%3A04%3A05",
        "channel=shop",
        "postback=m1",
        &transaction,
        &message,
    ] {
        assert!(body.split('&').any(|said| said == pair), "{pair} in {body}");
    }
}
