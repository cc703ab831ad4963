//! A message as the body of `api/send` (OpenAPI description of email sending).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malote_core::provider::{Outgoing, SendError};
use serde::Serialize;

use crate::correlation;
use crate::parts::{self, Parts, as_json, refused};

/// Largest message: 10 MB with its attachments (help centre, sending limits).
pub(super) const MESSAGE_BYTES_MAX: u64 = 10_000_000;
/// The service takes 1,000 in each of To, Cc and Bcc; with 50 in all our ids stay well within
/// [`VARIABLES_BYTES_MAX`].
pub(super) const RECIPIENTS_MAX: u16 = 50;
/// Largest `custom_variables`, as JSON (documentation, custom variables).
const VARIABLES_BYTES_MAX: usize = 1000;
/// Longest `category`, in characters (OpenAPI description).
const CATEGORY_CHARS_MAX: usize = 255;
/// Fields that the service writes itself. It does not say that it takes ours in their place, and
/// a message with two of them is broken (RFC 5322 3.6).
const RESERVED: [&str; 2] = ["date", "message-id"];

/// The body.
#[derive(Serialize)]
struct Document<'a> {
    from: Mailbox<'a>,
    to: Vec<Mailbox<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cc: Vec<Mailbox<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bcc: Vec<Mailbox<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<Mailbox<'a>>,
    subject: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    html: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<Attachment<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    custom_variables: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<&'a str>,
}

#[derive(Serialize)]
struct Mailbox<'a> {
    email: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

#[derive(Serialize)]
struct Attachment<'a> {
    content: String,
    filename: String,
    #[serde(rename = "type")]
    content_type: &'a str,
    disposition: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_id: Option<&'a str>,
}

/// The body of the call that sends this message.
///
/// # Errors
/// `Rejected(MessageHere)` for what the service refuses or the fields cannot say: no subject, no
/// text, several Reply-To addresses, a field that occurs twice.
pub(super) fn body(outgoing: &Outgoing, parts: &Parts) -> Result<Vec<u8>, SendError> {
    if parts.subject.is_empty() {
        return Err(refused("it has no subject, which the service requires"));
    }
    if parts.reply_to.len() > 1 {
        return Err(refused("Reply-To holds more than one address"));
    }
    let said = |text: &'_ Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if !said(&parts.text) && !said(&parts.html) {
        return Err(refused("it has no text, which the service requires"));
    }
    let document = Document {
        from: mailbox(&parts.from),
        to: parts.to.iter().map(mailbox).collect(),
        cc: parts.cc.iter().map(mailbox).collect(),
        bcc: parts.bcc.iter().map(mailbox).collect(),
        reply_to: parts.reply_to.first().map(mailbox),
        subject: &parts.subject,
        text: parts.text.as_deref().filter(|text| !text.is_empty()),
        html: parts.html.as_deref().filter(|html| !html.is_empty()),
        attachments: parts
            .attachments
            .iter()
            .enumerate()
            .map(attachment)
            .collect(),
        headers: parts.header_map(&RESERVED)?,
        custom_variables: variables(outgoing),
        category: category(outgoing),
    };
    as_json(&document, outgoing)
}

fn mailbox(of: &parts::Mailbox) -> Mailbox<'_> {
    Mailbox {
        email: &of.email,
        name: of.name.as_deref(),
    }
}

fn attachment((place, of): (usize, &parts::Attachment)) -> Attachment<'_> {
    Attachment {
        content: STANDARD.encode(&of.content),
        // Required, for images inside the HTML as well.
        filename: of.name(place + 1),
        content_type: &of.content_type,
        disposition: if of.is_inline { "inline" } else { "attachment" },
        content_id: of.content_id.as_deref().filter(|_| of.is_inline),
    }
}

/// The first tag: the service knows one.
fn category(outgoing: &Outgoing) -> Option<&str> {
    let tag = outgoing.tags.first()?.as_str();
    let end = tag.char_indices().nth(CATEGORY_CHARS_MAX);
    Some(end.map_or(tag, |(end, _)| &tag[..end]))
}

/// Our ids, then as much of the metadata as there is room for: over the bound the service drops
/// all of it.
fn variables(outgoing: &Outgoing) -> BTreeMap<&str, String> {
    let recipients = correlation::recipients(outgoing, usize::MAX).join("_");
    let mut variables = BTreeMap::from([
        (correlation::MESSAGE, outgoing.message.simple().to_string()),
        (correlation::RECIPIENTS, recipients),
    ]);
    for (name, value) in &outgoing.metadata {
        if variables.contains_key(name.as_str()) {
            continue;
        }
        variables.insert(name, value.clone());
        let is_over =
            serde_json::to_vec(&variables).is_ok_and(|json| json.len() > VARIABLES_BYTES_MAX);
        if is_over {
            variables.remove(name.as_str());
        }
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::correlation::tests::outgoing;

    #[test]
    fn variables_stay_within_their_bound_and_ours_come_first() {
        let addresses: Vec<String> = (0..50).map(|n| format!("r{n}@dest.example")).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let mut sent = outgoing(&addresses);
        sent.metadata = BTreeMap::from([
            ("a".into(), "x".repeat(900)),
            ("b".into(), "small".into()),
            (correlation::MESSAGE.into(), "forged".into()),
        ]);
        let kept = variables(&sent);
        assert!(serde_json::to_vec(&kept).unwrap().len() <= VARIABLES_BYTES_MAX);
        assert_eq!(
            kept[correlation::MESSAGE],
            sent.message.simple().to_string()
        );
        assert_eq!(kept[correlation::RECIPIENTS].split('_').count(), 50);
        assert_eq!(kept["b"], "small");
        assert!(!kept.contains_key("a"));
    }

    #[test]
    fn a_category_is_cut_between_characters() {
        let mut sent = outgoing(&["a@dest.example"]);
        sent.tags = vec!["é".repeat(300), "second".into()];
        assert_eq!(category(&sent).unwrap().chars().count(), 255);
        sent.tags.clear();
        assert_eq!(category(&sent), None);
    }
}
