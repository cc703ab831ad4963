//! The body of `smtp/email`, checked as the service checks it (developers.brevo.com, "Send a
//! transactional email").

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::{Problem, unverified};
use crate::address::address;
use crate::config::Account;
use crate::mailbox::Arrival;

/// Recipients of one message or version.
const RECIPIENTS_MAX: usize = 99;
/// Recipients of all versions of a call.
const VERSIONS_RECIPIENTS_MAX: usize = 2_000;
/// Characters of a display name.
const NAME_CHARS_MAX: usize = 70;
/// Characters of the header fields that the call gives, the list of recipients included.
const HEADERS_CHARS_MAX: usize = 4_096;
/// What the service knows the type of.
const EXTENSIONS: &str = " xlsx xls ods docx docm doc csv pdf txt gif jpg jpeg png tif tiff rtf bmp \
    cgm css shtml html htm zip xml ppt pptx tar ez ics mobi msg pub eps odt mp3 m4a m4v wma ogg \
    flac wav aif aifc aiff mp4 mov avi mkv mpeg mpg wmv pkpass xlsm ";

type Object = Map<String, Value>;

/// One message of a call.
#[derive(Debug)]
pub(super) struct Email {
    document: Object,
    recipients: Vec<String>,
    is_version: bool,
}

/// The messages of a call: one, or one for each of its versions.
pub(super) fn emails(account: &Account, document: &Value) -> Result<Vec<Email>, Problem> {
    let Some(document) = document.as_object() else {
        return Err(Problem::new(
            400,
            "bad_request",
            "Input must be a valid JSON object",
        ));
    };
    let versions = match document.get("messageVersions") {
        None | Some(Value::Null) => {
            return Ok(vec![Email::read(account, document.clone(), false)?]);
        }
        Some(Value::Array(versions)) if !versions.is_empty() => versions,
        Some(_) => return Err(Problem::invalid("messageVersions is not valid")),
    };
    let emails: Result<Vec<Email>, Problem> = versions
        .iter()
        .map(|version| {
            let Some(version) = version.as_object() else {
                return Err(Problem::invalid("messageVersions is not valid"));
            };
            // What stands in a version goes before what stands beside it; `to` only counts there.
            let mut merged = document.clone();
            merged.remove("messageVersions");
            merged.remove("to");
            merged.extend(version.clone());
            Email::read(account, merged, true)
        })
        .collect();
    let emails = emails?;
    let recipients: usize = emails.iter().map(|email| email.recipients.len()).sum();
    if recipients > VERSIONS_RECIPIENTS_MAX {
        let message = format!("messageVersions: at most {VERSIONS_RECIPIENTS_MAX} recipients");
        return Err(Problem::invalid(message));
    }
    Ok(emails)
}

impl Email {
    fn read(account: &Account, document: Object, is_version: bool) -> Result<Self, Problem> {
        let sender = sender(&document)?;
        let mut recipients = Vec::new();
        for list in ["to", "cc", "bcc"] {
            recipients.extend(mailboxes(&document, list)?);
        }
        if !document.contains_key("to") {
            return Err(Problem::missing("to is missing"));
        }
        if recipients.len() > RECIPIENTS_MAX {
            let message = format!("at most {RECIPIENTS_MAX} recipients are allowed");
            return Err(Problem::invalid(message));
        }
        if let Some(id) = document.get("templateId").filter(|id| !id.is_null()) {
            let message = format!("templateId {id} is not valid or does not exist");
            return Err(Problem::invalid(message));
        }
        filled(&document, "subject")?.ok_or_else(|| Problem::missing("subject is missing"))?;
        filled(&document, "textContent")?;
        filled(&document, "htmlContent")?
            .ok_or_else(|| Problem::missing("htmlContent is missing"))?;
        reply_to(&document)?;
        headers(&document, &recipients)?;
        attachments(&document)?;
        tags(&document)?;
        if !account.may_send_from(&sender) {
            return Err(unverified(&sender));
        }
        Ok(Self {
            document,
            recipients,
            is_version,
        })
    }

    pub(super) fn recipients(&self) -> Vec<String> {
        self.recipients.clone()
    }

    pub(super) const fn is_version(&self) -> bool {
        self.is_version
    }

    /// Whether it is checked and no more (`X-Sib-Sandbox: drop`).
    pub(super) fn is_dropped(&self) -> bool {
        let mut drops = self.custom_fields().filter(|(name, value)| {
            name.eq_ignore_ascii_case("X-Sib-Sandbox") && value.eq_ignore_ascii_case("drop")
        });
        drops.next().is_some()
    }

    fn custom_fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let headers = self.document.get("headers").and_then(Value::as_object);
        let headers = headers.into_iter().flatten();
        headers.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
    }

    pub(super) fn into_arrival(self, peer: SocketAddr) -> Arrival {
        let fields = self.custom_fields();
        let mut options: Vec<(String, String)> = fields
            .map(|(name, value)| (format!("header:{name}"), value.to_owned()))
            .collect();
        let tags = self.document.get("tags").and_then(Value::as_array);
        let tags = tags.into_iter().flatten().filter_map(Value::as_str);
        options.extend(tags.map(|tag| ("tag".to_owned(), tag.to_owned())));
        // The dedicated address, where one is asked for.
        let pool = self.custom_fields().find(|(name, _)| *name == "sender.ip");
        let pool = pool.map(|(_, address)| address.to_owned());
        let document = Value::Object(self.document);
        Arrival {
            peer,
            mail_from: None,
            recipients: self.recipients,
            pool,
            options,
            raw: document.to_string().into(),
            fields: Some(document),
        }
    }
}

fn sender(document: &Object) -> Result<String, Problem> {
    let sender = match document.get("sender") {
        None | Some(Value::Null) => return Err(Problem::missing("sender is missing")),
        Some(Value::Object(sender)) => sender,
        Some(_) => return Err(Problem::invalid("sender is not valid")),
    };
    if sender.get("id").is_some_and(|id| !id.is_null()) {
        return Err(Problem::invalid("sender id is not valid"));
    }
    match sender.get("name") {
        None => {}
        Some(Value::String(name)) if name.trim().is_empty() => {
            return Err(Problem::missing("sender name is missing"));
        }
        Some(Value::String(_)) => {}
        Some(_) => return Err(Problem::invalid("sender name is not valid")),
    }
    match sender.get("email").map(|email| bare(email).ok_or(())) {
        None => Err(Problem::missing(
            "One of sender email or sender ID is mandatory",
        )),
        Some(Ok(email)) => Ok(email),
        Some(Err(())) => Err(Problem::invalid("valid sender email required")),
    }
}

fn bare(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    // A dot must be there: the service mails no bare host.
    let has_dot = text
        .rsplit_once('@')
        .is_some_and(|(_, domain)| domain.contains('.'));
    address(text).filter(|address| has_dot && address == text)
}

fn mailboxes(document: &Object, list: &str) -> Result<Vec<String>, Problem> {
    let entries = match document.get(list) {
        None => return Ok(Vec::new()),
        Some(Value::Array(entries)) if !entries.is_empty() => entries,
        Some(Value::Array(_) | Value::Null) => {
            return Err(Problem::missing(format!("{list} is missing")));
        }
        Some(_) => return Err(Problem::invalid(format!("{list} is not valid"))),
    };
    entries.iter().map(|entry| mailbox(entry, list)).collect()
}

fn mailbox(entry: &Value, list: &str) -> Result<String, Problem> {
    let Some(entry) = entry.as_object() else {
        return Err(Problem::invalid(format!("{list} is not valid")));
    };
    match entry.get("name") {
        None | Some(Value::Null) => {}
        Some(Value::String(name)) if !name.is_empty() && name.chars().count() <= NAME_CHARS_MAX => {
        }
        Some(_) => return Err(Problem::invalid(format!("name is not valid in {list}"))),
    }
    match entry.get("email") {
        None => Err(Problem::missing(format!("email is missing in {list}"))),
        Some(email) => {
            bare(email).ok_or_else(|| Problem::invalid(format!("email is not valid in {list}")))
        }
    }
}

/// A text; what is there must say something.
fn filled<'a>(document: &'a Object, name: &str) -> Result<Option<&'a str>, Problem> {
    match document.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
        Some(Value::String(_) | Value::Null) => Err(Problem::missing(format!("{name} is missing"))),
        Some(_) => Err(Problem::invalid(format!("{name} is not valid"))),
    }
}

fn reply_to(document: &Object) -> Result<(), Problem> {
    match document.get("replyTo") {
        None => Ok(()),
        Some(one) => mailbox(one, "replyTo").map(|_| ()),
    }
}

fn headers(document: &Object, recipients: &[String]) -> Result<(), Problem> {
    let headers = match document.get("headers") {
        None => None,
        Some(Value::Object(headers)) if !headers.is_empty() => Some(headers),
        Some(_) => return Err(Problem::invalid("headers is not valid")),
    };
    let mut chars: usize = recipients.iter().map(|address| address.len() + 2).sum();
    for (name, value) in headers.into_iter().flatten() {
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
        let value = value.as_str().filter(|value| !value.contains(['\r', '\n']));
        let Some(value) = value.filter(|_| is_name) else {
            return Err(Problem::invalid(format!("header {name} is not valid")));
        };
        chars += name.chars().count() + value.chars().count();
    }
    if chars < HEADERS_CHARS_MAX {
        return Ok(());
    }
    Err(Problem::invalid(format!(
        "Unexpected long headers length, got: {chars} want: less than {HEADERS_CHARS_MAX} chars"
    )))
}

fn attachments(document: &Object) -> Result<(), Problem> {
    let files = match document.get("attachment") {
        None => return Ok(()),
        Some(Value::Array(files)) if !files.is_empty() => files,
        Some(_) => return Err(Problem::invalid("attachment is not valid")),
    };
    for file in files {
        if file.get("url").is_some() {
            return Err(Problem::invalid("attachment url cannot be fetched here"));
        }
        let content = file.get("content").and_then(Value::as_str);
        let name = file.get("name").and_then(Value::as_str);
        let (Some(content), Some(name)) = (content, name.filter(|name| !name.is_empty())) else {
            return Err(Problem::missing("attachment content or name is missing"));
        };
        let (_, extension) = name.rsplit_once('.').unwrap_or_default();
        let known = format!(" {} ", extension.to_ascii_lowercase());
        if extension.is_empty() || !EXTENSIONS.contains(&known) {
            return Err(Problem::invalid(format!(
                "Unsupported file format for the attachment {name}"
            )));
        }
        if content.is_empty() || STANDARD.decode(content).is_err() {
            return Err(Problem::invalid("attachment content is not valid base64"));
        }
    }
    Ok(())
}

fn tags(document: &Object) -> Result<(), Problem> {
    match document.get("tags") {
        None => Ok(()),
        Some(Value::Array(tags)) if !tags.is_empty() && tags.iter().all(Value::is_string) => Ok(()),
        Some(_) => Err(Problem::invalid("tags is not valid")),
    }
}
