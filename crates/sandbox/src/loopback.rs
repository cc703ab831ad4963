//! One HTTP POST to an address of this machine, for webhooks; any other address is refused.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::Uri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long the receiver may take; the services wait from 5 to 15 s.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(15);
/// How much of the answer is read; only its first line matters.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Why a webhook was not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PostError {
    #[error("webhooks go to http:// and an address of this machine, as in http://127.0.0.1:8080/…")]
    NotLoopback,
    #[error("the receiver does not answer: {0}")]
    Io(#[from] io::Error),
    #[error("the receiver took more than 15 s")]
    Slow,
    #[error("the receiver does not speak HTTP")]
    NotHttp,
}

/// Posts and answers the status.
pub(crate) async fn post(
    url: &str,
    headers: &[(String, String)],
    body: &str,
) -> Result<u16, PostError> {
    let uri: Uri = url.parse().map_err(|_| PostError::NotLoopback)?;
    let address = address_of(&uri).ok_or(PostError::NotLoopback)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    request.push_str(body);
    tokio::time::timeout(ANSWER_WAIT_MAX, exchange(address, &request))
        .await
        .map_err(|_| PostError::Slow)?
}

async fn exchange(address: SocketAddr, request: &str) -> Result<u16, PostError> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let read = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await;
    // A receiver may close hard once it has answered; what was read still counts.
    if answer.is_empty() {
        read?;
    }
    let first = answer.split(|byte| *byte == b'\r').next();
    first
        .and_then(|line| std::str::from_utf8(line).ok())
        .filter(|line| line.starts_with("HTTP/1."))
        .and_then(|line| line.split(' ').nth(1)?.parse().ok())
        .ok_or(PostError::NotHttp)
}

fn address_of(uri: &Uri) -> Option<SocketAddr> {
    let is_http = uri.scheme_str() == Some("http");
    let host = uri.host()?.trim_matches(['[', ']']);
    let host = if host == "localhost" {
        "127.0.0.1"
    } else {
        host
    };
    let ip: std::net::IpAddr = host.parse().ok()?;
    let address = SocketAddr::new(ip, uri.port_u16().unwrap_or(80));
    (is_http && ip.is_loopback()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_posted_to() {
        let address = |url: &str| address_of(&url.parse().unwrap());
        assert_eq!(
            address("http://127.0.0.1:81/x"),
            Some("127.0.0.1:81".parse().unwrap())
        );
        assert_eq!(
            address("http://[::1]:81/"),
            Some("[::1]:81".parse().unwrap())
        );
        assert!(address("http://localhost/").is_some());
        for refused in [
            "https://127.0.0.1/",
            "http://192.0.2.1/",
            "http://localhost.example/",
            "http://127.0.0.1.example/",
            "/relative",
        ] {
            assert_eq!(address(refused), None, "{refused}");
        }
    }
}
