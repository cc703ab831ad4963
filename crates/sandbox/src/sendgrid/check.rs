//! The body of a send, checked against the OpenAPI description and the published list of errors,
//! one fault at a time.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Problem;
use super::shape::{array, is_text, object, only, person, string, wrong_type};
use crate::config::Account;

/// Personalizations, recipients of all of them together, and addresses of `reply_to_list`.
const LIST_MAX: usize = 1_000;
/// `categories`: how many, and characters of each.
const CATEGORIES_MAX: usize = 10;
const CATEGORY_CHARS_MAX: usize = 255;
/// `custom_args`, octets in all.
const CUSTOM_ARGS_BYTES_MAX: usize = 10_000;
/// `ip_pool_name`, characters.
const POOL_CHARS: std::ops::RangeInclusive<usize> = 2..=64;
/// A send is scheduled at most 72 hours ahead.
const AHEAD_SECONDS_MAX: i64 = 72 * 3600;
/// Header fields that may not be overridden.
const RESERVED: [&str; 12] = [
    "x-sg-id",
    "x-sg-eid",
    "received",
    "dkim-signature",
    "content-type",
    "content-transfer-encoding",
    "to",
    "from",
    "subject",
    "reply-to",
    "cc",
    "bcc",
];
const MEMBERS: [&str; 17] = [
    "personalizations",
    "from",
    "reply_to",
    "reply_to_list",
    "subject",
    "content",
    "attachments",
    "template_id",
    "headers",
    "categories",
    "custom_args",
    "send_at",
    "batch_id",
    "asm",
    "ip_pool_name",
    "mail_settings",
    "tracking_settings",
];
const PERSONALIZATION_MEMBERS: [&str; 10] = [
    "from",
    "to",
    "cc",
    "bcc",
    "subject",
    "headers",
    "substitutions",
    "dynamic_template_data",
    "custom_args",
    "send_at",
];

/// A send as far as it matters here.
#[derive(Debug)]
pub(super) struct Email {
    /// Of all personalizations: to, cc and bcc.
    pub(super) recipients: Vec<String>,
    pub(super) pool: Option<String>,
    pub(super) options: Vec<(String, String)>,
    pub(super) fields: Value,
    /// Whether `mail_settings.sandbox_mode` is on.
    pub(super) is_sandboxed: bool,
}

/// Reads and checks a body.
pub(super) fn read(body: &[u8], account: &Account, now: Timestamp) -> Result<Email, Problem> {
    let Ok(Value::Object(mail)) = serde_json::from_slice::<Value>(body) else {
        return Err(Problem::new(400, "Bad Request"));
    };
    only(&mail, &MEMBERS, "")?;
    let recipients = personalizations(&mail, now)?;
    let from = sender(&mail)?;
    reply_to(&mail)?;
    subject(&mail)?;
    content(&mail)?;
    attachments(&mail)?;
    headers(mail.get("headers"), "headers")?;
    categories(&mail)?;
    custom_args(mail.get("custom_args"), "custom_args")?;
    send_at(mail.get("send_at"), "send_at", now)?;
    let pool = pool(&mail)?;
    settings(&mail)?;
    if !account.may_send_from(&from) {
        return Err(Problem::sender());
    }
    let switch = "/mail_settings/sandbox_mode/enable";
    let options = options(&mail);
    let fields = Value::Object(mail);
    Ok(Email {
        recipients,
        pool,
        options,
        is_sandboxed: fields.pointer(switch) == Some(&Value::Bool(true)),
        fields,
    })
}

/// What is shown as the message's options.
fn options(mail: &Map<String, Value>) -> Vec<(String, String)> {
    let categories = mail.get("categories").and_then(Value::as_array);
    let categories = categories.into_iter().flatten();
    let named = |value: &Value| Some(("category".to_owned(), value.as_str()?.to_owned()));
    let mut options: Vec<(String, String)> = categories.filter_map(named).collect();
    let args = mail.get("custom_args").and_then(Value::as_object);
    for (name, value) in args.into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        options.push((format!("custom_args.{name}"), value.to_owned()));
    }
    for name in ["mail_settings", "tracking_settings", "asm", "send_at"] {
        if let Some(value) = mail.get(name) {
            options.push((name.to_owned(), value.to_string()));
        }
    }
    options
}

fn personalizations(mail: &Map<String, Value>, now: Timestamp) -> Result<Vec<String>, Problem> {
    let field = "personalizations";
    let list = mail.get(field).map(|value| array(value, field));
    let list = list.transpose()?.unwrap_or_default();
    if list.is_empty() {
        let message = "The personalizations field is required and must have at least one \
                       personalization.";
        return Err(Problem::of_field(field, message));
    }
    if list.len() > LIST_MAX {
        let message = format!(
            "The personalization block is limited to 1000 personalizations per API request. You \
             have provided {} personalizations. Please consider splitting this into multiple \
             requests and resending your request.",
            list.len()
        );
        return Err(Problem::of_field(field, message));
    }
    let mut recipients = Vec::new();
    for (at, one) in list.iter().enumerate() {
        recipients.extend(personalization(one, &format!("{field}.{at}"), now)?);
    }
    if recipients.len() > LIST_MAX {
        let message = "There is a limit of 1000 total recipients (to + cc + bcc) per request.";
        return Err(Problem::of_field(field, message));
    }
    Ok(recipients)
}

fn personalization(one: &Value, field: &str, now: Timestamp) -> Result<Vec<String>, Problem> {
    let members = object(one, field)?;
    only(members, &PERSONALIZATION_MEMBERS, field)?;
    let (mut recipients, mut seen) = (Vec::new(), BTreeSet::new());
    for name in ["to", "cc", "bcc"] {
        let at = format!("{field}.{name}");
        let list = members
            .get(name)
            .map(|value| array(value, &at))
            .transpose()?;
        if name == "to" && list.is_none_or(<[Value]>::is_empty) {
            let message = "The to array is required for all personalization objects, and must \
                           have at least one email object with a valid email address.";
            return Err(Problem::of_field(at, message));
        }
        for (place, value) in list.unwrap_or_default().iter().enumerate() {
            let fault = "Does not contain a valid address.";
            let email = person(value, &format!("{at}.{place}"), fault)?;
            if !seen.insert(email.to_ascii_lowercase()) {
                let message = format!(
                    "Each email address in the personalization block should be unique between to, \
                     cc, and bcc. We found the first duplicate instance of [{email}] in the {at} \
                     field."
                );
                return Err(Problem::of_field(field, message));
            }
            recipients.push(email);
        }
    }
    if let Some(subject) = members.get("subject") {
        string(subject, &format!("{field}.subject"))?;
    }
    headers(members.get("headers"), &format!("{field}.headers"))?;
    custom_args(members.get("custom_args"), &format!("{field}.custom_args"))?;
    send_at(members.get("send_at"), &format!("{field}.send_at"), now)?;
    Ok(recipients)
}

fn sender(mail: &Map<String, Value>) -> Result<String, Problem> {
    let Some(from) = mail.get("from") else {
        let message = "The from object must be provided for every email send. It is an object that \
                       requires the email parameter, but may also contain a name parameter.  e.g. \
                       {\"email\" : \"example@example.com\"}  or {\"email\" : \
                       \"example@example.com\", \"name\" : \"Example Recipient\"}.";
        return Err(Problem::of_field("from.email", message));
    };
    person(
        from,
        "from",
        "The from email does not contain a valid address.",
    )
}

fn reply_to(mail: &Map<String, Value>) -> Result<(), Problem> {
    let fault = "The reply_to email does not contain a valid address.";
    if let Some(one) = mail.get("reply_to") {
        person(one, "reply_to", fault)?;
    }
    let field = "reply_to_list";
    let Some(list) = mail.get(field) else {
        return Ok(());
    };
    if mail.contains_key("reply_to") {
        let message = "The reply_to_list parameter and the reply_to parameter are mutually \
                       exclusive.";
        return Err(Problem::of_field(field, message));
    }
    let list = array(list, field)?;
    let mut seen = BTreeSet::new();
    for (at, value) in list.iter().enumerate() {
        let email = person(value, &format!("{field}.{at}"), fault)?;
        if !seen.insert(email.to_ascii_lowercase()) {
            let message = "Each email address in the reply_to_list should be unique.";
            return Err(Problem::of_field(field, message));
        }
    }
    if list.len() > LIST_MAX {
        let message = "There is a limit of 1000 reply_to_list emails per request.";
        return Err(Problem::of_field(field, message));
    }
    Ok(())
}

fn subject(mail: &Map<String, Value>) -> Result<(), Problem> {
    let all = mail.get("personalizations").and_then(Value::as_array);
    let mut all = all.into_iter().flatten();
    let everywhere = all.all(|one| is_text(one.get("subject")));
    if is_text(mail.get("subject")) || is_text(mail.get("template_id")) || everywhere {
        return Ok(());
    }
    let message = "The subject is required. You can get around this requirement if you use a \
                   template with a subject defined or if every personalization has a subject \
                   defined.";
    Err(Problem::of_field("subject", message))
}

fn content(mail: &Map<String, Value>) -> Result<(), Problem> {
    let field = "content";
    let list = mail.get(field).map(|value| array(value, field));
    let list = list.transpose()?.unwrap_or_default();
    if list.is_empty() && !is_text(mail.get("template_id")) {
        let message = "Unless a valid template_id is provided, the content parameter is required. \
                       There must be at least one defined content block. We typically suggest both \
                       text/plain and text/html blocks are included, but only one block is \
                       required.";
        return Err(Problem::of_field(field, message));
    }
    let mut places = Vec::new();
    for (at, block) in list.iter().enumerate() {
        let field = format!("{field}.{at}");
        let members = object(block, &field)?;
        only(members, &["type", "value"], &field)?;
        for (name, what) in [("type", "type"), ("value", "value")] {
            if !is_text(members.get(name)) {
                let message = format!(
                    "The content {what} must be a string at least one character in length."
                );
                return Err(Problem::of_field(format!("{field}.{name}"), message));
            }
        }
        let kind = members
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if kind.contains([';', '\r', '\n']) {
            let message = "The content type cannot contain ';', or CRLF characters.";
            return Err(Problem::of_field(format!("{field}.type"), message));
        }
        places.push(match kind {
            "text/plain" => 0,
            "text/html" => 1,
            _ => 2,
        });
    }
    let is_once = |place| places.iter().filter(|other| **other == place).count() <= 1;
    if !places.is_sorted() || !is_once(0) || !is_once(1) {
        let message = "If present, text/plain and text/html may only be provided once, and \
                       text/plain must be first, followed by text/html, followed by any other \
                       content.";
        return Err(Problem::of_field(field, message));
    }
    Ok(())
}

fn attachments(mail: &Map<String, Value>) -> Result<(), Problem> {
    let field = "attachments";
    let list = mail.get(field).map(|value| array(value, field));
    for (at, one) in list.transpose()?.unwrap_or_default().iter().enumerate() {
        let field = format!("{field}.{at}");
        let members = object(one, &field)?;
        let known = ["content", "type", "filename", "disposition", "content_id"];
        only(members, &known, &field)?;
        let fault =
            |name: &str, message: &str| Err(Problem::of_field(format!("{field}.{name}"), message));
        for name in known {
            if let Some(value) = members.get(name) {
                let text = string(value, &format!("{field}.{name}"))?;
                if name != "content" && text.contains(['\r', '\n']) {
                    return fault(name, "The attachment cannot contain CRLF characters.");
                }
            }
        }
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        match text("content").filter(|content| !content.is_empty()) {
            None => return fault("content", "The attachment content is required."),
            Some(content) if STANDARD.decode(content).is_err() => {
                return fault("content", "The attachment content must be base64 encoded.");
            }
            Some(_) => {}
        }
        if !is_text(members.get("filename")) {
            return fault("filename", "The attachment filename is required.");
        }
        if text("type").is_some_and(|kind| kind.is_empty() || kind.contains(';')) {
            return fault(
                "type",
                "The attachment type cannot contain ';', or be empty.",
            );
        }
        if !matches!(text("disposition"), None | Some("inline" | "attachment")) {
            let message = "The disposition of your attachment can be either inline or attachment.";
            return fault("disposition", message);
        }
    }
    Ok(())
}

fn headers(given: Option<&Value>, field: &str) -> Result<(), Problem> {
    let Some(given) = given else {
        return Ok(());
    };
    for (name, value) in object(given, field)? {
        let field = format!("{field}.{name}");
        if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
            let message = format!("The header {name} is reserved and cannot be used.");
            return Err(Problem::of_field(field, message));
        }
        let value = string(value, &field)?;
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
        if !is_name || !value.is_ascii() || value.contains(['\r', '\n', '\0']) {
            let message = "Ensure headers are properly encoded if they contain unicode characters.";
            return Err(Problem::of_field(field, message));
        }
    }
    Ok(())
}

fn categories(mail: &Map<String, Value>) -> Result<(), Problem> {
    let field = "categories";
    let list = mail.get(field).map(|value| array(value, field));
    let list = list.transpose()?.unwrap_or_default();
    if list.len() > CATEGORIES_MAX {
        let message = "There is a limit of 10 categories per request.";
        return Err(Problem::of_field(field, message));
    }
    let mut seen = BTreeSet::new();
    for (at, value) in list.iter().enumerate() {
        let field = format!("{field}.{at}");
        let name = string(value, &field)?;
        if name.chars().count() > CATEGORY_CHARS_MAX {
            let message = "Each category cannot be longer than 255 characters.";
            return Err(Problem::of_field(field, message));
        }
        if !seen.insert(name) {
            let message = "Each category must be unique.";
            return Err(Problem::of_field(field, message));
        }
    }
    Ok(())
}

fn custom_args(given: Option<&Value>, field: &str) -> Result<(), Problem> {
    let Some(given) = given else {
        return Ok(());
    };
    for (name, value) in object(given, field)? {
        string(value, &format!("{field}.{name}"))?;
    }
    if given.to_string().len() > CUSTOM_ARGS_BYTES_MAX {
        let message = "The combined size of custom arguments cannot exceed 10,000 bytes.";
        return Err(Problem::of_field(field, message));
    }
    Ok(())
}

fn send_at(given: Option<&Value>, field: &str, now: Timestamp) -> Result<(), Problem> {
    let Some(given) = given else {
        return Ok(());
    };
    let Some(at) = given.as_i64() else {
        return Err(wrong_type(field, "integer", given));
    };
    if at > now.as_second() + AHEAD_SECONDS_MAX {
        let message = "The send_at parameter must be within 72 hours.";
        return Err(Problem::of_field(field, message));
    }
    Ok(())
}

fn pool(mail: &Map<String, Value>) -> Result<Option<String>, Problem> {
    let field = "ip_pool_name";
    let Some(name) = mail.get(field) else {
        return Ok(None);
    };
    let name = string(name, field)?;
    if !POOL_CHARS.contains(&name.chars().count()) {
        let message = "The ip_pool_name must have 2 to 64 characters.";
        return Err(Problem::of_field(field, message));
    }
    Ok(Some(name.to_owned()))
}

fn settings(mail: &Map<String, Value>) -> Result<(), Problem> {
    for name in ["mail_settings", "tracking_settings", "asm"] {
        if let Some(value) = mail.get(name) {
            object(value, name)?;
        }
    }
    match mail.get("asm") {
        Some(asm) if !asm["group_id"].is_i64() => {
            let message = "The asm group_id is required and must be an integer.";
            Err(Problem::of_field("asm.group_id", message))
        }
        _ => Ok(()),
    }
}
