//! What the DNS was asked and what it said. Judges are pure functions of it: they are run, what they
//! missed is asked, and they are run again until they miss nothing.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Text, whole records.
    Txt,
    /// Who takes a domain's mail.
    Mx,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// The names of an address, asked for under its name in `in-addr.arpa` or `ip6.arpa`.
    Ptr,
    /// The name that another stands for.
    Cname,
}

impl Kind {
    /// The type's name.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Txt => "TXT",
            Self::Mx => "MX",
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Ptr => "PTR",
            Self::Cname => "CNAME",
        }
    }
}

/// One question: a lower-case name without final dot, and what is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Question {
    pub(super) kind: Kind,
    pub(super) name: String,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.kind.as_str(), self.name)
    }
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Data {
    Txt(String),
    Mx(u16, String),
    Ip(IpAddr),
    Name(String),
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Records, never none.
    Records(Vec<Data>),
    /// There are none, or no such name.
    Nothing,
    /// No answer that says anything; in words.
    Failed(String),
}

/// What is known of one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found<T> {
    /// It is there.
    Here(T),
    /// It is not there.
    Nothing,
    /// Nobody knows; in words.
    Unknown(String),
}

impl<T> Found<T> {
    /// The same, with what is there made into something else.
    pub(super) fn map<U>(self, make: impl FnOnce(T) -> U) -> Found<U> {
        match self {
            Self::Here(value) => Found::Here(make(value)),
            Self::Nothing => Found::Nothing,
            Self::Unknown(why) => Found::Unknown(why),
        }
    }

    /// What is there.
    pub(super) fn here(self) -> Option<T> {
        match self {
            Self::Here(value) => Some(value),
            Self::Nothing | Self::Unknown(_) => None,
        }
    }
}

/// All answers so far, and what judges missed.
#[derive(Debug, Default)]
pub(super) struct Facts {
    answers: BTreeMap<Question, Answer>,
    missing: RefCell<BTreeSet<Question>>,
}

impl Facts {
    /// Keeps an answer.
    pub(super) fn learn(&mut self, question: Question, answer: Answer) {
        self.answers.insert(question, answer);
    }

    /// What was missed since this was last asked.
    pub(super) fn take_missing(&self) -> BTreeSet<Question> {
        self.missing.take()
    }

    /// How many questions have an answer.
    pub(super) fn asked(&self) -> usize {
        self.answers.len()
    }

    fn ask(&self, kind: Kind, name: &str) -> Found<&[Data]> {
        let question = Question {
            kind,
            name: name.trim_end_matches('.').to_ascii_lowercase(),
        };
        match self.answers.get(&question) {
            Some(Answer::Records(records)) => Found::Here(records),
            Some(Answer::Nothing) => Found::Nothing,
            Some(Answer::Failed(why)) => Found::Unknown(format!("{question}: {why}")),
            None => {
                let why = format!("{question}: not asked");
                self.missing.borrow_mut().insert(question);
                Found::Unknown(why)
            }
        }
    }

    /// Text records, each whole.
    pub(super) fn txt(&self, name: &str) -> Found<Vec<&str>> {
        let found = self.ask(Kind::Txt, name);
        found.map(|records| records.iter().filter_map(Data::text).collect())
    }

    /// Mail exchangers, the preferred one first; an empty name is the null MX (RFC 7505).
    pub(super) fn mx(&self, name: &str) -> Found<Vec<(u16, &str)>> {
        self.ask(Kind::Mx, name).map(|records| {
            let mut hosts: Vec<_> = records.iter().filter_map(Data::exchanger).collect();
            hosts.sort_unstable();
            hosts
        })
    }

    /// Addresses of both families. Unknown only if neither is known.
    pub(super) fn addresses(&self, name: &str) -> Found<Vec<IpAddr>> {
        match (
            self.of_family(Kind::A, name),
            self.of_family(Kind::Aaaa, name),
        ) {
            (Found::Here(mut v4), Found::Here(v6)) => {
                v4.extend(v6);
                Found::Here(v4)
            }
            (Found::Here(some), Found::Nothing | Found::Unknown(_))
            | (Found::Nothing | Found::Unknown(_), Found::Here(some)) => Found::Here(some),
            (Found::Nothing, Found::Nothing) => Found::Nothing,
            (Found::Unknown(why), Found::Nothing | Found::Unknown(_))
            | (Found::Nothing, Found::Unknown(why)) => Found::Unknown(why),
        }
    }

    /// IPv4 addresses.
    pub(super) fn v4(&self, name: &str) -> Found<Vec<IpAddr>> {
        self.of_family(Kind::A, name)
    }

    fn of_family(&self, kind: Kind, name: &str) -> Found<Vec<IpAddr>> {
        let found = self.ask(kind, name);
        found.map(|records| records.iter().filter_map(Data::ip).collect())
    }

    /// The names of an address.
    pub(super) fn names_of(&self, ip: IpAddr) -> Found<Vec<&str>> {
        self.names(Kind::Ptr, &format!("{}{}", reversed(ip), arpa(ip)))
    }

    /// The name that this one stands for.
    pub(super) fn cname(&self, name: &str) -> Found<Vec<&str>> {
        self.names(Kind::Cname, name)
    }

    fn names(&self, kind: Kind, name: &str) -> Found<Vec<&str>> {
        let found = self.ask(kind, name);
        found.map(|records| records.iter().filter_map(Data::name).collect())
    }
}

impl Data {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Txt(text) => Some(text),
            Self::Mx(..) | Self::Ip(_) | Self::Name(_) => None,
        }
    }

    fn exchanger(&self) -> Option<(u16, &str)> {
        match self {
            Self::Mx(preference, host) => Some((*preference, host)),
            Self::Txt(_) | Self::Ip(_) | Self::Name(_) => None,
        }
    }

    const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            Self::Txt(_) | Self::Mx(..) | Self::Name(_) => None,
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Txt(_) | Self::Mx(..) | Self::Ip(_) => None,
        }
    }
}

const fn arpa(ip: IpAddr) -> &'static str {
    match ip {
        IpAddr::V4(_) => "in-addr.arpa",
        IpAddr::V6(_) => "ip6.arpa",
    }
}

/// An address's octets or nibbles backwards, each with a dot (RFC 1035 3.5, RFC 3596 2.5).
pub(super) fn reversed(ip: IpAddr) -> String {
    let mut name = String::new();
    match ip {
        IpAddr::V4(ip) => {
            for octet in ip.octets().iter().rev() {
                name.push_str(&format!("{octet}."));
            }
        }
        IpAddr::V6(ip) => {
            for octet in ip.octets().iter().rev() {
                name.push_str(&format!("{:x}.{:x}.", octet & 0xf, octet >> 4));
            }
        }
    }
    name
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Facts out of lines such as `TXT shop.example v=spf1 -all`; `?` after the name is no answer.
    /// What no line tells is not there.
    pub(in crate::cli::doctor) fn facts<T>(lines: &[&str], judge: impl Fn(&Facts) -> T) -> T {
        let mut facts = Facts::default();
        for line in lines {
            let mut words = line.splitn(3, ' ');
            let (kind, name) = (words.next().unwrap(), words.next().unwrap());
            let value = words.next().unwrap_or_default();
            let kind = match kind {
                "TXT" => Kind::Txt,
                "MX" => Kind::Mx,
                "A" => Kind::A,
                "AAAA" => Kind::Aaaa,
                "PTR" => Kind::Ptr,
                "CNAME" => Kind::Cname,
                other => panic!("{other}"),
            };
            let name = name.to_owned();
            let question = Question { kind, name };
            if value == "?" {
                facts.learn(question, Answer::Failed("SERVFAIL".into()));
                continue;
            }
            let data = match kind {
                Kind::Txt => Data::Txt(value.into()),
                Kind::Mx => {
                    let (preference, host) = value.split_once(' ').unwrap();
                    Data::Mx(preference.parse().unwrap(), host.into())
                }
                Kind::A | Kind::Aaaa => Data::Ip(value.parse().unwrap()),
                Kind::Ptr | Kind::Cname => Data::Name(value.into()),
            };
            match facts
                .answers
                .entry(question)
                .or_insert(Answer::Records(Vec::new()))
            {
                Answer::Records(records) => records.push(data),
                Answer::Nothing | Answer::Failed(_) => panic!("{line}"),
            }
        }
        for _ in 0..50 {
            let judged = judge(&facts);
            let missing = facts.take_missing();
            if missing.is_empty() {
                return judged;
            }
            for question in missing {
                facts.learn(question, Answer::Nothing);
            }
        }
        panic!("there is no end of questions");
    }

    #[test]
    fn addresses_are_asked_for_backwards() {
        let name = |ip: &str| reversed(ip.parse().unwrap());
        assert_eq!(name("192.0.2.1"), "1.2.0.192.");
        assert_eq!(
            name("2001:db8::1"),
            "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2."
        );
    }

    #[test]
    fn what_is_missed_is_told_once() {
        let facts = Facts::default();
        assert_eq!(
            facts.txt("X.Example."),
            Found::Unknown("TXT of x.example: not asked".into())
        );
        let missing = facts.take_missing();
        assert_eq!(missing.len(), 1);
        assert!(facts.take_missing().is_empty());
    }
}
