//! Suppressions by hand, one by one and in bulk.

use malote_store::{Return, Shared as _, SuppressionScope};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::bench::Bench;

async fn import(bench: &Bench, lines: String) -> (StatusCode, Value) {
    let request = bench
        .request(Method::POST, "/admin/v1/suppressions/import")
        .header("content-type", "application/x-ndjson")
        .body(lines);
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_suppressed_address_gets_nothing_until_it_is_lifted() {
    let bench = Bench::start(None).await;
    let (status, kept) = bench
        .post("suppressions", json!({"address": "a@x.test"}))
        .await;
    assert_eq!(status, StatusCode::CREATED, "{kept}");
    assert_eq!(
        (&kept["stream"], &kept["reason"]),
        (&Value::Null, &json!("manual"))
    );
    let news = json!({"address": "A@x.test", "stream": "news", "detail": "asked by phone"});
    assert_eq!(
        bench.post("suppressions", news).await.0,
        StatusCode::CREATED
    );
    let id = bench.accept(&["a@x.test"], "transactional", "one").await;
    bench.until(id, "suppressed").await;
    let (_, page) = bench.get("suppressions?address=a@X.test").await;
    assert_eq!(page["suppressions"].as_array().unwrap().len(), 2, "{page}");
    let lift = |query: &str| {
        bench.request(
            Method::DELETE,
            &format!("/admin/v1/suppressions?address=a@x.test{query}"),
        )
    };
    let wrong = lift("&global=true&stream=news").send().await.unwrap();
    assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);
    let lifted: Value = lift("&global=true")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(lifted["lifted"], 1);
    let lifted: Value = lift("").send().await.unwrap().json().await.unwrap();
    assert_eq!(lifted["lifted"], 1);
    let id = bench.accept(&["a@x.test"], "transactional", "two").await;
    bench.until(id, "queued").await;
    bench.stop().await;
}

#[tokio::test]
async fn what_is_exported_can_be_imported_and_bad_lines_are_named() {
    let bench = Bench::start(None).await;
    let mut lines = String::new();
    for number in 0..1_201 {
        lines.push_str(&format!("{{\"address\":\"user{number:04}@x.test\"}}\n"));
    }
    lines.push_str("\nnot json\n{\"address\":\"a@x.test\",\"colour\":\"red\"}\n");
    lines.push_str("{\"address\":\"b@x.test\",\"created_at\":\"2099-01-01T00:00:00Z\"}\n");
    lines.push_str("{\"address\":\"last@x.test\",\"stream\":\"news\"}");
    let (status, report) = import(&bench, lines).await;
    assert_eq!(status, StatusCode::OK, "{report}");
    assert_eq!(
        (&report["imported"], &report["refused"]),
        (&json!(1_202), &json!(3))
    );
    assert_eq!(report["faults"][0]["line"], 1_203, "{report}");
    assert_eq!(report["faults"][1]["line"], 1_204);
    let told = report["faults"][2]["detail"].as_str().unwrap();
    assert!(told.starts_with("created_at"), "{report}");

    let (_, exported) = bench.text("/admin/v1/suppressions/export").await;
    assert_eq!(exported.lines().count(), 1_202);
    let (_, report) = import(&bench, exported).await;
    assert_eq!(
        (&report["imported"], &report["refused"]),
        (&json!(1_202), &json!(0))
    );

    let (_, page) = bench.get("suppressions?limit=1000").await;
    let cursor = page["next_cursor"].as_str().unwrap();
    let (_, rest) = bench
        .get(&format!("suppressions?limit=1000&cursor={cursor}"))
        .await;
    assert_eq!(rest["suppressions"].as_array().unwrap().len(), 202);
    assert_eq!(rest["next_cursor"], Value::Null);
    let (status, _) = import(&bench, "x".repeat(10_000)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    bench.stop().await;
}

#[tokio::test]
async fn a_sheet_is_taken_and_given_and_what_is_none_is_told() {
    let bench = Bench::start(None).await;
    let post = async |sheet: &'static str| {
        let request = bench
            .request(Method::POST, "/admin/v1/suppressions/import")
            .header("content-type", "text/csv; charset=utf-8")
            .body(sheet);
        let answer = request.send().await.unwrap();
        let status = answer.status();
        (status, answer.json::<Value>().await.unwrap())
    };
    let sheet = "Email;Scope;Reason;At;Expires_at\r\na@x.test;news;complaint\r\nb@x.test;nowhere;\r\nc@x.test;transactional;\r\n\
                 d@x.test;;;2026-01-02T00:00:00Z;2026-01-01T00:00:00Z\r\n";
    let (status, report) = post(sheet).await;
    assert_eq!(status, StatusCode::OK, "{report}");
    assert_eq!(
        (&report["imported"], &report["refused"]),
        (&json!(1), &json!(3))
    );
    assert_eq!(report["faults"][0]["line"], 3, "{report}");
    let told = report["faults"][2]["detail"].as_str().unwrap();
    assert!(told.starts_with("expires_at: "), "{report}");
    let way_out = "stopped by global entries only";
    let told = report["faults"][1]["detail"].as_str().unwrap();
    assert!(told.contains(way_out), "{report}");
    let body = json!({"address": "c@x.test", "stream": "transactional"});
    let (status, told) = bench.post("suppressions", body).await;
    assert_eq!(status.as_u16(), 422, "{told}");
    assert_eq!(told["pointer"], "/stream", "{told}");
    assert!(told["detail"].as_str().unwrap().contains(way_out), "{told}");
    let body = json!({"address": "c@x.test", "created_at": "2099-01-01T00:00:00Z"});
    let (status, told) = bench.post("suppressions", body).await;
    assert_eq!(
        (status.as_u16(), &told["pointer"]),
        (422, &json!("/created_at"))
    );
    let (_, csv) = bench.text("/admin/v1/suppressions/export?format=csv").await;
    let mut lines = csv.lines();
    assert_eq!(
        lines.next(),
        Some("email,scope,reason,source,at,expires_at,detail")
    );
    let line = lines.next().unwrap();
    assert!(
        line.starts_with("a@x.test,news,complaint,import,"),
        "{line}"
    );
    let (status, told) = post("name;colour\nx;y\n").await;
    assert_eq!(status.as_u16(), 422, "{told}");
    assert!(
        told["detail"].as_str().unwrap().contains("known columns"),
        "{told}"
    );
    bench.stop().await;
}

#[tokio::test]
async fn an_import_of_what_is_new_passes_over_what_stands_as_long() {
    let bench = Bench::start(None).await;
    let post = async |keep: &str, lines: &str| {
        let path = format!("/admin/v1/suppressions/import?keep={keep}");
        let request = bench
            .request(Method::POST, &path)
            .header("content-type", "application/x-ndjson")
            .body(lines.to_owned());
        let answer = request.send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.unwrap(),
        )
    };
    let counts = |report: &Value| (report["imported"].as_u64(), report["already"].as_u64());
    let before = "{\"address\":\"all@x.test\"}\n{\"address\":\"soon@x.test\",\"expires_at\":\"2099-01-01T00:00:00Z\"}\n";
    let (_, report) = post("all", before).await;
    assert_eq!(counts(&report), (Some(2), Some(0)), "{report}");
    // One is covered by a global entry, one lasts longer than what stands, one is there twice.
    let lines = "{\"address\":\"All@x.test\",\"stream\":\"news\"}\n{\"address\":\"soon@x.test\"}\n\
                 {\"address\":\"new@x.test\",\"stream\":\"news\"}\n{\"address\":\"NEW@x.test\",\"stream\":\"news\"}\n";
    let (_, report) = post("nothing", lines).await;
    assert_eq!(counts(&report), (Some(2), Some(2)), "{report}");
    let shown = report["first"].as_array().unwrap();
    assert_eq!(shown[0]["address"], "soon@x.test", "{report}");
    let (_, exported) = bench.text("/admin/v1/suppressions/export").await;
    assert_eq!(exported.lines().count(), 2, "{exported}");
    let (_, report) = post("new", lines).await;
    assert_eq!(counts(&report), (Some(2), Some(2)), "{report}");
    assert_eq!(report["first"], Value::Null);
    let (_, report) = post("new", lines).await;
    assert_eq!(counts(&report), (Some(0), Some(4)), "{report}");
    let (status, told) = post("some", lines).await;
    assert_eq!(status, 400, "{told}");
    bench.stop().await;
}

#[tokio::test]
async fn an_unsubscribe_from_before_a_return_is_not_said_to_stand() {
    let bench = Bench::start(None).await;
    let back = Return {
        address: "ann@x.test".parse().unwrap(),
        scope: SuppressionScope::Stream("news".parse().unwrap()),
        at: "2026-01-02T00:00:00Z".parse().unwrap(),
        source: "recipient".into(),
    };
    bench.store.lift_unsubscribes(vec![back]).await.unwrap();
    let left = |at: &str| {
        json!({ "address": "ann@x.test", "stream": "news", "reason": "unsubscribe",
            "created_at": at })
    };
    let (before, after) = ("2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z");
    let (status, told) = bench.post("suppressions", left(before)).await;
    assert_eq!(
        (status.as_u16(), &told["pointer"]),
        (422, &json!("/created_at")),
        "{told}"
    );
    assert!(
        told["detail"].as_str().unwrap().contains("came back"),
        "{told}"
    );
    let lines = format!(
        "{}\n{{\"address\":\"bob@x.test\",\"reason\":\"unsubscribe\"}}\n\
         {{\"address\":\"eve@x.test\",\"expires_at\":\"2020-01-01T00:00:00Z\",\
         \"created_at\":\"2019-01-01T00:00:00Z\"}}\n",
        left(before)
    );
    let (status, report) = import(&bench, lines).await;
    assert_eq!(status, StatusCode::OK, "{report}");
    let counts = ["imported", "outlived", "refused"].map(|name| report[name].as_u64().unwrap());
    assert_eq!(counts, [1, 2, 0], "{report}");
    let (status, stands) = bench.post("suppressions", left(after)).await;
    assert_eq!(
        (status.as_u16(), &stands["created_at"]),
        (201, &json!(after))
    );
    // What stands stays, and is told.
    let (status, stands) = bench.post("suppressions", left(before)).await;
    assert_eq!(
        (status.as_u16(), &stands["created_at"]),
        (200, &json!(after))
    );
    bench.stop().await;
}
