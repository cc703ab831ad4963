//! The body of `email`, checked against the service's description: the first fault only.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::{DEFAULT_STREAM, INBOUND_STREAM, Problem, has_stream, not_a_signature, too_large};
use crate::address::{address, addresses};
use crate::config::Account;

/// To, Cc and Bcc together.
const RECIPIENTS_MAX: usize = 50;
/// Texts and attachments together.
const MESSAGE_BYTES_MAX: usize = 10 * 1024 * 1024;
/// `HtmlBody` and `TextBody`, each.
const TEXT_BYTES_MAX: usize = 5 * 1024 * 1024;
/// `Tag`, characters.
const TAG_CHARS_MAX: usize = 1_000;
/// Fields of `Metadata`, and the characters of a name and of a value ("Custom metadata FAQ").
const METADATA_MAX: usize = 10;
const METADATA_NAME_CHARS_MAX: usize = 20;
const METADATA_VALUE_CHARS_MAX: usize = 80;
/// Header fields that have a property of their own.
const RESERVED: [&str; 11] = [
    "from",
    "to",
    "cc",
    "bcc",
    "subject",
    "reply-to",
    "sender",
    "date",
    "content-type",
    "content-transfer-encoding",
    "mime-version",
];
/// "Forbidden file types" of the user guide's page on attachments.
const FORBIDDEN_FILES: [&str; 31] = [
    "vbs", "exe", "bin", "bat", "chm", "com", "cpl", "crt", "hlp", "hta", "inf", "ins", "isp",
    "jse", "lnk", "mdb", "pcd", "pif", "reg", "scr", "sct", "shs", "vbe", "vba", "wsf", "wsh",
    "wsl", "msc", "msi", "msp", "mst",
];

/// A send as far as it matters here.
#[derive(Debug)]
pub(super) struct Email {
    /// `To`, as it came.
    pub(super) to: String,
    /// To, Cc and Bcc, in this order.
    pub(super) recipients: Vec<String>,
    pub(super) stream: String,
    pub(super) options: Vec<(String, String)>,
    pub(super) fields: Value,
}

/// Reads and checks a body.
pub(super) fn read(body: &[u8], account: &Account) -> Result<Email, Problem> {
    let value = serde_json::from_slice(body).map_err(|_| invalid_json())?;
    email(value, account)
}

/// A body that is none, or no email.
pub(super) fn invalid_json() -> Problem {
    Problem::new(402, "Received invalid JSON input.")
}

/// Checks an email.
pub(super) fn email(value: Value, account: &Account) -> Result<Email, Problem> {
    let Value::Object(fields) = value else {
        return Err(invalid_json());
    };
    let form = Form(&fields);
    let from = form.from()?;
    let recipients = form.recipients()?;
    form.text_of("Subject")?;
    form.reply_to()?;
    form.texts()?;
    form.tag()?;
    form.headers()?;
    form.metadata()?;
    form.tracking()?;
    if form.octets()? > MESSAGE_BYTES_MAX {
        return Err(too_large());
    }
    let stream = form.stream(account)?;
    may_send(account, &from, &recipients)?;
    Ok(Email {
        to: form.text_of("To")?.unwrap_or_default().to_owned(),
        options: form.options(),
        recipients,
        stream,
        fields: Value::Object(fields),
    })
}

/// Whether the account may send from here to there.
fn may_send(account: &Account, from: &str, recipients: &[String]) -> Result<(), Problem> {
    if !account.may_send_from(from) {
        return Err(Problem::new(400, not_a_signature(from)));
    }
    let own = domain_of(from);
    let foreign = recipients.iter().map(|recipient| domain_of(recipient));
    let foreign: BTreeSet<String> = foreign.filter(|domain| *domain != own).collect();
    if account.is_limited && !foreign.is_empty() {
        let foreign: Vec<String> = foreign.into_iter().collect();
        let text = format!(
            "While your account is pending approval, all recipient addresses must share the same \
             domain as the 'From' address. The domain of the 'From' address is '{own}', but you \
             are attempting to send email to the following domain(s): '{}'.",
            foreign.join(", ")
        );
        return Err(Problem::new(412, text));
    }
    Ok(())
}

fn domain_of(address: &str) -> String {
    let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
    domain.to_ascii_lowercase()
}

struct Form<'a>(&'a Map<String, Value>);

/// A property of another type than the description's.
fn mistyped(name: &str) -> Problem {
    Problem::new(403, format!("Invalid request field(s) - {name}"))
}

impl<'a> Form<'a> {
    fn text_of(&self, name: &str) -> Result<Option<&'a str>, Problem> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(mistyped(name)),
        }
    }

    fn list_of(&self, name: &str) -> Result<&'a [Value], Problem> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(_) => Err(mistyped(name)),
        }
    }

    fn from(&self) -> Result<String, Problem> {
        let from = self.text_of("From")?.unwrap_or_default();
        let invalid = || Problem::new(300, format!("Invalid 'From' address: '{from}'."));
        address(from).ok_or_else(invalid)
    }

    fn recipients(&self) -> Result<Vec<String>, Problem> {
        let mut recipients = Vec::new();
        for name in ["To", "Cc", "Bcc"] {
            let list = self.text_of(name)?.unwrap_or_default();
            if !list.trim().is_empty() {
                recipients.extend(addresses(list).ok_or_else(|| illegal(name, list))?);
            }
        }
        match recipients.len() {
            0 => Err(Problem::new(300, "Zero recipients specified")),
            1..=RECIPIENTS_MAX => Ok(recipients),
            many => {
                let text = format!(
                    "Recipient limit exceeded. You tried to send to {many} recipients, the \
                     maximum is {RECIPIENTS_MAX}."
                );
                Err(Problem::new(300, text))
            }
        }
    }

    fn reply_to(&self) -> Result<(), Problem> {
        let list = self.text_of("ReplyTo")?.unwrap_or_default();
        if list.is_empty() || addresses(list).is_some() {
            return Ok(());
        }
        Err(illegal("Reply-To", list))
    }

    fn texts(&self) -> Result<(), Problem> {
        let mut has_text = false;
        for name in ["TextBody", "HtmlBody"] {
            let text = self.text_of(name)?.unwrap_or_default();
            has_text |= !text.is_empty();
            if text.len() > TEXT_BYTES_MAX {
                let text = format!("'{name}' exceeds the maximum of 5 MB.");
                return Err(Problem::new(300, text));
            }
        }
        match has_text {
            true => Ok(()),
            false => Err(Problem::new(
                300,
                "Provide either email TextBody or HtmlBody or both.",
            )),
        }
    }

    fn tag(&self) -> Result<(), Problem> {
        let tag = self.text_of("Tag")?.unwrap_or_default();
        if tag.chars().count() > TAG_CHARS_MAX {
            let text = "Tag length exceeded. The maximum allowed is 1000 characters.";
            return Err(Problem::new(300, text));
        }
        Ok(())
    }

    fn headers(&self) -> Result<(), Problem> {
        for header in self.list_of("Headers")? {
            let member = |name: &str| header.get(name).and_then(Value::as_str);
            let (Some(name), Some(value)) = (member("Name"), member("Value")) else {
                return Err(mistyped("Headers"));
            };
            let is_name =
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
            if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
                let text = format!("Header '{name}' not allowed.");
                return Err(Problem::new(300, text));
            }
            if !is_name || value.contains(char::is_control) {
                let text = format!("Header '{name}' is invalid.");
                return Err(Problem::new(300, text));
            }
        }
        Ok(())
    }

    fn metadata(&self) -> Result<(), Problem> {
        let fields = match self.0.get("Metadata") {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::Object(fields)) => fields,
            Some(_) => return Err(mistyped("Metadata")),
        };
        let invalid = |what: &str| Problem::new(300, format!("Invalid metadata content. {what}"));
        if fields.len() > METADATA_MAX {
            return Err(invalid("A message may have 10 metadata fields."));
        }
        let mut names = BTreeSet::new();
        for (name, value) in fields {
            let Some(value) = value.as_str() else {
                return Err(mistyped("Metadata"));
            };
            if name.is_empty() || name.chars().count() > METADATA_NAME_CHARS_MAX {
                return Err(invalid("Field names are limited to 20 characters."));
            }
            if value.chars().count() > METADATA_VALUE_CHARS_MAX {
                return Err(invalid("Values are limited to 80 characters."));
            }
            if !names.insert(name.to_lowercase()) {
                return Err(invalid("Duplicate keys are not allowed."));
            }
        }
        Ok(())
    }

    fn tracking(&self) -> Result<(), Problem> {
        if !matches!(
            self.0.get("TrackOpens"),
            None | Some(Value::Null | Value::Bool(_))
        ) {
            return Err(mistyped("TrackOpens"));
        }
        match self.text_of("TrackLinks")? {
            None | Some("None" | "HtmlAndText" | "HtmlOnly" | "TextOnly") => Ok(()),
            Some(_) => Err(mistyped("TrackLinks")),
        }
    }

    /// Octets of texts and attachments.
    fn octets(&self) -> Result<usize, Problem> {
        let text = |name| Ok(self.text_of(name)?.map_or(0, str::len));
        let mut octets = text("TextBody")? + text("HtmlBody")?;
        for attachment in self.list_of("Attachments")? {
            octets += attachment_octets(attachment)?;
        }
        Ok(octets)
    }

    fn stream(&self, account: &Account) -> Result<String, Problem> {
        let stream = self.text_of("MessageStream")?.unwrap_or(DEFAULT_STREAM);
        if stream == INBOUND_STREAM {
            let text = "Sending is not supported on the supplied 'MessageStream'.";
            return Err(Problem::new(1236, text));
        }
        if !has_stream(account, stream) {
            let text = "The 'MessageStream' provided does not exist on this server.";
            return Err(Problem::new(1235, text));
        }
        Ok(stream.to_owned())
    }

    /// What is shown as the message's options.
    fn options(&self) -> Vec<(String, String)> {
        let mut options = Vec::new();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        if let Some(tag) = self.0.get("Tag").and_then(text) {
            options.push(("Tag".to_owned(), tag));
        }
        for name in ["TrackOpens", "TrackLinks"] {
            if let Some(value) = self.0.get(name).filter(|value| !value.is_null()) {
                let shown = text(value).unwrap_or_else(|| value.to_string());
                options.push((name.to_owned(), shown));
            }
        }
        let metadata = self.0.get("Metadata").and_then(Value::as_object);
        for (name, value) in metadata.into_iter().flatten() {
            let value = text(value).unwrap_or_default();
            options.push((format!("Metadata.{name}"), value));
        }
        options
    }
}

fn illegal(name: &str, list: &str) -> Problem {
    if list.contains('@') {
        return Problem::new(300, format!("Invalid '{name}' address: '{list}'."));
    }
    let text = format!(
        "Error parsing '{name}': Illegal email address '{list}'. It must contain the '@' symbol."
    );
    Problem::new(300, text)
}

fn attachment_octets(attachment: &Value) -> Result<usize, Problem> {
    let member = |name: &str| match attachment.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(mistyped("Attachments")),
    };
    member("ContentID")?;
    let required = |name: &str| {
        let value = member(name)?.filter(|value| !value.is_empty());
        value.ok_or_else(|| {
            let text = format!("Invalid attachment: '{name}' is required.");
            Problem::new(300, text)
        })
    };
    let name = required("Name")?;
    required("ContentType")?;
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    if FORBIDDEN_FILES.contains(&extension.to_ascii_lowercase().as_str()) {
        let text = format!("Forbidden attachment type: '{name}' is not allowed.");
        return Err(Problem::new(411, text));
    }
    let content = STANDARD.decode(required("Content")?);
    let content = content.map_err(|_| {
        let text = format!("Invalid attachment: the content of '{name}' is no base64.");
        Problem::new(300, text)
    })?;
    Ok(content.len())
}
