//! SPF (RFC 7208): one record's syntax.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Most terms looked at in one record; a record of 4 KiB cannot hold more that mean anything.
const TERMS_MAX: usize = 500;

/// What a term that matches says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Qualifier {
    Pass,
    Fail,
    SoftFail,
    Neutral,
}

/// What a term matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mechanism {
    All,
    Include(String),
    /// `a`; `None` is the record's own domain.
    A(Option<String>, Prefixes),
    Mx(Option<String>, Prefixes),
    Ptr,
    Ip(IpNet),
    Exists,
}

/// The lengths after `a` and `mx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefixes {
    v4: u8,
    v6: u8,
}

impl Prefixes {
    /// The network of an address.
    pub(super) fn around(self, ip: IpAddr) -> Option<IpNet> {
        let length = match ip {
            IpAddr::V4(_) => self.v4,
            IpAddr::V6(_) => self.v6,
        };
        IpNet::new(ip, length).ok()
    }
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Record {
    pub(super) terms: Vec<(Qualifier, Mechanism)>,
    /// Where to go on if nothing matches.
    pub(super) redirect: Option<String>,
}

/// Whether a text record is one of SPF (RFC 7208 4.5).
pub(super) fn is_spf(text: &str) -> bool {
    let version = text.split(' ').next().unwrap_or_default();
    version.eq_ignore_ascii_case("v=spf1")
}

/// Reads a record.
///
/// # Errors
/// The term that cannot be read, with what is wrong with it: receivers then give `permerror`.
pub(super) fn parse(text: &str) -> Result<Record, String> {
    let mut record = Record::default();
    for term in text.split(' ').skip(1).filter(|term| !term.is_empty()) {
        if record.terms.len() >= TERMS_MAX {
            return Err(format!("holds more than {TERMS_MAX} terms"));
        }
        let (name, value) = match term.find(['=', ':', '/']) {
            Some(at) => (&term[..at], &term[at..]),
            None => (term, ""),
        };
        if let Some(value) = value.strip_prefix('=') {
            modifier(&mut record, term, name, value)?;
            continue;
        }
        let (qualifier, name) = qualified(name);
        let mechanism = mechanism(&name.to_ascii_lowercase(), value);
        record.terms.push((
            qualifier,
            mechanism.map_err(|why| format!("{term:?}: {why}"))?,
        ));
    }
    Ok(record)
}

fn modifier(record: &mut Record, term: &str, name: &str, value: &str) -> Result<(), String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(is_name) {
        return Err(format!("{term:?}: no such modifier"));
    }
    if name.eq_ignore_ascii_case("redirect") {
        if record.redirect.is_some() {
            return Err(format!("{term:?}: redirect stands twice"));
        }
        record.redirect = Some(domain(value).map_err(|why| format!("{term:?}: {why}"))?);
    }
    Ok(())
}

fn qualified(name: &str) -> (Qualifier, &str) {
    for (sign, qualifier) in [
        ('+', Qualifier::Pass),
        ('-', Qualifier::Fail),
        ('~', Qualifier::SoftFail),
        ('?', Qualifier::Neutral),
    ] {
        if let Some(rest) = name.strip_prefix(sign) {
            return (qualifier, rest);
        }
    }
    (Qualifier::Pass, name)
}

fn mechanism(name: &str, value: &str) -> Result<Mechanism, String> {
    let argument = value.strip_prefix(':');
    match (name, argument) {
        ("all", None) if value.is_empty() => Ok(Mechanism::All),
        ("include", Some(name)) => Ok(Mechanism::Include(domain(name)?)),
        ("exists", Some(name)) => domain(name).map(|_| Mechanism::Exists),
        ("ptr", None) if value.is_empty() => Ok(Mechanism::Ptr),
        ("ptr", Some(name)) => domain(name).map(|_| Mechanism::Ptr),
        ("ip4", Some(ip)) => v4(ip).map(Mechanism::Ip),
        ("ip6", Some(ip)) => v6(ip).map(Mechanism::Ip),
        ("a", _) => of_name(value).map(|(name, prefixes)| Mechanism::A(name, prefixes)),
        ("mx", _) => of_name(value).map(|(name, prefixes)| Mechanism::Mx(name, prefixes)),
        ("include" | "exists" | "ip4" | "ip6", None) => Err("lacks what follows `:`".to_owned()),
        (_, _) => Err("no such mechanism".to_owned()),
    }
}

fn v4(text: &str) -> Result<IpNet, String> {
    let (ip, length) = text.split_once('/').unwrap_or((text, "32"));
    let ip: Result<Ipv4Addr, _> = ip.parse();
    let net = ip.ok().zip(length.parse().ok());
    let net = net.and_then(|(ip, length)| Ipv4Net::new(ip, length).ok());
    net.map(IpNet::V4)
        .ok_or_else(|| "no IPv4 network".to_owned())
}

fn v6(text: &str) -> Result<IpNet, String> {
    let (ip, length) = text.split_once('/').unwrap_or((text, "128"));
    let ip: Result<Ipv6Addr, _> = ip.parse();
    let net = ip.ok().zip(length.parse().ok());
    let net = net.and_then(|(ip, length)| Ipv6Net::new(ip, length).ok());
    net.map(IpNet::V6)
        .ok_or_else(|| "no IPv6 network".to_owned())
}

/// `[:domain][/length][//length]`
fn of_name(value: &str) -> Result<(Option<String>, Prefixes), String> {
    let (name, lengths) = match value.find('/') {
        Some(at) => value.split_at(at),
        None => (value, ""),
    };
    let name = match name.strip_prefix(':') {
        Some(name) => Some(domain(name)?),
        None if name.is_empty() => None,
        None => return Err("no such mechanism".to_owned()),
    };
    let (v4, v6) = lengths.split_once("//").unwrap_or((lengths, ""));
    let length = |text: &str, max: u8| match text.trim_start_matches('/') {
        "" => Ok(max),
        digits => match digits.parse::<u8>() {
            Ok(length) if length <= max => Ok(length),
            Ok(_) | Err(_) => Err(format!("no length of a network: {digits}")),
        },
    };
    let (v4, v6) = (length(v4, 32)?, length(v6, 128)?);
    Ok((name, Prefixes { v4, v6 }))
}

/// A domain-spec; one with macros is kept as it is.
fn domain(text: &str) -> Result<String, String> {
    let text = text.trim_end_matches('.');
    let is_visible = |c: char| c.is_ascii_graphic();
    let is_long = text
        .split('.')
        .any(|label| label.is_empty() || label.len() > 63);
    if has_macro(text) && text.chars().all(is_visible) {
        return Ok(text.to_owned());
    }
    if text.len() > 253 || is_long || !text.chars().all(is_visible) {
        return Err("no domain".to_owned());
    }
    Ok(text.to_ascii_lowercase())
}

/// Whether the name depends on the message (RFC 7208 7), so that nobody can look it up before.
pub(super) fn has_macro(name: &str) -> bool {
    name.contains('%')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn terms_are_read_as_the_rfc_writes_them() {
        let record = parse(
            "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 a mx:x.test/28//64 \
             ?include:Y.test. ~exists:%{i}.z.test exp=e.test redirect=_spf.x.test",
        )
        .unwrap();
        assert_eq!(record.terms.len(), 6);
        assert_eq!(record.redirect.as_deref(), Some("_spf.x.test"));
        let (qualifier, include) = &record.terms[4];
        assert_eq!(*qualifier, Qualifier::Neutral);
        assert_eq!(*include, Mechanism::Include("y.test".to_owned()));
        let Mechanism::Mx(Some(name), prefixes) = &record.terms[3].1 else {
            panic!("{record:?}");
        };
        assert_eq!(
            (name.as_str(), prefixes.v4, prefixes.v6),
            ("x.test", 28, 64)
        );
    }

    #[test]
    fn what_receivers_give_permerror_for_is_named() {
        for (text, term) in [
            ("v=spf1 ip4:192.0.2.0/33 -all", "ip4:192.0.2.0/33"),
            ("v=spf1 ip4:192.0.2 -all", "ip4:192.0.2"),
            ("v=spf1 ip6:192.0.2.1 -all", "ip6:192.0.2.1"),
            ("v=spf1 include -all", "include"),
            ("v=spf1 include: -all", "include:"),
            ("v=spf1 inlcude:x.test -all", "inlcude:x.test"),
            ("v=spf1 a/33", "a/33"),
            ("v=spf1 all:x.test", "all:x.test"),
            ("v=spf1 redirect=a.test redirect=b.test", "redirect=b.test"),
            ("v=spf1 192.0.2.1 -all", "192.0.2.1"),
        ] {
            let fault = parse(text).unwrap_err();
            assert!(fault.contains(term), "{text}: {fault}");
        }
    }

    #[test]
    fn only_the_whole_version_makes_an_spf_record() {
        assert!(is_spf("v=spf1"));
        assert!(is_spf("V=SPF1 -all"));
        assert!(!is_spf("v=spf10 -all"));
        assert!(!is_spf(" v=spf1 -all"));
    }

    proptest! {
        #[test]
        fn no_record_makes_it_panic(text in "v=spf1 \\PC{0,200}") {
            if let Ok(record) = parse(&text) {
                prop_assert!(record.terms.len() <= TERMS_MAX);
            }
        }

        #[test]
        fn no_mix_of_terms_makes_it_panic(
            terms in proptest::collection::vec("[-+~?]?(a|mx|ip4|ip6|include|exists|ptr|all|exp|redirect)[:=/]{0,2}[a-z0-9.:/%{}]{0,12}", 0..20)
        ) {
            drop(parse(&format!("v=spf1 {}", terms.join(" "))));
        }
    }
}
