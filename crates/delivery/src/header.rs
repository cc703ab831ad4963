//! The header section of a message: found, read and edited in place, everything else byte-exact.
//!
//! Nothing here decodes MIME or looks at the body.

mod edit;
mod mailbox;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use jiff::Timestamp;
use malote_core::id::MessageId;
use memchr::{memchr, memchr3};

pub use edit::Edits;
pub(crate) use edit::put_field;
pub use mailbox::FromMailbox;
pub use malote_core::message::has_bare_cr_lf;

/// Largest header section, in octets. Real mail stays far below it; parsers beyond us need not
/// stand more.
pub const HEADER_BYTES_MAX: usize = 100 * 1024;

/// Most fields in a header section.
pub const HEADER_FIELDS_MAX: usize = 1_000;

/// Why a header section cannot be sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// More than [`HEADER_BYTES_MAX`].
    #[error("the header section is larger than 100 KiB")]
    TooLarge,
    /// More than [`HEADER_FIELDS_MAX`].
    #[error("the header section has more than 1000 fields")]
    TooManyFields,
    /// A line that is neither a field nor the continuation of one (RFC 5322 2.2).
    #[error("line {line} of the header section is not a header field")]
    NotAField {
        /// Counted from 1.
        line: u32,
    },
    /// A field name with something else than printable ASCII (RFC 5322 2.2).
    #[error("the field name in line {line} of the header section is not well formed")]
    BadName {
        /// Counted from 1.
        line: u32,
    },
    /// A CR without LF or an LF without CR.
    #[error("bare CR or LF in the header section")]
    BareCrLf,
    /// A NUL octet.
    #[error("NUL in the header section")]
    Nul,
    /// No From field (RFC 5322 3.6).
    #[error("the message has no From field")]
    FromMissing,
    /// More than one From field.
    #[error("the message has more than one From field")]
    FromRepeated,
    /// From holds a group, a list, or nothing that is an address.
    #[error("the From field must hold exactly one address")]
    FromMalformed,
}

impl HeaderFault {
    /// The enhanced status code (RFC 3463) that an SMTP client is told.
    #[must_use]
    pub const fn enhanced(self) -> &'static str {
        match self {
            Self::TooLarge | Self::TooManyFields => "5.3.4",
            Self::BareCrLf => "5.6.11",
            Self::NotAField { .. }
            | Self::BadName { .. }
            | Self::Nul
            | Self::FromMissing
            | Self::FromRepeated
            | Self::FromMalformed => "5.6.0",
        }
    }
}

/// Where one field lies in the message.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    name_end: u32,
    end: u32,
}

impl Span {
    const fn all(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    const fn name(self) -> Range<usize> {
        self.start as usize..self.name_end as usize
    }

    const fn body(self) -> Range<usize> {
        self.name_end as usize + 1..self.end as usize
    }
}

/// The fields of one message, with the message behind them.
#[derive(Clone)]
pub struct Header {
    message: Bytes,
    fields: Vec<Span>,
    /// Where the empty line that ends the section begins; the message's end if there is none.
    end: usize,
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Header({} fields)", self.fields.len())
    }
}

/// One field.
#[derive(Clone, Copy)]
pub struct Field<'a> {
    /// Its name as written, printable ASCII.
    pub name: &'a str,
    /// Everything behind the colon, with folds and the last line end.
    pub raw_value: &'a [u8],
}

impl<'a> Field<'a> {
    /// The value unfolded (RFC 5322 2.2.3) and trimmed. Encoded words stay encoded; octets that
    /// are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn value(&self) -> Cow<'a, str> {
        let raw = self.raw_value.trim_ascii();
        let text = String::from_utf8_lossy(raw);
        if memchr(b'\r', raw).is_none() {
            return text;
        }
        Cow::Owned(text.replace("\r\n", ""))
    }
}

impl Header {
    /// Finds the fields of `message`. A message that begins with the empty line, or is empty, has
    /// none. Only the header section is looked at: the body's line ends are [`has_bare_cr_lf`]'s.
    ///
    /// # Errors
    /// The first rule that the section breaks. Whether From is there is
    /// [`Header::from_mailbox`]'s to say.
    pub fn parse(message: &Bytes) -> Result<Self, HeaderFault> {
        let mut fields: Vec<Span> = Vec::with_capacity(24);
        let mut start = 0;
        let mut line: u32 = 1;
        while start < message.len() {
            let end = line_end(message, start)?;
            let text = &message[start..end];
            if text == b"\r\n" {
                break;
            }
            if end > HEADER_BYTES_MAX {
                return Err(HeaderFault::TooLarge);
            }
            if text[0] == b' ' || text[0] == b'\t' {
                let field = fields.last_mut().ok_or(HeaderFault::NotAField { line })?;
                field.end = offset(end);
            } else {
                let name_bytes = name_length(text, line)?;
                if fields.len() == HEADER_FIELDS_MAX {
                    return Err(HeaderFault::TooManyFields);
                }
                fields.push(Span {
                    start: offset(start),
                    name_end: offset(start + name_bytes),
                    end: offset(end),
                });
            }
            start = end;
            line += 1;
        }
        Ok(Self {
            message: message.clone(),
            fields,
            end: start,
        })
    }

    /// The message that was parsed.
    #[must_use]
    pub const fn message(&self) -> &Bytes {
        &self.message
    }

    /// Where the body begins: behind the empty line, or the message's end if it has no body.
    #[must_use]
    pub fn body_offset(&self) -> usize {
        (self.end + 2).min(self.message.len())
    }

    /// The header section without the empty line.
    #[must_use]
    pub fn section(&self) -> &[u8] {
        &self.message[..self.end]
    }

    /// Whether the header section holds raw UTF-8 or other octets above 127 (RFC 6532).
    #[must_use]
    pub fn is_8bit(&self) -> bool {
        !self.section().is_ascii()
    }

    /// The fields in their order.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        self.fields.iter().map(|span| self.field(*span))
    }

    /// Name and unfolded value of every field, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        self.fields().map(|field| (field.name, field.value()))
    }

    /// The fields of this name, in any case, in their order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Field<'a>> {
        self.fields()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
    }

    /// The unfolded value of the first field of this name.
    #[must_use]
    pub fn first<'a>(&'a self, name: &'a str) -> Option<Cow<'a, str>> {
        self.all(name).next().map(|field| field.value())
    }

    /// How many fields have this name.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.all(name).count()
    }

    /// Whether a field has this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// The one mailbox in the one From field.
    ///
    /// # Errors
    /// If there is no From, more than one, or not exactly one address in it (a group, a list).
    pub fn from_mailbox(&self) -> Result<FromMailbox, HeaderFault> {
        let mut all = self.all("From");
        let from = all.next().ok_or(HeaderFault::FromMissing)?;
        if all.next().is_some() {
            return Err(HeaderFault::FromRepeated);
        }
        FromMailbox::parse(&from.value()).ok_or(HeaderFault::FromMalformed)
    }

    fn field(&self, span: Span) -> Field<'_> {
        Field {
            // Names were checked to be ASCII.
            name: std::str::from_utf8(&self.message[span.name()]).unwrap_or_default(),
            raw_value: &self.message[span.body()],
        }
    }
}

/// Header sections end below 100 KiB, so offsets fit.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Where the line that begins at `start` ends, its CRLF included. The last line may lack it.
fn line_end(message: &[u8], start: usize) -> Result<usize, HeaderFault> {
    let window = &message[start..message.len().min(HEADER_BYTES_MAX + 2)];
    let Some(hit) = memchr3(b'\r', b'\n', 0, window) else {
        let is_cut = start + window.len() < message.len();
        return if is_cut {
            Err(HeaderFault::TooLarge)
        } else {
            Ok(message.len())
        };
    };
    match (window[hit], message.get(start + hit + 1)) {
        (0, _) => Err(HeaderFault::Nul),
        (b'\r', Some(b'\n')) => Ok(start + hit + 2),
        _ => Err(HeaderFault::BareCrLf),
    }
}

/// The length of the field name that `text` begins with (RFC 5322 2.2: printable ASCII without
/// the colon; the obsolete blank before the colon is refused, since it hides a field from others).
fn name_length(text: &[u8], line: u32) -> Result<usize, HeaderFault> {
    let colon = memchr(b':', text).ok_or(HeaderFault::NotAField { line })?;
    let is_name = colon > 0 && text[..colon].iter().all(u8::is_ascii_graphic);
    if is_name {
        Ok(colon)
    } else {
        Err(HeaderFault::BadName { line })
    }
}

/// Whether the message holds octets above 127 (RFC 6152).
#[must_use]
pub fn is_8bit(message: &[u8]) -> bool {
    !message.is_ascii()
}

/// `now` as a Date field has it (RFC 5322 3.3), in UTC.
#[must_use]
pub fn date(now: Timestamp) -> String {
    now.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

/// A Message-ID (RFC 5322 3.6.4) for a message that came without one. The same message always
/// gets the same, so that a repeated send can be recognised.
#[must_use]
pub fn message_id(id: MessageId, domain: &str) -> String {
    format!("<{}@{domain}>", id.simple())
}

/// The tracking hash of Mautic in a bounce address, `local+bounce_HASH@domain`, as in MAIL FROM
/// or Return-Path, with or without angle brackets. PHP's `uniqid` gives 13 hex digits, and 22 or
/// 23 digits with more entropy and its dot dropped.
#[must_use]
pub fn mautic_hash(address: &str) -> Option<&str> {
    let address = address.trim().trim_start_matches('<').trim_end_matches('>');
    let (local, _) = address.rsplit_once('@')?;
    let (_, hash) = local.rsplit_once("+bounce_")?;
    let is_hash = matches!(hash.len(), 13 | 22 | 23) && hash.bytes().all(|b| b.is_ascii_hexdigit());
    is_hash.then_some(hash)
}
