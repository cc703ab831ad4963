//! Brevo.

use malote_sandbox::{Account, Fault, FaultKind, Kind, SandboxConfig};
use serde_json::{Value, json};

use crate::{Running, client, config, start, told};

fn with_account() -> SandboxConfig {
    SandboxConfig {
        account: Account {
            senders: Some(vec!["example.com".to_owned()]),
            ..Account::default()
        },
        ..config()
    }
}

async fn post(running: &Running, body: &Value) -> (u16, Value) {
    let request = client().post(running.url("/v3/smtp/email"));
    let response = request
        .header("api-key", "key-sandbox")
        .json(body)
        .send()
        .await
        .unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

fn email() -> Value {
    json!({
        "sender": { "name": "Shop", "email": "s@example.com" },
        "to": [{ "email": "a@example.net", "name": "Ana" }],
        "subject": "x",
        "htmlContent": "<p>hi</p>",
    })
}

/// The message with members put in place of its own.
fn with(changes: Value) -> Value {
    let mut email = email();
    for (name, value) in changes.as_object().unwrap() {
        email[name] = value.clone();
    }
    email
}

#[tokio::test]
async fn a_message_is_taken_with_a_copy_for_everybody() {
    let running = start(Kind::Brevo, with_account()).await;
    let body = with(json!({
        "to": [{ "email": "a@example.net" }, { "email": "b@example.net" }],
        "cc": [{ "email": "c@example.net" }],
        "bcc": [{ "email": "d@example.net" }],
        "textContent": "hi",
        "headers": { "X-Mailin-custom": "7", "sender.ip": "192.0.2.7" },
        "tags": ["spring", "vip"],
        "attachment": [{ "name": "nota.PDF", "content": "JVBERg==" }],
    }));
    let (status, answer) = post(&running, &body).await;
    assert_eq!(status, 201, "{answer}");
    let taken = running.sandbox.messages().remove(0);
    assert_eq!(answer["messageId"], taken.id.as_str());
    assert!(taken.id.starts_with('<') && taken.id.ends_with("@smtp-relay.mailin.fr>"));
    let expected = ["a", "b", "c", "d"].map(|name| format!("{name}@example.net"));
    assert_eq!(taken.recipients, expected);
    assert_eq!(taken.pool.as_deref(), Some("192.0.2.7"));
    let tag = ("tag".to_owned(), "vip".to_owned());
    let custom = ("header:X-Mailin-custom".to_owned(), "7".to_owned());
    assert!(taken.options.contains(&tag) && taken.options.contains(&custom));
    assert_eq!(taken.fields, Some(body));
}

#[tokio::test]
async fn versions_are_messages_of_their_own() {
    let running = start(Kind::Brevo, config()).await;
    let body = with(json!({ "messageVersions": [
        { "to": [{ "email": "b@example.net" }], "subject": "for b" },
        { "to": [{ "email": "c@example.net" }] },
    ] }));
    let (status, answer) = post(&running, &body).await;
    assert_eq!(status, 201, "{answer}");
    let taken = running.sandbox.messages();
    assert_eq!(answer["messageIds"], json!([taken[0].id, taken[1].id]));
    assert_eq!(taken[0].recipients, ["b@example.net"]);
    assert_eq!(taken[0].fields.as_ref().unwrap()["subject"], "for b");
    assert_eq!(taken[1].fields.as_ref().unwrap()["subject"], "x");
    let nobody = with(json!({ "messageVersions": [{ "subject": "for nobody" }] }));
    assert_eq!(post(&running, &nobody).await.0, 400);
}

#[tokio::test]
async fn a_message_for_the_sandbox_is_checked_and_dropped() {
    let running = start(Kind::Brevo, config()).await;
    let body = with(json!({ "headers": { "X-Sib-Sandbox": "drop" } }));
    let (status, answer) = post(&running, &body).await;
    assert_eq!(status, 201);
    assert!(answer["messageId"].is_string());
    assert_eq!(running.sandbox.stats().messages, 0);
}

#[tokio::test]
async fn what_the_service_would_refuse_is_refused_in_its_words() {
    let running = start(Kind::Brevo, with_account()).await;
    let (missing, invalid) = ("missing_parameter", "invalid_parameter");
    let many: Vec<Value> = (0..100)
        .map(|n| json!({ "email": format!("r{n}@example.net") }))
        .collect();
    let file = |name: &str, content: &str| json!([{ "name": name, "content": content }]);
    let cases = [
        (json!({ "sender": null }), missing, "sender is missing"),
        (
            json!({ "sender": { "name": "", "email": "s@example.com" } }),
            missing,
            "sender name is missing",
        ),
        (
            json!({ "sender": { "name": "Shop" } }),
            missing,
            "mandatory",
        ),
        (
            json!({ "sender": { "email": "s@other.example" } }),
            invalid,
            "is not valid",
        ),
        (json!({ "to": [] }), missing, "to is missing"),
        (
            json!({ "to": [{ "name": "Ana" }] }),
            missing,
            "email is missing in to",
        ),
        (
            json!({ "to": [{ "email": "nobody" }] }),
            invalid,
            "email is not valid in to",
        ),
        (
            json!({ "to": [{ "email": "a@x.example", "name": "n".repeat(71) }] }),
            invalid,
            "name is not valid in to",
        ),
        (
            json!({ "bcc": [{ "email": "nobody@" }] }),
            invalid,
            "email is not valid in bcc",
        ),
        (json!({ "to": many }), invalid, "at most 99 recipients"),
        (json!({ "subject": "" }), missing, "subject is missing"),
        (
            json!({ "htmlContent": "" }),
            missing,
            "htmlContent is missing",
        ),
        (
            json!({ "textContent": "" }),
            missing,
            "textContent is missing",
        ),
        (json!({ "templateId": 7 }), invalid, "templateId"),
        (
            json!({ "replyTo": [{ "email": "a@x.example" }] }),
            invalid,
            "replyTo",
        ),
        (json!({ "headers": { "X-N": 7 } }), invalid, "header X-N"),
        (
            json!({ "headers": { "X-N": "a\r\nBcc: b@x.example" } }),
            invalid,
            "header X-N",
        ),
        (
            json!({ "headers": { "X-N": "x".repeat(4_096) } }),
            invalid,
            "Unexpected long headers length",
        ),
        (json!({ "tags": "one" }), invalid, "tags is not valid"),
        (
            json!({ "attachment": file("", "aGk=") }),
            missing,
            "attachment",
        ),
        (
            json!({ "attachment": file("a.exe", "aGk=") }),
            invalid,
            "Unsupported file format",
        ),
        (
            json!({ "attachment": file("a.txt", "*") }),
            invalid,
            "base64",
        ),
    ];
    for (changes, code, words) in cases {
        let (status, answer) = post(&running, &with(changes.clone())).await;
        assert_eq!(status, 400, "{changes}");
        assert_eq!(answer["code"], code, "{changes} {answer}");
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains(words), "{changes} {answer}");
    }
    let mut without_html = email();
    without_html.as_object_mut().unwrap().remove("htmlContent");
    assert_eq!(post(&running, &without_html).await.0, 400);
    assert_eq!(running.sandbox.stats().messages, 0);
}

#[tokio::test]
async fn keys_and_accounts_that_may_not_send_are_refused() {
    let mut limited = config();
    limited.account.is_limited = true;
    let running = start(Kind::Brevo, limited).await;
    let (status, answer) = post(&running, &email()).await;
    assert_eq!(
        (status, &answer["code"]),
        (403, &json!("permission_denied"))
    );
    let url = running.url("/v3/smtp/email");
    let answer = client().post(&url).json(&email()).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["message"], "authentication not found in headers");
    let wrong = client()
        .post(&url)
        .header("api-key", "wrong")
        .json(&email());
    let answer = wrong.send().await.unwrap();
    assert_eq!(answer.status(), 401);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["message"], "Key not found");
    let lost = client().get(running.url("/v3/nowhere")).send().await;
    assert_eq!(lost.unwrap().status(), 404);
}

#[tokio::test]
async fn every_fault_has_the_services_words() {
    let running = start(Kind::Brevo, config()).await;
    for (kind, status, words) in [
        (FaultKind::Status(401), 401, "unauthorized"),
        (FaultKind::Status(403), 403, "permission_denied"),
        (FaultKind::Status(500), 500, "Internal Server Error"),
        (FaultKind::Quota, 402, "not_enough_credits"),
        (FaultKind::Suspended, 402, "account_under_validation"),
        (FaultKind::Sender, 400, "is not valid"),
        (FaultKind::Recipient, 400, "email is not valid in to"),
        (FaultKind::Partial, 400, "email is not valid in to"),
        (FaultKind::Content, 400, "bad_request"),
        (FaultKind::Reputation, 403, "reputation"),
    ] {
        assert!(running.sandbox.arm(Fault::once(kind)));
        let (answered, answer) = post(&running, &email()).await;
        assert_eq!(answered, status, "{kind}");
        assert!(answer.to_string().contains(words), "{kind} {answer}");
    }
    assert!(running.sandbox.arm(Fault::once(FaultKind::Status(429))));
    let request = client().post(running.url("/v3/smtp/email"));
    let request = request.header("api-key", "key-sandbox").json(&email());
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["x-sib-ratelimit-reset"], "2");
    assert_eq!(running.sandbox.stats().messages, 0);
}

#[tokio::test]
async fn the_account_tells_its_credits_and_domains() {
    let running = start(Kind::Brevo, with_account()).await;
    let ask = async |path: &str| {
        let request = client().get(running.url(&format!("/v3/{path}")));
        let response = request.header("api-key", "key-sandbox").send().await;
        let response = response.unwrap();
        let status = response.status().as_u16();
        (status, response.json::<Value>().await.unwrap())
    };
    let (_, account) = ask("account").await;
    assert_eq!(account["plan"][0]["creditsType"], "sendLimit");
    assert_eq!(account["relay"]["enabled"], true);
    let (_, domains) = ask("senders/domains").await;
    assert_eq!(domains["domains"][0]["domain_name"], "example.com");
    assert_eq!(domains["domains"][0]["authenticated"], true);
    assert_eq!(ask("senders/domains/example.com").await.0, 200);
    assert_eq!(ask("senders/domains/other.example").await.0, 404);
    let (_, senders) = ask("senders").await;
    assert_eq!(senders["senders"][0]["active"], true);
    assert!(running.sandbox.arm(Fault::always(FaultKind::Suspended)));
    assert_eq!(ask("account").await.0, 402);
}

#[tokio::test]
async fn events_come_one_by_one_with_a_token() {
    let running = start(Kind::Brevo, config()).await;
    let body = with(json!({ "headers": { "X-Mailin-custom": "7" }, "tags": ["spring"] }));
    assert_eq!(post(&running, &body).await.0, 201);
    let id = running.sandbox.messages().remove(0).id;
    for (event, name) in [
        ("delivered", "delivered"),
        ("deferred", "deferred"),
        ("bounced", "hard_bounce"),
        ("complained", "complaint"),
        ("unsubscribed", "unsubscribed"),
    ] {
        let (headers, body) = told(&running, json!({ "event": event })).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(headers["authorization"], "Bearer webhook-secret-sandbox");
        assert_eq!(body["event"], name);
        assert_eq!(body["message-id"], id.as_str());
        assert_eq!(body["email"], "a@example.net");
        assert_eq!(body["X-Mailin-custom"], "7");
        assert_eq!(body["tags"], json!(["spring"]));
        assert_eq!(body["ts_epoch"], 1_767_323_045_000_u64);
        assert_eq!(
            body["reason"].is_string(),
            name == "deferred" || name == "hard_bounce"
        );
    }
    let forged = json!({ "event": "delivered", "forged": true });
    let (headers, _) = told(&running, forged).await;
    assert_ne!(headers["authorization"], "Bearer webhook-secret-sandbox");
    let unheard = json!({ "url": "http://127.0.0.1:9/", "event": "subscription" });
    let request = client().post(running.url("/_sandbox/event")).json(&unheard);
    assert_eq!(request.send().await.unwrap().status(), 400);
}
