//! Who is at the other end, once trusted proxies are looked through.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;

use super::config::ProxyNet;

/// Most hops looked at; a longer chain is no chain.
const HOPS_MAX: usize = 16;

/// The address of the connection's other end, put into each request by the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// The right-most hop of `X-Forwarded-For` that is no trusted proxy, if the connection itself
/// comes from one. What stands left of it is whatever the client chose to write.
pub(crate) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[ProxyNet]) -> IpAddr {
    let is_trusted = |ip: IpAddr| trusted.iter().any(|net| net.0.contains(&ip.to_canonical()));
    let mut nearest = peer.to_canonical();
    let fields = headers.get_all("x-forwarded-for").iter();
    let fields: Vec<_> = fields.filter_map(|value| value.to_str().ok()).collect();
    let hops = fields.iter().rev().flat_map(|field| field.rsplit(','));
    for hop in hops.take(HOPS_MAX) {
        if !is_trusted(nearest) {
            break;
        }
        match parse_hop(hop.trim()) {
            Some(ip) => nearest = ip,
            None => break,
        }
    }
    nearest
}

fn parse_hop(hop: &str) -> Option<IpAddr> {
    let bare = hop.trim_start_matches('[').trim_end_matches(']');
    let with_port = || hop.parse::<SocketAddr>().map(|address| address.ip());
    let ip = bare.parse::<IpAddr>().or_else(|_| with_port());
    ip.ok().map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trusted_proxy_may_name_the_client_and_the_right_most_foreign_hop_counts() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        for (peer, forwarded, client) in [
            ("203.0.113.9", "1.2.3.4", "203.0.113.9"),
            ("10.0.0.1", "1.2.3.4", "1.2.3.4"),
            ("10.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"),
            ("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.9.9.9", "1.2.3.4"),
            ("10.0.0.1", "1.2.3.4:55000", "1.2.3.4"),
            ("10.0.0.1", "[2001:db8::1]:443", "2001:db8::1"),
            ("10.0.0.1", "garbage", "10.0.0.1"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("::ffff:10.0.0.1", "1.2.3.4", "1.2.3.4"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", forwarded.parse().unwrap());
            let found = client_address(peer.parse().unwrap(), &headers, &trusted);
            assert_eq!(found.to_string(), client, "{peer} {forwarded}");
        }
    }
}
