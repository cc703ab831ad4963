//! DMARC (RFC 7489): one record's tags, and which record holds for a domain.

use super::facts::{Facts, Found};

/// What is to be done with mail that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Policy {
    None,
    Quarantine,
    Reject,
}

impl Policy {
    /// The word in the record.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "none" => Some(Self::None),
            "quarantine" => Some(Self::Quarantine),
            "reject" => Some(Self::Reject),
            _ => None,
        }
    }
}

/// How near two domains must be to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alignment {
    /// The same organisational domain.
    Relaxed,
    /// The same domain.
    Strict,
}

impl Alignment {
    /// Whether mail from `from` is vouched for by `other`.
    pub(super) fn holds(self, from: &str, other: &str) -> bool {
        match self {
            Self::Strict => from == other,
            Self::Relaxed => organisation(from) == organisation(other),
        }
    }

    /// The word for people.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Relaxed => "relaxed",
            Self::Strict => "strict",
        }
    }
}

/// The organisational domain by the public suffix list (RFC 7489 3.2).
pub(super) fn organisation(domain: &str) -> &str {
    psl::domain_str(domain).unwrap_or(domain)
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) policy: Policy,
    subdomains: Option<Policy>,
    pub(super) dkim: Alignment,
    pub(super) spf: Alignment,
    /// Share of failing mail that the policy is for.
    pub(super) percent: u8,
    /// Whether anybody gets reports.
    pub(super) has_reports: bool,
}

/// Whether a text record is one of DMARC (RFC 7489 6.6.3).
fn is_dmarc(text: &str) -> bool {
    let version = text.split(';').next().unwrap_or_default();
    let tag = version.split_once('=');
    tag.is_some_and(|(name, value)| name.trim() == "v" && value.trim() == "DMARC1")
}

/// Reads a record.
///
/// # Errors
/// What is wrong with it: receivers then behave as if there were none.
pub(super) fn parse(text: &str) -> Result<Record, String> {
    let mut record = Record {
        policy: Policy::None,
        subdomains: None,
        dkim: Alignment::Relaxed,
        spf: Alignment::Relaxed,
        percent: 100,
        has_reports: false,
    };
    let mut has_policy = false;
    for tag in text.split(';').skip(1) {
        let Some((name, value)) = tag.split_once('=') else {
            if tag.trim().is_empty() {
                continue;
            }
            return Err(format!("{:?} is no tag", tag.trim()));
        };
        let (name, value) = (name.trim(), value.trim());
        let bad = || format!("{name}={value:?} means nothing");
        let alignment = || match value {
            "r" => Ok(Alignment::Relaxed),
            "s" => Ok(Alignment::Strict),
            _ => Err(bad()),
        };
        match name {
            "p" => {
                record.policy = Policy::parse(value).ok_or_else(bad)?;
                has_policy = true;
            }
            "sp" => record.subdomains = Some(Policy::parse(value).ok_or_else(bad)?),
            "adkim" => record.dkim = alignment()?,
            "aspf" => record.spf = alignment()?,
            "pct" => {
                let percent = value.parse().ok().filter(|percent| *percent <= 100);
                record.percent = percent.ok_or_else(bad)?;
            }
            "rua" => record.has_reports = !value.is_empty(),
            _ => {}
        }
    }
    match has_policy {
        true => Ok(record),
        false => Err("there is no p=".to_owned()),
    }
}

/// The record that holds for a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InForce {
    pub(super) record: Record,
    /// Where it stands: `_dmarc.` and the domain or its organisation.
    pub(super) name: String,
    /// The policy for this domain.
    pub(super) policy: Policy,
}

/// The DMARC of `domain`: its own record, else its organisation's.
pub(super) fn find(facts: &Facts, domain: &str) -> Found<Result<InForce, String>> {
    let own = at(facts, domain);
    let parent = organisation(domain);
    match own {
        Found::Nothing if parent != domain => {}
        Found::Here(_) | Found::Nothing | Found::Unknown(_) => {
            return own.map(|found| {
                found.map(|(name, record)| InForce {
                    policy: record.policy,
                    record,
                    name,
                })
            });
        }
    }
    at(facts, parent).map(|found| {
        found.map(|(name, record)| InForce {
            policy: record.subdomains.unwrap_or(record.policy),
            record,
            name,
        })
    })
}

fn at(facts: &Facts, domain: &str) -> Found<Result<(String, Record), String>> {
    let name = format!("_dmarc.{domain}");
    let texts = facts.txt(&name).map(|texts| {
        let own = texts.into_iter().filter(|text| is_dmarc(text));
        own.collect::<Vec<_>>()
    });
    match texts {
        Found::Here(texts) => match texts.as_slice() {
            [] => Found::Nothing,
            [text] => Found::Here(match parse(text) {
                Ok(record) => Ok((name, record)),
                Err(why) => Err(format!("{name} cannot be read: {why}")),
            }),
            several => Found::Here(Err(format!(
                "{name} has {} records; receivers then use none",
                several.len()
            ))),
        },
        Found::Nothing => Found::Nothing,
        Found::Unknown(why) => Found::Unknown(why),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::facts::tests::facts;
    use super::*;

    #[test]
    fn tags_are_read_with_and_without_spaces() {
        let record =
            parse("v=DMARC1; p = reject ;sp=none;adkim=s; pct=50; rua=mailto:a@x.test;").unwrap();
        assert_eq!(record.policy, Policy::Reject);
        assert_eq!(record.subdomains, Some(Policy::None));
        assert_eq!(
            (record.dkim, record.spf),
            (Alignment::Strict, Alignment::Relaxed)
        );
        assert_eq!((record.percent, record.has_reports), (50, true));
    }

    #[test]
    fn a_record_that_receivers_ignore_is_refused() {
        for text in [
            "v=DMARC1",
            "v=DMARC1; p=rejct",
            "v=DMARC1; p=none; adkim=x",
            "v=DMARC1; p=none; pct=101",
            "v=DMARC1; reject",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(is_dmarc("v=DMARC1;p=none") && is_dmarc("v = DMARC1 ; p=none"));
        assert!(!is_dmarc("v=DMARC2;p=none") && !is_dmarc("p=none; v=DMARC1"));
    }

    #[test]
    fn a_subdomain_falls_back_on_its_organisation_s_sp() {
        let zone = ["TXT _dmarc.shop.com.br v=DMARC1; p=reject; sp=quarantine"];
        let found = facts(&zone, |facts| find(facts, "news.shop.com.br"));
        let in_force = found.here().unwrap().unwrap();
        assert_eq!(in_force.policy, Policy::Quarantine);
        assert_eq!(in_force.name, "_dmarc.shop.com.br");
        let own = facts(&zone, |facts| find(facts, "shop.com.br"));
        assert_eq!(own.here().unwrap().unwrap().policy, Policy::Reject);
        let other = facts(&zone, |facts| find(facts, "other.com.br"));
        assert_eq!(other, Found::Nothing);
    }

    #[test]
    fn alignment_goes_by_the_public_suffix() {
        for (from, other, relaxed, strict) in [
            ("shop.com.br", "shop.com.br", true, true),
            ("shop.com.br", "em1.shop.com.br", true, false),
            ("news.shop.example", "mg.shop.example", true, false),
            ("a.com.br", "b.com.br", false, false),
        ] {
            assert_eq!(
                Alignment::Relaxed.holds(from, other),
                relaxed,
                "{from} {other}"
            );
            assert_eq!(
                Alignment::Strict.holds(from, other),
                strict,
                "{from} {other}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_record_makes_it_panic(text in "v=DMARC1;\\PC{0,200}") {
            if let Ok(record) = parse(&text) {
                prop_assert!(record.percent <= 100);
            }
        }
    }
}
