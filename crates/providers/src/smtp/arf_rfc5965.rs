//! Abuse reports (RFC 5965): what a mailbox provider says that a recipient said.

use malote_core::address::EmailAddress;
use malote_core::event::EventKind;
use malote_core::provider::{REPLY_TEXT_BYTES_MAX, bounded};
use malote_core::returned::Report;

use super::returned::{Fields, typed_address};

/// Addresses of a report that may be ours.
const NAMED_MAX: usize = 16;
/// Longest word of a type that we do not know.
const TYPE_BYTES_MAX: usize = 32;

/// Reads the fields of a message/feedback-report part, and the header of the mail complained of,
/// empty where it is not returned; `None` where it asks for nothing: the recipient took the mail out
/// of the spam folder.
pub(super) fn read(fields: &Fields, returned: &Fields) -> Option<Report> {
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
        named: named(fields, returned),
        detail: bounded(&format!("{word} reported by {agent}"), REPLY_TEXT_BYTES_MAX),
        raw: fields.raw.clone(),
    })
}

/// Where an address of ours may stand: MAIL FROM, as the report tells it or as the last server wrote
/// it down (RFC 5321 4.4), and the address of List-Unsubscribe.
fn named(fields: &Fields, returned: &Fields) -> Vec<EmailAddress> {
    let senders = fields.all("Original-Mail-From");
    let senders = senders.chain(returned.all("Return-Path"));
    let mailtos = returned.all("List-Unsubscribe").flat_map(|value| {
        let mailtos = value.split("mailto:").skip(1);
        mailtos.filter_map(|rest| rest.split(['>', '?', ',', ' ']).next())
    });
    let named = senders.chain(mailtos).filter_map(typed_address);
    named.take(NAMED_MAX).collect()
}

fn plain(word: &str) -> String {
    let letters = word
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    letters.take(TYPE_BYTES_MAX).collect()
}
