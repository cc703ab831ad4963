//! An HTTP peer on loopback that reads requests and misbehaves as it is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Longest request that is read, in octets.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Longest wait for the rest of a request.
const READ_MAX: Duration = Duration::from_secs(30);

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `POST`.
    pub method: String,
    /// The path with its query, as it was asked for.
    pub target: String,
    /// The header fields by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// The body as text.
    pub body: String,
}

/// What the peer does with a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Answers with this status, these header lines (each with its line end) and this body.
    Reply(u16, String, String),
    /// Keeps the connection open and says nothing.
    Hang,
    /// Closes the connection without a word.
    Drop,
}

impl Answer {
    /// A JSON answer.
    #[must_use]
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        let header = "Content-Type: application/json\r\n".to_owned();
        Self::Reply(status, header, body.to_string())
    }

    /// An answer without a body.
    #[must_use]
    pub const fn empty(status: u16) -> Self {
        Self::Reply(status, String::new(), String::new())
    }
}

type Requests = Arc<Mutex<Vec<Request>>>;

/// A running peer; it ends when dropped.
pub struct Peer {
    /// Where it listens.
    pub address: SocketAddr,
    requests: Requests,
    served: JoinHandle<()>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.served.abort();
    }
}

impl Peer {
    /// Starts one that answers as `answer` says. It is asked in the order of the requests, which
    /// are noted before.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(
        mut answer: impl FnMut(&Request) -> Answer + Send + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let requests = Requests::default();
        let seen = Arc::clone(&requests);
        let mut decide = move |request: Request| {
            let answer = answer(&request);
            lock(&seen).push(request);
            answer
        };
        let (asked, mut questions) =
            tokio::sync::mpsc::channel::<(Request, tokio::sync::oneshot::Sender<Answer>)>(16);
        let served = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        if let Ok((stream, _)) = accepted {
                            connections.spawn(serve(stream, asked.clone()));
                        }
                    }
                    Some((request, back)) = questions.recv() => {
                        // A peer that went away meanwhile is not answered.
                        back.send(decide(request)).ok();
                    }
                }
            }
        });
        Ok(Self {
            address,
            requests,
            served,
        })
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.requests).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(
    mut stream: TcpStream,
    ask: tokio::sync::mpsc::Sender<(Request, tokio::sync::oneshot::Sender<Answer>)>,
) -> Result<()> {
    let request = tokio::time::timeout(READ_MAX, read(&mut stream)).await??;
    let (back, answer) = tokio::sync::oneshot::channel();
    ask.send((request, back)).await?;
    match answer.await? {
        Answer::Drop => {}
        Answer::Hang => std::future::pending().await,
        Answer::Reply(status, headers, body) => {
            let length = body.len();
            let text = format!(
                "HTTP/1.1 {status} Answer\r\n{headers}Content-Length: {length}\r\n\
                 Connection: close\r\n\r\n{body}"
            );
            stream.write_all(text.as_bytes()).await?;
            stream.shutdown().await?;
        }
    }
    Ok(())
}

async fn read(stream: &mut TcpStream) -> Result<Request> {
    let mut octets = Vec::new();
    let mut chunk = [0; 8192];
    loop {
        if let Some(request) = parse(&octets)? {
            return Ok(request);
        }
        let count = stream.read(&mut chunk).await?;
        anyhow::ensure!(count > 0, "the request ends early");
        octets.extend_from_slice(chunk.get(..count).unwrap_or_default());
        anyhow::ensure!(octets.len() <= REQUEST_BYTES_MAX, "too long");
    }
}

/// The request, once it is whole.
fn parse(octets: &[u8]) -> Result<Option<Request>> {
    let text = String::from_utf8_lossy(octets);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Ok(None);
    };
    let mut lines = head.split("\r\n");
    let mut first = lines.next().context("no request line")?.split(' ');
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.get("content-length").map(|value| value.parse());
    let length: usize = length.transpose()?.unwrap_or(0);
    if body.len() < length {
        return Ok(None);
    }
    Ok(Some(Request {
        method: first.next().context("no method")?.to_owned(),
        target: first.next().context("no target")?.to_owned(),
        headers,
        body: body.to_owned(),
    }))
}
