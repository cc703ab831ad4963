//! The socket side of one SMTP session: octets to lines and messages, steps to octets.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::session::{Session, Step};
use crate::sandbox::Sandbox;

/// A command line with its end; a long AUTH or DSN parameter fits.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// Between two reads (RFC 5321 4.5.3.2.7).
const IDLE_MAX: Duration = Duration::from_secs(300);
/// For a client to take a reply.
const WRITE_MAX: Duration = Duration::from_secs(30);
/// Room made for each read.
const READ_BYTES: usize = 64 * 1024;

/// One connection.
struct Connection {
    stream: TcpStream,
    input: BytesMut,
    output: Vec<u8>,
    message_bytes_max: usize,
}

/// Whether the session goes on.
enum Next {
    Line,
    Message,
    Over,
}

/// Serves one connection to its end.
pub(crate) async fn converse(stream: TcpStream, peer: SocketAddr, sandbox: Sandbox) {
    let mut connection = Connection {
        stream,
        input: BytesMut::with_capacity(READ_BYTES),
        output: Vec::with_capacity(1_024),
        message_bytes_max: sandbox.config().smtp.message_bytes_max,
    };
    if let Err(error) = connection.run(Session::new(sandbox, peer)).await {
        tracing::debug!(%error, "connection ended");
    }
}

impl Connection {
    async fn run(&mut self, mut session: Session) -> io::Result<()> {
        let mut next = self.act(session.greet()).await?;
        loop {
            let step = match next {
                Next::Line => match self.line().await? {
                    Some(line) => session.line(&line),
                    None => return Ok(()),
                },
                Next::Message => {
                    let message = self.message().await?;
                    tokio::time::sleep(session.latency()).await;
                    session.message(message)
                }
                Next::Over => return Ok(()),
            };
            next = self.act(step).await?;
        }
    }

    async fn act(&mut self, step: Step) -> io::Result<Next> {
        match step {
            Step::Say(text) => self.output.extend_from_slice(text.as_bytes()),
            Step::Listen(text) => {
                self.output.extend_from_slice(text.as_bytes());
                return Ok(Next::Message);
            }
            Step::Close(text) => {
                self.output.extend_from_slice(text.as_bytes());
                self.flush().await?;
                return Ok(Next::Over);
            }
            Step::Hang => {
                self.flush().await?;
                // Until the client gives up.
                while self.fill().await? {
                    self.input.clear();
                }
                return Ok(Next::Over);
            }
            Step::Deaf(text) => {
                self.output.extend_from_slice(text.as_bytes());
                self.flush().await?;
                tokio::time::sleep(IDLE_MAX).await;
                return Ok(Next::Over);
            }
            Step::Late(delay, text) => {
                self.flush().await?;
                tokio::time::sleep(delay).await;
                self.output.extend_from_slice(text.as_bytes());
            }
        }
        Ok(Next::Line)
    }

    /// The next line without its end; `None` at the end of the session.
    async fn line(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(end) = memmem::find(&self.input, b"\r\n") {
                let line = self.input.split_to(end).freeze();
                self.input.advance(2);
                return Ok(Some(line));
            }
            if self.input.len() > LINE_BYTES_MAX || !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// The message up to its final dot, un-stuffed; `None` when it is over the size.
    async fn message(&mut self) -> io::Result<Option<Bytes>> {
        let mut searched = 0;
        loop {
            if self.input.starts_with(b".\r\n") {
                self.input.advance(3);
                return Ok(Some(Bytes::new()));
            }
            let from = self.input.get(searched..).unwrap_or_default();
            if let Some(found) = memmem::find(from, b"\r\n.\r\n") {
                let end = searched + found + 2;
                let message = (end <= self.message_bytes_max)
                    .then(|| unstuffed(self.input.get(..end).unwrap_or_default()));
                self.input.advance(end + 3);
                return Ok(message);
            }
            // The end may lie across two reads.
            searched = self.input.len().saturating_sub(4);
            if self.input.len() > self.message_bytes_max.saturating_mul(2) || !self.fill().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Writes what is to be said, then reads; false at the end of input.
    async fn fill(&mut self) -> io::Result<bool> {
        self.flush().await?;
        self.input.reserve(READ_BYTES);
        let read = tokio::time::timeout(IDLE_MAX, self.stream.read_buf(&mut self.input)).await??;
        Ok(read > 0)
    }

    async fn flush(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            tokio::time::timeout(WRITE_MAX, self.stream.write_all(&self.output)).await??;
            self.output.clear();
        }
        Ok(())
    }
}

/// Takes one dot from each line that begins with one (RFC 5321 4.5.2).
fn unstuffed(stuffed: &[u8]) -> Bytes {
    let body = stuffed.strip_prefix(b".").unwrap_or(stuffed);
    let mut plain = Vec::with_capacity(body.len());
    let mut copied = 0;
    for found in memmem::find_iter(body, b"\r\n.") {
        plain.extend_from_slice(body.get(copied..found + 2).unwrap_or_default());
        copied = found + 3;
    }
    plain.extend_from_slice(body.get(copied..).unwrap_or_default());
    plain.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stuffed_dots_are_taken_off() {
        for (stuffed, plain) in [
            ("a\r\n..b\r\n", "a\r\n.b\r\n"),
            ("..\r\n...\r\n", ".\r\n..\r\n"),
            ("a.b\r\n", "a.b\r\n"),
            ("\r\n\r\n..\r\n", "\r\n\r\n.\r\n"),
        ] {
            assert_eq!(unstuffed(stuffed.as_bytes()), plain.as_bytes());
        }
    }
}
