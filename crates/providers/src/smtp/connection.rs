//! One SMTP connection: bounded replies in, commands out, a deadline on each.

use std::io;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

use super::ehlo::Extensions;
use super::reply::{self, ReplyFault, ServerReply};

/// What a connection runs over: TCP, or TLS over it.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection ready for mail.
pub(crate) type Link = Connection<Box<dyn Stream>>;

/// Why a connection cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// The peer closed or reset it.
    #[error("the server closed the connection")]
    Lost(#[source] io::Error),
    /// The peer did not read or answer in time.
    #[error("the server did not answer within {} s", .0.as_secs())]
    Late(Duration),
    /// What the peer sent is no SMTP.
    #[error(transparent)]
    Protocol(#[from] ReplyFault),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

/// A stream and what the server said on it that nobody has read yet.
pub(crate) struct Connection<S> {
    stream: S,
    input: BytesMut,
    /// What the server offers.
    pub(crate) extensions: Extensions,
    /// When it was opened.
    pub(crate) opened_at: Instant,
    /// When it was last put back.
    pub(crate) idle_since: Instant,
    /// Transactions begun on it.
    pub(crate) messages: u32,
    /// Whether a transaction was left open.
    pub(crate) needs_reset: bool,
}

/// Enough for the replies to a pipelined group of ten recipients in one read.
const INPUT_BYTES: usize = 2048;

impl<S: Stream> Connection<S> {
    pub(crate) fn new(stream: S) -> Self {
        let now = Instant::now();
        Self {
            stream,
            input: BytesMut::with_capacity(INPUT_BYTES),
            extensions: Extensions::default(),
            opened_at: now,
            idle_since: now,
            messages: 0,
            needs_reset: false,
        }
    }

    /// Writes `octets`.
    pub(crate) async fn write(&mut self, octets: &[u8], wait: Duration) -> Result<(), Trouble> {
        let write = async {
            self.stream.write_all(octets).await?;
            self.stream.flush().await
        };
        match timeout(wait, write).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(Trouble::Late(wait)),
        }
    }

    /// Writes as much of `octets` as the peer takes; how many.
    pub(crate) async fn write_some(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.stream.write(octets).await
    }

    /// Hands on what a TLS layer still holds.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        self.stream.flush().await
    }

    /// Waits for a complete reply.
    pub(crate) async fn read_reply(&mut self, wait: Duration) -> Result<ServerReply, Trouble> {
        let read = async {
            loop {
                if let Some((reply, used)) = reply::parse(&self.input)? {
                    self.input.advance(used);
                    return Ok(reply);
                }
                self.input.reserve(INPUT_BYTES);
                if self.stream.read_buf(&mut self.input).await? == 0 {
                    return Err(Trouble::Lost(io::ErrorKind::UnexpectedEof.into()));
                }
            }
        };
        match timeout(wait, read).await {
            Ok(reply) => reply,
            Err(_) => Err(Trouble::Late(wait)),
        }
    }

    /// Writes a command and waits for its reply.
    pub(crate) async fn ask(&mut self, line: &str, wait: Duration) -> Result<ServerReply, Trouble> {
        self.write(line.as_bytes(), wait).await?;
        self.read_reply(wait).await
    }

    /// Whether the server has sent something that was not asked for.
    pub(crate) fn has_unread(&self) -> bool {
        !self.input.is_empty()
    }

    /// Whether the server has closed it, or said something (`421 idle too long`), while nobody
    /// looked.
    pub(crate) fn is_stale(&mut self) -> bool {
        let mut probe = [0; 1];
        self.has_unread() || self.stream.read(&mut probe).now_or_never().is_some()
    }

    /// Says goodbye if that needs no waiting, and closes.
    pub(crate) fn close(mut self) {
        let goodbye = async {
            self.stream.write_all(b"QUIT\r\n").await?;
            self.stream.flush().await
        };
        // Closing is all that matters; a server that has gone need not hear it.
        drop(goodbye.now_or_never());
    }

    /// The stream, for a TLS handshake.
    pub(crate) fn into_stream(self) -> S {
        self.stream
    }
}
