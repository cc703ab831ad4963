//! A message as the JSON of `POST /emails` (the service's OpenAPI description).

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use malote_core::provider::{Outgoing, SendError};
use serde::Serialize;

use crate::correlation;
use crate::parts::{Attachment, Mailbox, Parts, as_json, parts, refused};

/// "max 40MB per email, after Base64 encoding of the attachments"; the rest of the request is
/// counted with them.
pub(super) const REQUEST_BYTES_MAX: usize = 40_000_000;
/// Longest name and value of a tag, of ASCII letters, digits, `_` and `-` only.
const TAG_BYTES_MAX: usize = 256;
/// Most tags of one message. The service states no bound; ours take five at most.
const TAGS_MAX: usize = 50;
/// What the service reads as instructions by SMTP; here a field of the request takes its place.
const RESERVED_HEADERS: [&str; 1] = ["resend-idempotency-key"];

#[derive(Serialize)]
struct Email<'a> {
    from: String,
    to: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cc: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bcc: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reply_to: Vec<String>,
    subject: &'a str,
    /// Always there: where it is missing, the service makes a text from the HTML.
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    html: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<File<'a>>,
    tags: Vec<Tag>,
}

#[derive(Serialize)]
struct File<'a> {
    content: String,
    filename: String,
    content_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Tag {
    name: String,
    value: String,
}

/// The call's body.
///
/// # Errors
/// `Rejected(MessageHere)` if fields cannot say what the message says or a rule of this service
/// stands against it; `Ungroup` if hidden recipients would see each other.
pub(super) fn body(outgoing: &Outgoing) -> Result<Vec<u8>, SendError> {
    let parts = parts(&outgoing.body, &outgoing.recipients)?;
    let email = email(&parts, outgoing)?;
    let body = as_json(&email, outgoing)?;
    if body.len() > REQUEST_BYTES_MAX {
        let bytes = body.len();
        let what = format!("the request has {bytes} octets, the service takes {REQUEST_BYTES_MAX}");
        return Err(refused(&what));
    }
    Ok(body)
}

fn email<'a>(parts: &'a Parts, outgoing: &Outgoing) -> Result<Email<'a>, SendError> {
    if parts.subject.is_empty() {
        return Err(refused("the service takes no message without a subject"));
    }
    let is_text = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if !is_text(&parts.text) && !is_text(&parts.html) {
        return Err(refused("the service takes no message without a text"));
    }
    let recipients = |list| <[Mailbox]>::iter(list).map(recipient).collect();
    let files = parts.attachments.iter().enumerate();
    Ok(Email {
        from: author(&parts.from)?,
        to: recipients(&parts.to),
        cc: recipients(&parts.cc),
        bcc: recipients(&parts.bcc),
        reply_to: recipients(&parts.reply_to),
        subject: &parts.subject,
        text: parts.text.as_deref().unwrap_or_default(),
        html: parts.html.as_deref(),
        headers: parts.header_map(&RESERVED_HEADERS)?,
        attachments: files.map(|(n, attached)| file(attached, n + 1)).collect(),
        tags: tags(outgoing),
    })
}

/// The author as the service wants it: the name as it is, without quotes, which it does not
/// understand, and without encoded words, which it takes for an attack in this place (security
/// error 451). Names that would need either are refused.
fn author(from: &Mailbox) -> Result<String, SendError> {
    let Some(name) = &from.name else {
        return Ok(from.email.clone());
    };
    if name.contains(['<', '>', '"', ',', ';']) || name.contains("=?") {
        return Err(refused("the service does not take the author's name"));
    }
    Ok(format!("{name} <{}>", from.email))
}

/// Somebody else than the author: a name that RFC 5322 would have in quotes goes as an encoded
/// word.
fn recipient(mailbox: &Mailbox) -> String {
    let Some(name) = &mailbox.name else {
        return mailbox.email.clone();
    };
    let is_plain = |c: char| c.is_alphanumeric() || " .'-_".contains(c);
    if name.chars().all(is_plain) {
        return format!("{name} <{}>", mailbox.email);
    }
    format!("{} <{}>", encoded_words(name), mailbox.email)
}

/// RFC 2047 2: words of 75 octets at most, each of whole characters.
fn encoded_words(text: &str) -> String {
    /// 75 less the frame of 12, in base64.
    const OCTETS_MAX: usize = 45;
    let mut words = vec![String::new()];
    for c in text.chars() {
        let is_full = words
            .last()
            .is_some_and(|w| w.len() + c.len_utf8() > OCTETS_MAX);
        if is_full {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    let encoded = words
        .iter()
        .map(|word| format!("=?utf-8?b?{}?=", STANDARD.encode(word)));
    encoded.collect::<Vec<_>>().join(" ")
}

/// The Content-ID of an attachment that is not inline goes along too: HTML may show it, wherever
/// in the message it stood.
fn file(attachment: &Attachment, position: usize) -> File<'_> {
    File {
        content: STANDARD.encode(&attachment.content),
        filename: attachment.name(position),
        content_type: &attachment.content_type,
        content_id: attachment.content_id.as_deref(),
    }
}

/// Our ids, then the client's tags and metadata as far as they fit.
fn tags(outgoing: &Outgoing) -> Vec<Tag> {
    let mut tags = BTreeMap::new();
    let recipients = correlation::recipients(outgoing, TAG_BYTES_MAX);
    for (n, value) in recipients.into_iter().enumerate() {
        tags.insert(format!("{}-{n}", correlation::RECIPIENTS), value);
    }
    tags.insert(correlation::MESSAGE.to_owned(), outgoing.message.simple());
    let named = outgoing.tags.iter().enumerate();
    let named = named.map(|(n, tag)| (format!("tag-{n}"), tag.as_str()));
    let metadata = outgoing.metadata.iter();
    let metadata = metadata.map(|(name, value)| (word(name), value.as_str()));
    for (name, value) in named.chain(metadata) {
        let value = word(value);
        let is_ours = name.starts_with("malote-");
        if tags.len() < TAGS_MAX && !is_ours && !name.is_empty() && !value.is_empty() {
            tags.entry(name).or_insert(value);
        }
    }
    let tags = tags.into_iter().map(|(name, value)| Tag { name, value });
    tags.collect()
}

fn word(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let chars = text.trim().chars().take(TAG_BYTES_MAX);
    chars.map(|c| if allowed(c) { c } else { '_' }).collect()
}
