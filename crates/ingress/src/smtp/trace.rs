//! The `Received` field that is put in front of every message (RFC 5321 4.4).

use std::fmt::Write as _;
use std::net::IpAddr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use malote_core::credential::ReceivedDetail;

/// Octets of a client's greeting that a full field repeats.
const GREETING_BYTES_MAX: usize = 128;

/// What a trace field tells of a transaction.
#[derive(Debug, Clone)]
pub(crate) struct Trace<'a> {
    /// Our name.
    pub(crate) hostname: &'a str,
    /// How the mail came.
    pub(crate) protocol: Protocol,
    /// Identifies the transaction in our logs.
    pub(crate) id: &'a str,
    /// When.
    pub(crate) now: Timestamp,
    /// The client's greeting, as it wrote it.
    pub(crate) greeting: &'a [u8],
    /// The client's address.
    pub(crate) peer: IpAddr,
}

/// The `with` clause: the protocol's name in the IANA registry of mail transmission types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Protocol {
    /// The client said EHLO.
    pub(crate) is_extended: bool,
    /// MAIL FROM said SMTPUTF8 (RFC 6531 4.3).
    pub(crate) is_utf8: bool,
    /// Over TLS (RFC 3848).
    pub(crate) is_tls: bool,
    /// After a login (RFC 3848).
    pub(crate) is_logged_in: bool,
}

impl Protocol {
    fn name(self) -> String {
        let base = match (self.is_utf8, self.is_extended) {
            (true, _) => "UTF8SMTP",
            (false, true) => "ESMTP",
            (false, false) => return "SMTP".to_owned(),
        };
        let tls = if self.is_tls { "S" } else { "" };
        let login = if self.is_logged_in { "A" } else { "" };
        format!("{base}{tls}{login}")
    }
}

impl Trace<'_> {
    /// The field, CRLF included. The client's address and greeting are named only in full detail:
    /// what leaves through a provider is read by strangers.
    pub(crate) fn field(&self, detail: ReceivedDetail) -> String {
        let mut field = String::from("Received: ");
        if detail == ReceivedDetail::Full {
            let greeting = self.printable_greeting();
            let literal = match self.peer {
                IpAddr::V4(ip) => format!("[{ip}]"),
                IpAddr::V6(ip) => format!("[IPv6:{ip}]"),
            };
            // Writing to a String cannot fail.
            let _infallible = write!(field, "from {greeting} ({literal})\r\n\t");
        }
        let when = self.now.to_zoned(TimeZone::UTC);
        let date = jiff::fmt::rfc2822::to_string(&when).unwrap_or_default();
        let (hostname, protocol, id) = (self.hostname, self.protocol.name(), self.id);
        let _infallible = write!(
            field,
            "by {hostname} with {protocol} id {id};\r\n\t{date}\r\n"
        );
        field
    }

    /// The greeting with everything replaced that could end a comment, a clause or a line.
    fn printable_greeting(&self) -> String {
        let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b".-_:[]".contains(&octet);
        self.greeting
            .iter()
            .take(GREETING_BYTES_MAX)
            .map(|octet| {
                if is_plain(*octet) {
                    char::from(*octet)
                } else {
                    '?'
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTOCOL: Protocol = Protocol {
        is_extended: true,
        is_utf8: false,
        is_tls: true,
        is_logged_in: true,
    };

    fn trace() -> Trace<'static> {
        Trace {
            hostname: "mx.test",
            protocol: PROTOCOL,
            id: "19a.1",
            now: "2026-11-22T01:02:03Z".parse().unwrap(),
            greeting: b"[127.0.0.1] (x)\x80",
            peer: "192.0.2.7".parse().unwrap(),
        }
    }

    #[test]
    fn a_brief_field_does_not_name_the_client() {
        assert_eq!(
            trace().field(ReceivedDetail::Brief),
            "Received: by mx.test with ESMTPSA id 19a.1;\r\n\tSun, 22 Nov 2026 01:02:03 +0000\r\n"
        );
    }

    #[test]
    fn a_full_field_names_it_and_cannot_be_broken_by_a_greeting() {
        let field = trace().field(ReceivedDetail::Full);
        let start = "Received: from [127.0.0.1]??x?? ([192.0.2.7])\r\n\tby mx.test with ESMTPSA id";
        assert!(field.starts_with(start), "{field}");
        assert_eq!(field.matches("\r\n").count(), 3);
    }

    #[test]
    fn the_protocol_is_named_as_registered() {
        let named = |is_extended, is_utf8, is_tls, is_logged_in| {
            let protocol = Protocol {
                is_extended,
                is_utf8,
                is_tls,
                is_logged_in,
            };
            protocol.name()
        };
        assert_eq!(named(false, false, true, false), "SMTP");
        assert_eq!(named(true, false, false, false), "ESMTP");
        assert_eq!(named(true, false, true, false), "ESMTPS");
        assert_eq!(named(true, false, false, true), "ESMTPA");
        assert_eq!(named(true, true, true, true), "UTF8SMTPSA");
    }
}
