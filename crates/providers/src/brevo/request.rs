//! The JSON of a transactional email, or why it cannot be one.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use malote_core::provider::{Outgoing, SendError, bounded};
use serde::Serialize;

use crate::correlation::{Readers, as_one};
use crate::parts::{Attachment, Mailbox, Parts, as_json, refused};

/// Longest name beside an address, in characters (Send a transactional email, `name`).
const NAME_CHARS_MAX: usize = 70;
/// Most tags that are passed on; the service states no bound.
const TAGS_MAX: usize = 10;
/// Longest tag that is passed on.
const TAG_BYTES_MAX: usize = 128;
/// Longest value of our ids; it becomes a header field of the message.
const IDS_BYTES_MAX: usize = 900;
/// Fields that the service writes itself: it takes "not the standard headers".
const OWN_FIELDS: [&str; 4] = ["date", "message-id", "sender", "x-mailin-custom"];

/// What a file may be, by the end of its name (Send a transactional email, `attachment`).
#[rustfmt::skip]
const EXTENSIONS: [&str; 53] = [
    "xlsx", "xls", "ods", "docx", "docm", "doc", "csv", "pdf", "txt", "gif", "jpg", "jpeg", "png",
    "tif", "tiff", "rtf", "bmp", "cgm", "css", "shtml", "html", "htm", "zip", "xml", "ppt", "pptx",
    "tar", "ez", "ics", "mobi", "msg", "pub", "eps", "odt", "mp3", "m4a", "m4v", "wma", "ogg",
    "flac", "wav", "aif", "aifc", "aiff", "mp4", "mov", "avi", "mkv", "mpeg", "mpg", "wmv",
    "pkpass", "xlsm",
];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Email<'a> {
    sender: Person<'a>,
    to: Vec<Person<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cc: Vec<Person<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bcc: Vec<Person<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<Person<'a>>,
    subject: &'a str,
    html_content: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text_content: Option<&'a str>,
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachment: Vec<File<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
}

#[derive(Serialize)]
struct Person<'a> {
    email: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

#[derive(Serialize)]
struct File<'a> {
    name: &'a str,
    content: String,
}

/// The JSON.
///
/// # Errors
/// `Rejected(MessageHere)` if the service cannot say what the message says.
pub(super) fn json(outgoing: &Outgoing, parts: &Parts) -> Result<Vec<u8>, SendError> {
    if parts.subject.is_empty() {
        return Err(refused("it has no subject, which the service demands"));
    }
    if parts.reply_to.len() > 1 {
        return Err(refused("Reply-To holds more than one address"));
    }
    let texts = [
        Some(&parts.subject),
        parts.text.as_ref(),
        parts.html.as_ref(),
    ];
    if texts.into_iter().flatten().any(|text| has_template(text)) {
        return Err(refused("it holds {{ or {%, which the service may replace"));
    }
    let (to, cc, bcc) = (people(&parts.to)?, people(&parts.cc)?, people(&parts.bcc)?);
    let reply_to = parts.reply_to.first();
    let files = parts.attachments.iter().map(file);
    let tags = outgoing.tags.iter().map(|tag| bounded(tag, TAG_BYTES_MAX));
    let email = Email {
        sender: person(&parts.from, Encode::Never)?,
        to,
        cc,
        bcc,
        reply_to: reply_to
            .map(|shown| person(shown, Encode::Refuse))
            .transpose()?,
        subject: &parts.subject,
        html_content: html(parts),
        text_content: parts.text.as_deref(),
        headers: headers(outgoing, parts)?,
        attachment: files.collect::<Result<_, _>>()?,
        tags: tags
            .map(|tag| tag.trim().to_owned())
            .filter(|tag| !tag.is_empty())
            .take(TAGS_MAX)
            .collect(),
    };
    as_json(&email, outgoing)
}

fn people(list: &[Mailbox]) -> Result<Vec<Person<'_>>, SendError> {
    let people = list.iter().map(|shown| person(shown, Encode::Hard));
    people.collect()
}

/// The service demands HTML (`htmlContent`). Mail that has only text gets the same words as HTML
/// beside it; refusing it would keep most plain mail from this service.
fn html(parts: &Parts) -> Cow<'_, str> {
    if let Some(html) = &parts.html {
        return Cow::Borrowed(html);
    }
    let text = parts.text.as_deref().unwrap_or_default();
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
    let style = "white-space: pre-wrap; font-family: inherit";
    Cow::Owned(format!("<pre style=\"{style}\">{escaped}</pre>"))
}

/// The service fills these in ("dynamic content") even where no template is named.
fn has_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

/// What is done with a name that the service would garble: one that is not ASCII and has what
/// must stand in quotation marks (django-anymail, Brevo, "Limitations and quirks").
#[derive(Clone, Copy)]
enum Encode {
    /// Nothing: this place is not affected.
    Never,
    /// It is passed as an encoded word.
    Hard,
    /// Neither way is good.
    Refuse,
}

fn person(shown: &Mailbox, encode: Encode) -> Result<Person<'_>, SendError> {
    let too_long = || refused("a name beside an address has more than 70 characters");
    let Some(name) = &shown.name else {
        return Ok(Person {
            email: &shown.email,
            name: None,
        });
    };
    if name.chars().count() > NAME_CHARS_MAX {
        return Err(too_long());
    }
    let is_garbled = !name.is_ascii() && name.contains(|c| "()<>[]:;@\\,.\"".contains(c));
    let name = match encode {
        Encode::Hard if is_garbled => {
            // RFC 2047 2.
            let word = format!("=?utf-8?B?{}?=", STANDARD.encode(name));
            if word.len() > NAME_CHARS_MAX {
                return Err(too_long());
            }
            word
        }
        Encode::Refuse if is_garbled => {
            return Err(refused("the service garbles the name in Reply-To"));
        }
        Encode::Never | Encode::Hard | Encode::Refuse => name.clone(),
    };
    Ok(Person {
        email: &shown.email,
        name: Some(name),
    })
}

/// The other fields, and our ids in the one that comes back with events. It stays in the message,
/// so it names a recipient only to that recipient.
fn headers(outgoing: &Outgoing, parts: &Parts) -> Result<BTreeMap<String, String>, SendError> {
    let mut headers = parts.header_map(&OWN_FIELDS)?;
    if let Some((name, _)) = headers.iter().find(|(_, value)| !value.is_ascii()) {
        let what = format!("the field {name} is not ASCII, and the service would not encode it");
        return Err(refused(&what));
    }
    // These two are orders to the service and no fields.
    headers.retain(|name, _| !is_order(name));
    let ids = as_one(outgoing, Readers::Recipients, IDS_BYTES_MAX);
    headers.insert("X-Mailin-custom".to_owned(), ids);
    Ok(headers)
}

fn is_order(name: &str) -> bool {
    let orders = ["sender.ip", "idempotencykey", "idempotency-key"];
    orders.contains(&name.to_ascii_lowercase().as_str())
}

fn file(attachment: &Attachment) -> Result<File<'_>, SendError> {
    if attachment.is_inline {
        return Err(refused(
            "it shows an image in its text, and the service has no such thing",
        ));
    }
    let Some(name) = attachment
        .filename
        .as_deref()
        .filter(|name| !name.is_empty())
    else {
        return Err(refused("an attachment has no name"));
    };
    if !name.is_ascii() {
        return Err(refused(
            "an attachment's name is not ASCII, and the service garbles it",
        ));
    }
    let extension = name
        .rsplit_once('.')
        .map(|(_, end)| end.to_ascii_lowercase());
    let is_taken = extension.is_some_and(|end| EXTENSIONS.contains(&end.as_str()));
    if !is_taken {
        return Err(refused(
            "the service does not take attachments of this name's ending",
        ));
    }
    if attachment.content.is_empty() {
        return Err(refused("an attachment is empty"));
    }
    Ok(File {
        name,
        content: STANDARD.encode(&attachment.content),
    })
}
