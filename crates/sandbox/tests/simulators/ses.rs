//! Amazon SES.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use malote_sandbox::{Fault, FaultKind, Kind, SandboxConfig, SesAccount};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{MESSAGE, Running, client, config, start};

const KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const TIME: &str = "20260102T030405Z";

fn hmac(key: &[u8], message: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Signs and sends; the signature covers `host;x-amz-date`.
async fn call(
    running: &Running,
    (method, path): (Method, &str),
    (key_id, secret): (&str, &str),
    body: &str,
) -> reqwest::Result<Response> {
    let scope = "20260102/us-east-1/ses/aws4_request";
    let canonical = format!(
        "{method}\n{path}\n\nhost:{}\nx-amz-date:{TIME}\n\nhost;x-amz-date\n{}",
        running.address,
        hex(&Sha256::digest(body))
    );
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{TIME}\n{scope}\n{}",
        hex(&Sha256::digest(canonical))
    );
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in ["20260102", "us-east-1", "ses", "aws4_request"] {
        key = hmac(&key, part);
    }
    let signature = hex(&hmac(&key, &to_sign));
    let field = format!(
        "AWS4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders=host;x-amz-date, Signature={signature}"
    );
    client()
        .request(method, running.url(path))
        .header("authorization", field)
        .header("x-amz-date", TIME)
        .body(body.to_owned())
        .send()
        .await
}

async fn send(running: &Running, body: &Value) -> reqwest::Result<Response> {
    let path = "/v2/email/outbound-emails";
    let keys = (KEY_ID, SECRET);
    call(running, (Method::POST, path), keys, &body.to_string()).await
}

fn mail(to: &[&str]) -> Value {
    json!({
        "Destination": { "ToAddresses": to },
        "Content": { "Raw": { "Data": STANDARD.encode(MESSAGE) } },
        "ConfigurationSetName": "transactional",
        "EmailTags": [{ "Name": "malote-id", "Value": "7" }],
    })
}

fn error_type(response: &Response) -> String {
    let value = response.headers().get("x-amzn-errortype");
    value.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_signed_message_is_taken_as_it_came() {
    let running = start(Kind::Ses, config()).await;
    let response = send(&running, &mail(&["a@example.net"])).await.unwrap();
    assert_eq!(response.status(), 200);
    let answer: Value = response.json().await.unwrap();
    let taken = running.sandbox.messages_to("a@example.net").remove(0);
    assert_eq!(answer["MessageId"], taken.id.as_str());
    assert_eq!(taken.pool.as_deref(), Some("transactional"));
    assert_eq!(taken.options, [("malote-id".to_owned(), "7".to_owned())]);
    assert_eq!(taken.raw.as_deref(), Some(MESSAGE.as_bytes()));
}

#[tokio::test]
async fn a_wrong_key_is_refused_as_the_service_refuses_it() {
    let running = start(Kind::Ses, config()).await;
    let target = || (Method::GET, "/v2/email/account");
    for (keys, code) in [
        ((KEY_ID, "wrong"), "SignatureDoesNotMatch"),
        (("AKIAOTHER", SECRET), "InvalidClientTokenId"),
    ] {
        let response = call(&running, target(), keys, "").await.unwrap();
        assert_eq!(
            (response.status().as_u16(), error_type(&response).as_str()),
            (403, code)
        );
    }
    let unsigned = client()
        .get(running.url("/v2/email/account"))
        .send()
        .await
        .unwrap();
    assert_eq!(error_type(&unsigned), "MissingAuthenticationToken");
    let response = call(&running, target(), (KEY_ID, SECRET), "")
        .await
        .unwrap();
    let account: Value = response.json().await.unwrap();
    assert_eq!(account["SendQuota"]["MaxSendRate"], 500.0);
    assert_eq!(account["SendingEnabled"], true);
}

#[tokio::test]
async fn what_the_service_would_refuse_is_refused_and_not_taken() {
    let known = SandboxConfig {
        ses: SesAccount {
            configuration_sets: Some(vec!["transactional".to_owned()]),
            ..SesAccount::default()
        },
        ..config()
    };
    let running = start(Kind::Ses, known).await;
    let many: Vec<String> = (0..51).map(|n| format!("r{n}@example.net")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut other_set = mail(&["a@example.net"]);
    other_set["ConfigurationSetName"] = "gone".into();
    let mut headless = mail(&["a@example.net"]);
    headless["Content"]["Raw"]["Data"] = STANDARD.encode("To: a@example.net\r\n\r\n").into();
    let cases = [
        (mail(&[]), 400, "BadRequestException"),
        (mail(&many), 400, "BadRequestException"),
        (mail(&["ção@example.net"]), 400, "BadRequestException"),
        (headless, 400, "BadRequestException"),
        (other_set, 404, "NotFoundException"),
        (json!({ "Content": 7 }), 400, "SerializationException"),
    ];
    for (body, status, code) in cases {
        let response = send(&running, &body).await.unwrap();
        let seen = (response.status().as_u16(), error_type(&response));
        assert_eq!(seen, (status, code.to_owned()), "{body}");
    }
    assert_eq!(running.sandbox.stats().messages, 0);
    assert_eq!(running.sandbox.stats().sends, 6);
}

#[tokio::test]
async fn every_fault_has_the_services_words() {
    let running = start(Kind::Ses, config()).await;
    for (kind, status, code) in [
        (FaultKind::Status(429), 429, "TooManyRequestsException"),
        (FaultKind::Status(401), 403, "InvalidClientTokenId"),
        (FaultKind::Status(500), 500, "InternalServiceErrorException"),
        (FaultKind::Status(503), 503, "ServiceUnavailableException"),
        (FaultKind::Quota, 400, "LimitExceededException"),
        (FaultKind::Suspended, 400, "SendingPausedException"),
        (FaultKind::Bare(502), 502, ""),
        (FaultKind::Nonsense, 200, ""),
    ] {
        assert!(running.sandbox.arm(Fault::once(kind)));
        let response = send(&running, &mail(&["a@example.net"])).await.unwrap();
        let seen = (response.status().as_u16(), error_type(&response));
        assert_eq!(seen, (status, code.to_owned()), "{kind}");
    }
    assert_eq!(running.sandbox.stats().messages, 0);
}

#[tokio::test]
async fn a_recipient_asks_for_a_cut_after_the_message_was_taken() {
    let running = start(Kind::Ses, config()).await;
    assert!(
        send(&running, &mail(&["taken-cut@example.net"]))
            .await
            .is_err()
    );
    assert!(send(&running, &mail(&["cut@example.net"])).await.is_err());
    assert!(
        send(&running, &mail(&["hang@example.net"]))
            .await
            .unwrap_err()
            .is_timeout()
    );
    let torn = send(&running, &mail(&["cut-reply@example.net"]))
        .await
        .unwrap();
    assert!(torn.text().await.is_err());
    let taken = running.sandbox.messages();
    let first: Vec<_> = taken
        .iter()
        .map(|taken| taken.recipients[0].as_str())
        .collect();
    assert_eq!(first, ["taken-cut@example.net", "cut-reply@example.net"]);
    assert_eq!(running.sandbox.stats().faults, 4);
}

#[tokio::test]
async fn the_control_endpoints_arm_list_count_and_forget() {
    let running = start(Kind::Ses, config()).await;
    let post = |body: &'static str| {
        let request = client().post(running.url("/_sandbox/behaviour"));
        request
            .header("content-type", "application/json")
            .body(body)
            .send()
    };
    assert_eq!(
        post(r#"{"faults":[{"kind":"429","count":2}]}"#)
            .await
            .unwrap()
            .status(),
        204
    );
    assert_eq!(
        post(r#"{"faults":[{"kind":"418-teapot"}]}"#)
            .await
            .unwrap()
            .status(),
        400
    );
    for status in [429, 429, 200] {
        let response = send(&running, &mail(&["a@example.net"])).await.unwrap();
        assert_eq!(response.status(), status);
    }
    let get = |path: &str| client().get(running.url(path)).send();
    let listed: Value = get("/_sandbox/messages?raw=1")
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert_eq!(listed[0]["raw"], STANDARD.encode(MESSAGE));
    assert_eq!(listed[0]["provider"], "ses");
    assert_eq!(listed[0]["headers"][0], json!(["From", "s@example.com"]));
    let stats: Value = get("/_sandbox/stats").await.unwrap().json().await.unwrap();
    assert_eq!((&stats["sends"], &stats["faults"]), (&json!(3), &json!(2)));
    client()
        .delete(running.url("/_sandbox/messages"))
        .send()
        .await
        .unwrap();
    assert!(running.sandbox.messages().is_empty());
}
