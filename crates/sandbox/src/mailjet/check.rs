//! The body of `send`, checked against the service's guide: every message on its own, all faults
//! of it at once.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::problem::{Problem, Wrong};
use crate::address::address;
use crate::config::Account;

/// Messages of one call.
const MESSAGES_MAX: usize = 50;
/// To, Cc and Bcc of one message together.
const RECIPIENTS_MAX: usize = 50;
/// Attachments of one message together.
const ATTACHMENTS_BYTES_MAX: usize = 15 * 1024 * 1024;
const SUBJECT_CHARS_MAX: usize = 255;
const URL_TAGS_CHARS_MAX: usize = 256;
/// What the call itself may say.
const OF_CALL: [&str; 4] = ["Messages", "Globals", "SandboxMode", "AdvanceErrorHandling"];
/// What a message may say ("Message JSON properties").
const OF_MESSAGE: [&str; 26] = [
    "From",
    "Sender",
    "To",
    "Cc",
    "Bcc",
    "ReplyTo",
    "Subject",
    "TextPart",
    "HTMLPart",
    "TemplateID",
    "TemplateLanguage",
    "TemplateErrorReporting",
    "TemplateErrorDeliver",
    "Attachments",
    "InlinedAttachments",
    "Priority",
    "CustomCampaign",
    "DeduplicateCampaign",
    "TrackOpens",
    "TrackClicks",
    "CustomID",
    "EventPayload",
    "MonitoringCategory",
    "URLTags",
    "Headers",
    "Variables",
];
/// "List of forbidden headers".
const FORBIDDEN: [&str; 37] = [
    "from",
    "sender",
    "subject",
    "to",
    "cc",
    "bcc",
    "return-path",
    "delivered-to",
    "dkim-signature",
    "domainkey-status",
    "received-spf",
    "authentication-results",
    "received",
    "x-mailjet-prio",
    "x-mailjet-debug",
    "user-agent",
    "x-mailer",
    "x-mj-customid",
    "x-mj-eventpayload",
    "x-mj-vars",
    "x-mj-templateerrordeliver",
    "x-mj-templateerrorreporting",
    "x-mj-templatelanguage",
    "x-mailjet-trackopen",
    "x-mailjet-trackclick",
    "x-mj-templateid",
    "x-mj-workflowid",
    "x-feedback-id",
    "x-mailjet-segmentation",
    "list-id",
    "x-mj-mid",
    "x-mj-errormessage",
    "date",
    "x-csa-complaints",
    "message-id",
    "x-mailjet-campaign",
    "x-mj-statisticscontactslistid",
];
/// Properties that are shown as the message's options.
const OPTIONS: [&str; 6] = [
    "CustomID",
    "EventPayload",
    "CustomCampaign",
    "MonitoringCategory",
    "TrackOpens",
    "TrackClicks",
];

/// A call as far as it matters here.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) messages: Vec<Result<Message, Vec<Wrong>>>,
    /// Whether all is only checked.
    pub(super) is_sandboxed: bool,
}

/// One message that is right.
#[derive(Debug)]
pub(super) struct Message {
    /// To, Cc and Bcc in this order, each address once.
    pub(super) recipients: Vec<String>,
    pub(super) options: Vec<(String, String)>,
    pub(super) fields: Value,
}

impl Message {
    /// What is said of it once it is taken; `ids` tells number and UUID of each recipient.
    pub(super) fn receipt(&self, ids: impl Fn(usize) -> (u64, String)) -> Value {
        let listed = |name: &str| -> Vec<Value> {
            let list = self.fields.get(name).and_then(Value::as_array);
            let emails = list
                .into_iter()
                .flatten()
                .filter_map(|one| one["Email"].as_str());
            let results = emails.map(|email| {
                let same = |known: &String| known.eq_ignore_ascii_case(email);
                let index = self.recipients.iter().position(same).unwrap_or(0);
                let (id, uuid) = ids(index);
                json!({
                    "Email": email,
                    "MessageUUID": uuid,
                    "MessageID": id,
                    "MessageHref": format!("https://api.mailjet.com/v3/REST/message/{id}"),
                })
            });
            results.collect()
        };
        json!({
            "Status": "success",
            "CustomID": self.fields.get("CustomID").and_then(Value::as_str).unwrap_or_default(),
            "To": listed("To"),
            "Cc": listed("Cc"),
            "Bcc": listed("Bcc"),
        })
    }
}

/// Reads and checks a body.
pub(super) fn read(body: &[u8], account: &Account) -> Result<Call, Problem> {
    let Ok(Value::Object(call)) = serde_json::from_slice::<Value>(body) else {
        return Err(Problem::malformed());
    };
    if call.keys().any(|name| !OF_CALL.contains(&name.as_str())) {
        return Err(Problem::malformed());
    }
    let messages = match call.get("Messages") {
        None | Some(Value::Null) => return Err(Wrong::missing("Messages").into()),
        Some(Value::Array(messages)) => messages,
        Some(_) => return Err(Problem::malformed()),
    };
    let is_sandboxed = match call.get("SandboxMode") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(is_sandboxed)) => *is_sandboxed,
        Some(_) => return Err(Problem::malformed()),
    };
    if messages.is_empty() {
        let text = "The Messages array cannot be empty.";
        return Err(Wrong::new("mj-0007", text, &["Messages"]).into());
    }
    if messages.len() > MESSAGES_MAX {
        let text = format!("Messages has more than the maximum of {MESSAGES_MAX} elements.");
        return Err(Wrong::new("mj-0008", text, &["Messages"]).into());
    }
    let messages = messages.iter().map(|message| {
        let Value::Object(fields) = message else {
            return Err(Problem::malformed());
        };
        if fields
            .keys()
            .any(|name| !OF_MESSAGE.contains(&name.as_str()))
        {
            return Err(Problem::malformed());
        }
        Ok(checked(fields, account))
    });
    Ok(Call {
        messages: messages.collect::<Result<_, _>>()?,
        is_sandboxed,
    })
}

fn checked(fields: &Map<String, Value>, account: &Account) -> Result<Message, Vec<Wrong>> {
    let mut check = Check {
        fields,
        wrongs: Vec::new(),
    };
    let from = check.from();
    let recipients = check.recipients();
    check.person("ReplyTo");
    check.person("Sender");
    check.content();
    check.values();
    check.headers();
    check.attachments();
    if let Some(from) = from.filter(|from| !account.may_send_from(from)) {
        check.wrongs.push(Wrong::sender(&from));
    }
    if !check.wrongs.is_empty() {
        return Err(check.wrongs);
    }
    let option = |name: &&str| {
        let value = fields.get(*name)?.as_str()?;
        Some(((*name).to_owned(), value.to_owned()))
    };
    Ok(Message {
        recipients,
        options: OPTIONS.iter().filter_map(option).collect(),
        fields: Value::Object(fields.clone()),
    })
}

struct Check<'a> {
    fields: &'a Map<String, Value>,
    wrongs: Vec<Wrong>,
}

impl<'a> Check<'a> {
    fn wrong(&mut self, wrong: Wrong) {
        self.wrongs.push(wrong);
    }

    /// A property that is there and not null.
    fn given(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    fn text(&mut self, name: &str) -> Option<&'a str> {
        let value = self.given(name)?;
        let text = value.as_str();
        if text.is_none() {
            self.wrong(Wrong::mismatch("string", name));
        }
        text
    }

    fn from(&mut self) -> Option<String> {
        if self.given("From").is_none() {
            self.wrong(Wrong::missing("From"));
        }
        self.person("From")
    }

    fn person(&mut self, name: &str) -> Option<String> {
        let value = self.given(name)?;
        self.email(value, name)
    }

    /// The address in `{ "Email": ..., "Name": ... }`.
    fn email(&mut self, value: &Value, name: &str) -> Option<String> {
        let is_named = matches!(
            value.get("Name"),
            None | Some(Value::Null | Value::String(_))
        );
        if !value.is_object() || !is_named {
            self.wrong(Wrong::mismatch("email", name));
            return None;
        }
        let related = format!("{name}.Email");
        match value.get("Email").and_then(Value::as_str) {
            None => self.wrong(Wrong::missing(&related)),
            Some("") => {
                let text = "The value cannot be an empty string.";
                self.wrong(Wrong::new("mj-0012", text, &[&related]));
            }
            Some(email) if email.contains('<') || address(email).is_none() => {
                self.wrong(Wrong::address(&related));
            }
            Some(email) => return Some(email.to_owned()),
        }
        None
    }

    fn recipients(&mut self) -> Vec<String> {
        let mut recipients: Vec<String> = Vec::new();
        match self.given("To") {
            None => self.wrong(Wrong::missing("To")),
            Some(Value::Array(list)) if list.is_empty() => {
                let text = "The To array cannot be empty.";
                self.wrong(Wrong::new("mj-0007", text, &["To"]));
            }
            Some(_) => {}
        }
        for name in ["To", "Cc", "Bcc"] {
            let list = match self.given(name) {
                None => continue,
                Some(Value::Array(list)) => list,
                Some(_) => {
                    self.wrong(Wrong::mismatch("array of emails", name));
                    continue;
                }
            };
            for (at, entry) in list.iter().enumerate() {
                let Some(email) = self.email(entry, &format!("{name}[{at}]")) else {
                    continue;
                };
                // "If a recipient is specified twice, it is counted only once."
                if !recipients
                    .iter()
                    .any(|known| known.eq_ignore_ascii_case(&email))
                {
                    recipients.push(email);
                }
            }
        }
        if recipients.len() > RECIPIENTS_MAX {
            let text = format!("The number of recipients is over the limit of {RECIPIENTS_MAX}.");
            self.wrong(Wrong::new("send-0015", text, &["To", "CC", "Bcc"]));
        }
        recipients
    }

    fn content(&mut self) {
        let texts = ["TextPart", "HTMLPart"].map(|name| self.text(name));
        let has_text = texts.iter().flatten().any(|text| !text.is_empty());
        let template = self.given("TemplateID");
        if template.is_some_and(|id| !id.is_u64()) {
            self.wrong(Wrong::mismatch("int", "TemplateID"));
        }
        if !has_text && template.is_none() {
            let text = "At least \"HTMLPart\", \"TextPart\" or \"TemplateID\" must be provided.";
            self.wrong(Wrong::new("send-0003", text, &["HTMLPart", "TextPart"]));
        }
        for (name, chars_max) in [
            ("Subject", SUBJECT_CHARS_MAX),
            ("URLTags", URL_TAGS_CHARS_MAX),
        ] {
            let length = self.text(name).map_or(0, |text| text.chars().count());
            if length > chars_max {
                let text = format!("The {name} is longer than {chars_max} characters.");
                self.wrong(Wrong::new("mj-0006", text, &[name]));
            }
        }
    }

    fn values(&mut self) {
        for name in ["CustomID", "EventPayload", "MonitoringCategory"] {
            self.text(name);
        }
        for name in ["TrackOpens", "TrackClicks"] {
            let value = self.text(name).unwrap_or("account_default");
            if !matches!(value, "account_default" | "disabled" | "enabled") {
                let text = format!("\"{value}\" is not an allowed value of {name}.");
                self.wrong(Wrong::new("mj-0005", text, &[name]));
            }
        }
        let campaign = self.text("CustomCampaign");
        let is_once = match self.given("DeduplicateCampaign") {
            None => false,
            Some(Value::Bool(is_once)) => *is_once,
            Some(_) => {
                self.wrong(Wrong::mismatch("bool", "DeduplicateCampaign"));
                false
            }
        };
        if is_once && campaign.is_none() {
            let text = "\"DeduplicateCampaign\" needs a \"CustomCampaign\".";
            let related = ["CustomCampaign", "DeduplicateCampaign"];
            self.wrong(Wrong::new("send-0012", text, &related));
        }
        if self
            .given("Variables")
            .is_some_and(|value| !value.is_object())
        {
            self.wrong(Wrong::mismatch("object", "Variables"));
        }
    }

    fn headers(&mut self) {
        let fields = match self.given("Headers") {
            None => return,
            Some(Value::Object(fields)) => fields,
            Some(_) => return self.wrong(Wrong::mismatch("object", "Headers")),
        };
        for (name, value) in fields {
            let related = format!("Headers[\"{name}\"]");
            let is_name =
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
            let value = value.as_str();
            if FORBIDDEN.contains(&name.to_ascii_lowercase().as_str()) {
                let text = "Header cannot be customized using the \"Headers\" collection. Please \
                            use the dedicated property to set this header.";
                self.wrong(Wrong::new("send-0011", text, &[&related]));
            } else if !is_name || value.is_none_or(|value| value.contains(char::is_control)) {
                self.wrong(Wrong::mismatch("header", &related));
            }
        }
    }

    fn attachments(&mut self) {
        let mut octets = 0;
        for name in ["Attachments", "InlinedAttachments"] {
            let list = match self.given(name) {
                None => continue,
                Some(Value::Array(list)) => list,
                Some(_) => {
                    self.wrong(Wrong::mismatch("array of attachments", name));
                    continue;
                }
            };
            for (at, entry) in list.iter().enumerate() {
                match octets_of(entry, &format!("{name}[{at}]")) {
                    Ok(more) => octets += more,
                    Err(wrong) => self.wrong(wrong),
                }
            }
        }
        if octets > ATTACHMENTS_BYTES_MAX {
            let text = "The payload size is over the limit.";
            let related = ["Attachments", "InlinedAttachments"];
            self.wrong(Wrong::new("mj-0011", text, &related));
        }
    }
}

fn octets_of(attachment: &Value, at: &str) -> Result<usize, Wrong> {
    let text = |name: &str| {
        let related = format!("{at}.{name}");
        match attachment.get(name) {
            None | Some(Value::Null) => Err(Wrong::missing(&related)),
            Some(Value::String(text)) if text.is_empty() => {
                let text = "The value cannot be an empty string.";
                Err(Wrong::new("mj-0012", text, &[&related]))
            }
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(Wrong::mismatch("string", &related)),
        }
    };
    text("ContentType")?;
    text("Filename")?;
    if attachment.get("ContentID").is_some() {
        text("ContentID")?;
    }
    let content = STANDARD.decode(text("Base64Content")?);
    let content = content.map_err(|_| Wrong::mismatch("base64", &format!("{at}.Base64Content")))?;
    Ok(content.len())
}
