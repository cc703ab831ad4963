//! Mail that came back, read for what it says: reports (RFC 3464, RFC 5965), automatic answers
//! (RFC 3834), and what people wrote.
//!
//! Strangers write such mail, so nothing here fails and every loop has a bound. Only the outer
//! message is believed; of the one that a complaint returns addresses are read, which prove themselves.

use std::panic::catch_unwind;

use bytes::Bytes;
use mail_parser::{Message, MessageParser, MessagePart, MimeHeaders as _};
use malote_core::address::EmailAddress;
use malote_core::event::raw_event;
use malote_core::provider::bounded;
use malote_core::returned::{ReturnReader, ReturnedMail, UNREADABLE_BYTES_MAX};

use super::{arf_rfc5965, dsn_rfc3464, legacy_bounce};

/// Parts of a message looked at; a report has three.
const PARTS_MAX: usize = 50;
/// Groups of fields of a report: one about the message, one for each recipient. Our mail that
/// comes back has one recipient.
const GROUPS_MAX: usize = 33;
/// Fields of a group.
const FIELDS_MAX: usize = 64;
/// Octets of a field's value that are read.
const VALUE_BYTES_MAX: usize = 2_000;
/// Octets of a report's fields that are read.
const REPORT_BYTES_MAX: usize = 64 << 10;

/// Reads mail that came back to addresses of ours.
#[derive(Debug, Clone, Copy, Default)]
pub struct MailReader;

impl ReturnReader for MailReader {
    fn read(&self, message: &[u8]) -> ReturnedMail {
        // The parser asserts things of its own that strangers' mail can break; one mail must not
        // take its connection with it, unanswered.
        catch_unwind(|| read(message))
            .unwrap_or_else(|_| ReturnedMail::Unreadable(beginning("no MIME", message)))
    }
}

fn read(message: &[u8]) -> ReturnedMail {
    let Some(parsed) = MessageParser::default().parse(message) else {
        return ReturnedMail::Unreadable("no message".to_owned());
    };
    let unreadable = |why: &str| ReturnedMail::Unreadable(beginning(why, message));
    if let Some(part) = part(&parsed, "message", &["feedback-report"]) {
        let returned = header_of_returned(&parsed);
        return match arf_rfc5965::read(&fields(part.contents()), &returned) {
            Some(report) => ReturnedMail::Report(vec![report]),
            None => ReturnedMail::Automatic,
        };
    }
    let status = ["delivery-status", "global-delivery-status"];
    if let Some(part) = part(&parsed, "message", &status) {
        let reports = dsn_rfc3464::read(&groups(part.contents()));
        return match reports.is_empty() {
            true => unreadable("a delivery status without a recipient's action"),
            false => ReturnedMail::Report(reports),
        };
    }
    let reports = legacy_bounce::read(&parsed);
    if !reports.is_empty() {
        return ReturnedMail::Report(reports);
    }
    if is_of_mail_system(&parsed) {
        return unreadable("a mail system wrote it, in no form that is known");
    }
    if is_automatic(&parsed) {
        return ReturnedMail::Automatic;
    }
    ReturnedMail::Written(beginning("somebody wrote it", message))
}

/// The first part of this type.
fn part<'a>(
    message: &'a Message<'_>,
    kind: &str,
    subkinds: &[&str],
) -> Option<&'a MessagePart<'a>> {
    message.parts.iter().take(PARTS_MAX).find(|part| {
        part.content_type().is_some_and(|content_type| {
            let subkind = content_type.subtype().unwrap_or_default();
            content_type.ctype().eq_ignore_ascii_case(kind)
                && subkinds.iter().any(|own| own.eq_ignore_ascii_case(subkind))
        })
    })
}

/// The header of the mail that a report returns, whole or its header alone; empty if it returns none.
fn header_of_returned(message: &Message<'_>) -> Fields {
    let whole = part(message, "message", &["rfc822", "global"]);
    let returned = whole.or_else(|| part(message, "text", &["rfc822-headers"]));
    let mut groups = returned.map_or_else(Vec::new, |part| groups(part.contents()));
    match groups.is_empty() {
        true => Fields::default(),
        false => groups.swap_remove(0),
    }
}

/// Why a mail cannot be read, and how it begins, for people who look it up.
fn beginning(why: &str, message: &[u8]) -> String {
    let start = &message[..message.len().min(UNREADABLE_BYTES_MAX)];
    let text = format!("{why}: {}", String::from_utf8_lossy(start));
    bounded(&text, UNREADABLE_BYTES_MAX)
}

/// Whether a mail system, not a mailbox, wrote it: what it says is about delivery, whatever its
/// form.
fn is_of_mail_system(message: &Message<'_>) -> bool {
    let from = message
        .from()
        .and_then(|from| from.first()?.address.as_deref());
    let local = from
        .and_then(|from| from.split('@').next())
        .unwrap_or_default();
    let is_system = ["mailer-daemon", "postmaster"]
        .iter()
        .any(|own| own.eq_ignore_ascii_case(local));
    let is_report = message.content_type().is_some_and(|content_type| {
        let subkind = content_type.subtype().unwrap_or_default();
        content_type.ctype().eq_ignore_ascii_case("multipart")
            && subkind.eq_ignore_ascii_case("report")
            && content_type
                .attribute("report-type")
                .is_some_and(|own| own.eq_ignore_ascii_case("delivery-status"))
    });
    is_system || is_report
}

/// Whether a program answered (RFC 3834 5), by the fields that programs are known to set.
fn is_automatic(message: &Message<'_>) -> bool {
    let value = |name: &'static str| message.header_raw(name).map(str::trim);
    let submitted = value("Auto-Submitted").unwrap_or("no");
    let first = submitted.split([';', ' ', '(']).next().unwrap_or_default();
    let precedence = value("Precedence").unwrap_or_default();
    let is_bulk = ["bulk", "junk", "list", "auto_reply"]
        .iter()
        .any(|own| own.eq_ignore_ascii_case(precedence));
    let marks = [
        "X-Autoreply",
        "X-Autorespond",
        "X-Autoresponder",
        "X-Auto-Reply",
        "List-Id",
    ];
    let is_receipt = part(message, "message", &["disposition-notification"]).is_some();
    !first.eq_ignore_ascii_case("no")
        || is_bulk
        || is_receipt
        || value("Return-Path").is_some_and(|path| path == "<>")
        || marks.iter().any(|name| value(name).is_some())
}

/// Fields of one group, unfolded, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields {
    fields: Vec<(String, String)>,
    /// The octets that they were read from.
    pub(super) raw: Bytes,
}

impl Fields {
    /// The first value of this name that is not empty.
    pub(super) fn get(&self, name: &'static str) -> Option<&str> {
        self.all(name).find(|value| !value.is_empty())
    }

    /// Every value of this name.
    pub(super) fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        let named = self
            .fields
            .iter()
            .filter(move |(own, _)| own.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }
}

/// Groups of fields with empty lines between them (RFC 3464 2.1). What is no field is passed over.
pub(super) fn groups(octets: &[u8]) -> Vec<Fields> {
    let text = String::from_utf8_lossy(&octets[..octets.len().min(REPORT_BYTES_MAX)]);
    let mut groups = Vec::new();
    let mut lines: Vec<&str> = Vec::new();
    for line in text
        .lines()
        .map(|line| line.trim_end_matches('\r'))
        .chain([""])
    {
        if groups.len() >= GROUPS_MAX {
            break;
        }
        if !line.trim().is_empty() {
            lines.push(line);
            continue;
        }
        let group = group(&lines);
        lines.clear();
        if !group.fields.is_empty() {
            groups.push(group);
        }
    }
    groups
}

/// All fields as one group, whatever stands between them.
pub(super) fn fields(octets: &[u8]) -> Fields {
    let text = String::from_utf8_lossy(&octets[..octets.len().min(REPORT_BYTES_MAX)]);
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.trim_end_matches('\r'))
        .collect();
    group(&lines)
}

fn group(lines: &[&str]) -> Fields {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in lines {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
                value.truncate(value.floor_char_boundary(VALUE_BYTES_MAX));
            }
            continue;
        }
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if fields.len() >= FIELDS_MAX {
            break;
        }
        let value = value.trim();
        let value = &value[..value.floor_char_boundary(VALUE_BYTES_MAX)];
        fields.push((name.trim().to_owned(), value.to_owned()));
    }
    Fields {
        fields,
        raw: raw_event(lines.join("\n").as_bytes()),
    }
}

/// The address of a typed field such as `rfc822; ana@one.example` (RFC 3464 2.1.2), or of a bare
/// one; `None` for other types and for what is no address.
pub(super) fn typed_address(value: &str) -> Option<EmailAddress> {
    let text = match value.split_once(';') {
        Some((kind, text))
            if ["rfc822", "utf-8"]
                .iter()
                .any(|own| own.eq_ignore_ascii_case(kind.trim())) =>
        {
            text
        }
        Some(_) => return None,
        None => value,
    };
    let text = text.trim().trim_start_matches('<').trim_end_matches('>');
    EmailAddress::parse(text).ok()
}
