//! A relay of HTTP exchanges that keeps what was asked and what was answered.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Largest head and largest body that are relayed.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One request with its answer.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// What was asked: its first line is `METHOD PATH HTTP/1.1`.
    pub request: HttpMessage,
    /// What was answered: its first line is `HTTP/1.1 STATUS REASON`.
    pub answer: HttpMessage,
}

/// A head and a body.
#[derive(Debug, Clone)]
pub struct HttpMessage {
    /// The first line.
    pub first_line: String,
    /// The header fields in their order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl HttpMessage {
    /// The first field of this name, which is in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let field = self.headers.iter().find(|(known, _)| known == name);
        field.map(|(_, value)| value.as_str())
    }

    /// The second word of the first line: the path of a request, the status of an answer.
    ///
    /// # Errors
    /// When there is none.
    pub fn subject(&self) -> Result<&str> {
        let mut words = self.first_line.split(' ');
        words.nth(1).context("a first line of one word")
    }
}

/// A relay in front of a server; it stops when dropped.
pub struct Recorder {
    /// Where it listens.
    pub address: SocketAddr,
    kept: Arc<Mutex<Vec<Exchange>>>,
    relaying: JoinHandle<()>,
}

impl Recorder {
    /// Stands in front of the server at this address.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let kept = Arc::new(Mutex::new(Vec::new()));
        let shelf = Arc::clone(&kept);
        let relaying = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shelf = Arc::clone(&shelf);
                // What breaks here is seen by the client as a broken connection.
                tokio::spawn(async move { relay(client, server, &shelf).await.ok() });
            }
        });
        Ok(Self {
            address,
            kept,
            relaying,
        })
    }

    /// The exchanges so far.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange> {
        let kept = self.kept.lock();
        kept.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.relaying.abort();
    }
}

async fn relay(
    mut client: TcpStream,
    server: SocketAddr,
    shelf: &Mutex<Vec<Exchange>>,
) -> Result<()> {
    let mut server = TcpStream::connect(server).await?;
    loop {
        let (request, octets) = read(&mut client).await?;
        server.write_all(&octets).await?;
        let (answer, octets) = read(&mut server).await?;
        keep(shelf, Exchange { request, answer });
        client.write_all(&octets).await?;
    }
}

fn keep(shelf: &Mutex<Vec<Exchange>>, exchange: Exchange) {
    let mut kept = shelf.lock().unwrap_or_else(PoisonError::into_inner);
    kept.push(exchange);
}

/// One message of a peer that says by `Content-Length` how long its bodies are, and its octets.
async fn read(peer: &mut TcpStream) -> Result<(HttpMessage, Vec<u8>)> {
    let mut octets = Vec::new();
    let head_end = loop {
        if let Some(at) = octets.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        ensure!(octets.len() < HEAD_BYTES_MAX, "a head without an end");
        ensure!(peer.read_buf(&mut octets).await? > 0, "closed");
    };
    let mut message = head(&String::from_utf8_lossy(&octets[..head_end]))?;
    let is_chunked = message.header("transfer-encoding").is_some();
    ensure!(!is_chunked, "a body of unknown length");
    let length = message.header("content-length").unwrap_or("0");
    let end = head_end + length.parse::<usize>()?;
    ensure!(
        end - head_end <= BODY_BYTES_MAX,
        "a body of {length} octets"
    );
    while octets.len() < end {
        ensure!(peer.read_buf(&mut octets).await? > 0, "closed");
    }
    ensure!(octets.len() == end, "more than one message at once");
    message.body = octets[head_end..].to_vec();
    Ok((message, octets))
}

fn head(text: &str) -> Result<HttpMessage> {
    let mut lines = text.lines();
    let first_line = lines.next().context("no first line")?.to_owned();
    let fields = lines.filter_map(|line| line.split_once(':'));
    let fields = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    Ok(HttpMessage {
        first_line,
        headers: fields.collect(),
        body: Vec::new(),
    })
}
