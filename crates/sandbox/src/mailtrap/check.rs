//! The body of a send, checked against the service's OpenAPI description: all faults at once.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Map, Value};

use super::Problem;
use crate::address::address;
use crate::config::Account;

/// Addresses of one of the three lists (`EmailRecipients`).
const LIST_MAX: usize = 1_000;
/// A message, attachments included, on every plan ("Sending Limits").
const MESSAGE_BYTES_MAX: usize = 10 * 1024 * 1024;
/// `EmailCategory`, characters.
const CATEGORY_CHARS_MAX: usize = 255;
/// All custom variables as JSON ("Custom Variables").
const VARIABLES_BYTES_MAX: usize = 1_000;
/// Header fields that the service writes itself.
const RESERVED: [&str; 10] = [
    "from",
    "to",
    "cc",
    "bcc",
    "subject",
    "received",
    "dkim-signature",
    "content-type",
    "content-transfer-encoding",
    "mime-version",
];

/// A send as far as it matters here.
#[derive(Debug)]
pub(super) struct Email {
    /// To, cc and bcc, in this order.
    pub(super) recipients: Vec<String>,
    pub(super) options: Vec<(String, String)>,
    pub(super) fields: Value,
}

/// Reads and checks a body.
pub(super) fn read(body: &[u8], account: &Account) -> Result<Email, Problem> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => email(fields, account),
        Ok(_) | Err(_) => Err(invalid_json()),
    }
}

/// A body that is none, or no email.
pub(super) fn invalid_json() -> Problem {
    Problem::bad_request("invalid JSON")
}

/// Checks an email.
pub(super) fn email(fields: Map<String, Value>, account: &Account) -> Result<Email, Problem> {
    let mut check = Check {
        fields: &fields,
        errors: Vec::new(),
    };
    let from = check.address("from", fields.get("from"));
    if !fields.contains_key("from") {
        check.errors.push("'from' is required".to_owned());
    }
    let mut recipients = Vec::new();
    for name in ["to", "cc", "bcc"] {
        recipients.extend(check.list(name));
    }
    if ["to", "cc", "bcc"].iter().all(|name| check.is_empty(name)) {
        let error = "'to', 'cc' or 'bcc' address is required";
        check.errors.push(error.to_owned());
    }
    check.address("reply_to", fields.get("reply_to"));
    check.content();
    check.headers();
    check.variables();
    let bytes = check.attachments();
    if !check.errors.is_empty() {
        return Err(Problem(StatusCode::BAD_REQUEST, check.errors));
    }
    if bytes > MESSAGE_BYTES_MAX {
        let text = "message is larger than 10 MB";
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    may_send(account, from.as_deref().unwrap_or_default(), &recipients)?;
    let options = options(&fields);
    Ok(Email {
        recipients,
        options,
        fields: Value::Object(fields),
    })
}

/// Whether the account may send from here to there.
fn may_send(account: &Account, from: &str, recipients: &[String]) -> Result<(), Problem> {
    if !account.may_send_from(from) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "Forbidden"));
    }
    // A limited account mails its own domains.
    let is_own = |to: &String| account.senders.is_some() && account.may_send_from(to);
    if account.is_limited && !recipients.iter().all(is_own) {
        let text = "Demo domains can only be used to send emails to account owners. You can only \
                    send testing emails to your own email address.";
        return Err(Problem::new(StatusCode::FORBIDDEN, text));
    }
    Ok(())
}

/// What is shown as the message's options.
fn options(fields: &Map<String, Value>) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let category = fields.get("category");
    let mut options: Vec<(String, String)> = category
        .map(|value| ("category".to_owned(), text(value)))
        .into_iter()
        .collect();
    let variables = fields.get("custom_variables").and_then(Value::as_object);
    for (name, value) in variables.into_iter().flatten() {
        options.push((format!("custom_variables.{name}"), text(value)));
    }
    options
}

struct Check<'a> {
    fields: &'a Map<String, Value>,
    errors: Vec<String>,
}

impl Check<'_> {
    fn is_empty(&self, name: &str) -> bool {
        let list = self.fields.get(name).and_then(Value::as_array);
        list.is_none_or(Vec::is_empty)
    }

    fn fault(&mut self, text: String) {
        self.errors.push(text);
    }

    /// The address in `{ "email": ..., "name": ... }`.
    fn address(&mut self, name: &str, value: Option<&Value>) -> Option<String> {
        let value = value?;
        let email = value.get("email").and_then(Value::as_str);
        let is_named = value.get("name").is_none_or(Value::is_string);
        match email.filter(|email| address(email).as_deref() == Some(*email) && is_named) {
            Some(email) => Some(email.to_owned()),
            None => {
                self.fault(format!("'{name}' address is invalid"));
                None
            }
        }
    }

    fn list(&mut self, name: &str) -> Vec<String> {
        let fields = self.fields;
        let Some(value) = fields.get(name) else {
            return Vec::new();
        };
        let Some(list) = value.as_array() else {
            self.fault(format!("'{name}' must be an array"));
            return Vec::new();
        };
        if list.len() > LIST_MAX {
            self.fault(format!(
                "'{name}' must not have more than {LIST_MAX} addresses"
            ));
        }
        let entries = list.iter().take(LIST_MAX);
        entries
            .filter_map(|entry| self.address(name, Some(entry)))
            .collect()
    }

    /// Subject and texts, or a template in their place.
    fn content(&mut self) {
        let is_of_template = self.fields.contains_key("template_uuid");
        let mut has_text = false;
        for name in ["subject", "text", "html", "category"] {
            let Some(value) = self.fields.get(name) else {
                continue;
            };
            match value.as_str() {
                Some("") => self.fault(format!("'{name}' must not be empty")),
                Some(_) => has_text |= matches!(name, "text" | "html"),
                None => self.fault(format!("'{name}' must be a string")),
            }
            if is_of_template && name != "category" {
                self.fault(format!("'{name}' is not allowed with 'template_uuid'"));
            }
        }
        let category = self.fields.get("category").and_then(Value::as_str);
        if category.is_some_and(|text| text.chars().count() > CATEGORY_CHARS_MAX) {
            self.fault(format!("'category' is longer than {CATEGORY_CHARS_MAX}"));
        }
        if is_of_template {
            return;
        }
        if !self.fields.contains_key("subject") {
            self.fault("'subject' is required".to_owned());
        }
        if !has_text {
            self.fault("must specify either text or html body".to_owned());
        }
    }

    /// A map from text to text.
    fn map(&mut self, name: &str) -> Vec<(String, String)> {
        let fields = self.fields;
        let Some(value) = fields.get(name) else {
            return Vec::new();
        };
        let pairs = value.as_object().map(|map| {
            let pairs = map.iter().map(|(key, value)| {
                let text = value.as_str()?;
                Some((key.clone(), text.to_owned()))
            });
            pairs.collect::<Option<Vec<_>>>()
        });
        let Some(Some(pairs)) = pairs else {
            self.fault(format!("'{name}' must be an object of strings"));
            return Vec::new();
        };
        pairs
    }

    fn headers(&mut self) {
        for (name, value) in self.map("headers") {
            let is_name =
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
            if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
                self.fault(format!(
                    "'headers' must not have the reserved field '{name}'"
                ));
            } else if !is_name || !value.is_ascii() || value.contains(['\r', '\n']) {
                self.fault(format!("'headers' has an invalid field '{name}'"));
            }
        }
    }

    fn variables(&mut self) {
        if self.map("custom_variables").is_empty() {
            return;
        }
        let bytes = self.fields["custom_variables"].to_string().len();
        if bytes > VARIABLES_BYTES_MAX {
            self.fault(format!(
                "'custom_variables' is over {VARIABLES_BYTES_MAX} bytes"
            ));
        }
    }

    /// Octets of texts and attachments.
    fn attachments(&mut self) -> usize {
        let fields = self.fields;
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map_or(0, str::len);
        let mut bytes = text("text") + text("html");
        let Some(value) = fields.get("attachments") else {
            return bytes;
        };
        let Some(list) = value.as_array() else {
            self.fault("'attachments' must be an array".to_owned());
            return bytes;
        };
        for (at, attachment) in list.iter().enumerate() {
            match octets(attachment) {
                Ok(octets) => bytes += octets,
                Err(what) => self.fault(format!("'attachments[{at}]' {what}")),
            }
        }
        bytes
    }
}

fn octets(attachment: &Value) -> Result<usize, &'static str> {
    let text = |name: &str| match attachment.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err("has a field that is no string"),
    };
    let disposition = text("disposition")?.unwrap_or("attachment");
    if !matches!(disposition, "attachment" | "inline") {
        return Err("'disposition' must be attachment or inline");
    }
    if disposition == "inline" && text("content_id")?.is_none() {
        return Err("'content_id' is required for inline attachments");
    }
    text("type")?;
    if text("filename")?.is_none_or(str::is_empty) {
        return Err("'filename' is required");
    }
    let content = text("content")?.ok_or("'content' is required")?;
    let content = STANDARD.decode(content);
    content
        .map(|octets| octets.len())
        .map_err(|_| "'content' is no base64")
}
