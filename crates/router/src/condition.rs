//! The compiled conditions of rules: one variant for each fact a rule can ask for.

use std::sync::Arc;

use jiff::tz::TimeZone;
use malote_core::name::{CredentialName, MailboxProvider, StreamName};
use regex::Regex;

use crate::facts::{DeliveryFacts, MessageFacts};

/// What a rule is tried on: a message, or one delivery of it.
pub(crate) struct Subject<'a> {
    message: &'a MessageFacts<'a>,
    delivery: Option<&'a DeliveryFacts<'a>>,
}

impl<'a> Subject<'a> {
    pub(crate) const fn message(message: &'a MessageFacts<'a>) -> Self {
        Self {
            message,
            delivery: None,
        }
    }

    pub(crate) const fn delivery(delivery: &'a DeliveryFacts<'a>) -> Self {
        Self {
            message: delivery.message,
            delivery: Some(delivery),
        }
    }
}

/// One condition with the text that `explain` shows when it fails.
#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) matcher: Matcher,
    pub(crate) text: Arc<str>,
}

/// What is asked. Of the values in a list, one is enough.
#[derive(Debug)]
pub(crate) enum Matcher {
    Credential(Vec<CredentialName>),
    Stream(Vec<StreamName>),
    Sender(Vec<Glob>),
    SenderDomain(Vec<String>),
    RecipientDomain(Vec<String>),
    MailboxProvider(Vec<MailboxProvider>),
    Header { name: String, test: HeaderTest },
    Tag(Vec<String>),
    Metadata { key: String, values: Vec<String> },
    Size { min: u64, max: u64 },
    Hour { from: i8, to: i8, zone: TimeZone },
}

/// What is asked of a header field.
#[derive(Debug)]
pub(crate) enum HeaderTest {
    Equals(Vec<String>),
    Prefix(Vec<String>),
    Regex(Regex),
    Present(bool),
}

impl Matcher {
    /// The header field that it asks of.
    pub(crate) fn header_name(&self) -> Option<&str> {
        match self {
            Self::Header { name, .. } => Some(name),
            Self::Credential(_)
            | Self::Stream(_)
            | Self::Sender(_)
            | Self::SenderDomain(_)
            | Self::RecipientDomain(_)
            | Self::MailboxProvider(_)
            | Self::Tag(_)
            | Self::Metadata { .. }
            | Self::Size { .. }
            | Self::Hour { .. } => None,
        }
    }
}

impl Condition {
    pub(crate) fn holds(&self, subject: &Subject<'_>) -> bool {
        let message = subject.message;
        match &self.matcher {
            Matcher::Credential(names) => names.contains(message.credential),
            Matcher::Stream(names) => subject.delivery.is_some_and(|d| names.contains(d.stream)),
            Matcher::Sender(globs) => message.sender.is_some_and(|sender| {
                let sender = sender.key();
                globs.iter().any(|g| g.matches(&sender))
            }),
            Matcher::SenderDomain(domains) => message
                .sender
                .is_some_and(|sender| is_under_any(sender.domain(), domains)),
            Matcher::RecipientDomain(domains) => subject
                .delivery
                .is_some_and(|d| is_under_any(d.recipient.domain(), domains)),
            Matcher::MailboxProvider(names) => subject
                .delivery
                .is_some_and(|d| names.contains(d.mailbox_provider)),
            Matcher::Header { name, test } => test.holds(name, message),
            Matcher::Tag(tags) => message.tags.iter().any(|t| tags.contains(t)),
            Matcher::Metadata { key, values } => message
                .metadata
                .get(key)
                .is_some_and(|v| values.contains(v)),
            Matcher::Size { min, max } => (*min..=*max).contains(&message.size_bytes),
            Matcher::Hour { from, to, zone } => {
                is_between(zone.to_datetime(message.now).hour(), *from, *to)
            }
        }
    }
}

impl HeaderTest {
    fn holds(&self, name: &str, message: &MessageFacts<'_>) -> bool {
        let mut values = message.header_values(name);
        match self {
            Self::Equals(texts) => {
                values.any(|v| texts.iter().any(|t| v.trim().eq_ignore_ascii_case(t)))
            }
            Self::Prefix(texts) => {
                values.any(|v| texts.iter().any(|t| starts_with_ignore_case(v.trim(), t)))
            }
            Self::Regex(regex) => values.any(|v| regex.is_match(v)),
            Self::Present(wanted) => values.next().is_some() == *wanted,
        }
    }
}

fn starts_with_ignore_case(value: &str, prefix: &str) -> bool {
    value
        .as_bytes()
        .get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
}

/// Whether `domain` is one of `parents` or below one.
fn is_under_any(domain: &str, parents: &[String]) -> bool {
    parents.iter().any(|parent| is_under(domain, parent))
}

/// Whether `domain` is `parent` or below it; a look-alike that merely ends alike is not.
pub(crate) fn is_under(domain: &str, parent: &str) -> bool {
    domain
        .strip_suffix(parent)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

const fn is_between(hour: i8, from: i8, to: i8) -> bool {
    if from < to {
        from <= hour && hour < to
    } else {
        hour >= from || hour < to
    }
}

/// A pattern for addresses in lower case: `*` is any text, `?` is any one character.
#[derive(Debug)]
pub(crate) struct Glob(Vec<char>);

impl Glob {
    pub(crate) fn new(pattern: &str) -> Self {
        Self(pattern.to_lowercase().chars().collect())
    }

    /// Goes back to the last `*` only, so the cost is at most the product of both lengths.
    fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut at, mut seen) = (0, 0);
        let mut last_star = None;
        while seen < text.len() {
            match self.0.get(at) {
                Some('*') => {
                    last_star = Some((at, seen));
                    at += 1;
                }
                Some(c) if *c == '?' || *c == text[seen] => {
                    at += 1;
                    seen += 1;
                }
                Some(_) | None => {
                    let Some((star, from)) = last_star else {
                        return false;
                    };
                    last_star = Some((star, from + 1));
                    at = star + 1;
                    seen = from + 1;
                }
            }
        }
        self.0[at..].iter().all(|c| *c == '*')
    }
}

#[cfg(test)]
mod tests;
