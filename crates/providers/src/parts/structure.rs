//! Which part is the text, which the HTML, and what is attached; or why that cannot be told.

use mail_parser::{Message, MessagePart, MimeHeaders as _, PartType};
use malote_core::provider::SendError;

use super::{Attachment, octets, refused, visible};

/// Deepest nesting of multiparts that is followed.
const DEPTH_MAX: u8 = 10;
/// Most attachments of one message.
const ATTACHMENTS_MAX: usize = 200;

/// What a message consists of.
#[derive(Default)]
pub(super) struct Content {
    pub text: Option<String>,
    pub html: Option<String>,
    pub attachments: Vec<Attachment>,
}

/// Where in the structure a part stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The beginning of the message, or of a part that stands there: a body may be here.
    Body,
    /// One of several forms of the same text.
    Alternative,
    /// Beside the HTML that shows it.
    Related,
    /// Anywhere else.
    Attached,
}

/// Reads the structure.
pub(super) fn read(message: &Message<'_>) -> Result<Content, SendError> {
    let mut content = Content::default();
    content.walk(message, message.root_part(), Place::Body, 0)?;
    if content.text.is_none() && content.html.is_none() {
        if !content.attachments.is_empty() {
            return Err(refused("it has no text, only attachments"));
        }
        content.text = Some(String::new());
    }
    Ok(content)
}

impl Content {
    fn walk(
        &mut self,
        message: &Message<'_>,
        part: &MessagePart<'_>,
        place: Place,
        depth: u8,
    ) -> Result<(), SendError> {
        let (kind, subkind) = type_of(part);
        if depth > DEPTH_MAX {
            return Err(refused("its parts are nested too deep"));
        }
        if let PartType::Multipart(children) = &part.body {
            return self.walk_children(message, (&subkind, children), place, depth);
        }
        if part.is_encoding_problem {
            return Err(refused("a part cannot be decoded"));
        }
        refuse_special(part, &kind, &subkind)?;
        let is_named = part.attachment_name().is_some();
        let is_attachment = part
            .content_disposition()
            .is_some_and(|disposition| disposition.is_attachment());
        let can_be_body = !is_attachment && !is_named && place != Place::Attached;
        match (&part.body, kind.as_str(), subkind.as_str()) {
            (PartType::Text(text), "text", "plain") if can_be_body => {
                put(&mut self.text, text, "a second text")
            }
            (PartType::Html(html), "text", "html") if can_be_body => {
                put(&mut self.html, html, "a second HTML text")
            }
            _ if place == Place::Alternative => Err(refused(&format!(
                "it offers its text as {kind}/{subkind}, too"
            ))),
            (_, "text", "plain" | "html") if !is_attachment && !is_named => {
                Err(refused("a text stands behind the first part"))
            }
            _ => self.attach(message, part, place, format!("{kind}/{subkind}")),
        }
    }

    fn walk_children(
        &mut self,
        message: &Message<'_>,
        (subkind, children): (&str, &[u32]),
        place: Place,
        depth: u8,
    ) -> Result<(), SendError> {
        let inner = |at: usize| match (subkind, at) {
            ("alternative", _) => Some(Place::Alternative),
            ("related" | "mixed", 0) => Some(place),
            ("related", _) => Some(Place::Related),
            ("mixed", _) => Some(Place::Attached),
            _ => None,
        };
        if subkind == "alternative" && place == Place::Attached {
            return Err(refused("a text stands behind the first part"));
        }
        if subkind == "mixed" && place == Place::Alternative {
            return Err(refused("an alternative has attachments of its own"));
        }
        for (at, child) in children.iter().enumerate() {
            let Some(place) = inner(at) else {
                return Err(refused(&format!("it is or holds multipart/{subkind}")));
            };
            let Some(part) = message.part(*child) else {
                return Err(refused("a part is missing"));
            };
            self.walk(message, part, place, depth + 1)?;
        }
        Ok(())
    }

    fn attach(
        &mut self,
        message: &Message<'_>,
        part: &MessagePart<'_>,
        place: Place,
        content_type: String,
    ) -> Result<(), SendError> {
        if self.attachments.len() >= ATTACHMENTS_MAX {
            return Err(refused("it has more than 200 attachments"));
        }
        let content_id = part.content_id().map(visible);
        let content_id = content_id.map(|id| id.trim_matches(['<', '>']).to_owned());
        let is_attachment = part
            .content_disposition()
            .is_some_and(|disposition| disposition.is_attachment());
        self.attachments.push(Attachment {
            filename: part.attachment_name().map(visible),
            content_type,
            content: octets(message, part),
            is_inline: place == Place::Related && content_id.is_some() && !is_attachment,
            content_id,
        });
        Ok(())
    }
}

fn put(place: &mut Option<String>, text: &str, what: &str) -> Result<(), SendError> {
    if place.is_some() {
        return Err(refused(&format!("it has {what}")));
    }
    *place = Some(text.to_owned());
    Ok(())
}

/// What loses its meaning when it is not carried as it is.
fn refuse_special(part: &MessagePart<'_>, kind: &str, subkind: &str) -> Result<(), SendError> {
    let what = match (kind, subkind) {
        ("application", "pkcs7-mime" | "x-pkcs7-mime") => "it is encrypted or signed (S/MIME)",
        ("text", "calendar") => "it is or holds a calendar entry",
        ("message", "delivery-status" | "disposition-notification" | "feedback-report") => {
            "it holds a report"
        }
        ("message", "partial" | "external-body") => "it holds only a piece of a message",
        _ => return Ok(()),
    };
    let is_plain_file = kind == "text"
        && part
            .content_disposition()
            .is_some_and(|disposition| disposition.is_attachment())
        && part
            .content_type()
            .is_some_and(|content_type| content_type.attribute("method").is_none());
    if is_plain_file {
        return Ok(());
    }
    Err(refused(what))
}

/// Type and subtype in lower case; RFC 2045 5.2: `text/plain` where none is given.
fn type_of(part: &MessagePart<'_>) -> (String, String) {
    match part.content_type() {
        Some(content_type) => (
            content_type.ctype().to_ascii_lowercase(),
            content_type
                .subtype()
                .unwrap_or("plain")
                .to_ascii_lowercase(),
        ),
        None => match &part.body {
            PartType::Message(_) => ("message".to_owned(), "rfc822".to_owned()),
            PartType::Text(_)
            | PartType::Html(_)
            | PartType::Binary(_)
            | PartType::InlineBinary(_)
            | PartType::Multipart(_) => ("text".to_owned(), "plain".to_owned()),
        },
    }
}
