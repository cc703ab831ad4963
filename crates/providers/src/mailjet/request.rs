//! The body of `POST /v3.1/send`: one message.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use malote_core::provider::{Outgoing, SendError};
use serde::Serialize;

use crate::correlation::{self, Readers};
use crate::parts::{Attachment, Mailbox, Parts, as_json, refused, take_apart};

/// Longest subject (Send API guide, "Send API JSON properties").
const SUBJECT_CHARS_MAX: usize = 255;
/// All attachments together, encoded (the same page says 15 MB and not of what).
const ATTACHMENTS_BYTES_MAX: usize = 15_000_000;
/// Longest name of a campaign (SMTP relay guide, "X-Mailjet-Campaign").
const CAMPAIGN_CHARS_MAX: usize = 255;
/// Longest payload. The service names no bound; ours keeps its events small.
const PAYLOAD_BYTES_MAX: usize = 4096;
/// Fields that the service refuses, mostly because it writes them itself (Send API guide, "Add
/// Email Headers"). Those that begin with a prefix of [`CONTROL_PREFIXES`] are not repeated.
const RESERVED_HEADERS: [&str; 10] = [
    "date",
    "domainkey-status",
    "list-id",
    "message-id",
    "received-spf",
    "sender",
    "user-agent",
    "x-csa-complaints",
    "x-feedback-id",
    "x-mailer",
];
/// What the service's SMTP understands and its API refuses as a header field.
const CONTROL_PREFIXES: [&str; 2] = ["x-mj-", "x-mailjet-"];

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Send<'a> {
    messages: [Message<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Message<'a> {
    from: Person<'a>,
    to: Vec<Person<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cc: Vec<Person<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bcc: Vec<Person<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<Person<'a>>,
    subject: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    text_part: &'a str,
    #[serde(rename = "HTMLPart", skip_serializing_if = "str::is_empty")]
    html_part: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<File<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    inlined_attachments: Vec<File<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_campaign: Option<String>,
    #[serde(rename = "CustomID")]
    custom_id: String,
    event_payload: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    track_opens: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    track_clicks: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Person<'a> {
    email: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct File<'a> {
    content_type: &'a str,
    filename: String,
    base64_content: String,
    #[serde(rename = "ContentID", skip_serializing_if = "Option::is_none")]
    content_id: Option<&'a str>,
}

/// The call's body.
///
/// # Errors
/// If the service cannot take the message, or not for all its recipients at once.
pub(crate) async fn body(outgoing: &Outgoing) -> Result<Vec<u8>, SendError> {
    let mut parts = take_apart(outgoing).await?;
    parts.headers.retain(|(name, _)| {
        let name = name.to_ascii_lowercase();
        !CONTROL_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
    });
    check(&parts)?;
    let send = Send {
        messages: [message(outgoing, &parts)?],
    };
    as_json(&send, outgoing)
}

/// The rules of the service that its answer would name after the whole message has been sent.
fn check(parts: &Parts) -> Result<(), SendError> {
    let is_empty = |body: &Option<String>| body.as_deref().unwrap_or_default().is_empty();
    if is_empty(&parts.text) && is_empty(&parts.html) {
        return Err(refused("it has no text, and Mailjet wants one"));
    }
    if parts.reply_to.len() > 1 {
        return Err(refused("it has several Reply-To, and Mailjet takes one"));
    }
    if parts.subject.chars().count() > SUBJECT_CHARS_MAX {
        return Err(refused("its subject is longer than 255 characters"));
    }
    if parts.attachments.iter().any(|a| a.content.is_empty()) {
        return Err(refused(
            "it has an empty attachment, and Mailjet takes none",
        ));
    }
    let encoded = |attachment: &Attachment| attachment.content.len().div_ceil(3) * 4;
    if parts.attachments.iter().map(encoded).sum::<usize>() > ATTACHMENTS_BYTES_MAX {
        return Err(refused(
            "its attachments are larger than 15 MB once encoded",
        ));
    }
    Ok(())
}

fn message<'a>(outgoing: &Outgoing, parts: &'a Parts) -> Result<Message<'a>, SendError> {
    let word = |is_on| if is_on { "enabled" } else { "disabled" };
    let (inlined, attached): (Vec<&Attachment>, Vec<&Attachment>) =
        parts.attachments.iter().partition(|a| a.is_inline);
    Ok(Message {
        from: person(&parts.from),
        to: parts.to.iter().map(person).collect(),
        cc: parts.cc.iter().map(person).collect(),
        bcc: parts.bcc.iter().map(person).collect(),
        reply_to: parts.reply_to.first().map(person),
        subject: &parts.subject,
        text_part: parts.text.as_deref().unwrap_or_default(),
        html_part: parts.html.as_deref().unwrap_or_default(),
        attachments: files(&attached),
        inlined_attachments: files(&inlined),
        headers: parts.header_map(&RESERVED_HEADERS)?,
        custom_campaign: outgoing.tags.iter().find_map(|tag| campaign(tag)),
        custom_id: outgoing.message.simple(),
        event_payload: payload(outgoing),
        track_opens: outgoing.tracking.opens.map(word),
        track_clicks: outgoing.tracking.clicks.map(word),
    })
}

fn person(mailbox: &Mailbox) -> Person<'_> {
    Person {
        email: &mailbox.email,
        name: mailbox.name.as_deref(),
    }
}

fn files<'a>(attachments: &[&'a Attachment]) -> Vec<File<'a>> {
    let file = |(place, attachment): (usize, &&'a Attachment)| File {
        content_type: &attachment.content_type,
        filename: attachment.name(place),
        base64_content: STANDARD.encode(&attachment.content),
        content_id: match attachment.is_inline {
            true => attachment.content_id.as_deref(),
            false => None,
        },
    };
    (1..).zip(attachments).map(file).collect()
}

/// Letters, digits, spaces, dashes and underscores, as the service wants a campaign's name.
fn campaign(tag: &str) -> Option<String> {
    let allowed = |c: &char| c.is_ascii_alphanumeric() || " -_".contains(*c);
    let name: String = tag
        .chars()
        .filter(allowed)
        .take(CAMPAIGN_CHARS_MAX)
        .collect();
    let name = name.trim().to_owned();
    (!name.is_empty()).then_some(name)
}

/// What comes back with every event, as JSON: our ids, then of the message's own metadata what
/// there is room for, whole or not at all. The service does not say whether the recipients can
/// read it, so it names none of several: an event's id does, as each recipient has their own.
fn payload(outgoing: &Outgoing) -> String {
    let mut fields = BTreeMap::new();
    fields.insert(correlation::MESSAGE.to_owned(), outgoing.message.simple());
    if Readers::Recipients.may_see_recipients(outgoing) {
        let recipients = correlation::recipients(outgoing, usize::MAX).concat();
        fields.insert(correlation::RECIPIENTS.to_owned(), recipients);
    }
    let json = |fields: &BTreeMap<String, String>| serde_json::json!(fields).to_string();
    for (name, value) in &outgoing.metadata {
        if name.starts_with("malote-") {
            continue;
        }
        fields.insert(name.clone(), value.clone());
        if json(&fields).len() > PAYLOAD_BYTES_MAX {
            fields.remove(name);
        }
    }
    json(&fields)
}
