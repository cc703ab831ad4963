//! SMTP2GO.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malote_sandbox::{Account, Fault, FaultKind, Kind, SandboxConfig};
use serde_json::{Value, json};

use crate::{MESSAGE, Running, client, config, start, told};

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
        "sender": "\"Shop, Inc\" <s@example.com>",
        "to": ["Ana <a@x.example>", "b@x.example"],
        "cc": ["c@x.example"],
        "bcc": ["d@x.example"],
        "subject": "x",
        "text_body": "hi",
        "custom_headers": [
            { "header": "Reply-To", "value": "help@example.com" },
            { "header": "X-Malote-Message", "value": "m1" },
        ],
        "attachments": [{ "filename": "a.pdf", "fileblob": "JVBERg==", "mimetype": "application/pdf" }],
        "inlines": [{ "filename": "l.png", "url": "https://shop.example/l.png" }],
    })
}

/// Status and document of a call with the right key.
async fn call(running: &Running, path: &str, body: &Value) -> (u16, Value) {
    let request = client().post(running.url(path)).json(body);
    let request = request.header("X-Smtp2go-Api-Key", "key-sandbox");
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let document: Value = response.json().await.unwrap();
    assert!(document["request_id"].is_string(), "{document}");
    (status, document["data"].clone())
}

async fn send(running: &Running, body: &Value) -> (u16, Value) {
    call(running, "/v3/email/send", body).await
}

#[tokio::test]
async fn an_email_of_fields_is_taken_for_all_its_recipients() {
    let running = start(Kind::Smtp2go, strict()).await;
    let (status, data) = send(&running, &email()).await;
    let taken = running.sandbox.messages().remove(0);
    let expected = json!({ "succeeded": 1, "failed": 0, "failures": [], "email_id": taken.id });
    assert_eq!((status, data), (200, expected));
    let all = ["a@x.example", "b@x.example", "c@x.example", "d@x.example"];
    assert_eq!(taken.recipients, all);
    assert_eq!(taken.fields, Some(email()));
}

#[tokio::test]
async fn a_mime_email_goes_to_those_whom_it_names() {
    let running = start(Kind::Smtp2go, strict()).await;
    let message = MESSAGE.replace(
        "Subject",
        "Cc: \"B, C\" <b@x.example>,\r\n c@x.example\r\nSubject",
    );
    let body = json!({ "mime_email": STANDARD.encode(&message), "fastaccept": true });
    let (status, data) = call(&running, "/v3/email/mime", &body).await;
    let taken = running.sandbox.messages().remove(0);
    assert_eq!((status, data), (200, json!({ "email_id": taken.id })));
    let all = ["a@example.net", "b@x.example", "c@x.example"];
    assert_eq!(taken.recipients, all);
    assert_eq!(taken.raw.unwrap(), message);
    assert_eq!(taken.fields, None);

    let nobody = STANDARD.encode("From: s@example.com\r\n\r\nhi");
    for bad in [
        json!({}),
        json!({ "mime_email": "%" }),
        json!({ "mime_email": nobody }),
    ] {
        let (status, data) = call(&running, "/v3/email/mime", &bad).await;
        assert_eq!(status, 400, "{bad}");
        assert_eq!(
            data["error_code"],
            "E_ApiResponseCodes.NON_VALIDATING_IN_PAYLOAD"
        );
    }
}

#[tokio::test]
async fn what_the_description_does_not_allow_is_refused_with_its_field() {
    let running = start(Kind::Smtp2go, strict()).await;
    let many: Vec<String> = (0..101).map(|n| format!("r{n}@x.example")).collect();
    for (member, value, field) in [
        ("sender", json!(null), "sender"),
        ("sender", json!("example.com"), "sender"),
        ("sender", json!("Shop, Inc <s@example.com>"), "sender"),
        ("to", json!([]), "to"),
        ("to", json!("a@x.example"), "to"),
        ("to", json!(["a@x.example, b@x.example"]), "to"),
        ("to", json!(many), "to"),
        ("cc", json!(["robs_invalid.com"]), "cc"),
        ("subject", json!(7), "subject"),
        ("text_body", json!(""), "text_body"),
        ("custom_headers", json!({ "X-A": "1" }), "custom_headers"),
        (
            "custom_headers",
            json!([{ "header": "X-A" }]),
            "custom_headers",
        ),
        (
            "custom_headers",
            json!([{ "header": "Content-type", "value": "text/plain" }]),
            "custom_headers",
        ),
        (
            "custom_headers",
            json!([{ "header": "X-A", "value": "1\r\nBcc: e@x.example" }]),
            "custom_headers",
        ),
        ("attachments", json!([{ "filename": "a" }]), "attachments"),
        (
            "attachments",
            json!([{ "filename": "a", "fileblob": "%" }]),
            "attachments",
        ),
        ("inlines", json!([{ "fileblob": "aGk=" }]), "inlines"),
        ("fastaccept", json!("true"), "fastaccept"),
    ] {
        let mut bad = email();
        bad[member] = value;
        let (status, data) = send(&running, &bad).await;
        assert_eq!(status, 400, "{bad}");
        assert_eq!(
            data["field_validation_errors"]["fieldname"], field,
            "{data}"
        );
    }
    let text = client().post(running.url("/v3/email/send"));
    let text = text.header("X-Smtp2go-Api-Key", "key-sandbox");
    let answer = text.body(email().to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 400, "the type of the content is not said");
    assert!(running.sandbox.messages().is_empty());
}

#[tokio::test]
async fn the_key_is_asked_for_in_the_head_or_in_the_body() {
    let running = start(Kind::Smtp2go, config()).await;
    let mut with_key = email();
    with_key["api_key"] = "key-sandbox".into();
    for (body, key, status) in [
        (email(), None, 401),
        (email(), Some("key-other"), 401),
        (with_key.clone(), None, 200),
        (with_key, Some("key-other"), 401),
    ] {
        let mut request = client().post(running.url("/v3/email/send")).json(&body);
        if let Some(key) = key {
            request = request.header("X-Smtp2go-Api-Key", key);
        }
        assert_eq!(request.send().await.unwrap().status(), status, "{key:?}");
    }
    assert_eq!(
        running.sandbox.messages()[0].fields,
        Some(email()),
        "the key is not kept"
    );
}

#[tokio::test]
async fn mail_from_a_domain_that_is_not_verified_fails_inside_a_success() {
    let running = start(Kind::Smtp2go, strict()).await;
    let mut foreign = email();
    foreign["sender"] = "s@other.example".into();
    let (status, data) = send(&running, &foreign).await;
    assert_eq!((status, &data["failed"]), (200, &json!(1)));
    let failure = data["failures"][0].as_str().unwrap();
    assert!(failure.contains("From header sender domain not verified (other.example)"));
    foreign["fastaccept"] = true.into();
    let (status, data) = send(&running, &foreign).await;
    assert_eq!(status, 200);
    assert!(data["email_id"].is_string() && data.get("failed").is_none());
    assert!(running.sandbox.messages().is_empty(), "nothing was taken");

    let find = |domain: &str| json!({ "domain": domain });
    let (_, known) = call(&running, "/v3/domain/view", &find("Example.com")).await;
    assert_eq!(known["domains"][0]["domain"]["fulldomain"], "example.com");
    assert_eq!(known["domains"][0]["domain"]["dkim_verified"], true);
    let (_, other) = call(&running, "/v3/domain/view", &find("other.example")).await;
    assert_eq!(other["domains"], json!([]));
    let (_, all) = call(&running, "/v3/domain/view", &json!({})).await;
    assert_eq!(all["domains"].as_array().unwrap().len(), 1);
    assert_eq!(running.sandbox.stats().checks, 3);
}

#[tokio::test]
async fn a_limited_account_mails_its_owner_only() {
    let mut config = config();
    config.account.is_limited = true;
    let running = start(Kind::Smtp2go, config).await;
    let (status, data) = send(&running, &email()).await;
    assert_eq!(status, 403);
    assert_eq!(data["error_code"], "E_ApiResponseCodes.SENDER_NOT_VERIFIED");
    let mut to_owner = email();
    to_owner["to"] = json!(["owner@example.com"]);
    to_owner["cc"] = json!([]);
    to_owner["bcc"] = json!([]);
    assert_eq!(send(&running, &to_owner).await.0, 200);
    let (_, cycle) = call(&running, "/v3/stats/email_cycle", &json!({})).await;
    assert_eq!(cycle["cycle_max"], 1000);
    assert_eq!(cycle["cycle_remaining"], 999);
    assert_eq!(cycle["cycle_start"], "2026-01-01 00:00:00+00:00");
    assert_eq!(cycle["cycle_end"], "2026-01-31 00:00:00+00:00");
}

#[tokio::test]
async fn every_fault_is_said_in_the_services_words() {
    let running = start(Kind::Smtp2go, config()).await;
    let code = |code: &str| format!("E_ApiResponseCodes.{code}");
    for (kind, status, expected) in [
        (FaultKind::Status(401), 401, code("API_EXCEPTION")),
        (
            FaultKind::Status(400),
            400,
            code("ENDPOINT_PERMISSION_DENIED"),
        ),
        (FaultKind::Status(429), 429, code("API_EXCEPTION")),
        (FaultKind::Status(500), 500, code("API_EXCEPTION")),
        (FaultKind::Quota, 402, code("API_EXCEPTION")),
        (FaultKind::Suspended, 401, code("API_EXCEPTION")),
        (FaultKind::Recipient, 400, code("NON_VALIDATING_IN_PAYLOAD")),
        (FaultKind::Partial, 400, code("NON_VALIDATING_IN_PAYLOAD")),
    ] {
        running.sandbox.arm(Fault::once(kind));
        let (found, data) = send(&running, &email()).await;
        assert_eq!(
            (found, &data["error_code"]),
            (status, &json!(expected)),
            "{kind}"
        );
    }
    for kind in [FaultKind::Sender, FaultKind::Content, FaultKind::Reputation] {
        running.sandbox.arm(Fault::once(kind));
        let (status, data) = send(&running, &email()).await;
        assert_eq!(
            (status, &data["failed"], &data["succeeded"]),
            (200, &json!(1), &json!(0))
        );
        assert_eq!(data["email_id"], "", "{kind}");
    }
    running.sandbox.arm(Fault::once(FaultKind::Status(401)));
    let (status, _) = call(&running, "/v3/api_keys/permissions", &json!({})).await;
    assert_eq!(status, 401, "a look-up sees it, too");
    running.sandbox.disarm();
    let (_, allowed) = call(&running, "/v3/api_keys/permissions", &json!({})).await;
    assert_eq!(allowed[0], "/email/send");
    assert!(running.sandbox.messages().is_empty());
}

#[tokio::test]
async fn a_webhook_carries_its_token_and_the_messages_own_fields() {
    let running = start(Kind::Smtp2go, config()).await;
    let (_, sent) = send(&running, &email()).await;
    for (event, name, bounce) in [
        ("delivered", "delivered", Value::Null),
        ("deferred", "bounce", json!("soft")),
        ("bounced", "bounce", json!("hard")),
        ("complained", "spam", Value::Null),
        ("unsubscribed", "unsubscribe", Value::Null),
    ] {
        let order = json!({ "event": event, "recipient": "b@x.example" });
        let (headers, body) = told(&running, order).await;
        assert_eq!(headers["authorization"], "Bearer webhook-secret-sandbox");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&body["event"], &body["bounce"]), (&json!(name), &bounce));
        assert_eq!(body["email_id"], sent["email_id"]);
        assert_eq!(body["rcpt"], "b@x.example");
        assert_eq!(body["from_address"], "s@example.com");
        assert_eq!(body["X-Malote-Message"], "m1");
        assert_eq!(body.get("Reply-To"), None);
    }
    let order = json!({ "event": "delivered", "forged": true });
    let (headers, _) = told(&running, order).await;
    assert_ne!(headers["authorization"], "Bearer webhook-secret-sandbox");
}

#[tokio::test]
async fn a_batch_is_answered_with_an_id_each() {
    let running = start(Kind::Smtp2go, strict()).await;
    let mut later = email();
    later["schedule"] = "2026-01-03 12:00:00 +0000".into();
    let mut foreign = email();
    foreign["sender"] = "s@other.example".into();
    let batch = json!({ "emails": [email(), later, foreign] });
    let (status, data) = call(&running, "/v3/email/batch", &batch).await;
    assert_eq!(status, 200, "{data}");
    let taken = running.sandbox.messages();
    // From where nobody may send goes nowhere, and the answer does not say so.
    assert_eq!(taken.len(), 2);
    assert_eq!(data[0], json!({ "email_id": taken[0].id }));
    assert_eq!(data[1], json!({ "schedule_id": taken[1].id }));
    assert!(data[2]["email_id"].is_string(), "{data}");
    assert_eq!(taken[0].fields.as_ref().unwrap()["subject"], "x");
}

#[tokio::test]
async fn a_batch_with_a_malformed_email_is_refused_as_a_whole() {
    let running = start(Kind::Smtp2go, strict()).await;
    let mut bad = email();
    bad["to"] = json!(["nobody"]);
    for (emails, field) in [
        (json!([email(), bad]), "to"),
        (json!([]), "emails"),
        (json!("x"), "emails"),
    ] {
        let batch = json!({ "emails": emails });
        let (status, data) = call(&running, "/v3/email/batch", &batch).await;
        assert_eq!(status, 400, "{data}");
        assert_eq!(data["field_validation_errors"]["fieldname"], field);
    }
    assert!(running.sandbox.arm(Fault::once(FaultKind::Status(429))));
    let batch = json!({ "emails": [email()] });
    assert_eq!(call(&running, "/v3/email/batch", &batch).await.0, 429);
    assert!(running.sandbox.messages().is_empty());
}
