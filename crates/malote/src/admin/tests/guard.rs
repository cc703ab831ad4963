//! Who may ask, and what the open endpoints say.

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::bench::Bench;

const TOKEN: &str = "operators-secret-token";

#[tokio::test]
async fn with_a_token_only_health_is_open() {
    let bench = Bench::start(Some(TOKEN)).await;
    for path in ["/healthz", "/readyz"] {
        let answer = bench.bare(Method::GET, path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }
    for path in [
        "/metrics",
        "/captured",
        "/admin/v1/targets",
        "/admin/v1/queue",
    ] {
        for wrong in [None, Some("operators-secret-toke"), Some("")] {
            let mut request = bench.bare(Method::GET, path);
            if let Some(wrong) = wrong {
                request = request.bearer_auth(wrong);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
            assert!(answer.headers().contains_key("www-authenticate"));
            assert_eq!(answer.headers()["content-type"], "application/problem+json");
            assert!(!answer.text().await.unwrap().contains(TOKEN));
        }
        let right = bench.request(Method::GET, path).send().await.unwrap();
        assert_eq!(right.status(), StatusCode::OK, "{path}");
    }
    bench.stop().await;
}

#[tokio::test]
async fn without_a_token_other_sites_are_kept_out() {
    let bench = Bench::start(None).await;
    let rebound = bench
        .bare(Method::GET, "/admin/v1/targets")
        .header("host", "evil.example");
    assert_eq!(
        rebound.send().await.unwrap().status(),
        StatusCode::FORBIDDEN
    );
    let cross = bench
        .bare(Method::POST, "/admin/v1/queue/cancel")
        .header("sec-fetch-site", "cross-site")
        .json(&json!({"stream": "news"}));
    assert_eq!(cross.send().await.unwrap().status(), StatusCode::FORBIDDEN);
    // What a form can post without the browser asking first.
    let form = bench
        .bare(Method::POST, "/admin/v1/queue/cancel")
        .header("content-type", "text/plain")
        .body("{\"stream\":\"news\"}");
    let answer = form.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    bench.stop().await;
}

#[tokio::test]
async fn metrics_are_prometheus_text_and_health_never_lies_about_the_store() {
    let bench = Bench::start(None).await;
    let (status, text) = bench.text("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(text.contains("# TYPE malote_"), "{text}");
    assert_eq!(
        bench.text("/readyz").await,
        (StatusCode::OK, "ready\n".to_owned())
    );
    bench.store.close().await;
    let (status, why) = bench.text("/readyz").await;
    assert_eq!(
        (status, why.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "the store is closed\n")
    );
    assert_eq!(bench.text("/healthz").await.0, StatusCode::OK);
    bench.stop().await;
}

#[tokio::test]
async fn what_is_not_understood_is_refused_with_its_place() {
    let bench = Bench::start(None).await;
    for (path, body, status, pointer) in [
        ("queue/hold", json!({"steam": "news"}), 422, "/steam"),
        ("queue/hold", json!({"state": "flying"}), 422, "/state"),
        ("queue/hold", json!({}), 422, ""),
        ("queue/release", json!({"state": "queued"}), 422, "/state"),
        (
            "switches",
            json!({"stream": "nws", "action": "pause"}),
            422,
            "/stream",
        ),
        (
            "switches",
            json!({"stream": "news", "action": "drain"}),
            422,
            "/action",
        ),
        ("switches", json!({"action": "pause"}), 422, ""),
        (
            "switches",
            json!({"stream": "news", "provider": "dev", "action": "pause"}),
            422,
            "",
        ),
        (
            "explain",
            json!({"credential": "nobody", "from": "a@b.test"}),
            422,
            "/credential",
        ),
        (
            "explain",
            json!({"credential": "shop", "from": "a"}),
            422,
            "/from",
        ),
        (
            "suppressions",
            json!({"address": "a@b.test", "stream": "nws"}),
            422,
            "/stream",
        ),
        ("store/backup", json!({"path": "relative"}), 422, "/path"),
    ] {
        let (answered, problem) = bench.post(path, body.clone()).await;
        assert_eq!(answered.as_u16(), status, "{path} {body}: {problem}");
        assert_eq!(problem["status"], status, "{path} {body}");
        assert_eq!(
            problem["pointer"].as_str().unwrap_or(""),
            pointer,
            "{path} {body}: {problem}"
        );
    }
    for path in [
        "queue?stat=held",
        "queue?limit=0",
        "queue?limit=201",
        "queue?cursor=x",
    ] {
        let (status, problem) = bench.get(path).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {problem}");
    }
    assert_eq!(bench.get("nothing").await.0, StatusCode::NOT_FOUND);
    assert_eq!(
        bench.get("queue/hold").await.0,
        StatusCode::METHOD_NOT_ALLOWED
    );
    bench.stop().await;
}
