//! Lines: where they end, how long they may be, and what no line may hold.

use bytes::Buf as _;
use jiff::Timestamp;

use super::super::reply::{self, Reply};
use super::{CloseReason, Session, State, Step};

/// RFC 5321 4.5.3.1.4 allows 512 octets; MAIL with all our parameters needs more (RFC 3461 4.2).
const COMMAND_LINE_BYTES_MAX: usize = 2_048;
/// RFC 4954 4 asks for base64 lines of 12,288 octets.
const AUTH_LINE_BYTES_MAX: usize = 12_288;
/// A line without an end is read so far; then the connection ends.
pub(super) const COMMAND_LINE_READ_MAX: usize = 16 * 1024;
/// The same for a line of AUTH.
const AUTH_LINE_READ_MAX: usize = 128 * 1024;
/// First octet of a TLS record that holds a handshake (RFC 8446 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// A line that is too long and is being dropped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Overlong {
    bytes: usize,
    is_auth: bool,
    is_behind_cr: bool,
}

impl Session {
    pub(super) fn take_line(&mut self, now: Timestamp) -> Option<Step> {
        if !self.peer.is_tls
            && self.overlong.is_none()
            && self.input.first() == Some(&TLS_HANDSHAKE)
        {
            self.close(CloseReason::NotSmtp);
            return None;
        }
        let is_auth = self.is_auth_line();
        let (bytes_max, read_max) = if is_auth {
            (AUTH_LINE_BYTES_MAX, AUTH_LINE_READ_MAX)
        } else {
            (COMMAND_LINE_BYTES_MAX, COMMAND_LINE_READ_MAX)
        };
        let dropped = self.overlong.map_or(0, |line| line.bytes);
        let Some(ahead) = memchr::memchr(b'\n', &self.input[self.scanned..]) else {
            self.scanned = self.input.len();
            if dropped + self.input.len() > read_max {
                return self.refuse_endless_line(is_auth);
            }
            if dropped + self.input.len() > bytes_max {
                self.drop_line_so_far(is_auth);
            }
            return Some(Step::Read);
        };
        let end = self.scanned + ahead;
        self.scanned = 0;
        let is_behind_cr = match (end.checked_sub(1), self.overlong) {
            (Some(before), _) => self.input[before] == b'\r',
            (None, Some(line)) => line.is_behind_cr,
            (None, None) => false,
        };
        self.overlong = None;
        if dropped + end + 1 > bytes_max {
            self.input.advance(end + 1);
            return self.refuse_long_line(is_auth, is_behind_cr, dropped + end > read_max);
        }
        let is_strict = is_behind_cr && memchr::memchr(b'\r', &self.input[..end - 1]).is_none();
        if !is_strict {
            return self.fail_and_close(&reply::BARE_LINE_END, CloseReason::BareLineEnd);
        }
        // The line is copied out, so that a pipelined group costs no buffer per line.
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        line.extend_from_slice(&self.input[..end - 1]);
        self.input.advance(end + 1);
        let step = match std::mem::replace(&mut self.state, State::Command) {
            State::Sasl(exchange) => self.take_sasl_line(exchange, &line),
            State::Command
            | State::Data(_)
            | State::Chunk { .. }
            | State::Discard { .. }
            | State::Waiting => self.take_command(&line, now),
        };
        self.line = line;
        step
    }

    fn is_auth_line(&self) -> bool {
        let verb = self.input.get(..5);
        matches!(self.state, State::Sasl(_))
            || self.overlong.map_or_else(
                || verb.is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH ")),
                |line| line.is_auth,
            )
    }

    fn drop_line_so_far(&mut self, is_auth: bool) {
        let before = self.overlong.map_or(0, |line| line.bytes);
        self.overlong = Some(Overlong {
            bytes: before + self.input.len(),
            is_auth,
            is_behind_cr: self.input.last() == Some(&b'\r'),
        });
        self.input.clear();
        self.scanned = 0;
    }

    fn refuse_long_line(
        &mut self,
        is_auth: bool,
        is_behind_cr: bool,
        is_endless: bool,
    ) -> Option<Step> {
        self.state = State::Command;
        if is_endless {
            self.refuse_endless_line(is_auth)
        } else if !is_behind_cr {
            self.fail_and_close(&reply::BARE_LINE_END, CloseReason::BareLineEnd)
        } else {
            self.fail(&long_line_reply(is_auth))
        }
    }

    fn refuse_endless_line(&mut self, is_auth: bool) -> Option<Step> {
        self.input.clear();
        self.scanned = 0;
        self.fail_and_close(&long_line_reply(is_auth), CloseReason::LineTooLong)
    }
}

fn long_line_reply(is_auth: bool) -> Reply {
    if is_auth {
        reply::AUTH_LINE_TOO_LONG
    } else {
        reply::LINE_TOO_LONG
    }
}
