//! The body of a send, checked against the service's OpenAPI description (4.0.0).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::Value;

use super::{Call, Problem};
use crate::address::address;
use crate::config::Account;

/// Recipients of one transactional email.
const SHARED_RECIPIENTS_MAX: usize = 50;
/// Recipients of one bulk email.
const BULK_RECIPIENTS_MAX: usize = 1_000;
/// A message, attachments included.
const MESSAGE_BYTES_MAX: usize = 20 * 1024 * 1024;
/// Longest delay, minutes: 35 days.
const TIME_OFFSET_MAX: i64 = 35 * 24 * 60;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Shared {
    content: Content,
    recipients: Lists,
    #[serde(default)]
    options: Options,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Bulk {
    content: Content,
    recipients: Vec<BulkRecipient>,
    #[serde(default)]
    options: Options,
}

#[derive(Deserialize)]
struct Lists {
    #[serde(rename = "To")]
    to: Vec<String>,
    #[serde(rename = "CC", default)]
    cc: Option<Vec<String>>,
    #[serde(rename = "BCC", default)]
    bcc: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BulkRecipient {
    email: String,
    #[expect(dead_code, reason = "its type is checked")]
    fields: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Content {
    body: Option<Vec<BodyPart>>,
    from: Option<String>,
    envelope_from: Option<String>,
    reply_to: Option<String>,
    #[expect(dead_code, reason = "its type is checked")]
    subject: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    postback: Option<String>,
    attachments: Option<Vec<Attachment>>,
    template_name: Option<String>,
    #[expect(dead_code, reason = "its type is checked")]
    merge: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BodyPart {
    content_type: BodyContentType,
    content: Option<String>,
    #[expect(dead_code, reason = "its type is checked")]
    charset: Option<String>,
}

#[derive(Deserialize, PartialEq, Eq)]
enum BodyContentType {
    #[serde(rename = "HTML")]
    Html,
    PlainText,
    #[serde(rename = "AMP")]
    Amp,
    #[serde(rename = "CSS")]
    Css,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attachment {
    binary_content: String,
    name: String,
    #[expect(dead_code, reason = "its type is checked")]
    content_type: Option<String>,
    size: Option<i32>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Options {
    time_offset: Option<i64>,
    pool_name: Option<String>,
    channel_name: Option<String>,
    encoding: Option<Encoding>,
    track_opens: Option<bool>,
    track_clicks: Option<bool>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum Encoding {
    UserProvided,
    None,
    Raw7bit,
    Raw8bit,
    QuotedPrintable,
    Base64,
    Uue,
}

/// A send as far as it matters here.
pub(super) struct Email {
    pub(super) recipients: Vec<String>,
    pub(super) envelope_from: Option<String>,
    pub(super) pool: Option<String>,
    pub(super) options: Vec<(String, String)>,
    pub(super) fields: Value,
    call: Call,
    from: Option<String>,
    content: Content,
    time_offset: Option<i64>,
}

/// Reads a body of the right types.
pub(super) fn read(headers: &HeaderMap, body: &[u8], call: Call) -> Result<Email, Problem> {
    let media_type = headers.get(header::CONTENT_TYPE);
    let media_type = media_type.and_then(|value| value.to_str().ok());
    if !media_type.is_some_and(|value| value.starts_with("application/json")) {
        let text = "Unsupported Media Type".to_owned();
        return Err(Problem(http::StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let malformed = |error: serde_json::Error| Problem::bad_request(error.to_string());
    let fields: Value = serde_json::from_slice(body).map_err(malformed)?;
    let (content, listed, options) = match call {
        Call::Transactional => {
            let read = Shared::deserialize(&fields).map_err(malformed)?;
            let Lists { to, cc, bcc } = read.recipients;
            if to.is_empty() {
                return Err(Problem::bad_request("Recipients.To is required"));
            }
            let others = [cc, bcc].into_iter().flatten().flatten();
            let all: Vec<String> = to.into_iter().chain(others).collect();
            (read.content, all, read.options)
        }
        Call::Bulk => {
            let read = Bulk::deserialize(&fields).map_err(malformed)?;
            let all = read.recipients.into_iter().map(|one| one.email).collect();
            (read.content, all, read.options)
        }
    };
    Ok(Email {
        recipients: addresses(&listed)?,
        envelope_from: content.envelope_from.as_deref().and_then(address),
        from: content.from.as_deref().and_then(address),
        options: told(&content, &options),
        pool: options.pool_name,
        time_offset: options.time_offset,
        call,
        content,
        fields,
    })
}

/// What is shown as the message's options.
fn told(content: &Content, options: &Options) -> Vec<(String, String)> {
    let mut told = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        told.extend(value.map(|value| (name.to_owned(), value)));
    };
    add("ChannelName", options.channel_name.clone());
    add("Postback", content.postback.clone());
    add(
        "Encoding",
        options.encoding.map(|encoding| format!("{encoding:?}")),
    );
    add(
        "TrackOpens",
        options.track_opens.map(|is_on| is_on.to_string()),
    );
    add(
        "TrackClicks",
        options.track_clicks.map(|is_on| is_on.to_string()),
    );
    told
}

impl Email {
    /// Whether the account may send this.
    pub(super) fn check(&self, account: &Account) -> Result<(), Problem> {
        let Some(from) = &self.from else {
            return Err(Problem::bad_request("From email address is invalid"));
        };
        if !account.may_send_from(from) {
            return Err(Problem::bad_request("The domain of From is not verified"));
        }
        if self
            .pool
            .as_ref()
            .is_some_and(|pool| !account.has_pool(pool))
        {
            return Err(Problem::bad_request("PoolName: no such pool"));
        }
        if account.is_limited && !self.recipients.iter().all(|to| is_own(account, to)) {
            let text = "A trial account can send to its own addresses only";
            return Err(Problem::bad_request(text));
        }
        let recipients_max = match self.call {
            Call::Transactional => SHARED_RECIPIENTS_MAX,
            Call::Bulk => BULK_RECIPIENTS_MAX,
        };
        if self.recipients.is_empty() || self.recipients.len() > recipients_max {
            let text = format!("Recipients must be 1 to {recipients_max}");
            return Err(Problem::bad_request(text));
        }
        let is_in_time = |offset: i64| (0..=TIME_OFFSET_MAX).contains(&offset);
        if !self.time_offset.is_none_or(is_in_time) {
            return Err(Problem::bad_request("TimeOffset is over 35 days"));
        }
        self.content.check()
    }
}

impl Content {
    fn check(&self) -> Result<(), Problem> {
        let optional = [&self.reply_to, &self.envelope_from];
        for given in optional.into_iter().flatten() {
            if address(given).is_none() {
                let text = format!("{given:?} is no email address");
                return Err(Problem::bad_request(text));
            }
        }
        let parts = self.body.as_deref().unwrap_or_default();
        let is_text = |part: &BodyPart| {
            matches!(
                part.content_type,
                BodyContentType::Html | BodyContentType::PlainText
            ) && part.content.is_some()
        };
        if self.template_name.is_none() && !parts.iter().any(is_text) {
            return Err(Problem::bad_request("Body is required"));
        }
        for kind in [
            BodyContentType::Html,
            BodyContentType::PlainText,
            BodyContentType::Amp,
            BodyContentType::Css,
        ] {
            if parts
                .iter()
                .filter(|part| part.content_type == kind)
                .count()
                > 1
            {
                return Err(Problem::bad_request(
                    "Body has two parts of one ContentType",
                ));
            }
        }
        for (name, value) in self.headers.iter().flatten() {
            let is_name =
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
            if !is_name || value.contains(['\r', '\n']) {
                let text = format!("Headers: {name:?} is no header field");
                return Err(Problem::bad_request(text));
            }
        }
        let mut bytes: usize = parts
            .iter()
            .filter_map(|part| part.content.as_ref())
            .map(String::len)
            .sum();
        for attachment in self.attachments.iter().flatten() {
            bytes += attachment.check()?;
        }
        match bytes > MESSAGE_BYTES_MAX {
            true => Err(Problem::bad_request("Message is larger than 20 MB")),
            false => Ok(()),
        }
    }
}

impl Attachment {
    /// Its octets.
    fn check(&self) -> Result<usize, Problem> {
        if self.name.is_empty() {
            return Err(Problem::bad_request("Attachments: Name is required"));
        }
        let Ok(content) = STANDARD.decode(&self.binary_content) else {
            return Err(Problem::bad_request(
                "Attachments: BinaryContent is no base64",
            ));
        };
        let is_of_size = |size: i32| usize::try_from(size).is_ok_and(|size| size == content.len());
        match self.size.is_none_or(is_of_size) {
            true => Ok(content.len()),
            false => Err(Problem::bad_request(
                "Attachments: Size is not the content's",
            )),
        }
    }
}

fn addresses(listed: &[String]) -> Result<Vec<String>, Problem> {
    let one = |entry: &String| {
        let text = || format!("Invalid recipient email address: {entry}");
        address(entry).ok_or_else(|| Problem::bad_request(text()))
    };
    listed.iter().map(one).collect()
}

/// A limited account mails its own domains.
fn is_own(account: &Account, address: &str) -> bool {
    account.senders.is_some() && account.may_send_from(address)
}
