//! Captured mail is shown, and nothing in it runs.

use reqwest::{Method, StatusCode};

use super::bench::Bench;

#[tokio::test]
async fn captured_mail_is_listed_and_shown_as_text() {
    let mut bench = Bench::start(None).await;
    bench.dispatch();
    let hostile = "=?utf-8?q?=3C/td=3E=3Cscript=3Ealert=281=29=3C/script=3E?=";
    let id = bench
        .accept(&["\"<b>\"@x.test"], "transactional", hostile)
        .await;
    bench.until(id, "sent").await;
    let answer = bench
        .request(Method::GET, "/captured")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let policy = answer.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(
        policy.contains("default-src 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert!(!policy.contains("script-src"), "{policy}");
    let page = answer.text().await.unwrap();
    assert!(!page.contains("<script") && !page.contains("<b>"), "{page}");
    assert!(
        page.contains("&lt;/td&gt;&lt;script&gt;alert(1)&lt;/script&gt;"),
        "{page}"
    );
    assert!(page.contains(&format!("href=\"/captured/{id}\"")), "{page}");

    let raw = bench
        .request(Method::GET, &format!("/captured/{id}"))
        .send()
        .await
        .unwrap();
    assert_eq!(raw.status(), StatusCode::OK);
    assert_eq!(raw.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(raw.headers()["x-content-type-options"], "nosniff");
    assert!(
        raw.headers()["content-security-policy"]
            .to_str()
            .unwrap()
            .contains("sandbox")
    );
    assert!(
        raw.text()
            .await
            .unwrap()
            .contains("<script>alert(1)</script>")
    );
    bench.stop().await;
}

#[tokio::test]
async fn what_was_not_captured_is_not_shown() {
    let bench = Bench::start(None).await;
    let id = bench.accept(&["a@x.test"], "transactional", "waits").await;
    assert_eq!(
        bench.text(&format!("/captured/{id}")).await.0,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        bench.text("/captured/..%2Fx").await.0,
        StatusCode::NOT_FOUND
    );
    assert!(bench.text("/captured").await.1.contains("Nothing here"));
    bench.stop().await;
}
