//! One mailbox (RFC 5322 3.4) from a string or an object: never a group, never a list.

use malote_core::address::EmailAddress;

use super::{CONTROL_DETAIL, has_control};
use crate::http::problem_rfc9457::{Faults, ProblemKind};
use crate::http::request::AddressInput;

const NAME_BYTES_MAX: usize = 256;
/// An address of 254 octets, a name of 256 with each character quoted, brackets and spaces.
const TEXT_BYTES_MAX: usize = 1024;

/// An address and the name shown with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mailbox {
    /// The name; never empty.
    pub(super) name: Option<String>,
    /// The address.
    pub(super) address: EmailAddress,
}

/// What is wrong with a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
struct MailboxFault {
    kind: ProblemKind,
    /// Where, below the mailbox.
    member: &'static str,
    detail: String,
}

impl MailboxFault {
    fn new(kind: ProblemKind, member: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind,
            member,
            detail: detail.into(),
        }
    }
}

impl Mailbox {
    /// Reads one mailbox; a fault is noted at `pointer`.
    pub(super) fn read(input: &AddressInput, pointer: &str, faults: &mut Faults) -> Option<Self> {
        let result = match input {
            AddressInput::Text(text) => parse_text(text),
            AddressInput::Object(object) => {
                from_members(&object.email, object.name.as_deref().unwrap_or_default())
            }
        };
        result
            .map_err(|fault| {
                let pointer = format!("{pointer}{}", fault.member);
                faults.push(fault.kind, pointer, fault.detail);
            })
            .ok()
    }
}

/// The address of a text that may hold nothing else, as in the raw endpoint's envelope.
pub(crate) fn parse_address(text: &str) -> Result<EmailAddress, String> {
    let inner = text.strip_prefix('<').and_then(|t| t.strip_suffix('>'));
    EmailAddress::parse(inner.unwrap_or(text)).map_err(|fault| fault.to_string())
}

fn from_members(email: &str, name: &str) -> Result<Mailbox, MailboxFault> {
    if has_control(name) {
        let kind = ProblemKind::ControlCharacter;
        return Err(MailboxFault::new(kind, "/name", CONTROL_DETAIL));
    }
    if has_control(email) {
        let kind = ProblemKind::ControlCharacter;
        return Err(MailboxFault::new(kind, "/email", CONTROL_DETAIL));
    }
    if name.len() > NAME_BYTES_MAX {
        let text = format!("the name is longer than {NAME_BYTES_MAX} octets");
        return Err(MailboxFault::new(ProblemKind::TooLong, "/name", text));
    }
    let address = EmailAddress::parse(email).map_err(|fault| {
        MailboxFault::new(ProblemKind::InvalidAddress, "/email", fault.to_string())
    })?;
    let name = name.trim();
    Ok(Mailbox {
        name: (!name.is_empty()).then(|| name.to_owned()),
        address,
    })
}

/// `a@b`, `<a@b>`, `Name <a@b>` or `"Name" <a@b>`.
fn parse_text(text: &str) -> Result<Mailbox, MailboxFault> {
    let at_whole = |fault: MailboxFault| MailboxFault {
        member: "",
        ..fault
    };
    if text.len() > TEXT_BYTES_MAX {
        return Err(invalid("the address is too long"));
    }
    if text.bytes().any(|b| b == b'\r' || b == b'\n') {
        return Err(invalid("an address is one line"));
    }
    let text = text.trim_matches(' ');
    let (name, rest) = split_name(text)?;
    let address = match rest.strip_prefix('<') {
        Some(inner) => inner
            .strip_suffix('>')
            .ok_or_else(|| invalid("nothing may follow the closing angle bracket"))?,
        None => rest,
    };
    from_members(address, &name).map_err(at_whole)
}

fn invalid(detail: &str) -> MailboxFault {
    MailboxFault::new(ProblemKind::InvalidAddress, "", detail)
}

/// The display name, unquoted, and what follows it.
fn split_name(text: &str) -> Result<(String, &str), MailboxFault> {
    if let Some(quoted) = text.strip_prefix('"') {
        let (name, rest) = unquote(quoted)?;
        let rest = rest.trim_start_matches(' ');
        // `"a b"@x.example` is an address with a quoted local part.
        return Ok(if rest.starts_with('<') {
            (name, rest)
        } else {
            (String::new(), text)
        });
    }
    match text.find('<') {
        Some(at) => {
            let name = text[..at].trim_end_matches(' ');
            if name.contains(is_special) {
                return Err(invalid(
                    "put the name in double quotes, or give one address only",
                ));
            }
            Ok((name.to_owned(), &text[at..]))
        }
        None => Ok((String::new(), text)),
    }
}

/// RFC 5322 3.2.3, but for the dot, which many put into names (4.1 obs-phrase).
const fn is_special(c: char) -> bool {
    matches!(
        c,
        '(' | ')' | '<' | '>' | '[' | ']' | ':' | ';' | '@' | '\\' | ',' | '"'
    )
}

fn unquote(text: &str) -> Result<(String, &str), MailboxFault> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((name, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, escaped)) => name.push(escaped),
                None => break,
            },
            other => name.push(other),
        }
    }
    Err(invalid("the quoted name does not end"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<(Option<String>, String)> {
        let parsed = parse_text(text).ok()?;
        Some((parsed.name, parsed.address.to_string()))
    }

    #[test]
    fn one_mailbox_is_read_with_its_name() {
        for (text, name, address) in [
            ("a@x.test", None, "a@x.test"),
            ("<a@x.test>", None, "a@x.test"),
            ("Ana <a@x.test>", Some("Ana"), "a@x.test"),
            (
                " Ana P. Silva  <a@x.test> ",
                Some("Ana P. Silva"),
                "a@x.test",
            ),
            ("João<a@x.test>", Some("João"), "a@x.test"),
            ("\"Silva, Ana\" <a@x.test>", Some("Silva, Ana"), "a@x.test"),
            ("\"A \\\"B\\\" C\"<a@x.test>", Some("A \"B\" C"), "a@x.test"),
            ("\"a b\"@x.test", None, "\"a b\"@x.test"),
            ("N <\"a>b\"@x.test>", Some("N"), "\"a>b\"@x.test"),
        ] {
            let expected = Some((name.map(str::to_owned), address.to_owned()));
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn lists_groups_and_line_ends_are_no_mailbox() {
        for text in [
            "",
            "a",
            "a@x.test, evil@y.test",
            "a@x.test;b@y.test",
            "a@x.test\nRCPT TO:<b@y.test>",
            "<a@x.test> b@y.test",
            "Smith, John <a@x.test>",
            "Team: a@x.test;",
            "A <a@x.test> <b@y.test>",
            "A <a@x.test>, B <b@y.test>",
            "a@x.test b@y.test",
            "\"open <a@x.test>",
            "A <a@x.test",
            "<>",
            "N <b@y.test <a@x.test>",
        ] {
            let fault = parse_text(text).unwrap_err();
            assert_eq!(fault.kind, ProblemKind::InvalidAddress, "{text}");
        }
        let fault = from_members("a@b.test", "A\r\nTo: z").unwrap_err();
        assert_eq!(
            (fault.kind, fault.member),
            (ProblemKind::ControlCharacter, "/name")
        );
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_one_line_and_reads_the_same_again(
            text in "(\"?[\\PC<>@,;\\\\\"]{0,20}\"? ?)?<?[a-z.\"@]{0,8}@[a-z.]{0,8}>?[ -~]{0,4}"
        ) {
            if let Ok(mailbox) = parse_text(&text) {
                prop_assert!(!mailbox.address.as_str().contains(['\r', '\n']));
                let again = from_members(
                    mailbox.address.as_str(),
                    mailbox.name.as_deref().unwrap_or_default(),
                );
                prop_assert_eq!(again, Ok(mailbox));
            }
        }
    }
}
