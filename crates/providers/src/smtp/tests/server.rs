//! A server that says what a script tells it, and notes what it heard.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// One step of a connection's script.
#[derive(Clone)]
pub(super) enum Step {
    /// Says this.
    Say(Vec<u8>),
    /// Hears one line.
    Hear,
    /// Hears a message up to the final dot.
    HearData,
    /// Hears what comes in one read.
    HearOnce,
    /// Hears this many octets of whatever comes.
    HearBytes(usize),
    /// Goes on under TLS.
    StartTls(TlsAcceptor),
    /// Stays silent for ever.
    Hang,
}

pub(super) fn say(text: &str) -> Step {
    Step::Say(text.as_bytes().to_vec())
}

/// Greeting and EHLO.
pub(super) fn hello(extensions: &[&str]) -> Vec<Step> {
    let mut lines = vec!["mx.test"];
    lines.extend(extensions);
    let (last, first) = lines.split_last().unwrap();
    let mut ehlo: String = first.iter().map(|line| format!("250-{line}\r\n")).collect();
    ehlo.push_str(&format!("250 {last}\r\n"));
    vec![say("220 mx.test\r\n"), Step::Hear, say(&ehlo)]
}

pub(super) const ALL: [&str; 5] = ["PIPELINING", "SIZE 100000", "8BITMIME", "SMTPUTF8", "DSN"];

/// A whole message for one recipient, the answer to the final dot left open.
pub(super) fn message() -> Vec<Step> {
    vec![
        Step::Hear,
        Step::Hear,
        Step::Hear,
        say("250 ok\r\n250 ok\r\n354 go\r\n"),
        Step::HearData,
    ]
}

pub(super) fn taken(id: &str) -> Step {
    say(&format!("250 2.0.0 Ok: queued as {id}\r\n"))
}

pub(super) fn script(parts: impl IntoIterator<Item = Vec<Step>>) -> Vec<Step> {
    parts.into_iter().flatten().collect()
}

/// What one connection heard.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    pub(super) from: Option<IpAddr>,
    pub(super) lines: Vec<String>,
    pub(super) data: Vec<Vec<u8>>,
}

pub(super) struct Server {
    pub(super) port: u16,
    heard: Arc<Mutex<Vec<Heard>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    /// Plays one script per connection, in the order in which they come; more are closed.
    pub(super) async fn start(scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&heard);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            let mut scripts = scripts.into_iter();
            while let Ok((stream, peer)) = listener.accept().await {
                let number = note_connection(&log, peer);
                let play = Play {
                    log: Arc::clone(&log),
                    number,
                };
                let steps = scripts.next().unwrap_or_default();
                connections.spawn(async move { play.run(Box::new(stream), steps).await });
            }
        });
        Self {
            port,
            heard,
            _tasks: tasks,
        }
    }

    /// What each connection has heard so far.
    pub(super) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }
}

fn note_connection(log: &Mutex<Vec<Heard>>, peer: SocketAddr) -> usize {
    let mut log = log.lock().unwrap();
    log.push(Heard {
        from: Some(peer.ip()),
        ..Heard::default()
    });
    log.len() - 1
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

struct Play {
    log: Arc<Mutex<Vec<Heard>>>,
    number: usize,
}

impl Play {
    /// `None` if the client went away in the middle.
    async fn run(&self, mut stream: Box<dyn Duplex>, steps: Vec<Step>) -> Option<()> {
        for step in steps {
            match step {
                Step::Say(octets) => {
                    stream.write_all(&octets).await.ok()?;
                    stream.flush().await.ok()?;
                }
                Step::Hear => {
                    let line = read_until(&mut stream, b"\r\n").await?;
                    self.note(|heard| heard.lines.push(text(&line)));
                }
                Step::HearData => {
                    let data = read_until(&mut stream, b"\r\n.\r\n").await?;
                    self.note(|heard| heard.data.push(data));
                }
                Step::HearOnce => {
                    let mut buffer = vec![0; 4096];
                    let bytes = stream.read(&mut buffer).await.ok()?;
                    self.note(|heard| heard.lines.push(text(&buffer[..bytes])));
                }
                Step::HearBytes(bytes) => {
                    stream.read_exact(&mut vec![0; bytes]).await.ok()?;
                }
                Step::StartTls(acceptor) => {
                    stream = Box::new(acceptor.accept(stream).await.ok()?);
                }
                Step::Hang => std::future::pending().await,
            }
        }
        Some(())
    }

    fn note(&self, note: impl FnOnce(&mut Heard)) {
        note(&mut self.log.lock().unwrap()[self.number]);
    }
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).trim_end().to_owned()
}

async fn read_until(stream: &mut Box<dyn Duplex>, end: &[u8]) -> Option<Vec<u8>> {
    let mut read = Vec::new();
    while !read.ends_with(end) {
        let octet = stream.read_u8().await.ok()?;
        read.push(octet);
    }
    Some(read)
}
