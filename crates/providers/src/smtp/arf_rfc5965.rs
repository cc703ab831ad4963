//! Abuse reports (RFC 5965): what a mailbox provider says that a recipient said.

use malote_core::event::EventKind;
use malote_core::provider::{REPLY_TEXT_BYTES_MAX, bounded};
use malote_core::returned::Report;

use super::returned::{Fields, typed_address};

/// Longest word of a type that we do not know.
const TYPE_BYTES_MAX: usize = 32;

/// Reads the fields of a message/feedback-report part; `None` where it asks for nothing: the
/// recipient took the mail out of the spam folder.
pub(super) fn read(fields: &Fields) -> Option<Report> {
    let word = fields
        .get("Feedback-Type")
        .unwrap_or("abuse")
        .trim()
        .to_ascii_lowercase();
    let kind = match word.as_str() {
        "abuse" | "fraud" | "virus" => EventKind::Complained,
        "not-spam" => return None,
        // RFC 6591: about our authentication, by no recipient's wish.
        "auth-failure" => EventKind::Other("auth_failure".to_owned()),
        other => EventKind::Other(format!("feedback_{}", plain(other))),
    };
    let agent = fields.get("User-Agent").unwrap_or("a feedback loop");
    Some(Report {
        kind,
        blame: None,
        recipients: fields
            .all("Original-Rcpt-To")
            .filter_map(typed_address)
            .collect(),
        detail: bounded(&format!("{word} reported by {agent}"), REPLY_TEXT_BYTES_MAX),
        raw: fields.raw.clone(),
    })
}

fn plain(word: &str) -> String {
    let letters = word
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    letters.take(TYPE_BYTES_MAX).collect()
}
