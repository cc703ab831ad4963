//! A client's connection, in clear or over TLS.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A client's connection.
#[derive(Debug)]
pub(crate) enum Stream {
    /// In clear.
    Plain(TcpStream),
    /// Over TLS.
    Tls(Box<TlsStream<TcpStream>>),
    /// Gone: a handshake took the socket and did not give it back.
    Closed,
}

impl Stream {
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(tcp) => Some(tcp),
            Self::Tls(tls) => Some(tls.get_ref().0),
            Self::Closed => None,
        }
    }

    /// Takes the socket out for a handshake.
    pub(crate) fn take_plain(&mut self) -> Option<TcpStream> {
        match std::mem::replace(self, Self::Closed) {
            Self::Plain(tcp) => Some(tcp),
            other @ (Self::Tls(_) | Self::Closed) => {
                *self = other;
                None
            }
        }
    }

    /// Has the kernel acknowledge what comes next at once. PHP mailers write the end of a message
    /// as a second small segment, which waits for our acknowledgement: 40 ms per message
    /// otherwise. The kernel forgets the flag, so it is set before each read that no reply of ours
    /// comes before.
    pub(crate) fn rearm_quickack(&self) {
        #[cfg(target_os = "linux")]
        if let Some(tcp) = self.tcp() {
            // Without it the client is slow, no more.
            SockRef::from(tcp).set_tcp_quickack(true).ok();
        }
    }

    /// Whether the socket holds octets that nobody has read yet. Asks the kernel, does not wait.
    pub(crate) fn has_input(&self) -> bool {
        let Some(tcp) = self.tcp() else {
            return false;
        };
        let mut octet = [MaybeUninit::uninit()];
        SockRef::from(tcp)
            .peek(&mut octet)
            .is_ok_and(|bytes| bytes > 0)
    }

    /// Waits until there is something to read. A stream over TLS does not wait.
    pub(crate) async fn readable(&self) {
        if let Self::Plain(tcp) = self {
            tcp.readable().await.ok();
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
            Self::Closed => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
            Self::Closed => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
            Self::Closed => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
            Self::Closed => Poll::Ready(Ok(())),
        }
    }
}
