//! SparkPost.

use malote_sandbox::{Account, Fault, FaultKind, Kind, SandboxConfig};
use serde_json::{Value, json};

use crate::{MESSAGE, Running, client, config, start, told};

fn with_account() -> SandboxConfig {
    SandboxConfig {
        account: Account {
            senders: Some(vec!["example.com".to_owned()]),
            pools: Some(vec!["pool_1".to_owned()]),
            ..Account::default()
        },
        ..config()
    }
}

async fn post(running: &Running, body: &Value) -> (u16, Value) {
    let request = client().post(running.url("/api/v1/transmissions"));
    let response = request
        .header("Authorization", "key-sandbox")
        .json(body)
        .send()
        .await
        .unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

fn raw(message: &str) -> Value {
    json!({
        "recipients": [{ "address": { "email": "a@example.net" } }],
        "content": { "email_rfc822": message },
    })
}

/// The base with members put in place of its own.
fn with(mut base: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        base[name] = value.clone();
    }
    base
}

#[tokio::test]
async fn a_raw_transmission_is_taken_with_what_it_asks_for() {
    let running = start(Kind::Sparkpost, with_account()).await;
    let body = json!({
        "campaign_id": "spring",
        "metadata": { "malote-message": "7" },
        "return_path": "bounce@example.com",
        "options": { "ip_pool": "Pool_1", "transactional": true, "open_tracking": false },
        "recipients": [
            { "address": { "email": "a@example.net" }, "metadata": { "n": 1 }, "tags": ["vip"] },
            { "address": "b@example.net" },
        ],
        "content": { "email_rfc822": MESSAGE },
        "unknown": "is ignored",
    });
    let (status, answer) = post(&running, &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["results"]["total_accepted_recipients"], 2);
    assert_eq!(answer["results"]["total_rejected_recipients"], 0);
    let taken = running.sandbox.messages().remove(0);
    assert_eq!(answer["results"]["id"], taken.id.as_str());
    assert_eq!(taken.recipients, ["a@example.net", "b@example.net"]);
    assert_eq!(taken.pool.as_deref(), Some("Pool_1"));
    assert_eq!(taken.mail_from.as_deref(), Some("bounce@example.com"));
    assert_eq!(taken.raw.as_deref(), Some(MESSAGE.as_bytes()));
    assert!(taken.fields.is_none());
    let has = |name: &str, value: &str| {
        let option = (name.to_owned(), value.to_owned());
        taken.options.contains(&option)
    };
    assert!(has("transactional", "true") && has("open_tracking", "false"));
    assert!(has("campaign_id", "spring") && has("metadata:malote-message", "7"));
    assert!(has("metadata[a@example.net]:n", "1") && has("tag[a@example.net]", "vip"));
}

#[tokio::test]
async fn expressions_are_replaced_in_the_head_always_and_in_the_body_by_default() {
    let running = start(Kind::Sparkpost, config()).await;
    let message = "From: s@example.com\nSubject: {{name}} {{opening_double_curly()}}\n\n{{name}}";
    for (substitutes, last) in [(true, "Ana"), (false, "{{name}}")] {
        let body = with(
            raw(message),
            json!({
                "substitution_data": { "name": "Ana" },
                "options": { "perform_substitutions": substitutes },
            }),
        );
        assert_eq!(post(&running, &body).await.0, 200);
        let taken = running.sandbox.messages().pop().unwrap();
        let expected = format!("From: s@example.com\r\nSubject: Ana {{{{\r\n\r\n{last}");
        assert_eq!(taken.raw.as_deref(), Some(expected.as_bytes()));
    }
}

#[tokio::test]
async fn inline_content_is_taken_as_fields() {
    let running = start(Kind::Sparkpost, with_account()).await;
    let content = json!({
        "from": { "name": "Shop", "email": "s@example.com" },
        "subject": "x",
        "text": "hi",
        "attachments": [{ "name": "a.txt", "type": "text/plain", "data": "aGk=" }],
    });
    let body = with(raw(""), json!({ "content": content }));
    assert_eq!(post(&running, &body).await.0, 200);
    let taken = running.sandbox.messages().remove(0);
    assert_eq!(taken.fields, Some(content));
}

#[tokio::test]
async fn what_the_service_would_refuse_is_refused_in_its_words() {
    let running = start(Kind::Sparkpost, with_account()).await;
    let good = raw(MESSAGE);
    let inline = |changes: Value| {
        let base = json!({ "from": "s@example.com", "subject": "x", "text": "hi" });
        json!({ "content": with(base, changes) })
    };
    let cases = [
        (json!({ "content": null }), 422, "1400"),
        (json!({ "content": { "template_id": "t" } }), 422, "1603"),
        (json!({ "content": { "email_rfc822": 7 } }), 422, "1300"),
        (
            json!({ "content": { "email_rfc822": "no field" } }),
            422,
            "3020",
        ),
        (
            json!({ "content": { "email_rfc822": "Subject: {{\r\n\r\n" } }),
            422,
            "3000",
        ),
        (
            json!({ "content": { "email_rfc822": "Subject: x\r\n\r\n" } }),
            400,
            "7001",
        ),
        (
            json!({ "content": { "email_rfc822": "From: a@other.example\r\n\r\n" } }),
            400,
            "7001",
        ),
        (
            json!({ "content": { "email_rfc822": MESSAGE, "subject": "x" } }),
            422,
            "1301",
        ),
        (inline(json!({ "text": null })), 422, "1400"),
        (inline(json!({ "headers": { "To": "x" } })), 422, "3002"),
        (
            inline(json!({ "inline_images": [{ "name": "i", "type": "image/png", "data": "*" }] })),
            422,
            "1300",
        ),
        (json!({ "recipients": null }), 422, "1400"),
        (json!({ "recipients": { "list_id": "l" } }), 422, "1603"),
        (json!({ "recipients": [] }), 400, "5002"),
        (
            json!({ "recipients": [{ "address": "nobody" }] }),
            400,
            "5002",
        ),
        (json!({ "options": { "ip_pool": "nowhere" } }), 422, "1603"),
        (
            json!({ "options": { "transactional": "yes" } }),
            422,
            "1300",
        ),
        (json!({ "campaign_id": "x".repeat(65) }), 422, "1300"),
        (
            json!({ "metadata": { "big": "x".repeat(10_300) } }),
            422,
            "2007",
        ),
        (json!({ "return_path": "b@other.example" }), 400, "7001"),
    ];
    for (changes, status, code) in cases {
        let (answered, answer) = post(&running, &with(good.clone(), changes.clone())).await;
        assert_eq!(answered, status, "{changes} {answer}");
        assert_eq!(answer["errors"][0]["code"], code, "{changes} {answer}");
    }
    assert_eq!(running.sandbox.stats().messages, 0);
}

#[tokio::test]
async fn a_request_without_a_good_head_is_refused() {
    let running = start(Kind::Sparkpost, config()).await;
    let url = running.url("/api/v1/transmissions");
    let send = |key: &'static str, kind: &'static str, body: Vec<u8>| {
        let request = client().post(&url).header("Authorization", key);
        request.header("Content-Type", kind).body(body).send()
    };
    let json_type = "application/json";
    let good = raw(MESSAGE).to_string().into_bytes();
    for (key, kind, body, status) in [
        ("wrong", json_type, good.clone(), 401),
        ("key-sandbox", "text/plain", good.clone(), 415),
        (
            "key-sandbox",
            json_type,
            b"{\"content\":\"\xe9\"}".to_vec(),
            400,
        ),
        ("key-sandbox", json_type, b"{".to_vec(), 422),
        // Basic, the key as the user.
        ("Basic a2V5LXNhbmRib3g6", json_type, good, 200),
    ] {
        let response = send(key, kind, body).await.unwrap();
        assert_eq!(response.status(), status, "{key} {kind}");
    }
    let lost = client().get(running.url("/api/v1/nowhere")).send().await;
    assert_eq!(lost.unwrap().status(), 404);
}

#[tokio::test]
async fn some_recipients_may_be_refused_and_the_others_taken() {
    let running = start(Kind::Sparkpost, config()).await;
    let three = json!({ "recipients": [
        { "address": "a@example.net" }, { "address": "nobody" }, { "address": "c@example.net" },
    ] });
    let (status, answer) = post(&running, &with(raw(MESSAGE), three.clone())).await;
    assert_eq!(status, 200);
    assert_eq!(answer["errors"][0]["code"], "2000");
    assert_eq!(answer["results"]["total_rejected_recipients"], 1);
    assert_eq!(answer["results"]["rcpt_to_errors"][0]["code"], "1300");
    assert!(running.sandbox.arm(Fault::once(FaultKind::Partial)));
    let (status, answer) = post(&running, &with(raw(MESSAGE), three)).await;
    assert_eq!(status, 200);
    assert_eq!(answer["results"]["total_accepted_recipients"], 1);
    let taken = running.sandbox.messages().pop().unwrap();
    assert_eq!(taken.recipients, ["c@example.net"]);
    assert!(running.sandbox.arm(Fault::once(FaultKind::Partial)));
    assert_eq!(post(&running, &raw(MESSAGE)).await.0, 400);
}

#[tokio::test]
async fn every_fault_has_the_services_words() {
    let running = start(Kind::Sparkpost, config()).await;
    for (kind, status, words) in [
        (FaultKind::Status(401), 401, "Unauthorized."),
        (FaultKind::Status(420), 420, "2101"),
        (FaultKind::Status(429), 429, "Too many requests"),
        (FaultKind::Status(503), 503, "1900"),
        (FaultKind::Quota, 420, "2102"),
        (FaultKind::Suspended, 403, "suspended"),
        (FaultKind::Sender, 400, "7001"),
        (FaultKind::Recipient, 400, "5002"),
        (FaultKind::Content, 400, "1902"),
        (FaultKind::Reputation, 400, "7000"),
    ] {
        assert!(running.sandbox.arm(Fault::once(kind)));
        let (answered, answer) = post(&running, &raw(MESSAGE)).await;
        assert_eq!(answered, status, "{kind}");
        assert!(
            answer["errors"].to_string().contains(words),
            "{kind} {answer}"
        );
    }
    assert_eq!(running.sandbox.stats().messages, 0);
}

#[tokio::test]
async fn the_account_tells_its_usage_domains_and_pools() {
    let mut config = with_account();
    config.account.is_limited = true;
    let running = start(Kind::Sparkpost, config).await;
    let ask = async |path: &str| {
        let request = client().get(running.url(&format!("/api/v1/{path}")));
        let response = request.header("Authorization", "key-sandbox").send().await;
        let response = response.unwrap();
        let status = response.status().as_u16();
        (status, response.json::<Value>().await.unwrap())
    };
    let (_, account) = ask("account?include=usage").await;
    assert_eq!(account["results"]["status"], "active");
    assert_eq!(account["results"]["usage"]["day"]["limit"], 100);
    let (_, domains) = ask("sending-domains").await;
    assert_eq!(domains["results"][0]["domain"], "example.com");
    let (_, domain) = ask("sending-domains/example.com").await;
    assert_eq!(domain["results"]["status"]["ownership_verified"], true);
    assert_eq!(ask("sending-domains/other.example").await.0, 404);
    let (_, pools) = ask("ip-pools").await;
    assert_eq!(pools["results"][0]["id"], "pool_1");
    assert_eq!(ask("ip-pools/POOL_1").await.0, 200);
    let (status, missing) = ask("ip-pools/nowhere").await;
    assert_eq!(status, 404);
    assert_eq!(missing["errors"][0]["message"], "IP pool not found.");
    assert!(running.sandbox.arm(Fault::always(FaultKind::Status(401))));
    assert_eq!(ask("account").await.0, 401);
}

#[tokio::test]
async fn events_come_in_a_batch_with_a_login() {
    let running = start(Kind::Sparkpost, config()).await;
    let body = with(
        raw(MESSAGE),
        json!({ "metadata": { "malote-message": "7" }, "campaign_id": "spring" }),
    );
    assert_eq!(post(&running, &body).await.0, 200);
    let id = running.sandbox.messages().remove(0).id;
    for (event, class, kind) in [
        ("delivered", "message_event", "delivery"),
        ("deferred", "message_event", "delay"),
        ("bounced", "message_event", "bounce"),
        ("complained", "message_event", "spam_complaint"),
        ("unsubscribed", "unsubscribe_event", "list_unsubscribe"),
    ] {
        let (headers, body) = told(&running, json!({ "event": event })).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            headers["x-messagesystems-webhook-token"],
            "webhook-secret-sandbox"
        );
        assert_eq!(
            headers["authorization"],
            "Basic c2FuZGJveDp3ZWJob29rLXNlY3JldC1zYW5kYm94"
        );
        assert!(headers.contains_key("x-messagesystems-batch-id"));
        let event = &body[0]["msys"][class];
        assert_eq!(event["type"], kind);
        assert_eq!(event["transmission_id"], id.as_str());
        assert_eq!(event["raw_rcpt_to"], "a@example.net");
        assert_eq!(event["rcpt_meta"]["malote-message"], "7");
        assert_eq!(event["campaign_id"], "spring");
        if kind == "bounce" {
            assert_eq!(event["bounce_class"], "10");
            assert_eq!(event["error_code"], "550");
        }
    }
    let forged = json!({ "event": "delivered", "forged": true });
    let (headers, _) = told(&running, forged).await;
    assert_ne!(
        headers["x-messagesystems-webhook-token"],
        "webhook-secret-sandbox"
    );
    let (_, ping) = told(&running, json!({ "event": "subscription" })).await;
    assert_eq!(ping, r#"[{"msys":{}}]"#);
}
