//! A message as the body of `emails/transactional` (OpenAPI description of the API v4).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malote_core::provider::{Outgoing, SendError};
use serde::Serialize;

use super::config::PoolOptions;
use crate::correlation::{self, Readers};
use crate::parts::{Attachment, Mailbox, Parts, as_json, refused};

/// Largest message: 20 MB with its attachments (API documentation, limits).
pub(super) const MESSAGE_BYTES_MAX: u64 = 20_000_000;
/// Most recipients of a transactional call, who stand in To, CC and BCC together.
pub(super) const RECIPIENTS_MAX: u16 = 50;
/// Longest `Postback`: it travels in a header field and in the addresses of webhooks.
const POSTBACK_BYTES_MAX: usize = 255;
/// Fields that the service writes itself. It does not say that it takes ours in their place, and
/// a message with two of them is broken (RFC 5322 3.6).
const RESERVED: [&str; 2] = ["date", "message-id"];

/// The body.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Document<'a> {
    recipients: Recipients,
    content: Content<'a>,
    #[serde(skip_serializing_if = "Options::is_empty")]
    options: Options<'a>,
}

#[derive(Serialize)]
struct Recipients {
    #[serde(rename = "To")]
    to: Vec<String>,
    #[serde(rename = "CC", skip_serializing_if = "Vec::is_empty")]
    cc: Vec<String>,
    #[serde(rename = "BCC", skip_serializing_if = "Vec::is_empty")]
    bcc: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Content<'a> {
    body: Vec<BodyPart<'a>>,
    from: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<String>,
    subject: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    postback: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<File<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct BodyPart<'a> {
    content_type: &'static str,
    content: &'a str,
    charset: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct File<'a> {
    binary_content: String,
    name: String,
    content_type: &'a str,
    size: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Options<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pool_name: Option<&'a str>,
    #[serde(rename = "ChannelName", skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    track_opens: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    track_clicks: Option<bool>,
}

impl Options<'_> {
    const fn is_empty(&self) -> bool {
        self.pool_name.is_none()
            && self.channel.is_none()
            && self.track_opens.is_none()
            && self.track_clicks.is_none()
    }
}

/// The body of the call that sends this message.
///
/// # Errors
/// `Rejected(MessageHere)` for what the fields cannot say: an image inside the HTML (attachments
/// have no Content-ID), several Reply-To addresses, a field that occurs twice.
pub(super) fn body(
    outgoing: &Outgoing,
    parts: &Parts,
    pool: Option<&PoolOptions>,
) -> Result<Vec<u8>, SendError> {
    let document = Document {
        recipients: Recipients {
            to: shown_all(&parts.to),
            cc: shown_all(&parts.cc),
            bcc: shown_all(&parts.bcc),
        },
        content: content(outgoing, parts)?,
        options: Options {
            pool_name: pool.and_then(|pool| pool.pool_name.as_deref()),
            channel: pool.and_then(|pool| pool.channel.as_deref()),
            track_opens: outgoing.tracking.opens,
            track_clicks: outgoing.tracking.clicks,
        },
    };
    as_json(&document, outgoing)
}

fn content<'a>(outgoing: &Outgoing, parts: &'a Parts) -> Result<Content<'a>, SendError> {
    if parts.reply_to.len() > 1 {
        return Err(refused("Reply-To holds more than one address"));
    }
    let part = |content_type, text: &'a Option<String>| {
        text.as_deref().map(|content| BodyPart {
            content_type,
            content,
            charset: "utf-8",
        })
    };
    let body = [part("PlainText", &parts.text), part("HTML", &parts.html)];
    let attachments = parts.attachments.iter().enumerate().map(file);
    Ok(Content {
        body: body.into_iter().flatten().collect(),
        from: shown(&parts.from),
        reply_to: parts.reply_to.first().map(shown),
        subject: &parts.subject,
        headers: parts.header_map(&RESERVED)?,
        // The service sends it back with its events, and shows it to the recipients as a header field.
        postback: correlation::as_one(outgoing, Readers::Recipients, POSTBACK_BYTES_MAX),
        attachments: attachments.collect::<Result<_, _>>()?,
    })
}

fn file((place, attachment): (usize, &Attachment)) -> Result<File<'_>, SendError> {
    if attachment.is_inline {
        return Err(refused("it has an image inside its HTML"));
    }
    Ok(File {
        binary_content: STANDARD.encode(&attachment.content),
        name: attachment.name(place + 1),
        content_type: &attachment.content_type,
        size: attachment.content.len(),
    })
}

fn shown_all(mailboxes: &[Mailbox]) -> Vec<String> {
    mailboxes.iter().map(shown).collect()
}

/// `Name <address>`, the form that the service documents. A name with characters that mean
/// something there is quoted (RFC 5322 3.2.4).
fn shown(mailbox: &Mailbox) -> String {
    let Some(name) = &mailbox.name else {
        return mailbox.email.clone();
    };
    if name.contains(|c: char| "()<>[]:;@\\,.\"".contains(c)) {
        let name = name.replace('\\', "\\\\").replace('"', "\\\"");
        return format!("\"{name}\" <{}>", mailbox.email);
    }
    format!("{name} <{}>", mailbox.email)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_be_read_as_something_else_is_quoted() {
        for (name, written) in [
            (None, "a@x.test"),
            (Some("Ana Sá"), "Ana Sá <a@x.test>"),
            (Some("Sá, Ana"), "\"Sá, Ana\" <a@x.test>"),
            (
                Some("<b@y.test>, \"x\\"),
                "\"<b@y.test>, \\\"x\\\\\" <a@x.test>",
            ),
        ] {
            let mailbox = Mailbox {
                name: name.map(str::to_owned),
                email: "a@x.test".to_owned(),
            };
            assert_eq!(shown(&mailbox), written);
        }
    }
}
