//! The header of a message or part: its fields, found and refolded.

use mail_parser::parsers::MessageStream;

use super::transfer::Encoding;
use super::{EightBit, LINE_BYTES_MAX, Unencodable, has_long_line};

/// What a part holds, as far as its encoding is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Parts between boundaries.
    Multipart {
        /// Without the dashes.
        boundary: Vec<u8>,
        /// Whether parts without a type are messages (RFC 2046 5.1.5).
        is_digest: bool,
    },
    /// Parts whose encoded form is signed.
    Signed,
    /// A whole message.
    Message,
    /// Another `message/*`, which has no encoding.
    OtherMessage,
    /// Text.
    Text,
    /// Anything else.
    Opaque,
}

/// The fields, each with its line ends.
pub(super) struct Header<'a> {
    fields: Vec<&'a [u8]>,
}

impl<'a> Header<'a> {
    /// Splits a header section, the empty line not included.
    pub(super) fn split(section: &'a [u8]) -> Self {
        let mut fields = Vec::new();
        let mut start = 0;
        for line_end in memchr::memchr_iter(b'\n', section) {
            let next = section.get(line_end + 1);
            if !next.is_some_and(|octet| b" \t".contains(octet)) {
                fields.push(&section[start..=line_end]);
                start = line_end + 1;
            }
        }
        if start < section.len() {
            fields.push(&section[start..]);
        }
        Self { fields }
    }

    /// The value of the field called `name`, if there is one.
    ///
    /// # Errors
    /// If there are two.
    fn value(&self, name: &str) -> Result<Option<&'a [u8]>, Unencodable> {
        let mut values = self.fields.iter().filter_map(|field| value_of(field, name));
        let value = values.next();
        match values.next() {
            None => Ok(value),
            Some(_) => Err(Unencodable::Ambiguous),
        }
    }

    /// The transfer encoding.
    ///
    /// # Errors
    /// If two fields name one.
    pub(super) fn encoding(&self) -> Result<Encoding, Unencodable> {
        let value = self.value(ENCODING)?;
        Ok(value.map_or(Encoding::SevenBit, Encoding::parse))
    }

    /// What the content is, `default` if no field says it.
    ///
    /// # Errors
    /// If two fields say it, or if it is a multipart without a boundary.
    pub(super) fn kind(&self, default: Kind) -> Result<Kind, Unencodable> {
        let Some(value) = self.value(TYPE)? else {
            return Ok(default);
        };
        let parsed = MessageStream::new(value).parse_content_type();
        let Some(content_type) = parsed.as_content_type() else {
            return Ok(default);
        };
        let subtype = content_type.subtype().unwrap_or_default();
        match content_type.ctype() {
            "multipart" if subtype == "signed" => Ok(Kind::Signed),
            "multipart" => {
                let boundary = content_type.attribute("boundary");
                let boundary = boundary.filter(|boundary| !boundary.is_empty());
                Ok(Kind::Multipart {
                    boundary: boundary.ok_or(Unencodable::Boundary)?.as_bytes().to_vec(),
                    is_digest: subtype == "digest",
                })
            }
            // RFC 6532 3.7: message/global is message/rfc822 with UTF-8 in its header.
            "message" if matches!(subtype, "rfc822" | "global") => Ok(Kind::Message),
            "message" => Ok(Kind::OtherMessage),
            "text" => Ok(Kind::Text),
            _ => Ok(Kind::Opaque),
        }
    }

    /// Writes the header with lines that fit. A new encoding replaces the field that named the
    /// old one, or comes last; `needs_version` adds the MIME-Version without which it would mean
    /// nothing (RFC 2045 4).
    ///
    /// # Errors
    /// If a field cannot be made to fit.
    pub(super) fn write(
        &self,
        eight_bit: EightBit,
        encoding: Option<Encoding>,
        needs_version: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Unencodable> {
        let mut encoding = encoding;
        for field in &self.fields {
            if value_of(field, ENCODING).is_some()
                && let Some(encoding) = encoding.take()
            {
                write_encoding(encoding, out);
                continue;
            }
            write_field(field, eight_bit, out)?;
        }
        if let Some(encoding) = encoding {
            let has_version = |field: &&[u8]| value_of(field, VERSION).is_some();
            if needs_version && !self.fields.iter().any(has_version) {
                out.extend_from_slice(b"MIME-Version: 1.0\r\n");
            }
            write_encoding(encoding, out);
        }
        Ok(())
    }
}

const TYPE: &str = "content-type";
const ENCODING: &str = "content-transfer-encoding";
const VERSION: &str = "mime-version";

fn value_of<'a>(field: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let (found, value) = field.split_at_checked(name.len())?;
    if !found.eq_ignore_ascii_case(name.as_bytes()) {
        return None;
    }
    value.trim_ascii_start().strip_prefix(b":")
}

fn write_encoding(encoding: Encoding, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Content-Transfer-Encoding: ");
    out.extend_from_slice(encoding.as_str().as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn write_field(field: &[u8], eight_bit: EightBit, out: &mut Vec<u8>) -> Result<(), Unencodable> {
    if !eight_bit.must_change(field) {
        out.extend_from_slice(field);
        return Ok(());
    }
    if eight_bit == EightBit::Forbidden && !field.is_ascii() {
        return Err(Unencodable::HeaderNotAscii);
    }
    let mut name_bytes = memchr::memchr(b':', field).unwrap_or(0);
    for line in field.split_inclusive(|octet| *octet == b'\n') {
        if has_long_line(line) {
            fold(line, name_bytes, out)?;
        } else {
            out.extend_from_slice(line);
        }
        name_bytes = 0;
    }
    Ok(())
}

/// Folds a line in front of white space, which changes nothing about its meaning (RFC 5322 2.2.3):
/// behind the field's name, and never so that a line holds white space only.
fn fold(line: &[u8], name_bytes: usize, out: &mut Vec<u8>) -> Result<(), Unencodable> {
    let mut rest = line.trim_ascii_end();
    let mut name_bytes = name_bytes;
    if rest.is_empty() {
        return Ok(());
    }
    while rest.len() > LINE_BYTES_MAX {
        let is_space = |octet: &u8| b" \t".contains(octet);
        let first_word = rest.iter().position(|octet| !is_space(octet)).unwrap_or(0);
        let from = first_word.max(name_bytes) + 1;
        let window = rest.get(from..=LINE_BYTES_MAX).unwrap_or_default();
        let Some(at) = window.iter().rposition(is_space) else {
            return Err(Unencodable::HeaderLine);
        };
        let (folded, next) = rest.split_at(from + at);
        out.extend_from_slice(folded);
        out.extend_from_slice(b"\r\n");
        rest = next;
        name_bytes = 0;
    }
    out.extend_from_slice(rest);
    if line.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    Ok(())
}
