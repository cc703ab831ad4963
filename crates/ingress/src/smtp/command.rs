//! Command lines, parsed strictly (RFC 5321 4.1.1).
//!
//! The parser is our own: the exact reply to each malformed line is a promise, and the crates
//! seen so far return quoted local parts unquoted, wrap an overflowing SIZE, or cannot tell `<>`
//! from `<postmaster>`.

/// A command line without its CRLF. Arguments are parsed once the command is known to be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    /// `EHLO name`.
    Ehlo(&'a [u8]),
    /// `HELO name`.
    Helo(&'a [u8]),
    /// `MAIL FROM:`, what stands behind the colon.
    Mail(&'a [u8]),
    /// `RCPT TO:`, what stands behind the colon.
    Rcpt(&'a [u8]),
    /// `DATA`.
    Data,
    /// `BDAT`, its arguments (RFC 3030 2).
    Bdat(&'a [u8]),
    /// `RSET`.
    Rset,
    /// `NOOP`, with or without text.
    Noop,
    /// `VRFY something`.
    Vrfy,
    /// `HELP`, with or without text.
    Help,
    /// `STARTTLS` (RFC 3207).
    StartTls,
    /// `AUTH mechanism [initial-response]` (RFC 4954).
    Auth(&'a [u8]),
    /// `QUIT`.
    Quit,
    /// A verb that SMTP knows and this server does not offer.
    NotOffered,
    /// `XCLIENT` or `XFORWARD`: a proxy's claims, from somebody who is no proxy of ours.
    ProxyClaim,
    /// `PROXY ...`: a PROXY protocol header from somebody who is no proxy of ours.
    ProxyHeader,
    /// A request line or header of HTTP.
    Http,
}

/// Why a line is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommandFault {
    /// Empty, or with a NUL.
    Syntax,
    /// The verb is nobody's.
    Unknown,
    /// The verb is known, its arguments are not of its form.
    Arguments,
}

impl<'a> Command<'a> {
    /// Parses one line. White space before the CRLF is tolerated (RFC 5321 4.1.1).
    pub(crate) fn parse(line: &'a [u8]) -> Result<Self, CommandFault> {
        if memchr::memchr(0, line).is_some() {
            return Err(CommandFault::Syntax);
        }
        let line = line.trim_ascii_end();
        let end = memchr::memchr(b' ', line).unwrap_or(line.len());
        let (verb, rest) = line.split_at(end);
        let arguments = rest.trim_ascii_start();
        if verb.is_empty() {
            return Err(CommandFault::Syntax);
        }
        let mut upper = [0_u8; 10];
        let Some(upper) = upper.get_mut(..verb.len()) else {
            return foreign(verb);
        };
        upper.copy_from_slice(verb);
        upper.make_ascii_uppercase();
        match &*upper {
            b"EHLO" => some(arguments).map(Self::Ehlo),
            b"HELO" => some(arguments).map(Self::Helo),
            b"MAIL" => behind(arguments, b"FROM:").map(Self::Mail),
            b"RCPT" => behind(arguments, b"TO:").map(Self::Rcpt),
            b"DATA" => none(arguments, Self::Data),
            b"BDAT" => Ok(Self::Bdat(arguments)),
            b"RSET" => none(arguments, Self::Rset),
            b"NOOP" => Ok(Self::Noop),
            b"VRFY" => some(arguments).map(|_| Self::Vrfy),
            b"HELP" => Ok(Self::Help),
            b"STARTTLS" => none(arguments, Self::StartTls),
            b"AUTH" => some(arguments).map(Self::Auth),
            b"QUIT" => none(arguments, Self::Quit),
            b"EXPN" | b"ETRN" | b"ATRN" | b"TURN" | b"SEND" | b"SOML" | b"SAML" | b"BURL" => {
                Ok(Self::NotOffered)
            }
            b"XCLIENT" | b"XFORWARD" => Ok(Self::ProxyClaim),
            b"PROXY" => Ok(Self::ProxyHeader),
            _ => foreign(verb),
        }
    }
}

/// The verbs of HTTP, and header names that a browser sends first or that follow a request line.
const HTTP_VERBS: [&[u8]; 12] = [
    b"GET",
    b"POST",
    b"PUT",
    b"HEAD",
    b"PATCH",
    b"TRACE",
    b"DELETE",
    b"OPTIONS",
    b"CONNECT",
    b"Host:",
    b"User-Agent:",
    b"Content-Type:",
];

fn foreign<'a>(verb: &[u8]) -> Result<Command<'a>, CommandFault> {
    if HTTP_VERBS
        .iter()
        .any(|known| verb.eq_ignore_ascii_case(known))
    {
        Ok(Command::Http)
    } else {
        Err(CommandFault::Unknown)
    }
}

fn none<'a>(arguments: &[u8], command: Command<'a>) -> Result<Command<'a>, CommandFault> {
    if arguments.is_empty() {
        Ok(command)
    } else {
        Err(CommandFault::Arguments)
    }
}

fn some(arguments: &[u8]) -> Result<&[u8], CommandFault> {
    if arguments.is_empty() {
        Err(CommandFault::Arguments)
    } else {
        Ok(arguments)
    }
}

/// What follows the keyword; one or more spaces behind the colon are tolerated, as many devices
/// send them.
fn behind<'a>(arguments: &'a [u8], keyword: &[u8]) -> Result<&'a [u8], CommandFault> {
    match arguments.split_at_checked(keyword.len()) {
        Some((head, rest)) if head.eq_ignore_ascii_case(keyword) => Ok(rest.trim_ascii_start()),
        Some(_) | None => Err(CommandFault::Arguments),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commands_are_known_in_any_case() {
        for (line, command) in [
            ("EHLO [127.0.0.1]", Command::Ehlo(b"[127.0.0.1]")),
            ("helo x", Command::Helo(b"x")),
            ("mail from:<a@b> size=3", Command::Mail(b"<a@b> size=3")),
            ("MAIL FROM: <a@b>", Command::Mail(b"<a@b>")),
            ("Rcpt To:<a@b>", Command::Rcpt(b"<a@b>")),
            ("DATA ", Command::Data),
            ("BDAT 10 LAST", Command::Bdat(b"10 LAST")),
            ("rSeT", Command::Rset),
            ("NOOP anything at all", Command::Noop),
            ("VRFY a", Command::Vrfy),
            ("EXPN b", Command::NotOffered),
            ("STARTTLS", Command::StartTls),
            ("AUTH PLAIN =", Command::Auth(b"PLAIN =")),
            ("QUIT\t", Command::Quit),
            ("XCLIENT ADDR=1.2.3.4", Command::ProxyClaim),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 9 10", Command::ProxyHeader),
            ("POST / HTTP/1.1", Command::Http),
            ("get / HTTP/1.0", Command::Http),
            ("CONNECT x:25 HTTP/1.1", Command::Http),
            ("Host: x", Command::Http),
        ] {
            assert_eq!(Command::parse(line.as_bytes()), Ok(command), "{line}");
        }
    }

    #[test]
    fn what_is_no_command_says_why() {
        for (line, fault) in [
            ("", CommandFault::Syntax),
            ("   ", CommandFault::Syntax),
            (" NOOP", CommandFault::Syntax),
            ("NO\0OP", CommandFault::Syntax),
            ("XYZZY", CommandFault::Unknown),
            ("MAILFROM:<a@b>", CommandFault::Unknown),
            (
                "A-VERY-LONG-VERB-THAT-NOBODY-KNOWS x",
                CommandFault::Unknown,
            ),
            ("EHLO", CommandFault::Arguments),
            ("HELO ", CommandFault::Arguments),
            ("MAIL", CommandFault::Arguments),
            ("MAIL TO:<a@b>", CommandFault::Arguments),
            ("RCPT FROM:<a@b>", CommandFault::Arguments),
            ("DATA now", CommandFault::Arguments),
            ("STARTTLS x", CommandFault::Arguments),
            ("AUTH", CommandFault::Arguments),
            ("QUIT now", CommandFault::Arguments),
        ] {
            assert_eq!(Command::parse(line.as_bytes()), Err(fault), "{line}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            Command::parse(&line).ok();
        }
    }
}
