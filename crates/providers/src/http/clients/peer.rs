//! A scripted peer behind TLS on loopback, for tests: HTTP/2 frame by frame, or HTTP/1.1.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificates::{Valid, certified};

/// What the peer does once it has read a request to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Answers 200.
    Answer,
    /// RST_STREAM with this error code (RFC 9113 7).
    Reset(u32),
    /// GOAWAY that leaves this request out, with this error code, then closes.
    GoAwayWithout(u32),
    /// GOAWAY that may have processed this request, then closes.
    GoAwayWith,
    /// GOAWAY that may have processed this request, then its answer, then closes.
    GoAwayAndAnswer,
    /// Closes without a word.
    Cut,
    /// Nothing: the next request's act follows.
    Wait,
}

/// What was seen: the connection's number and the protocol of each request.
pub(super) type Seen = Arc<Mutex<Vec<(usize, &'static str)>>>;

/// The peer. It ends with the value.
pub(super) struct Peer {
    /// `https://localhost:port/`.
    pub url: String,
    /// What its certificate is checked against.
    pub certificate: reqwest::Certificate,
    /// Requests in the order in which they ended.
    pub seen: Seen,
    server: JoinHandle<()>,
}

impl Peer {
    /// Offers `protocols` by ALPN, and does `acts` request by request over all connections; the
    /// last one for ever.
    pub(super) async fn start(protocols: &[&str], acts: &[Act]) -> Self {
        let (cert, mut config) = certified("localhost", Valid::Today);
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Seen::default();
        let script = Script {
            acts: Arc::new(Mutex::new(acts.iter().copied().collect())),
            seen: Arc::clone(&seen),
        };
        Self {
            url: format!("https://localhost:{port}/"),
            certificate: reqwest::Certificate::from_der(cert.der()).unwrap(),
            seen,
            server: tokio::spawn(serve(listener, acceptor, script)),
        }
    }

    /// How many connections brought requests.
    pub(super) fn connections(&self) -> usize {
        let seen = self.seen.lock().unwrap();
        let numbers: std::collections::BTreeSet<usize> = seen.iter().map(|(n, _)| *n).collect();
        numbers.len()
    }

    /// The protocol of each request.
    pub(super) fn protocols(&self) -> Vec<&'static str> {
        self.seen.lock().unwrap().iter().map(|(_, p)| *p).collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Clone)]
struct Script {
    acts: Arc<Mutex<VecDeque<Act>>>,
    seen: Seen,
}

impl Script {
    fn next(&self, connection: usize, protocol: &'static str) -> Act {
        self.seen.lock().unwrap().push((connection, protocol));
        let mut acts = self.acts.lock().unwrap();
        if acts.len() > 1 {
            acts.pop_front().unwrap()
        } else {
            acts[0]
        }
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, script: Script) {
    let mut connections = tokio::task::JoinSet::new();
    for number in 0.. {
        let (tcp, _) = listener.accept().await.unwrap();
        let (acceptor, script) = (acceptor.clone(), script.clone());
        connections.spawn(async move {
            let stream = acceptor.accept(tcp).await.ok()?;
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let connection = Connection {
                stream,
                script,
                number,
            };
            if is_http2 {
                connection.speak_http2().await
            } else {
                connection.speak_http1().await
            }
        });
    }
}

struct Connection {
    stream: TlsStream<TcpStream>,
    script: Script,
    number: usize,
}

/// Frame types (RFC 9113 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
/// END_STREAM and END_HEADERS.
const WHOLE: u8 = 5;
/// `:status: 200` as HPACK's static table has it (RFC 7541, appendix A).
const STATUS_200: &[u8] = &[0x88];

impl Connection {
    async fn speak_http2(mut self) -> Option<()> {
        let mut preface = [0; 24];
        self.stream.read_exact(&mut preface).await.ok()?;
        self.write(SETTINGS, 0, 0, &[]).await?;
        let mut is_going = true;
        while is_going {
            let (kind, flags, stream, payload) = self.read().await?;
            match kind {
                SETTINGS if flags & ACK == 0 => self.write(SETTINGS, ACK, 0, &[]).await?,
                PING if flags & ACK == 0 => self.write(PING, ACK, 0, &payload).await?,
                HEADERS | DATA if flags & END_STREAM != 0 => is_going = self.act(stream).await?,
                _ => {}
            }
        }
        self.stream.shutdown().await.ok()
    }

    /// Whether the connection goes on.
    async fn act(&mut self, stream: u32) -> Option<bool> {
        let go_away = |last: u32, code: u32| [last.to_be_bytes(), code.to_be_bytes()].concat();
        match self.script.next(self.number, "h2") {
            Act::Answer => self.write(HEADERS, WHOLE, stream, STATUS_200).await?,
            Act::Reset(code) => {
                self.write(RST_STREAM, 0, stream, &code.to_be_bytes())
                    .await?;
            }
            Act::GoAwayWithout(code) => {
                let frame = go_away(stream.saturating_sub(2), code);
                self.write(GOAWAY, 0, 0, &frame).await?;
                return Some(false);
            }
            Act::GoAwayWith => {
                self.write(GOAWAY, 0, 0, &go_away(stream, 0)).await?;
                return Some(false);
            }
            Act::GoAwayAndAnswer => {
                self.write(GOAWAY, 0, 0, &go_away(stream, 0)).await?;
                self.write(HEADERS, WHOLE, stream, STATUS_200).await?;
                return Some(false);
            }
            Act::Cut => return Some(false),
            Act::Wait => {}
        }
        Some(true)
    }

    async fn read(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some((head[3], head[4], stream, payload))
    }

    async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Option<()> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.stream.write_all(&frame).await.ok()?;
        self.stream.flush().await.ok()
    }

    /// Requests with a body of one octet, answered 200 whatever the script says.
    async fn speak_http1(mut self) -> Option<()> {
        let mut request = Vec::new();
        loop {
            request.push(self.stream.read_u8().await.ok()?);
            if request.ends_with(b"\r\n\r\n") {
                self.stream.read_u8().await.ok()?;
                self.script.next(self.number, "http/1.1");
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                self.stream.write_all(answer).await.ok()?;
                self.stream.flush().await.ok()?;
                request.clear();
            }
        }
    }
}
