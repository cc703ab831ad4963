//! Whole calls against a scripted peer on loopback.

use std::time::Duration;

use malote_core::provider::{Outgoing, Verdict};
use malote_core::stream::Class;
use serde_json::{Value, json};

use super::{built, provider};
use crate::correlation::tests::outgoing;
use crate::http::responder::{Act, Responder, answer};
use crate::reencode::tests::{contents, unfit_message};

const OK: &str = r#"{"results":{"total_rejected_recipients":0,"total_accepted_recipients":1,"id":"11668787484950529"}}"#;

/// What is sent for a message: head and JSON.
async fn sent(outgoing: &Outgoing, more: &str) -> (String, Value) {
    let peer = Responder::start(vec![answer("200 OK", "", OK)]).await;
    let report = provider(&peer.url(), more).send(outgoing).await;
    assert!(report.iter().all(Result::is_ok), "{report:?}");
    let request = peer.texts().remove(0);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), serde_json::from_str(body).unwrap())
}

#[tokio::test]
async fn a_transmission_names_every_recipient_and_carries_the_message_as_it_is() {
    let mut message = outgoing(&["a@x.test", "b@y.test"]);
    message.body = "From: a@shop.example\r\nTo: a@x.test\r\n\r\n{{x}} \"é\"\r\n".into();
    message.tags = vec!["welcome".into(), "\u{7}".into(), "é".repeat(60)];
    let (head, json) = sent(&message, "subaccount = 12").await;
    assert!(
        head.starts_with("post /api/v1/transmissions http/1.1\r\n"),
        "{head}"
    );
    for field in [
        "\r\nauthorization: k3y\r\n",
        "\r\nx-msys-subaccount: 12\r\n",
        "\r\ncontent-type: application/json\r\n",
    ] {
        assert!(head.contains(field), "{field} {head}");
    }
    let id = message.message.simple();
    let tags = json!(["welcome", "é".repeat(60)]);
    let ids = crate::correlation::recipients(&message, 1);
    let expected = json!({
        "options": { "transactional": true, "perform_substitutions": false, "ip_pool": "fast" },
        "campaign_id": "welcome",
        "metadata": { "malote-message": id, "order": "42" },
        "recipients": [
            { "address": { "email": "a@x.test" }, "tags": tags, "metadata": { "malote-to": ids[0] } },
            { "address": { "email": "b@y.test" }, "tags": tags, "metadata": { "malote-to": ids[1] } },
        ],
        "content": { "email_rfc822": String::from_utf8(message.body.to_vec()).unwrap() },
    });
    assert_eq!(json, expected);
}

#[tokio::test]
async fn without_pool_tags_and_subaccount_nothing_is_said_of_them() {
    let mut message = outgoing(&["a@x.test"]);
    message.pool = "other".try_into().unwrap();
    message.class = Class::Campaign;
    message.tags.clear();
    let (head, json) = sent(&message, "").await;
    assert!(!head.contains("subaccount"), "{head}");
    let options = json!({ "transactional": false, "perform_substitutions": false });
    assert_eq!(json["options"], options);
    assert_eq!(json.get("campaign_id"), None);
    assert_eq!(json["recipients"][0].get("tags"), None);
}

#[tokio::test]
async fn metadata_and_tags_stay_within_the_services_bounds() {
    let mut message = outgoing(&["a@x.test"]);
    message.tags = (0..20).map(|n| format!("{n}{}", "é".repeat(100))).collect();
    for n in 0..30 {
        let value = format!("\"\\\n{}", "v".repeat(60));
        message.metadata.insert(format!("k{n:02}"), value);
    }
    message.metadata.insert("malote-to".into(), "forged".into());
    let (_, json) = sent(&message, "").await;
    let campaign = json["campaign_id"].as_str().unwrap();
    assert!((60..=64).contains(&campaign.len()), "{campaign}");
    assert_eq!(json["recipients"][0]["tags"].as_array().unwrap().len(), 10);
    let of_message = json["metadata"].as_object().unwrap();
    assert_ne!(of_message.get("malote-to"), Some(&json!("forged")));
    let mut all = of_message.clone();
    all.extend(
        json["recipients"][0]["metadata"]
            .as_object()
            .unwrap()
            .clone(),
    );
    let bytes = serde_json::to_string(&all).unwrap().len();
    assert!((850..=1000).contains(&bytes), "{bytes}");
}

#[tokio::test]
async fn octets_that_are_no_utf8_and_long_lines_leave_encoded() {
    let mut message = outgoing(&["a@x.test"]);
    message.body = unfit_message();
    let (_, json) = sent(&message, "").await;
    let text = json["content"]["email_rfc822"].as_str().unwrap();
    assert!(text.lines().all(|line| line.len() <= 998));
    assert_eq!(contents(text.as_bytes()), contents(&message.body));

    let latin1: &[u8] = b"From: a@shop.example\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\
        Content-Transfer-Encoding: 8bit\r\n\r\nol\xe1\r\n";
    message.body = latin1.into();
    let (_, json) = sent(&message, "").await;
    let text = json["content"]["email_rfc822"].as_str().unwrap();
    assert!(text.is_ascii(), "{text}");
    assert_eq!(contents(text.as_bytes()), contents(latin1));
}

#[tokio::test]
async fn a_header_that_reads_like_a_template_is_for_another_provider() {
    let peer = Responder::start(vec![answer("200 OK", "", OK)]).await;
    let mut message = outgoing(&["a@x.test"]);
    message.body = "Subject: use {{name}}\r\nFrom: a@shop.example\r\n\r\nhi\r\n".into();
    let report = provider(&peer.url(), "").send(&message).await;
    let error = report[0].as_ref().unwrap_err();
    assert_eq!(error.verdict.as_str(), "rejected_message_here");
    assert!(error.reply.text().contains("{{"), "{error:?}");
    assert!(peer.texts().is_empty());
}

#[tokio::test]
async fn the_peers_behaviour_becomes_a_verdict() {
    let cut_body =
        Act::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{\"results\"".to_vec());
    let redirect = answer("307 Moved", "Location: http://127.0.0.1:1/\r\n", "");
    let later = "Retry-After: 7\r\n";
    let after = |seconds| Verdict::Throttled {
        after: Some(Duration::from_secs(seconds)),
    };
    for (what, act, expected) in [
        ("good", answer("200 OK", "", OK), Ok("11668787484950529")),
        (
            "no id",
            answer("200 OK", "", "{\"results\":{}}"),
            Err(Verdict::Unknown),
        ),
        ("empty", answer("200 OK", "", ""), Err(Verdict::Unknown)),
        (
            "garbage",
            answer("200 OK", "", "It works!"),
            Err(Verdict::Unknown),
        ),
        ("hang", Act::Hang, Err(Verdict::Unknown)),
        ("cut", Act::Close, Err(Verdict::Unknown)),
        ("cut body", cut_body, Err(Verdict::Unknown)),
        ("redirect", redirect, Err(Verdict::Transient)),
        ("slow down", answer("429 Slow", later, ""), Err(after(7))),
        (
            "slow down, untold",
            answer("429 Slow", "", "{}"),
            Err(after(5)),
        ),
        (
            "proxy",
            answer("502 Bad", "", "<html>"),
            Err(Verdict::Unknown),
        ),
        (
            "a proxy's 400",
            answer("400 Bad", "", "<html>"),
            Err(Verdict::Transient),
        ),
    ] {
        let peer = Responder::start(vec![act]).await;
        let mut message = outgoing(&["a@x.test", "b@x.test"]);
        message.reply_wait_max = Duration::from_millis(300);
        let report = provider(&peer.url(), "").send(&message).await;
        assert_eq!(report.len(), 2, "{what}");
        let result = report[1].as_ref().map(|r| r.provider_message_id.as_str());
        assert_eq!(result.map_err(|e| e.verdict.clone()), expected, "{what}");
    }
}

#[test]
fn faults_of_the_table_name_their_key() {
    let good = "[sparkpost]\napi_key = 'k'\n";
    for (toml, path) in [
        ("[sparkpost]".to_owned(), "providers.sp.sparkpost.api_key"),
        (
            "[sparkpost]\napi_key = ''".to_owned(),
            "providers.sp.sparkpost.api_key",
        ),
        (
            "[sparkpost]\napi_key = \"k\\n\"".to_owned(),
            "providers.sp.sparkpost.api_key",
        ),
        (
            format!("{good}endpoint = 'http://api.sparkpost.com'"),
            "providers.sp.sparkpost.endpoint",
        ),
        (
            format!("{good}subaccount = 0"),
            "providers.sp.sparkpost.subaccount",
        ),
        (
            format!("{good}subaccount = 2147483648"),
            "providers.sp.sparkpost.subaccount",
        ),
        (
            format!("{good}[pools.a]\nip_pool = 'My Pool'"),
            "providers.sp.pools.a.ip_pool",
        ),
        (
            format!("{good}[pools.a]\nip_pool_name = 'x'"),
            "providers.sp.pools.a.ip_pool_name",
        ),
        (format!("{good}[webhook]"), "providers.sp.webhook.secret"),
    ] {
        let (_, faults) = built(&toml);
        let is_told = |fault: &malote_core::fault::ConfigFault| fault.path == path;
        assert!(faults.iter().any(is_told), "{toml} {faults:?}");
    }
    let unknown = toml::from_str::<crate::ProviderConfig>(&format!("{good}transport = 'smtp'"));
    assert!(unknown.is_err(), "this kind has no transport");
}

#[test]
fn a_region_is_an_address_of_its_own() {
    for (more, expected) in [
        ("", "https://api.sparkpost.com/"),
        ("region = 'eu'", "https://api.eu.sparkpost.com/"),
    ] {
        let text = format!("api_key = 'k'\n{more}");
        let table: super::super::SparkpostConfig = toml::from_str(&text).unwrap();
        let settings = table.check("p", &crate::ProviderConfig::default(), &mut Vec::new());
        assert_eq!(settings.unwrap().endpoint.as_str(), expected);
    }
}
