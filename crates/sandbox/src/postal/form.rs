//! The parameters of the two send calls, checked in the order in which the service checks them.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;

use super::fate::Fate;
use super::{Problem, RECIPIENTS_MAX};
use crate::address::{address, addresses};
use crate::mailbox::Arrival;
use crate::sandbox::Sandbox;

/// Most addresses of each of `to`, `cc` and `bcc`.
const LIST_MAX: usize = 50;

/// A message to be sent.
#[derive(Debug)]
pub(super) struct Form {
    /// Who gets a copy, each once.
    pub(super) recipients: Vec<String>,
    /// Its Message-ID, without brackets.
    pub(super) message_id: Option<String>,
    mail_from: String,
    options: Vec<(String, String)>,
    raw: Bytes,
    fields: Option<Value>,
}

impl Form {
    /// Notes for the webhooks what will become of it: `Held:RCPT` or `HardFail:RCPT`, and why.
    pub(super) fn note_fate(&mut self, fate: Fate) {
        let count = match fate.is_of_half {
            true => self.recipients.len().div_ceil(2),
            false => self.recipients.len(),
        };
        for recipient in self.recipients.iter().take(count) {
            let name = format!("{}:{recipient}", fate.status);
            self.options
                .push((name, fate.details.replace("{rcpt}", recipient)));
        }
    }

    pub(super) fn into_arrival(self, peer: SocketAddr) -> Arrival {
        Arrival {
            peer,
            mail_from: Some(self.mail_from),
            recipients: self.recipients,
            pool: None,
            options: self.options,
            raw: self.raw,
            fields: self.fields,
        }
    }
}

/// `send/raw`. A message whose octets are not base64 is empty to the service, and so has no From
/// that it knows.
pub(super) fn raw(sandbox: &Sandbox, parameters: &Value, _body: Bytes) -> Result<Form, Problem> {
    let rcpt_to = parameters.get("rcpt_to").and_then(Value::as_array);
    let rcpt_to = rcpt_to.ok_or(Problem::Parameter("rcpt_to"))?;
    let mail_from = present(parameters, "mail_from").ok_or(Problem::Parameter("mail_from"))?;
    let data = present(parameters, "data").ok_or(Problem::Parameter("data"))?;
    let data: String = data.split_whitespace().collect();
    let raw = STANDARD.decode(data).unwrap_or_default();
    let from = header(&raw, "from").unwrap_or_default();
    if !may_send_from(sandbox, &addresses(&from).unwrap_or_default()) {
        return Err(Problem::Error("UnauthenticatedFromAddress", None));
    }
    let mut recipients: Vec<String> = Vec::new();
    for recipient in rcpt_to
        .iter()
        .filter_map(Value::as_str)
        .take(RECIPIENTS_MAX)
    {
        if !recipients.iter().any(|known| known == recipient) {
            recipients.push(recipient.to_owned());
        }
    }
    let message_id = header(&raw, "message-id");
    let tag = header(&raw, "x-postal-tag");
    Ok(Form {
        recipients,
        message_id: message_id.map(|id| id.trim_matches(['<', '>']).to_owned()),
        mail_from: mail_from.to_owned(),
        options: options(tag, parameters),
        raw: raw.into(),
        fields: None,
    })
}

/// `send/message`.
pub(super) fn message(sandbox: &Sandbox, parameters: &Value, body: Bytes) -> Result<Form, Problem> {
    let lists = ["to", "cc", "bcc"].map(|name| list(parameters, name));
    let from = present(parameters, "from");
    let from_address = from.and_then(address);
    let codes = [
        "TooManyToAddresses",
        "TooManyCCAddresses",
        "TooManyBCCAddresses",
    ];
    let has_content = ["plain_body", "html_body"]
        .iter()
        .any(|name| present(parameters, name).is_some());
    let senders: Vec<String> = from_address.iter().cloned().collect();
    let first_error = if lists.iter().all(Vec::is_empty) {
        Some("NoRecipients")
    } else if let Some(at) = lists.iter().position(|list| list.len() > LIST_MAX) {
        codes.get(at).copied()
    } else if !has_content {
        Some("NoContent")
    } else if from.is_none() {
        Some("FromAddressMissing")
    } else if !may_send_from(sandbox, &senders) {
        Some("UnauthenticatedFromAddress")
    } else {
        attachment_error(parameters)
    };
    if let Some(code) = first_error {
        return Err(Problem::Error(code, explained(code)));
    }
    let mut recipients: Vec<String> = Vec::new();
    for recipient in lists.into_iter().flatten() {
        let recipient = address(&recipient).unwrap_or(recipient);
        if !recipients.contains(&recipient) {
            recipients.push(recipient);
        }
    }
    let tag = present(parameters, "tag").map(str::to_owned);
    let serial = sandbox.mailbox().next_serial();
    Ok(Form {
        recipients,
        message_id: Some(format!("{serial:032x}@rp.postal.example")),
        mail_from: from_address.unwrap_or_default(),
        options: options(tag, parameters),
        raw: body,
        fields: Some(parameters.clone()),
    })
}

fn explained(code: &str) -> Option<&'static str> {
    let explained = match code {
        "NoRecipients" => "There are no recipients defined to receive this message",
        "NoContent" => "There is no content defined for this e-mail",
        "TooManyToAddresses" => "The maximum number of To addresses has been reached (maximum 50)",
        "TooManyCCAddresses" => "The maximum number of CC addresses has been reached (maximum 50)",
        "TooManyBCCAddresses" => {
            "The maximum number of BCC addresses has been reached (maximum 50)"
        }
        "FromAddressMissing" => "The From address is missing and is required",
        "UnauthenticatedFromAddress" => {
            "The From address is not authorised to send mail from this server"
        }
        "AttachmentMissingName" => "An attachment is missing a name",
        "AttachmentMissingData" => "An attachment is missing data",
        _ => return None,
    };
    Some(explained)
}

fn attachment_error(parameters: &Value) -> Option<&'static str> {
    let attachments = parameters.get("attachments").and_then(Value::as_array)?;
    attachments
        .iter()
        .filter(|one| one.is_object())
        .find_map(|one| match (present(one, "name"), present(one, "data")) {
            (None, _) => Some("AttachmentMissingName"),
            (Some(_), None) => Some("AttachmentMissingData"),
            (Some(_), Some(_)) => None,
        })
}

/// All addresses of From must be of domains that are the server's own.
fn may_send_from(sandbox: &Sandbox, from: &[String]) -> bool {
    let account = &sandbox.config().account;
    !from.is_empty() && from.iter().all(|address| account.may_send_from(address))
}

/// A parameter's text, if there is more to it than spaces.
fn present<'a>(parameters: &'a Value, name: &str) -> Option<&'a str> {
    let text = parameters.get(name)?.as_str()?;
    (!text.trim().is_empty()).then_some(text)
}

/// A list of addresses, or a text with commas between them.
fn list(parameters: &Value, name: &str) -> Vec<String> {
    match parameters.get(name) {
        Some(Value::Array(list)) => {
            let texts = list.iter().filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        }
        Some(Value::String(text)) if !text.is_empty() => {
            text.split(',').map(|one| one.trim().to_owned()).collect()
        }
        _ => Vec::new(),
    }
}

fn options(tag: Option<String>, parameters: &Value) -> Vec<(String, String)> {
    let mut options: Vec<(String, String)> = Vec::new();
    options.extend(tag.map(|tag| ("tag".to_owned(), tag)));
    if parameters.get("bounce").is_some_and(is_true) {
        options.push(("bounce".to_owned(), "true".to_owned()));
    }
    options
}

/// Ruby's idea of it.
fn is_true(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false))
}

/// The last header field of this name, unfolded.
fn header(raw: &[u8], name: &str) -> Option<String> {
    let end = memchr::memmem::find(raw, b"\r\n\r\n").unwrap_or(raw.len());
    let head = String::from_utf8_lossy(&raw[..end]);
    let head = head.replace("\r\n ", " ").replace("\r\n\t", " ");
    let mut fields = head.rsplit("\r\n").filter_map(|line| line.split_once(':'));
    let field = fields.find(|(field, _)| field.eq_ignore_ascii_case(name));
    field.map(|(_, value)| value.trim().to_owned())
}
