//! The octets after DATA and BDAT: where a message ends, and nothing that looks like it.
//!
//! Only CR LF `.` CR LF ends a message. A CR or LF that stands alone is refused at once
//! (RFC 5321 2.3.8), since a server behind this one might see an end where we saw none.

use bytes::{Buf as _, BytesMut};

use super::body::{Body, BodyFault};

/// What came of the octets so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataProgress {
    /// The message goes on.
    More,
    /// The message is complete; what is left in the input follows it.
    Complete,
    /// A CR or LF stood alone: the connection must end, because where the message ends can no
    /// longer be agreed on.
    Stray,
    /// More than twice the bound was sent: the connection is not worth keeping.
    Endless,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    LineStart,
    /// Behind a `.` at the start of a line.
    Dot,
    /// Behind `.` CR at the start of a line.
    DotCr,
    Line,
    /// Behind a CR.
    Cr,
}

/// Reads what follows DATA: removes the transparency dots (RFC 5321 4.5.2), finds the end.
#[derive(Debug)]
pub(crate) struct DataReader {
    body: Body,
    at: At,
}

impl DataReader {
    /// Begins behind the `354`, which is the start of a line.
    pub(crate) const fn new(body: Body) -> Self {
        Self {
            body,
            at: At::LineStart,
        }
    }

    /// The message so far.
    pub(crate) const fn body(&mut self) -> &mut Body {
        &mut self.body
    }

    /// The message, however complete.
    pub(crate) fn into_body(self) -> Body {
        self.body
    }

    /// Takes what it can from `input`: everything, or up to and with the end of the message.
    pub(crate) fn read(&mut self, input: &mut BytesMut) -> DataProgress {
        let (progress, used) = self.scan(input);
        input.advance(used);
        if self.body.is_hopeless() {
            self.body.refuse(BodyFault::TooLarge);
            return DataProgress::Endless;
        }
        progress
    }

    /// Walks over `input`. `run` is where the octets begin that are not yet in the body, so that
    /// a piece without transparency dots is copied once, as a whole.
    fn scan(&mut self, input: &[u8]) -> (DataProgress, usize) {
        let (mut at, mut run) = (0, 0);
        while let Some(&octet) = input.get(at) {
            match self.at {
                At::LineStart if octet == b'.' => {
                    self.body.push(&input[run..at]);
                    at += 1;
                    run = at;
                    self.at = At::Dot;
                }
                At::LineStart => self.at = At::Line,
                At::Dot if octet == b'\r' => {
                    at += 1;
                    run = at;
                    self.at = At::DotCr;
                }
                At::Dot => self.at = At::Line,
                At::DotCr if octet == b'\n' => return (DataProgress::Complete, at + 1),
                At::Cr if octet == b'\n' => {
                    at += 1;
                    self.at = At::LineStart;
                }
                At::DotCr | At::Cr => return self.lose(&input[run..at], input.len()),
                At::Line => match memchr::memchr3(b'\r', b'\n', 0, &input[at..]) {
                    None => at = input.len(),
                    Some(ahead) => {
                        at += ahead + 1;
                        match input[at - 1] {
                            b'\r' => self.at = At::Cr,
                            b'\n' => return self.lose(&input[run..at], input.len()),
                            _ => {
                                self.body.push(&input[run..at]);
                                run = at;
                                self.body.refuse(BodyFault::Nul);
                            }
                        }
                    }
                },
            }
        }
        self.body.push(&input[run..]);
        (DataProgress::More, input.len())
    }

    /// `before` stands before the stray octet: a fault in it was there first.
    fn lose(&mut self, before: &[u8], used: usize) -> (DataProgress, usize) {
        self.body.push(before);
        self.body.refuse(BodyFault::BareLineEnd);
        (DataProgress::Stray, used)
    }
}

/// Reads the chunks of BDAT (RFC 3030 2), whose length is known: nothing is unstuffed, and line
/// ends are checked all the same, since BINARYMIME is not offered.
#[derive(Debug)]
pub(crate) struct ChunkReader {
    body: Body,
    left: u64,
    is_behind_cr: bool,
}

impl ChunkReader {
    /// Before the first chunk.
    pub(crate) const fn new(body: Body) -> Self {
        Self {
            body,
            left: 0,
            is_behind_cr: false,
        }
    }

    /// The message so far.
    pub(crate) const fn body(&mut self) -> &mut Body {
        &mut self.body
    }

    /// Begins a chunk of `bytes`.
    pub(crate) const fn begin(&mut self, bytes: u64) {
        self.left = bytes;
    }

    /// Takes what it can of the chunk from `input`. Octets behind the chunk stay.
    pub(crate) fn read(&mut self, input: &mut BytesMut) -> DataProgress {
        let take = usize::try_from(self.left).map_or(input.len(), |left| left.min(input.len()));
        let piece = input.split_to(take);
        self.left -= take as u64;
        self.check_line_ends(&piece);
        self.body.push(&piece);
        if self.body.is_hopeless() {
            self.body.refuse(BodyFault::TooLarge);
            DataProgress::Endless
        } else if self.left == 0 {
            DataProgress::Complete
        } else {
            DataProgress::More
        }
    }

    /// The message after the last chunk.
    pub(crate) fn into_body(mut self) -> Body {
        if self.is_behind_cr {
            self.body.refuse(BodyFault::BareLineEnd);
        }
        self.body
    }

    fn check_line_ends(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while self.body.fault().is_none() && !rest.is_empty() {
            if self.is_behind_cr {
                if rest[0] != b'\n' {
                    self.body.refuse(BodyFault::BareLineEnd);
                }
                self.is_behind_cr = false;
                rest = &rest[1..];
                continue;
            }
            let Some(at) = memchr::memchr3(b'\r', b'\n', 0, rest) else {
                return;
            };
            match rest[at] {
                b'\r' => self.is_behind_cr = true,
                b'\n' => self.body.refuse(BodyFault::BareLineEnd),
                _ => self.body.refuse(BodyFault::Nul),
            }
            rest = &rest[at + 1..];
        }
    }
}

#[cfg(test)]
mod tests;
