//! Header fields: which ones a client may set, and how each is written (RFC 5322 2.2, RFC 2047).

use std::collections::{BTreeMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use malote_core::control_field::{PROVIDER_CONTROL_PREFIXES, has_prefix};

use super::mailbox::Mailbox;
use super::{CONTROL_DETAIL, has_control};
use crate::http::json;
use crate::http::problem_rfc9457::{Faults, ProblemKind};

const FIELDS_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 76;
const VALUE_BYTES_MAX: usize = 8192;
/// A piece that cannot be folded must leave room for its name within the 998 octets of a line
/// (RFC 5322 2.1.1).
const PIECE_BYTES_MAX: usize = 900;
/// Where lines are folded (RFC 5322 2.1.1).
const LINE_BYTES: usize = 76;
/// Most octets of text in one encoded-word: 39 make 52 of base64 and 64 in all, which fits a
/// line (RFC 2047 2) behind a field name of 10.
const ENCODED_TEXT_BYTES: usize = 39;

/// Fields that the gateway writes itself, that only servers write, or that would change who gets
/// the message.
const RESERVED: [&str; 17] = [
    "bcc",
    "cc",
    "date",
    "delivered-to",
    "dkim-signature",
    "domainkey-signature",
    "envelope-to",
    "from",
    "message-id",
    "mime-version",
    "received",
    "received-spf",
    "reply-to",
    "return-path",
    "sender",
    "subject",
    "to",
];
const RESERVED_PREFIXES: [&str; 5] = [
    "arc-",
    "authentication-results",
    "content-",
    "resent-",
    "x-malote-",
];

/// Notes every fault of the fields that a client sets itself.
pub(super) fn check_custom(
    headers: &BTreeMap<String, String>,
    provider_headers: bool,
    faults: &mut Faults,
) {
    if headers.len() > FIELDS_MAX {
        let text = format!("at most {FIELDS_MAX} fields are taken");
        faults.push(ProblemKind::TooMany, "/headers", text);
        return;
    }
    let mut seen = HashSet::new();
    for (name, value) in headers {
        let pointer = format!("/headers/{}", json::escape(name));
        let lower = name.to_ascii_lowercase();
        if let Some((kind, text)) = name_fault(&lower, provider_headers) {
            faults.push(kind, pointer, text);
        } else if let Some((kind, text)) = value_fault(value) {
            faults.push(kind, pointer, text);
        } else if !seen.insert(lower) {
            let text = "the names of header fields do not differ by case";
            faults.push(ProblemKind::DuplicateHeader, pointer, text);
        }
    }
}

fn name_fault(lower: &str, provider_headers: bool) -> Option<(ProblemKind, &'static str)> {
    let is_ftext = |b: u8| (33..=126).contains(&b) && b != b':';
    let is_name = (1..=NAME_BYTES_MAX).contains(&lower.len()) && lower.bytes().all(is_ftext);
    let starts_with = |prefix: &&str| lower.starts_with(*prefix);
    let gives_orders = |prefix: &&str| has_prefix(lower, prefix);
    if !is_name {
        let text = "a field name is 1 to 76 visible ASCII characters without a colon";
        Some((ProblemKind::InvalidHeaderName, text))
    } else if RESERVED.contains(&lower) || RESERVED_PREFIXES.iter().any(starts_with) {
        let text = "the gateway writes this field itself; use the request's own members";
        Some((ProblemKind::ReservedHeader, text))
    } else if !provider_headers && PROVIDER_CONTROL_PREFIXES.iter().any(gives_orders) {
        let text = "this credential may not give orders to providers (provider_headers)";
        Some((ProblemKind::ReservedHeader, text))
    } else {
        None
    }
}

fn value_fault(value: &str) -> Option<(ProblemKind, &'static str)> {
    if has_control(value) {
        Some((ProblemKind::ControlCharacter, CONTROL_DETAIL))
    } else if value.len() > VALUE_BYTES_MAX {
        Some((ProblemKind::TooLong, "the value is longer than 8192 octets"))
    } else if value.is_ascii() && pieces(value).any(|piece| piece.len() > PIECE_BYTES_MAX) {
        let text = "the value cannot be folded: 900 octets without a space";
        Some((ProblemKind::TooLong, text))
    } else {
        None
    }
}

/// Splits at single spaces between two visible characters, where a line may be folded without a
/// line of nothing but spaces.
fn pieces(value: &str) -> impl Iterator<Item = &str> {
    let bytes = value.as_bytes();
    let is_fold = move |at: usize| {
        let visible =
            |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(|b| *b != b' ');
        bytes[at] == b' ' && visible(at.checked_sub(1)) && visible(Some(at + 1))
    };
    let mut start = 0;
    let ends = (0..bytes.len()).filter(move |at| is_fold(*at));
    let ends = ends.chain(std::iter::once(bytes.len()));
    ends.map(move |end| {
        let piece = &value[start..end];
        start = (end + 1).min(value.len());
        piece
    })
}

/// Writes a header section.
#[derive(Debug, Default)]
pub(super) struct FieldWriter {
    text: String,
    column: usize,
    /// Whether nothing of the value stands yet: no line is folded there.
    is_fresh: bool,
}

impl FieldWriter {
    /// A field whose value is text for people: encoded where it is not plain ASCII.
    pub(super) fn text(&mut self, name: &str, value: &str) {
        let value = value.trim_matches(' ');
        let is_plain = value.bytes().all(|b| (0x20..0x7f).contains(&b))
            && !value.contains("=?")
            && pieces(value).all(|piece| piece.len() < LINE_BYTES);
        if is_plain {
            self.verbatim(name, value);
        } else {
            self.start(name);
            self.encoded(value);
            self.end();
        }
    }

    /// A field whose value is kept as it is, folded at spaces; encoded if it is not ASCII.
    pub(super) fn verbatim(&mut self, name: &str, value: &str) {
        let value = value.trim_matches(' ');
        self.start(name);
        if value.is_ascii() {
            for piece in pieces(value) {
                self.piece(piece);
            }
        } else {
            self.encoded(value);
        }
        self.end();
    }

    /// An address field; nothing at all if there is nobody to name.
    pub(super) fn mailboxes(&mut self, name: &str, mailboxes: &[Mailbox]) {
        if mailboxes.is_empty() {
            return;
        }
        self.start(name);
        let last = mailboxes.len() - 1;
        for (index, mailbox) in mailboxes.iter().enumerate() {
            let comma = if index < last { "," } else { "" };
            match &mailbox.name {
                Some(shown) => {
                    self.phrase(shown);
                    self.piece(&format!("<{}>{comma}", mailbox.address));
                }
                None => self.piece(&format!("{}{comma}", mailbox.address)),
            }
        }
        self.end();
    }

    /// `Date` (RFC 5322 3.6.1).
    pub(super) fn date(&mut self, at: Timestamp) {
        let at = at.to_zoned(TimeZone::UTC);
        self.verbatim(
            "Date",
            &at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string(),
        );
    }

    /// The section, without the empty line that ends it.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.text.into_bytes()
    }

    fn start(&mut self, name: &str) {
        self.text.push_str(name);
        self.text.push(':');
        self.column = name.len() + 1;
        self.is_fresh = true;
    }

    fn end(&mut self) {
        self.text.push_str("\r\n");
        self.column = 0;
    }

    /// One piece after a space, on a new line if this one is full.
    fn piece(&mut self, piece: &str) {
        if self.column + 1 + piece.len() > LINE_BYTES && !self.is_fresh {
            self.text.push_str("\r\n");
            self.column = 0;
        }
        self.is_fresh = false;
        self.text.push(' ');
        self.text.push_str(piece);
        self.column += 1 + piece.len();
    }

    fn encoded(&mut self, value: &str) {
        let mut rest = value;
        while !rest.is_empty() {
            let mut end = rest.len().min(ENCODED_TEXT_BYTES);
            while !rest.is_char_boundary(end) {
                end -= 1;
            }
            let (head, tail) = rest.split_at(end);
            self.piece(&format!("=?utf-8?B?{}?=", STANDARD.encode(head)));
            rest = tail;
        }
    }

    /// A display name: atoms as they are, quoted where it must be, encoded where it is not ASCII.
    fn phrase(&mut self, name: &str) {
        let is_atext = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b);
        if !name.is_ascii() || name.contains("=?") {
            self.encoded(name);
        } else if name
            .split(' ')
            .all(|atom| !atom.is_empty() && atom.bytes().all(is_atext))
        {
            name.split(' ').for_each(|atom| self.piece(atom));
        } else {
            self.piece(&quoted(name));
        }
    }
}

fn quoted(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 2);
    text.push('"');
    for c in name.chars() {
        if c == '"' || c == '\\' {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(name: &str, value: &str) -> Option<(ProblemKind, String)> {
        let headers = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let mut faults = Faults::default();
        check_custom(&headers, false, &mut faults);
        let problem = faults.none_or(()).err()?;
        Some((problem.kind(), problem.errors()[0].pointer.clone()))
    }

    #[test]
    fn fields_that_would_change_the_message_are_refused_in_any_case() {
        for name in [
            "Bcc",
            "bcc",
            "To",
            "FROM",
            "Cc",
            "Sender",
            "Return-Path",
            "Received",
            "Subject",
            "DKIM-Signature",
            "Content-Type",
            "MIME-Version",
            "X-Malote-Stream",
            "Resent-Bcc",
            "ARC-Seal",
            "X-SES-Configuration-Set",
            "x-mailgun-tag",
            "X-SMTPAPI",
            "X-MSYS-API",
        ] {
            let fault = faults_of(name, "1").map(|(kind, _)| kind);
            assert_eq!(fault, Some(ProblemKind::ReservedHeader), "{name}");
        }
        for name in ["X-A: b\r\nY", "X A", "X:A", "Ünï", "", &"x".repeat(77)] {
            let fault = faults_of(name, "1").map(|(kind, _)| kind);
            assert_eq!(fault, Some(ProblemKind::InvalidHeaderName), "{name}");
        }
        for value in ["1\r\n\r\n<html>", "a\nb", "a\u{0}", "a\tb", "\u{7f}"] {
            let expected = (ProblemKind::ControlCharacter, "/headers/X-A".to_owned());
            assert_eq!(faults_of("X-A", value), Some(expected), "{value:?}");
        }
        assert_eq!(
            faults_of("X-A", &"x".repeat(901)).unwrap().0,
            ProblemKind::TooLong
        );
        for name in [
            "X-Campaign",
            "List-Unsubscribe",
            "In-Reply-To",
            "X-EMAIL-ID",
        ] {
            assert_eq!(faults_of(name, "<https://x.test/?u=1>"), None, "{name}");
        }
    }

    #[test]
    fn orders_to_providers_pass_only_where_the_credential_says_so() {
        let headers = BTreeMap::from([("X-SES-Tag".to_owned(), "a=b".to_owned())]);
        for (provider_headers, is_taken) in [(true, true), (false, false)] {
            let mut faults = Faults::default();
            check_custom(&headers, provider_headers, &mut faults);
            assert_eq!(faults.none_or(()).is_ok(), is_taken);
        }
    }

    #[test]
    fn names_that_differ_by_case_only_are_one_field() {
        let pairs = [("X-A", "1"), ("x-a", "2")];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut faults = Faults::default();
        check_custom(&BTreeMap::from(pairs), false, &mut faults);
        let problem = faults.none_or(()).unwrap_err();
        assert_eq!(problem.kind(), ProblemKind::DuplicateHeader);
    }

    #[test]
    fn long_values_are_folded_where_a_space_stands_and_keep_it() {
        let value = "word ".repeat(40) + "two  spaces";
        let mut writer = FieldWriter::default();
        writer.verbatim("X-A", &value);
        let text = String::from_utf8(writer.into_bytes()).unwrap();
        assert!(
            text.lines()
                .all(|line| line.len() <= 76 && !line.trim().is_empty())
        );
        assert_eq!(
            text.replace("\r\n ", " ").trim_end(),
            format!("X-A: {value}")
        );
    }

    #[test]
    fn text_is_encoded_where_readers_would_see_something_else() {
        for value in [
            "plain",
            "João",
            "=?utf-8?q?x?=",
            "a\u{2028}b",
            &"x".repeat(2000),
        ] {
            let mut writer = FieldWriter::default();
            writer.text("Subject", value);
            let text = String::from_utf8(writer.into_bytes()).unwrap();
            assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 998));
            let message = format!("{text}\r\n");
            let parsed = mail_parser::MessageParser::default()
                .parse(&message)
                .unwrap();
            assert_eq!(parsed.subject(), Some(value), "{text}");
        }
    }
}
