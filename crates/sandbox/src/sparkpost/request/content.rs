//! `content`: a message as it is, or its parts. Templates and tests are stored at the service, and
//! none is stored here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value};

use super::super::Problem;
use super::super::template::render;
use super::{object, text};
use crate::address::address;

/// Text, HTML, attachments and images together.
const CONTENT_BYTES_MAX: usize = 20 * 1_000 * 1_000;
/// The name of an attachment or an image.
const NAME_BYTES_MAX: usize = 255;
/// Fields that the service writes itself.
const OWN_FIELDS: [&str; 6] = [
    "subject",
    "from",
    "to",
    "reply-to",
    "content-type",
    "content-transfer-encoding",
];

/// What is sent.
#[derive(Debug)]
pub(super) struct Content {
    sender: Option<String>,
    raw: Bytes,
    fields: Option<Value>,
}

impl Content {
    /// Checks `content`; `body` is the whole request, and what is kept of inline content.
    pub(super) fn read(
        document: &Map<String, Value>,
        body: Bytes,
        substitutes: bool,
        data: &[&Value],
    ) -> Result<Self, Problem> {
        let Some(content) = object(document, "content")? else {
            return Err(Problem::missing("content object or template_id required"));
        };
        for (stored, what) in [("template_id", "template"), ("ab_test_id", "ab_test_id")] {
            if let Some(id) = text(content, stored)? {
                return Err(Problem::new(422, "1603", "Subresource not found")
                    .because(format!("{what} '{id}' does not exist")));
            }
        }
        match text(content, "email_rfc822")? {
            Some(message) => {
                let is_mixed = ["from", "subject", "text", "html"]
                    .iter()
                    .any(|name| content.contains_key(*name));
                if is_mixed {
                    return Err(Problem::new(422, "1301", "Invalid combination of fields")
                        .because("email_rfc822 stands alone"));
                }
                raw(message, substitutes, data)
            }
            None => inline(content, body, data),
        }
    }

    /// The address in From.
    pub(super) fn sender(&self) -> Option<&str> {
        self.sender.as_deref()
    }

    /// The message, and what its fields said if it came in fields.
    pub(super) fn into_parts(self) -> (Bytes, Option<Value>) {
        (self.raw, self.fields)
    }
}

fn too_large() -> Problem {
    Problem::plain(413, "Request Entity Too Large").because("content is limited to 20 MB")
}

/// A finished message. Line ends become CRLF; the template language runs over it.
fn raw(message: &str, substitutes: bool, data: &[&Value]) -> Result<Content, Problem> {
    if message.len() > CONTENT_BYTES_MAX {
        return Err(too_large());
    }
    let message = message.replace("\r\n", "\n").replace(['\r', '\n'], "\r\n");
    let (head, body) = match message.find("\r\n\r\n") {
        Some(end) => message.split_at(end + 2),
        None => (message.as_str(), ""),
    };
    let head = render(head, data)?;
    let body = match substitutes {
        true => render(body, data)?,
        false => body.to_owned(),
    };
    let fields = fields_of(&head).ok_or_else(|| {
        Problem::new(422, "3020", "template mime parsing error").because("no header field found")
    })?;
    let mut from = fields
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("from"));
    let sender = from.next().and_then(|(_, value)| address(value));
    Ok(Content {
        sender,
        raw: format!("{head}{body}").into(),
        fields: None,
    })
}

/// The unfolded fields of a header section; `None` if a line is none.
fn fields_of(head: &str) -> Option<Vec<(String, String)>> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in head.split("\r\n").filter(|line| !line.is_empty()) {
        if line.starts_with([' ', '\t']) {
            fields.last_mut()?.1.push_str(line);
            continue;
        }
        let (name, value) = line.split_once(':')?;
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
        is_name.then_some(())?;
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
    (!fields.is_empty()).then_some(fields)
}

/// A message in parts.
fn inline(content: &Map<String, Value>, body: Bytes, data: &[&Value]) -> Result<Content, Problem> {
    let sender = match content.get("from") {
        None | Some(Value::Null) => return Err(Problem::missing("content.from is required")),
        Some(Value::String(from)) => Some(from.as_str()),
        Some(Value::Object(from)) => {
            text(from, "name")?;
            text(from, "email")?
        }
        Some(_) => return Err(Problem::invalid("from must be a string or an object")),
    };
    let mut size = 0;
    let mut has_text = false;
    for name in ["subject", "text", "html", "amp_html", "reply_to"] {
        let Some(text) = text(content, name)? else {
            continue;
        };
        render(text, data)?;
        has_text |= matches!(name, "text" | "html");
        size += text.len();
    }
    if !content.contains_key("subject") {
        return Err(Problem::missing("content.subject is required"));
    }
    if !has_text {
        return Err(Problem::missing(
            "at least one of text or html needs to exist in content",
        ));
    }
    check_headers(content)?;
    for list in ["attachments", "inline_images"] {
        size += files(content, list)?;
    }
    if size > CONTENT_BYTES_MAX {
        return Err(too_large());
    }
    Ok(Content {
        sender: sender.and_then(address),
        raw: body,
        fields: Some(Value::Object(content.clone())),
    })
}

fn check_headers(content: &Map<String, Value>) -> Result<(), Problem> {
    for (name, value) in object(content, "headers")?.into_iter().flatten() {
        let is_own = OWN_FIELDS.contains(&name.to_ascii_lowercase().as_str());
        let is_good = value
            .as_str()
            .is_some_and(|value| !value.contains(['\r', '\n']));
        if is_own || !is_good {
            return Err(Problem::new(422, "3002", "Invalid header")
                .because(format!("header {name} is not allowed or not a string")));
        }
    }
    Ok(())
}

/// The octets of a list of files, in Base64.
fn files(content: &Map<String, Value>, list: &str) -> Result<usize, Problem> {
    let files = match content.get(list) {
        None | Some(Value::Null) => return Ok(0),
        Some(Value::Array(files)) => files,
        Some(_) => return Err(Problem::invalid(format!("{list} must be an array"))),
    };
    let mut names: Vec<&str> = Vec::new();
    let mut size = 0;
    for file in files {
        let Some(file) = file.as_object() else {
            return Err(Problem::invalid(format!("{list} must hold objects")));
        };
        let member = |name: &str| {
            text(file, name)?
                .ok_or_else(|| Problem::missing(format!("{name} is required in {list}")))
        };
        let (name, _, data) = (member("name")?, member("type")?, member("data")?);
        if name.len() > NAME_BYTES_MAX || (list == "inline_images" && names.contains(&name)) {
            return Err(Problem::invalid(format!(
                "{list}: the name is too long or not unique"
            )));
        }
        if STANDARD.decode(data).is_err() {
            return Err(Problem::invalid(format!(
                "{list}: data must be Base64 in one line"
            )));
        }
        names.push(name);
        size += data.len();
    }
    Ok(size)
}
