//! Sockets that both servers bind, and connections that both count, the same way.

use std::io;
use std::net::SocketAddr;

use prometheus::IntGauge;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that the kernel keeps for us while we are busy accepting others.
const BACKLOG: i32 = 1024;

/// Binds a listening TCP socket that a restarted gateway can bind again at once.
///
/// # Errors
/// What the system says: the address is in use, is not ours, or the port needs a privilege. Must
/// be called inside a tokio runtime.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// One open connection in a gauge, until it is dropped: also when what serves it panics.
#[derive(Debug)]
pub(crate) struct OpenConnection(IntGauge);

impl OpenConnection {
    pub(crate) fn count(open: &IntGauge) -> Self {
        open.inc();
        Self(open.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_refused() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let taken = first.local_addr().unwrap();
        assert_eq!(
            bind(taken).map_err(|e| e.kind()).err(),
            Some(io::ErrorKind::AddrInUse)
        );
    }
}
