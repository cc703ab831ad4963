//! The body of a send, checked against the OpenAPI description and the published errors, one
//! fault at a time. Unknown members are not refused: the description does not forbid them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::Problem;
use crate::address::address;
use crate::config::Account;

/// Addresses in `to`.
const TO_MAX: usize = 50;
/// Emails of a batch.
const BATCH_MAX: usize = 100;
/// Characters of a tag's name and of its value.
const TAG_CHARS_MAX: usize = 256;

/// A send as far as it matters here.
#[derive(Debug)]
pub(super) struct Email {
    /// To, cc and bcc, in this order.
    pub(super) recipients: Vec<String>,
    pub(super) options: Vec<(String, String)>,
    pub(super) fields: Value,
}

/// Reads and checks the emails of a batch.
pub(super) fn batch(value: Value, account: &Account) -> Result<Vec<Email>, Problem> {
    let Value::Array(list) = value else {
        return Err(Problem::invalid(
            "The request body must be an array of emails.",
        ));
    };
    if !(1..=BATCH_MAX).contains(&list.len()) {
        let message = "The request body must have 1 to 100 emails.";
        return Err(Problem::invalid(message));
    }
    for name in ["attachments", "scheduled_at"] {
        if list.iter().any(|email| email.get(name).is_some()) {
            let message = format!("The `{name}` field is not supported in a batch.");
            return Err(Problem::invalid(message));
        }
    }
    list.into_iter().map(|one| email(one, account)).collect()
}

/// Reads and checks one email.
pub(super) fn email(value: Value, account: &Account) -> Result<Email, Problem> {
    let Value::Object(fields) = value else {
        let message = "We found an error with one or more fields in the request.";
        return Err(Problem::new(400, "validation_error", message));
    };
    for name in ["from", "to", "subject"] {
        let is_template = fields.contains_key("template") && name != "to";
        if !fields.contains_key(name) && !is_template {
            return Err(missing(&format!("`{name}`")));
        }
    }
    let from = match fields.get("from") {
        Some(from) => from
            .as_str()
            .and_then(sender)
            .ok_or_else(|| bad_address("from"))?,
        None => String::new(),
    };
    let mut recipients = list(&fields, "to")?;
    if !(1..=TO_MAX).contains(&recipients.len()) {
        return Err(Problem::invalid(
            "The `to` field must have 1 to 50 email addresses.",
        ));
    }
    for name in ["cc", "bcc"] {
        recipients.extend(list(&fields, name)?);
    }
    list(&fields, "reply_to")?;
    content(&fields)?;
    headers(&fields)?;
    tags(&fields)?;
    attachments(&fields)?;
    may_send(account, &from, &recipients)?;
    let options = options(&fields);
    Ok(Email {
        recipients,
        options,
        fields: Value::Object(fields),
    })
}

/// What is shown as the message's options.
fn options(fields: &Map<String, Value>) -> Vec<(String, String)> {
    let tags = fields.get("tags").and_then(Value::as_array);
    let tag = |tag: &Value| {
        let text = |name: &str| tag.get(name).and_then(Value::as_str);
        Some((format!("tags.{}", text("name")?), text("value")?.to_owned()))
    };
    let mut options: Vec<(String, String)> = tags.into_iter().flatten().filter_map(tag).collect();
    for name in ["topic_id", "scheduled_at"] {
        if let Some(value) = fields.get(name).and_then(Value::as_str) {
            options.push((name.to_owned(), value.to_owned()));
        }
    }
    options
}

/// Whether the account may send from here to there.
fn may_send(account: &Account, from: &str, recipients: &[String]) -> Result<(), Problem> {
    // A template has a sender of its own.
    if !from.is_empty() && !account.may_send_from(from) {
        let (_, domain) = from.rsplit_once('@').unwrap_or_default();
        return Err(Problem::sender(domain));
    }
    // A limited account mails its own domains.
    let is_own = |to: &String| account.senders.is_some() && account.may_send_from(to);
    if account.is_limited && !recipients.iter().all(is_own) {
        let message = "You can only send testing emails to your own email address \
                       (owner@sandbox.example). To send emails to other recipients, please verify \
                       a domain at resend.com/domains, and change the `from` address to an email \
                       using this domain.";
        return Err(Problem::new(403, "validation_error", message));
    }
    Ok(())
}

fn missing(what: &str) -> Problem {
    let message = format!("Missing {what} field.");
    Problem::new(422, "missing_required_field", message)
}

pub(super) fn bad_address(name: &str) -> Problem {
    Problem::invalid(format!(
        "Invalid `{name}` field. The email address needs to follow the `email@example.com` or \
         `Name <email@example.com>` format."
    ))
}

/// The address of `email@example.com` or `Name <email@example.com>`.
fn sender(text: &str) -> Option<String> {
    address(text).filter(|address| address.is_ascii())
}

/// The addresses of a text or an array of texts.
fn list(fields: &Map<String, Value>, name: &str) -> Result<Vec<String>, Problem> {
    let one = |value: &Value| value.as_str().and_then(sender);
    let addresses = match fields.get(name) {
        None => Some(Vec::new()),
        Some(Value::Array(all)) => all.iter().map(one).collect(),
        Some(value) => one(value).map(|address| vec![address]),
    };
    addresses.ok_or_else(|| bad_address(name))
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Problem> {
    match fields.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => {
            let message = format!("Invalid `{name}` field. Expected a string.");
            Err(Problem::invalid(message))
        }
    }
}

fn content(fields: &Map<String, Value>) -> Result<(), Problem> {
    let subject = text(fields, "subject")?.unwrap_or_default();
    if subject.contains(['\r', '\n']) {
        return Err(Problem::invalid(
            "The `\\n` is not allowed in the `subject` field.",
        ));
    }
    let (html, plain) = (text(fields, "html")?, text(fields, "text")?);
    let has_template = fields.contains_key("template");
    if has_template && (html.is_some() || plain.is_some()) {
        let message = "The `template` field cannot be used with `html` or `text`.";
        return Err(Problem::invalid(message));
    }
    // An empty text only says that none shall be made of the HTML.
    let has_content = [html, plain]
        .into_iter()
        .flatten()
        .any(|text| !text.is_empty());
    match has_content || has_template {
        true => Ok(()),
        false => Err(missing("`html` or `text`")),
    }
}

fn headers(fields: &Map<String, Value>) -> Result<(), Problem> {
    let Some(headers) = fields.get("headers") else {
        return Ok(());
    };
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
    let is_value = |value: &Value| {
        let text = value.as_str();
        text.is_some_and(|text| !text.contains(['\r', '\n', '\0']))
    };
    let is_good = headers.as_object().is_some_and(|headers| {
        let mut pairs = headers.iter();
        pairs.all(|(name, value)| is_name(name) && is_value(value))
    });
    match is_good {
        true => Ok(()),
        false => Err(Problem::invalid(
            "Invalid `headers` field. Expected an object of strings.",
        )),
    }
}

fn tags(fields: &Map<String, Value>) -> Result<(), Problem> {
    let Some(tags) = fields.get("tags") else {
        return Ok(());
    };
    let Some(tags) = tags.as_array() else {
        return Err(Problem::invalid("Invalid `tags` field. Expected an array."));
    };
    let mut names = std::collections::BTreeSet::new();
    for tag in tags {
        for part in ["name", "value"] {
            let Some(text) = tag.get(part).and_then(Value::as_str) else {
                return Err(missing(&format!("`tags.{part}`")));
            };
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if text.is_empty() || !text.chars().all(is_word) {
                let message =
                    "Tags should only contain ASCII letters, numbers, underscores, or dashes.";
                return Err(Problem::invalid(message));
            }
            if text.len() > TAG_CHARS_MAX {
                let message = "Tags can contain no more than 256 characters.";
                return Err(Problem::invalid(message));
            }
        }
        if !names.insert(tag["name"].as_str()) {
            return Err(Problem::invalid("Tags must have unique names."));
        }
    }
    Ok(())
}

fn attachments(fields: &Map<String, Value>) -> Result<(), Problem> {
    let Some(attachments) = fields.get("attachments") else {
        return Ok(());
    };
    let fault = |message: &str| Err(Problem::new(422, "invalid_attachment", message));
    let Some(attachments) = attachments.as_array() else {
        return fault("Attachments must be an array.");
    };
    for attachment in attachments {
        let text = |name: &str| attachment.get(name).and_then(Value::as_str);
        let content = text("content").filter(|content| !content.is_empty());
        match (content, text("path")) {
            (None, None) => {
                return fault("Attachment must have either a `content` or `path`.");
            }
            (Some(content), _) if STANDARD.decode(content).is_err() => {
                return fault("Attachment `content` must be Base64.");
            }
            (Some(_), _) if text("filename").is_none_or(str::is_empty) => {
                return fault("Attachment with `content` must have a `filename`.");
            }
            _ => {}
        }
        for name in ["filename", "content_type", "content_id"] {
            let is_given = attachment.get(name).is_some_and(|value| !value.is_null());
            if is_given && text(name).is_none_or(|text| text.contains(['\r', '\n'])) {
                return fault(&format!("Attachment `{name}` is invalid."));
            }
        }
        if text("content_id").is_some_and(|id| id.len() >= 128) {
            return fault("Attachment `content_id` must be less than 128 characters.");
        }
    }
    Ok(())
}
