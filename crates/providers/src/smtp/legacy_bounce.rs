//! Bounces of servers that write no delivery status: qmail's (QSBMF) and old Exim's. Other texts
//! are not guessed at: an address in them may stand there for any reason.

use mail_parser::{Message, PartType};
use malote_core::address::EmailAddress;
use malote_core::event::{Blame, EventKind, raw_event};
use malote_core::provider::{REPLY_TEXT_BYTES_MAX, bounded};
use malote_core::returned::Report;

use crate::bounce;

/// Octets of the text that are read.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// Recipients of one bounce that are read.
const RECIPIENTS_MAX: usize = 32;

/// What the message says of each recipient; empty if it is in neither form.
pub(super) fn read(message: &Message<'_>) -> Vec<Report> {
    let text = match message.root_part().body {
        PartType::Text(ref text) => &text[..text.floor_char_boundary(TEXT_BYTES_MAX)],
        PartType::Html(_)
        | PartType::Binary(_)
        | PartType::InlineBinary(_)
        | PartType::Message(_)
        | PartType::Multipart(_) => return Vec::new(),
    };
    match message.header_raw("X-Failed-Recipients") {
        Some(failed) => exim(failed, text),
        None if text.trim_start().starts_with("Hi. This is the ") => qmail(text),
        None => Vec::new(),
    }
}

/// Exim names the recipients in a field, and in the text with the reason indented behind each.
fn exim(failed: &str, text: &str) -> Vec<Report> {
    let addresses = failed.split(',').take(RECIPIENTS_MAX);
    let addresses = addresses.filter_map(|address| EmailAddress::parse(address.trim()).ok());
    let reason = |address: &EmailAddress| {
        let behind = text
            .split_once(&format!("  {address}"))
            .map_or("", |(_, behind)| behind);
        let lines = behind
            .lines()
            .skip(1)
            .take_while(|line| line.starts_with("    "));
        lines.map(str::trim).collect::<Vec<_>>().join(" ")
    };
    addresses
        .map(|address| {
            let reason = reason(&address);
            report(address, &reason)
        })
        .collect()
}

/// qmail: paragraphs that begin with `<address>:`, up to one that begins with `-`.
fn qmail(text: &str) -> Vec<Report> {
    let text = text.replace("\r\n", "\n");
    let paragraphs = text.split("\n\n").skip(1).map(str::trim);
    let ours = paragraphs.take_while(|paragraph| !paragraph.starts_with('-'));
    let failure = |paragraph: &str| {
        let (address, reason) = paragraph.strip_prefix('<')?.split_once(">:")?;
        let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        Some(report(EmailAddress::parse(address).ok()?, &reason))
    };
    ours.filter_map(failure).take(RECIPIENTS_MAX).collect()
}

fn report(recipient: EmailAddress, reason: &str) -> Report {
    let refusal = bounce::Refusal {
        code: None,
        enhanced: None,
        text: reason,
    };
    Report {
        kind: EventKind::Bounced,
        blame: Some(bounce::blame(refusal).unwrap_or(Blame::Unknown)),
        recipients: vec![recipient],
        named: Vec::new(),
        detail: bounded(reason, REPLY_TEXT_BYTES_MAX),
        raw: raw_event(reason.as_bytes()),
    }
}
