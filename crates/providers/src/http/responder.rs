//! A scripted HTTP peer on loopback, for tests: reads requests, answers what it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the peer does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Writes these octets and closes.
    Write(Vec<u8>),
    /// Writes these octets and keeps the connection open without a word more.
    WriteAndHang(Vec<u8>),
    /// Reads the request and never answers.
    Hang,
    /// Closes once the request is read.
    Close,
    /// Writes these octets, then one more each 50 ms for as long as it is heard.
    Trickle(Vec<u8>),
    /// Answers 500 with the request as it was read, and closes.
    Echo,
    /// Reads this many octets and then nothing more, connection open.
    StopReading(usize),
}

/// An answer in full, with its length.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Act {
    Act::Write(
        format!(
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes(),
    )
}

/// The peer. It ends with the value.
pub(crate) struct Responder {
    /// Where it listens.
    pub address: SocketAddr,
    /// Every request it has read, header and body.
    pub requests: Arc<Mutex<Vec<Vec<u8>>>>,
    server: JoinHandle<()>,
}

impl Responder {
    /// Does `acts` one after the other, one per connection; the last one for ever.
    pub(crate) async fn start(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let server = tokio::spawn(async move {
            let mut open = Vec::new();
            let mut acts = acts.into_iter().peekable();
            while let Ok((mut stream, _)) = listener.accept().await {
                let Some(act) = acts.next() else { return };
                if acts.peek().is_none() {
                    acts = vec![act.clone()].into_iter().peekable();
                }
                play(&mut stream, act, &seen).await;
                open.push(stream);
            }
        });
        Self {
            address,
            requests,
            server,
        }
    }

    /// `http://127.0.0.1:port`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far, as text.
    pub(crate) fn texts(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests
            .iter()
            .map(|r| String::from_utf8_lossy(r).into_owned())
            .collect()
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn play(stream: &mut TcpStream, act: Act, seen: &Arc<Mutex<Vec<Vec<u8>>>>) {
    let limit = match act {
        Act::StopReading(bytes) => bytes,
        Act::Write(_)
        | Act::WriteAndHang(_)
        | Act::Trickle(_)
        | Act::Hang
        | Act::Close
        | Act::Echo => usize::MAX,
    };
    let request = read_request(stream, limit).await;
    let act = if matches!(act, Act::Echo) {
        answer("500 Echo", "", &String::from_utf8_lossy(&request))
    } else {
        act
    };
    seen.lock().unwrap().push(request);
    match act {
        Act::Write(bytes) => {
            if stream.write_all(&bytes).await.is_ok() {
                stream.shutdown().await.ok();
            }
        }
        Act::WriteAndHang(bytes) => {
            stream.write_all(&bytes).await.ok();
        }
        Act::Trickle(mut octets) => {
            while stream.write_all(&octets).await.is_ok() {
                octets = b"x".to_vec();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Act::Close => {
            stream.shutdown().await.ok();
        }
        Act::Hang | Act::StopReading(_) | Act::Echo => {}
    }
}

async fn read_request(stream: &mut TcpStream, limit: usize) -> Vec<u8> {
    let mut request = Vec::new();
    let mut chunk = vec![0; 64 * 1024];
    while request.len() < limit && !is_complete(&request) {
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut chunk)).await;
        match read {
            Ok(Ok(n)) if n > 0 => request.extend_from_slice(&chunk[..n]),
            _ => break,
        }
    }
    request
}

fn is_complete(request: &[u8]) -> bool {
    let Some(end) = memchr::memmem::find(request, b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|value| value.trim().parse::<usize>().ok())
        .unwrap_or(0);
    request.len() >= end + 4 + length
}
