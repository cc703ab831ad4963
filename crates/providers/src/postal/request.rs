//! The bodies of `send/raw` (Postal's `app/controllers/legacy_api/send_controller.rb`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_parser::MessageParser;
use malote_core::provider::{Outgoing, SendError};
use serde::Serialize;

use crate::correlation::{self, Readers};
use crate::parts::refused;

/// The column that keeps it has 255 characters.
const TAG_BYTES_MAX: usize = 255;

#[derive(Serialize)]
struct Raw<'a> {
    mail_from: &'a str,
    rcpt_to: Vec<&'a str>,
    data: String,
    /// Postal puts a return path of its own in place of MAIL FROM, and `<>` if this is set.
    bounce: bool,
}

/// The body for a message whose `body` fits the service.
///
/// A tag is all that comes back with events, and Postal reads it from the last field of its name:
/// a client that is trusted with such fields keeps its own.
///
/// # Errors
/// `Rejected(MessageHere)` for a report without an author: Postal wants an address for MAIL FROM.
pub(super) fn body(outgoing: &Outgoing, message: &[u8]) -> Result<Vec<u8>, SendError> {
    let author = match &outgoing.mail_from {
        Some(_) => None,
        None => Some(author(message).ok_or_else(|| refused("From holds no address"))?),
    };
    let given = outgoing.mail_from.as_ref().map(|address| address.as_str());
    let tag = correlation::as_one(outgoing, Readers::Recipients, TAG_BYTES_MAX);
    let field = format!("X-Postal-Tag: {tag}\r\n");
    let raw = Raw {
        mail_from: given.or(author.as_deref()).unwrap_or_default(),
        rcpt_to: outgoing
            .recipients
            .iter()
            .map(|recipient| recipient.address.as_str())
            .collect(),
        data: STANDARD.encode([field.as_bytes(), message].concat()),
        bounce: outgoing.mail_from.is_none(),
    };
    serde_json::to_vec(&raw).map_err(|error| refused(&error.to_string()))
}

/// A message from this domain to nobody: Postal looks at its author and sends nothing.
pub(super) fn question(sender_domain: &str) -> Result<Vec<u8>, SendError> {
    let author = format!("postmaster@{sender_domain}");
    let raw = Raw {
        mail_from: &author,
        rcpt_to: Vec::new(),
        data: STANDARD.encode(format!("From: {author}\r\nSubject: check\r\n\r\n")),
        bounce: false,
    };
    serde_json::to_vec(&raw).map_err(|error| refused(&error.to_string()))
}

fn author(message: &[u8]) -> Option<String> {
    let parser = MessageParser::new().with_address_headers();
    let message = parser.parse_headers(message)?;
    let address = message.from()?.first()?.address()?;
    Some(address.to_owned())
}
