//! Transfer encodings (RFC 2045 6): new ones for what has none, shorter lines for what has one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::EightBit;

/// Longest line of both encodings (RFC 2045 6.7 and 6.8).
const ENCODED_LINE_BYTES_MAX: usize = 76;

/// What `Content-Transfer-Encoding` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// `7bit`, or no field.
    SevenBit,
    /// `8bit`.
    EightBit,
    /// `binary`.
    Binary,
    /// `quoted-printable`.
    QuotedPrintable,
    /// `base64`.
    Base64,
    /// Something else.
    Unknown,
}

impl Encoding {
    /// Reads the field's value.
    pub(super) fn parse(value: &[u8]) -> Self {
        let value = value.trim_ascii();
        if value.is_empty() {
            return Self::SevenBit;
        }
        let mut tokens = value.split(|octet| b" \t\r\n;(".contains(octet));
        let token = tokens.next().unwrap_or_default().to_ascii_lowercase();
        match token.as_slice() {
            b"7bit" => Self::SevenBit,
            b"8bit" => Self::EightBit,
            b"binary" => Self::Binary,
            b"quoted-printable" => Self::QuotedPrintable,
            b"base64" => Self::Base64,
            _ => Self::Unknown,
        }
    }

    /// The field's value; unknown ones are never written.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::SevenBit => "7bit",
            Self::EightBit => "8bit",
            Self::Binary | Self::Unknown => "binary",
            Self::QuotedPrintable => "quoted-printable",
            Self::Base64 => "base64",
        }
    }
}

/// Encodes text by what is shorter, anything else in base64. Line ends of text stay line ends in
/// quoted-printable, so that it can be read without decoding.
pub(super) fn encode(content: &[u8], is_text: bool) -> (Vec<u8>, Encoding) {
    let over_127 = content.iter().filter(|octet| !octet.is_ascii()).count();
    // Quoted-printable adds two octets to each, base64 a third to all.
    if is_text && over_127 * 6 <= content.len() {
        let encoded = quoted_printable::encode(content);
        return (encoded, Encoding::QuotedPrintable);
    }
    let encoded = STANDARD.encode(content);
    let ends_line = content.ends_with(b"\r\n");
    (in_lines(encoded.as_bytes(), ends_line), Encoding::Base64)
}

/// Base64 in lines as they should be. What is not of its alphabet means nothing and is left out
/// (RFC 2045 6.8).
pub(super) fn rewrap_base64(encoded: &[u8]) -> Vec<u8> {
    let is_alphabet = |octet: &u8| octet.is_ascii_alphanumeric() || b"+/=".contains(octet);
    let digits: Vec<u8> = encoded.iter().copied().filter(is_alphabet).collect();
    in_lines(&digits, encoded.ends_with(b"\r\n"))
}

fn in_lines(digits: &[u8], ends_line: bool) -> Vec<u8> {
    let lines = digits.len().div_ceil(ENCODED_LINE_BYTES_MAX);
    let mut wrapped = Vec::with_capacity(digits.len() + 2 * lines + 2);
    for (at, line) in digits.chunks(ENCODED_LINE_BYTES_MAX).enumerate() {
        if at > 0 {
            wrapped.extend_from_slice(b"\r\n");
        }
        wrapped.extend_from_slice(line);
    }
    if ends_line {
        wrapped.extend_from_slice(b"\r\n");
    }
    wrapped
}

/// Quoted-printable whose lines fit; those that do already stay as they are.
pub(super) fn mend_quoted_printable(encoded: &[u8], eight_bit: EightBit) -> Vec<u8> {
    let mut mended = Vec::with_capacity(encoded.len() + encoded.len() / 8);
    for line in encoded.split_inclusive(|octet| *octet == b'\n') {
        if !eight_bit.wants_change(line) {
            mended.extend_from_slice(line);
            continue;
        }
        let content = line.strip_suffix(b"\r\n");
        mend_line(content.unwrap_or(line), &mut mended);
        if content.is_some() {
            mended.extend_from_slice(b"\r\n");
        }
    }
    mended
}

/// Breaks one line softly and encodes what should have been. White space at its end was added on
/// the way and means nothing (RFC 2045 6.7, rule 3); a lone `=` means itself.
fn mend_line(line: &[u8], mended: &mut Vec<u8>) {
    let mut rest = line.trim_ascii_end();
    let soft_break = rest.strip_suffix(b"=");
    rest = soft_break.unwrap_or(rest);
    let mut column = 0;
    while let Some(octet) = rest.first().copied() {
        let is_escape = octet == b'='
            && rest.get(1).is_some_and(u8::is_ascii_hexdigit)
            && rest.get(2).is_some_and(u8::is_ascii_hexdigit);
        let escape = [b'=', hex(octet >> 4), hex(octet & 15)];
        let (taken, token) = if is_escape {
            (3, &rest[..3])
        } else if octet != b'=' && (octet == b'\t' || (b' '..=b'~').contains(&octet)) {
            (1, &rest[..1])
        } else {
            (1, &escape[..])
        };
        if column + token.len() >= ENCODED_LINE_BYTES_MAX {
            mended.extend_from_slice(b"=\r\n");
            column = 0;
        }
        mended.extend_from_slice(token);
        column += token.len();
        rest = &rest[taken..];
    }
    if soft_break.is_some() {
        mended.push(b'=');
    }
}

const fn hex(nibble: u8) -> u8 {
    if nibble < 10 {
        b'0' + nibble
    } else {
        b'A' + nibble - 10
    }
}
