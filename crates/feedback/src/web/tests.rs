//! What a misbehaving peer leads to: an answer within its bound, or none in time.

use reqwest::{Method, Url};

use super::responder::{Act, Responder, answer};
use super::*;

async fn call_with(act: Act) -> (Result<Answer, Lost>, Responder) {
    let peer = Responder::start(vec![act]).await;
    let web = Web {
        wait_max: Duration::from_millis(400),
        ..Web::new(Reach::Private).unwrap()
    };
    let url: Url = peer.url().parse().unwrap();
    (web.call(Request::new(Method::POST, url)).await, peer)
}

#[tokio::test]
async fn a_peer_that_hangs_is_given_up_in_time() {
    let timed_out = Err(Lost::NoAnswer("timed out".into()));
    let (hung, _peer) = call_with(Act::Hang).await;
    assert_eq!(hung.map(|answer| answer.status), timed_out);
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_vec();
    let (hung, _peer) = call_with(Act::WriteAndHang(half)).await;
    assert_eq!(hung.map(|answer| answer.status), timed_out);
}

#[tokio::test]
async fn of_an_endless_answer_only_the_beginning_is_read() {
    let long = "x".repeat(ANSWER_BYTES_MAX * 4);
    let (told, _peer) = call_with(answer("200 OK", "", &long)).await;
    assert_eq!(told.unwrap().body.len(), ANSWER_BYTES_MAX);
    let endless = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{long}");
    let (told, _peer) = call_with(Act::WriteAndHang(endless.into_bytes())).await;
    assert_eq!(told.unwrap().body.len(), ANSWER_BYTES_MAX);
}

#[tokio::test]
async fn a_compressed_answer_is_not_unpacked() {
    let (told, peer) = call_with(answer("200 OK", "Content-Encoding: gzip\r\n", "not gzip")).await;
    assert_eq!(&told.unwrap().body[..], b"not gzip");
    assert!(
        !peer
            .texts()
            .remove(0)
            .to_lowercase()
            .contains("accept-encoding")
    );
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let inside = Responder::start(vec![answer("200 OK", "", "inside")]).await;
    let to = format!("Location: {}\r\n", inside.url());
    let (told, _peer) = call_with(answer("307 Elsewhere", &to, "")).await;
    assert_eq!(told.unwrap().status, 307);
    assert!(inside.texts().is_empty());
}

#[tokio::test]
async fn without_the_operator_s_word_nothing_inside_is_connected_to() {
    let inside = Responder::start(vec![answer("200 OK", "", "inside")]).await;
    let web = Web::new(Reach::Public).unwrap();
    let url = format!("https://localhost:{}/", inside.address.port());
    let told = web
        .call(Request::new(Method::GET, url.parse().unwrap()))
        .await;
    assert_eq!(told.map(|answer| answer.status), Err(Lost::Private));
    assert!(inside.texts().is_empty());
}

#[test]
fn a_wait_is_asked_for_in_seconds_or_by_a_time() {
    let now: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
    let s = Duration::from_secs;
    for (name, value, wait) in [
        ("retry-after", "12", Some(s(12))),
        ("retry-after", "Sun, 22 Nov 2026 00:01:00 GMT", Some(s(60))),
        ("retry-after", "soon", None),
        ("x-ratelimit-reset", "1795305630", Some(s(30))),
        ("x-ratelimit-reset", "1", Some(s(0))),
        ("x-ratelimit-reset", "9223372036854775807", Some(s(3600))),
        ("x-ratelimit-reset", "-9223372036854775808", None),
        ("x-other", "3", None),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        let answer = Answer {
            status: 429,
            headers,
            body: Bytes::new(),
        };
        assert_eq!(answer.wait_asked(now), wait, "{name}: {value}");
    }
}
