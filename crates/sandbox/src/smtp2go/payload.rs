//! The documents of `email/send` and `email/mime`, checked as the service's description has them.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;

use super::problem::Problem;
use crate::address::{address, addresses};
use crate::mailbox::Arrival;

/// Most addresses of each of `to`, `cc` and `bcc`.
const LIST_MAX: usize = 100;
/// Header fields that `custom_headers` may not set.
const HEADERS_REFUSED: [&str; 3] = ["content-type", "content-transfer-encoding", "mime-version"];

/// A message to be sent.
#[derive(Debug, Clone)]
pub(super) struct Payload {
    /// Who sends it, an address.
    pub(super) sender: String,
    /// Who gets a copy.
    pub(super) recipients: Vec<String>,
    /// Whether it is answered before it is looked at (`fastaccept`).
    pub(super) is_fast: bool,
    /// Whether it is to be sent later (`schedule`).
    pub(super) is_scheduled: bool,
    options: Vec<(String, String)>,
    raw: Bytes,
    fields: Option<Value>,
}

impl Payload {
    pub(super) fn into_arrival(self, peer: SocketAddr) -> Arrival {
        Arrival {
            peer,
            mail_from: None,
            recipients: self.recipients,
            pool: None,
            options: self.options,
            raw: self.raw,
            fields: self.fields,
        }
    }
}

/// The document of `email/send`.
pub(super) fn fields(document: &Value, body: Bytes) -> Result<Payload, Problem> {
    let sender = text(document, "sender")?.unwrap_or_default();
    let sender = address(sender).ok_or_else(|| Problem::no_mailbox("sender", sender))?;
    let mut recipients = list(document, "to")?;
    if recipients.is_empty() {
        return Err(Problem::field("to", "The field 'to' is required"));
    }
    recipients.extend(list(document, "cc")?);
    recipients.extend(list(document, "bcc")?);
    text(document, "subject")?;
    let has = |name| Ok::<bool, Problem>(text(document, name)?.is_some_and(|t| !t.is_empty()));
    if !has("html_body")? && !has("text_body")? && !has("template_id")? {
        let message = "Either 'html_body' or 'text_body' is required";
        return Err(Problem::field("text_body", message));
    }
    headers(document)?;
    files(document, "attachments")?;
    files(document, "inlines")?;
    let mut fields = document.clone();
    if let Some(fields) = fields.as_object_mut() {
        fields.remove("api_key");
    }
    Ok(Payload {
        sender,
        recipients,
        is_fast: is_fast(document)?,
        is_scheduled: text(document, "schedule")?.is_some(),
        options: options(document)?,
        raw: body,
        fields: Some(fields),
    })
}

/// The document of `email/mime`: the recipients are those whom the message names.
pub(super) fn mime(document: &Value, _body: Bytes) -> Result<Payload, Problem> {
    let encoded = text(document, "mime_email")?.unwrap_or_default();
    let raw = STANDARD.decode(encoded).unwrap_or_default();
    if raw.is_empty() {
        let message = "The field 'mime_email' was expecting a Base64 encoded MIME email";
        return Err(Problem::field("mime_email", message));
    }
    let named = |name: &str| {
        let mut found = Vec::new();
        for value in header_values(&raw, name) {
            let list = addresses(&value).ok_or_else(|| Problem::no_mailbox(name, &value))?;
            found.extend(list);
        }
        Ok::<Vec<String>, Problem>(found)
    };
    let sender = named("from")?.into_iter().next();
    let sender = sender.ok_or_else(|| Problem::no_mailbox("from", ""))?;
    let mut recipients = named("to")?;
    recipients.extend(named("cc")?);
    recipients.extend(named("bcc")?);
    if recipients.is_empty() {
        return Err(Problem::no_mailbox("to", ""));
    }
    Ok(Payload {
        sender,
        recipients,
        is_fast: is_fast(document)?,
        is_scheduled: text(document, "schedule")?.is_some(),
        options: options(document)?,
        raw: raw.into(),
        fields: None,
    })
}

fn text<'a>(document: &'a Value, name: &str) -> Result<Option<&'a str>, Problem> {
    match document.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => {
            let message = format!("The field '{name}' was expecting a string");
            Err(Problem::field(name, &message))
        }
    }
}

pub(super) fn array<'a>(document: &'a Value, name: &str) -> Result<&'a [Value], Problem> {
    match document.get(name) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => {
            let message = format!("The field '{name}' was expecting an array");
            Err(Problem::field(name, &message))
        }
    }
}

fn list(document: &Value, name: &str) -> Result<Vec<String>, Problem> {
    let list = array(document, name)?;
    if list.len() > LIST_MAX {
        let message = format!("The field '{name}' was expecting at most {LIST_MAX} items");
        return Err(Problem::field(name, &message));
    }
    let one = |item: &Value| {
        let text = item.as_str().unwrap_or_default();
        address(text).ok_or_else(|| Problem::no_mailbox(name, text))
    };
    list.iter().map(one).collect()
}

fn headers(document: &Value) -> Result<(), Problem> {
    for item in array(document, "custom_headers")? {
        let (name, value) = (text(item, "header")?, text(item, "value")?);
        let (Some(name), Some(value)) = (name, value) else {
            let message = "The field 'custom_headers' was expecting header and value";
            return Err(Problem::field("custom_headers", message));
        };
        let is_refused = HEADERS_REFUSED.contains(&name.to_ascii_lowercase().as_str());
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
        if is_refused || !is_name || value.contains(['\r', '\n']) {
            let message = format!("The header '{name}' is not allowed in 'custom_headers'");
            return Err(Problem::field("custom_headers", &message));
        }
    }
    Ok(())
}

fn files(document: &Value, name: &str) -> Result<(), Problem> {
    for item in array(document, name)? {
        let filename = text(item, "filename")?.unwrap_or_default();
        let is_content = match (text(item, "fileblob")?, text(item, "url")?) {
            (Some(blob), _) => STANDARD.decode(blob).is_ok(),
            (None, url) => url.is_some(),
        };
        text(item, "mimetype")?;
        if filename.is_empty() || !is_content {
            let message =
                format!("The field '{name}' was expecting a filename and a fileblob or url");
            return Err(Problem::field(name, &message));
        }
    }
    Ok(())
}

fn is_fast(document: &Value) -> Result<bool, Problem> {
    match document.get("fastaccept") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(is_fast)) => Ok(*is_fast),
        Some(_) => {
            let message = "The field 'fastaccept' was expecting a boolean";
            Err(Problem::field("fastaccept", message))
        }
    }
}

fn options(document: &Value) -> Result<Vec<(String, String)>, Problem> {
    let mut options = Vec::new();
    if is_fast(document)? {
        options.push(("fastaccept".to_owned(), "true".to_owned()));
    }
    if let Some(schedule) = text(document, "schedule")? {
        options.push(("schedule".to_owned(), schedule.to_owned()));
    }
    Ok(options)
}

/// The values of a header field, unfolded.
fn header_values(raw: &[u8], name: &str) -> Vec<String> {
    let end = memchr::memmem::find(raw, b"\r\n\r\n").unwrap_or(raw.len());
    let head = String::from_utf8_lossy(&raw[..end]);
    let head = head.replace("\r\n ", " ").replace("\r\n\t", " ");
    let fields = head.split("\r\n").filter_map(|line| line.split_once(':'));
    let values = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
    values.map(|(_, value)| value.trim().to_owned()).collect()
}
