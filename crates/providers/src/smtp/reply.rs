//! Reads SMTP replies (RFC 5321 4.2), bounded and strict about what could be read two ways.

use malote_core::provider::Reply;
use memchr::memchr;

/// Most octets in one reply, all lines together. RFC 5321 4.5.3.1.5 allows 512 a line; the longest
/// EHLO answers seen have a few hundred in all.
pub(crate) const REPLY_BYTES_MAX: usize = 64 * 1024;

/// Why what the server sent is no reply. The connection cannot be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReplyFault {
    /// More than [`REPLY_BYTES_MAX`].
    #[error("the server's reply is larger than 64 KiB")]
    TooLarge,
    /// A line that does not begin with three digits of RFC 5321 4.2.1 and a blank or hyphen.
    #[error("the server's reply does not begin with a reply code")]
    NoCode,
    /// `250-x` followed by `550 y`: either could be the answer.
    #[error("the lines of the server's reply have different codes")]
    CodesDiffer,
    /// A NUL, or octets above 127 that are not UTF-8.
    #[error("the server's reply is not text")]
    NotText,
}

/// A complete reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerReply {
    /// 200 to 559.
    pub(crate) code: u16,
    /// The enhanced status code (RFC 2034), if its class fits the code's.
    pub(crate) enhanced: Option<Enhanced>,
    /// The lines without codes, joined by LF.
    text: String,
}

/// An enhanced status code (RFC 3463).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Enhanced {
    /// 2, 4 or 5.
    pub(crate) class: u16,
    /// The subject: 1 address, 2 mailbox, 3 system, 4 network, 5 protocol, 6 content, 7 policy.
    pub(crate) subject: u16,
    /// The detail.
    pub(crate) detail: u16,
}

impl ServerReply {
    /// The lines without codes.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.split('\n')
    }

    /// For timelines: bounded, without control characters.
    pub(crate) fn to_reply(&self) -> Reply {
        let enhanced = self
            .enhanced
            .map(|e| format!("{}.{}.{}", e.class, e.subject, e.detail));
        let text = match &enhanced {
            Some(enhanced) => {
                let lines = self.lines().map(|line| {
                    let rest = line.strip_prefix(enhanced.as_str()).unwrap_or(line);
                    rest.trim_start()
                });
                lines.collect::<Vec<_>>().join(" ")
            }
            None => self.text.clone(),
        };
        Reply::new(Some(self.code), enhanced, &text)
    }
}

/// Reads one reply from the front of `input`; the number of octets it took. `None` if more octets
/// are needed.
///
/// # Errors
/// If no octet that may still come can make it a reply.
pub(crate) fn parse(input: &[u8]) -> Result<Option<(ServerReply, usize)>, ReplyFault> {
    let mut at = 0;
    let mut code = None;
    let mut text = String::new();
    let bounded = &input[..input.len().min(REPLY_BYTES_MAX)];
    while let Some(bytes) = memchr(b'\n', &bounded[at..]) {
        let line = &bounded[at..at + bytes];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        at += bytes + 1;
        let (line_code, is_last, rest) = split_line(line)?;
        match code {
            None => code = Some(line_code),
            Some(code) if code != line_code => return Err(ReplyFault::CodesDiffer),
            Some(_) => text.push('\n'),
        }
        text.push_str(rest);
        if is_last {
            let enhanced = parse_enhanced(&text, line_code);
            let reply = ServerReply {
                code: line_code,
                enhanced,
                text,
            };
            return Ok(Some((reply, at)));
        }
    }
    // A peer that does not speak SMTP is known by its first octets.
    let start = &bounded[at..];
    if start.len() >= 4 {
        split_code(start)?;
    }
    if bounded.len() == REPLY_BYTES_MAX {
        return Err(ReplyFault::TooLarge);
    }
    Ok(None)
}

fn split_line(line: &[u8]) -> Result<(u16, bool, &str), ReplyFault> {
    let (code, is_last) = split_code(line)?;
    let rest = std::str::from_utf8(line.get(4..).unwrap_or_default());
    match rest {
        Ok(rest) if !rest.contains('\0') => Ok((code, is_last, rest)),
        Ok(_) | Err(_) => Err(ReplyFault::NotText),
    }
}

/// `250-` or `250 ` or a bare `250` (RFC 5321 4.2: receivers must stand it).
fn split_code(line: &[u8]) -> Result<(u16, bool), ReplyFault> {
    let [
        a @ b'2'..=b'5',
        b @ b'0'..=b'5',
        c @ b'0'..=b'9',
        separator @ ..,
    ] = line
    else {
        return Err(ReplyFault::NoCode);
    };
    let is_last = match separator.first() {
        Some(b'-') => false,
        Some(b' ') | None => true,
        Some(_) => return Err(ReplyFault::NoCode),
    };
    let digit = |d: &u8| u16::from(d - b'0');
    Ok((digit(a) * 100 + digit(b) * 10 + digit(c), is_last))
}

fn parse_enhanced(text: &str, code: u16) -> Option<Enhanced> {
    let word = text.split([' ', '\n']).next()?;
    let mut parts = word.split('.').map(|part| {
        let is_number = matches!(part.len(), 1..=3) && part.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| part.parse::<u16>().ok()).flatten()
    });
    let (class, subject, detail) = (parts.next()??, parts.next()??, parts.next()??);
    let fits = parts.next().is_none() && class == code / 100;
    fits.then_some(Enhanced {
        class,
        subject,
        detail,
    })
}

/// The service's id in its answer to the final dot: Postfix and its like `queued as ID`, Exim
/// `id=ID`, SES `Ok ID`.
pub(crate) fn message_id(reply: &ServerReply) -> Option<String> {
    let line = reply.lines().next()?;
    let lower = line.to_ascii_lowercase();
    let behind = |mark: &str| lower.find(mark).map(|at| &line[at + mark.len()..]);
    let is_long_id =
        |id: &&str| id.len() >= 16 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let id = behind("queued as ")
        .or_else(|| behind("id="))
        .and_then(|rest| rest.split_ascii_whitespace().next())
        .or_else(|| {
            let rest = line.get(..3).filter(|ok| ok.eq_ignore_ascii_case("ok "));
            rest.and_then(|_| line[3..].split_ascii_whitespace().next())
                .filter(is_long_id)
        })?;
    let id = id.trim_matches(|c: char| matches!(c, '<' | '>' | '(' | ')' | ',' | ';' | '.' | '"'));
    let is_id = (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    is_id.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reply(input: &str) -> ServerReply {
        parse(input.as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn replies_are_read_whole_and_leave_the_next_one() {
        let input = b"250-a\r\n250-\r\n250 b\r\n354 go\r\n";
        let (first, used) = parse(input).unwrap().unwrap();
        assert_eq!((first.code, first.text.as_str()), (250, "a\n\nb"));
        assert_eq!(
            reply(std::str::from_utf8(&input[used..]).unwrap()).code,
            354
        );
        assert_eq!(reply("250\r\n").text, "");
        assert_eq!(reply("250 ok\n").text, "ok", "LF alone ends a line too");
        assert_eq!(reply("550 não\r\n").text, "não");
    }

    #[test]
    fn incomplete_replies_ask_for_more() {
        for input in [
            "",
            "2",
            "250",
            "250-",
            "250-a\r\n",
            "250-a\r\n25",
            "250 a\r",
        ] {
            assert_eq!(parse(input.as_bytes()), Ok(None), "{input:?}");
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        let long = vec![b'2'; 1 << 20];
        let endless = b"250-x\r\n".repeat(1_000_000);
        let line = [b"250 ".as_slice(), &vec![b'x'; 1 << 20], b"\r\n"].concat();
        for (input, fault) in [
            (b"250-x\r\n550 y\r\n".as_slice(), ReplyFault::CodesDiffer),
            (b"099 x\r\n", ReplyFault::NoCode),
            (b"25\r\n", ReplyFault::NoCode),
            (b"2500 x\r\n", ReplyFault::NoCode),
            (b"260 x\r\n", ReplyFault::NoCode),
            (b"650 x\r\n", ReplyFault::NoCode),
            (b"\r\n", ReplyFault::NoCode),
            (b"HTTP/1.1 400", ReplyFault::NoCode),
            (b"250 a\0b\r\n", ReplyFault::NotText),
            (b"250 \xe9\r\n", ReplyFault::NotText),
            (&long, ReplyFault::NoCode),
            (&endless, ReplyFault::TooLarge),
            (&line, ReplyFault::TooLarge),
        ] {
            assert_eq!(
                parse(input),
                Err(fault),
                "{:.40}",
                String::from_utf8_lossy(input)
            );
        }
    }

    #[test]
    fn enhanced_codes_are_taken_if_they_fit() {
        for (input, enhanced, text) in [
            ("250 2.1.5 Ok\r\n", Some("2.1.5"), "Ok"),
            (
                "550-5.1.1 No\r\n550 5.1.1 such user\r\n",
                Some("5.1.1"),
                "No such user",
            ),
            ("550 5.7.520 x\r\n", Some("5.7.520"), "x"),
            ("550 4.1.1 x\r\n", None, "4.1.1 x"),
            ("550 5.1 x\r\n", None, "5.1 x"),
            ("550 5.1.1.1 x\r\n", None, "5.1.1.1 x"),
            ("550 10.0.0.1 x\r\n", None, "10.0.0.1 x"),
            ("550 \x1b[31mred\r\n", None, " [31mred"),
        ] {
            let reply = reply(input).to_reply();
            assert_eq!(reply.enhanced.as_deref(), enhanced, "{input}");
            assert_eq!(reply.text(), text, "{input}");
        }
    }

    #[test]
    fn the_services_id_is_found() {
        for (input, id) in [
            ("250 2.0.0 Ok: queued as 4BCx1z2\r\n", Some("4BCx1z2")),
            ("250 OK id=1sAbCd-0000AB-2X\r\n", Some("1sAbCd-0000AB-2X")),
            (
                "250 Ok 0100018f3c2a-aaaa-bbbb-000000\r\n",
                Some("0100018f3c2a-aaaa-bbbb-000000"),
            ),
            ("250 Ok: queued as <x@y>\r\n", Some("x@y")),
            ("250 Great success\r\n", None),
            ("250 Ok thanks\r\n", None),
            ("250 queued as \r\n", None),
            ("250\r\n", None),
        ] {
            assert_eq!(message_id(&reply(input)).as_deref(), id, "{input}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_never_takes_more_than_there_is(input in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some((reply, used))) = parse(&input) {
                prop_assert!(used <= input.len());
                let _ = message_id(&reply);
            }
        }

        #[test]
        fn octet_by_octet_gives_the_same_reply(lines in prop::collection::vec("[ -~é]{0,40}", 1..6)) {
            let last = lines.len() - 1;
            let input: String = lines.iter().enumerate()
                .map(|(i, line)| format!("250{}{line}\r\n", if i == last { ' ' } else { '-' }))
                .collect();
            for end in 0..input.len() {
                prop_assert_eq!(parse(&input.as_bytes()[..end]), Ok(None));
            }
            let (reply, used) = parse(input.as_bytes()).unwrap().unwrap();
            prop_assert_eq!(used, input.len());
            prop_assert_eq!(reply.lines().collect::<Vec<_>>(), lines);
        }
    }
}
