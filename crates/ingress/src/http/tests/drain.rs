//! A drain: clients are told to connect anew, then submissions are refused and the rest is served.

use malote_core::intake::Openness;

use super::fakes::{Gateway, letter, problem, test_config};

#[tokio::test]
async fn while_a_drain_is_told_mail_is_taken_and_connections_end_with_their_answer() {
    let gateway = Gateway::start().await;
    let post = || gateway.post("/v1/messages", letter()).send();
    let open = post().await.unwrap();
    assert!(!open.headers().contains_key("connection"));
    gateway.openness.send_replace(Openness::Closing);
    let closing = post().await.unwrap();
    assert_eq!(closing.status(), 202);
    assert_eq!(closing.headers()["connection"], "close");
    gateway.openness.send_replace(Openness::Open);
    let again = post().await.unwrap();
    assert!(!again.headers().contains_key("connection"));
}

#[tokio::test]
async fn a_drained_gateway_refuses_submissions_and_serves_what_is_read() {
    let gateway = Gateway::start().await;
    gateway.openness.send_replace(Openness::Closed);
    for path in ["/v1/messages", "/v1/messages/raw", "/v1/messages/batch"] {
        let response = gateway.post(path, letter()).send().await.unwrap();
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.headers()["connection"], "close");
        assert_eq!(problem(response).await.1, "draining", "{path}");
    }
    assert_eq!(gateway.accepted_count(), 0);
    let known = gateway.url(&format!("/v1/messages/{}", gateway.ledger.known));
    let read = gateway.client.get(known).bearer_auth("mk_test_shop");
    assert_eq!(read.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_connection_of_http_2_is_let_go_when_a_drain_begins() {
    let gateway = Gateway::start_with(test_config(), None).await;
    let client = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    let post = || {
        client
            .post(gateway.url("/v1/messages"))
            .bearer_auth("mk_test_shop")
            .header("content-type", "application/json")
            .body(letter())
            .send()
    };
    assert_eq!(post().await.unwrap().status(), 202);
    gateway.openness.send_replace(Openness::Closing);
    for _ in 0..20 {
        assert_eq!(post().await.unwrap().status(), 202);
    }
}
