//! SendGrid.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malote_sandbox::{Account, Fault, FaultKind, Kind, SandboxConfig};
use reqwest::{RequestBuilder, Response};
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

fn mail() -> Value {
    json!({
        "personalizations": [{
            "to": [{ "email": "a@x.example", "name": "Ana" }, { "email": "b@x.example" }],
            "cc": [{ "email": "c@x.example" }],
            "bcc": [{ "email": "d@x.example" }],
            "custom_args": { "malote-to": "0-aa" },
        }],
        "from": { "email": "s@example.com", "name": "Shop" },
        "reply_to": { "email": "help@example.com" },
        "subject": "x",
        "content": [
            { "type": "text/plain", "value": "hi" },
            { "type": "text/html", "value": "<p>hi" },
        ],
        "attachments": [{
            "content": "JVBERg==", "type": "application/pdf", "filename": "a.pdf",
            "disposition": "attachment",
        }],
        "headers": { "List-Unsubscribe": "<https://u.example/1>" },
        "categories": ["welcome"],
        "custom_args": { "malote-message": "m1", "malote-to": "all" },
        "ip_pool_name": "fast",
        "tracking_settings": { "open_tracking": { "enable": false } },
    })
}

fn post(running: &Running, body: &Value) -> RequestBuilder {
    let request = client().post(running.url("/v3/mail/send"));
    request.bearer_auth("key-sandbox").json(body)
}

async fn error(response: Response) -> (u16, String, Value) {
    let status = response.status().as_u16();
    let answer: Value = response.json().await.unwrap();
    let error = &answer["errors"][0];
    let message = error["message"].as_str().unwrap().to_owned();
    (status, message, error["field"].clone())
}

#[tokio::test]
async fn a_mail_is_taken_for_all_whom_it_lists_and_its_id_is_in_the_head() {
    let running = start(Kind::Sendgrid, strict()).await;
    let request = post(&running, &mail()).header("on-behalf-of", "sub");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 202);
    let id = response.headers()["x-message-id"]
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(response.text().await.unwrap(), "");
    let taken = running.sandbox.messages().remove(0);
    assert_eq!(taken.id, id);
    let all = ["a@x.example", "b@x.example", "c@x.example", "d@x.example"];
    assert_eq!(taken.recipients, all);
    assert_eq!(taken.pool.as_deref(), Some("fast"));
    assert_eq!(taken.fields, Some(mail()));
    for option in [
        ("category", "welcome"),
        ("custom_args.malote-message", "m1"),
        ("on-behalf-of", "sub"),
    ] {
        let option = (option.0.to_owned(), option.1.to_owned());
        assert!(taken.options.contains(&option), "{:?}", taken.options);
    }
}

#[tokio::test]
async fn a_mail_for_a_pool_that_does_not_exist_is_lost_without_a_word() {
    let running = start(Kind::Sendgrid, strict()).await;
    let mut body = mail();
    body["ip_pool_name"] = json!("slow");
    let response = post(&running, &body).send().await.unwrap();
    assert_eq!(response.status(), 202);
    assert!(response.headers().contains_key("x-message-id"));
    assert!(running.sandbox.messages().is_empty());
}

#[tokio::test]
async fn sandbox_mode_checks_and_takes_nothing() {
    let running = start(Kind::Sendgrid, strict()).await;
    let mut body = mail();
    body["mail_settings"] = json!({ "sandbox_mode": { "enable": true } });
    assert_eq!(post(&running, &body).send().await.unwrap().status(), 200);
    assert!(running.sandbox.messages().is_empty());
}

/// Where a mail is changed, to what, and what the service finds wrong with it.
const REFUSED: &[(&str, &str, &str, &str)] = &[
    (
        "/personalizations",
        "[]",
        "personalizations",
        "at least one",
    ),
    (
        "/personalizations/0/to",
        "[]",
        "personalizations.0.to",
        "The to array is required",
    ),
    (
        "/personalizations/0/to/1/email",
        "\"nobody\"",
        "personalizations.0.to.1.email",
        "valid",
    ),
    (
        "/personalizations/0/to/1/email",
        "\"é@x.test\"",
        "personalizations.0.to.1.email",
        "valid",
    ),
    (
        "/personalizations/0/bcc/0/email",
        "\"A@x.example\"",
        "personalizations.0",
        "be unique",
    ),
    (
        "/personalizations/0/to/0",
        "\"a@x.test\"",
        "personalizations.0.to.0",
        "Expected: object",
    ),
    (
        "/personalizations/0/reply_to",
        "{}",
        "personalizations.0",
        "Additional property",
    ),
    ("/from", "{\"name\":\"x\"}", "from.email", "valid address"),
    ("/subject", "\"\"", "subject", "subject is required"),
    ("/content", "[]", "content", "content parameter is required"),
    (
        "/content/0/value",
        "\"\"",
        "content.0.value",
        "at least one character",
    ),
    (
        "/content/0/type",
        "\"text/plain; charset=utf-8\"",
        "content.0.type",
        "';'",
    ),
    ("/content/0/type", "\"text/x\"", "content", "must be first"),
    (
        "/attachments/0/content",
        "\"?\"",
        "attachments.0.content",
        "base64",
    ),
    (
        "/attachments/0/filename",
        "\"\"",
        "attachments.0.filename",
        "required",
    ),
    (
        "/attachments/0/disposition",
        "\"x\"",
        "attachments.0.disposition",
        "inline or",
    ),
    (
        "/headers",
        "{\"Reply-To\":\"x\"}",
        "headers.Reply-To",
        "reserved",
    ),
    ("/headers", "{\"X-A\":\"é\"}", "headers.X-A", "encoded"),
    (
        "/headers",
        "{\"X-A\":\"1\\nBcc: x\"}",
        "headers.X-A",
        "encoded",
    ),
    ("/headers", "{\"X-A\":1}", "headers.X-A", "Expected: string"),
    (
        "/categories",
        "[0,1,2,3,4,5,6,7,8,9,10]",
        "categories",
        "limit of 10",
    ),
    ("/categories", "[\"a\",\"a\"]", "categories.1", "unique"),
    (
        "/custom_args",
        "{\"a\":1}",
        "custom_args.a",
        "Expected: string",
    ),
    ("/ip_pool_name", "\"x\"", "ip_pool_name", "2 to 64"),
    (
        "/reply_to_list",
        "[]",
        "reply_to_list",
        "mutually exclusive",
    ),
    // 73 hours after `now`.
    ("/send_at", "1767585845", "send_at", "72 hours"),
    ("/asm", "{}", "asm.group_id", "required"),
    ("/to", "\"x\"", "", "Additional property to is not allowed"),
];

async fn is_refused(running: &Running, pointer: &str, value: Value, (field, words): (&str, &str)) {
    let mut body = mail();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = body.pointer_mut(parent).unwrap();
    match name.parse::<usize>() {
        Ok(at) => parent[at] = value,
        Err(_) => parent[name] = value,
    }
    let response = post(running, &body).send().await.unwrap();
    let (status, message, seen) = error(response).await;
    assert_eq!((status, &seen), (400, &json!(field)), "{pointer} {message}");
    assert!(message.contains(words), "{pointer}: {message}");
    assert!(running.sandbox.messages().is_empty());
}

#[tokio::test]
async fn what_the_service_would_refuse_is_refused_with_its_field() {
    let running = start(Kind::Sendgrid, strict()).await;
    for (pointer, value, field, words) in REFUSED {
        let value = serde_json::from_str(value).unwrap();
        is_refused(&running, pointer, value, (field, words)).await;
    }
}

#[tokio::test]
async fn what_is_too_much_is_refused() {
    let running = start(Kind::Sendgrid, strict()).await;
    let person = |n: usize| json!({ "email": format!("r{n}@x.example") });
    let many: Vec<Value> = (0..1000).map(person).collect();
    let one = json!({ "to": [{ "email": "a@x.example" }] });
    for (pointer, value, field, words) in [
        (
            "/personalizations",
            json!(vec![one; 1001]),
            "personalizations",
            "limited to 1000",
        ),
        (
            "/personalizations/0/bcc",
            json!(many),
            "personalizations",
            "1000 total recipients",
        ),
        (
            "/categories",
            json!(["x".repeat(256)]),
            "categories.0",
            "255 characters",
        ),
        (
            "/custom_args",
            json!({ "a": "x".repeat(10_000) }),
            "custom_args",
            "10,000 bytes",
        ),
    ] {
        is_refused(&running, pointer, value, (field, words)).await;
    }
    let large = post(&running, &mail()).body(vec![b' '; 31 << 20]);
    let response = large.send().await.unwrap();
    let (status, message, _) = error(response).await;
    assert_eq!((status, &*message), (413, "content too large"));
}

#[tokio::test]
async fn who_asks_and_how_is_looked_at_first() {
    let running = start(Kind::Sendgrid, strict()).await;
    let bare = || client().post(running.url("/v3/mail/send"));
    let text = |body: &str| bare().bearer_auth("key-sandbox").body(body.to_owned());
    let mut foreign = mail();
    foreign["from"]["email"] = json!("s@other.example");
    for (request, status, words) in [
        (bare().json(&mail()), 401, "authorization required"),
        (
            bare().bearer_auth("other").json(&mail()),
            401,
            "grant is invalid",
        ),
        (text("{}"), 415, "application/json"),
        (
            text("{").header("Content-Type", "application/json"),
            400,
            "Bad Request",
        ),
        (post(&running, &json!([])), 400, "Bad Request"),
        (post(&running, &foreign), 403, "verified Sender Identity"),
        (
            client().put(running.url("/v3/mail/send")),
            405,
            "method not allowed",
        ),
        (client().post(running.url("/v3/x")), 404, "not found"),
    ] {
        let (seen, message, _) = error(request.send().await.unwrap()).await;
        assert!(
            seen == status && message.contains(words),
            "{seen} {message}"
        );
    }
}

#[tokio::test]
async fn faults_speak_the_services_language() {
    let running = start(Kind::Sendgrid, strict()).await;
    for (kind, status, words) in [
        (FaultKind::Status(401), 401, "grant is invalid"),
        (FaultKind::Status(403), 403, "access forbidden"),
        (FaultKind::Status(413), 413, "too large"),
        (FaultKind::Status(429), 429, "too many"),
        (FaultKind::Status(503), 503, "internal server error"),
        (FaultKind::Quota, 401, "Maximum credits exceeded"),
        (FaultKind::Suspended, 403, "suspended"),
        (FaultKind::Sender, 403, "verified Sender Identity"),
        (FaultKind::Recipient, 400, "valid address"),
        (FaultKind::Partial, 400, "valid address"),
        (FaultKind::Content, 400, "spam"),
    ] {
        assert!(running.sandbox.arm(Fault::once(kind)));
        let response = post(&running, &mail()).send().await.unwrap();
        let limit = response.headers().contains_key("x-ratelimit-reset");
        assert_eq!(limit, status == 429);
        let (seen, message, _) = error(response).await;
        assert!(
            seen == status && message.contains(words),
            "{kind}: {seen} {message}"
        );
    }
    assert!(running.sandbox.messages().is_empty());
}

#[tokio::test]
async fn the_account_is_told_to_those_who_have_the_key() {
    let running = start(Kind::Sendgrid, strict()).await;
    let get = |path: &str, key: &str| client().get(running.url(path)).bearer_auth(key).send();
    for (path, pointer, expected) in [
        ("/v3/scopes", "/scopes/0", json!("mail.send")),
        ("/v3/user/account", "/type", json!("paid")),
        ("/v3/user/credits", "/remain", json!(1_000_000)),
        ("/v3/ips/pools", "", json!([{ "name": "fast" }])),
        ("/v3/ips/pools/fast", "/pool_name", json!("fast")),
        ("/v3/send_ips/pools", "/result/0/name", json!("fast")),
        ("/v3/whitelabel/domains", "/0/domain", json!("example.com")),
        (
            "/v3/whitelabel/domains?limit=1&domain=Example%2Ecom",
            "/0/valid",
            json!(true),
        ),
        ("/v3/whitelabel/domains?domain=other.example", "", json!([])),
        ("/v3/verified_senders", "/results", json!([])),
    ] {
        let response = get(path, "key-sandbox").await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let found: Value = response.json().await.unwrap();
        assert_eq!(found.pointer(pointer), Some(&expected), "{path}");
        let (status, _, _) = error(get(path, "other").await.unwrap()).await;
        assert_eq!(status, 401, "{path}");
    }
    let missing = get("/v3/ips/pools/slow", "key-sandbox").await.unwrap();
    let (status, message, _) = error(missing).await;
    assert_eq!(
        (status, &*message),
        (404, "Unable to locate specified IPs Pool")
    );
    assert_eq!(running.sandbox.stats().checks, 11);
    assert!(running.sandbox.arm(Fault::always(FaultKind::Suspended)));
    let (status, _, _) = error(get("/v3/scopes", "key-sandbox").await.unwrap()).await;
    assert_eq!(status, 403);
}

#[tokio::test]
async fn a_new_account_has_a_hundred_credits_a_day() {
    let mut limited = config();
    limited.account.is_limited = true;
    let running = start(Kind::Sendgrid, limited).await;
    let credits = client()
        .get(running.url("/v3/user/credits"))
        .bearer_auth("key-sandbox");
    let credits: Value = credits.send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&credits["total"], &credits["reset_frequency"]),
        (&json!(100), &json!("daily"))
    );
}

fn is_signed(running: &Running, headers: &HeaderMap, body: &str) -> bool {
    let pem = running.sandbox.public_key_pem().unwrap();
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let spki = STANDARD.decode(base64).unwrap();
    // The last 65 octets of the SubjectPublicKeyInfo are the point.
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &spki[spki.len() - 65..]);
    let field = |name: &str| headers[name].to_str().unwrap().to_owned();
    let timestamp = field("x-twilio-email-event-webhook-timestamp");
    let signature = STANDARD
        .decode(field("x-twilio-email-event-webhook-signature"))
        .unwrap();
    let signed = format!("{timestamp}{body}");
    key.verify(signed.as_bytes(), &signature).is_ok()
}

#[tokio::test]
async fn events_are_signed_over_timestamp_and_body() {
    let running = start(Kind::Sendgrid, strict()).await;
    let response = post(&running, &mail()).send().await.unwrap();
    let id = response.headers()["x-message-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let order = json!({ "event": "bounced", "recipient": "c@x.example" });
    let (headers, body) = told(&running, order).await;
    assert!(is_signed(&running, &headers, &body), "{headers:?}");
    assert!(!is_signed(&running, &headers, &body.replace("c@", "d@")));
    let batch: Value = serde_json::from_str(&body).unwrap();
    let event = &batch[0];
    for (member, expected) in [
        ("event", json!("bounce")),
        ("type", json!("bounce")),
        ("email", json!("c@x.example")),
        ("status", json!("5.1.1")),
        ("category", json!(["welcome"])),
        ("malote-message", json!("m1")),
        ("malote-to", json!("0-aa")),
        ("timestamp", json!(1_767_323_045)),
    ] {
        assert_eq!(event[member], expected, "{member}");
    }
    let message_id = event["sg_message_id"].as_str().unwrap();
    assert_eq!(message_id.split('.').next(), Some(&*id));

    for (kind, name) in [
        ("delivered", "delivered"),
        ("deferred", "deferred"),
        ("complained", "spamreport"),
        ("unsubscribed", "unsubscribe"),
    ] {
        let (_, body) = told(&running, json!({ "event": kind })).await;
        let batch: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(batch[0]["event"], name);
    }
    let (headers, body) = told(&running, json!({ "event": "delivered", "forged": true })).await;
    assert!(!is_signed(&running, &headers, &body), "{headers:?}");
}
