//! One's own sending addresses: their names, and the block lists that may name them.

use std::net::{IpAddr, Ipv4Addr};

use super::facts::{Facts, Found, reversed};
use super::report::{Level, Line};

/// A block list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BlockList {
    pub(super) zone: String,
    /// Whether it is known to list no IPv6: its "no such name" would say nothing.
    pub(super) is_v4_only: bool,
}

/// The lists that are asked if the configuration names none, and whether each knows IPv6.
pub(super) const DEFAULTS: [(&str, bool); 3] = [
    ("zen.spamhaus.org", true),
    ("bl.spamcop.net", false),
    ("b.barracudacentral.org", false),
];

/// Names of an address beyond this many are not looked at; receivers do no more.
const NAMES_MAX: usize = 10;

/// The lists to ask.
pub(super) fn block_lists(configured: Option<&[String]>) -> Vec<BlockList> {
    let list = |zone: &str| {
        let default = DEFAULTS.iter().find(|(own, _)| *own == zone);
        BlockList {
            zone: zone.to_owned(),
            is_v4_only: default.is_some_and(|(_, has_v6)| !has_v6),
        }
    };
    match configured {
        Some(zones) => zones.iter().map(|zone| list(zone)).collect(),
        None => DEFAULTS.iter().map(|(zone, _)| list(zone)).collect(),
    }
}

/// Looks at one address.
pub(super) fn judge(facts: &Facts, ip: IpAddr, lists: &[BlockList]) -> Vec<Line> {
    let mut lines = vec![names(facts, ip)];
    lines.extend(lists.iter().map(|list| listing(facts, ip, list)));
    lines
}

/// Large mailbox providers refuse mail from an address whose name does not lead back to it.
fn names(facts: &Facts, ip: IpAddr) -> Line {
    const CHECK: &str = "reverse name";
    let way_out = format!(
        "whoever gave you the address sets its PTR: to the name that the server says in EHLO, \
         whose A or AAAA must be {ip}"
    );
    let names = match facts.names_of(ip) {
        Found::Here(names) => names,
        Found::Nothing => {
            let text = "it has no name (PTR): Gmail, Microsoft and others refuse its mail";
            return Line::new(Level::Fault, CHECK, text).way_out(way_out);
        }
        Found::Unknown(why) => return Line::new(Level::Unknown, CHECK, why),
    };
    let mut unknown = None;
    for name in names.iter().take(NAMES_MAX) {
        match facts.addresses(name) {
            Found::Here(found) if found.contains(&ip) => {
                let text = format!("{name}, which leads back to it");
                return Line::new(Level::Ok, CHECK, text);
            }
            Found::Here(_) | Found::Nothing => {}
            Found::Unknown(why) => unknown = Some(why),
        }
    }
    if let Some(why) = unknown {
        return Line::new(Level::Unknown, CHECK, why);
    }
    let text = format!("{}, which does not lead back to it", names.join(", "));
    Line::new(Level::Fault, CHECK, text).way_out(way_out)
}

/// What one list says. What is no answer is neither listed nor clean.
fn listing(facts: &Facts, ip: IpAddr, list: &BlockList) -> Line {
    let zone = &list.zone;
    let check = format!("list {zone}");
    let unknown = |text: String| Line::new(Level::Unknown, check.clone(), text);
    if list.is_v4_only && ip.is_ipv6() {
        return unknown("it lists no IPv6 addresses".to_owned());
    }
    match facts.v4(&format!("{}{zone}", reversed(ip))) {
        Found::Here(answers) => {
            if let Some(why) = answers.iter().find_map(|answer| refusal(*answer)) {
                return unknown(format!("no answer: {why}"));
            }
            let codes: Vec<String> = answers.iter().map(ToString::to_string).collect();
            let text = format!("{ip} is listed ({})", codes.join(", "));
            let way_out = format!(
                "find out why and stop it, then ask for removal at the list's page, as in {}",
                removal_page(zone, ip)
            );
            Line::new(Level::Fault, check, text).way_out(way_out)
        }
        // RFC 5782 5: a list that works lists 127.0.0.2. One that refuses us by saying that it
        // knows nothing would call everybody clean.
        Found::Nothing => match facts.v4(&format!("2.0.0.127.{zone}")) {
            Found::Here(answers) => match answers.iter().find_map(|answer| refusal(*answer)) {
                Some(why) => unknown(format!("no answer: {why}")),
                None => Line::new(Level::Ok, check, "not listed"),
            },
            Found::Nothing => unknown(
                "no answer: it does not even list its test entry 127.0.0.2, so it is gone or \
                 refuses this name server"
                    .to_owned(),
            ),
            Found::Unknown(why) => unknown(why),
        },
        Found::Unknown(why) => unknown(why),
    }
}

/// Why an answer is about the question and not about the address.
fn refusal(answer: IpAddr) -> Option<String> {
    let IpAddr::V4(v4) = answer else {
        return Some(format!("{answer} is no answer of a list"));
    };
    // https://www.spamhaus.org/news/article/788/
    match v4.octets() {
        [127, 255, 255, 252] => Some(format!("{v4}, the list's name is misspelt")),
        [127, 255, 255, 254] => Some(format!(
            "{v4}, refused: asked through a public name server; ask through one of your own \
             ([doctor] dns_server)"
        )),
        [127, 255, 255, 255] => Some(format!("{v4}, refused: too many questions")),
        [127, 255, 255, _] => Some(format!("{v4}, refused")),
        [127, ..] if v4 != Ipv4Addr::LOCALHOST => None,
        // RFC 5782 2.1: lists answer from 127/8, and never list 127.0.0.1.
        _ => Some(format!(
            "{v4} is no answer of a list; does the name server redirect?"
        )),
    }
}

fn removal_page(zone: &str, ip: IpAddr) -> String {
    match zone {
        "zen.spamhaus.org" => format!("https://check.spamhaus.org/listed/?searchterm={ip}"),
        "bl.spamcop.net" => format!("https://www.spamcop.net/w3m?action=checkblock&ip={ip}"),
        "b.barracudacentral.org" => {
            "https://www.barracudacentral.org/rbl/removal-request".to_owned()
        }
        other => format!("https://{other}/"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::facts;
    use super::*;

    fn judged(ip: &str, zone: &[&str]) -> Vec<Line> {
        let lists = block_lists(Some(&["zen.spamhaus.org".to_owned()]));
        facts(zone, |facts| judge(facts, ip.parse().unwrap(), &lists))
    }

    #[test]
    fn a_name_must_lead_back() {
        for (zone, level) in [
            (
                &["PTR 1.2.0.192.in-addr.arpa m.test", "A m.test 192.0.2.1"][..],
                Level::Ok,
            ),
            (
                &["PTR 1.2.0.192.in-addr.arpa m.test", "A m.test 192.0.2.9"],
                Level::Fault,
            ),
            (&["PTR 1.2.0.192.in-addr.arpa m.test"], Level::Fault),
            (&[], Level::Fault),
            (&["PTR 1.2.0.192.in-addr.arpa ?"], Level::Unknown),
        ] {
            assert_eq!(judged("192.0.2.1", zone)[0].level, level, "{zone:?}");
        }
    }

    #[test]
    fn a_refusal_is_neither_listed_nor_clean() {
        let own = "A 1.2.0.192.zen.spamhaus.org";
        let test_entry = "A 2.0.0.127.zen.spamhaus.org 127.0.0.2";
        for (lines, level, word) in [
            (vec![test_entry.to_owned()], Level::Ok, "not listed"),
            (vec![format!("{own} 127.0.0.4")], Level::Fault, "127.0.0.4"),
            (
                vec![format!("{own} 127.255.255.254")],
                Level::Unknown,
                "public name server",
            ),
            (
                vec![format!("{own} 127.255.255.255")],
                Level::Unknown,
                "too many",
            ),
            (
                vec![format!("{own} 127.255.255.252")],
                Level::Unknown,
                "misspelt",
            ),
            (
                vec![format!("{own} 203.0.113.80")],
                Level::Unknown,
                "redirect",
            ),
            (vec![format!("{own} 127.0.0.1")], Level::Unknown, "redirect"),
            (vec![format!("{own} ?")], Level::Unknown, "SERVFAIL"),
            (vec![], Level::Unknown, "test entry"),
            (
                vec!["A 2.0.0.127.zen.spamhaus.org 127.255.255.254".to_owned()],
                Level::Unknown,
                "public name server",
            ),
        ] {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let line = &judged("192.0.2.1", &lines)[1];
            assert_eq!(line.level, level, "{lines:?}: {line:?}");
            assert!(line.text.contains(word), "{lines:?}: {line:?}");
        }
    }

    #[test]
    fn ipv6_is_asked_for_by_nibbles_where_it_is_listed() {
        let name = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2";
        let zone = format!("A {name}.zen.spamhaus.org 127.0.0.3");
        assert_eq!(judged("2001:db8::1", &[&zone])[1].level, Level::Fault);
        let lists = block_lists(None);
        let ip = "2001:db8::1".parse().unwrap();
        let lines = facts(&[], |facts| judge(facts, ip, &lists));
        assert_eq!(lines[2].level, Level::Unknown);
        assert!(lines[2].text.contains("no IPv6"), "{lines:?}");
    }
}
