//! A message as the body of `email/mime` or `email/send` (OpenAPI description, API v3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_parser::MessageParser;
use malote_core::provider::{Outgoing, SendError};
use serde::Serialize;

use crate::api::rendered;
use crate::correlation::{self, Readers};
use crate::parts::{Attachment, Mailbox, Parts, as_json, lists_exactly, refused, take_apart};
use crate::reencode::{self, EightBit};

/// A request may have 50 MB (rate limiting page), and base64 makes four octets of three.
pub(super) const MESSAGE_BYTES_MAX: u64 = 37_000_000;
/// Most recipients in each of To, CC and BCC, so that any split of a call's recipients fits.
pub(super) const RECIPIENTS_MAX: u16 = 100;

/// The field that holds our ids. The service has no metadata; a webhook that is told to passes on
/// header fields of the message.
pub(super) const ID_FIELD: &str = "X-Malote-Id";
/// Longest value of that field: with its name it stays on one line.
const ID_BYTES_MAX: usize = 255;
/// Fields that the service writes itself. It does not say that it takes ours in their place, and
/// a message with two of them is broken (RFC 5322 3.6).
const OWN_FIELDS: [&str; 2] = ["date", "message-id"];

/// Which call sends a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `email/mime`: the message as it is. The call has no recipients of its own, they are read
    /// from To and Cc.
    Mime,
    /// `email/send`: fields.
    Fields,
}

impl Form {
    /// The form that reaches the recipients of the call and nobody else, raw if it can be.
    pub(super) fn of(outgoing: &Outgoing) -> Self {
        match lists_exactly(outgoing) {
            true => Self::Mime,
            false => Self::Fields,
        }
    }

    /// Its path.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Mime => "/v3/email/mime",
            Self::Fields => "/v3/email/send",
        }
    }
}

#[derive(Serialize)]
struct Mime {
    mime_email: String,
}

#[derive(Serialize)]
struct Fields<'a> {
    sender: String,
    to: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cc: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bcc: Vec<String>,
    subject: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text_body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    html_body: Option<&'a str>,
    custom_headers: Vec<Header<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<File<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    inlines: Vec<File<'a>>,
}

#[derive(Serialize)]
struct Header<'a> {
    header: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
struct File<'a> {
    filename: String,
    fileblob: String,
    mimetype: &'a str,
}

/// The body of the call that sends this message in this form.
///
/// # Errors
/// `Rejected(MessageHere)` for what the form cannot say; `Ungroup` for several recipients of whom
/// the message shows none.
pub(super) async fn body(outgoing: &Outgoing, form: Form) -> Result<Vec<u8>, SendError> {
    match form {
        Form::Mime => {
            // What is not UTF-8 must leave as ASCII: nothing says that other octets get through.
            let eight_bit = match std::str::from_utf8(&outgoing.body) {
                Ok(_) => EightBit::Allowed,
                Err(_) => EightBit::Forbidden,
            };
            let message = reencode::fit(&outgoing.body, eight_bit, MESSAGE_BYTES_MAX).await?;
            rendered(outgoing, move |outgoing| mime(outgoing, &message)).await
        }
        Form::Fields => {
            let parts = take_apart(outgoing).await?;
            rendered(outgoing, move |outgoing| fields(outgoing, &parts)).await
        }
    }
}

/// The recipients can read it, so it names one only to that one.
fn id(outgoing: &Outgoing) -> String {
    correlation::as_one(outgoing, Readers::Recipients, ID_BYTES_MAX)
}

fn mime(outgoing: &Outgoing, message: &[u8]) -> Result<Vec<u8>, SendError> {
    let field = format!("{ID_FIELD}: {}\r\n", id(outgoing));
    let mime_email = STANDARD.encode([field.as_bytes(), message].concat());
    as_json(&Mime { mime_email }, outgoing)
}

fn fields(outgoing: &Outgoing, parts: &Parts) -> Result<Vec<u8>, SendError> {
    let id = id(outgoing);
    let reply_to = reply_to(outgoing, parts)?;
    let mut custom_headers = Vec::new();
    if let Some(value) = &reply_to {
        let header = "Reply-To";
        custom_headers.push(Header { header, value });
    }
    for (header, value) in &parts.headers {
        if OWN_FIELDS
            .iter()
            .any(|own| header.eq_ignore_ascii_case(own))
        {
            continue;
        }
        if !value.is_ascii() {
            let what = format!("the field {header} is not ASCII, which nobody would encode");
            return Err(refused(&what));
        }
        custom_headers.push(Header { header, value });
    }
    custom_headers.push(Header {
        header: ID_FIELD,
        value: &id,
    });
    let (inlines, attachments): (Vec<_>, Vec<_>) = parts
        .attachments
        .iter()
        .enumerate()
        .partition(|(_, attachment)| shown_as(parts, attachment).is_some());
    let document = Fields {
        sender: parts.from.shown(),
        to: shown(&parts.to),
        cc: shown(&parts.cc),
        bcc: shown(&parts.bcc),
        subject: &parts.subject,
        text_body: parts.text.as_deref(),
        html_body: parts.html.as_deref(),
        custom_headers,
        attachments: attachments
            .into_iter()
            .map(|one| file(parts, one))
            .collect(),
        inlines: inlines.into_iter().map(|one| file(parts, one)).collect(),
    };
    as_json(&document, outgoing)
}

/// Reply-To as the message has it, its names encoded: as a custom field nobody would encode them.
fn reply_to(outgoing: &Outgoing, parts: &Parts) -> Result<Option<String>, SendError> {
    if parts.reply_to.is_empty() {
        return Ok(None);
    }
    let parser = MessageParser::new().default_header_raw();
    let message = parser.parse_headers(&outgoing.body[..]);
    let raw = message.as_ref().and_then(|m| m.header_raw("Reply-To"));
    let value: String = raw.unwrap_or_default().split(['\r', '\n']).collect();
    match value.trim() {
        "" => Ok(None),
        value if value.is_ascii() => Ok(Some(value.to_owned())),
        _ => Err(refused("Reply-To is not ASCII, which nobody would encode")),
    }
}

fn shown(mailboxes: &[Mailbox]) -> Vec<String> {
    mailboxes.iter().map(Mailbox::shown).collect()
}

/// What the HTML says behind `cid:` where it shows this part, whatever the part says of itself: some
/// clients call such a part an attachment.
fn shown_as<'a>(parts: &Parts, attachment: &'a Attachment) -> Option<&'a str> {
    let id = attachment
        .content_id
        .as_deref()
        .filter(|id| !id.is_empty())?;
    let html = parts.html.as_deref().unwrap_or_default();
    let is_shown = attachment.is_inline || html.contains(&format!("cid:{id}"));
    is_shown.then_some(id)
}

/// An inline part is found by its file name, which must be what the HTML says.
fn file<'a>(parts: &Parts, (place, attachment): (usize, &'a Attachment)) -> File<'a> {
    let shown_as = shown_as(parts, attachment).map(str::to_owned);
    File {
        filename: shown_as.unwrap_or_else(|| attachment.name(place + 1)),
        fileblob: STANDARD.encode(&attachment.content),
        mimetype: &attachment.content_type,
    }
}
