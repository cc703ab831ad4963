//! The body of `POST /email`.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use malote_core::address::EmailAddress;
use malote_core::provider::{Outgoing, Reply, SendError, Verdict};
use serde::Serialize;

use crate::correlation;
use crate::parts::{Attachment, Mailbox, Parts, as_json, refused, take_apart};

/// Longest call: 10 MB (support article 1056, "Email size limits").
const CALL_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Longest text and longest HTML (the same article).
const BODY_BYTES_MAX: usize = 5 * 1024 * 1024;
/// Longest tag (developer documentation, "Email API").
const TAG_CHARS_MAX: usize = 1000;
/// Most metadata fields, longest name and longest value (support article 1125, "Custom metadata").
const METADATA_MAX: usize = 10;
const METADATA_NAME_CHARS_MAX: usize = 20;
const METADATA_VALUE_CHARS_MAX: usize = 80;
/// Header fields that the service writes itself.
const OWN_HEADERS: [&str; 2] = ["date", "sender"];

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Email<'a> {
    from: String,
    to: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    cc: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    bcc: String,
    subject: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    html_body: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    text_body: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    reply_to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<Header<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<File<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_stream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    track_opens: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    track_links: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Header<'a> {
    name: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct File<'a> {
    name: String,
    content: String,
    content_type: &'a str,
    #[serde(rename = "ContentID", skip_serializing_if = "Option::is_none")]
    content_id: Option<String>,
}

/// The call's body for a message that goes through this message stream.
///
/// # Errors
/// If the service cannot take the message, or not for all its recipients at once.
pub(crate) async fn body(outgoing: &Outgoing, stream: Option<&str>) -> Result<Vec<u8>, SendError> {
    check_recipients(outgoing)?;
    let parts = take_apart(outgoing).await?;
    let email = email(outgoing, &parts, stream)?;
    let body = as_json(&email, outgoing)?;
    if body.len() > CALL_BYTES_MAX {
        let what = format!(
            "the message has {} octets once encoded, {CALL_BYTES_MAX} are allowed",
            body.len()
        );
        return Err(refused(&what));
    }
    Ok(body)
}

/// Support article 1180 gives the form of local part that the service takes, which is narrower
/// than RFC 5321's. Its refusal would look like a recipient that does not exist.
fn check_recipients(outgoing: &Outgoing) -> Result<(), SendError> {
    let is_taken = |address: &EmailAddress| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b".!#$%&'`*+-/=^_{}|~".contains(&b);
        address.local_part().bytes().all(allowed)
    };
    if outgoing.recipients.iter().all(|r| is_taken(&r.address)) {
        return Ok(());
    }
    let what = "Postmark takes no recipient whose local part is quoted or holds '?'";
    if outgoing.recipients.len() > 1 {
        return Err(SendError::new(Verdict::Ungroup, Reply::none(what)));
    }
    Err(refused(what))
}

fn email<'a>(
    outgoing: &Outgoing,
    parts: &'a Parts,
    stream: Option<&'a str>,
) -> Result<Email<'a>, SendError> {
    let text = parts.text.as_deref().unwrap_or_default();
    let html = parts.html.as_deref().unwrap_or_default();
    if text.is_empty() && html.is_empty() {
        return Err(refused("it has no text, and Postmark wants one"));
    }
    for (body, what) in [(text, "text"), (html, "HTML")] {
        if body.len() > BODY_BYTES_MAX {
            return Err(refused(&format!("its {what} is longer than 5 MB")));
        }
    }
    let tag = outgoing.tags.iter().find_map(|tag| tag_value(tag));
    Ok(Email {
        from: parts.from.shown(),
        to: list(&parts.to),
        cc: list(&parts.cc),
        bcc: list(&parts.bcc),
        subject: &parts.subject,
        html_body: html,
        text_body: text,
        reply_to: list(&parts.reply_to),
        tag,
        metadata: metadata(outgoing),
        headers: headers(parts),
        attachments: (1..).zip(&parts.attachments).map(file).collect(),
        message_stream: stream,
        track_opens: outgoing.tracking.opens,
        track_links: outgoing.tracking.clicks.map(track_links),
    })
}

/// The value of `TrackLinks`.
pub(crate) const fn track_links(clicks: bool) -> &'static str {
    if clicks { "HtmlAndText" } else { "None" }
}

fn list(mailboxes: &[Mailbox]) -> String {
    let shown: Vec<String> = mailboxes.iter().map(Mailbox::shown).collect();
    shown.join(", ")
}

/// The other fields. The service puts its own Message-ID in place of ours unless `X-PM-KeepID`
/// asks it not to.
fn headers(parts: &Parts) -> Vec<Header<'_>> {
    let is_own = |name: &str| OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name));
    let fields = parts.headers.iter().filter(|(name, _)| !is_own(name));
    let mut headers: Vec<Header<'_>> = fields.map(|(name, value)| Header { name, value }).collect();
    if parts.header("Message-ID").is_some() && parts.header("X-PM-KeepID").is_none() {
        headers.push(Header {
            name: "X-PM-KeepID",
            value: "true",
        });
    }
    headers
}

fn file((place, attachment): (usize, &Attachment)) -> File<'_> {
    let content_id = attachment.content_id.as_ref();
    let content_id = content_id.filter(|_| attachment.is_inline);
    File {
        name: attachment.name(place),
        content: STANDARD.encode(&attachment.content),
        content_type: &attachment.content_type,
        content_id: content_id.map(|id| format!("cid:{id}")),
    }
}

fn tag_value(tag: &str) -> Option<String> {
    let shown = tag.chars().filter(|c| !c.is_control());
    let tag: String = shown.take(TAG_CHARS_MAX).collect();
    let tag = tag.trim().to_owned();
    (!tag.is_empty()).then_some(tag)
}

/// Our ids first, then of the message's own what there is room for, whole or not at all. Names
/// that differ in case only are refused; recipients see none of it (support article 1125).
fn metadata(outgoing: &Outgoing) -> BTreeMap<String, String> {
    let mut metadata = BTreeMap::new();
    metadata.insert(correlation::MESSAGE.to_owned(), outgoing.message.simple());
    let values = correlation::recipients(outgoing, METADATA_VALUE_CHARS_MAX);
    for (n, value) in values.into_iter().enumerate() {
        metadata.insert(format!("{}-{n}", correlation::RECIPIENTS), value);
    }
    for (name, value) in &outgoing.metadata {
        let name = metadata_name(name);
        let fits = metadata.len() < METADATA_MAX
            && (1..=METADATA_NAME_CHARS_MAX).contains(&name.len())
            && value.chars().count() <= METADATA_VALUE_CHARS_MAX
            && !name.starts_with("malote-")
            && !metadata.contains_key(&name);
        if fits {
            metadata.insert(name, value.clone());
        }
    }
    metadata
}

fn metadata_name(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let kept = |c: char| if allowed(c) { c } else { '_' };
    name.to_lowercase().chars().map(kept).collect()
}
