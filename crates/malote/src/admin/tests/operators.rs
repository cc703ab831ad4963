//! The queue, switches, timelines, explanations and backups.

use malote_store::SqliteConfig;
use reqwest::StatusCode;
use serde_json::json;

use super::bench::Bench;

#[tokio::test]
async fn held_mail_leaves_when_it_is_released() {
    let mut bench = Bench::start(None).await;
    let id = bench.accept(&["a@x.test", "b@x.test"], "news", "one").await;
    let (_, moved) = bench.post("queue/hold", json!({"message": id})).await;
    assert_eq!(moved["moved"], 2, "{moved}");
    bench.dispatch();
    let (_, stats) = bench.get("queue/stats").await;
    assert_eq!(stats["streams"][0]["stream"], "news");
    assert_eq!(stats["streams"][0]["deliveries"]["held"], 2, "{stats}");
    let (_, page) = bench.get("queue?state=held&stream=news&limit=1").await;
    assert_eq!(page["rows"].as_array().unwrap().len(), 1);
    let cursor = page["next_cursor"].as_str().unwrap();
    let (_, page) = bench
        .get(&format!("queue?state=held&cursor={cursor}"))
        .await;
    assert_eq!(page["rows"].as_array().unwrap().len(), 1);
    let (_, moved) = bench
        .post("queue/release", json!({"rcpt": "a@x.test"}))
        .await;
    assert_eq!(moved["moved"], 1);
    let (_, moved) = bench.post("queue/release", json!({"state": "held"})).await;
    assert_eq!(moved["moved"], 1);
    let view = bench.until(id, "sent").await;
    assert_eq!(view["deliveries"][0]["provider"], "dev");
    let (_, moved) = bench.post("queue/cancel", json!({"message": id})).await;
    assert_eq!(moved["moved"], 0, "what has left cannot be taken back");
    bench.stop().await;
}

#[tokio::test]
async fn mail_of_a_stream_that_was_removed_is_found_by_its_name_state_by_state() {
    let bench = Bench::start(None).await;
    let id = bench.accept(&["a@x.test"], "news", "one").await;
    bench.post("queue/hold", json!({"message": id})).await;
    bench.remove_news();
    for (query, found) in [("state=scheduled&", 0), ("state=held&", 1), ("", 1)] {
        let (status, page) = bench.get(&format!("queue?{query}stream=news")).await;
        assert_eq!(status, StatusCode::OK, "{query}: {page}");
        assert_eq!(page["rows"].as_array().unwrap().len(), found, "{query}");
    }
    let (_, page) = bench.get("queue?stream=news&limit=1").await;
    assert_eq!(page["next_cursor"], json!(null), "{page}");
    for query in ["state=held&stream=typo", "stream=typo"] {
        let (status, problem) = bench.get(&format!("queue?{query}")).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
        assert_eq!(problem["detail"], "no stream typo is configured", "{query}");
    }
    bench.stop().await;
}

#[tokio::test]
async fn a_paused_stream_waits_and_a_drained_provider_is_named() {
    let mut bench = Bench::start(None).await;
    let pause = json!({"stream": "news", "action": "pause"});
    let (status, switches) = bench.post("switches", pause).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(switches["switches"][0]["stream"], "news");
    assert_eq!(switches["switches"][0]["state"], "paused");
    bench.dispatch();
    let held_back = bench.accept(&["a@x.test"], "news", "one").await;
    let other = bench.accept(&["a@x.test"], "transactional", "two").await;
    bench.until(other, "sent").await;
    bench.until(held_back, "queued").await;
    bench
        .post("switches", json!({"provider": "dev", "action": "drain"}))
        .await;
    let (_, targets) = bench.get("targets").await;
    assert!(
        targets["targets"]
            .as_array()
            .unwrap()
            .iter()
            .all(|target| target["is_up"] == false),
        "{targets}"
    );
    bench
        .post("switches", json!({"provider": "dev", "action": "pause"}))
        .await;
    let (_, switches) = bench.get("switches").await;
    let states: Vec<_> = switches["switches"].as_array().unwrap().iter().collect();
    assert_eq!(states.len(), 2, "a pause replaces a drain: {switches}");
    bench
        .post("switches", json!({"provider": "dev", "action": "resume"}))
        .await;
    bench
        .post("switches", json!({"stream": "news", "action": "resume"}))
        .await;
    bench.until(held_back, "sent").await;
    bench.stop().await;
}

#[tokio::test]
async fn explanations_tell_stream_route_and_target() {
    let bench = Bench::start(None).await;
    let hypothesis = json!({
        "credential": "shop", "from": "shop@shop.example", "to": ["a@x.test"], "stream": "news",
        "headers": [{"name": "X-EMAIL-ID", "value": "7"}], "size_bytes": 2000,
    });
    let (status, explanation) = bench.post("explain", hypothesis).await;
    assert_eq!(status, StatusCode::OK, "{explanation}");
    assert_eq!(explanation["stream"]["stream"], "news");
    assert_eq!(
        explanation["deliveries"][0]["plan"]["targets"][0]["target"]["pool"],
        "news"
    );
    let id = bench.accept(&["a@x.test"], "transactional", "one").await;
    let (status, explanation) = bench.get(&format!("explain/{id}")).await;
    assert_eq!(status, StatusCode::OK, "{explanation}");
    assert_eq!(
        explanation["deliveries"][0]["route"]["route"],
        "transactional"
    );
    for path in [
        "explain/nonsense",
        "messages/01934d2b-0000-7000-8000-000000000001",
    ] {
        assert_eq!(bench.get(path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    let unknown = json!({"delivery": format!("{}.0", id.simple()), "as": "sent"});
    let (status, problem) = bench.post("queue/resolve", unknown).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{problem}");
    bench.stop().await;
}

#[tokio::test]
async fn a_backup_is_made_while_mail_comes_in_and_restores_with_mail_held() {
    let bench = Bench::start(None).await;
    bench.accept(&["a@x.test"], "transactional", "one").await;
    let path = bench.dir.path().join("backup");
    let (status, report) = bench.post("store/backup", json!({"path": path})).await;
    assert_eq!(status, StatusCode::OK, "{report}");
    assert!(report["database_bytes"].as_u64().unwrap() > 0);
    let (status, problem) = bench.post("store/backup", json!({"path": path})).await;
    assert_eq!(
        status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "not over a backup: {problem}"
    );
    let restored = SqliteConfig::at(bench.dir.path().join("restored.db"));
    let now = "2026-11-22T00:00:00Z".parse().unwrap();
    assert_eq!(
        malote_store::restore(&path, &restored, now).unwrap().held,
        1
    );
    bench.stop().await;
}

#[tokio::test]
async fn outlets_are_listed_and_only_those_that_there_are_can_be_changed() {
    let bench = Bench::start(None).await;
    let (status, outlets) = bench.get("outlets").await;
    assert_eq!((status, outlets), (StatusCode::OK, json!({"outlets": []})));
    let times = json!({
        "outlet": "shop/mautic", "from": "2026-11-22T08:00:00Z", "to": "2026-11-22T09:00:00Z",
    });
    for (path, body) in [
        (
            "outlets",
            json!({"outlet": "shop/mautic", "action": "enable"}),
        ),
        (
            "outlets",
            json!({"outlet": "shop/mautic", "action": "disable"}),
        ),
        ("outlets/replay", times.clone()),
    ] {
        let (status, problem) = bench.post(path, body).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("shop/mautic"));
    }
    let mut backwards = times;
    backwards["to"] = json!("2026-11-22T07:00:00Z");
    let (status, problem) = bench.post("outlets/replay", backwards).await;
    assert_eq!(
        (status, &problem["pointer"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("/to"))
    );
    bench.stop().await;
}

#[tokio::test]
async fn raw_events_are_there_for_a_message_that_is() {
    let bench = Bench::start(None).await;
    let id = bench.accept(&["a@x.test"], "transactional", "one").await;
    let (status, raw) = bench.get(&format!("messages/{id}/raw")).await;
    assert_eq!((status, raw), (StatusCode::OK, json!({"events": []})));
    let nobody = "messages/01934d2b-0000-7000-8000-000000000001/raw";
    assert_eq!(bench.get(nobody).await.0, StatusCode::NOT_FOUND);
    bench.stop().await;
}

#[tokio::test]
async fn a_gateway_alone_is_drained_at_its_own_door_and_not_by_name() {
    let bench = Bench::start(None).await;
    let (_, node) = bench.get("node").await;
    assert_eq!(
        (&node["node"], &node["state"]),
        (&json!("bench"), &json!("serving"))
    );
    let (_, node) = bench.post("node", json!({"action": "drain"})).await;
    assert_eq!(node["state"], "draining");
    let (status, text) = bench.text("/readyz").await;
    assert_eq!(
        (status, text.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    );
    let (_, node) = bench.post("node", json!({"action": "undrain"})).await;
    assert_eq!(node["state"], "serving");
    assert_eq!(bench.text("/readyz").await.0, StatusCode::OK);
    let (status, _) = bench.post("node", json!({"action": "forget"})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let by_name = json!({"node": "bench", "action": "drain"});
    let (status, problem) = bench.post("nodes", by_name).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("works alone"), "{detail}");
    bench.stop().await;
}
