//! Mailtrap.

use axum::http::HeaderMap;
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
        "from": { "email": "s@example.com", "name": "Shop" },
        "to": [{ "email": "a@x.example", "name": "Ana" }, { "email": "b@x.example" }],
        "cc": [{ "email": "c@x.example" }],
        "bcc": [{ "email": "d@x.example" }],
        "reply_to": { "email": "help@example.com" },
        "subject": "x",
        "text": "hi",
        "html": "<p>hi",
        "attachments": [{ "filename": "a.pdf", "content": "JVBERg==", "type": "application/pdf" }],
        "headers": { "X-A": "1" },
        "custom_variables": { "malote-message": "m1" },
        "category": "welcome",
    })
}

fn post(running: &Running, body: &Value) -> RequestBuilder {
    let request = client().post(running.url("/api/send"));
    let request = request
        .header("User-Agent", "test/1")
        .header("Api-Token", "key-sandbox");
    request.json(body)
}

async fn answered(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

fn errors(answer: &Value) -> String {
    assert_eq!(answer["success"], false, "{answer}");
    let errors = answer["errors"].as_array().unwrap().iter();
    errors
        .map(|error| error.as_str().unwrap())
        .collect::<Vec<_>>()
        .join("; ")
}

#[tokio::test]
async fn an_email_is_taken_and_each_recipient_has_an_id() {
    let running = start(Kind::Mailtrap, strict()).await;
    let (status, answer) = answered(post(&running, &email())).await;
    let taken = running.sandbox.messages().remove(0);
    assert_eq!((status, &answer["success"]), (200, &json!(true)));
    let ids = answer["message_ids"].as_array().unwrap();
    assert_eq!(ids.len(), 4);
    assert_eq!(ids[0], taken.id.as_str());
    let distinct: std::collections::BTreeSet<_> = ids.iter().map(|id| id.as_str()).collect();
    assert_eq!(distinct.len(), 4);
    let all = ["a@x.example", "b@x.example", "c@x.example", "d@x.example"];
    assert_eq!(taken.recipients, all);
    let options = [
        ("category", "welcome"),
        ("custom_variables.malote-message", "m1"),
    ];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(taken.options, options);
    assert_eq!(taken.fields, Some(email()));
}

#[tokio::test]
async fn all_faults_of_a_request_are_told_at_once() {
    let running = start(Kind::Mailtrap, strict()).await;
    let (status, answer) = answered(post(&running, &json!({}))).await;
    assert_eq!(status, 400);
    // The example of the service's description.
    let expected = "'from' is required; 'to', 'cc' or 'bcc' address is required; 'subject' is \
                    required; must specify either text or html body";
    assert_eq!(errors(&answer), expected);
}

#[tokio::test]
async fn what_the_service_would_refuse_is_refused_in_its_words() {
    let running = start(Kind::Mailtrap, strict()).await;
    let changed = |pointer: &str, value: Value| {
        let mut email = email();
        *email.pointer_mut(pointer).unwrap() = value;
        email
    };
    let many: Vec<Value> = (0..1001)
        .map(|n| json!({ "email": format!("r{n}@x.example") }))
        .collect();
    let mut template = email();
    template["template_uuid"] = json!("b81aabcd-1a1e-41cf-91b6-eca0254b3d96");
    let inline = json!({ "filename": "i.png", "content": "eA==", "disposition": "inline" });
    for (what, body, status, words) in [
        ("no object", json!([]), 400, "invalid JSON"),
        (
            "odd sender",
            changed("/from/email", json!("s")),
            400,
            "'from' address is invalid",
        ),
        (
            "odd name",
            changed("/from/name", json!(1)),
            400,
            "'from' address is invalid",
        ),
        (
            "odd to",
            changed("/to/1", json!("b@x.example")),
            400,
            "'to' address is invalid",
        ),
        (
            "to is no list",
            changed("/to", json!({})),
            400,
            "'to' must be an array",
        ),
        (
            "too many",
            changed("/bcc", json!(many)),
            400,
            "more than 1000",
        ),
        (
            "odd reply_to",
            changed("/reply_to", json!([])),
            400,
            "'reply_to' address",
        ),
        (
            "empty subject",
            changed("/subject", json!("")),
            400,
            "'subject' must not be empty",
        ),
        (
            "empty text",
            changed("/text", json!("")),
            400,
            "'text' must not be empty",
        ),
        (
            "long category",
            changed("/category", json!("c".repeat(256))),
            400,
            "'category'",
        ),
        (
            "reserved field",
            changed("/headers", json!({ "Bcc": "x" })),
            400,
            "reserved",
        ),
        (
            "injection",
            changed("/headers/X-A", json!("1\nBcc: x")),
            400,
            "invalid field",
        ),
        (
            "8-bit field",
            changed("/headers/X-A", json!("\u{e9}")),
            400,
            "invalid field",
        ),
        (
            "number",
            changed("/custom_variables", json!({ "a": 1 })),
            400,
            "object of strings",
        ),
        (
            "much to remember",
            changed("/custom_variables", json!({ "a": "x".repeat(1000) })),
            400,
            "1000 bytes",
        ),
        (
            "no base64",
            changed("/attachments/0/content", json!("?")),
            400,
            "base64",
        ),
        (
            "no file name",
            changed("/attachments/0/filename", json!("")),
            400,
            "'filename'",
        ),
        (
            "nowhere to be shown",
            changed("/attachments/0", inline),
            400,
            "'content_id'",
        ),
        (
            "template and text",
            template,
            400,
            "not allowed with 'template_uuid'",
        ),
        (
            "too large",
            changed("/html", json!("x".repeat(10 * 1024 * 1024))),
            413,
            "10 MB",
        ),
        (
            "another's",
            changed("/from/email", json!("s@other.example")),
            403,
            "Forbidden",
        ),
    ] {
        let (seen, answer) = answered(post(&running, &body)).await;
        let error = errors(&answer);
        assert!(
            seen == status && error.contains(words),
            "{what}: {seen} {error}"
        );
    }
    assert!(running.sandbox.messages().is_empty());
}

#[tokio::test]
async fn the_token_comes_in_either_field_and_a_client_says_who_it_is() {
    let running = start(Kind::Mailtrap, config()).await;
    let bare = || client().post(running.url("/api/send")).json(&email());
    let named = || bare().header("User-Agent", "test/1");
    assert_eq!(
        named()
            .bearer_auth("key-sandbox")
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    for request in [
        named(),
        named().bearer_auth("other"),
        named().header("Api-Token", "other"),
    ] {
        let (status, answer) = answered(request).await;
        assert_eq!((status, errors(&answer).as_str()), (401, "Unauthorized"));
    }
    let response = bare().bearer_auth("key-sandbox").send().await.unwrap();
    assert_eq!(response.status(), 403);
    assert!(response.text().await.unwrap().starts_with('<'));
}

#[tokio::test]
async fn a_limited_account_mails_itself_only_and_has_a_demo_domain() {
    let mut limited = strict();
    limited.account.is_limited = true;
    let running = start(Kind::Mailtrap, limited).await;
    let (status, answer) = answered(post(&running, &email())).await;
    assert_eq!(status, 403);
    assert!(errors(&answer).contains("Demo domains"));
    let domains = client()
        .get(running.url("/api/domains"))
        .bearer_auth("key-sandbox");
    let (_, list) = answered(domains).await;
    assert_eq!(list["data"][0]["compliance_status"], "demo");
}

#[tokio::test]
async fn faults_speak_the_services_language() {
    let running = start(Kind::Mailtrap, strict()).await;
    for (kind, status, words) in [
        (FaultKind::Status(401), 401, "Unauthorized"),
        (FaultKind::Status(403), 403, "Forbidden"),
        (FaultKind::Status(429), 429, "Too many"),
        (FaultKind::Status(500), 500, "500"),
        (FaultKind::Quota, 429, "limit is reached"),
        (FaultKind::Suspended, 403, "suspended"),
        (FaultKind::Sender, 403, "Forbidden"),
        (FaultKind::Recipient, 400, "'to' address"),
        (FaultKind::Content, 400, "content"),
    ] {
        assert!(running.sandbox.arm(Fault::once(kind)));
        let (seen, answer) = answered(post(&running, &email())).await;
        let error = errors(&answer);
        assert!(
            seen == status && error.contains(words),
            "{kind}: {seen} {error}"
        );
    }
    assert!(running.sandbox.messages().is_empty());
}

#[tokio::test]
async fn accounts_and_domains_are_told_to_those_who_have_the_token() {
    let running = start(Kind::Mailtrap, strict()).await;
    let get = |path: &str, token: &str| client().get(running.url(path)).bearer_auth(token);
    let (status, accounts) = answered(get("/api/accounts", "key-sandbox")).await;
    assert_eq!((status, &accounts[0]["id"]), (200, &json!(1)));
    let (_, domains) = answered(get("/api/domains", "key-sandbox")).await;
    let domain = &domains["data"][0];
    assert_eq!(domain["domain_name"], "example.com");
    assert_eq!(
        (&domain["dns_verified"], &domain["demo"]),
        (&json!(true), &json!(false))
    );
    let (status, refused) = answered(get("/api/domains", "other")).await;
    assert_eq!(
        (status, &refused["error"]),
        (401, &json!("Incorrect API token"))
    );
    assert_eq!(running.sandbox.stats().checks, 2);
}

fn is_signed(headers: &HeaderMap, body: &str, secret: &str) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let digest = mac.finalize().into_bytes();
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    headers["mailtrap-signature"] == digest.as_str()
}

#[tokio::test]
async fn events_are_signed_over_the_whole_body() {
    let running = start(Kind::Mailtrap, strict()).await;
    let (_, sent) = answered(post(&running, &email())).await;
    let order = json!({ "event": "bounced", "recipient": "c@x.example" });
    let (headers, body) = told(&running, order).await;
    assert!(
        is_signed(&headers, &body, "webhook-secret-sandbox"),
        "{headers:?}"
    );
    let event_body: Value = serde_json::from_str(&body).unwrap();
    let said = &event_body["events"][0];
    assert_eq!(said["event"], "bounce");
    assert_eq!(said["message_id"], sent["message_ids"][2]);
    assert_eq!(said["email"], "c@x.example");
    assert_eq!(said["category"], "welcome");
    assert_eq!(said["custom_variables"]["malote-message"], "m1");
    assert_eq!(said["response_code"], 550);
    assert_eq!(said["sending_domain_name"], "example.com");
    let (headers, body) = told(&running, json!({ "event": "delivered", "forged": true })).await;
    assert!(
        !is_signed(&headers, &body, "webhook-secret-sandbox"),
        "{headers:?}"
    );
    assert!(body.contains("\"delivery\""), "{body}");
}

async fn batch(running: &Running, body: &Value) -> (u16, Value) {
    let request = client().post(running.url("/api/batch"));
    let request = request
        .header("User-Agent", "test/1")
        .header("Api-Token", "key-sandbox");
    answered(request.json(body)).await
}

#[tokio::test]
async fn each_email_of_a_batch_has_its_own_answer() {
    let running = start(Kind::Mailtrap, strict()).await;
    let to = |email: &str| json!([{ "email": email }]);
    let body = json!({
        "base": { "from": { "email": "s@example.com" }, "subject": "x", "text": "hi" },
        "requests": [
            { "to": to("a@x.example") },
            { "to": to("nobody") },
            { "to": to("b@x.example"), "subject": "y" },
            { "to": to("c@x.example"), "from": { "email": "s@other.example" } },
        ],
    });
    let (status, answer) = batch(&running, &body).await;
    assert_eq!((status, &answer["success"]), (200, &json!(true)));
    let responses = answer["responses"].as_array().unwrap();
    let are_taken: Vec<&Value> = responses.iter().map(|one| &one["success"]).collect();
    assert_eq!(are_taken, [true, false, true, false]);
    assert!(errors(&responses[1]).contains("'to' address is invalid"));
    let taken = running.sandbox.messages();
    assert_eq!(taken.len(), 2);
    assert_eq!(responses[0]["message_ids"].as_array().unwrap().len(), 1);
    let subject = |at: usize| taken[at].fields.as_ref().unwrap()["subject"].clone();
    assert_eq!((subject(0), subject(1)), (json!("x"), json!("y")));
    assert!(running.sandbox.arm(Fault::once(FaultKind::Partial)));
    let (_, answer) = batch(&running, &body).await;
    let are_taken = answer["responses"].as_array().unwrap().iter();
    let are_taken: Vec<&Value> = are_taken.map(|one| &one["success"]).collect();
    assert_eq!(are_taken, [false, false, true, false]);
}

#[tokio::test]
async fn a_batch_has_its_bounds() {
    let running = start(Kind::Mailtrap, strict()).await;
    let one = json!({ "to": [{ "email": "a@x.example" }] });
    for (body, error) in [
        (json!({ "requests": vec![&one; 501] }), "1 to 500"),
        (json!({ "requests": [] }), "1 to 500"),
        (json!({ "base": {} }), "'requests' must be an array"),
        (
            json!({ "base": &one, "requests": [&one] }),
            "must not have recipients",
        ),
    ] {
        let (status, answer) = batch(&running, &body).await;
        assert_eq!(status, 400, "{answer}");
        assert!(errors(&answer).contains(error), "{answer}");
    }
    assert!(running.sandbox.messages().is_empty());
}

#[tokio::test]
async fn an_account_with_every_sender_lists_none() {
    let running = start(Kind::Mailtrap, config()).await;
    let request = client().get(running.url("/api/domains"));
    let (status, _) = answered(request.header("Api-Token", "key-sandbox")).await;
    assert_eq!(status, 403);
}
