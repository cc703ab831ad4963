//! What arrives on the socket: too slow, too large, framed twice, or over TLS.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use malote_core::units::ByteSize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::fakes::{Gateway, letter, problem, test_config};
use crate::ReloadingCertificate;
use crate::http::HttpConfig;

const DEADLINE: Duration = Duration::from_secs(10);

/// Sends octets and reads until the server closes.
async fn talk(gateway: &Gateway, octets: &[u8]) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(octets).await.unwrap();
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    timeout(DEADLINE, reading).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn head(fields: &str) -> String {
    format!(
        "POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer mk_test_shop\r\n\
         Content-Type: application/json\r\n{fields}"
    )
}

async fn is_alive(gateway: &Gateway) -> bool {
    let response = gateway.post("/v1/messages", letter()).send().await.unwrap();
    response.status() == 202
}

#[tokio::test]
async fn a_request_framed_twice_is_refused_and_the_connection_closed() {
    let gateway = Gateway::start().await;
    for fields in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    ] {
        let answer = talk(&gateway, head(fields).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1);
    }
    assert!(is_alive(&gateway).await);
}

#[tokio::test]
async fn slow_header_sections_are_cut_off_while_others_are_served() {
    let gateway = Gateway::start().await;
    let mut slow = Vec::new();
    for first in [
        "",
        "P",
        "PRI * HTTP/2.0\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\n",
    ] {
        for _ in 0..50 {
            let mut stream = TcpStream::connect(gateway.address).await.unwrap();
            stream.write_all(first.as_bytes()).await.unwrap();
            slow.push(stream);
        }
    }
    assert!(is_alive(&gateway).await);
    for mut stream in slow {
        let mut rest = Vec::new();
        let closed = timeout(DEADLINE, stream.read_to_end(&mut rest))
            .await
            .unwrap();
        assert!(
            closed.is_ok()
                || closed.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset)
        );
    }
}

#[tokio::test]
async fn a_body_that_never_ends_is_answered_408_and_closed() {
    let gateway = Gateway::start().await;
    let octets = head("Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n");
    let answer = talk(&gateway, octets.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("connection: close"));
    assert!(is_alive(&gateway).await);
}

#[tokio::test]
async fn an_announced_body_over_the_bound_is_refused_before_it_is_read() {
    let gateway = Gateway::start().await;
    let octets = head("Content-Length: 11000000\r\n\r\n{");
    let answer = talk(&gateway, octets.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let large = vec![b' '; 3 << 20];
    let response = gateway.post("/v1/messages", large).send().await.unwrap();
    assert_eq!(problem(response).await.1, "body_too_large");
    assert!(is_alive(&gateway).await);
}

#[tokio::test]
async fn too_large_header_sections_are_answered_431() {
    let gateway = Gateway::start().await;
    let long = head(&format!("X-A: {}\r\n\r\n", "x".repeat(100_000)));
    let many: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    let many = head(&format!("{many}\r\n"));
    for octets in [long, many] {
        let answer = talk(&gateway, octets.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    assert!(is_alive(&gateway).await);
}

#[tokio::test]
async fn gzip_is_read_bombs_are_stopped_and_other_codings_refused() {
    let gateway = Gateway::start().await;
    let packed = |data: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    };
    let send = |body: Vec<u8>, coding: &'static str| {
        gateway
            .post("/v1/messages", body)
            .header("content-encoding", coding)
            .send()
    };
    let good = send(packed(letter().as_bytes()), "gzip").await.unwrap();
    assert_eq!(good.status(), 202);
    let bomb = send(packed(&vec![b' '; 100 << 20]), "gzip").await.unwrap();
    assert_eq!(problem(bomb).await.1, "body_too_large");
    for coding in ["br", "gzip, gzip"] {
        let response = send(letter().into_bytes(), coding).await.unwrap();
        assert_eq!(response.headers()["accept-encoding"], "gzip");
        assert_eq!(problem(response).await.1, "unsupported_encoding");
    }
    let garbage = send(letter().into_bytes(), "gzip").await.unwrap();
    assert_eq!(problem(garbage).await.1, "malformed_body");
}

#[tokio::test]
async fn other_media_types_are_refused() {
    let gateway = Gateway::start().await;
    let url = gateway.url("/v1/messages");
    for media_type in ["text/plain", "application/x-www-form-urlencoded"] {
        let request = gateway.client.post(&url).bearer_auth("mk_test_shop");
        let request = request.header("content-type", media_type).body(letter());
        let response = request.send().await.unwrap();
        assert_eq!(problem(response).await.1, "unsupported_media_type");
    }
}

#[tokio::test]
async fn bodies_together_are_bounded() {
    let config = HttpConfig {
        body_max: ByteSize(64 << 10),
        raw_body_max: ByteSize(64 << 10),
        inflight_max: ByteSize(64 << 10),
        body_timeout: malote_core::units::Span(Duration::from_secs(5)),
        ..test_config()
    };
    let gateway = Gateway::start_with(config, None).await;
    let mut holder = TcpStream::connect(gateway.address).await.unwrap();
    let announced = head("Content-Length: 65536\r\n\r\n");
    holder.write_all(announced.as_bytes()).await.unwrap();
    holder.write_all(&vec![b' '; 65_000]).await.unwrap();
    let began = Instant::now();
    loop {
        let body = format!("{}{}", " ".repeat(8 << 10), letter());
        let response = gateway.post("/v1/messages", body).send().await.unwrap();
        if response.status() == 503 {
            assert_eq!(response.headers()["retry-after"], "1");
            break;
        }
        assert!(began.elapsed() < DEADLINE, "the budget was never spent");
    }
    drop(holder);
    let began = Instant::now();
    while !is_alive(&gateway).await {
        assert!(began.elapsed() < DEADLINE, "the budget was not given back");
    }
}

#[tokio::test]
async fn a_stop_lets_requests_under_way_end_and_takes_no_more() {
    let mut gateway = Gateway::start().await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let body = letter();
    let fields = format!("Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(head(&fields).as_bytes()).await.unwrap();
    stream.write_all(&body.as_bytes()[..4]).await.unwrap();
    assert!(is_alive(&gateway).await);
    gateway.shutdown.cancel();
    stream.write_all(&body.as_bytes()[4..]).await.unwrap();
    let mut answer = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 202 "));
    let task = gateway.task.take().unwrap();
    timeout(DEADLINE, task).await.unwrap().unwrap().unwrap();
    assert!(TcpStream::connect(gateway.address).await.is_err());
}

#[tokio::test]
async fn tls_speaks_both_versions_of_http() {
    let folder = tempfile::tempdir().unwrap();
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    std::fs::write(&cert, pair.cert.pem()).unwrap();
    std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    let tls = ReloadingCertificate::load(&cert, &key, &[b"h2", b"http/1.1"]).unwrap();
    let gateway = Gateway::start_with(test_config(), Some(Arc::new(tls))).await;
    for (client, version) in [
        (reqwest::Client::builder(), reqwest::Version::HTTP_2),
        (
            reqwest::Client::builder().http1_only(),
            reqwest::Version::HTTP_11,
        ),
    ] {
        let root = reqwest::Certificate::from_pem(pair.cert.pem().as_bytes()).unwrap();
        let client = client
            .no_proxy()
            .tls_certs_only([root])
            .resolve("localhost", gateway.address);
        let client = client.build().unwrap();
        let url = format!("https://localhost:{}/v1/messages", gateway.address.port());
        for (body, status) in [
            (letter().into_bytes(), 202),
            (vec![b' '; 3 << 20], 413),
            (letter().into_bytes(), 202),
        ] {
            let request = client.post(&url).bearer_auth("mk_test_shop").body(body);
            let request = request.header("content-type", "application/json");
            let response = request.send().await.unwrap();
            let found = (response.status().as_u16(), response.version());
            assert_eq!(found, (status, version));
        }
    }
}

#[tokio::test]
async fn rapid_resets_end_an_http2_connection_and_nobody_else() {
    let gateway = Gateway::start().await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let mut octets = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    octets.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    // GET / over http, in HPACK's static table; then RST_STREAM with CANCEL.
    let request = [0x82, 0x86, 0x84, 0x41, 0x01, b'x'];
    for stream_id in (1..20_000_u32).step_by(2) {
        octets.extend([0, 0, request.len() as u8, 1, 5]);
        octets.extend(stream_id.to_be_bytes());
        octets.extend(request);
        octets.extend([0, 0, 4, 3, 0]);
        octets.extend(stream_id.to_be_bytes());
        octets.extend(8_u32.to_be_bytes());
    }
    // The server may close while we still write.
    let written = stream.write_all(&octets).await;
    let mut answer = Vec::new();
    let read = timeout(DEADLINE, stream.read_to_end(&mut answer))
        .await
        .unwrap();
    let calm = 11_u32.to_be_bytes();
    let has_goaway = answer.windows(4).any(|window| window == calm);
    assert!(has_goaway || written.is_err() || read.is_err());
    assert!(is_alive(&gateway).await);
}
