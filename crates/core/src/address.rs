//! E-mail addresses: parsed once, compared after IDNA, never printed whole by `Debug`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// RFC 5321 4.5.3.1.1.
pub const LOCAL_PART_BYTES_MAX: usize = 64;
/// RFC 5321 4.5.3.1.3 allows a path of 256 octets with its angle brackets.
pub const ADDRESS_BYTES_MAX: usize = 254;

/// Why a text is not an address that mail can be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressFault {
    /// No text at all.
    #[error("the address is empty")]
    Empty,
    /// No `@`, or nothing behind it.
    #[error("the address has no domain")]
    DomainMissing,
    /// Not a dot-string or quoted-string (RFC 5321 4.1.2).
    #[error("the part before @ is not well formed")]
    LocalPart,
    /// More than 64 octets before the `@`.
    #[error("the part before @ is longer than 64 octets")]
    LocalPartTooLong,
    /// Not a domain name, before or after IDNA (UTS 46).
    #[error("the domain is not well formed")]
    Domain,
    /// More than 254 octets.
    #[error("the address is longer than 254 octets")]
    TooLong,
    /// `[192.0.2.1]`: no provider delivers to those.
    #[error("address literals are not accepted")]
    Literal,
    /// A bidirectional override or a character of no width.
    #[error("the address holds invisible or text-reversing characters")]
    Invisible,
}

/// A mailbox address, `local@domain`. The local part is kept as it goes on the wire (quoted only
/// where it must be); the domain is lower-case A-labels.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EmailAddress {
    text: Box<str>,
    at: u16,
}

impl EmailAddress {
    /// Parses an addr-spec (RFC 5322 3.4.1 without comments and folding; RFC 6531 for UTF-8 local
    /// parts). No angle brackets, no display name, no list.
    ///
    /// # Errors
    /// The first rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, AddressFault> {
        if text.is_empty() {
            return Err(AddressFault::Empty);
        }
        if text.chars().any(is_invisible) {
            return Err(AddressFault::Invisible);
        }
        let at = text.rfind('@').ok_or(AddressFault::DomainMissing)?;
        let local = parse_local_part(&text[..at])?;
        let domain = parse_domain(&text[at + 1..])?;
        if local.len() > LOCAL_PART_BYTES_MAX {
            return Err(AddressFault::LocalPartTooLong);
        }
        let text = format!("{local}@{domain}");
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(AddressFault::TooLong);
        }
        Ok(Self {
            at: u16::try_from(local.len()).unwrap_or(0),
            text: text.into_boxed_str(),
        })
    }

    /// The address as it goes on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part before the `@`, quoted where it must be.
    #[must_use]
    pub fn local_part(&self) -> &str {
        &self.text[..usize::from(self.at)]
    }

    /// The domain: lower case, A-labels.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.text[usize::from(self.at) + 1..]
    }

    /// What two spellings of one mailbox have in common: everything in lower case. Suppressions
    /// and de-duplication compare this.
    #[must_use]
    pub fn key(&self) -> String {
        self.text.to_lowercase()
    }

    /// Whether only a server with SMTPUTF8 (RFC 6531) can take it.
    #[must_use]
    pub fn needs_smtputf8(&self) -> bool {
        !self.text.is_ascii()
    }
}

impl FromStr for EmailAddress {
    type Err = AddressFault;

    fn from_str(text: &str) -> Result<Self, AddressFault> {
        Self::parse(text)
    }
}

impl TryFrom<String> for EmailAddress {
    type Error = AddressFault;

    fn try_from(text: String) -> Result<Self, AddressFault> {
        Self::parse(&text)
    }
}

impl From<EmailAddress> for String {
    fn from(address: EmailAddress) -> Self {
        address.text.into()
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "***@{}", self.domain())
    }
}

/// Parses a domain into lower-case A-labels (UTS 46, STD 3 rules, DNS lengths).
///
/// # Errors
/// [`AddressFault::Literal`] for `[...]`, [`AddressFault::Domain`] for anything else that is not a
/// domain name, dotted numbers included.
pub fn parse_domain(text: &str) -> Result<String, AddressFault> {
    if text.is_empty() {
        return Err(AddressFault::DomainMissing);
    }
    if text.starts_with('[') {
        return Err(AddressFault::Literal);
    }
    if text.ends_with('.') {
        return Err(AddressFault::Domain);
    }
    let domain = idna::domain_to_ascii_strict(text).map_err(|_| AddressFault::Domain)?;
    let last = domain.rsplit('.').next().unwrap_or_default();
    if last.is_empty() || last.bytes().all(|b| b.is_ascii_digit()) {
        return Err(AddressFault::Domain);
    }
    Ok(domain)
}

fn parse_local_part(text: &str) -> Result<String, AddressFault> {
    if let Some(inner) = text.strip_prefix('"') {
        let inner = inner.strip_suffix('"').ok_or(AddressFault::LocalPart)?;
        let content = unquote(inner)?;
        return Ok(if is_dot_string(&content) {
            content
        } else {
            quote(&content)
        });
    }
    if is_dot_string(text) {
        Ok(text.to_owned())
    } else {
        Err(AddressFault::LocalPart)
    }
}

fn unquote(inner: &str) -> Result<String, AddressFault> {
    let mut content = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => chars.next().ok_or(AddressFault::LocalPart)?,
            '"' => return Err(AddressFault::LocalPart),
            other => other,
        };
        if c.is_control() {
            return Err(AddressFault::LocalPart);
        }
        content.push(c);
    }
    Ok(content)
}

fn quote(content: &str) -> String {
    let mut quoted = String::with_capacity(content.len() + 2);
    quoted.push('"');
    for c in content.chars() {
        if c == '"' || c == '\\' {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

fn is_dot_string(text: &str) -> bool {
    !text.is_empty()
        && text
            .split('.')
            .all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~".contains(c)
        || (!c.is_ascii() && !c.is_control() && !c.is_whitespace())
}

/// Bidirectional controls (UAX 9) and characters of no width, which make one address look like
/// another.
#[must_use]
pub const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{00AD}'
            | '\u{061C}'
            | '\u{180E}'
            | '\u{200B}'..='\u{200F}'
            | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{2069}'
            | '\u{FEFF}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_kept_as_they_go_on_the_wire() {
        for (text, kept) in [
            ("Joao.Silva+x@Dest.EXAMPLE", "Joao.Silva+x@dest.example"),
            ("\"plain\"@x.test", "plain@x.test"),
            ("\"a>b\"@x.test", "\"a>b\"@x.test"),
            ("\"a\\\"b\"@x.test", "\"a\\\"b\"@x.test"),
            ("a@münchen.example", "a@xn--mnchen-3ya.example"),
            ("jörg@x.test", "jörg@x.test"),
            ("a@localhost", "a@localhost"),
        ] {
            assert_eq!(
                EmailAddress::parse(text).map(String::from),
                Ok(kept.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_address_says_why() {
        let long_local = format!("{}@x.test", "a".repeat(65));
        let long = format!("a@{}.test", ["x"; 130].join("."));
        for (text, fault) in [
            ("", AddressFault::Empty),
            ("a", AddressFault::DomainMissing),
            ("a@", AddressFault::DomainMissing),
            ("a b@x.test", AddressFault::LocalPart),
            ("a..b@x.test", AddressFault::LocalPart),
            (".a@x.test", AddressFault::LocalPart),
            ("a@x.test, evil@y.test", AddressFault::LocalPart),
            ("a@x.test\r\nRCPT TO:<b@y>", AddressFault::LocalPart),
            ("<a@x.test>", AddressFault::LocalPart),
            ("a@-x.test", AddressFault::Domain),
            ("a@x..test", AddressFault::Domain),
            ("a@192.0.2.1", AddressFault::Domain),
            ("a@[127.0.0.1]", AddressFault::Literal),
            ("a@[IPv6:::1]", AddressFault::Literal),
            ("a\u{200b}@x.test", AddressFault::Invisible),
            ("a\u{202e}@x.test", AddressFault::Invisible),
            (long_local.as_str(), AddressFault::LocalPartTooLong),
            (long.as_str(), AddressFault::Domain),
        ] {
            assert_eq!(EmailAddress::parse(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn debug_hides_the_local_part() {
        let address = EmailAddress::parse("canary.person@pii.test").unwrap();
        assert_eq!(format!("{address:?}"), "***@pii.test");
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_what_is_kept_parses_to_itself(text in "\\PC{0,40}@?\\PC{0,40}") {
            if let Ok(address) = EmailAddress::parse(&text) {
                prop_assert!(!address.as_str().bytes().any(|b| b == b'\r' || b == b'\n'));
                prop_assert_eq!(EmailAddress::parse(address.as_str()), Ok(address));
            }
        }
    }
}
