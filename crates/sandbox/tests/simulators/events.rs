//! Webhooks: signed, and sent to this machine only.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use malote_sandbox::Kind;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{MESSAGE, Running, client, config, start};

type Seen = (HeaderMap, Value);

async fn hook(
    State(seen): State<UnboundedSender<Seen>>,
    headers: HeaderMap,
    body: String,
) -> StatusCode {
    let body = serde_json::from_str(&body).unwrap();
    seen.send((headers, body)).unwrap();
    StatusCode::NO_CONTENT
}

/// A receiver of webhooks: its URL and what it saw.
async fn receiver() -> (String, UnboundedReceiver<Seen>) {
    let (sender, seen) = unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let app = Router::new().route("/hook", post(hook)).with_state(sender);
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, seen)
}

async fn emit(running: &Running, body: &Value) -> reqwest::Response {
    let request = client().post(running.url("/_sandbox/event")).json(body);
    request.send().await.unwrap()
}

#[tokio::test]
async fn mailgun_reports_on_a_message_it_took() {
    let running = start(Kind::Mailgun, config()).await;
    let form = Form::new()
        .text("to", "a@example.net")
        .text("v:malote-id", "7")
        .part("message", Part::text(MESSAGE).file_name("m"));
    let send = client().post(running.url("/v3/x.example/messages.mime"));
    let send = send.basic_auth("api", Some("key-sandbox")).multipart(form);
    assert_eq!(send.send().await.unwrap().status(), 200);
    let (url, mut seen) = receiver().await;
    let answer = emit(&running, &json!({ "url": url, "event": "bounced" })).await;
    assert_eq!(
        answer.json::<Value>().await.unwrap(),
        json!({ "status": 204 })
    );
    let (_, body) = seen.recv().await.unwrap();
    assert_eq!(body["event-data"]["event"], "failed");
    assert_eq!(body["event-data"]["severity"], "permanent");
    assert_eq!(body["event-data"]["recipient"], "a@example.net");
    assert_eq!(body["event-data"]["user-variables"]["malote-id"], "7");
    assert_eq!(
        body["signature"]["signature"].as_str().map(str::len),
        Some(64)
    );
}

#[tokio::test]
async fn sns_confirms_a_subscription_with_a_signature_of_its_certificate() {
    let folder = std::env::temp_dir().join(format!("malote-sandbox-{}", std::process::id()));
    let mut config = config();
    config.ses.certificate_file = Some(folder.clone());
    let running = start(Kind::Ses, config).await;
    let (url, mut seen) = receiver().await;
    let answer = emit(&running, &json!({ "url": url, "event": "subscription" })).await;
    assert_eq!(answer.status(), 200);
    let (headers, body) = seen.recv().await.unwrap();
    assert_eq!(
        headers["x-amz-sns-message-type"],
        "SubscriptionConfirmation"
    );
    assert_eq!(body["SignatureVersion"], "2");
    assert!(
        body["Signature"]
            .as_str()
            .is_some_and(|text| text.len() > 300)
    );
    let written = std::fs::read_to_string(&folder).unwrap();
    assert_eq!(Some(written), running.sandbox.certificate_pem());
    std::fs::remove_file(&folder).unwrap();
}

#[tokio::test]
async fn nothing_is_posted_beyond_this_machine() {
    let running = start(Kind::Ses, config()).await;
    let request = json!({ "url": "http://192.0.2.1/hook", "event": "subscription" });
    assert_eq!(emit(&running, &request).await.status(), 400);
    let nothing = json!({ "url": "http://127.0.0.1:9/hook", "event": "bounced" });
    let answer: Value = emit(&running, &nothing).await.json().await.unwrap();
    assert_eq!(answer["message"], "no such message was taken");
}

#[tokio::test]
async fn webhooks_come_of_their_own_accord_late_and_twice_with_one_id() {
    let running = start(Kind::Mailgun, config()).await;
    let (url, mut seen) = receiver().await;
    let behaviour = json!({ "webhooks": {
        "url": url, "duplicated": 1, "late_s": 0.2,
        "events": [{ "event": "bounced", "share": 0 }, { "event": "delivered" }, { "event": "complained", "after_s": 0.3 }],
    } });
    let request = client().post(running.url("/_sandbox/behaviour"));
    let answer = request.json(&behaviour).send().await.unwrap();
    assert_eq!(answer.status(), 204);
    let form = Form::new()
        .text("to", "a@example.net")
        .part("message", Part::text(MESSAGE).file_name("m"));
    let send = client().post(running.url("/v3/x.example/messages.mime"));
    let send = send.basic_auth("api", Some("key-sandbox")).multipart(form);
    assert_eq!(send.send().await.unwrap().status(), 200);
    let mut told = Vec::new();
    for _ in 0..4 {
        let (_, body) = seen.recv().await.unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        told.push((
            text(&body["event-data"]["event"]),
            text(&body["event-data"]["id"]),
        ));
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(told[2], told[3]);
    assert_eq!((&*told[0].0, &*told[2].0), ("delivered", "complained"));
}

#[tokio::test]
async fn postmark_tells_of_a_complaint_in_two_records() {
    let running = start(Kind::Postmark, config()).await;
    let email = json!({
        "From": "s@example.com", "To": "a@example.net", "Subject": "x", "TextBody": "hi",
    });
    let send = client().post(running.url("/email")).json(&email);
    let send = send.header("X-Postmark-Server-Token", "key-sandbox");
    let send = send.header("Accept", "application/json");
    assert_eq!(send.send().await.unwrap().status(), 200);
    let (url, mut seen) = receiver().await;
    let answer = emit(&running, &json!({ "url": url, "event": "complained" })).await;
    assert_eq!(answer.status(), 200);
    let (_, own) = seen.recv().await.unwrap();
    let (_, change) = seen.recv().await.unwrap();
    assert_eq!(own["RecordType"], "SpamComplaint");
    assert_eq!(change["RecordType"], "SubscriptionChange");
    assert_eq!(change["SuppressionReason"], "SpamComplaint");
    assert_eq!(
        (&own["MessageID"], &own["Email"]),
        (&change["MessageID"], &change["Recipient"])
    );
}
