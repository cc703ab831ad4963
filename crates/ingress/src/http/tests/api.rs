//! Submitting over HTTP: who may, what is taken, what is refused.

use malote_core::intake::Refusal;
use malote_core::message::Channel;
use serde_json::{Value, json};

use super::fakes::{Gateway, letter, problem};

#[tokio::test]
async fn a_message_is_answered_202_with_its_id_stream_and_recipients() {
    let gateway = Gateway::start().await;
    let response = gateway.post("/v1/messages", letter()).send().await.unwrap();
    assert_eq!(response.status(), 202);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(response.headers()["cache-control"], "no-store");
    let body: Value = response.json().await.unwrap();
    assert_eq!(
        location,
        format!("/v1/messages/{}", body["id"].as_str().unwrap())
    );
    let recipients = json!([{"email": "ana@dest.example", "status": "queued"}]);
    let expected = json!({
        "id": body["id"], "stream": "transactional", "recipients": recipients,
    });
    assert_eq!(body, expected);
    let accepted = gateway.intake.accepted.lock().unwrap();
    let submission = &accepted[0];
    assert_eq!(
        submission.mail_from.as_ref().unwrap().as_str(),
        "orders@shop.example"
    );
    assert_eq!(
        submission.channel,
        Channel::Http("127.0.0.1".parse().unwrap())
    );
    assert!(
        submission
            .body
            .starts_with(b"From: orders@shop.example\r\n")
    );
}

#[tokio::test]
async fn a_missing_and_a_wrong_key_are_told_the_same_before_the_body_is_read() {
    let gateway = Gateway::start().await;
    let mut bodies = Vec::new();
    let url = gateway.url("/v1/messages");
    for request in [
        gateway.client.post(&url),
        gateway.client.post(&url).bearer_auth("mk_test_shoq"),
        gateway
            .client
            .post(gateway.url("/v1/messages?api_key=mk_test_shop")),
        gateway
            .client
            .get(gateway.url("/v1/messages?api_key=mk_test_shop")),
        gateway.client.delete(gateway.url("/v1/messages/x")),
        gateway.client.post(gateway.url("/v1/messages/raw")),
        gateway.client.post(gateway.url("/v1/messages/batch")),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        bodies.push(response.text().await.unwrap());
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1);
}

#[tokio::test]
async fn what_is_refused_says_where_and_the_next_message_is_taken() {
    let gateway = Gateway::start().await;
    let with = |member: &str, value: Value| {
        let mut request: Value = serde_json::from_str(&letter()).unwrap();
        request[member] = value;
        request.to_string()
    };
    for (body, expected) in [
        ("{".to_owned(), (400, "malformed_json", "")),
        ("[".repeat(1 << 19), (400, "malformed_json", "")),
        (
            r#"{"to":"a","to":"b"}"#.to_owned(),
            (400, "duplicate_field", "/to"),
        ),
        (with("bccc", json!("x")), (400, "unknown_field", "/bccc")),
        (
            with("to", json!(["a@x.test", {"mail": "x"}])),
            (400, "unknown_field", "/to/1/mail"),
        ),
        (with("text", json!(1)), (400, "invalid_type", "/text")),
        (
            r#"{"subject":"\ud800"}"#.to_owned(),
            (400, "malformed_json", ""),
        ),
        (
            with("subject", json!("a\r\nBcc: x@y.test")),
            (422, "control_character", "/subject"),
        ),
        (
            with("headers", json!({"Bcc": "x"})),
            (422, "reserved_header", "/headers/Bcc"),
        ),
        (
            with("stream", json!("campaign")),
            (403, "stream_not_allowed", "/stream"),
        ),
    ] {
        let response = gateway.post("/v1/messages", body).send().await.unwrap();
        let (status, word, pointer) = expected;
        let found = problem(response).await;
        assert_eq!(found, (status, word.to_owned(), pointer.to_owned()));
    }
    assert_eq!(gateway.accepted_count(), 0);
    let good = gateway.post("/v1/messages", letter()).send().await.unwrap();
    assert_eq!(good.status(), 202);
}

#[tokio::test]
async fn refusals_of_the_gateway_say_when_to_come_back() {
    let gateway = Gateway::start().await;
    let full = Refusal::QueueFull {
        retry_after: std::time::Duration::from_secs(30),
    };
    for (refusal, status, wait) in [
        (full, 503, Some("30")),
        (Refusal::StorageFull, 507, Some("60")),
        (Refusal::InProgress, 409, Some("1")),
        (Refusal::KeyReused, 422, None),
    ] {
        *gateway.intake.refusal.lock().unwrap() = Some(refusal);
        let response = gateway.post("/v1/messages", letter()).send().await.unwrap();
        assert_eq!(response.status(), status);
        let header = response.headers().get("retry-after");
        assert_eq!(header.and_then(|value| value.to_str().ok()), wait);
    }
}

#[tokio::test]
async fn a_key_makes_repeats_one_message_and_other_bodies_a_fault() {
    let gateway = Gateway::start().await;
    let post = |body: String, key: &'static str| {
        gateway
            .post("/v1/messages", body)
            .header("idempotency-key", key)
            .send()
    };
    let first = post(letter(), "order-17").await.unwrap();
    assert!(!first.headers().contains_key("idempotent-replayed"));
    let first: Value = first.json().await.unwrap();
    let again = post(letter(), "order-17").await.unwrap();
    assert_eq!(
        (
            again.status().as_u16(),
            &again.headers()["idempotent-replayed"]
        ),
        (202, &"true".parse().unwrap())
    );
    assert_eq!(again.json::<Value>().await.unwrap(), first);
    let other = post(letter().replace("Hello", "Bye"), "order-17")
        .await
        .unwrap();
    assert_eq!(problem(other).await.1, "key_reused");
    let foreign = gateway
        .post("/v1/messages", letter())
        .header("authorization", "Bearer mk_test_news");
    assert_eq!(
        foreign.send().await.unwrap().status(),
        401,
        "two keys are none"
    );
    let other_tenant = gateway
        .client
        .post(gateway.url("/v1/messages"))
        .bearer_auth("mk_test_news")
        .header("content-type", "application/json")
        .header("idempotency-key", "order-17")
        .body(letter());
    let other_tenant: Value = other_tenant.send().await.unwrap().json().await.unwrap();
    assert_ne!(other_tenant["id"], first["id"]);
    let bad = post(letter(), "has space").await.unwrap();
    assert_eq!(problem(bad).await.1, "bad_idempotency_key");
    assert_eq!(gateway.accepted_count(), 2);
}

#[tokio::test]
async fn a_raw_message_is_kept_octet_for_octet() {
    let gateway = Gateway::start().await;
    let message = "From: a@shop.example\r\nSubject: h\u{e9}\r\n\r\nbody  \r\n.\r\n";
    let post = |body: String| {
        gateway
            .client
            .post(gateway.url("/v1/messages/raw"))
            .bearer_auth("mk_test_shop")
            .header("content-type", "message/rfc822")
            .header("x-malote-mail-from", "bounce@shop.example")
            .header("x-malote-rcpt", "ana@dest.example")
            .header("x-malote-rcpt", "bob@dest.example")
            .header("x-malote-tag", "t")
            .body(body)
            .send()
    };
    let response = post(message.to_owned()).await.unwrap();
    assert_eq!(response.status(), 202);
    {
        let accepted = gateway.intake.accepted.lock().unwrap();
        assert_eq!(&accepted[0].body[..], message.as_bytes());
        assert_eq!(
            (accepted[0].recipients.len(), &accepted[0].tags[..]),
            (2, &["t".to_owned()][..])
        );
    }
    for bare in [
        "From: a@shop.example\n\nx",
        "From: a@shop.example\r\n\r\nx\rBcc: y\r\n",
    ] {
        let refused = post(bare.to_owned()).await.unwrap();
        assert_eq!(problem(refused).await.1, "bare_line_end");
    }
    let refused = post("From: a@shop.example\r\n\r\nx\0y\r\n".to_owned()).await;
    assert_eq!(problem(refused.unwrap()).await.1, "malformed_message");
    assert_eq!(gateway.accepted_count(), 1);
}

#[tokio::test]
async fn a_batch_answers_each_message_in_order() {
    let gateway = Gateway::start().await;
    let good: Value = serde_json::from_str(&letter()).unwrap();
    let keyed = |key: Value| {
        let mut message = good.clone();
        message["idempotency_key"] = key;
        message
    };
    let bad = json!({"from": "orders@shop.example", "to": ["x"], "text": "y"});
    let unknown = json!({"bccc": 1});
    let messages = json!([
        good,
        bad,
        keyed(json!("k")),
        unknown,
        keyed(json!("k")),
        keyed(json!(1))
    ]);
    let body = json!({"messages": messages}).to_string();
    let response = gateway
        .post("/v1/messages/batch", body)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let body: Value = response.json().await.unwrap();
    let results = body["results"].as_array().unwrap();
    let statuses: Vec<_> = results
        .iter()
        .map(|r| r["status"].as_u64().unwrap())
        .collect();
    assert_eq!(statuses, [202, 422, 202, 400, 202, 400]);
    assert!(results[0]["id"].is_string() && results[0].get("problem").is_none());
    assert_eq!(
        results[1]["problem"]["errors"][0]["pointer"],
        "/messages/1/to/0"
    );
    assert_eq!(
        results[3]["problem"]["errors"][0]["pointer"],
        "/messages/3/bccc"
    );
    assert_eq!(results[2]["id"], results[4]["id"]);
    assert_eq!(results[4]["replayed"], true);
    assert_eq!(gateway.accepted_count(), 2);
}

#[tokio::test]
async fn a_batch_is_bounded_and_takes_no_key_of_its_own() {
    let gateway = Gateway::start().await;
    let messages = vec![json!({}); 501];
    for (body, word) in [
        (json!({"messages": messages}), "too_many"),
        (json!({"messages": []}), "too_many"),
        (json!({"messages": [], "x": 1}), "unknown_field"),
    ] {
        let response = gateway.post("/v1/messages/batch", body.to_string());
        assert_eq!(problem(response.send().await.unwrap()).await.1, word);
    }
    let keyed = gateway
        .post("/v1/messages/batch", r#"{"messages":[{}]}"#)
        .header("idempotency-key", "k");
    assert_eq!(
        problem(keyed.send().await.unwrap()).await.1,
        "bad_idempotency_key"
    );
}
