//! The one mailbox of a From field (RFC 5322 3.4), read strictly: what two parsers could read as
//! two different senders is refused.

use std::fmt;

use malote_core::address::EmailAddress;

/// Deepest nesting of comments that is followed.
const COMMENT_DEPTH_MAX: u32 = 32;

/// Who a message says it is from.
#[derive(Clone, PartialEq, Eq)]
pub struct FromMailbox {
    /// The address.
    pub address: EmailAddress,
    /// The display name as a header field may carry it: quoted where it must be, encoded words
    /// left encoded.
    pub phrase: Option<String>,
}

impl fmt::Debug for FromMailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FromMailbox({:?})", self.address)
    }
}

impl FromMailbox {
    /// Reads `addr-spec` or `[display-name] <addr-spec>`, comments skipped. `None` for anything
    /// else: lists, groups, routes, what is not closed, what is not an address.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let mut scan = Scan {
            rest: value,
            ..Scan::default()
        };
        while let Some(c) = scan.next() {
            match c {
                '(' => scan.skip_comment()?,
                '"' => scan.take_quoted()?,
                '<' => scan.take_angle()?,
                '>' | ',' | ';' | ':' | '\\' => return None,
                other => scan.take_text(other)?,
            }
        }
        let Some(address) = scan.angle.take() else {
            let address = EmailAddress::parse(scan.text.trim()).ok()?;
            return Some(Self {
                address,
                phrase: None,
            });
        };
        Some(Self {
            address: EmailAddress::parse(&address).ok()?,
            phrase: scan.phrase(),
        })
    }

    /// A field value with this display name and another address.
    #[must_use]
    pub fn with_address(&self, address: &EmailAddress) -> String {
        match &self.phrase {
            Some(phrase) => format!("{phrase} <{address}>"),
            None => address.to_string(),
        }
    }
}

impl fmt::Display for FromMailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_address(&self.address))
    }
}

#[derive(Default)]
struct Scan<'a> {
    rest: &'a str,
    /// Everything outside comments and angle brackets, as written.
    text: String,
    angle: Option<String>,
    /// Whether unquoted text holds characters that an atom may not (RFC 5322 3.2.3).
    needs_quotes: bool,
}

impl Scan<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn skip_comment(&mut self) -> Option<()> {
        let mut depth = 1;
        while depth > 0 {
            match self.next()? {
                '\\' => {
                    self.next()?;
                }
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            if depth > COMMENT_DEPTH_MAX {
                return None;
            }
        }
        Some(())
    }

    fn take_quoted(&mut self) -> Option<()> {
        if self.angle.is_some() {
            return None;
        }
        let end = quoted_end(self.rest)?;
        self.text.push('"');
        self.text.push_str(&self.rest[..end]);
        self.rest = &self.rest[end..];
        Some(())
    }

    fn take_angle(&mut self) -> Option<()> {
        if self.angle.is_some() {
            return None;
        }
        let start = self.rest;
        let mut bytes = 0;
        while let Some(c) = self.next() {
            match c {
                '>' => {
                    self.angle = Some(start[..bytes].trim().to_owned());
                    return Some(());
                }
                '"' => {
                    let end = quoted_end(self.rest)?;
                    self.rest = &self.rest[end..];
                }
                '<' => return None,
                _ => {}
            }
            bytes = start.len() - self.rest.len();
        }
        None
    }

    fn take_text(&mut self, c: char) -> Option<()> {
        if !c.is_whitespace() {
            if self.angle.is_some() {
                return None;
            }
            self.needs_quotes |= matches!(c, '.' | '@' | '[' | ']' | ')') || c.is_control();
        }
        self.text.push(c);
        Some(())
    }

    fn phrase(&self) -> Option<String> {
        let text = self.text.trim();
        if text.is_empty() {
            return None;
        }
        // Quotes would end the decoding of encoded words (RFC 2047 5), whatever they hold.
        if !self.needs_quotes || text.contains("=?") {
            return Some(text.to_owned());
        }
        let mut quoted = String::from("\"");
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let c = match c {
                '"' => continue,
                '\\' => chars.next().unwrap_or(' '),
                other => other,
            };
            if c == '"' || c == '\\' {
                quoted.push('\\');
            }
            quoted.push(c);
        }
        quoted.push('"');
        Some(quoted)
    }
}

/// The length of a quoted string's rest, its closing quote included.
fn quoted_end(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next()?;
            }
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}
