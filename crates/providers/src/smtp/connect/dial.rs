//! From addresses to a TCP connection: each in turn, the next one not long after the first.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use malote_core::provider::{Reply, SendError, Verdict};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use super::{Endpoint, transient};

/// How long one address is tried alone (RFC 8305 8).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// Most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// Finds out about peers that vanished while a connection was idle.
const KEEPALIVE: Duration = Duration::from_secs(60);

impl Endpoint {
    pub(super) async fn dial(&self, source: Option<IpAddr>) -> Result<TcpStream, SendError> {
        let wait = self.timing.connect;
        let addresses = in_turn(self.addresses().await?, source);
        if addresses.is_empty() {
            let what = "the host has no address of the source address's family";
            return Err(SendError::new(Verdict::PoolUnusable, Reply::none(what)));
        }
        match timeout(wait, race(addresses, source)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) if is_ours(&error) && source.is_some() => {
                let what = format!("cannot connect from the pool's source address: {error}");
                Err(SendError::new(Verdict::PoolUnusable, Reply::none(&what)))
            }
            Ok(Err(error)) => Err(transient(&format!("cannot connect: {error}"))),
            Err(_) => Err(transient("connecting took too long")),
        }
    }
}

/// IPv6 and IPv4 alternating, only what `source` can reach.
fn in_turn(addresses: Vec<SocketAddr>, source: Option<IpAddr>) -> Vec<SocketAddr> {
    let reachable = |address: &SocketAddr| source.is_none_or(|s| s.is_ipv4() == address.is_ipv4());
    let (v6, v4): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .filter(reachable)
        .partition(SocketAddr::is_ipv6);
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut turn = Vec::with_capacity(ADDRESSES_MAX);
    loop {
        let pair = [v6.next(), v4.next()];
        if pair == [None, None] || turn.len() >= ADDRESSES_MAX {
            return turn;
        }
        turn.extend(pair.into_iter().flatten());
    }
}

/// The first of `addresses` that answers.
async fn race(addresses: Vec<SocketAddr>, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let mut attempts = FuturesUnordered::new();
    let mut rest = addresses.into_iter();
    let mut last_error = io::Error::from(io::ErrorKind::AddrNotAvailable);
    attempts.extend(rest.next().map(|address| connect(address, source)));
    while !attempts.is_empty() {
        tokio::select! {
            Some(result) = attempts.next() => match result {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    last_error = error;
                    attempts.extend(rest.next().map(|address| connect(address, source)));
                }
            },
            () = sleep(NEXT_ADDRESS_AFTER), if rest.len() > 0 => {
                attempts.extend(rest.next().map(|address| connect(address, source)));
            }
        }
    }
    Err(last_error)
}

async fn connect(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    // Without it the last small write of a message waits 40 ms for a delayed acknowledgement.
    socket.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
    SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
    socket.connect(address).await
}

fn is_ours(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
}

/// Whether an address is on this machine or in a private network (RFC 1918, RFC 3927, RFC 4193,
/// RFC 4291 2.5.6).
pub(crate) const fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_the_source_chooses_one() {
        let all: Vec<SocketAddr> = ["[::1]:25", "[::2]:25", "10.0.0.1:25", "10.0.0.2:25"]
            .map(|a| a.parse().unwrap())
            .to_vec();
        let turn = in_turn(all.clone(), None);
        assert_eq!(turn, [all[0], all[2], all[1], all[3]]);
        let v4 = in_turn(all.clone(), Some("127.0.0.2".parse().unwrap()));
        assert_eq!(v4, all[2..]);
        assert!(in_turn(vec![all[0]; 100], None).len() <= ADDRESSES_MAX + 1);
    }

    #[test]
    fn only_near_addresses_are_private() {
        for (ip, is_near) in [
            ("127.0.0.1", true),
            ("127.0.0.2", true),
            ("10.1.2.3", true),
            ("172.16.0.1", true),
            ("192.168.1.1", true),
            ("169.254.1.1", true),
            ("::1", true),
            ("fd00::1", true),
            ("fe80::1", true),
            ("::ffff:127.0.0.1", true),
            ("192.0.2.1", false),
            ("172.32.0.1", false),
            ("0.0.0.0", false),
            ("::ffff:8.8.8.8", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_private(ip.parse().unwrap()), is_near, "{ip}");
        }
    }
}
