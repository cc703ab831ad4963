//! Checks the conditions of one rule and compiles them, in the order in which they are tried.

use jiff::tz::TimeZone;
use malote_core::address::parse_domain;
use malote_core::fault::ConfigFault;
use malote_core::name::{CredentialName, StreamName};
use malote_core::units::ByteSize;
use regex::{Regex, RegexBuilder};

use crate::condition::{Condition, Glob, HeaderTest, Matcher};
use crate::config::{
    HeaderConfig, HourConfig, OneOrMany, RouterConfig, RuleConfig, SizeConfig, WhenConfig,
};
use crate::hint::unknown;

/// Longest regular expression, in characters, and its largest compiled size, in octets.
const REGEX_CHARS_MAX: usize = 1_000;
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Longest name of a header field (RFC 5322 2.1.1 allows lines of 998 octets).
const HEADER_NAME_BYTES_MAX: usize = 200;

/// The names that conditions may use.
#[derive(Clone, Copy)]
pub(super) struct Known<'c> {
    config: &'c RouterConfig,
    mailbox_providers: &'c [&'c str],
}

impl<'c> Known<'c> {
    pub(super) const fn new(config: &'c RouterConfig, mailbox_providers: &'c [&'c str]) -> Self {
        Self {
            config,
            mailbox_providers,
        }
    }
}

/// The conditions of `rule`, without those that have a fault.
pub(super) fn compile(
    rule: &RuleConfig,
    path: &str,
    known: Known<'_>,
    faults: &mut Vec<ConfigFault>,
) -> Vec<Condition> {
    if rule.then.stream.is_some() {
        refuse_recipient_facts(&rule.when, path, faults);
    } else {
        refuse_blind_copies(&rule.when, path, faults);
    }
    let mut when = When {
        path,
        faults,
        conditions: Vec::new(),
    };
    when.names(&rule.when, known);
    when.sender(rule.when.sender.as_ref());
    when.domains("sender_domain", rule.when.sender_domain.as_ref());
    when.domains("recipient_domain", rule.when.recipient_domain.as_ref());
    for (index, header) in rule.when.headers.iter().enumerate() {
        when.header(header, index);
    }
    when.labels(&rule.when);
    if let Some(size) = rule.when.size {
        when.size(size);
    }
    if let Some(hour) = &rule.when.hour {
        when.hour(hour);
    }
    when.conditions
}

/// A route is chosen anew for each attempt, and who else got a message is not kept with it.
fn refuse_blind_copies(when: &WhenConfig, path: &str, faults: &mut Vec<ConfigFault>) {
    for (index, header) in when.headers.iter().enumerate() {
        let own = &header.name;
        if own.eq_ignore_ascii_case("Bcc") || own.eq_ignore_ascii_case("Resent-Bcc") {
            let message = format!(
                "{own} is taken out of every message and not kept: a rule that chooses a route \
                 cannot test it"
            );
            faults.push(ConfigFault::error(
                format!("{path}.headers[{index}].name"),
                message,
            ));
        }
    }
}

/// A stream is chosen once per message, before its recipients part.
fn refuse_recipient_facts(when: &WhenConfig, path: &str, faults: &mut Vec<ConfigFault>) {
    for (key, given) in [
        ("stream", &when.stream),
        ("recipient_domain", &when.recipient_domain),
        ("mailbox_provider", &when.mailbox_provider),
    ] {
        if given.is_some() {
            faults.push(ConfigFault::error(
                format!("{path}.{key}"),
                format!(
                    "a rule that chooses a stream is tried once per message and cannot test \
                     {key}: choose a route instead"
                ),
            ));
        }
    }
}

struct When<'w> {
    path: &'w str,
    faults: &'w mut Vec<ConfigFault>,
    conditions: Vec<Condition>,
}

impl When<'_> {
    fn error(&mut self, key: &str, message: impl Into<String>) {
        let path = format!("{}.{key}", self.path);
        self.faults.push(ConfigFault::error(path, message));
    }

    fn push(&mut self, matcher: Matcher, text: &str) {
        self.conditions.push(Condition {
            matcher,
            text: text.into(),
        });
    }

    /// Parses every value of a list; the text that says so in `explain` comes with them.
    fn list<T>(
        &mut self,
        key: &str,
        given: Option<&OneOrMany>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<(Vec<T>, String)> {
        let given = given?;
        if given.values().is_empty() {
            self.error(
                key,
                "an empty list matches nothing: leave it out, or name something",
            );
        }
        let mut parsed = Vec::with_capacity(given.values().len());
        for (index, value) in given.values().iter().enumerate() {
            match parse(value) {
                Ok(value) => parsed.push(value),
                Err(message) => self.error(&given.path(key, index), message),
            }
        }
        Some((parsed, says(&format!("{key} ="), given)))
    }

    fn names(&mut self, when: &WhenConfig, known: Known<'_>) {
        let config = known.config;
        let credential = |text: &str| {
            let all = config.credentials.keys().map(CredentialName::as_str);
            named(text, "credential", all.collect())
        };
        if let Some((names, text)) = self.list("credential", when.credential.as_ref(), credential) {
            self.push(Matcher::Credential(names), &text);
        }
        let stream = |text: &str| {
            let all = config.streams.keys().map(StreamName::as_str);
            named(text, "stream", all.collect())
        };
        if let Some((names, text)) = self.list("stream", when.stream.as_ref(), stream) {
            self.push(Matcher::Stream(names), &text);
        }
        let mailbox = |text: &str| {
            let all = known.mailbox_providers.to_vec();
            named(text, "mailbox provider", all)
        };
        let given = when.mailbox_provider.as_ref();
        if let Some((names, text)) = self.list("mailbox_provider", given, mailbox) {
            self.push(Matcher::MailboxProvider(names), &text);
        }
    }

    fn sender(&mut self, given: Option<&OneOrMany>) {
        let parse = |text: &str| {
            if text.contains('@') {
                Ok(Glob::new(text))
            } else {
                Err(format!(
                    "{text:?} is not an address: write \"*@{text}\", or use sender_domain"
                ))
            }
        };
        if let Some((globs, text)) = self.list("sender", given, parse) {
            self.push(Matcher::Sender(globs), &text);
        }
    }

    fn domains(&mut self, key: &str, given: Option<&OneOrMany>) {
        let parse = |text: &str| {
            let own = text.strip_prefix("*.").unwrap_or(text);
            match parse_domain(own) {
                Ok(domain) if own == text => Ok(domain),
                Ok(_) => Err(format!("write {own:?}: subdomains match too")),
                Err(_) => Err(format!("{text:?} is not a domain name")),
            }
        };
        if let Some((domains, text)) = self.list(key, given, parse) {
            self.push(
                if key == "sender_domain" {
                    Matcher::SenderDomain(domains)
                } else {
                    Matcher::RecipientDomain(domains)
                },
                &text,
            );
        }
    }

    fn labels(&mut self, when: &WhenConfig) {
        let as_is = |text: &str| Ok(text.to_owned());
        if let Some((tags, text)) = self.list("tag", when.tag.as_ref(), as_is) {
            self.push(Matcher::Tag(tags), &text);
        }
        for (key, given) in &when.metadata {
            let path = format!("metadata.{key}");
            if let Some((values, text)) = self.list(&path, Some(given), as_is) {
                let key = key.clone();
                self.push(Matcher::Metadata { key, values }, &text);
            }
        }
    }

    fn header(&mut self, header: &HeaderConfig, index: usize) {
        let path = format!("headers[{index}]");
        let is_ftext = |b: u8| b.is_ascii_graphic() && b != b':';
        if !(1..=HEADER_NAME_BYTES_MAX).contains(&header.name.len())
            || !header.name.bytes().all(is_ftext)
        {
            let message = format!("{:?} is not the name of a header field", header.name);
            self.error(&format!("{path}.name"), message);
        }
        let tests = [
            header.equals.is_some(),
            header.prefix.is_some(),
            header.regex.is_some(),
            header.present.is_some(),
            header.absent.is_some(),
        ];
        if tests.iter().filter(|given| **given).count() != 1 {
            self.error(
                &path,
                "give exactly one of equals, prefix, regex, present, absent",
            );
            return;
        }
        let name = &header.name;
        if let Some((test, text)) = self.header_test(header, &path) {
            let text = format!("header {name} {text}");
            let name = name.clone();
            self.push(Matcher::Header { name, test }, &text);
        }
    }

    fn header_test(&mut self, header: &HeaderConfig, path: &str) -> Option<(HeaderTest, String)> {
        let trimmed = |text: &str| Ok(text.trim().to_owned());
        if let Some(given) = &header.equals {
            let key = format!("{path}.equals");
            let (texts, _) = self.list(&key, Some(given), trimmed)?;
            return Some((HeaderTest::Equals(texts), says("is", given)));
        }
        if let Some(given) = &header.prefix {
            let key = format!("{path}.prefix");
            let (texts, _) = self.list(&key, Some(given), trimmed)?;
            return Some((HeaderTest::Prefix(texts), says("begins with", given)));
        }
        if let Some(pattern) = &header.regex {
            return match regex(pattern) {
                Ok(regex) => Some((HeaderTest::Regex(regex), format!("matches /{pattern}/"))),
                Err(message) => {
                    self.error(&format!("{path}.regex"), message);
                    None
                }
            };
        }
        let is_wanted = header.present.or(header.absent.map(|absent| !absent))?;
        let text = if is_wanted { "present" } else { "absent" };
        Some((HeaderTest::Present(is_wanted), text.to_owned()))
    }

    fn size(&mut self, size: SizeConfig) {
        let (min, max) = match (size.min, size.max) {
            (None, None) => {
                self.error("size", "give min, max or both, as in { min = \"1MiB\" }");
                return;
            }
            (min, max) => (min.map_or(0, |m| m.0), max.map_or(u64::MAX, |m| m.0)),
        };
        if min > max {
            self.error("size", "min is larger than max: this matches nothing");
            return;
        }
        let text = if max == u64::MAX {
            format!("size at least {}", ByteSize(min))
        } else {
            format!("size from {} to {}", ByteSize(min), ByteSize(max))
        };
        self.push(Matcher::Size { min, max }, &text);
    }

    fn hour(&mut self, hour: &HourConfig) {
        let (Ok(from @ 0..=23), Ok(to @ 0..=24)) = (i8::try_from(hour.from), i8::try_from(hour.to))
        else {
            self.error("hour", "hours are from 0 to 23, and `to` may be 24");
            return;
        };
        if from == to {
            self.error(
                "hour",
                "from and to are the same: leave it out to match always",
            );
            return;
        }
        let zone = match hour.zone.as_deref() {
            None | Some("utc") => Ok(TimeZone::UTC),
            Some(name) => TimeZone::get(name),
        };
        let Ok(zone) = zone else {
            let name = hour.zone.as_deref().unwrap_or_default();
            let message = format!("{name:?} is neither \"utc\" nor a known time zone");
            self.error("hour.zone", message);
            return;
        };
        let name = hour.zone.as_deref().unwrap_or("utc");
        let text = format!("hour from {from} to {to} {name}");
        self.push(Matcher::Hour { from, to, zone }, &text);
    }
}

/// The name, if it is one of those that exist.
fn named<T: for<'t> TryFrom<&'t str>>(
    text: &str,
    kind: &str,
    known: Vec<&str>,
) -> Result<T, String> {
    let found = known.contains(&text).then(|| T::try_from(text).ok());
    found.flatten().ok_or_else(|| unknown(kind, text, known))
}

fn says(start: &str, given: &OneOrMany) -> String {
    match given.values() {
        [one] => format!("{start} {one:?}"),
        many => format!("{start} one of {many:?}"),
    }
}

fn regex(pattern: &str) -> Result<Regex, String> {
    if pattern.chars().count() > REGEX_CHARS_MAX {
        return Err(format!(
            "a regular expression has at most {REGEX_CHARS_MAX} characters"
        ));
    }
    let mut builder = RegexBuilder::new(pattern);
    let built = builder
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX)
        .build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            format!(
                "this expression compiles to more than {}",
                ByteSize(1 << 20)
            )
        }
        other @ (regex::Error::Syntax(_) | _) => {
            // The crate draws the place over several lines; the last one says what is wrong.
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.trim_start_matches("error: ").to_owned()
        }
    })
}
