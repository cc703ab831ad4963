//! Mailgun.

use malote_sandbox::{Fault, FaultKind, Kind, MailgunAccount, SandboxConfig};
use reqwest::Response;
use reqwest::multipart::{Form, Part};
use serde_json::Value;

use crate::{MESSAGE, Running, client, config, start};

async fn post(running: &Running, key: &str, form: Form) -> reqwest::Result<Response> {
    let path = "/v3/news.example.com/messages.mime";
    let request = client().post(running.url(path));
    request
        .basic_auth("api", Some(key))
        .multipart(form)
        .send()
        .await
}

fn file() -> Part {
    Part::text(MESSAGE).file_name("message.eml")
}

fn form(to: &'static str) -> Form {
    Form::new().text("to", to).part("message", file())
}

fn with_domains() -> SandboxConfig {
    SandboxConfig {
        mailgun: MailgunAccount {
            domains: Some(vec!["news.example.com".to_owned()]),
            ..MailgunAccount::default()
        },
        ..config()
    }
}

#[tokio::test]
async fn a_form_is_taken_with_its_options() {
    let running = start(Kind::Mailgun, with_domains()).await;
    let form = form("a@example.net, b@example.net")
        .text("to", "c@example.net")
        .text("o:sending-ip-pool", "pool-1")
        .text("v:malote-id", "7");
    let response = post(&running, "key-sandbox", form).await.unwrap();
    let answer: Value = response.json().await.unwrap();
    let taken = running.sandbox.messages().remove(0);
    assert_eq!(answer["id"], taken.id.as_str());
    assert_eq!(answer["message"], "Queued. Thank you.");
    assert!(taken.id.starts_with('<') && taken.id.ends_with("@news.example.com>"));
    assert_eq!(taken.recipients.len(), 3);
    assert_eq!(taken.pool.as_deref(), Some("pool-1"));
    assert_eq!(taken.options, [("v:malote-id".to_owned(), "7".to_owned())]);
    assert_eq!(taken.raw.as_deref(), Some(MESSAGE.as_bytes()));
}

#[tokio::test]
async fn what_the_service_would_refuse_is_refused_in_its_words() {
    let running = start(Kind::Mailgun, with_domains()).await;
    let cases = [
        (
            Form::new()
                .text("to", "a@x.example")
                .text("message", MESSAGE),
            "'message' parameter is not a file",
        ),
        (
            Form::new().part("message", file()),
            "to parameter is missing",
        ),
        (
            form("nobody"),
            "to parameter is not a valid address. please check documentation",
        ),
        (
            form("Ana <a@x.example>"),
            "to parameter is not a valid address. please check documentation",
        ),
        (
            Form::new().text("to", "a@x.example"),
            "'message' parameter is missing",
        ),
        (
            form("a@x.example").text("v:big", "x".repeat(17_000)),
            "The combined size of the h:, v: and o: parameters is over 16KB",
        ),
    ];
    for (form, words) in cases {
        let response = post(&running, "key-sandbox", form).await.unwrap();
        assert_eq!(response.status(), 400);
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["message"], words);
    }
    assert_eq!(running.sandbox.stats().messages, 0);
}

#[tokio::test]
async fn a_wrong_key_and_a_wrong_domain_are_told_apart() {
    let running = start(Kind::Mailgun, with_domains()).await;
    let response = post(&running, "wrong", form("a@x.example")).await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(response.text().await.unwrap(), "Forbidden");
    let check = |domain: &str| {
        let request = client().get(running.url(&format!("/v4/domains/{domain}")));
        request.basic_auth("api", Some("key-sandbox")).send()
    };
    assert_eq!(check("news.example.com").await.unwrap().status(), 200);
    let unknown = check("other.example").await.unwrap();
    assert_eq!(unknown.status(), 404);
    let answer: Value = unknown.json().await.unwrap();
    assert_eq!(answer["message"], "Domain not found: other.example");
    let lost = client().get(running.url("/nowhere")).send().await.unwrap();
    assert_eq!(lost.text().await.unwrap(), "Mailgun Magnificent API");
}

#[tokio::test]
async fn every_fault_has_the_services_words() {
    let running = start(Kind::Mailgun, config()).await;
    for (kind, status, words) in [
        (
            FaultKind::Status(429),
            429,
            "request limit exceeded, try again after 2 seconds",
        ),
        (
            FaultKind::Quota,
            429,
            "recipient limit exceeded, try again after Fri, 02 Jan 2026 09:04:05 UTC",
        ),
        (FaultKind::Status(401), 401, "Forbidden"),
        (FaultKind::Status(500), 500, "500 Internal Server Error"),
        (FaultKind::Bare(500), 500, "<html>"),
        (FaultKind::Nonsense, 200, "It works!"),
        (
            FaultKind::Recipient,
            400,
            "to parameter is not a valid address",
        ),
        (FaultKind::Suspended, 400, "disabled"),
    ] {
        assert!(running.sandbox.arm(Fault::once(kind)));
        let response = post(&running, "key-sandbox", form("a@x.example"))
            .await
            .unwrap();
        assert_eq!(response.status(), status, "{kind}");
        let text = response.text().await.unwrap();
        assert!(text.contains(words), "{kind}: {text}");
    }
    assert_eq!(running.sandbox.stats().messages, 0);
}

#[tokio::test]
async fn the_connection_is_cut_before_and_after_the_message_is_taken() {
    let running = start(Kind::Mailgun, config()).await;
    for fault in [
        Fault::once(FaultKind::CutEarly),
        Fault::once(FaultKind::Cut),
        Fault::once(FaultKind::Cut).after_take(),
    ] {
        assert!(running.sandbox.arm(fault));
        assert!(
            post(&running, "key-sandbox", form("a@x.example"))
                .await
                .is_err()
        );
    }
    assert_eq!(running.sandbox.stats().messages, 1);
}
