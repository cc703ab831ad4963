//! A message taken apart, for services that take fields instead of MIME.
//!
//! Fields can say less than MIME can. What they cannot say is refused as
//! `Rejected(MessageHere)`, so that the next target gets the message, and never left out: signed
//! and encrypted mail, reports, calendar entries, a second body. Two things do change, and the
//! pages of `docs/providers` say so: the order of fields and parts, and To and Cc, which list the
//! recipients of the call only, as these services deliver to all whom they list.

mod structure;

#[cfg(test)]
mod tests;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use mail_parser::{Addr, Address, Message, MessageParser, PartType};
use malote_core::address::EmailAddress;
use malote_core::provider::{Fault, Outgoing, OutgoingRecipient, Reply, SendError, Verdict};
use serde::Serialize;

/// Made once: it is a table of parsers by field, and every message would hash it anew.
static PARSER: LazyLock<MessageParser> = LazyLock::new(|| {
    let parser = MessageParser::new().with_mime_headers();
    let parser = parser.with_address_headers().header_text("Subject");
    parser.default_header_raw()
});

/// From this size on, taking a message apart would hold up other tasks of the thread.
const BLOCKING_FROM_BYTES: usize = 256 * 1024;

/// What ids, names and punctuation usually add to a message.
const JSON_BYTES_AROUND: usize = 1024;

/// Fields that have a place of their own, that the service writes itself, or that mean nothing
/// once it does: its own signature replaces a client's, which could not survive.
const OWN_FIELDS: [&str; 13] = [
    "from",
    "to",
    "cc",
    "bcc",
    "reply-to",
    "subject",
    "mime-version",
    "received",
    "return-path",
    "dkim-signature",
    "resent-bcc",
    "authentication-results",
    "delivered-to",
];

/// An address with the name shown beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mailbox {
    /// The name, decoded; without control characters.
    pub name: Option<String>,
    /// The address, its domain in ASCII.
    pub email: String,
}

impl Mailbox {
    /// `Name <address>`. A name with characters that mean something there is quoted (RFC 5322
    /// 3.2.4).
    pub(crate) fn shown(&self) -> String {
        let Some(name) = &self.name else {
            return self.email.clone();
        };
        if name.contains(|c: char| "()<>[]:;@\\,.\"".contains(c)) {
            let name = name.replace('\\', "\\\\").replace('"', "\\\"");
            return format!("\"{name}\" <{}>", self.email);
        }
        format!("{name} <{}>", self.email)
    }
}

/// A file or an image that comes with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// Its name, decoded.
    pub filename: Option<String>,
    /// `type/subtype` in lower case, without parameters.
    pub content_type: String,
    /// The decoded content; text in UTF-8.
    pub content: Vec<u8>,
    /// Content-ID without the angle brackets.
    pub content_id: Option<String>,
    /// Whether the text shows it in its place.
    pub is_inline: bool,
}

impl Attachment {
    /// A name for services that require one: its own, or one made of its place (from 1) and type.
    pub(crate) fn name(&self, place: usize) -> String {
        if let Some(name) = self.filename.as_ref().filter(|name| !name.is_empty()) {
            return name.clone();
        }
        let (_, subkind) = self.content_type.split_once('/').unwrap_or_default();
        let extension = match subkind {
            "rfc822" => "eml",
            "plain" => "txt",
            known if known.len() <= 4 && known.bytes().all(|b| b.is_ascii_alphanumeric()) => known,
            _ => "bin",
        };
        format!("attachment-{place}.{extension}")
    }
}

/// A message as fields, addressed to the recipients of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Its author.
    pub from: Mailbox,
    /// Recipients of this call whom To shows; never empty.
    pub to: Vec<Mailbox>,
    /// Recipients of this call whom Cc shows.
    pub cc: Vec<Mailbox>,
    /// Recipients of this call whom nothing shows.
    pub bcc: Vec<Mailbox>,
    /// Whom to answer.
    pub reply_to: Vec<Mailbox>,
    /// The subject, decoded.
    pub subject: String,
    /// The plain text.
    pub text: Option<String>,
    /// The HTML.
    pub html: Option<String>,
    /// What comes with it, in order.
    pub attachments: Vec<Attachment>,
    /// The other fields in order, unfolded, encoded words as they are. Date and Message-ID are
    /// among them: not every service takes these.
    pub headers: Vec<(String, String)>,
}

impl Parts {
    /// The other fields for a service that takes one of each name, without those of the names in
    /// `reserved` (lower case), which it would refuse or write itself.
    ///
    /// # Errors
    /// `Rejected(MessageHere)` if a field occurs twice.
    pub(crate) fn header_map(
        &self,
        reserved: &[&str],
    ) -> Result<BTreeMap<String, String>, SendError> {
        let mut seen = BTreeMap::new();
        let mut map = BTreeMap::new();
        for (name, value) in &self.headers {
            let lower = name.to_ascii_lowercase();
            if reserved.contains(&lower.as_str()) {
                continue;
            }
            match seen.entry(lower) {
                Entry::Vacant(free) => {
                    free.insert(());
                    map.insert(name.clone(), value.clone());
                }
                Entry::Occupied(taken) => {
                    let what = format!("the field {} occurs twice", taken.key());
                    return Err(refused(&what));
                }
            }
        }
        Ok(map)
    }

    /// The value of a field, if it is there.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let field = self
            .headers
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.as_str())
    }
}

/// Takes the message apart, a large one on a thread of its own.
///
/// # Errors
/// `Rejected(MessageHere)` with the reason if fields cannot say what it says; `Ungroup` if the
/// call has several recipients and only hidden ones, who would see each other.
pub(crate) async fn take_apart(outgoing: &Outgoing) -> Result<Parts, SendError> {
    if outgoing.body.len() < BLOCKING_FROM_BYTES {
        return parts(&outgoing.body, &outgoing.recipients);
    }
    let (body, recipients) = (outgoing.body.clone(), outgoing.recipients.clone());
    let task = tokio::task::spawn_blocking(move || parts(&body, &recipients));
    match task.await {
        Ok(parts) => parts,
        Err(stopped) => std::panic::resume_unwind(stopped.into_panic()),
    }
}

pub(crate) fn parts(body: &[u8], recipients: &[OutgoingRecipient]) -> Result<Parts, SendError> {
    let message = PARSER
        .parse(body)
        .ok_or_else(|| refused("the message cannot be parsed"))?;
    let mut from = mailboxes(message.from());
    if from.len() != 1 {
        return Err(refused("From holds more than one address"));
    }
    let from = from.remove(0);
    let (to, cc, bcc) = roles(&message, recipients)?;
    let content = structure::read(&message)?;
    Ok(Parts {
        from,
        to,
        cc,
        bcc,
        reply_to: mailboxes(message.reply_to()),
        subject: visible(message.subject().unwrap_or_default()),
        text: content.text,
        html: content.html,
        attachments: content.attachments,
        headers: other_fields(&message),
    })
}

/// The positions of the call's recipients in the order in which [`take_apart`] lists them, To, Cc,
/// Bcc: for services that answer with one result for each address listed.
pub(crate) fn listed_order(outgoing: &Outgoing) -> Vec<usize> {
    let mut order: Vec<usize> = (0..outgoing.recipients.len()).collect();
    let Some(message) = PARSER.parse_headers(&outgoing.body[..]) else {
        return order;
    };
    let keys = |address| -> BTreeSet<String> {
        let shown = mailboxes(address).into_iter();
        shown.map(|shown| key(&shown.email)).collect()
    };
    let (in_to, in_cc) = (keys(message.to()), keys(message.cc()));
    order.sort_by_cached_key(|at| {
        let key = outgoing.recipients[*at].address.key();
        (!in_to.contains(&key), !in_cc.contains(&key))
    });
    order
}

/// Whether To and Cc list the recipients of the call, each once, and nobody else, and no other
/// field names one: for services that read the recipients of raw mail there.
pub(crate) fn lists_exactly(outgoing: &Outgoing) -> bool {
    let Some(message) = PARSER.parse_headers(&outgoing.body[..]) else {
        return false;
    };
    let mut fields = BTreeSet::new();
    let mut listed = Vec::new();
    for header in &message.root_part().headers {
        let name = header.name.as_str().to_ascii_lowercase();
        if name == "bcc" || name.starts_with("resent-") {
            return false;
        }
        if name != "to" && name != "cc" {
            continue;
        }
        let Some(Address::List(list)) = header.value.as_address() else {
            return false;
        };
        for addr in list {
            let parsed = addr.address.as_deref().map(str::parse::<EmailAddress>);
            let Some(Ok(address)) = parsed else {
                return false;
            };
            listed.push(address.key());
        }
        // Which of two such fields a service reads nobody knows.
        if !fields.insert(name) {
            return false;
        }
    }
    let mut wanted: Vec<String> = outgoing
        .recipients
        .iter()
        .map(|r| r.address.key())
        .collect();
    wanted.sort_unstable();
    listed.sort_unstable();
    listed == wanted
}

type Roles = (Vec<Mailbox>, Vec<Mailbox>, Vec<Mailbox>);

/// Who of this call's recipients stands in To, who in Cc, and who in neither.
fn roles(message: &Message<'_>, recipients: &[OutgoingRecipient]) -> Result<Roles, SendError> {
    let shown = |address: Option<&Address<'_>>| -> BTreeMap<String, Option<String>> {
        let boxes = mailboxes(address).into_iter();
        boxes.map(|shown| (key(&shown.email), shown.name)).collect()
    };
    let (in_to, in_cc) = (shown(message.to()), shown(message.cc()));
    let (mut to, mut cc, mut bcc) = (Vec::new(), Vec::new(), Vec::new());
    for recipient in recipients {
        let key = recipient.address.key();
        let (list, name) = match (in_to.get(&key), in_cc.get(&key)) {
            (Some(name), _) => (&mut to, name.clone()),
            (None, Some(name)) => (&mut cc, name.clone()),
            (None, None) => (&mut bcc, None),
        };
        list.push(Mailbox {
            name,
            email: recipient.address.to_string(),
        });
    }
    // Every service wants somebody in To.
    if to.is_empty() {
        to = std::mem::take(&mut cc);
    }
    if to.is_empty() {
        if bcc.len() > 1 {
            let what = "hidden recipients go one by one, or they would see each other";
            return Err(SendError::new(Verdict::Ungroup, Reply::none(what)));
        }
        to = std::mem::take(&mut bcc);
    }
    Ok((to, cc, bcc))
}

fn key(email: &str) -> String {
    let address = email.parse::<EmailAddress>();
    address.map_or_else(|_| email.to_lowercase(), |address| address.key())
}

fn mailboxes(address: Option<&Address<'_>>) -> Vec<Mailbox> {
    let list: Vec<&Addr<'_>> = match address {
        None => Vec::new(),
        Some(Address::List(list)) => list.iter().collect(),
        Some(Address::Group(groups)) => groups.iter().flat_map(|g| &g.addresses).collect(),
    };
    let mailbox = |addr: &&Addr<'_>| {
        let email = addr.address.as_deref()?;
        let parsed = email.parse::<EmailAddress>();
        let name = addr.name.as_deref().map(visible);
        Some(Mailbox {
            name: name.filter(|name| !name.is_empty()),
            email: parsed.map_or_else(|_| visible(email), |parsed| parsed.to_string()),
        })
    };
    list.iter().filter_map(mailbox).collect()
}

/// The fields that have no place of their own.
fn other_fields(message: &Message<'_>) -> Vec<(String, String)> {
    let fields = message.root_part().headers.iter().filter_map(|header| {
        let name = header.name.as_str();
        let lower = name.to_ascii_lowercase();
        let is_own = OWN_FIELDS.contains(&lower.as_str()) || lower.starts_with("content-");
        if is_own {
            return None;
        }
        let range = header.offset_start as usize..header.offset_end as usize;
        let value = message.raw_message.get(range)?;
        Some((name.to_owned(), unfolded(&String::from_utf8_lossy(value))))
    });
    fields.collect()
}

/// RFC 5322 2.2.3: a field is unfolded by taking its line ends away.
fn unfolded(value: &str) -> String {
    let lines = value.split(['\r', '\n']);
    lines.collect::<String>().trim().to_owned()
}

/// Text that shall stand in one line.
fn visible(text: &str) -> String {
    let shown = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    shown.collect::<String>().trim().to_owned()
}

/// Another target may take it.
pub(crate) fn refused(what: &str) -> SendError {
    // RFC 3463 3.7: conversion required but not supported.
    let reply = Reply::new(None, Some("5.6.3".to_owned()), what);
    SendError::new(Verdict::Rejected(Fault::MessageHere), reply)
}

/// A call's body as JSON. Nearly all of it is the message, so that it is written without being
/// moved as it grows, and keeps no more room than that while it waits for its answer.
pub(crate) fn as_json(
    document: &impl Serialize,
    outgoing: &Outgoing,
) -> Result<Vec<u8>, SendError> {
    let bytes = outgoing.body.len();
    let mut json = Vec::with_capacity(bytes + bytes / 8 + JSON_BYTES_AROUND);
    serde_json::to_writer(&mut json, document).map_err(|error| refused(&error.to_string()))?;
    Ok(json)
}

/// The decoded octets of a leaf.
fn octets(message: &Message<'_>, part: &mail_parser::MessagePart<'_>) -> Vec<u8> {
    match &part.body {
        PartType::Text(text) | PartType::Html(text) => text.as_bytes().to_vec(),
        PartType::Binary(octets) | PartType::InlineBinary(octets) => octets.to_vec(),
        PartType::Message(_) | PartType::Multipart(_) => {
            let range = part.offset_body as usize..part.offset_end as usize;
            let raw = message.raw_message.get(range);
            raw.unwrap_or_default().to_vec()
        }
    }
}
