//! Reverse-path and forward-path (RFC 5321 4.1.2).

use malote_core::address::{AddressFault, EmailAddress};

/// RFC 5321 4.5.3.1.3, angle brackets included.
const PATH_BYTES_MAX: usize = 256;

/// What stands between `<` and `>`, still raw, with any source route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawPath<'a>(&'a [u8]);

/// A path that names a mailbox, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Path {
    /// `<>`.
    Null,
    /// A mailbox.
    Mailbox(EmailAddress),
}

/// Why a path names no mailbox that mail can be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathFault {
    /// Not of the form that RFC 5321 4.1.2 gives.
    Syntax(&'static str),
    /// `<Postmaster>`: valid, and meaningless where no mail is delivered.
    Postmaster,
    /// A domain that is an address literal.
    Literal,
    /// Not ASCII where SMTPUTF8 was not given, not UTF-8, or with invisible characters.
    NonAscii,
}

impl PathFault {
    /// In words, for the event of a recipient that cannot exist.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Syntax(reason) => reason,
            Self::Postmaster => "Postmaster needs a domain",
            Self::Literal => "address literals are not delivered to",
            Self::NonAscii => "non-ASCII address without SMTPUTF8, or invisible characters",
        }
    }
}

impl<'a> RawPath<'a> {
    /// Cuts the path off the front of a command's arguments. The rest is empty or begins with a
    /// space. `None` if there are no angle brackets around it, or something sticks to them.
    pub(crate) fn split(arguments: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let inside = arguments.strip_prefix(b"<")?;
        let end = closing_bracket(inside)?;
        let (path, rest) = inside.split_at(end);
        let rest = rest.get(1..)?;
        if rest.is_empty() || rest.starts_with(b" ") {
            Some((Self(path), rest))
        } else {
            None
        }
    }

    /// What the client wrote, made printable, at most 256 octets.
    pub(crate) fn printable(&self) -> String {
        let mut text = String::new();
        for c in String::from_utf8_lossy(self.0).chars() {
            let c = if c.is_control() { '\u{FFFD}' } else { c };
            if text.len() + c.len_utf8() > PATH_BYTES_MAX {
                break;
            }
            text.push(c);
        }
        text
    }

    /// The mailbox. A source route is accepted and ignored (RFC 5321 4.1.1.3). Non-ASCII is taken
    /// only `with_utf8`, that is when MAIL FROM said SMTPUTF8 (RFC 6531 3.4).
    pub(crate) fn mailbox(&self, with_utf8: bool) -> Result<Path, PathFault> {
        if self.0.is_empty() {
            return Ok(Path::Null);
        }
        if !self.0.is_ascii() && !with_utf8 {
            return Err(PathFault::NonAscii);
        }
        if self.0.len() + 2 > PATH_BYTES_MAX {
            return Err(PathFault::Syntax("the path is longer than 256 octets"));
        }
        let text = std::str::from_utf8(self.0).map_err(|_| PathFault::NonAscii)?;
        let text = strip_source_route(text).ok_or(PathFault::Syntax("bad source route"))?;
        if text.eq_ignore_ascii_case("postmaster") {
            return Err(PathFault::Postmaster);
        }
        EmailAddress::parse(text)
            .map(Path::Mailbox)
            .map_err(of_address)
    }
}

fn of_address(fault: AddressFault) -> PathFault {
    match fault {
        AddressFault::Literal => PathFault::Literal,
        AddressFault::Invisible => PathFault::NonAscii,
        AddressFault::Empty => PathFault::Syntax("the address is empty"),
        AddressFault::DomainMissing => PathFault::Syntax("the address has no domain"),
        AddressFault::LocalPart => PathFault::Syntax("the part before @ is not well formed"),
        AddressFault::LocalPartTooLong => {
            PathFault::Syntax("the part before @ is longer than 64 octets")
        }
        AddressFault::Domain => PathFault::Syntax("the domain is not well formed"),
        AddressFault::TooLong => PathFault::Syntax("the address is longer than 254 octets"),
    }
}

/// Position of the `>` that is not inside a quoted string.
fn closing_bracket(inside: &[u8]) -> Option<usize> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    for (at, octet) in inside.iter().enumerate() {
        match octet {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b'>' if !is_quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// `@a,@b:user@c` becomes `user@c`.
fn strip_source_route(text: &str) -> Option<&str> {
    if !text.starts_with('@') {
        return Some(text);
    }
    let (route, mailbox) = text.split_once(':')?;
    route
        .split(',')
        .all(|hop| hop.len() > 1 && hop.starts_with('@'))
        .then_some(mailbox)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mailbox(arguments: &str, with_utf8: bool) -> Option<Result<Path, PathFault>> {
        RawPath::split(arguments.as_bytes()).map(|(path, _)| path.mailbox(with_utf8))
    }

    fn kept(arguments: &str) -> String {
        match mailbox(arguments, true) {
            Some(Ok(Path::Mailbox(address))) => address.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn paths_are_kept_as_they_go_on_the_wire() {
        let longest = format!("<{}@x.test>", "a".repeat(64));
        for (arguments, address) in [
            ("<a@b.test>", "a@b.test"),
            ("<\"a>b\"@x.test> SIZE=1", "\"a>b\"@x.test"),
            ("<\"a\\\">b\"@x.test>", "\"a\\\">b\"@x.test"),
            ("<@hop.test,@two.test:a@b.test>", "a@b.test"),
            ("<jörg@x.test>", "jörg@x.test"),
            ("<a@раypal.test>", "a@xn--ypal-43d9g.test"),
            (longest.as_str(), &longest[1..longest.len() - 1]),
        ] {
            assert_eq!(kept(arguments), address, "{arguments}");
        }
        assert_eq!(mailbox("<>", false), Some(Ok(Path::Null)));
    }

    #[test]
    fn what_is_no_path_says_why() {
        let syntax = |fault: &PathFault| matches!(fault, PathFault::Syntax(_));
        let long_local = format!("<{}@x.test>", "a".repeat(65));
        let long = format!("<a@{}.test>", ["x"; 130].join("."));
        for arguments in [
            "<a>",
            "<@b.test>",
            "<a@b@c.test>",
            "<a@b.test:25>",
            "<a b@x.test>",
            "<a@192.0.2.1>",
            "<a@x.test,b@x.test>",
            "<@hop.test:>",
            "<hop.test,:a@b.test>",
            &long_local,
            &long,
        ] {
            let fault = mailbox(arguments, false).and_then(Result::err);
            assert!(fault.as_ref().is_some_and(syntax), "{arguments}: {fault:?}");
        }
        for (arguments, fault) in [
            ("<Postmaster>", PathFault::Postmaster),
            ("<a@[127.0.0.1]>", PathFault::Literal),
            ("<a@[IPv6:::1]>", PathFault::Literal),
            ("<jörg@x.test>", PathFault::NonAscii),
        ] {
            assert_eq!(mailbox(arguments, false), Some(Err(fault)), "{arguments}");
        }
        for arguments in ["<a\u{202e}@x.test>", "<a\u{200b}@x.test>"] {
            let fault = mailbox(arguments, true);
            assert_eq!(fault, Some(Err(PathFault::NonAscii)), "{arguments}");
        }
        for arguments in [
            "a@b.test",
            "<a@b.test",
            "",
            "<\"a>@x.test>",
            "<a@b>,<c@d>",
            "<a@b>X=1",
        ] {
            assert_eq!(mailbox(arguments, false), None, "{arguments}");
        }
    }

    proptest! {
        #[test]
        fn splitting_never_panics_and_text_is_bounded(raw in proptest::collection::vec(any::<u8>(), 0..600)) {
            let mut arguments = b"<".to_vec();
            arguments.extend_from_slice(&raw);
            arguments.push(b'>');
            if let Some((path, _)) = RawPath::split(&arguments) {
                drop(path.mailbox(true));
                prop_assert!(path.printable().len() <= 256);
                prop_assert!(!path.printable().contains(char::is_control));
            }
        }
    }
}
