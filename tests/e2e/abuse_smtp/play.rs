//! Plays a case over a socket of its own and says where the program deviates.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::script::{Case, Door, Step};

/// How long a reply may take, unless the case says otherwise.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the listeners are and how their TLS is verified.
#[derive(Clone)]
pub(super) struct Doors {
    pub(super) plain: SocketAddr,
    pub(super) submission: SocketAddr,
    pub(super) login: SocketAddr,
    pub(super) implicit: SocketAddr,
    pub(super) tls: TlsConnector,
}

impl Doors {
    fn address(&self, door: Door) -> SocketAddr {
        match door {
            Door::Plain => self.plain,
            Door::Submission => self.submission,
            Door::Login => self.login,
            Door::Implicit => self.implicit,
        }
    }
}

/// What a case expects in the store and at the relay.
#[derive(Debug, Default)]
pub(super) struct Traces {
    pub(super) stored: usize,
    /// Octets, and whether the copy at the relay holds them.
    pub(super) arrives: Vec<(Vec<u8>, bool)>,
}

/// The two things a connection can be.
enum Wire {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
    Gone,
}

trait Octets: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Octets for T {}

impl Wire {
    fn octets(&mut self) -> Result<&mut dyn Octets> {
        match self {
            Self::Plain(stream) => Ok(stream),
            Self::Tls(stream) => Ok(stream),
            Self::Gone => bail!("there is no connection any more"),
        }
    }
}

/// A connection from an address of its own, so that no case is held against another.
pub(super) async fn connect(to: SocketAddr, from: Ipv4Addr) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub(super) struct Player {
    wire: Wire,
    doors: Arc<Doors>,
    /// Read and not yet taken as replies.
    input: Vec<u8>,
    last: Vec<u8>,
    patience: Duration,
}

impl Player {
    /// Plays the whole case; answers what must be found afterwards.
    pub(super) async fn play(case: &Case, doors: Arc<Doors>, from: Ipv4Addr) -> Result<Traces> {
        let stream = connect(doors.address(case.door), from).await?;
        let mut player = Self {
            wire: Wire::Plain(stream),
            doors,
            input: Vec::new(),
            last: Vec::new(),
            patience: PATIENCE,
        };
        if case.door == Door::Implicit && !case.is_bare {
            player.handshake().await?;
        }
        if !case.is_bare {
            player.expect("220").await?;
            player.send(b"EHLO client.example\r\n").await?;
            player.expect("250").await?;
        }
        let mut traces = Traces::default();
        for step in &case.steps {
            player
                .step(step, &mut traces)
                .await
                .with_context(|| shown(step))?;
        }
        Ok(traces)
    }

    async fn step(&mut self, step: &Step, traces: &mut Traces) -> Result<()> {
        match step {
            Step::Send(octets) => self.send(octets).await,
            Step::Drip { octets, every_ms } => {
                for octet in octets {
                    self.send(&[*octet]).await?;
                    sleep(Duration::from_millis(*every_ms)).await;
                }
                Ok(())
            }
            Step::Replies { start, count } => {
                for number in 1..=*count {
                    let expected = self.expect(start).await;
                    expected.with_context(|| format!("reply {number} of {count}"))?;
                }
                Ok(())
            }
            Step::Holds { text, is_there } => {
                let last = String::from_utf8_lossy(&self.last).into_owned();
                ensure!(holds(&self.last, text) == *is_there, "in {last:?}");
                Ok(())
            }
            Step::StartTls => {
                self.send(b"STARTTLS\r\n").await?;
                self.expect("220 2.0.0").await?;
                self.handshake().await
            }
            Step::Alert => {
                let rest = self.rest().await?;
                ensure!(rest.first().is_none_or(|first| *first == 0x15), "{rest:?}");
                Ok(())
            }
            Step::Pause(ms) => {
                sleep(Duration::from_millis(*ms)).await;
                Ok(())
            }
            Step::Within(seconds) => {
                self.patience = Duration::from_secs(*seconds);
                Ok(())
            }
            Step::Half => Ok(self.wire.octets()?.shutdown().await?),
            Step::Reset => self.reset(),
            Step::Close => {
                let rest = self.rest().await?;
                let text = String::from_utf8_lossy(&rest);
                ensure!(rest.is_empty(), "it said {text:?} first");
                Ok(())
            }
            Step::Stored(count) => {
                traces.stored = *count;
                Ok(())
            }
            Step::Arrives { text, is_there } => {
                traces.arrives.push((text.clone(), *is_there));
                Ok(())
            }
        }
    }

    async fn send(&mut self, octets: &[u8]) -> Result<()> {
        let writing = self.wire.octets()?.write_all(octets);
        match timeout(self.patience, writing).await? {
            // Whoever closes on us early has said why; the next step reads it.
            Ok(()) => {}
            Err(_) if octets.len() > 1_000 => {}
            Err(error) => return Err(error.into()),
        }
        self.wire.octets()?.flush().await.ok();
        Ok(())
    }

    async fn handshake(&mut self) -> Result<()> {
        ensure!(self.input.is_empty(), "more was said before the handshake");
        let Wire::Plain(stream) = std::mem::replace(&mut self.wire, Wire::Gone) else {
            bail!("it speaks TLS already");
        };
        let name = ServerName::try_from("localhost")?;
        let connecting = self.doors.tls.connect(name, stream);
        self.wire = Wire::Tls(Box::new(timeout(self.patience, connecting).await??));
        Ok(())
    }

    /// One reply, all its lines, which must begin with this.
    async fn expect(&mut self, start: &str) -> Result<()> {
        self.last.clear();
        loop {
            let Some(end) = self.input.iter().position(|octet| *octet == b'\n') else {
                if self.fill().await? == 0 {
                    bail!(
                        "the connection ended after {:?}",
                        text(&self.last, &self.input)
                    );
                }
                continue;
            };
            let line: Vec<u8> = self.input.drain(..=end).collect();
            ensure!(line.len() <= 512 && line.ends_with(b"\r\n"), "{line:?}");
            self.last.extend(&line);
            if line.get(3) != Some(&b'-') {
                let is_same = line.starts_with(start.as_bytes())
                    && matches!(line.get(start.len()), Some(b' ' | b'\r'));
                ensure!(is_same, "it said {:?}", text(&self.last, &[]));
                return Ok(());
            }
        }
    }

    async fn fill(&mut self) -> Result<usize> {
        let mut piece = [0; 16_384];
        let reading = self.wire.octets()?.read(&mut piece);
        let read = timeout(self.patience, reading).await;
        // A reset ends it as much as an orderly end does.
        let count = read.context("nothing is said")?.unwrap_or(0);
        self.input.extend(&piece[..count]);
        Ok(count)
    }

    /// Everything up to the end of the connection.
    async fn rest(&mut self) -> Result<Vec<u8>> {
        while self.fill().await? > 0 {}
        Ok(std::mem::take(&mut self.input))
    }

    fn reset(&mut self) -> Result<()> {
        let Wire::Plain(stream) = std::mem::replace(&mut self.wire, Wire::Gone) else {
            bail!("only a connection in clear is reset");
        };
        Ok(stream.set_zero_linger()?)
    }
}

/// Whether these octets stand in there.
pub(super) fn holds(octets: &[u8], text: &[u8]) -> bool {
    octets
        .windows(text.len().max(1))
        .any(|window| window == text)
}

fn text(one: &[u8], two: &[u8]) -> String {
    String::from_utf8_lossy(&[one, two].concat()).into_owned()
}

fn shown(step: &Step) -> String {
    let mut text = format!("{step:?}");
    if let Step::Send(octets) = step {
        text = format!("sent {:?}", String::from_utf8_lossy(octets));
    }
    text.chars().take(120).collect()
}
