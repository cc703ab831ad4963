//! Writes SMTP commands and message data: parameters, dot-stuffing and the final dot.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malote_core::address::EmailAddress;
use malote_core::message::{DsnParameters, Notify};
use malote_core::provider::OutgoingRecipient;
use malote_core::secret::Secret;
use memchr::memmem;

use super::ehlo::Extensions;

/// The end of data on a line of its own (RFC 5321 4.1.1.4).
pub(crate) const FINAL_DOT: &[u8] = b".\r\n";

/// What MAIL FROM says besides the address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MailParameters<'a> {
    /// Octets of the message (RFC 1870).
    pub(crate) size: usize,
    /// Whether the message needs `BODY=8BITMIME` (RFC 6152).
    pub(crate) is_8bit: bool,
    /// Whether an address needs `SMTPUTF8` (RFC 6531).
    pub(crate) needs_smtputf8: bool,
    /// `RET` and `ENVID` (RFC 3461).
    pub(crate) dsn: &'a DsnParameters,
}

/// Appends `MAIL FROM`, with the parameters that the server knows.
pub(crate) fn mail(
    out: &mut Vec<u8>,
    from: Option<&EmailAddress>,
    parameters: MailParameters<'_>,
    extensions: &Extensions,
) {
    let mut line = format!("MAIL FROM:<{}>", from.map_or("", EmailAddress::as_str));
    if extensions.size.is_some() {
        line.push_str(&format!(" SIZE={}", parameters.size));
    }
    if parameters.is_8bit {
        line.push_str(" BODY=8BITMIME");
    }
    if parameters.needs_smtputf8 {
        line.push_str(" SMTPUTF8");
    }
    if extensions.dsn {
        if parameters.dsn.ret_full {
            line.push_str(" RET=FULL");
        }
        if let Some(envid) = parameters.dsn.envid.as_deref().filter(|t| is_xtext(t, 100)) {
            line.push_str(&format!(" ENVID={envid}"));
        }
    }
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends `RCPT TO`, with the DSN parameters if the server knows them.
pub(crate) fn rcpt(out: &mut Vec<u8>, recipient: &OutgoingRecipient, extensions: &Extensions) {
    let mut line = format!("RCPT TO:<{}>", recipient.address);
    if extensions.dsn {
        if let Some(notify) = recipient.notify {
            line.push_str(" NOTIFY=");
            line.push_str(&notify_value(notify));
        }
        if let Some(orcpt) = recipient.orcpt.as_deref().filter(|t| is_xtext(t, 500)) {
            line.push_str(&format!(" ORCPT={orcpt}"));
        }
    }
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// `AUTH PLAIN` with its initial response (RFC 4616; RFC 4954 4).
pub(crate) fn auth_plain(user: &str, password: &Secret) -> String {
    let response = STANDARD.encode(format!("\0{user}\0{}", password.expose()));
    format!("AUTH PLAIN {response}\r\n")
}

/// `AUTH XOAUTH2` with its initial response (developers.google.com, "OAuth 2.0 Mechanism"; Exchange
/// Online takes the same).
pub(crate) fn auth_xoauth2(user: &str, token: &Secret) -> String {
    let response = format!("user={user}\x01auth=Bearer {}\x01\x01", token.expose());
    format!("AUTH XOAUTH2 {}\r\n", STANDARD.encode(response))
}

/// `AUTH OAUTHBEARER` with its initial response (RFC 7628 3.1).
pub(crate) fn auth_oauthbearer(user: &str, host: &str, port: u16, token: &Secret) -> String {
    // RFC 5801 4: a saslname.
    let user = user.replace('=', "=3D").replace(',', "=2C");
    let response = format!(
        "n,a={user},\x01host={host}\x01port={port}\x01auth=Bearer {}\x01\x01",
        token.expose()
    );
    format!("AUTH OAUTHBEARER {}\r\n", STANDARD.encode(response))
}

/// One answer in AUTH LOGIN.
pub(crate) fn auth_login_answer(text: &str) -> String {
    format!("{}\r\n", STANDARD.encode(text))
}

/// Cuts a message into chunks as they go on the wire: dots stuffed (RFC 5321 4.5.2), the last line
/// ended, the final dot in the last chunk.
pub(crate) struct DataChunks<'a> {
    /// Whole lines that go before the message; none begins with a dot.
    front: &'a [u8],
    rest: &'a [u8],
    at_line_start: bool,
    is_done: bool,
}

/// Size of a chunk; messages below it leave in one write.
const CHUNK_BYTES: usize = 128 * 1024;

impl<'a> DataChunks<'a> {
    pub(crate) const fn new(front: &'a [u8], message: &'a [u8]) -> Self {
        Self {
            front,
            rest: message,
            at_line_start: true,
            is_done: false,
        }
    }

    /// Octets of the first chunk, if no dot has to be stuffed.
    pub(crate) fn size_hint(&self) -> usize {
        self.front.len() + self.rest.len().min(CHUNK_BYTES) + 16
    }

    /// Whether the final dot was in the last chunk.
    pub(crate) const fn is_done(&self) -> bool {
        self.is_done
    }

    /// Fills `out` with the next chunk. `false` if the final dot was in the one before.
    pub(crate) fn fill(&mut self, out: &mut Vec<u8>) -> bool {
        out.clear();
        if self.is_done {
            return false;
        }
        out.extend_from_slice(std::mem::take(&mut self.front));
        while out.len() < CHUNK_BYTES && !self.rest.is_empty() {
            if self.at_line_start && self.rest[0] == b'.' {
                out.push(b'.');
            }
            let window = &self.rest[..self.rest.len().min(CHUNK_BYTES)];
            let end = memmem::find(window, b"\n.").map_or(window.len(), |at| at + 1);
            out.extend_from_slice(&self.rest[..end]);
            self.at_line_start = self.rest[end - 1] == b'\n';
            self.rest = &self.rest[end..];
        }
        if self.rest.is_empty() {
            if !self.at_line_start {
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(FINAL_DOT);
            self.is_done = true;
        }
        true
    }
}

fn notify_value(notify: Notify) -> String {
    let words = [
        (notify.success, "SUCCESS"),
        (notify.failure, "FAILURE"),
        (notify.delay, "DELAY"),
    ];
    let given: Vec<_> = words
        .into_iter()
        .filter_map(|(is_given, word)| is_given.then_some(word))
        .collect();
    if given.is_empty() {
        "NEVER".to_owned()
    } else {
        given.join(",")
    }
}

/// Whether a client's text may stand in a parameter (RFC 3461 4: xtext; `;` behind the address
/// type of ORCPT).
fn is_xtext(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && b != b'=')
}

#[cfg(test)]
mod tests {
    use malote_core::id::{DeliveryId, MessageId};
    use proptest::prelude::*;

    use super::*;

    fn wire(message: &[u8]) -> Vec<u8> {
        wire_with(b"", message)
    }

    fn wire_with(front: &[u8], message: &[u8]) -> Vec<u8> {
        let mut chunks = DataChunks::new(front, message);
        let (mut all, mut chunk) = (Vec::new(), Vec::new());
        while chunks.fill(&mut chunk) {
            all.extend_from_slice(&chunk);
        }
        all
    }

    /// What a server makes of it (RFC 5321 4.5.2).
    fn received(wire: &[u8]) -> Vec<u8> {
        let end = if wire == FINAL_DOT {
            0
        } else {
            memmem::find(wire, b"\r\n.\r\n").unwrap() + 2
        };
        assert_eq!(&wire[end..], FINAL_DOT, "one end of data, at the end");
        let lines = wire[..end].split_inclusive(|b| *b == b'\n');
        lines
            .flat_map(|l| l.strip_prefix(b".").unwrap_or(l))
            .copied()
            .collect()
    }

    #[test]
    fn dots_are_stuffed_and_the_last_line_is_ended() {
        for (message, expected) in [
            ("", ".\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            ("a", "a\r\n.\r\n"),
            (".", "..\r\n.\r\n"),
            (".\r\n", "..\r\n.\r\n"),
            ("a\r\n.\r\nb\r\n", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\r\n..b\r\n.\r\n", "a\r\n...b\r\n..\r\n.\r\n"),
        ] {
            assert_eq!(wire(message.as_bytes()), expected.as_bytes(), "{message:?}");
        }
    }

    #[test]
    fn fields_go_before_a_message_that_begins_with_a_dot() {
        assert_eq!(
            wire_with(b"X-A: 1\r\n", b".x\r\n"),
            b"X-A: 1\r\n..x\r\n.\r\n"
        );
        let large = vec![b'x'; CHUNK_BYTES];
        let sent = received(&wire_with(b"X-A: 1\r\n", &large));
        assert_eq!(sent.len(), 8 + CHUNK_BYTES + 2);
    }

    #[test]
    fn large_messages_with_line_ends_at_the_chunks_edges_arrive_whole() {
        for shift in 0..5 {
            let mut message = vec![b'x'; CHUNK_BYTES - shift];
            message.extend_from_slice(b"\r\n.\r\n.y\r\n");
            message.extend(vec![b'z'; CHUNK_BYTES]);
            message.extend_from_slice(b"\r\n");
            assert_eq!(received(&wire(&message)), message, "{shift}");
        }
    }

    fn recipient(address: &str) -> OutgoingRecipient {
        OutgoingRecipient {
            delivery: DeliveryId {
                message: MessageId::from_bytes([1; 16]),
                index: 0,
            },
            address: address.parse().unwrap(),
            notify: Some(Notify {
                success: true,
                failure: true,
                delay: false,
            }),
            orcpt: Some("rfc822;a+40x.test".into()),
        }
    }

    #[test]
    fn commands_carry_what_the_server_knows() {
        let dsn = DsnParameters {
            ret_full: true,
            envid: Some("id 1".into()),
        };
        let full = MailParameters {
            size: 7,
            is_8bit: true,
            needs_smtputf8: true,
            dsn: &dsn,
        };
        let bare = MailParameters {
            is_8bit: false,
            needs_smtputf8: false,
            ..full
        };
        let all = Extensions {
            size: Some(0),
            dsn: true,
            ..Extensions::default()
        };
        let none = Extensions::default();
        let from = "a@x.test".parse::<EmailAddress>().unwrap();
        let line = |f: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            f(&mut out);
            String::from_utf8(out).unwrap()
        };
        for (got, expected) in [
            (
                line(&|o| mail(o, Some(&from), full, &all)),
                "MAIL FROM:<a@x.test> SIZE=7 BODY=8BITMIME SMTPUTF8 RET=FULL\r\n",
            ),
            (line(&|o| mail(o, None, bare, &none)), "MAIL FROM:<>\r\n"),
            (
                line(&|o| rcpt(o, &recipient("\"a>b\"@x.test"), &all)),
                "RCPT TO:<\"a>b\"@x.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+40x.test\r\n",
            ),
            (
                line(&|o| rcpt(o, &recipient("a@x.test"), &none)),
                "RCPT TO:<a@x.test>\r\n",
            ),
        ] {
            assert_eq!(got, expected);
        }
        let never = Notify {
            success: false,
            failure: false,
            delay: false,
        };
        assert_eq!(notify_value(never), "NEVER");
        assert_eq!(
            auth_plain("u", &Secret::new("p")),
            "AUTH PLAIN AHUAcA==\r\n"
        );
    }

    #[test]
    fn tokens_are_shown_as_the_mechanisms_say() {
        // The example of developers.google.com/gmail/imap/xoauth2-protocol.
        let token = Secret::new("ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg");
        assert_eq!(
            auth_xoauth2("someuser@example.com", &token),
            "AUTH XOAUTH2 dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52\
             YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0Q2cBAQ==\r\n"
        );
        // The example of RFC 7628 4.1.
        let token = Secret::new("vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==");
        assert_eq!(
            auth_oauthbearer("user@example.com", "server.example.com", 143, &token),
            "AUTH OAUTHBEARER bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQz\
             AWF1dGg9QmVhcmVyIHZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB\r\n"
        );
        let line = auth_oauthbearer("a,b=c", "h", 1, &token);
        let response = STANDARD
            .decode(line.trim_end().rsplit(' ').next().unwrap())
            .unwrap();
        assert!(response.starts_with(b"n,a=a=2Cb=3Dc,\x01"));
    }

    proptest! {
        #[test]
        fn every_message_arrives_as_it_was(lines in prop::collection::vec("[.a]{0,3}", 0..20)) {
            let message: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            prop_assert_eq!(received(&wire(message.as_bytes())), message.as_bytes());
        }
    }
}
