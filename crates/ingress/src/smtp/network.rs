//! Networks in listener tables: `127.0.0.1/32`, `10.0.0.0/8`, `::1`.

use std::net::IpAddr;

use ipnet::IpNet;

/// The ranges that a listener without login may be open to: loopback, RFC 1918, RFC 4193 and
/// RFC 6598.
const PRIVATE: [&str; 7] = [
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "::1/128",
    "fc00::/7",
];

/// Parses a network, or one address.
///
/// # Errors
/// What is wrong and the way out, for a person.
pub(crate) fn parse(text: &str) -> Result<IpNet, String> {
    let parsed = text
        .parse::<IpNet>()
        .or_else(|fault| text.parse::<IpAddr>().map(IpNet::from).map_err(|_| fault));
    let network =
        parsed.map_err(|_| format!("{text:?} is not a network: write it as in \"10.0.0.0/8\""))?;
    if network.trunc() != network {
        return Err(format!(
            "{text} has bits set behind its prefix: did you mean {}?",
            network.trunc()
        ));
    }
    Ok(network)
}

/// Whether the network lies wholly within loopback or private ranges.
pub(crate) fn is_private(network: &IpNet) -> bool {
    PRIVATE
        .iter()
        .filter_map(|range| range.parse::<IpNet>().ok())
        .any(|range| range.contains(network))
}

/// Whether one of the networks holds the address. An IPv4 address mapped into IPv6 counts as the
/// IPv4 address it is.
pub(crate) fn holds(networks: &[IpNet], ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    networks.iter().any(|network| network.contains(&ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_private_ranges_are_private() {
        for text in [
            "127.0.0.1/32",
            "10.1.0.0/16",
            "192.168.0.0/16",
            "::1",
            "fd00::/8",
            "127.0.0.1",
        ] {
            assert!(is_private(&parse(text).unwrap()), "{text}");
        }
        for text in [
            "0.0.0.0/0",
            "10.0.0.0/7",
            "172.0.0.0/8",
            "192.0.2.0/24",
            "::/0",
            "::ffff:0:0/96",
            "::ffff:10.0.0.0/104",
            "2001:db8::/32",
        ] {
            assert!(!is_private(&parse(text).unwrap()), "{text}");
        }
    }

    #[test]
    fn what_is_no_network_says_the_way_out() {
        assert!(parse("10.0.0.1/8").is_err_and(|m| m.ends_with("did you mean 10.0.0.0/8?")));
        for text in ["", "localhost", "10.0.0.0/33", "10/8"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_mapped_address_counts_as_the_address_it_is() {
        let networks = [parse("127.0.0.0/8").unwrap()];
        assert!(holds(&networks, "::ffff:127.0.0.9".parse().unwrap()));
        assert!(!holds(&networks, "::1".parse().unwrap()));
    }
}
