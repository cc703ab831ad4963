//! SPF of a domain as receivers evaluate it: its record with all that it includes, counted.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::facts::{Facts, Found};
use super::spf::{self, Mechanism, Qualifier, Record};

/// Most terms that make receivers ask (RFC 7208 4.6.4); beyond, they give `permerror`.
pub(super) const LOOKUPS_MAX: usize = 10;
/// Most questions that may come back empty (the same section).
pub(super) const VOIDS_MAX: usize = 2;
/// Most names of `mx` that are asked for (the same section).
const MX_NAMES_MAX: usize = 10;
/// Where counting ends: who is this far over is told so.
const COUNTED_MAX: usize = 40;

/// What a domain's SPF comes to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Walk {
    /// The record's text, if there is exactly one.
    pub(super) text: Option<String>,
    /// Terms that make receivers ask.
    pub(super) lookups: usize,
    /// Questions that came back empty, by name.
    pub(super) voids: Vec<String>,
    /// Why receivers give `permerror`, whatever the message.
    pub(super) errors: Vec<String>,
    /// What could not be found out.
    pub(super) unknown: Vec<String>,
    /// Domains included, at any depth, with a plus.
    pub(super) includes: BTreeSet<String>,
    /// Networks that pass.
    pub(super) networks: Vec<IpNet>,
    /// What the record says of everybody else.
    pub(super) rest: Option<Qualifier>,
    /// Whether it uses `ptr`, which RFC 7208 5.5 asks not to.
    pub(super) has_ptr: bool,
    /// Whether a term depends on the message.
    pub(super) has_macro: bool,
}

impl Walk {
    /// Whether mail from this address passes by a network of the record.
    pub(super) fn covers(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&ip))
    }

    /// Whether receivers can evaluate it.
    pub(super) fn is_valid(&self) -> bool {
        self.text.is_some()
            && self.errors.is_empty()
            && self.lookups <= LOOKUPS_MAX
            && self.voids.len() <= VOIDS_MAX
    }
}

/// The SPF of `domain`. No text and no error: it has none.
pub(super) fn walk(facts: &Facts, domain: &str) -> Walk {
    let mut walker = Walker {
        facts,
        walk: Walk::default(),
        open: Vec::new(),
    };
    match walker.record_of(domain) {
        Found::Here(text) => {
            walker.walk.text = Some(text.clone());
            walker.follow(domain, &text, Depth::Own);
        }
        Found::Nothing => {}
        Found::Unknown(why) => walker.walk.unknown.push(why),
    }
    walker.walk
}

/// Whether what passes there passes here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// The domain's own record, or where it redirects to.
    Own,
    /// Included with a plus.
    Passing,
    /// Included with another sign: only counted.
    Counted,
}

struct Walker<'a> {
    facts: &'a Facts,
    walk: Walk,
    /// The records we are in.
    open: Vec<String>,
}

impl Walker<'_> {
    /// The one record of a domain.
    fn record_of(&mut self, domain: &str) -> Found<String> {
        let records = self.facts.txt(domain);
        let records = records.map(|texts| {
            let own = texts.into_iter().filter(|text| spf::is_spf(text));
            own.map(str::to_owned).collect::<Vec<_>>()
        });
        match records {
            Found::Here(texts) if texts.is_empty() => Found::Nothing,
            Found::Here(texts) if texts.len() > 1 => {
                let count = texts.len();
                let error = format!("{domain} has {count} SPF records, where one is allowed");
                self.walk.errors.push(error);
                Found::Nothing
            }
            Found::Here(mut texts) => texts.pop().map_or(Found::Nothing, Found::Here),
            Found::Nothing => Found::Nothing,
            Found::Unknown(why) => Found::Unknown(why),
        }
    }

    fn follow(&mut self, domain: &str, text: &str, depth: Depth) {
        let record = match spf::parse(text) {
            Ok(record) => record,
            Err(why) => {
                self.walk
                    .errors
                    .push(format!("in the record of {domain}, {why}"));
                return;
            }
        };
        self.open.push(domain.to_owned());
        self.terms(domain, &record, depth);
        self.open.pop();
    }

    fn terms(&mut self, domain: &str, record: &Record, depth: Depth) {
        for (qualifier, mechanism) in &record.terms {
            let passes = depth != Depth::Counted && *qualifier == Qualifier::Pass;
            match mechanism {
                Mechanism::All => {
                    if depth == Depth::Own {
                        self.walk.rest = Some(*qualifier);
                    }
                    // RFC 7208 5.1: what stands behind is not evaluated.
                    return;
                }
                Mechanism::Ip(network) if passes => self.walk.networks.push(*network),
                Mechanism::Ip(_) => {}
                Mechanism::Include(name) => self.include(name, passes),
                Mechanism::A(name, prefixes) => {
                    let name = name.as_deref().unwrap_or(domain);
                    if let Some(found) = self.addresses(name).filter(|_| passes) {
                        let networks = found.into_iter().filter_map(|ip| prefixes.around(ip));
                        self.walk.networks.extend(networks);
                    }
                }
                Mechanism::Mx(name, prefixes) => {
                    let name = name.as_deref().unwrap_or(domain);
                    if let Some(found) = self.exchangers(name).filter(|_| passes) {
                        let networks = found.into_iter().filter_map(|ip| prefixes.around(ip));
                        self.walk.networks.extend(networks);
                    }
                }
                Mechanism::Ptr => {
                    self.count();
                    self.walk.has_ptr = true;
                }
                Mechanism::Exists => {
                    self.count();
                    self.walk.has_macro = true;
                }
            }
        }
        if let Some(name) = &record.redirect {
            self.redirect(name, depth);
        }
    }

    /// Counts a term that asks; whether it is still worth asking.
    fn count(&mut self) -> bool {
        self.walk.lookups += 1;
        self.walk.lookups <= COUNTED_MAX
    }

    fn include(&mut self, name: &str, passes: bool) {
        let depth = match passes {
            true => Depth::Passing,
            false => Depth::Counted,
        };
        if passes {
            self.walk.includes.insert(name.to_owned());
        }
        self.other(name, depth, "includes");
    }

    fn redirect(&mut self, name: &str, depth: Depth) {
        if depth != Depth::Counted {
            self.walk.includes.insert(name.to_owned());
        }
        self.other(name, depth, "redirects to");
    }

    fn other(&mut self, name: &str, depth: Depth, does: &str) {
        if !self.count() {
            return;
        }
        if spf::has_macro(name) {
            self.walk.has_macro = true;
            return;
        }
        if self.open.iter().any(|open| open == name) {
            let error = format!("the record {does} {name}, which leads back to itself");
            self.walk.errors.push(error);
            return;
        }
        match self.record_of(name) {
            Found::Here(text) => self.follow(name, &text, depth),
            Found::Nothing => {
                if self.facts.txt(name) == Found::Nothing {
                    self.void(name);
                }
                // RFC 7208 5.2, 6.1: `none` there is `permerror` here.
                let error = format!("the record {does} {name}, which has no usable SPF record");
                self.walk.errors.push(error);
            }
            Found::Unknown(why) => self.walk.unknown.push(why),
        }
    }

    fn void(&mut self, name: &str) {
        self.walk.voids.push(name.to_owned());
    }

    fn addresses(&mut self, name: &str) -> Option<Vec<IpAddr>> {
        if !self.count() {
            return None;
        }
        self.addresses_of(name)
    }

    fn addresses_of(&mut self, name: &str) -> Option<Vec<IpAddr>> {
        if spf::has_macro(name) {
            self.walk.has_macro = true;
            return None;
        }
        match self.facts.addresses(name) {
            Found::Here(found) => Some(found),
            Found::Nothing => {
                self.void(name);
                None
            }
            Found::Unknown(why) => {
                self.walk.unknown.push(why);
                None
            }
        }
    }

    fn exchangers(&mut self, name: &str) -> Option<Vec<IpAddr>> {
        if !self.count() {
            return None;
        }
        if spf::has_macro(name) {
            self.walk.has_macro = true;
            return None;
        }
        match self.facts.mx(name) {
            Found::Here(hosts) => {
                if hosts.len() > MX_NAMES_MAX {
                    let error = format!("`mx` of {name} has more than {MX_NAMES_MAX} names");
                    self.walk.errors.push(error);
                }
                let hosts: Vec<String> = hosts.iter().map(|(_, host)| (*host).to_owned()).collect();
                let hosts = hosts
                    .iter()
                    .take(MX_NAMES_MAX)
                    .filter(|host| !host.is_empty());
                Some(
                    hosts
                        .filter_map(|host| self.addresses_of(host))
                        .flatten()
                        .collect(),
                )
            }
            Found::Nothing => {
                self.void(name);
                None
            }
            Found::Unknown(why) => {
                self.walk.unknown.push(why);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::facts;
    use super::*;

    fn walked(lines: &[&str]) -> Walk {
        facts(lines, |facts| walk(facts, "x.test"))
    }

    #[test]
    fn includes_are_followed_and_their_networks_pass() {
        let walk = walked(&[
            "TXT x.test v=spf1 include:a.test ?include:n.test a:h.test mx -all",
            "TXT x.test another text",
            "TXT a.test v=spf1 ip4:192.0.2.0/24 redirect=b.test",
            "TXT b.test v=spf1 ip4:198.51.100.1 -all",
            "TXT n.test v=spf1 ip4:203.0.113.1 -all",
            "A h.test 203.0.113.9",
            "MX x.test 10 m.test",
            "AAAA m.test 2001:db8::1",
        ]);
        assert!(walk.is_valid(), "{walk:?}");
        assert_eq!(walk.lookups, 5);
        assert_eq!(walk.rest, Some(Qualifier::Fail));
        assert!(walk.includes.contains("b.test") && !walk.includes.contains("n.test"));
        for (ip, is_covered) in [
            ("192.0.2.7", true),
            ("198.51.100.1", true),
            ("203.0.113.9", true),
            ("2001:db8::1", true),
            ("203.0.113.1", false),
            ("198.51.100.2", false),
        ] {
            assert_eq!(walk.covers(ip.parse().unwrap()), is_covered, "{ip}");
        }
    }

    #[test]
    fn two_records_are_none() {
        let walk = walked(&["TXT x.test v=spf1 -all", "TXT x.test v=spf1 ~all"]);
        assert!(walk.errors[0].contains("2 SPF records"), "{walk:?}");
        assert!(!walk.is_valid());
    }

    #[test]
    fn eleven_lookups_are_one_too_many() {
        for (count, is_valid) in [(10, true), (11, false)] {
            let includes: Vec<String> = (0..count).map(|n| format!("include:i{n}.test")).collect();
            let own = format!("TXT x.test v=spf1 {} -all", includes.join(" "));
            let others: Vec<String> = (0..count)
                .map(|n| format!("TXT i{n}.test v=spf1 ip4:192.0.2.{n} -all"))
                .collect();
            let lines: Vec<&str> = std::iter::once(own.as_str())
                .chain(others.iter().map(String::as_str))
                .collect();
            let walk = walked(&lines);
            assert_eq!((walk.lookups, walk.is_valid()), (count, is_valid));
        }
    }

    #[test]
    fn a_third_void_lookup_is_one_too_many() {
        let walk = walked(&["TXT x.test v=spf1 a:p.test a:q.test a:r.test -all"]);
        assert_eq!(walk.voids, ["p.test", "q.test", "r.test"]);
        assert!(!walk.is_valid());
    }

    #[test]
    fn a_loop_ends_and_an_include_of_nothing_is_an_error() {
        let walk = walked(&[
            "TXT x.test v=spf1 include:y.test include:z.test -all",
            "TXT y.test v=spf1 include:x.test -all",
        ]);
        assert!(walk.errors[0].contains("leads back"), "{walk:?}");
        assert!(walk.errors[1].contains("z.test"), "{walk:?}");
    }

    #[test]
    fn a_name_server_that_fails_is_not_an_absent_record() {
        let walk = walked(&["TXT x.test ?"]);
        assert!(walk.text.is_none() && walk.errors.is_empty());
        assert!(walk.unknown[0].contains("SERVFAIL"), "{walk:?}");
    }

    #[test]
    fn a_tree_without_end_is_counted_to_a_bound() {
        let includes: Vec<String> = (0..60).map(|n| format!("include:i{n}.test")).collect();
        let walk = walked(&[&format!("TXT x.test v=spf1 {}", includes.join(" "))]);
        assert!(walk.errors.len() <= COUNTED_MAX && !walk.is_valid());
    }
}
