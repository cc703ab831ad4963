//! Delivery status notifications (RFC 3464): one entry for each recipient's group of fields.

use malote_core::event::{Blame, EventKind};
use malote_core::provider::{REPLY_TEXT_BYTES_MAX, bounded};
use malote_core::returned::Report;

use super::returned::{Fields, typed_address};
use crate::bounce;

/// Reads the groups of a message/delivery-status part. The first is about the message, but old
/// servers leave it out: a group with an action or a status is one about a recipient.
pub(super) fn read(groups: &[Fields]) -> Vec<Report> {
    groups.iter().filter_map(report).collect()
}

fn report(fields: &Fields) -> Option<Report> {
    let status = fields.get("Status").and_then(status);
    let action = fields.get("Action").map(word);
    let kind = match action.as_deref() {
        Some("failed") => EventKind::Bounced,
        Some("delayed") => EventKind::Deferred,
        Some("delivered") => EventKind::Delivered,
        Some("relayed" | "expanded") => EventKind::Other(action.unwrap_or_default()),
        // Servers that write no action, or one of their own, still write the status (2.3.4).
        Some(_) | None => match status.and_then(|status| status.chars().next())? {
            '5' => EventKind::Bounced,
            '4' => EventKind::Deferred,
            '2' => EventKind::Delivered,
            _ => return None,
        },
    };
    let diagnostic = fields.get("Diagnostic-Code").unwrap_or_default();
    let text = spoken(diagnostic);
    let blame = (kind == EventKind::Bounced).then(|| {
        let refusal = bounce::Refusal {
            code: None,
            enhanced: status,
            text,
        };
        bounce::blame(refusal).unwrap_or(Blame::Unknown)
    });
    let named = ["Original-Recipient", "Final-Recipient"];
    let recipients = named
        .iter()
        .flat_map(|name| fields.all(name).filter_map(typed_address));
    let detail = match (text.is_empty(), status) {
        (true, status) => status.unwrap_or_default().to_owned(),
        (false, Some(status)) if !text.contains(status) => format!("{status} {text}"),
        (false, _) => text.to_owned(),
    };
    Some(Report {
        kind,
        blame,
        recipients: recipients.collect(),
        named: Vec::new(),
        detail: bounded(&detail, REPLY_TEXT_BYTES_MAX),
        raw: fields.raw.clone(),
    })
}

/// The first word, in lower case, without a comment behind it.
fn word(value: &str) -> String {
    let end = value
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(value.len());
    value[..end].to_ascii_lowercase()
}

/// The status code without a comment behind it (RFC 3464 2.3.4).
fn status(value: &str) -> Option<&str> {
    let code = value.split([' ', '(', '\t']).next()?;
    let is_code = code.len() <= 11
        && code.split('.').count() == 3
        && code
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    is_code.then_some(code)
}

/// The words of a Diagnostic-Code, without its type (RFC 3464 2.3.6).
fn spoken(diagnostic: &str) -> &str {
    match diagnostic.split_once(';') {
        Some((kind, text)) if !kind.trim().contains(' ') => text.trim(),
        Some(_) | None => diagnostic.trim(),
    }
}
