//! The walk through a message's structure (RFC 2046 5): copies what fits, encodes the leaves that
//! do not.

use memchr::memmem;

use super::header::{Header, Kind};
use super::transfer::{self, Encoding};
use super::{EightBit, Unencodable, has_long_line};

/// Most levels of parts in parts, so that the walk's stack is bounded.
pub(super) const DEPTH_MAX: usize = 50;

/// Writes the message to `out` in a form that fits.
///
/// # Errors
/// If it cannot be made to fit.
pub(super) fn message(
    octets: &[u8],
    eight_bit: EightBit,
    out: &mut Vec<u8>,
) -> Result<(), Unencodable> {
    let walk = Walk {
        eight_bit,
        depth: 0,
    };
    walk.entity(octets, Place::Message, out)
}

/// Where an entity stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A message, ours or an enclosed one.
    Message,
    /// A part of a multipart.
    Part,
    /// A part of a digest: without a type it is a message (RFC 2046 5.1.5).
    DigestPart,
}

impl Place {
    const fn default_kind(self) -> Kind {
        match self {
            Self::Message | Self::Part => Kind::Text,
            Self::DigestPart => Kind::Message,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Walk {
    eight_bit: EightBit,
    depth: usize,
}

/// A body that fits, and the encoding to name in the header if it is another one now.
type Fitting = (Vec<u8>, Option<Encoding>);

impl Walk {
    /// One level further down.
    fn deeper(self) -> Result<Self, Unencodable> {
        let depth = self.depth + 1;
        let is_within = depth <= DEPTH_MAX;
        is_within
            .then_some(Self { depth, ..self })
            .ok_or(Unencodable::TooDeep)
    }

    /// Header and body of a message or part.
    fn entity(self, octets: &[u8], place: Place, out: &mut Vec<u8>) -> Result<(), Unencodable> {
        if !self.eight_bit.wants_change(octets) {
            out.extend_from_slice(octets);
            return Ok(());
        }
        let (section, rest) = octets.split_at(header_bytes(octets));
        let header = Header::split(section);
        let (empty_line, body) = rest.split_at(rest.len().min(2));
        let fitting = if self.eight_bit.wants_change(body) {
            match self.body(&header, body, place) {
                Ok(fitting) => Some(fitting),
                Err(_) if !self.eight_bit.must_change(body) => None,
                Err(why) => return Err(why),
            }
        } else {
            None
        };
        let encoding = fitting.as_ref().and_then(|(_, encoding)| *encoding);
        header.write(self.eight_bit, encoding, place == Place::Message, out)?;
        out.extend_from_slice(empty_line);
        out.extend_from_slice(fitting.as_ref().map_or(body, |(body, _)| body));
        Ok(())
    }

    /// A body that does not fit.
    fn body(self, header: &Header<'_>, body: &[u8], place: Place) -> Result<Fitting, Unencodable> {
        let encoding = header.encoding()?;
        let kind = header.kind(place.default_kind())?;
        let is_encoded = matches!(encoding, Encoding::QuotedPrintable | Encoding::Base64);
        match kind {
            Kind::Signed => Err(Unencodable::Signed),
            Kind::Multipart {
                boundary,
                is_digest,
            } => {
                let place = if is_digest {
                    Place::DigestPart
                } else {
                    Place::Part
                };
                let parts = self.deeper()?.multipart(body, &boundary, place)?;
                Ok(relabelled(parts, encoding))
            }
            Kind::Message if !is_encoded => {
                let mut enclosed = Vec::with_capacity(body.len());
                self.deeper()?.entity(body, Place::Message, &mut enclosed)?;
                Ok(relabelled(enclosed, encoding))
            }
            Kind::OtherMessage if !is_encoded => Err(Unencodable::MessageType),
            Kind::Text => self.leaf(body, encoding, true),
            Kind::Message | Kind::OtherMessage | Kind::Opaque => self.leaf(body, encoding, false),
        }
    }

    /// Content that is no composition of others.
    fn leaf(self, body: &[u8], encoding: Encoding, is_text: bool) -> Result<Fitting, Unencodable> {
        match encoding {
            Encoding::SevenBit | Encoding::EightBit | Encoding::Binary => {
                let (encoded, encoding) = transfer::encode(body, is_text);
                Ok((encoded, Some(encoding)))
            }
            Encoding::QuotedPrintable => {
                Ok((transfer::mend_quoted_printable(body, self.eight_bit), None))
            }
            Encoding::Base64 => Ok((transfer::rewrap_base64(body), None)),
            Encoding::Unknown => Err(Unencodable::UnknownEncoding),
        }
    }

    /// Parts between boundaries. What stands in front of the first and behind the last is nobody's
    /// content (RFC 2046 5.1.1) and is left out if it does not fit.
    fn multipart(self, body: &[u8], boundary: &[u8], place: Place) -> Result<Vec<u8>, Unencodable> {
        let mut out = Vec::with_capacity(body.len());
        let mut delimiter = Delimiter::find(body, boundary, 0).ok_or(Unencodable::Boundary)?;
        self.copy_if_fit(&body[..delimiter.start], &mut out);
        loop {
            delimiter.write(body, &mut out);
            if delimiter.is_close {
                self.copy_if_fit(&body[delimiter.end..], &mut out);
                return Ok(out);
            }
            let Some(next) = Delimiter::find(body, boundary, delimiter.end) else {
                self.entity(&body[delimiter.end..], place, &mut out)?;
                return Ok(out);
            };
            // The line end in front of a delimiter is part of it.
            let between = &body[delimiter.end..next.start];
            let part = between.strip_suffix(b"\r\n").unwrap_or(between);
            self.entity(part, place, &mut out)?;
            out.extend_from_slice(&between[part.len()..]);
            delimiter = next;
        }
    }

    fn copy_if_fit(self, octets: &[u8], out: &mut Vec<u8>) {
        if !self.eight_bit.wants_change(octets) {
            out.extend_from_slice(octets);
        }
    }
}

/// Octets of the header section, without the empty line.
fn header_bytes(octets: &[u8]) -> usize {
    if octets.starts_with(b"\r\n") {
        return 0;
    }
    memmem::find(octets, b"\r\n\r\n").map_or(octets.len(), |at| at + 2)
}

/// A composition says of itself what its parts are now, if it said that they were more.
fn relabelled(body: Vec<u8>, before: Encoding) -> Fitting {
    let now = if body.is_ascii() {
        Encoding::SevenBit
    } else {
        Encoding::EightBit
    };
    let is_wide = matches!(before, Encoding::EightBit | Encoding::Binary);
    let encoding = (is_wide && now != before).then_some(now);
    (body, encoding)
}

/// A line that begins or ends a part.
#[derive(Debug, Clone, Copy)]
struct Delimiter {
    start: usize,
    /// Behind boundary and dashes.
    text_end: usize,
    /// Behind the line end.
    end: usize,
    is_close: bool,
}

impl Delimiter {
    /// The next one at or behind `from`, which is the start of a line.
    fn find(body: &[u8], boundary: &[u8], from: usize) -> Option<Self> {
        let dashed = [b"--", boundary].concat();
        let mut candidates = memmem::find_iter(&body[from..], &dashed);
        candidates.find_map(|at| {
            let start = from + at;
            let is_line_start = start == from || body[start - 1] == b'\n';
            is_line_start.then(|| Self::read(body, start, start + dashed.len()))?
        })
    }

    /// `text_end` is behind the boundary; only dashes and padding may follow.
    fn read(body: &[u8], start: usize, text_end: usize) -> Option<Self> {
        let behind = &body[text_end..];
        let is_close = behind.starts_with(b"--");
        let text_end = if is_close { text_end + 2 } else { text_end };
        let line_bytes = memchr::memchr(b'\n', &body[text_end..]).map(|at| at + 1);
        let end = line_bytes.map_or(body.len(), |bytes| text_end + bytes);
        body[text_end..end].trim_ascii().is_empty().then_some(Self {
            start,
            text_end,
            end,
            is_close,
        })
    }

    fn write(self, body: &[u8], out: &mut Vec<u8>) {
        let line = &body[self.start..self.end];
        if !has_long_line(line) {
            out.extend_from_slice(line);
            return;
        }
        out.extend_from_slice(&body[self.start..self.text_end]);
        if line.ends_with(b"\r\n") {
            out.extend_from_slice(b"\r\n");
        }
    }
}
