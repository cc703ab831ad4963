//! What a message says, in a form that does not depend on how it is written down.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_parser::{Address, Message, MessageParser, MessagePart, MimeHeaders as _, PartType};
use sha2::{Digest as _, Sha256};

/// Fields that say how the message is built and not what it says.
const FRAME: [&str; 1] = ["mime-version"];
/// Fields that have a place of their own in [`Shape`].
const PLACED: [&str; 6] = ["from", "to", "cc", "bcc", "reply-to", "subject"];

/// An address with the name shown beside it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Person {
    pub(super) name: String,
    pub(super) email: String,
}

/// A file that comes with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) name: Option<String>,
    /// Type and subtype; `None` where the service derives it from the name.
    pub(super) kind: Option<String>,
    pub(super) sha256: String,
    /// Content-ID, of what the HTML shows in its place.
    pub(super) shown_as: Option<String>,
}

/// What a message says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) from: Vec<Person>,
    pub(super) to: Vec<Person>,
    pub(super) cc: Vec<Person>,
    pub(super) bcc: Vec<Person>,
    pub(super) reply_to: Vec<Person>,
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) html: String,
    pub(super) files: Vec<File>,
    /// The other fields: name and unfolded value.
    pub(super) headers: Vec<(String, String)>,
    /// How the parts are nested; `None` where fields say no such thing.
    pub(super) tree: Option<String>,
}

impl Shape {
    /// Reads a MIME message.
    pub(super) fn of_mime(raw: &[u8]) -> Result<Self> {
        let message = MessageParser::default().parse(raw);
        let message = message.context("it is no message")?;
        let mut shape = Self {
            from: people(message.from()),
            to: people(message.to()),
            cc: people(message.cc()),
            bcc: people(message.bcc()),
            reply_to: people(message.reply_to()),
            subject: message.subject().unwrap_or_default().to_owned(),
            headers: fields(raw)
                .into_iter()
                .filter(|(name, _)| {
                    let name = name.to_ascii_lowercase();
                    let is_frame = FRAME.contains(&name.as_str()) || name.starts_with("content-");
                    !is_frame && !PLACED.contains(&name.as_str())
                })
                .collect(),
            ..Self::default()
        };
        let tree = shape.add(&message, message.root_part());
        shape.tree = Some(tree);
        Ok(shape)
    }

    /// Adds what this part says; answers its place in the tree.
    fn add(&mut self, message: &Message<'_>, part: &MessagePart<'_>) -> String {
        let kind = kind_of(part);
        if let PartType::Multipart(children) = &part.body {
            let children = children.iter().filter_map(|child| message.part(*child));
            let children: Vec<String> = children.map(|child| self.add(message, child)).collect();
            return format!("{kind}({})", children.join(", "));
        }
        let is_file = part.attachment_name().is_some()
            || part
                .content_disposition()
                .is_some_and(mail_parser::ContentType::is_attachment);
        let content = match &part.body {
            PartType::Text(text) | PartType::Html(text) => text.as_bytes(),
            PartType::Binary(octets) | PartType::InlineBinary(octets) => octets,
            PartType::Message(_) | PartType::Multipart(_) => {
                let range = part.offset_body as usize..part.offset_end as usize;
                message.raw_message.get(range).unwrap_or_default()
            }
        };
        let text = String::from_utf8_lossy(content);
        match (is_file, kind.as_str()) {
            (false, "text/plain") => self.text += &text,
            (false, "text/html") => self.html += &text,
            _ => self.files.push(File {
                name: part.attachment_name().map(str::to_owned),
                kind: Some(kind.clone()),
                sha256: sha256(content),
                shown_as: shown_as(part),
            }),
        }
        kind
    }
}

/// The Content-ID of what is not marked as an attachment.
fn shown_as(part: &MessagePart<'_>) -> Option<String> {
    let disposition = part.content_disposition();
    let is_attachment = disposition.is_some_and(mail_parser::ContentType::is_attachment);
    let content_id = part.content_id().filter(|_| !is_attachment)?;
    Some(content_id.trim_matches(['<', '>']).to_owned())
}

fn kind_of(part: &MessagePart<'_>) -> String {
    match part.content_type() {
        Some(kind) => {
            let subtype = kind.subtype().unwrap_or("plain");
            format!("{}/{subtype}", kind.ctype()).to_ascii_lowercase()
        }
        None => "text/plain".to_owned(),
    }
}

/// The people of an address field's value, names decoded.
pub(super) fn people_of(value: &str) -> Vec<Person> {
    let head = format!("To: {value}\r\n\r\n");
    let message = MessageParser::default().parse_headers(head.as_bytes());
    message.map_or_else(Vec::new, |message| people(message.to()))
}

fn people(address: Option<&Address<'_>>) -> Vec<Person> {
    let list = address.into_iter().flat_map(Address::iter);
    let person = |addr: &mail_parser::Addr<'_>| Person {
        name: addr.name().unwrap_or_default().to_owned(),
        email: addr.address().unwrap_or_default().to_owned(),
    };
    list.map(person).collect()
}

/// The header fields, unfolded (RFC 5322 2.2.3), in order.
pub(super) fn fields(raw: &[u8]) -> Vec<(String, String)> {
    let end = raw.windows(4).position(|four| four == b"\r\n\r\n");
    let head = raw.get(..end.unwrap_or(raw.len())).unwrap_or_default();
    let head = String::from_utf8_lossy(head).replace("\r\n ", " ");
    let head = head.replace("\r\n\t", "\t");
    let fields = head.split("\r\n").filter_map(|line| line.split_once(':'));
    fields
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

/// SHA-256 in hex.
pub(super) fn sha256(octets: &[u8]) -> String {
    let digest = Sha256::digest(octets);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of what Base64 says; of the text itself if it is none.
pub(super) fn sha256_of_base64(text: &str) -> String {
    let decoded = STANDARD.decode(text);
    sha256(decoded.as_deref().unwrap_or(text.as_bytes()))
}
