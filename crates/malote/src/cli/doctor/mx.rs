//! Whether replies and bounces to a domain arrive (RFC 5321 5.1, RFC 7505).

use super::facts::{Facts, Found};
use super::report::{Level, Line};

const CHECK: &str = "MX";

/// Looks at who takes a domain's mail.
pub(super) fn judge(facts: &Facts, domain: &str) -> Vec<Line> {
    let hosts = match facts.mx(domain) {
        Found::Here(hosts) => hosts,
        Found::Nothing => return vec![without_mx(facts, domain)],
        Found::Unknown(why) => return vec![Line::new(Level::Unknown, CHECK, why)],
    };
    if hosts.iter().any(|(_, host)| host.is_empty()) {
        let text = "it says that it takes no mail (a null MX): many receivers refuse mail from a \
                    domain that nobody can answer, and bounces are lost";
        let way_out = "publish the MX of a server that takes this domain's mail";
        return vec![Line::new(Level::Fault, CHECK, text).way_out(way_out)];
    }
    let mut lines: Vec<Line> = hosts
        .iter()
        .filter_map(|(_, host)| of_host(facts, host))
        .collect();
    if lines.is_empty() {
        let names: Vec<&str> = hosts.iter().map(|(_, host)| *host).collect();
        let text = format!("mail to it is taken by {}", names.join(", "));
        lines.push(Line::new(Level::Ok, CHECK, text));
    }
    lines
}

fn without_mx(facts: &Facts, domain: &str) -> Line {
    match facts.addresses(domain) {
        Found::Here(_) => {
            let text = "it has none; senders try its own address instead";
            let way_out = "publish an MX, or replies and bounces may find a web server";
            Line::new(Level::Warning, CHECK, text).way_out(way_out)
        }
        Found::Nothing => {
            let text = format!(
                "{domain} has neither an MX nor an address: replies and bounces are lost, and many \
                 receivers refuse mail from it"
            );
            let way_out = "publish the MX of a server that takes this domain's mail";
            Line::new(Level::Fault, CHECK, text).way_out(way_out)
        }
        Found::Unknown(why) => Line::new(Level::Unknown, CHECK, why),
    }
}

fn of_host(facts: &Facts, host: &str) -> Option<Line> {
    if let Found::Here(aliases) = facts.cname(host) {
        // RFC 2181 10.3
        let text = format!("{host} is another name of {}", aliases.join(", "));
        let way_out = "let the MX name the server itself: some senders follow no alias there";
        return Some(Line::new(Level::Warning, CHECK, text).way_out(way_out));
    }
    match facts.addresses(host) {
        Found::Here(_) => None,
        Found::Nothing => {
            let text = format!("{host} has no address: mail that is sent there is lost");
            Some(
                Line::new(Level::Fault, CHECK, text)
                    .way_out("correct the MX or the host's address"),
            )
        }
        Found::Unknown(why) => Some(Line::new(Level::Unknown, CHECK, why)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::facts;
    use super::*;

    #[test]
    fn mail_that_cannot_come_back_is_a_fault() {
        for (zone, level, word) in [
            (
                &["MX x.test 10 m.test", "A m.test 192.0.2.1"][..],
                Level::Ok,
                "m.test",
            ),
            (&["MX x.test 0 "], Level::Fault, "null MX"),
            (&["MX x.test 10 m.test"], Level::Fault, "no address"),
            (&[], Level::Fault, "neither"),
            (&["A x.test 192.0.2.1"], Level::Warning, "own address"),
            (
                &["MX x.test 10 m.test", "CNAME m.test n.test"],
                Level::Warning,
                "n.test",
            ),
            (&["MX x.test ?"], Level::Unknown, "SERVFAIL"),
        ] {
            let lines = facts(zone, |facts| judge(facts, "x.test"));
            assert_eq!(lines.len(), 1, "{zone:?}: {lines:?}");
            assert_eq!(lines[0].level, level, "{zone:?}");
            assert!(lines[0].text.contains(word), "{zone:?}: {lines:?}");
        }
    }
}
