//! What every client of the web must know: which addresses are public, and how long a peer asks it
//! to wait.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

use crate::provider::RETRY_AFTER_MAX;

/// Reads `Retry-After`: seconds or an HTTP date; `None` for anything else, negative numbers
/// included. At most [`RETRY_AFTER_MAX`].
#[must_use]
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    let is_number = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    if is_number {
        let seconds = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    }
    let wait = http_date(value)?.duration_since(now);
    let wait = Duration::try_from(wait).unwrap_or(Duration::ZERO);
    Some(wait.min(RETRY_AFTER_MAX))
}

/// Reads the dates that services write: RFC 9110 5.6.7 (IMF-fixdate) and the same with `UTC` or an
/// offset in place of `GMT`. A wrong day of the week does not matter.
#[must_use]
pub fn http_date(text: &str) -> Option<Timestamp> {
    const PARSER: DateTimeParser = DateTimeParser::new().relaxed_weekday(true);
    let text = text.trim();
    if text.len() > 64 {
        return None;
    }
    let named = ["GMT", "UTC"]
        .iter()
        .find_map(|zone| text.strip_suffix(zone));
    match named {
        Some(rest) => PARSER.parse_timestamp(format!("{rest}+0000")).ok(),
        None => PARSER.parse_timestamp(text).ok(),
    }
}

/// Whether an address is of the Internet at large (IANA special-purpose registries).
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    let is_special = v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_documentation()
        || v4.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b));
    !is_special
}

/// Only 2000::/3 is given out; addresses in it that carry an IPv4 address are judged by that.
fn is_public_v6(v6: Ipv6Addr) -> bool {
    if let Some(v4) = v6.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    let s = v6.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match s {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => is_public_v4(embedded(high, low)),
        [0x2002, high, low, ..] => is_public_v4(embedded(high, low)),
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_within_an_hour() {
        let now: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
        let s = Duration::from_secs;
        for (value, wait) in [
            ("3", Some(s(3))),
            (" 0 ", Some(s(0))),
            ("99999999", Some(RETRY_AFTER_MAX)),
            ("999999999999999999999999", Some(RETRY_AFTER_MAX)),
            ("-1", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
            ("Sun, 22 Nov 2026 00:01:00 GMT", Some(s(60))),
            ("Sun, 22 Nov 2026 09:00:00 GMT", Some(RETRY_AFTER_MAX)),
            ("Sat, 21 Nov 2026 00:00:00 GMT", Some(s(0))),
        ] {
            assert_eq!(retry_after(value, now), wait, "{value}");
        }
    }

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        for public in [
            "52.94.1.1",
            "2600:1f18::1",
            "2a05:d000::1",
            "64:ff9b::3402:101",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
    }
}
