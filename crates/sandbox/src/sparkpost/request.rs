//! The body of a transmission, checked as the service checks it: unknown members are ignored, known
//! ones must have their type and size (developers.sparkpost.com, "Transmissions" and "Recipient
//! Lists"; support docs, "Extended Error Codes").

mod content;

use std::net::SocketAddr;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use self::content::Content;
use super::Problem;
use crate::address::address;
use crate::config::Account;
use crate::mailbox::Arrival;

const CAMPAIGN_BYTES_MAX: usize = 64;
const DESCRIPTION_BYTES_MAX: usize = 1_024;
const METADATA_BYTES_MAX: usize = 10 * 1_024;
const SUBSTITUTION_BYTES_MAX: usize = 100 * 1_024;
/// Tags over this number are ignored.
const TAGS_MAX: usize = 10;
const FLAGS: [&str; 8] = [
    "open_tracking",
    "initial_open",
    "click_tracking",
    "transactional",
    "sandbox",
    "skip_suppression",
    "inline_css",
    "perform_substitutions",
];

/// A call that may be taken.
#[derive(Debug)]
pub(super) struct Transmission {
    content: Content,
    mail_from: Option<String>,
    pool: Option<String>,
    options: Vec<(String, String)>,
    recipients: Vec<String>,
    refused: Vec<Problem>,
}

/// The domain of From is not known, or not verified.
pub(super) fn unverified() -> Problem {
    Problem::new(400, "7001", "Invalid domain")
        .because("Unconfigured or unverified sending domain.")
}

/// Nobody is left to send to.
pub(super) fn no_recipients() -> Problem {
    Problem::new(400, "5002", "At least one valid recipient is required")
        .because("No valid recipients in list")
}

impl Transmission {
    /// Checks a request's body.
    pub(super) fn read(
        account: &Account,
        document: &Value,
        body: Bytes,
        subaccount: Option<u32>,
    ) -> Result<Self, Problem> {
        let Some(document) = document.as_object() else {
            return Err(Problem::invalid("the request must be an object"));
        };
        let mut options = Vec::new();
        let mut note = |name: &str, value: String| options.push((name.to_owned(), value));
        if let Some(number) = subaccount {
            note("subaccount", number.to_string());
        }
        for (name, bytes_max) in [
            ("campaign_id", CAMPAIGN_BYTES_MAX),
            ("description", DESCRIPTION_BYTES_MAX),
        ] {
            if let Some(text) = bounded_text(document, name, bytes_max)? {
                note(name, text.to_owned());
            }
        }
        let given = object(document, "options")?;
        for name in FLAGS {
            if let Some(flag) = flag(given, name)? {
                note(name, flag.to_string());
            }
        }
        let pool = pool(account, given)?;
        sized(document, "metadata", METADATA_BYTES_MAX)?;
        sized(document, "substitution_data", SUBSTITUTION_BYTES_MAX)?;
        note_metadata(&mut options, "", document);
        let mail_from = return_path(account, document)?;
        let listed = Listed::read(account, document)?;
        options.extend(listed.options);
        let substitutes = flag(given, "perform_substitutions")?.unwrap_or(true);
        let data = [
            listed.only_data.as_ref(),
            document.get("substitution_data"),
            document.get("metadata"),
        ];
        let data: Vec<&Value> = data.into_iter().flatten().collect();
        let content = Content::read(document, body, substitutes, &data)?;
        match content.sender() {
            None => {
                return Err(Problem::new(400, "7001", "Invalid domain")
                    .because("No sending domain specified"));
            }
            Some(sender) if !account.may_send_from(sender) => return Err(unverified()),
            Some(_) => {}
        }
        if listed.recipients.is_empty() {
            return Err(no_recipients());
        }
        Ok(Self {
            content,
            mail_from,
            pool,
            options,
            recipients: listed.recipients,
            refused: listed.refused,
        })
    }

    /// To whom it goes.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &str> {
        self.recipients.iter().map(String::as_str)
    }

    /// Refuses the first half of the recipients; false if nobody would be left.
    pub(super) fn refuse_first_half(&mut self) -> bool {
        let half = self.recipients.len().div_ceil(2);
        if half >= self.recipients.len() {
            return false;
        }
        let refused = self.recipients.drain(..half);
        self.refused
            .extend(refused.map(|address| Problem::invalid(format!("{address} is not valid"))));
        true
    }

    /// The answer, without its id.
    pub(super) fn results(&self) -> Value {
        let mut answer = json!({ "results": {
            "total_rejected_recipients": self.refused.len(),
            "total_accepted_recipients": self.recipients.len(),
        } });
        if !self.refused.is_empty() {
            let entries: Vec<Value> = self.refused.iter().map(Problem::entry).collect();
            answer["results"]["rcpt_to_errors"] = entries.into();
            let message = "transmission created, but with validation errors";
            answer["errors"] = json!([{ "message": message, "code": "2000" }]);
        }
        answer
    }

    pub(super) fn into_arrival(self, peer: SocketAddr) -> Arrival {
        let (raw, fields) = self.content.into_parts();
        Arrival {
            peer,
            mail_from: self.mail_from,
            recipients: self.recipients,
            pool: self.pool,
            options: self.options,
            raw,
            fields,
        }
    }
}

/// The recipients of a call.
#[derive(Default)]
struct Listed {
    recipients: Vec<String>,
    refused: Vec<Problem>,
    options: Vec<(String, String)>,
    /// The substitution data of the only recipient.
    only_data: Option<Value>,
}

impl Listed {
    fn read(account: &Account, document: &Map<String, Value>) -> Result<Self, Problem> {
        let entries = match document.get("recipients") {
            Some(Value::Array(entries)) => entries,
            Some(Value::Object(list)) => return Err(no_list(list)),
            None | Some(Value::Null) => {
                return Err(Problem::missing("recipients or list_id required"));
            }
            Some(_) => return Err(Problem::invalid("recipients must be an array or an object")),
        };
        let mut listed = Self::default();
        for entry in entries {
            listed.add(account, entry)?;
        }
        if let [only] = entries.as_slice() {
            listed.only_data = only.get("substitution_data").cloned();
        }
        Ok(listed)
    }

    fn add(&mut self, account: &Account, entry: &Value) -> Result<(), Problem> {
        let Some(entry) = entry.as_object() else {
            return Err(Problem::invalid("each recipient must be an object"));
        };
        let email = match entry.get("address") {
            Some(Value::String(email)) => Some(email.as_str()),
            Some(Value::Object(parts)) => {
                for name in ["name", "header_to"] {
                    text(parts, name)?;
                }
                text(parts, "email")?
            }
            None | Some(Value::Null) => None,
            Some(_) => return Err(Problem::invalid("address must be a string or an object")),
        };
        let Some(email) = email else {
            let problem = Problem::missing("address.email is required for each recipient");
            self.refused.push(problem);
            return Ok(());
        };
        if address(email).as_deref() != Some(email) {
            self.refused
                .push(Problem::invalid(format!("{email} is not a valid address")));
            return Ok(());
        }
        return_path(account, entry)?;
        sized(entry, "metadata", METADATA_BYTES_MAX)?;
        sized(entry, "substitution_data", SUBSTITUTION_BYTES_MAX)?;
        note_metadata(&mut self.options, &format!("[{email}]"), entry);
        for tag in tags(entry)? {
            self.options.push((format!("tag[{email}]"), tag));
        }
        self.recipients.push(email.to_owned());
        Ok(())
    }
}

/// No list is stored here.
fn no_list(list: &Map<String, Value>) -> Problem {
    match list.get("list_id").and_then(Value::as_str) {
        Some(id) => Problem::new(422, "1603", "Subresource not found")
            .because(format!("recipient list '{id}' does not exist")),
        None => Problem::missing("recipients or list_id required"),
    }
}

fn tags(entry: &Map<String, Value>) -> Result<Vec<String>, Problem> {
    let tags = match entry.get("tags") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(tags)) => tags,
        Some(_) => return Err(Problem::invalid("tags must be an array")),
    };
    let text = |tag: &Value| tag.as_str().map(str::to_owned);
    let texts: Option<Vec<String>> = tags.iter().take(TAGS_MAX).map(text).collect();
    texts.ok_or_else(|| Problem::invalid("tags must be strings"))
}

/// An IP pool by its id, whose case does not matter.
fn pool(
    account: &Account,
    options: Option<&Map<String, Value>>,
) -> Result<Option<String>, Problem> {
    let Some(options) = options else {
        return Ok(None);
    };
    let Some(id) = text(options, "ip_pool")? else {
        return Ok(None);
    };
    let is_it = |known: &String| known.eq_ignore_ascii_case(id);
    let is_known = account
        .pools
        .as_ref()
        .is_none_or(|all| all.iter().any(is_it));
    if !is_known {
        return Err(Problem::new(422, "1603", "Subresource not found")
            .because(format!("ip_pool '{id}' does not exist")));
    }
    Ok(Some(id.to_owned()))
}

/// The bounce address; its domain must be the account's.
fn return_path(
    account: &Account,
    document: &Map<String, Value>,
) -> Result<Option<String>, Problem> {
    let Some(path) = text(document, "return_path")? else {
        return Ok(None);
    };
    if address(path).as_deref() != Some(path) {
        return Err(Problem::invalid("return_path must be a valid address"));
    }
    if !account.may_send_from(path) {
        return Err(unverified());
    }
    Ok(Some(path.to_owned()))
}

fn note_metadata(options: &mut Vec<(String, String)>, of: &str, document: &Map<String, Value>) {
    let metadata = document.get("metadata").and_then(Value::as_object);
    for (name, value) in metadata.into_iter().flatten() {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        options.push((format!("metadata{of}:{name}"), text));
    }
}

/// A member that is an object, if it is there.
fn object<'a>(
    document: &'a Map<String, Value>,
    name: &str,
) -> Result<Option<&'a Map<String, Value>>, Problem> {
    match document.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(Problem::invalid(format!("{name} must be an object"))),
    }
}

fn sized(document: &Map<String, Value>, name: &str, bytes_max: usize) -> Result<(), Problem> {
    let Some(object) = object(document, name)? else {
        return Ok(());
    };
    if Value::Object(object.clone()).to_string().len() <= bytes_max {
        return Ok(());
    }
    Err(match name {
        "metadata" => Problem::new(422, "2007", "Metadata size too large"),
        _ => Problem::new(422, "2002", "Substitution data too large"),
    })
}

/// A member that is a string, if it is there.
fn text<'a>(document: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Problem> {
    match document.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Problem::invalid(format!("{name} must be a string"))),
    }
}

fn bounded_text<'a>(
    document: &'a Map<String, Value>,
    name: &str,
    bytes_max: usize,
) -> Result<Option<&'a str>, Problem> {
    let text = text(document, name)?;
    if text.is_some_and(|text| text.len() > bytes_max) {
        let description = format!("{name} must be at most {bytes_max} bytes");
        return Err(Problem::invalid(description));
    }
    Ok(text)
}

fn flag(options: Option<&Map<String, Value>>, name: &str) -> Result<Option<bool>, Problem> {
    match options.and_then(|options| options.get(name)) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(Problem::invalid(format!(
            "options.{name} must be a boolean"
        ))),
    }
}
