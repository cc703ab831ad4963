//! Sockets that both servers bind the same way.

use std::io;
use std::net::SocketAddr;

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
