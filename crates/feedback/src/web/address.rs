//! Which URLs may be called, as far as their text tells.

use malote_core::web::is_public;
use reqwest::Url;
use std::net::IpAddr;

use super::Reach;

/// Longest URL, in octets.
const URL_BYTES_MAX: usize = 2048;

/// Why a URL is not called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressFault {
    /// Not a URL at all.
    #[error("is not a URL, as in \"https://shop.example/events\"")]
    NotUrl,
    /// More than 2,048 octets.
    #[error("is longer than 2048 octets")]
    TooLong,
    /// `file:`, `gopher:` and their like.
    #[error("must begin with https://")]
    Scheme,
    /// What is told travels in clear.
    #[error("must begin with https://; http is for private networks, with allow_private = true")]
    Clear,
    /// `user:password@`, or a fragment, which never reaches the peer.
    #[error("must not hold a user, a password or a fragment")]
    Extras,
    /// An address in a form that hides which one it is.
    #[error("writes its address in an unusual form: write 192.0.2.1, [2001:db8::1] or a name")]
    OddHost,
    /// Loopback, private, link-local and their like.
    #[error("leads to a private address: set allow_private = true if it is yours")]
    Private,
}

/// Reads a URL that is to be called.
///
/// # Errors
/// [`AddressFault`]: the first thing that is wrong with it.
pub(crate) fn parse(text: &str, reach: Reach) -> Result<Url, AddressFault> {
    if text.len() > URL_BYTES_MAX {
        return Err(AddressFault::TooLong);
    }
    // The parser passes over control characters and spaces around, which nobody means.
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(AddressFault::NotUrl);
    }
    let url: Url = text.parse().map_err(|_| AddressFault::NotUrl)?;
    match (url.scheme(), reach) {
        ("https", _) | ("http", Reach::Private) => {}
        ("http", Reach::Public) => return Err(AddressFault::Clear),
        _ => return Err(AddressFault::Scheme),
    }
    let has_user = !url.username().is_empty() || url.password().is_some();
    if has_user || url.fragment().is_some() {
        return Err(AddressFault::Extras);
    }
    let host = url.host_str().ok_or(AddressFault::NotUrl)?;
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    let is_private = match literal.parse::<IpAddr>() {
        Ok(ip) => {
            let is_mapped = matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
            if is_mapped || host_as_written(text) != host {
                return Err(AddressFault::OddHost);
            }
            !is_public(ip)
        }
        Err(_) => {
            let name = host.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
    };
    match reach {
        Reach::Public if is_private => Err(AddressFault::Private),
        Reach::Public | Reach::Private => Ok(url),
    }
}

/// The host as it stands in the text, before the parser has made an address of `0x7f.1`.
fn host_as_written(text: &str) -> &str {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let end = rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..end];
    if authority.starts_with('[') {
        let end = authority.find(']').map_or(authority.len(), |at| at + 1);
        return &authority[..end];
    }
    authority.split(':').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn public_hosts_by_https_are_called() {
        for text in [
            "https://shop.example/events?v=1",
            "https://shop.example:8443/",
            "https://52.94.1.1/x",
            "https://[2600:1f18::1]:444/x",
            "HTTPS://Shop.Example/",
        ] {
            assert!(parse(text, Reach::Public).is_ok(), "{text}");
        }
    }

    #[test]
    fn private_hosts_and_http_need_the_operator_s_word() {
        for (text, fault) in [
            ("http://shop.example/", AddressFault::Clear),
            ("https://127.0.0.1/", AddressFault::Private),
            ("https://10.1.2.3:8000/", AddressFault::Private),
            ("https://169.254.169.254/latest", AddressFault::Private),
            ("https://[::1]/", AddressFault::Private),
            ("https://[fd00::1]/", AddressFault::Private),
            ("https://[64:ff9b::a00:1]/", AddressFault::Private),
            ("https://localhost/", AddressFault::Private),
            ("https://LOCALHOST./", AddressFault::Private),
            ("https://app.localhost/", AddressFault::Private),
        ] {
            assert_eq!(parse(text, Reach::Public), Err(fault), "{text}");
            assert!(parse(text, Reach::Private).is_ok(), "{text}");
        }
        assert!(parse("http://10.0.0.5:8080/x", Reach::Private).is_ok());
    }

    #[test]
    fn no_word_of_the_operator_helps_these() {
        for (text, fault) in [
            ("", AddressFault::NotUrl),
            ("shop.example", AddressFault::NotUrl),
            ("https://", AddressFault::NotUrl),
            ("https://shop.example/a b", AddressFault::NotUrl),
            ("https://shop\n.example/", AddressFault::NotUrl),
            ("file:///etc/passwd", AddressFault::Scheme),
            ("gopher://shop.example/", AddressFault::Scheme),
            ("ftp://shop.example/", AddressFault::Scheme),
            ("https://u:p@shop.example/", AddressFault::Extras),
            ("https://shop.example@127.0.0.1/", AddressFault::Extras),
            ("https://shop.example/#x", AddressFault::Extras),
            ("https://0x7f.1/", AddressFault::OddHost),
            ("https://2130706433/", AddressFault::OddHost),
            ("https://0177.0.0.1/", AddressFault::OddHost),
            ("https://127.1/", AddressFault::OddHost),
            ("https://134744072/", AddressFault::OddHost),
            ("https://①②⑦.0.0.1/", AddressFault::OddHost),
            ("https:\\\\0x7f.1\\x", AddressFault::OddHost),
            ("https:0x7f.1/", AddressFault::OddHost),
            ("https://[::ffff:7f00:1]/", AddressFault::OddHost),
            ("https://[::ffff:127.0.0.1]/", AddressFault::OddHost),
            ("https://[0:0:0:0:0:0:0:1]/", AddressFault::OddHost),
        ] {
            for reach in [Reach::Public, Reach::Private] {
                assert_eq!(parse(text, reach), Err(fault), "{text}");
            }
        }
        let long = format!("https://shop.example/{}", "x".repeat(URL_BYTES_MAX));
        assert_eq!(parse(&long, Reach::Private), Err(AddressFault::TooLong));
    }

    proptest! {
        #[test]
        fn no_text_leads_to_a_private_address(text in "https?:[/\\\\]{0,3}[0-9a-fx.:\\[\\]@%]{0,24}") {
            if let Ok(url) = parse(&text, Reach::Public) {
                let host = url.host_str().unwrap_or_default();
                let literal = host.trim_start_matches('[').trim_end_matches(']');
                if let Ok(ip) = literal.parse::<IpAddr>() {
                    prop_assert!(is_public(ip));
                }
            }
        }
    }
}
