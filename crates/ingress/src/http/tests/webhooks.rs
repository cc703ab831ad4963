//! Providers' webhooks: octets kept, refusals answered, events handed on before 200.

use ipnet::IpNet;

use super::fakes::{Gateway, problem, test_config};
use crate::http::{HttpConfig, ProxyNet};

fn post(gateway: &Gateway, proof: &str, body: Vec<u8>) -> reqwest::RequestBuilder {
    let url = gateway.url("/v1/webhooks/mailgun?token=t");
    gateway.client.post(url).header("X-Proof", proof).body(body)
}

#[tokio::test]
async fn a_believed_webhook_reaches_parser_and_sink_untouched() {
    let gateway = Gateway::start().await;
    let body = b"one\n{ \"spaces\" :1 }\n\xff".to_vec();
    let response = post(&gateway, "good", body.clone()).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let seen = gateway.parser.seen.lock().unwrap();
    assert_eq!(&seen[0].body[..], &body[..]);
    assert_eq!(
        (&seen[0].method[..], &seen[0].query[..]),
        ("POST", "token=t")
    );
    assert_eq!(seen[0].header("x-proof"), Some("good"));
    let applied = gateway.sink.applied.lock().unwrap();
    assert_eq!(
        (applied[0].0.as_str(), applied[0].1.events.len()),
        ("mailgun", 3)
    );
}

#[tokio::test]
async fn refusals_and_failures_have_their_status_and_nothing_is_applied() {
    let gateway = Gateway::start().await;
    for (proof, status) in [
        ("bad", 401),
        ("foreign", 403),
        ("later", 503),
        ("panic", 500),
    ] {
        let response = post(&gateway, proof, b"x".to_vec()).send().await.unwrap();
        assert_eq!(problem(response).await.0, status, "{proof}");
    }
    let many = "x\n".repeat(10_001).into_bytes();
    let response = post(&gateway, "good", many).send().await.unwrap();
    assert_eq!(problem(response).await.1, "too_many_events");
    let large = vec![b'x'; (5 << 20) + 1];
    let response = post(&gateway, "good", large).send().await.unwrap();
    assert_eq!(problem(response).await.1, "body_too_large");
    assert!(gateway.sink.applied.lock().unwrap().is_empty());
    *gateway.sink.is_down.lock().unwrap() = true;
    let response = post(&gateway, "good", b"x".to_vec()).send().await.unwrap();
    assert_eq!(problem(response).await.0, 503);
    let unknown = gateway
        .client
        .post(gateway.url("/v1/webhooks/nobody"))
        .send()
        .await
        .unwrap();
    assert_eq!(unknown.status(), 404);
    // Each is counted, also what was too large to be read.
    let metrics = prometheus::TextEncoder::new();
    let metrics = metrics
        .encode_to_string(&gateway.registry.gather())
        .unwrap();
    for (reason, count) in [
        ("webhook_unverified", 1),
        ("webhook_forbidden", 1),
        ("webhook_unreadable", 0),
        ("unavailable", 1),
        ("too_many_events", 1),
        ("body_too_large", 1),
    ] {
        let labels = format!("{{provider=\"mailgun\",reason=\"{reason}\"}}");
        let line = format!("malote_http_webhooks_refused_total{labels} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
}

#[tokio::test]
async fn a_secret_in_the_path_reaches_the_parser_and_nothing_that_is_shown() {
    let gateway = Gateway::start().await;
    let url = gateway.url("/v1/webhooks/mailgun/canary%2Fof-16-letters");
    let taken = gateway
        .client
        .post(&url)
        .header("x-proof", "good")
        .body("x");
    assert_eq!(taken.send().await.unwrap().status(), 200);
    let probe = gateway.client.get(&url).send().await.unwrap();
    assert_eq!(probe.status(), 401);
    let login = probe.headers()["www-authenticate"].clone();
    assert_eq!(login, "Basic realm=\"malote\"");
    assert!(!probe.text().await.unwrap().contains("canary"));
    for request in gateway.parser.seen.lock().unwrap().iter() {
        let secret = request.path_secret.as_ref().unwrap();
        assert_eq!(secret.expose(), "canary/of-16-letters");
        assert!(!format!("{request:?}").contains("canary"));
    }
    let metrics = prometheus::TextEncoder::new();
    let metrics = metrics
        .encode_to_string(&gateway.registry.gather())
        .unwrap();
    assert!(metrics.contains("POST /v1/webhooks/{provider}/{secret}"));
    assert!(!metrics.contains("canary"));
    for path in [
        "/v1/webhooks/nobody/canary",
        "/v1/webhooks/mailgun/a/canary",
    ] {
        let answer = gateway.client.post(gateway.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
        assert!(!answer.text().await.unwrap().contains("canary"));
    }
}

#[tokio::test]
async fn probes_are_answered_as_the_parser_says() {
    let gateway = Gateway::start().await;
    let url = gateway.url("/v1/webhooks/mailgun");
    let probe = gateway
        .client
        .get(&url)
        .header("x-proof", "good")
        .send()
        .await
        .unwrap();
    assert_eq!(probe.status(), 200);
    let head = gateway.client.head(&url).send().await.unwrap();
    assert_eq!(head.status(), 401);
    let seen = gateway.parser.seen.lock().unwrap();
    assert!(seen.iter().all(|request| request.method == "GET"));
}

#[tokio::test]
async fn only_a_trusted_proxy_names_the_peer() {
    let proxies = vec![ProxyNet("127.0.0.0/8".parse::<IpNet>().unwrap())];
    let trusting = HttpConfig {
        trusted_proxies: proxies,
        ..test_config()
    };
    for (config, peer) in [(test_config(), "127.0.0.1"), (trusting, "203.0.113.7")] {
        let gateway = Gateway::start_with(config, None).await;
        let request = post(&gateway, "good", b"x".to_vec());
        let request = request.header("x-forwarded-for", "6.6.6.6, 203.0.113.7");
        request.send().await.unwrap();
        let seen = gateway.parser.seen.lock().unwrap();
        assert_eq!(seen[0].peer.to_string(), peer);
    }
}
