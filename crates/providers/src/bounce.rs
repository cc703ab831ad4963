//! Whose fault a refusal is, by the codes and words of the server that refused.
//!
//! The rules are data, `bounce/rules.toml`: tried in order, the first that fits decides. Only
//! [`Blame::Recipient`] suppresses an address, so it needs evidence about the mailbox.

use std::sync::LazyLock;

use malote_core::event::Blame;
use malote_core::provider::REPLY_TEXT_BYTES_MAX;
use regex::Regex;

use rules::{RULES, Status};

#[cfg(test)]
mod corpus;
mod rules;
#[cfg(test)]
mod tests;

/// What a refusing server said, as far as a service passes it on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Refusal<'a> {
    /// SMTP reply code.
    pub code: Option<u16>,
    /// Enhanced status code (RFC 3463), `5.1.1`.
    pub enhanced: Option<&'a str>,
    /// The text. What it begins with (`550 5.1.1 ...`) stands above `enhanced`, which is often the
    /// service's own generic one; more than [`REPLY_TEXT_BYTES_MAX`] is not read.
    pub text: &'a str,
}

/// Reads a refusal, permanent or not; `None` if neither codes nor words are known.
/// [`Blame::Unknown`] is a reply that is known to say nothing.
pub(crate) fn blame(refusal: Refusal<'_>) -> Option<Blame> {
    RULES.first_fit(&Said::of(refusal)).map(|rule| rule.blame)
}

/// A refusal, taken apart for the rules.
pub(crate) struct Said {
    code: Option<u16>,
    status: Option<Status>,
    /// Lower case, single blanks, without addresses: `<listed@x.test>` says nothing of a list.
    text: String,
}

impl Said {
    fn of(refusal: Refusal<'_>) -> Self {
        let text = cut(refusal.text);
        let (led_code, led_status, text) = leading(text);
        let given = refusal.enhanced.and_then(|word| word.parse().ok());
        let status = led_status.or(given).or_else(|| inner_status(text));
        let words = text.split_whitespace().filter(|word| !word.contains('@'));
        Self {
            code: refusal.code.filter(is_refusal).or(led_code),
            status,
            text: words.collect::<Vec<_>>().join(" ").to_ascii_lowercase(),
        }
    }

    /// 4 or 5; `None` if nothing says.
    fn class(&self) -> Option<u16> {
        let by_status = || self.status.map(|status| status.class);
        self.code.map(|code| code / 100).or_else(by_status)
    }
}

fn is_refusal(code: &u16) -> bool {
    (400..600).contains(code)
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(REPLY_TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

const LEADING: &str =
    r"^\s*(?i:smtp;\s*)?(?:([45][0-9]{2})[ \-]+)?(?:#?\(?([45]\.[0-9]{1,3}\.[0-9]{1,3})\b)?";
const INNER: &str = r"\b[45][0-9]{2}[ \-]#?([45]\.[0-9]{1,3}\.[0-9]{1,3})(?:[^.0-9]|\.?$)";

/// The codes that a text begins with, and what comes behind them.
fn leading(text: &str) -> (Option<u16>, Option<Status>, &str) {
    static FORM: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(LEADING).ok());
    let Some(found) = FORM.as_ref().and_then(|form| form.captures(text)) else {
        return (None, None, text);
    };
    let code = found.get(1).and_then(|code| code.as_str().parse().ok());
    let status = found.get(2).and_then(|status| status.as_str().parse().ok());
    (code, status, &text[found.get_match().end()..])
}

/// The first status beside a code inside a text, for services that put words of their own around.
fn inner_status(text: &str) -> Option<Status> {
    static FORM: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(INNER).ok());
    let found = FORM.as_ref()?.captures(text)?;
    found.get(1)?.as_str().parse().ok()
}
