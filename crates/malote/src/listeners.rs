//! Sockets to listen on: handed over by a service manager where it has them, else bound here.

use std::io;
use std::net::SocketAddr;

use listenfd::ListenFd;
use tokio::net::TcpListener;

/// The sockets that the service manager handed over (systemd's socket activation).
#[derive(Default)]
pub(crate) struct Handed {
    listeners: Vec<(SocketAddr, std::net::TcpListener)>,
}

impl Handed {
    /// Takes them from the environment.
    ///
    /// # Errors
    /// If what was handed over is no TCP socket.
    pub(crate) fn take() -> io::Result<Self> {
        let mut fds = ListenFd::from_env();
        let mut listeners = Vec::with_capacity(fds.len());
        for index in 0..fds.len() {
            if let Some(listener) = fds.take_tcp_listener(index)? {
                listeners.push((listener.local_addr()?, listener));
            }
        }
        Ok(Self { listeners })
    }

    /// The handed-over socket for this address, or one bound now.
    ///
    /// # Errors
    /// What the system says, with the address.
    pub(crate) fn listen(&mut self, address: SocketAddr) -> io::Result<TcpListener> {
        let place = self
            .listeners
            .iter()
            .position(|(handed, _)| *handed == address);
        let Some(place) = place else {
            return malote_ingress::bind(address)
                .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")));
        };
        let (_, listener) = self.listeners.swap_remove(place);
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    }

    /// Addresses that were handed over and that no table of the configuration asked for.
    pub(crate) fn left(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.iter().map(|(address, _)| *address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_handed_over_socket_is_used_for_its_address_and_only_for_it() {
        let handed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = handed.local_addr().unwrap();
        let mut sockets = Handed {
            listeners: vec![(address, handed)],
        };
        assert_ne!(
            sockets
                .listen("127.0.0.1:0".parse().unwrap())
                .unwrap()
                .local_addr()
                .unwrap(),
            address
        );
        assert_eq!(sockets.left().count(), 1);
        assert_eq!(
            sockets.listen(address).unwrap().local_addr().unwrap(),
            address
        );
        assert_eq!(sockets.left().count(), 0);
    }
}
