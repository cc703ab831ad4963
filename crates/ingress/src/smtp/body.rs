//! A message being received: its octets, and the first reason to refuse it.

use bytes::{Bytes, BytesMut};

use super::reply::{
    BARE_IN_BODY, HEADER_TOO_LARGE, NO_MEMORY, NON_ASCII_HEADER, NUL_IN_BODY, Reply, TOO_LARGE,
};

/// Octets of a header section; a bound of ours, far over what any mailer writes.
pub(crate) const HEADER_BYTES_MAX: usize = 100 * 1024;
/// Fields of a header section.
pub(crate) const HEADER_FIELDS_MAX: usize = 1_000;
/// The first allocation at most, whatever SIZE claims.
const FIRST_ALLOCATION_BYTES_MAX: u64 = 256 * 1024;

/// What of a message's form is refused or let through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyRules {
    /// Octets that the client may send, without our trace field.
    pub(crate) bytes_max: u64,
    /// Whether header fields may hold raw UTF-8.
    pub(crate) allows_utf8_header: bool,
}

/// Why a message was refused while it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFault {
    /// Longer than the announced SIZE.
    TooLarge,
    /// A header section over its bounds.
    HeaderTooLarge,
    /// Octets over 127 in the header section without SMTPUTF8.
    NonAsciiHeader,
    /// A NUL.
    Nul,
    /// A CR without LF or a LF without CR.
    BareLineEnd,
    /// The gateway's memory for mail in flight is spent.
    NoMemory,
}

impl BodyFault {
    pub(crate) const fn reply(self) -> Reply {
        match self {
            Self::TooLarge => TOO_LARGE,
            Self::HeaderTooLarge => HEADER_TOO_LARGE,
            Self::NonAsciiHeader => NON_ASCII_HEADER,
            Self::Nul => NUL_IN_BODY,
            Self::BareLineEnd => BARE_IN_BODY,
            Self::NoMemory => NO_MEMORY,
        }
    }
}

/// A message being received. Once refused, it keeps nothing and only counts.
#[derive(Debug)]
pub(crate) struct Body {
    octets: BytesMut,
    taken: u64,
    rules: BodyRules,
    header: HeaderGuard,
    fault: Option<BodyFault>,
}

impl Body {
    /// An empty message behind our `trace` field. `size` is what the client announced.
    pub(crate) fn new(trace: &[u8], size: Option<u64>, rules: BodyRules) -> Self {
        let first = size.unwrap_or(0).min(FIRST_ALLOCATION_BYTES_MAX);
        let first = usize::try_from(first).unwrap_or(0) + trace.len() + 2;
        let mut octets = BytesMut::with_capacity(first);
        octets.extend_from_slice(trace);
        Self {
            octets,
            taken: 0,
            rules,
            header: HeaderGuard::default(),
            fault: None,
        }
    }

    /// Adds octets whose line ends the caller has checked.
    pub(crate) fn push(&mut self, octets: &[u8]) {
        self.taken += octets.len() as u64;
        if self.fault.is_some() {
            return;
        }
        if self.taken > self.rules.bytes_max {
            self.refuse(BodyFault::TooLarge);
            return;
        }
        if let Err(fault) = self.header.observe(octets, self.rules.allows_utf8_header) {
            self.refuse(fault);
            return;
        }
        self.octets.extend_from_slice(octets);
    }

    /// Refuses the message, unless it is refused already, and lets its octets go.
    pub(crate) fn refuse(&mut self, fault: BodyFault) {
        if self.fault.is_none() {
            self.fault = Some(fault);
            self.octets = BytesMut::new();
        }
    }

    /// Why it is refused, if it is.
    pub(crate) const fn fault(&self) -> Option<BodyFault> {
        self.fault
    }

    /// Octets of memory it holds.
    pub(crate) fn bytes_held(&self) -> u64 {
        self.octets.capacity() as u64
    }

    /// Whether so much was read past the bound that the connection is not worth keeping.
    pub(crate) const fn is_hopeless(&self) -> bool {
        self.taken > self.rules.bytes_max.saturating_mul(2)
    }

    /// Whether the last line is complete; true for an empty message.
    fn ends_with_line_end(&self) -> bool {
        self.taken == 0 || self.octets.ends_with(b"\r\n")
    }

    /// The whole message.
    ///
    /// # Errors
    /// Why it was refused.
    pub(crate) fn finish(mut self) -> Result<Bytes, BodyFault> {
        if self.fault.is_none() && !self.ends_with_line_end() {
            self.push(b"\r\n");
        }
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok(self.octets.freeze()),
        }
    }
}

/// Counts a header section as it passes; done at the first empty line.
#[derive(Debug, Default)]
struct HeaderGuard {
    bytes: usize,
    fields: usize,
    line_bytes: usize,
    /// Whether the line goes on with the field of the line before it.
    is_folded: bool,
    is_over: bool,
}

impl HeaderGuard {
    fn observe(&mut self, mut octets: &[u8], allows_utf8: bool) -> Result<(), BodyFault> {
        while !self.is_over && !octets.is_empty() {
            let end = memchr::memchr(b'\n', octets).map_or(octets.len(), |at| at + 1);
            let (line, rest) = octets.split_at(end);
            octets = rest;
            self.observe_line(line, allows_utf8)?;
        }
        Ok(())
    }

    /// One line of the header section, or the next piece of one.
    fn observe_line(&mut self, piece: &[u8], allows_utf8: bool) -> Result<(), BodyFault> {
        if self.line_bytes == 0 {
            self.is_folded = piece.starts_with(b" ") || piece.starts_with(b"\t");
        }
        self.line_bytes += piece.len();
        self.bytes += piece.len();
        if piece.ends_with(b"\n") {
            self.is_over = self.line_bytes <= 2;
            self.fields += usize::from(!self.is_over && !self.is_folded);
            self.line_bytes = 0;
        }
        if self.bytes > HEADER_BYTES_MAX || self.fields > HEADER_FIELDS_MAX {
            Err(BodyFault::HeaderTooLarge)
        } else if !allows_utf8 && !piece.is_ascii() {
            Err(BodyFault::NonAsciiHeader)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: BodyRules = BodyRules {
        bytes_max: 300_000,
        allows_utf8_header: false,
    };

    fn received(text: &[u8], piece_bytes: usize) -> Result<Bytes, BodyFault> {
        let mut body = Body::new(b"Received: x\r\n", Some(u64::MAX), RULES);
        for piece in text.chunks(piece_bytes) {
            body.push(piece);
        }
        body.finish()
    }

    #[test]
    fn the_trace_field_comes_first_and_the_rest_is_kept_as_it_was() {
        let body = received(b"Subject: x\r\n\r\nh\xe9llo\r\n", 3).unwrap();
        assert_eq!(
            body,
            "Received: x\r\nSubject: x\r\n\r\nh\u{e9}llo\r\n"
                .chars()
                .map(|c| c as u8)
                .collect::<Vec<_>>()
        );
        assert_eq!(received(b"", 1).unwrap(), "Received: x\r\n");
        assert_eq!(received(b"\r\nx", 1).unwrap(), "Received: x\r\n\r\nx\r\n");
    }

    #[test]
    fn a_header_section_has_bounds_however_it_is_cut() {
        let fields = |count: usize| "A: b\r\n".repeat(count) + "\r\nbody\r\n";
        let folded = format!("A: b\r\n{}\r\n", " c\r\n".repeat(5_000));
        let long = |bytes: usize| format!("A: {}\r\n\r\n", "x".repeat(bytes));
        for piece_bytes in [1, 7, 4_096, 1_000_000] {
            let of = |text: String| received(text.as_bytes(), piece_bytes).err();
            assert_eq!(of(fields(1_000)), None);
            assert_eq!(of(fields(1_001)), Some(BodyFault::HeaderTooLarge));
            assert_eq!(of(folded.clone()), None);
            assert_eq!(of(long(HEADER_BYTES_MAX - 7)), None);
            assert_eq!(
                of(long(HEADER_BYTES_MAX - 6)),
                Some(BodyFault::HeaderTooLarge)
            );
            assert_eq!(
                of("S: \u{e9}\r\n\r\n".to_owned()),
                Some(BodyFault::NonAsciiHeader)
            );
            assert_eq!(of("S: e\r\n\r\n\u{e9}\r\n".to_owned()), None);
        }
    }

    #[test]
    fn a_refused_message_holds_no_memory() {
        let mut body = Body::new(b"", None, RULES);
        body.push(b"\r\n");
        body.push(&[b'x'; 300_000]);
        assert_eq!(body.fault(), Some(BodyFault::TooLarge));
        assert_eq!(body.bytes_held(), 0);
        assert!(!body.is_hopeless());
        body.push(&[b'x'; 300_000]);
        assert!(body.is_hopeless());
    }
}
