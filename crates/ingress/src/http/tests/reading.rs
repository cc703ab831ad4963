//! Asking about messages, and what every path answers.

use malote_core::id::MessageId;
use reqwest::Method;
use serde_json::Value;

use super::fakes::{Gateway, letter, problem};

async fn get(gateway: &Gateway, path: &str, key: &str) -> reqwest::Response {
    let request = gateway.client.get(gateway.url(path)).bearer_auth(key);
    request.send().await.unwrap()
}

#[tokio::test]
async fn a_timeline_is_shown_to_its_owner_only() {
    let gateway = Gateway::start().await;
    let path = format!("/v1/messages/{}", gateway.ledger.known);
    let body: Value = get(&gateway, &path, "mk_test_shop")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(body["stream_reason"], "credential");
    let delivery = &body["deliveries"][0];
    assert_eq!(
        (&delivery["state"], &delivery["provider"], &delivery["pool"]),
        (&"sent".into(), &"ses".into(), &"tx".into())
    );
    assert_eq!(delivery["attempts"][0]["reply"]["code"], 200);
    assert_eq!(delivery["events"][0]["kind"], "sent");
    assert_eq!(get(&gateway, &path, "mk_test_news").await.status(), 404);
    for text in ["x", "'%20OR%201", "..%2F..%2Fx", "%ff"] {
        let response = get(&gateway, &format!("/v1/messages/{text}"), "mk_test_shop").await;
        assert_eq!(problem(response).await.1, "not_found");
    }
}

#[tokio::test]
async fn a_cancel_says_how_many_deliveries_it_reached() {
    let gateway = Gateway::start().await;
    let delete = |id: MessageId, key: &'static str| {
        let url = gateway.url(&format!("/v1/messages/{id}"));
        gateway.client.delete(url).bearer_auth(key).send()
    };
    let own = delete(gateway.ledger.known, "mk_test_shop").await.unwrap();
    let body: Value = own.json().await.unwrap();
    assert_eq!(body, serde_json::json!({"cancelled": 1, "too_late": 2}));
    let foreign = delete(gateway.ledger.known, "mk_test_news").await.unwrap();
    assert_eq!(foreign.status(), 404);
}

#[tokio::test]
async fn a_search_is_bounded_to_the_owner_and_to_what_it_understands() {
    let gateway = Gateway::start().await;
    let page = get(
        &gateway,
        "/v1/messages?rcpt=ana@dest.example&limit=10",
        "mk_test_shop",
    )
    .await;
    let page: Value = page.json().await.unwrap();
    assert_eq!(page["rows"][0]["recipient"], "ana@dest.example");
    assert_eq!(page["next_cursor"], "next");
    let owner = gateway.ledger.searches.lock().unwrap()[0].owner.clone();
    assert_eq!(owner.unwrap().as_str(), "shop");
    for query in ["limit=1e9", "cursor=../../x", "nonsense=1"] {
        let response = get(&gateway, &format!("/v1/messages?{query}"), "mk_test_shop").await;
        assert_eq!(problem(response).await.1, "bad_query", "{query}");
    }
}

#[tokio::test]
async fn the_feed_is_bounded_to_the_owner_and_names_what_it_does_not_understand() {
    let gateway = Gateway::start().await;
    let page = get(&gateway, "/v1/events?type=bounced", "mk_test_shop").await;
    let page: Value = page.json().await.unwrap();
    assert_eq!(page["next"], "cur_0000000000000007");
    let event = &page["events"][0];
    assert_eq!(
        (&event["type"], &event["class"]),
        (&"bounced".into(), &"mailbox_full".into())
    );
    assert!(event["pool"].is_null() && event["reply"] == "552 full");
    let owner = gateway.ledger.feeds.lock().unwrap()[0].owner.clone();
    assert_eq!(owner.unwrap().as_str(), "shop");
    for query in ["limit=1e9", "since=x", "nonsense=1"] {
        let response = get(&gateway, &format!("/v1/events?{query}"), "mk_test_shop").await;
        assert_eq!(problem(response).await.1, "bad_query", "{query}");
    }
}

#[tokio::test]
async fn wrong_methods_are_told_the_right_ones_and_no_origin_is_let_in() {
    let gateway = Gateway::start().await;
    for (method, path, allow) in [
        (Method::PUT, "/v1/messages", "POST"),
        (Method::TRACE, "/v1/messages", "POST"),
        (Method::OPTIONS, "/v1/messages", "POST"),
        (Method::POST, "/v1/messages/x", "DELETE"),
        (Method::TRACE, "/nowhere", "GET"),
    ] {
        let request = gateway.client.request(method.clone(), gateway.url(path));
        let response = request
            .header("origin", "https://evil.test")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 405, "{method} {path}");
        let allowed = response.headers()["allow"].to_str().unwrap().to_owned();
        assert!(allowed.contains(allow), "{method} {path}: {allowed}");
        assert!(
            !response
                .headers()
                .contains_key("access-control-allow-origin")
        );
        assert!(!response.headers().contains_key("server"));
    }
    let unknown = gateway
        .client
        .get(gateway.url("/nowhere"))
        .send()
        .await
        .unwrap();
    assert_eq!(problem(unknown).await.1, "not_found");
}

#[tokio::test]
async fn the_description_and_its_page_are_served_to_everybody() {
    let gateway = Gateway::start().await;
    let fetch = |path: &str| gateway.client.get(gateway.url(path)).send();
    let document: Value = fetch("/openapi.json").await.unwrap().json().await.unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let page = fetch("/docs").await.unwrap();
    let policy = page.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(policy.contains("default-src 'none'"));
    for path in ["/docs/reference.js", "/docs/reference.css"] {
        assert!(page.status().is_success() && fetch(path).await.unwrap().status().is_success());
    }
}

#[tokio::test]
async fn requests_are_counted_by_endpoint_and_never_by_what_clients_write() {
    let gateway = Gateway::start().await;
    gateway.post("/v1/messages", letter()).send().await.unwrap();
    for index in 0..20 {
        get(&gateway, &format!("/v1/messages/{index}"), "mk_test_shop").await;
        get(&gateway, &format!("/nowhere/{index}"), "mk_test_shop").await;
    }
    let families = gateway.registry.gather();
    let family = families
        .iter()
        .find(|f| f.name() == "malote_http_requests_total")
        .unwrap();
    let endpoints = family.get_metric().iter().map(|metric| {
        let labels = metric.get_label().iter();
        labels
            .map(|label| label.value().to_owned())
            .collect::<Vec<_>>()
    });
    let mut endpoints: Vec<_> = endpoints.collect();
    endpoints.sort();
    assert_eq!(
        endpoints,
        [
            ["GET /v1/messages/{id}", "4xx"],
            ["POST /v1/messages", "2xx"],
            ["other", "4xx"],
        ]
    );
}
