//! Whether what a provider sends passes DMARC in the domain's name (RFC 7489 3.1).

use malote_core::provider::SenderRecordPurpose;
use malote_core::stream::Class;

use super::dmarc::{Alignment, InForce, Policy};
use super::facts::{Facts, Found};
use super::report::{Level, Line};
use super::services::MailFrom;
use super::signing::{self, SignedBy, is_published};
use super::spf_walk::{Walk, walk};

/// Whose mail is asked about.
pub(super) struct Asked<'a> {
    pub(super) key: &'a signing::Asked<'a>,
    /// The domain's own SPF.
    pub(super) spf: &'a Walk,
    /// The DMARC that holds for the domain.
    pub(super) dmarc: Option<&'a InForce>,
}

/// What was found.
pub(super) struct Aligned {
    pub(super) line: Line,
    /// Whether it is certain that nothing passes.
    pub(super) is_refused: bool,
}

/// Whether one of the two ways passes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pass {
    /// In words.
    Yes(String),
    No(String),
    Unknown(String),
}

/// Looks at both ways: one that passes is enough.
pub(super) fn judge(facts: &Facts, asked: &Asked<'_>, signed: &SignedBy) -> Aligned {
    let dkim = by_dkim(asked, signed);
    let spf = by_spf(facts, asked);
    let provider = &asked.key.sender.provider;
    let check = format!("alignment {provider}");
    let is_refused = matches!((&dkim, &spf), (Pass::No(_), Pass::No(_)));
    let line = match (dkim, spf) {
        (Pass::Yes(dkim), Pass::Yes(spf)) => {
            Line::new(Level::Ok, check, format!("by {dkim} and by {spf}"))
        }
        (Pass::Yes(way), Pass::No(_) | Pass::Unknown(_))
        | (Pass::No(_) | Pass::Unknown(_), Pass::Yes(way)) => {
            Line::new(Level::Ok, check, format!("by {way}"))
        }
        (Pass::No(dkim), Pass::No(spf)) => refused(asked, check, &format!("{dkim}; {spf}")),
        (Pass::Unknown(why), Pass::No(_) | Pass::Unknown(_))
        | (Pass::No(_), Pass::Unknown(why)) => Line::new(Level::Unknown, check, why)
            .way_out("send a test message to a mailbox of yours and read Authentication-Results"),
    };
    Aligned { line, is_refused }
}

fn refused(asked: &Asked<'_>, check: String, why: &str) -> Line {
    let policy = asked.dmarc.map(|found| found.policy);
    let is_campaign = asked.key.sender.classes.contains(&Class::Campaign);
    let (level, what) = match (policy, is_campaign) {
        (Some(Policy::Reject), _) => (Level::Fault, "p=reject: receivers refuse this mail"),
        (Some(Policy::Quarantine), _) => (
            Level::Fault,
            "p=quarantine: receivers put this mail aside as spam",
        ),
        (Some(Policy::None) | None, true) => (
            Level::Fault,
            "campaign mail in nobody's name: Gmail and Yahoo refuse it in bulk",
        ),
        (Some(Policy::None) | None, false) => (
            Level::Warning,
            "this mail is in nobody's name, and may be taken for spam",
        ),
    };
    Line::new(level, check, format!("{what} ({why})"))
        .way_out("publish the provider's DKIM records for this domain; that alone is enough")
}

fn by_dkim(asked: &Asked<'_>, signed: &SignedBy) -> Pass {
    let domain = asked.key.domain;
    let mode = asked
        .dmarc
        .map_or(Alignment::Relaxed, |found| found.record.dkim);
    match signed {
        SignedBy::Domain(signer) if mode.holds(domain, signer) => {
            Pass::Yes(format!("DKIM, d={signer}"))
        }
        SignedBy::Domain(signer) => Pass::No(format!(
            "it signs with d={signer}, which is not {domain} ({})",
            mode.as_str()
        )),
        SignedBy::Nobody => Pass::No("no DKIM key that receivers can find".to_owned()),
        SignedBy::Unknown => Pass::Unknown("its DKIM key could not be looked for".to_owned()),
    }
}

fn by_spf(facts: &Facts, asked: &Asked<'_>) -> Pass {
    let mode = asked
        .dmarc
        .map_or(Alignment::Relaxed, |found| found.record.spf);
    let domain = asked.key.domain;
    let own = match asked.key.service.mail_from {
        MailFrom::Client => match &asked.key.sender.return_path {
            Some(path) => by_ticket(asked, path, &walk(facts, path)),
            None => return by_own_spf(asked),
        },
        MailFrom::Account => match &asked.key.sender.account_domain {
            Some(account) => by_walk(asked, account, &walk(facts, account)),
            None => return Pass::Unknown("the account's domain is not known".to_owned()),
        },
        MailFrom::Service => by_return_path(facts, asked),
    };
    match own {
        Ok(mail_from) if mode.holds(domain, &mail_from) => {
            Pass::Yes(format!("SPF, MAIL FROM at {mail_from}"))
        }
        Ok(mail_from) => Pass::No(format!(
            "its MAIL FROM is at {mail_from}, which is not {domain} ({})",
            mode.as_str()
        )),
        Err(other) => other,
    }
}

/// MAIL FROM is a return address of the gateway's.
fn by_ticket(asked: &Asked<'_>, path: &str, walk: &Walk) -> Result<String, Pass> {
    let addresses = &asked.key.sender.addresses;
    let own = by_walk(asked, path, walk)?;
    match asked.key.service.spf.is_none() {
        true if addresses.is_empty() => {
            let why = "the addresses that it sends from are not known";
            Err(Pass::Unknown(why.to_owned()))
        }
        true if !addresses.iter().all(|ip| walk.covers(*ip)) => {
            Err(Pass::No(format!("SPF of {path} does not cover it")))
        }
        true | false => Ok(own),
    }
}

/// As far as clients give a MAIL FROM of the domain itself.
fn by_own_spf(asked: &Asked<'_>) -> Pass {
    let (spf, sender) = (asked.spf, asked.key.sender);
    if !spf.unknown.is_empty() {
        return Pass::Unknown("its SPF could not be looked up".to_owned());
    }
    if !spf.is_valid() {
        return Pass::No("no SPF that receivers can evaluate".to_owned());
    }
    let covers = match &asked.key.service.spf {
        Some(include) => spf.includes.contains(include),
        None if sender.addresses.is_empty() => {
            return Pass::Unknown("the addresses that it sends from are not known".to_owned());
        }
        None => sender.addresses.iter().all(|ip| spf.covers(*ip)),
    };
    match covers {
        true => Pass::Yes("SPF, as long as MAIL FROM is at this domain".to_owned()),
        false => Pass::No("SPF does not cover it".to_owned()),
    }
}

/// MAIL FROM's domain if its SPF lets the service pass.
fn by_walk(asked: &Asked<'_>, mail_from: &str, walk: &Walk) -> Result<String, Pass> {
    if !walk.unknown.is_empty() {
        return Err(Pass::Unknown(format!(
            "SPF of {mail_from} could not be looked up"
        )));
    }
    let include = asked.key.service.spf.as_ref();
    match walk.is_valid() && include.is_none_or(|name| walk.includes.contains(name)) {
        true => Ok(mail_from.to_owned()),
        false => Err(Pass::No(format!("SPF of {mail_from} does not cover it"))),
    }
}

fn by_return_path(facts: &Facts, asked: &Asked<'_>) -> Result<String, Pass> {
    let told = asked.key.told.unwrap_or_default();
    let mut told = told
        .iter()
        .filter(|r| r.purpose == SenderRecordPurpose::MailFrom);
    if let Some(record) = told.next() {
        return match is_published(facts, record) {
            Found::Here(()) => by_walk(asked, &record.name, &walk(facts, &record.name)),
            Found::Nothing => Err(Pass::No(format!("{} does not lead to it", record.name))),
            Found::Unknown(why) => Err(Pass::Unknown(why)),
        };
    }
    let service = asked.key.service;
    let Some(path) = &service.return_path else {
        let why = format!("{}'s MAIL FROM is its own", service.title);
        return Err(match asked.key.told {
            Some(_) => Pass::No(why),
            None => Pass::Unknown(format!("{why}, unless a return path is set up there")),
        });
    };
    let name = format!("{}.{}", path.label, asked.key.domain);
    let leads = |target: &str| target.trim_end_matches('.').ends_with(&path.target);
    let cname = facts.cname(&name).map(|names| names.into_iter().any(leads));
    let mx = facts
        .mx(&name)
        .map(|hosts| hosts.into_iter().any(|(_, host)| leads(host)));
    match (cname, mx) {
        (Found::Here(true), _) | (_, Found::Here(true)) => Ok(name),
        (Found::Unknown(why), _) | (_, Found::Unknown(why)) => Err(Pass::Unknown(why)),
        (Found::Here(false) | Found::Nothing, Found::Here(false) | Found::Nothing) => Err(
            Pass::No(format!("{name} does not lead to {}", service.title)),
        ),
    }
}
