//! Postal.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
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

fn raw_of(message: &str) -> Value {
    json!({
        "mail_from": "bounce@example.com",
        "rcpt_to": ["a@x.example", "b@x.example", "a@x.example"],
        "data": STANDARD.encode(message),
    })
}

fn raw() -> Value {
    raw_of(&MESSAGE.replace(
        "To:",
        "Message-ID: <1@example.com>\r\nX-Postal-Tag: welcome\r\nTo:",
    ))
}

async fn call(running: &Running, path: &str, key: Option<&str>, body: &Value) -> (u16, Value) {
    let mut request = client().post(running.url(path)).json(body);
    if let Some(key) = key {
        request = request.header("X-Server-API-Key", key);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

/// The document of a call with the right key, which is always answered 200.
async fn asked(running: &Running, path: &str, body: &Value) -> Value {
    let (status, document) = call(running, path, Some("key-sandbox"), body).await;
    assert_eq!(status, 200, "{document}");
    assert!(document["time"].is_number() && document["flags"].is_object());
    document
}

async fn send(running: &Running, body: &Value) -> Value {
    asked(running, "/api/v1/send/raw", body).await
}

#[tokio::test]
async fn a_raw_message_is_taken_and_each_recipient_has_a_number() {
    let running = start(Kind::Postal, strict()).await;
    let answer = send(&running, &raw()).await;
    assert_eq!(answer["status"], "success");
    assert_eq!(answer["data"]["message_id"], "1@example.com");
    let messages = answer["data"]["messages"].as_object().unwrap();
    assert_eq!(messages.len(), 2, "each recipient once");
    let number = |recipient: &str| messages[recipient]["id"].as_u64().unwrap();
    assert_ne!(number("a@x.example"), number("b@x.example"));
    let taken = running.sandbox.messages().remove(0);
    assert_eq!(taken.id, number("a@x.example").to_string());
    assert_eq!(taken.recipients, ["a@x.example", "b@x.example"]);
    assert_eq!(taken.mail_from.as_deref(), Some("bounce@example.com"));
    assert_eq!(taken.options, [("tag".to_owned(), "welcome".to_owned())]);
    assert_eq!(taken.header("subject").as_deref(), Some("x"));

    let path = "/api/v1/messages/message";
    let found = asked(&running, path, &json!({ "id": number("b@x.example") })).await;
    assert_eq!(found["data"], messages["b@x.example"]);
    let missing = asked(&running, path, &json!({ "id": number("b@x.example") + 1 })).await;
    assert_eq!(missing["data"]["code"], "MessageNotFound");
    let nothing = asked(&running, path, &json!({})).await;
    assert_eq!(nothing["status"], "parameter-error");
}

#[tokio::test]
async fn a_raw_message_that_the_service_does_not_take_is_refused_with_200() {
    let running = start(Kind::Postal, strict()).await;
    let without = |name: &str| {
        let mut body = raw();
        body.as_object_mut().unwrap().remove(name);
        body
    };
    let with = |name: &str, value: Value| {
        let mut body = raw();
        body[name] = value;
        body
    };
    for (body, name) in [
        (without("rcpt_to"), "rcpt_to"),
        (with("rcpt_to", json!("a@x.example")), "rcpt_to"),
        (without("mail_from"), "mail_from"),
        (with("mail_from", json!("")), "mail_from"),
        (without("data"), "data"),
    ] {
        let answer = send(&running, &body).await;
        assert_eq!(answer["status"], "parameter-error", "{body}");
        let message = format!("`{name}` parameter is required but is missing");
        assert_eq!(answer["data"]["message"], message.as_str());
    }
    for message in [
        "To: a@x.example\r\n\r\nhi",
        "From: s@other.example\r\n\r\nhi",
        "From: s@example.com, t@other.example\r\n\r\nhi",
    ] {
        let answer = send(&running, &raw_of(message)).await;
        let code = "UnauthenticatedFromAddress";
        assert_eq!(
            (&answer["status"], &answer["data"]["code"]),
            (&json!("error"), &json!(code))
        );
    }
    let garbage = with("data", json!("%%%"));
    let answer = send(&running, &garbage).await;
    assert_eq!(answer["data"]["code"], "UnauthenticatedFromAddress");
    assert!(running.sandbox.messages().is_empty());
}

#[tokio::test]
async fn a_message_of_fields_is_checked_in_the_services_order() {
    let running = start(Kind::Postal, strict()).await;
    let good = json!({
        "to": ["Ana <a@x.example>"], "cc": "b@x.example, c@x.example", "bcc": ["d@x.example"],
        "from": "Shop <s@example.com>", "subject": "x", "plain_body": "hi", "tag": "welcome",
        "attachments": [{ "name": "a.pdf", "data": "JVBERg==" }],
    });
    let path = "/api/v1/send/message";
    let answer = asked(&running, path, &good).await;
    assert_eq!(answer["data"]["messages"].as_object().unwrap().len(), 4);
    let taken = running.sandbox.messages().remove(0);
    let all = ["a@x.example", "b@x.example", "c@x.example", "d@x.example"];
    assert_eq!(taken.recipients, all);
    assert_eq!(taken.fields, Some(good.clone()));
    let many: Vec<String> = (0..51).map(|n| format!("r{n}@x.example")).collect();
    for (changes, code) in [
        (json!({ "to": [], "cc": "", "bcc": null }), "NoRecipients"),
        (json!({ "to": many }), "TooManyToAddresses"),
        (json!({ "cc": many }), "TooManyCCAddresses"),
        (json!({ "bcc": many }), "TooManyBCCAddresses"),
        (json!({ "plain_body": " " }), "NoContent"),
        (json!({ "from": "" }), "FromAddressMissing"),
        (
            json!({ "from": "s@other.example" }),
            "UnauthenticatedFromAddress",
        ),
        (
            json!({ "attachments": [{ "data": "JVBERg==" }] }),
            "AttachmentMissingName",
        ),
        (
            json!({ "attachments": [{ "name": "a.pdf" }] }),
            "AttachmentMissingData",
        ),
    ] {
        let mut bad = good.clone();
        for (name, value) in changes.as_object().unwrap() {
            bad[name] = value.clone();
        }
        let answer = asked(&running, path, &bad).await;
        assert_eq!(answer["data"]["code"], code, "{bad}");
        assert!(answer["data"]["message"].is_string());
    }
}

#[tokio::test]
async fn the_key_is_asked_for_and_a_broken_body_is_the_frameworks() {
    let running = start(Kind::Postal, config()).await;
    let path = "/api/v1/send/raw";
    for (key, code) in [
        (None, "AccessDenied"),
        (Some("other"), "InvalidServerAPIKey"),
    ] {
        let (status, answer) = call(&running, path, key, &raw()).await;
        assert_eq!((status, &answer["data"]["code"]), (200, &json!(code)));
    }
    let broken = client().post(running.url(path));
    let broken = broken.header("Content-Type", "application/json").body("{");
    assert_eq!(broken.send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn what_is_wrong_with_the_server_is_said_at_once() {
    let running = start(Kind::Postal, config()).await;
    for (kind, code) in [
        (FaultKind::Status(401), "InvalidServerAPIKey"),
        (FaultKind::Suspended, "ServerSuspended"),
        (FaultKind::Sender, "UnauthenticatedFromAddress"),
    ] {
        running.sandbox.arm(Fault::once(kind));
        let answer = send(&running, &raw()).await;
        assert_eq!(answer["data"]["code"], code, "{kind}");
    }
    for number in [429, 500, 503] {
        running.sandbox.arm(Fault::once(FaultKind::Status(number)));
        let (status, answer) =
            call(&running, "/api/v1/send/raw", Some("key-sandbox"), &raw()).await;
        assert_eq!((status, &answer["status"]), (number, &json!(number)));
    }
    assert!(running.sandbox.messages().is_empty());
    running.sandbox.arm(Fault::once(FaultKind::Suspended));
    let answer = asked(&running, "/api/v1/messages/message", &json!({})).await;
    assert_eq!(
        answer["data"]["code"], "ServerSuspended",
        "a look-up sees it, too"
    );
}

/// The webhook's body, its signature checked with the key of the installation's key set.
async fn verified(running: &Running, order: Value) -> Result<Value, Value> {
    let (headers, body) = told(running, order).await;
    let keys = client().get(running.url("/.well-known/jwks.json"));
    let keys: Value = keys.send().await.unwrap().json().await.unwrap();
    let text = |headers: &HeaderMap, name: &str| headers[name].to_str().unwrap().to_owned();
    let key = &keys["keys"][0];
    assert_eq!(
        key["kid"],
        text(&headers, "x-postal-signature-kid").as_str()
    );
    let number = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    let key = RsaPublicKeyComponents {
        n: number("n"),
        e: number("e"),
    };
    let signature = STANDARD
        .decode(text(&headers, "x-postal-signature-256"))
        .unwrap();
    let checked = key.verify(&RSA_PKCS1_2048_8192_SHA256, body.as_bytes(), &signature);
    let body: Value = serde_json::from_str(&body).unwrap();
    match checked {
        Ok(()) => Ok(body),
        Err(_) => Err(body),
    }
}

#[tokio::test]
async fn webhooks_are_signed_and_name_the_recipients_own_message() {
    let running = start(Kind::Postal, config()).await;
    let answer = send(&running, &raw()).await;
    let number = &answer["data"]["messages"]["b@x.example"]["id"];
    for (event, name, status) in [
        ("delivered", "MessageSent", "Sent"),
        ("deferred", "MessageDelayed", "SoftFail"),
        ("bounced", "MessageDeliveryFailed", "HardFail"),
    ] {
        let order = json!({ "event": event, "recipient": "b@x.example" });
        let body = verified(&running, order).await.unwrap();
        assert_eq!(body["event"], name);
        let payload = &body["payload"];
        assert_eq!(payload["status"], status);
        assert_eq!(&payload["message"]["id"], number);
        assert_eq!(payload["message"]["to"], "b@x.example");
        assert_eq!(payload["message"]["tag"], "welcome");
        assert_eq!(payload["message"]["message_id"], "1@example.com");
    }
    let order = json!({ "event": "bounced", "recipient": "b@x.example", "reply": "" });
    let body = verified(&running, order).await.unwrap();
    assert_eq!(body["event"], "MessageBounced");
    assert_eq!(&body["payload"]["original_message"]["id"], number);
    let forged = json!({ "event": "delivered", "forged": true });
    assert!(verified(&running, forged).await.is_err());
    let order = json!({ "url": "http://127.0.0.1:9/", "event": "complained" });
    let request = client().post(running.url("/_sandbox/event")).json(&order);
    assert_eq!(request.send().await.unwrap().status(), 400, "not reported");
}

#[tokio::test]
async fn what_comes_later_is_taken_first_and_told_by_webhook() {
    let running = start(Kind::Postal, config()).await;
    for (kind, event, why) in [
        (FaultKind::Quota, "MessageHeld", "send limit"),
        (FaultKind::Recipient, "MessageHeld", "suppression list"),
        (FaultKind::Partial, "MessageHeld", "suppression list"),
        (FaultKind::Content, "MessageDeliveryFailed", "likely spam"),
        (FaultKind::Reputation, "MessageDeliveryFailed", "Permanent"),
    ] {
        running.sandbox.arm(Fault::once(kind));
        let answer = send(&running, &raw()).await;
        assert_eq!(answer["status"], "success", "{kind}");
        let body = verified(&running, json!({ "event": "delivered" }))
            .await
            .unwrap();
        assert_eq!(body["event"], event, "{kind}");
        let details = body["payload"]["details"].as_str().unwrap();
        assert!(details.contains(why), "{kind} {details}");
        let order = json!({ "event": "delivered", "recipient": "b@x.example" });
        let body = verified(&running, order).await.unwrap();
        let is_sent = body["event"] == "MessageSent";
        assert_eq!(is_sent, kind == FaultKind::Partial, "{kind}");
    }
    let mut config = config();
    config.account.is_limited = true;
    let running = start(Kind::Postal, config).await;
    send(&running, &raw()).await;
    let body = verified(&running, json!({ "event": "delivered" }))
        .await
        .unwrap();
    assert_eq!(body["payload"]["details"], "Server is in development mode.");
}

#[tokio::test]
async fn a_message_to_nobody_is_a_success_that_nothing_comes_of() {
    let running = start(Kind::Postal, strict()).await;
    let mut to_nobody = raw();
    to_nobody["rcpt_to"] = json!([]);
    let answer = send(&running, &to_nobody).await;
    assert_eq!(answer["status"], "success");
    assert_eq!(answer["data"]["messages"], json!({}));
    assert!(running.sandbox.messages().is_empty());
}
