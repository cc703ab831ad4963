//! SMTP replies: code, enhanced code (RFC 3463) and one line of text.

use std::borrow::Cow;

use malote_core::intake::Refusal;

/// RFC 5321 4.5.3.1.5: a reply line is at most 512 octets, code and CRLF included.
const REPLY_LINE_BYTES_MAX: usize = 512;

/// One reply of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The three digits.
    pub(crate) code: u16,
    /// The enhanced code; empty where RFC 2034 has none (220, 354).
    pub(crate) enhanced: &'static str,
    /// Said to the peer: never an address, a password or a cause inside the gateway.
    pub(crate) text: Cow<'static, str>,
}

impl Reply {
    /// A reply with a fixed text.
    pub(crate) const fn new(code: u16, enhanced: &'static str, text: &'static str) -> Self {
        Self {
            code,
            enhanced,
            text: Cow::Borrowed(text),
        }
    }

    /// A reply whose text is made for the occasion.
    pub(crate) const fn with_text(code: u16, enhanced: &'static str, text: String) -> Self {
        Self {
            code,
            enhanced,
            text: Cow::Owned(text),
        }
    }

    /// Writes the line. Controls and non-ASCII in the text become `?`, so that no text can become
    /// a second line, and the line is cut at 512 octets.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(self.code.to_string().as_bytes());
        for part in [self.enhanced, &self.text] {
            if part.is_empty() {
                continue;
            }
            out.push(b' ');
            out.extend(part.bytes().map(printable));
        }
        out.truncate(start + REPLY_LINE_BYTES_MAX - 2);
        out.extend_from_slice(b"\r\n");
    }
}

fn printable(octet: u8) -> u8 {
    if (b' '..=b'~').contains(&octet) {
        octet
    } else {
        b'?'
    }
}

/// What the client hears when custody was not taken.
pub(crate) fn of_refusal(refusal: &Refusal) -> Reply {
    let text = || refusal.to_string();
    match refusal {
        Refusal::StreamNotAllowed(_) | Refusal::StreamMissing | Refusal::FromNotAllowed { .. } => {
            Reply::with_text(550, "5.7.1", text())
        }
        Refusal::Malformed { enhanced, .. } => Reply::with_text(550, enhanced, text()),
        Refusal::TooLarge { .. } => Reply::with_text(552, "5.3.4", text()),
        Refusal::Loop => Reply::with_text(554, "5.4.6", text()),
        Refusal::KeyReused => Reply::with_text(550, "5.6.0", text()),
        Refusal::InProgress | Refusal::KeyHeld | Refusal::KeyUnchecked | Refusal::Unavailable => {
            Reply::with_text(451, "4.3.0", text())
        }
        Refusal::Draining => STOPPING,
        Refusal::QueueFull { .. } | Refusal::StorageFull => Reply::with_text(452, "4.3.1", text()),
    }
}

pub(crate) const OK: Reply = Reply::new(250, "2.0.0", "Ok");
pub(crate) const SENDER_OK: Reply = Reply::new(250, "2.1.0", "Sender ok");
pub(crate) const RECIPIENT_OK: Reply = Reply::new(250, "2.1.5", "Recipient ok");
pub(crate) const TAKEN_BACK: Reply = Reply::new(250, "2.0.0", "Ok: noted");
pub(crate) const GO_AHEAD: Reply = Reply::new(354, "", "End data with <CR><LF>.<CR><LF>");
pub(crate) const CANNOT_VERIFY: Reply =
    Reply::new(252, "2.1.5", "Cannot verify, will take mail for it");
pub(crate) const HELP: Reply = Reply::new(214, "2.0.0", "See RFC 5321");
pub(crate) const BYE: Reply = Reply::new(221, "2.0.0", "Bye");
pub(crate) const READY_FOR_TLS: Reply = Reply::new(220, "2.0.0", "Ready to start TLS");
pub(crate) const LOGGED_IN: Reply = Reply::new(235, "2.7.0", "Authentication successful");

pub(crate) const UNKNOWN_COMMAND: Reply = Reply::new(500, "5.5.1", "Command not recognised");
pub(crate) const BAD_SYNTAX: Reply = Reply::new(500, "5.5.2", "Syntax error");
pub(crate) const BARE_LINE_END: Reply =
    Reply::new(500, "5.5.2", "bare LF/CR: lines end with CR LF");
pub(crate) const LINE_TOO_LONG: Reply = Reply::new(500, "5.5.2", "line too long");
pub(crate) const AUTH_LINE_TOO_LONG: Reply =
    Reply::new(500, "5.5.6", "Authentication exchange line is too long");
pub(crate) const BAD_ARGUMENT: Reply = Reply::new(501, "5.5.4", "Syntax error in arguments");
pub(crate) const UNKNOWN_PARAMETER: Reply =
    Reply::new(555, "5.5.4", "Parameter not recognised or not implemented");
pub(crate) const NOT_IMPLEMENTED: Reply = Reply::new(502, "5.5.1", "Command not implemented");
pub(crate) const BAD_SEQUENCE: Reply = Reply::new(503, "5.5.1", "Bad sequence of commands");
pub(crate) const GREETING_MISSING: Reply = Reply::new(503, "5.5.1", "Send EHLO first");
pub(crate) const NO_VALID_RECIPIENTS: Reply = Reply::new(554, "5.5.1", "No valid recipients");
pub(crate) const PROXY_REFUSED: Reply = Reply::new(550, "5.7.0", "Not accepted from this address");

pub(crate) const LOGIN_REQUIRED: Reply = Reply::new(530, "5.7.0", "Authentication required");
pub(crate) const STARTTLS_REQUIRED: Reply =
    Reply::new(530, "5.7.0", "Must issue a STARTTLS command first");
pub(crate) const ENCRYPTION_REQUIRED: Reply = Reply::new(
    538,
    "5.7.11",
    "Encryption required for requested authentication mechanism",
);
pub(crate) const BAD_LOGIN: Reply = Reply::new(535, "5.7.8", "Authentication credentials invalid");
pub(crate) const LOGIN_CANCELLED: Reply = Reply::new(501, "5.7.0", "Authentication cancelled");
pub(crate) const BAD_BASE64: Reply = Reply::new(501, "5.5.2", "Cannot decode the response");
pub(crate) const UNKNOWN_MECHANISM: Reply =
    Reply::new(504, "5.5.4", "Unrecognised authentication mechanism");

pub(crate) const BAD_SENDER: Reply = Reply::new(501, "5.1.7", "Bad sender address syntax");
pub(crate) const BAD_RECIPIENT: Reply = Reply::new(501, "5.1.3", "Bad recipient address syntax");
pub(crate) const NOT_OURS: Reply = Reply::new(550, "5.1.1", "No such address here");
pub(crate) const POSTMASTER_WITHOUT_DOMAIN: Reply = Reply::new(
    553,
    "5.1.3",
    "Give Postmaster a domain: no mail is delivered here",
);
pub(crate) const LITERAL_RECIPIENT: Reply =
    Reply::new(550, "5.1.2", "Address literals are not delivered to");
pub(crate) const NON_ASCII_ADDRESS: Reply = Reply::new(
    553,
    "5.6.7",
    "Non-ASCII address without SMTPUTF8, or invisible characters",
);
pub(crate) const TOO_MANY_RECIPIENTS: Reply = Reply::new(452, "4.5.3", "Too many recipients");
pub(crate) const TOO_LARGE: Reply =
    Reply::new(552, "5.3.4", "Message size exceeds the fixed maximum");
pub(crate) const HEADER_TOO_LARGE: Reply =
    Reply::new(552, "5.3.4", "Header section over 100 KiB or 1,000 fields");
pub(crate) const NUL_IN_BODY: Reply = Reply::new(550, "5.6.0", "NUL in the message");
pub(crate) const NON_ASCII_HEADER: Reply =
    Reply::new(550, "5.6.7", "Non-ASCII header field without SMTPUTF8");
pub(crate) const BARE_IN_BODY: Reply = Reply::new(550, "5.6.11", "bare CR or LF");
pub(crate) const NO_MEMORY: Reply =
    Reply::new(452, "4.3.1", "Too much mail in flight, come back later");

pub(crate) const TOO_MANY_ERRORS: Reply = Reply::new(421, "4.7.0", "Too many errors");
pub(crate) const TOO_MANY_IDLE_COMMANDS: Reply =
    Reply::new(421, "4.7.0", "Too many commands without a login");
pub(crate) const TOO_MANY_LOGINS: Reply =
    Reply::new(421, "4.7.0", "Too many authentication failures");
pub(crate) const LOGIN_REVOKED: Reply = Reply::new(421, "4.7.0", "Log in again");
pub(crate) const NOT_SMTP: Reply = Reply::new(421, "4.7.0", "This is an SMTP port");
pub(crate) const TOO_MANY_CONNECTIONS: Reply = Reply::new(421, "4.7.0", "Too many connections");
pub(crate) const TALKED_FIRST: Reply =
    Reply::new(554, "5.5.0", "You talked before the server greeted you");
pub(crate) const TIMED_OUT: Reply = Reply::new(421, "4.4.2", "Timeout");
pub(crate) const STOPPING: Reply = Reply::new(421, "4.3.2", "Service is stopping");

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn written(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn no_text_becomes_a_second_line_and_no_line_is_over_512_octets() {
        let forged = Reply::with_text(550, "5.7.1", "x\r\n250 ok é".to_owned());
        assert_eq!(written(&forged), "550 5.7.1 x??250 ok ??\r\n");
        let long = written(&Reply::with_text(550, "5.6.0", "a".repeat(2_000)));
        assert_eq!(long.len(), 512);
        assert!(long.ends_with("\r\n"));
    }

    #[test]
    fn every_refusal_has_its_reply() {
        let malformed = Refusal::Malformed {
            enhanced: "5.6.7",
            reason: "raw UTF-8".to_owned(),
        };
        let full = Refusal::QueueFull {
            retry_after: Duration::from_secs(9),
        };
        let foreign = Refusal::FromNotAllowed {
            domain: "x.test".to_owned(),
        };
        let large = Refusal::TooLarge {
            reason: "header".to_owned(),
        };
        for (refusal, start) in [
            (Refusal::StreamNotAllowed("a".to_owned()), "550 5.7.1 "),
            (Refusal::StreamMissing, "550 5.7.1 "),
            (foreign, "550 5.7.1 "),
            (malformed, "550 5.6.7 raw UTF-8"),
            (large, "552 5.3.4 header"),
            (Refusal::Loop, "554 5.4.6 "),
            (Refusal::KeyReused, "550 5.6.0 "),
            (Refusal::InProgress, "451 4.3.0 "),
            (Refusal::KeyHeld, "451 4.3.0 "),
            (Refusal::KeyUnchecked, "451 4.3.0 "),
            (Refusal::Draining, "421 4.3.2 "),
            (full, "452 4.3.1 "),
            (Refusal::StorageFull, "452 4.3.1 "),
            (Refusal::Unavailable, "451 4.3.0 "),
        ] {
            let line = written(&of_refusal(&refusal));
            assert!(line.starts_with(start), "{line}");
        }
    }
}
