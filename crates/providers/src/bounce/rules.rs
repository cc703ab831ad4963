//! Reads `rules.toml` once and finds the first rule that fits, in one pass over the text.

use std::str::FromStr;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};
use malote_core::event::Blame;
use regex::bytes::{RegexSet, RegexSetBuilder};
use serde::Deserialize;

use super::Said;

/// The rules, read at first use. A test reads the same text, so that it cannot fail for a user.
pub(super) static RULES: LazyLock<Rules> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "built in; a test reads it")]
    Rules::read(include_str!("rules.toml")).expect("rules.toml is valid")
});

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rule: Vec<RuleText>,
}

/// A rule as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleText {
    pub(super) id: String,
    pub(super) blame: Blame,
    #[serde(default)]
    code: Vec<CodeText>,
    #[serde(default)]
    status: Vec<String>,
    #[serde(default)]
    any: Vec<String>,
    #[serde(default)]
    all: Vec<String>,
    #[serde(default)]
    unless: Vec<String>,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "shown by the tests, which try every rule on it")
    )]
    pub(super) example: String,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the tests see that every rule has one")
    )]
    pub(super) source: String,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum CodeText {
    Exact(u16),
    Class(String),
}

/// An enhanced status code (RFC 3463).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) class: u16,
    subject: u16,
    detail: u16,
}

impl FromStr for Status {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.trim().split('.').map(str::parse::<u16>);
        let mut next = || parts.next().ok_or(())?.map_err(|_| ());
        let status = Self {
            class: next()?,
            subject: next()?,
            detail: next()?,
        };
        let is_refusal = matches!(status.class, 4 | 5) && parts.next().is_none();
        is_refusal.then_some(status).ok_or(())
    }
}

enum CodeForm {
    Exact(u16),
    Class(u16),
}

enum StatusForm {
    /// No status at all.
    Missing,
    Within {
        subject: u16,
        detail: std::ops::RangeInclusive<u16>,
    },
}

/// A rule, ready to be tried. Texts are places in the list of all texts.
pub(super) struct Rule {
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the tests try every rule as it is written")
    )]
    pub(super) text: RuleText,
    pub(super) blame: Blame,
    codes: Vec<CodeForm>,
    statuses: Vec<StatusForm>,
    any: Vec<usize>,
    all: Vec<usize>,
    unless: Vec<usize>,
}

/// All rules in order, and what finds all their texts at once.
pub(super) struct Rules {
    pub(super) rules: Vec<Rule>,
    phrases: AhoCorasick,
    /// By phrase: whether it begins with a letter or digit, and so only where a word begins.
    begins_word: Vec<bool>,
    forms: RegexSet,
}

/// The texts of all rules while they are collected.
#[derive(Default)]
struct Texts {
    phrases: Vec<String>,
    forms: Vec<String>,
}

enum Place {
    Phrase(usize),
    Form(usize),
}

impl Texts {
    fn place(&mut self, text: &str) -> Place {
        let form = text.strip_prefix('/').and_then(|t| t.strip_suffix('/'));
        match form {
            Some(form) => {
                self.forms.push(form.to_owned());
                Place::Form(self.forms.len() - 1)
            }
            None => {
                self.phrases.push(text.to_ascii_lowercase());
                Place::Phrase(self.phrases.len() - 1)
            }
        }
    }
}

impl Rules {
    /// # Errors
    /// What is wrong with the text, with the rule's id.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|fault| fault.to_string())?;
        let mut texts = Texts::default();
        let mut placed = Vec::with_capacity(file.rule.len());
        for rule in file.rule {
            let mut places = |words: &[String]| -> Vec<Place> {
                words.iter().map(|word| texts.place(word)).collect()
            };
            let lists = [places(&rule.any), places(&rule.all), places(&rule.unless)];
            placed.push((rule, lists));
        }
        let phrases_len = texts.phrases.len();
        let rules = placed.into_iter().map(|(rule, lists)| {
            let id = rule.id.clone();
            compiled(rule, lists, phrases_len).map_err(|fault| format!("rule {id}: {fault}"))
        });
        let rules = rules.collect::<Result<_, _>>()?;
        let begins_word = |phrase: &String| phrase.starts_with(|c: char| c.is_ascii_alphanumeric());
        Ok(Self {
            rules,
            begins_word: texts.phrases.iter().map(begins_word).collect(),
            phrases: AhoCorasick::builder()
                .match_kind(MatchKind::Standard)
                .build(&texts.phrases)
                .map_err(|fault| fault.to_string())?,
            forms: RegexSetBuilder::new(&texts.forms)
                .unicode(false)
                .build()
                .map_err(|fault| fault.to_string())?,
        })
    }

    /// The first rule that fits.
    pub(super) fn first_fit(&self, said: &Said) -> Option<&Rule> {
        let found = self.found(&said.text);
        self.rules.iter().find(|rule| rule.fits(said, &found))
    }

    /// By place, whether the text is in it.
    fn found(&self, text: &str) -> Vec<bool> {
        let octets = text.as_bytes();
        let mut found = vec![false; self.begins_word.len() + self.forms.len()];
        for hit in self.phrases.find_overlapping_iter(text) {
            let phrase = hit.pattern().as_usize();
            let before = hit.start().checked_sub(1).map(|at| octets[at]);
            let is_inside = before.is_some_and(|octet| octet.is_ascii_alphanumeric());
            if !(self.begins_word[phrase] && is_inside) {
                found[phrase] = true;
            }
        }
        for form in self.forms.matches(octets) {
            found[self.begins_word.len() + form] = true;
        }
        found
    }
}

fn compiled(text: RuleText, lists: [Vec<Place>; 3], phrases_len: usize) -> Result<Rule, String> {
    let index = |place: &Place| match place {
        Place::Phrase(at) => *at,
        Place::Form(at) => phrases_len + *at,
    };
    let [any, all, unless] = lists.map(|places| places.iter().map(index).collect());
    let codes = text.code.iter().map(code_form).collect::<Result<_, _>>()?;
    let statuses = text
        .status
        .iter()
        .map(|form| status_form(form).ok_or_else(|| format!("status {form:?}")));
    Ok(Rule {
        blame: text.blame,
        codes,
        statuses: statuses.collect::<Result<_, _>>()?,
        text,
        any,
        all,
        unless,
    })
}

fn code_form(text: &CodeText) -> Result<CodeForm, String> {
    match text {
        CodeText::Exact(code @ 400..=599) => Ok(CodeForm::Exact(*code)),
        CodeText::Class(class) if class == "4xx" => Ok(CodeForm::Class(4)),
        CodeText::Class(class) if class == "5xx" => Ok(CodeForm::Class(5)),
        CodeText::Exact(_) | CodeText::Class(_) => Err(format!("code {text:?}")),
    }
}

/// `1.1`, `7.20-29`, `7.*`, `none`.
fn status_form(text: &str) -> Option<StatusForm> {
    if text == "none" {
        return Some(StatusForm::Missing);
    }
    let (subject, detail) = text.split_once('.')?;
    let detail = match detail.split_once('-') {
        Some((from, to)) => from.parse().ok()?..=to.parse().ok()?,
        None if detail == "*" => 0..=u16::MAX,
        None => {
            let detail = detail.parse().ok()?;
            detail..=detail
        }
    };
    let subject = subject.parse().ok()?;
    Some(StatusForm::Within { subject, detail })
}

impl Rule {
    fn fits(&self, said: &Said, found: &[bool]) -> bool {
        let is_found = |place: &usize| found[*place];
        (self.any.is_empty() || self.any.iter().any(is_found))
            && self.all.iter().all(is_found)
            && (self.codes.is_empty() || self.codes.iter().any(|form| form.fits(said)))
            && (self.statuses.is_empty() || self.statuses.iter().any(|form| form.fits(said)))
            && !self.unless.iter().any(is_found)
    }
}

impl CodeForm {
    /// A text without any code is taken for a final refusal: it comes with a bounce.
    fn fits(&self, said: &Said) -> bool {
        match self {
            Self::Exact(code) => said.code == Some(*code),
            Self::Class(class) => said.class().unwrap_or(5) == *class,
        }
    }
}

impl StatusForm {
    fn fits(&self, said: &Said) -> bool {
        match self {
            Self::Missing => said.status.is_none(),
            Self::Within { subject, detail } => said
                .status
                .is_some_and(|s| s.subject == *subject && detail.contains(&s.detail)),
        }
    }
}
