//! PROXY protocol headers, versions 1 and 2, from proxies that the configuration names.
//!
//! Source: haproxy's `doc/proxy-protocol.txt`, sections 2.1 and 2.2.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Section 2.1: a version 1 line is at most 107 octets, CRLF included.
const LINE_BYTES_MAX: usize = 107;
/// Octets of addresses and TLVs behind a version 2 header; a bound of ours.
const BLOCK_BYTES_MAX: usize = 2_048;
/// Section 2.2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Whom a proxy speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A client.
    Client(IpAddr),
    /// The proxy itself (a health check), or somebody it does not know.
    Unknown,
}

/// Reads one header and not an octet more.
///
/// # Errors
/// `InvalidData` for anything that is no header; what the socket says otherwise. The caller
/// bounds the time.
pub(crate) async fn read<R: AsyncRead + Unpin>(stream: &mut R) -> io::Result<Origin> {
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    let origin = if head == SIGNATURE {
        read_binary(stream).await?
    } else {
        read_line(stream, &head).await?
    };
    origin.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

async fn read_binary<R: AsyncRead + Unpin>(stream: &mut R) -> io::Result<Option<Origin>> {
    let mut fixed = [0; 4];
    stream.read_exact(&mut fixed).await?;
    let length = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    if length > BLOCK_BYTES_MAX {
        return Ok(None);
    }
    let mut block = vec![0; length];
    stream.read_exact(&mut block).await?;
    Ok(parse_binary(fixed[0], fixed[1], &block))
}

async fn read_line<R: AsyncRead + Unpin>(
    stream: &mut R,
    head: &[u8],
) -> io::Result<Option<Origin>> {
    if !head.starts_with(b"PROXY ") {
        return Ok(None);
    }
    let mut line = head.to_vec();
    while !line.ends_with(b"\n") {
        if line.len() == LINE_BYTES_MAX {
            return Ok(None);
        }
        line.push(stream.read_u8().await?);
    }
    Ok(parse_line(&line))
}

fn parse_line(line: &[u8]) -> Option<Origin> {
    let text = std::str::from_utf8(line.strip_suffix(b"\r\n")?).ok()?;
    let mut words = text.strip_prefix("PROXY ")?.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(Origin::Unknown);
    }
    let (source, destination) = (words.next()?, words.next()?);
    let ports: (Option<&str>, Option<&str>) = (words.next(), words.next());
    let are_ports = [ports.0?, ports.1?]
        .iter()
        .all(|port| port.parse::<u16>().is_ok());
    if !are_ports || words.next().is_some() {
        return None;
    }
    let of_family = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    of_family(destination)?;
    Some(Origin::Client(of_family(source)?.to_canonical()))
}

fn parse_binary(version_command: u8, family: u8, block: &[u8]) -> Option<Origin> {
    match version_command {
        0x20 => return Some(Origin::Unknown),
        0x21 => {}
        _ => return None,
    }
    match family {
        0x11 if block.len() >= 12 => {
            let octets: [u8; 4] = block.get(..4)?.try_into().ok()?;
            Some(Origin::Client(IpAddr::from(octets)))
        }
        0x21 if block.len() >= 36 => {
            let octets: [u8; 16] = block.get(..16)?.try_into().ok()?;
            Some(Origin::Client(IpAddr::from(octets).to_canonical()))
        }
        0x00 => Some(Origin::Unknown),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn read_all(mut wire: &[u8]) -> (Option<Origin>, usize) {
        let origin = read(&mut wire).await.ok();
        (origin, wire.len())
    }

    fn client(ip: &str) -> Option<Origin> {
        Some(Origin::Client(ip.parse().unwrap()))
    }

    fn binary(version_command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[version_command, family], &length, block].concat()
    }

    #[tokio::test]
    async fn headers_of_both_versions_name_the_client_and_nothing_more_is_read() {
        let v4 = [192, 0, 2, 1, 192, 0, 2, 2, 0, 1, 0, 2];
        let v6 = [[0x20; 16].as_slice(), &[0; 16], &[0, 1, 0, 2]].concat();
        for (header, origin) in [
            (
                b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 25\r\n".to_vec(),
                client("192.0.2.1"),
            ),
            (
                b"PROXY TCP6 2001:db8::1 ::1 1000 25\r\n".to_vec(),
                client("2001:db8::1"),
            ),
            (
                b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1000 25\r\n".to_vec(),
                client("192.0.2.1"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), Some(Origin::Unknown)),
            (b"PROXY UNKNOWN a b c d\r\n".to_vec(), Some(Origin::Unknown)),
            (binary(0x21, 0x11, &v4), client("192.0.2.1")),
            (
                binary(0x21, 0x21, &v6),
                client("2020:2020:2020:2020:2020:2020:2020:2020"),
            ),
            (binary(0x20, 0x00, b""), Some(Origin::Unknown)),
        ] {
            let wire = [header, b"EHLO x\r\n".to_vec()].concat();
            assert_eq!(read_all(&wire).await, (origin, 8));
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
        for wire in [
            &b"EHLO client.test\r\n"[..],
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1000\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 25 9\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 70000\r\n",
            b"PROXY TCP4 ::1 ::1 1000 25\r\n",
            b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 25\n",
            long.as_bytes(),
            &binary(0x31, 0x11, &[0; 12]),
            &binary(0x21, 0x11, &[0; 4]),
            &binary(0x21, 0x31, &[0; 216]),
            &binary(0x21, 0x11, &[0; 3_000]),
        ] {
            assert_eq!(read_all(wire).await.0, None, "{wire:?}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            prop_assert!(parse_line(&bytes).is_none() || bytes.starts_with(b"PROXY "));
            prop_assert!(parse_binary(0x21, 0x11, &bytes).is_none() || bytes.len() >= 12);
            prop_assert!(parse_binary(0x21, 0x21, &bytes).is_none() || bytes.len() >= 36);
        }
    }
}
