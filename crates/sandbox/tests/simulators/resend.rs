//! Resend.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use malote_sandbox::{Account, Fault, FaultKind, Kind, SandboxConfig};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{Running, client, config, start, told};

fn strict() -> SandboxConfig {
    SandboxConfig {
        account: Account {
            senders: Some(vec!["example.com".to_owned()]),
            ..Account::default()
        },
        ..config()
    }
}

fn email() -> Value {
    json!({
        "from": "Shop <s@example.com>",
        "to": ["Ana <a@x.example>", "b@x.example"],
        "cc": "c@x.example",
        "bcc": ["d@x.example"],
        "reply_to": ["help@example.com", "Desk <desk@example.com>"],
        "subject": "x",
        "text": "hi",
        "html": "<p>hi",
        "headers": { "List-Unsubscribe": "<https://u.example/1>" },
        "attachments": [{ "filename": "a.pdf", "content": "JVBERg==",
            "content_type": "application/pdf" }],
        "tags": [{ "name": "malote-message", "value": "m1" }],
    })
}

fn post(running: &Running, path: &str, body: &Value) -> RequestBuilder {
    let request = client().post(running.url(path));
    request.bearer_auth("key-sandbox").json(body)
}

async fn answered(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

async fn refused(request: RequestBuilder) -> (u16, String, String) {
    let (status, answer) = answered(request).await;
    assert_eq!(answer["statusCode"], status, "{answer}");
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    (status, text("name"), text("message"))
}

#[tokio::test]
async fn an_email_is_taken_for_all_whom_it_lists() {
    let running = start(Kind::Resend, strict()).await;
    let (status, answer) = answered(post(&running, "/emails", &email())).await;
    let taken = running.sandbox.messages().remove(0);
    assert_eq!((status, answer), (200, json!({ "id": taken.id })));
    let all = ["a@x.example", "b@x.example", "c@x.example", "d@x.example"];
    assert_eq!(taken.recipients, all);
    let tag = ("tags.malote-message".to_owned(), "m1".to_owned());
    assert_eq!(taken.options, [tag]);
    assert_eq!(taken.fields, Some(email()));
}

/// Where an email is changed, to what, and what the service finds wrong with it.
const REFUSED: &[(&str, &str, &str, &str)] = &[
    (
        "from",
        "\"shop\"",
        "validation_error",
        "Invalid `from` field",
    ),
    ("from", "1", "validation_error", "Invalid `from` field"),
    (
        "to",
        "[\"nobody\"]",
        "validation_error",
        "Invalid `to` field",
    ),
    ("to", "[]", "validation_error", "1 to 50"),
    ("cc", "{}", "validation_error", "Invalid `cc` field"),
    (
        "bcc",
        "\"a@x.test, b@x.test\"",
        "validation_error",
        "Invalid `bcc` field",
    ),
    (
        "reply_to",
        "[1]",
        "validation_error",
        "Invalid `reply_to` field",
    ),
    ("subject", "\"a\\nb\"", "validation_error", "`subject`"),
    ("html", "1", "validation_error", "Invalid `html` field"),
    (
        "headers",
        "{\"X-A\":\"1\\nBcc: x\"}",
        "validation_error",
        "`headers`",
    ),
    ("headers", "{\"X-A\":1}", "validation_error", "`headers`"),
    (
        "tags",
        "[{\"name\":\"a\",\"value\":\"b c\"}]",
        "validation_error",
        "ASCII letters",
    ),
    (
        "tags",
        "[{\"name\":\"a\"}]",
        "missing_required_field",
        "`tags.value`",
    ),
    (
        "attachments",
        "[{\"filename\":\"a\"}]",
        "invalid_attachment",
        "`content` or `path`",
    ),
    (
        "attachments",
        "[{\"content\":\"?\"}]",
        "invalid_attachment",
        "Base64",
    ),
    (
        "attachments",
        "[{\"content\":\"eA==\"}]",
        "invalid_attachment",
        "`filename`",
    ),
    (
        "template",
        "{\"id\":\"t\"}",
        "validation_error",
        "`template`",
    ),
];

#[tokio::test]
async fn what_the_service_would_refuse_is_refused_by_name() {
    let running = start(Kind::Resend, strict()).await;
    for (member, value, name, words) in REFUSED {
        let mut body = email();
        body[*member] = serde_json::from_str(value).unwrap();
        let (status, seen, message) = refused(post(&running, "/emails", &body)).await;
        assert_eq!((status, &*seen), (422, *name), "{member} {value} {message}");
        assert!(message.contains(words), "{member} {value}: {message}");
    }
    for member in ["from", "to", "subject"] {
        let mut body = email();
        body.as_object_mut().unwrap().remove(member);
        let (status, name, message) = refused(post(&running, "/emails", &body)).await;
        assert_eq!((status, &*name), (422, "missing_required_field"));
        assert_eq!(message, format!("Missing `{member}` field."));
    }
    let many: Vec<String> = (0..51).map(|n| format!("r{n}@x.example")).collect();
    let bare = json!({ "from": "s@example.com", "to": many[..50], "subject": "x" });
    let (_, name, _) = refused(post(&running, "/emails", &bare)).await;
    assert_eq!(name, "missing_required_field");
    let mut crowd = email();
    crowd["to"] = json!(many);
    assert_eq!(refused(post(&running, "/emails", &crowd)).await.0, 422);
    assert!(running.sandbox.messages().is_empty());
}

#[tokio::test]
async fn who_asks_and_from_where_is_looked_at() {
    let running = start(Kind::Resend, strict()).await;
    let bare = || client().post(running.url("/emails")).json(&email());
    let mut foreign = email();
    foreign["from"] = json!("s@other.example");
    for (request, status, name) in [
        (bare(), 401, "missing_api_key"),
        (bare().bearer_auth("other"), 403, "invalid_api_key"),
        (post(&running, "/emails", &foreign), 403, "validation_error"),
        (
            post(&running, "/emails", &json!([])),
            400,
            "validation_error",
        ),
        (post(&running, "/mails", &email()), 404, "not_found"),
        (
            client().put(running.url("/emails")),
            405,
            "method_not_allowed",
        ),
    ] {
        let (seen, seen_name, message) = refused(request).await;
        assert_eq!((seen, &*seen_name), (status, name), "{message}");
    }
    let mut limited = strict();
    limited.account.is_limited = true;
    let running = start(Kind::Resend, limited).await;
    let (status, _, message) = refused(post(&running, "/emails", &email())).await;
    assert_eq!(status, 403);
    assert!(
        message.starts_with("You can only send testing emails"),
        "{message}"
    );
    assert!(running.sandbox.messages().is_empty());
}

#[tokio::test]
async fn the_same_key_sends_once() {
    let running = start(Kind::Resend, strict()).await;
    let keyed =
        |key: &str, body: &Value| post(&running, "/emails", body).header("Idempotency-Key", key);
    let (_, first) = answered(keyed("k1", &email())).await;
    let (_, again) = answered(keyed("k1", &email())).await;
    assert_eq!(first, again);
    let (_, other) = answered(keyed("k2", &email())).await;
    assert_ne!(first, other);
    let mut changed = email();
    changed["subject"] = json!("y");
    let (status, name, _) = refused(keyed("k1", &changed)).await;
    assert_eq!((status, &*name), (409, "invalid_idempotent_request"));
    let (status, name, _) = refused(keyed(&"k".repeat(257), &email())).await;
    assert_eq!((status, &*name), (400, "invalid_idempotency_key"));
    assert_eq!(running.sandbox.messages().len(), 2);
    // What was refused was not sent, so the key is free again.
    assert!(running.sandbox.arm(Fault::once(FaultKind::Status(500))));
    assert_eq!(refused(keyed("k3", &email())).await.0, 500);
    assert_eq!(answered(keyed("k3", &email())).await.0, 200);
    // What was sent and not answered is answered now, and not sent again.
    assert!(
        running
            .sandbox
            .arm(Fault::once(FaultKind::Cut).after_take())
    );
    assert!(keyed("k4", &email()).send().await.is_err());
    let (_, answer) = answered(keyed("k4", &email())).await;
    let taken = running.sandbox.messages();
    assert_eq!((taken.len(), &answer["id"]), (4, &json!(taken[3].id)));
}

#[tokio::test]
async fn a_key_is_busy_while_its_first_request_is_under_way() {
    let running = start(Kind::Resend, strict()).await;
    assert!(running.sandbox.arm(Fault::once(FaultKind::Hang)));
    let keyed = || post(&running, "/emails", &email()).header("Idempotency-Key", "k");
    let first = tokio::spawn(keyed().send());
    while running.sandbox.stats().sends == 0 {
        tokio::task::yield_now().await;
    }
    let (status, name, _) = refused(keyed()).await;
    assert_eq!((status, &*name), (409, "concurrent_idempotent_requests"));
    first.abort();
    assert!(running.sandbox.messages().is_empty());
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let running = start(Kind::Resend, strict()).await;
    let large = post(&running, "/emails", &email()).body(vec![b' '; 41 << 20]);
    let (status, name, _) = refused(large).await;
    assert_eq!((status, &*name), (413, "validation_error"));
}

#[tokio::test]
async fn a_batch_is_taken_together_or_not_at_all() {
    let running = start(Kind::Resend, strict()).await;
    let mut plain = email();
    plain.as_object_mut().unwrap().remove("attachments");
    let pair = json!([plain, plain]);
    let (status, answer) = answered(post(&running, "/emails/batch", &pair)).await;
    assert_eq!(status, 200);
    let taken = running.sandbox.messages();
    let ids: Vec<Value> = taken.iter().map(|one| json!({ "id": one.id })).collect();
    assert_eq!((ids.len(), answer), (2, json!({ "data": ids })));
    let mut bad = plain.clone();
    bad["to"] = json!("nobody");
    for body in [json!([plain, bad]), json!([email()]), json!([]), plain] {
        assert_eq!(refused(post(&running, "/emails/batch", &body)).await.0, 422);
    }
    assert_eq!(running.sandbox.messages().len(), 2);
}

#[tokio::test]
async fn faults_speak_the_services_language() {
    let running = start(Kind::Resend, strict()).await;
    for (kind, status, name) in [
        (FaultKind::Status(401), 401, "missing_api_key"),
        (FaultKind::Status(403), 403, "invalid_api_key"),
        (
            FaultKind::Status(409),
            409,
            "concurrent_idempotent_requests",
        ),
        (FaultKind::Status(429), 429, "rate_limit_exceeded"),
        (FaultKind::Status(500), 500, "application_error"),
        (FaultKind::Quota, 429, "daily_quota_exceeded"),
        (FaultKind::Suspended, 403, "validation_error"),
        (FaultKind::Sender, 403, "validation_error"),
        (FaultKind::Recipient, 422, "validation_error"),
        (FaultKind::Content, 451, "security_error"),
    ] {
        assert!(running.sandbox.arm(Fault::once(kind)));
        let (seen, seen_name, _) = refused(post(&running, "/emails", &email())).await;
        assert_eq!((seen, &*seen_name), (status, name), "{kind}");
    }
    assert!(running.sandbox.arm(Fault::once(FaultKind::Status(429))));
    let response = post(&running, "/emails", &email()).send().await.unwrap();
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(response.headers()["ratelimit-limit"], "2");
    assert!(running.sandbox.messages().is_empty());
}

#[tokio::test]
async fn domains_are_told_to_those_who_have_the_key() {
    let running = start(Kind::Resend, strict()).await;
    let get = |path: &str, key: &str| client().get(running.url(path)).bearer_auth(key);
    let (status, list) = answered(get("/domains", "key-sandbox")).await;
    assert_eq!((status, &list["object"]), (200, &json!("list")));
    let domain = &list["data"][0];
    assert_eq!(
        (&domain["name"], &domain["status"]),
        (&json!("example.com"), &json!("verified"))
    );
    let path = format!("/domains/{}", domain["id"].as_str().unwrap());
    let (_, one) = answered(get(&path, "key-sandbox")).await;
    assert_eq!(
        (&one["object"], &one["name"]),
        (&json!("domain"), &domain["name"])
    );
    assert_eq!(refused(get("/domains/x", "key-sandbox")).await.0, 404);
    assert_eq!(refused(get("/domains", "other")).await.0, 403);
    let mut limited = strict();
    limited.account.is_limited = true;
    let running = start(Kind::Resend, limited).await;
    let get = client().get(running.url("/domains"));
    let (_, list) = answered(get.bearer_auth("key-sandbox")).await;
    assert_eq!(list["data"][0]["status"], "pending");
}

fn is_signed(headers: &HeaderMap, body: &str) -> bool {
    let field = |name: &str| headers[name].to_str().unwrap().to_owned();
    let mut mac = Hmac::<Sha256>::new_from_slice(b"webhook-secret-sandbox").unwrap();
    let signed = format!("{}.{}.{body}", field("svix-id"), field("svix-timestamp"));
    mac.update(signed.as_bytes());
    let expected = STANDARD.encode(mac.finalize().into_bytes());
    field("svix-signature") == format!("v1,{expected}")
}

#[tokio::test]
async fn events_are_signed_as_svix_signs_them() {
    let running = start(Kind::Resend, strict()).await;
    let (_, sent) = answered(post(&running, "/emails", &email())).await;
    let order = json!({ "event": "bounced", "recipient": "c@x.example" });
    let (headers, body) = told(&running, order).await;
    assert!(is_signed(&headers, &body), "{headers:?}");
    let event: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(event["type"], "email.bounced");
    let data = &event["data"];
    assert_eq!(data["email_id"], sent["id"]);
    assert_eq!(data["to"], json!(["c@x.example"]));
    assert_eq!(data["tags"], json!({ "malote-message": "m1" }));
    assert_eq!(data["bounce"]["type"], "Permanent");
    for (kind, name) in [
        ("delivered", "email.delivered"),
        ("deferred", "email.delivery_delayed"),
        ("complained", "email.complained"),
    ] {
        let (_, body) = told(&running, json!({ "event": kind })).await;
        let event: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(event["type"], name);
    }
    let (headers, body) = told(&running, json!({ "event": "delivered", "forged": true })).await;
    assert!(!is_signed(&headers, &body), "{headers:?}");
    let order = json!({ "url": "http://127.0.0.1:9/", "event": "unsubscribed" });
    let request = client().post(running.url("/_sandbox/event")).json(&order);
    assert!(!request.send().await.unwrap().status().is_success());
}
