//! Whether a sender domain's SPF can be evaluated, and lets those pass that send for it.

use std::collections::BTreeSet;

use super::facts::Facts;
use super::plan::{DomainPlan, Sender, is_own_server};
use super::report::{Level, Line, Publish};
use super::services::{MailFrom, Service, Services};
use super::spf::Qualifier;
use super::spf_walk::{LOOKUPS_MAX, VOIDS_MAX, Walk, walk};

const CHECK: &str = "SPF";

/// Longest text of a record that is quoted.
const QUOTED_CHARS_MAX: usize = 300;

/// What was found.
pub(super) struct Spf {
    pub(super) walk: Walk,
    pub(super) lines: Vec<Line>,
}

/// Looks at the SPF of a domain.
pub(super) fn judge(facts: &Facts, plan: &DomainPlan, services: &Services) -> Spf {
    let domain = plan.name.as_str();
    let walk = walk(facts, domain);
    let mut lines = form(&walk);
    let mut missing = BTreeSet::new();
    let mut uncovered = Vec::new();
    let senders = plan.senders.iter();
    let senders = senders.filter_map(|sender| Some((sender, services.get(sender.service)?)));
    for (sender, service) in senders {
        let wanted = wanted(domain, &walk, sender, service);
        if !wanted.is_empty() {
            uncovered.push((sender, service));
        }
        missing.extend(wanted);
        match elsewhere(domain, sender, service) {
            Some(account) => lines.push(at_account(facts, account, sender, service)),
            None => lines.extend(remark(domain, &walk, sender, service)),
        }
    }
    if walk.text.is_none() && walk.errors.is_empty() && walk.unknown.is_empty() {
        lines.push(absent(domain, &missing, !uncovered.is_empty()));
    } else if !missing.is_empty() && walk.unknown.is_empty() {
        lines.push(incomplete(domain, &walk, &missing, &uncovered));
    }
    if !lines.iter().any(|line| line.check == CHECK) {
        lines.push(good(&walk));
    }
    Spf { walk, lines }
}

/// What receivers make of the record, whoever sends.
fn form(walk: &Walk) -> Vec<Line> {
    let mut lines = Vec::new();
    let errors = walk.errors.iter().map(|why| {
        let text = format!("{why}: receivers give up (permerror), as if there were no SPF");
        Line::new(Level::Fault, CHECK, text).way_out("leave one record, and correct it there")
    });
    lines.extend(errors);
    if walk.lookups > LOOKUPS_MAX {
        let text = format!(
            "evaluating it takes {} look-ups, and {LOOKUPS_MAX} are allowed: receivers give up",
            walk.lookups
        );
        let way_out = "take out includes of services that no longer send, or write their networks \
                       as ip4: and ip6:";
        lines.push(Line::new(Level::Fault, CHECK, text).way_out(way_out));
    }
    if walk.voids.len() > VOIDS_MAX {
        let text = format!(
            "{} of its names lead nowhere ({}), and {VOIDS_MAX} may: receivers give up",
            walk.voids.len(),
            walk.voids.join(", ")
        );
        lines.push(Line::new(Level::Fault, CHECK, text).way_out("take these names out"));
    }
    if walk.rest == Some(Qualifier::Pass) {
        let text = "it ends in +all: everybody may send in the domain's name";
        lines.push(Line::new(Level::Fault, CHECK, text).way_out("end it in ~all"));
    }
    if walk.has_ptr {
        let text = "it uses ptr, which receivers ignore or time out on";
        let way_out = "write the networks as ip4: and ip6: instead (RFC 7208 5.5)";
        lines.push(Line::new(Level::Warning, CHECK, text).way_out(way_out));
    }
    let unknown = walk
        .unknown
        .iter()
        .cloned()
        .map(|why| Line::new(Level::Unknown, CHECK, why));
    lines.extend(unknown);
    lines
}

/// Whether receivers ask this domain's SPF of what the sender sends.
fn is_asked_here(domain: &str, sender: &Sender, service: &Service) -> bool {
    match service.mail_from {
        MailFrom::Client => {
            let path = sender.return_path.as_deref();
            path.is_none_or(|path| path == domain)
        }
        MailFrom::Service => false,
        MailFrom::Account => sender.account_domain.as_deref() == Some(domain),
    }
}

/// The other domain of one's own whose SPF is asked.
fn elsewhere<'a>(domain: &str, sender: &'a Sender, service: &Service) -> Option<&'a str> {
    let account = sender.account_domain.as_deref()?;
    (service.mail_from == MailFrom::Account && account != domain).then_some(account)
}

fn at_account(facts: &Facts, account: &str, sender: &Sender, service: &Service) -> Line {
    let check = format!("SPF {}", sender.provider);
    let found = walk(facts, account);
    if let Some(why) = found.unknown.first() {
        return Line::new(Level::Unknown, check, why.clone());
    }
    let include = service
        .spf
        .iter()
        .find(|name| !found.includes.contains(*name));
    let Some(name) = include else {
        let text = format!("{account}, which is in MAIL FROM, covers {}", service.title);
        return Line::new(Level::Ok, check, text);
    };
    let include = format!("include:{name}");
    let value = match &found.text {
        Some(text) => extended(text, &[&include]),
        None => format!("v=spf1 {include} ~all"),
    };
    let text = format!(
        "{account}, which is in MAIL FROM, does not cover {}",
        service.title
    );
    Line::new(Level::Fault, check, text)
        .way_out("publish this as its only SPF record")
        .publish(Publish::new(account, "TXT", value))
}

/// The terms that the record lacks for this sender.
fn wanted(domain: &str, walk: &Walk, sender: &Sender, service: &Service) -> Vec<String> {
    if !is_asked_here(domain, sender, service) {
        return Vec::new();
    }
    let addresses = sender.addresses.iter().filter(|ip| !walk.covers(**ip));
    let addresses = addresses.map(|ip| match ip.is_ipv4() {
        true => format!("ip4:{ip}"),
        false => format!("ip6:{ip}"),
    });
    let include = service
        .spf
        .iter()
        .filter(|name| !walk.includes.contains(*name));
    let include = include.map(|name| format!("include:{name}"));
    addresses.chain(include).collect()
}

/// What is to be said of a sender whose mail this record does not decide.
fn remark(domain: &str, walk: &Walk, sender: &Sender, service: &Service) -> Option<Line> {
    let check = format!("SPF {}", sender.provider);
    let title = &service.title;
    if let Some(path) = sender.return_path.as_deref().filter(|path| *path != domain) {
        let text = format!("not needed here: MAIL FROM is at {path}");
        return Some(Line::new(Level::Ok, check, text));
    }
    if is_asked_here(domain, sender, service) {
        if service.spf.is_some() || !sender.addresses.is_empty() {
            return None;
        }
        let text = "nobody can say whether the record covers it: the addresses that it sends from \
                    are not known";
        let way_out = match is_own_server(sender.service) {
            true => "name them in [doctor] own_ips",
            false => "ask whoever runs it",
        };
        return Some(Line::new(Level::Unknown, check, text).way_out(way_out));
    }
    let included = service
        .spf
        .iter()
        .find(|name| walk.includes.contains(*name));
    let text = match included {
        Some(name) => format!(
            "include:{name} is there, and not needed: {title} puts another domain in MAIL FROM"
        ),
        None => format!("not needed here: {title} puts another domain in MAIL FROM"),
    };
    Some(Line::new(Level::Ok, check, text))
}

fn absent(domain: &str, missing: &BTreeSet<String>, is_needed: bool) -> Line {
    let (level, text) = match is_needed {
        true => (
            Level::Fault,
            "there is no record: receivers cannot tell this domain's own servers from others",
        ),
        false => (
            Level::Warning,
            "there is no record: MAIL FROM of this domain, as in its bounces, passes nowhere",
        ),
    };
    let terms: Vec<&str> = missing.iter().map(String::as_str).collect();
    let value = match terms.is_empty() {
        true => "v=spf1 mx ~all".to_owned(),
        false => format!("v=spf1 {} ~all", terms.join(" ")),
    };
    Line::new(level, CHECK, text)
        .way_out("publish one record")
        .publish(Publish::new(domain, "TXT", value))
}

fn incomplete(
    domain: &str,
    walk: &Walk,
    missing: &BTreeSet<String>,
    uncovered: &[(&Sender, &Service)],
) -> Line {
    let names: Vec<String> = uncovered
        .iter()
        .map(|(sender, _)| sender.provider.to_string())
        .collect();
    let terms: Vec<&str> = missing.iter().map(String::as_str).collect();
    let text = format!(
        "it does not cover what {} sends: {} is missing",
        names.join(", "),
        terms.join(" ")
    );
    let line = Line::new(Level::Fault, CHECK, text);
    match &walk.text {
        Some(text) => line
            .way_out("replace the record by this one")
            .publish(Publish::new(domain, "TXT", extended(text, &terms))),
        None => line.way_out("add it when the record is corrected"),
    }
}

/// The record with these terms before its end.
fn extended(text: &str, terms: &[&str]) -> String {
    let is_end = |word: &&str| {
        let word = word.to_ascii_lowercase();
        word.trim_start_matches(['+', '-', '~', '?']) == "all" || word.starts_with("redirect=")
    };
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    let end = words.iter().position(is_end).unwrap_or(words.len());
    let (before, after) = words.split_at(end);
    let words: Vec<&str> = before.iter().chain(terms).chain(after).copied().collect();
    words.join(" ")
}

fn good(walk: &Walk) -> Line {
    let text: String = walk
        .text
        .iter()
        .flat_map(|text| text.chars())
        .take(QUOTED_CHARS_MAX)
        .collect();
    let text = format!("{text} ({} of {LOOKUPS_MAX} look-ups)", walk.lookups);
    match walk.rest {
        Some(Qualifier::Fail | Qualifier::SoftFail | Qualifier::Pass) => {
            Line::new(Level::Ok, CHECK, text)
        }
        Some(Qualifier::Neutral) | None => {
            let text = format!("{text}; it says nothing of everybody else");
            Line::new(Level::Warning, CHECK, text).way_out("end it in ~all")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_put_before_the_end() {
        for (text, wanted) in [
            ("v=spf1 mx -all", "v=spf1 mx ip4:192.0.2.1 -all"),
            ("v=spf1", "v=spf1 ip4:192.0.2.1"),
            ("v=spf1  a  ?ALL", "v=spf1 a ip4:192.0.2.1 ?ALL"),
            (
                "v=spf1 redirect=x.test",
                "v=spf1 ip4:192.0.2.1 redirect=x.test",
            ),
        ] {
            assert_eq!(extended(text, &["ip4:192.0.2.1"]), wanted);
        }
    }
}
