//! Whether receivers can verify what a provider signs in a domain's name.

use malote_core::provider::{SenderRecord, SenderRecordKind, SenderRecordPurpose};

use super::dkim::{self, Strength};
use super::dmarc::organisation;
use super::facts::{Facts, Found};
use super::plan::Sender;
use super::report::{Level, Line, Publish};
use super::services::Service;

/// Whose signature is asked about.
pub(super) struct Asked<'a> {
    pub(super) domain: &'a str,
    pub(super) sender: &'a Sender,
    pub(super) service: &'a Service,
    /// What the service wants to find for the domain, if it told anything of any domain.
    pub(super) told: Option<&'a [&'a SenderRecord]>,
}

/// In whose name the provider signs so that receivers can verify it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SignedBy {
    Domain(String),
    Nobody,
    /// Nobody can be asked.
    Unknown,
}

/// What was found.
pub(super) struct Signing {
    pub(super) by: SignedBy,
    pub(super) lines: Vec<Line>,
}

impl Asked<'_> {
    fn check(&self) -> String {
        format!("DKIM {}", self.sender.provider)
    }

    /// What the service told of this domain's keys.
    fn told_keys(&self) -> Vec<&SenderRecord> {
        let told = self.told.into_iter().flatten().copied();
        told.filter(|record| record.purpose == SenderRecordPurpose::Dkim)
            .collect()
    }

    /// Who signs and wants the records.
    fn signer(&self) -> &'static str {
        match self.sender.keys.is_empty() {
            true => "the service",
            false => "[dkim]",
        }
    }

    fn where_shown(&self) -> String {
        if let Some(key) = self.sender.keys.first() {
            return format!("malote dkim record {} prints it", signer(&key.name));
        }
        let Service {
            title,
            console,
            source,
            ..
        } = self.service;
        format!("{title} shows it: {console} ({source})")
    }
}

/// Looks for the keys.
pub(super) fn judge(facts: &Facts, asked: &Asked<'_>) -> Signing {
    let told = asked.told_keys();
    if !told.is_empty() {
        return by_told(facts, asked, &told);
    }
    let sender = asked.sender;
    let selectors = match sender.selectors.is_empty() {
        true => &asked.service.selectors,
        false => &sender.selectors,
    };
    if selectors.is_empty() {
        let text = format!(
            "the service chose the selector and does not tell it; {}",
            asked.where_shown()
        );
        let way_out = format!(
            "see there that the domain is verified, and name the selector in [doctor.dkim_selectors] \
             {} = [\"...\"]",
            sender.provider
        );
        return Signing {
            by: SignedBy::Unknown,
            lines: vec![Line::new(Level::Unknown, asked.check(), text).way_out(way_out)],
        };
    }
    by_selectors(facts, asked, selectors)
}

/// All records that the service told must be there.
fn by_told(facts: &Facts, asked: &Asked<'_>, told: &[&SenderRecord]) -> Signing {
    let mut lines = Vec::new();
    let mut missing = Vec::new();
    let mut unknown = None;
    let mut found = 0;
    for record in told {
        match is_published(facts, record) {
            Found::Here(()) => match key_at(facts, &record.name) {
                Found::Here(Ok(key)) => {
                    found += 1;
                    lines.extend(weighed(asked, &record.name, &key));
                }
                Found::Here(Err(why)) => lines.push(broken(asked, &record.name, &why)),
                Found::Nothing => {
                    let text = format!(
                        "{} leads to the service, which has no key there",
                        record.name
                    );
                    let way_out = "the service publishes it within a day; else ask its support";
                    lines.push(Line::new(Level::Warning, asked.check(), text).way_out(way_out));
                }
                Found::Unknown(why) => unknown = Some(why),
            },
            Found::Nothing => missing.push(*record),
            Found::Unknown(why) => unknown = Some(why),
        }
    }
    if !missing.is_empty() {
        lines.push(absent(asked, &missing, told.len()));
    }
    lines.extend(
        unknown
            .iter()
            .map(|why| Line::new(Level::Unknown, asked.check(), why.clone())),
    );
    let by = match (found, unknown) {
        (0, Some(_)) => SignedBy::Unknown,
        (0, None) => SignedBy::Nobody,
        (_, _) => SignedBy::Domain(signer(&told[0].name).to_owned()),
    };
    if lines.is_empty() {
        let text = format!(
            "{found} of {} records are as {} wants them",
            told.len(),
            asked.signer()
        );
        lines.push(Line::new(Level::Ok, asked.check(), text));
    }
    Signing { by, lines }
}

fn absent(asked: &Asked<'_>, missing: &[&SenderRecord], wanted: usize) -> Line {
    let text = format!(
        "{} of the {wanted} records that {} wants are not there or hold something else",
        missing.len(),
        asked.signer()
    );
    let mut line = Line::new(Level::Fault, asked.check(), text);
    line.publish = missing.iter().map(|record| publish(record)).collect();
    line.way_out("publish exactly this")
}

fn publish(record: &SenderRecord) -> Publish {
    let (kind, value) = match record.kind {
        SenderRecordKind::Txt => ("TXT", record.value.clone()),
        SenderRecordKind::Cname => ("CNAME", record.value.clone()),
        SenderRecordKind::Mx => ("MX", format!("10 {}", record.value)),
    };
    Publish::new(record.name.clone(), kind, value)
}

/// Whether a record is there as the service wants it. Another value is as good as none.
pub(super) fn is_published(facts: &Facts, record: &SenderRecord) -> Found<()> {
    let wanted = record.value.trim_end_matches('.');
    let is_wanted = |name: &str| name.trim_end_matches('.').eq_ignore_ascii_case(wanted);
    let found = match record.kind {
        SenderRecordKind::Cname => facts
            .cname(&record.name)
            .map(|names| names.into_iter().any(is_wanted)),
        SenderRecordKind::Mx => facts
            .mx(&record.name)
            .map(|hosts| hosts.into_iter().any(|(_, host)| is_wanted(host))),
        SenderRecordKind::Txt => facts.txt(&record.name).map(|texts| {
            let mut texts = texts.into_iter();
            texts.any(|text| text == record.value || dkim::is_same(text, &record.value))
        }),
    };
    match found {
        Found::Here(true) => Found::Here(()),
        Found::Here(false) | Found::Nothing => Found::Nothing,
        Found::Unknown(why) => Found::Unknown(why),
    }
}

/// One key under any of these selectors is enough.
fn by_selectors(facts: &Facts, asked: &Asked<'_>, selectors: &[String]) -> Signing {
    let own = asked
        .sender
        .account_domain
        .as_deref()
        .unwrap_or(asked.domain);
    let mut domains = vec![own];
    if organisation(own) != own {
        // A service that knows the parent signs in its name.
        domains.push(organisation(own));
    }
    let mut lines = Vec::new();
    let mut unknown = None;
    let also = asked.service.also.iter();
    let also = also.filter(|_| asked.sender.selectors.is_empty());
    let accepted: Vec<&String> = selectors.iter().chain(also).collect();
    for domain in domains {
        for selector in &accepted {
            let name = format!("{selector}._domainkey.{domain}");
            match key_at(facts, &name) {
                Found::Here(Ok(key)) => {
                    let weighed = weighed(asked, &name, &key);
                    let good = || {
                        Line::new(
                            Level::Ok,
                            asked.check(),
                            format!("there is a key at {name}"),
                        )
                    };
                    return Signing {
                        by: SignedBy::Domain(domain.to_owned()),
                        lines: vec![weighed.unwrap_or_else(good)],
                    };
                }
                Found::Here(Err(why)) => lines.push(broken(asked, &name, &why)),
                Found::Nothing => {}
                Found::Unknown(why) => unknown = Some(why),
            }
        }
    }
    let by = match &unknown {
        Some(why) => {
            lines.push(Line::new(Level::Unknown, asked.check(), why.clone()));
            SignedBy::Unknown
        }
        None => SignedBy::Nobody,
    };
    if lines.is_empty() {
        lines.push(proposal(asked, own, selectors));
    }
    Signing { by, lines }
}

fn proposal(asked: &Asked<'_>, domain: &str, selectors: &[String]) -> Line {
    let names: Vec<String> = selectors
        .iter()
        .map(|selector| format!("{selector}._domainkey.{domain}"))
        .collect();
    let text = format!("there is no key at {}", names.join(" or "));
    let way_out = format!("verify the domain at the service; {}", asked.where_shown());
    let mut line = Line::new(Level::Fault, asked.check(), text).way_out(way_out);
    let record = asked.service.record.as_ref();
    for (selector, name) in selectors.iter().zip(&names) {
        let kind = record.map_or("TXT", |record| record.kind.as_str());
        let value = record.and_then(|record| record.value.as_deref());
        let value = match value {
            Some(value) => value.replace("{selector}", selector),
            None => format!("(your own, shown in {})", asked.service.console),
        };
        line = line.publish(Publish::new(name.clone(), kind, value));
    }
    line
}

/// The key under a name, or why it is none.
fn key_at(facts: &Facts, name: &str) -> Found<Result<dkim::Key, String>> {
    let texts = match facts.txt(name) {
        Found::Here(texts) => texts,
        Found::Nothing => return Found::Nothing,
        Found::Unknown(why) => return Found::Unknown(why),
    };
    let mut fault = None;
    for text in texts {
        match dkim::parse(text) {
            Ok(key) => return Found::Here(Ok(key)),
            Err(why) => fault = Some(why),
        }
    }
    fault.map_or(Found::Nothing, |why| Found::Here(Err(why)))
}

fn broken(asked: &Asked<'_>, name: &str, why: &str) -> Line {
    let text = format!("{name} verifies nothing: {why}");
    let way_out = format!("publish the record anew; {}", asked.where_shown());
    Line::new(Level::Fault, asked.check(), text).way_out(way_out)
}

/// What is to be said of a key that verifies.
fn weighed(asked: &Asked<'_>, name: &str, key: &dkim::Key) -> Option<Line> {
    let way_out = format!(
        "have {} make a new one of 2048 bits, and publish that",
        asked.signer()
    );
    let (level, text) = match key.strength {
        Strength::Refused => (
            Level::Fault,
            format!("the key at {name} has under 1024 bits: receivers refuse it (RFC 8301)"),
        ),
        Strength::Short => (
            Level::Warning,
            format!("the key at {name} has under 2048 bits, which RFC 8301 asks for"),
        ),
        Strength::Good if key.is_testing => {
            let text = format!("the key at {name} says that it is being tried out (t=y)");
            let line = Line::new(Level::Warning, asked.check(), text);
            return Some(line.way_out("take t=y out of the record"));
        }
        Strength::Good => return None,
    };
    Some(Line::new(level, asked.check(), text).way_out(way_out))
}

/// The domain that a key's name belongs to.
fn signer(name: &str) -> &str {
    name.split_once("._domainkey.")
        .map_or(name, |(_, domain)| domain)
}
