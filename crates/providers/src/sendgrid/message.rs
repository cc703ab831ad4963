//! A message as the JSON of `POST /v3/mail/send` (OpenAPI description of the v3 mail API).

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use malote_core::provider::{Outgoing, Reply, SendError, Verdict};
use malote_core::tracking::Tracking;
use serde::Serialize;

use crate::correlation;
use crate::parts::{Attachment, Mailbox, Parts, as_json, parts, refused};

/// Largest request: the v3 call takes 30 MB with everything in it.
const REQUEST_BYTES_MAX: usize = 30_000_000;
/// Most categories of one message, and the longest.
const CATEGORIES_MAX: usize = 10;
const CATEGORY_BYTES_MAX: usize = 255;
/// The service's bound on all custom arguments of a call.
const CUSTOM_ARGS_BYTES_MAX: usize = 10_000;
/// What is left of it for our own ids, which come first: 500 recipients need 7,500.
const OWN_ARGS_BYTES_MAX: usize = 8_000;
/// Quotes, colon and comma around an argument, should the service count them.
const ARGUMENT_OVERHEAD_BYTES: usize = 6;
/// Header fields that the service refuses ("Header cannot be one of the reserved keys").
const RESERVED_HEADERS: [&str; 12] = [
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
/// Members of an event: custom arguments stand beside them and would overwrite them.
const EVENT_MEMBERS: [&str; 20] = [
    "email",
    "timestamp",
    "event",
    "sg_event_id",
    "sg_message_id",
    "smtp-id",
    "category",
    "asm_group_id",
    "ip",
    "tls",
    "pool",
    "response",
    "attempt",
    "reason",
    "status",
    "type",
    "bounce_classification",
    "url",
    "useragent",
    "marketing_campaign_id",
];

/// What a call says besides the message itself.
struct Labels {
    custom_args: BTreeMap<String, String>,
    categories: Vec<String>,
    ip_pool_name: Option<String>,
    tracking: Tracking,
}

impl Labels {
    /// Our ids, then the client's tags and metadata as far as they fit.
    fn new(outgoing: &Outgoing, ip_pool_name: Option<String>) -> Self {
        Self {
            custom_args: custom_args(outgoing),
            categories: categories(&outgoing.tags),
            ip_pool_name,
            tracking: outgoing.tracking,
        }
    }
}

fn custom_args(outgoing: &Outgoing) -> BTreeMap<String, String> {
    let mut args = BTreeMap::from([(correlation::MESSAGE.to_owned(), outgoing.message.simple())]);
    let recipients = correlation::recipients(outgoing, OWN_ARGS_BYTES_MAX);
    for (n, value) in recipients.into_iter().enumerate() {
        args.insert(format!("{}-{n}", correlation::RECIPIENTS), value);
    }
    let size = |name: &str, value: &str| name.len() + value.len() + ARGUMENT_OVERHEAD_BYTES;
    let mut bytes: usize = args.iter().map(|(name, value)| size(name, value)).sum();
    for (name, value) in &outgoing.metadata {
        let is_taken = EVENT_MEMBERS.contains(&name.as_str()) || name.starts_with("malote-");
        let name = if is_taken {
            format!("metadata-{name}")
        } else {
            name.clone()
        };
        if bytes + size(&name, value) <= CUSTOM_ARGS_BYTES_MAX {
            bytes += size(&name, value);
            args.insert(name, value.clone());
        }
    }
    args
}

/// ASCII only, each once.
fn categories(tags: &[String]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let categories = tags.iter().filter_map(|tag| {
        let visible = tag.chars().filter(|c| c.is_ascii_graphic() || *c == ' ');
        let category: String = visible.take(CATEGORY_BYTES_MAX).collect();
        let category = category.trim().to_owned();
        (!category.is_empty() && seen.insert(category.clone())).then_some(category)
    });
    categories.take(CATEGORIES_MAX).collect()
}

#[derive(Serialize)]
struct Mail<'a> {
    personalizations: [Personalization<'a>; 1],
    from: Person<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<Person<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reply_to_list: Vec<Person<'a>>,
    subject: &'a str,
    content: Vec<Content<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<File<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    categories: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_pool_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracking_settings: Option<TrackingSettings>,
}

/// "Mail Send", `tracking_settings`.
#[derive(Serialize)]
struct TrackingSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    open_tracking: Option<Setting>,
    #[serde(skip_serializing_if = "Option::is_none")]
    click_tracking: Option<ClickSetting>,
}

#[derive(Serialize)]
struct Setting {
    enable: bool,
}

/// Of the links in the plain text too.
#[derive(Serialize)]
struct ClickSetting {
    enable: bool,
    enable_text: bool,
}

fn tracking_settings(tracking: Tracking) -> Option<TrackingSettings> {
    (!tracking.is_silent()).then(|| TrackingSettings {
        open_tracking: tracking.opens.map(|enable| Setting { enable }),
        click_tracking: tracking.clicks.map(|enable| ClickSetting {
            enable,
            enable_text: enable,
        }),
    })
}

#[derive(Serialize)]
struct Personalization<'a> {
    to: Vec<Person<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cc: Vec<Person<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bcc: Vec<Person<'a>>,
    /// Here and not beside the message: the published description wants a string there.
    custom_args: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Person<'a> {
    email: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

impl<'a> Person<'a> {
    fn new(mailbox: &'a Mailbox) -> Self {
        Self {
            email: &mailbox.email,
            name: mailbox.name.clone(),
        }
    }

    /// The service does not quote the names of recipients where a comma or a semicolon asks for
    /// it (sendgrid-python issue 291), so such a name goes quoted.
    fn recipient(mailbox: &'a Mailbox) -> Self {
        let quoted = |name: &String| {
            if !name.contains([',', ';']) {
                return name.clone();
            }
            let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
            format!("\"{escaped}\"")
        };
        Self {
            email: &mailbox.email,
            name: mailbox.name.as_ref().map(quoted),
        }
    }
}

#[derive(Serialize)]
struct Content<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    value: &'a str,
}

#[derive(Serialize)]
struct File<'a> {
    content: String,
    #[serde(rename = "type")]
    kind: &'a str,
    filename: String,
    disposition: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_id: Option<&'a str>,
}

/// The call's body.
///
/// # Errors
/// `Rejected(MessageHere)` if fields cannot say what the message says or a rule of this service
/// stands against it; `Ungroup` if hidden recipients would see each other or one would occur twice.
pub(super) fn body(outgoing: &Outgoing, ip_pool: Option<String>) -> Result<Vec<u8>, SendError> {
    let parts = parts(&outgoing.body, &outgoing.recipients)?;
    let mail = mail(&parts, Labels::new(outgoing, ip_pool))?;
    let body = as_json(&mail, outgoing)?;
    if body.len() > REQUEST_BYTES_MAX {
        let bytes = body.len();
        let what = format!("the request has {bytes} octets, the service takes {REQUEST_BYTES_MAX}");
        return Err(refused(&what));
    }
    Ok(body)
}

fn mail(parts: &Parts, labels: Labels) -> Result<Mail<'_>, SendError> {
    if parts.subject.is_empty() {
        return Err(refused("the service takes no message without a subject"));
    }
    if parts.header("X-SMTPAPI").is_some() {
        return Err(refused("X-SMTPAPI has a meaning by SMTP only"));
    }
    refuse_repetition(parts)?;
    let recipients = |list| <[Mailbox]>::iter(list).map(Person::recipient).collect();
    let (reply_to, reply_to_list) = match parts.reply_to.as_slice() {
        [one] => (Some(Person::new(one)), Vec::new()),
        several => (None, several.iter().map(Person::new).collect()),
    };
    Ok(Mail {
        personalizations: [Personalization {
            to: recipients(&parts.to),
            cc: recipients(&parts.cc),
            bcc: recipients(&parts.bcc),
            custom_args: labels.custom_args,
        }],
        from: Person::new(&parts.from),
        reply_to,
        reply_to_list,
        subject: &parts.subject,
        content: content(parts)?,
        attachments: files(&parts.attachments)?,
        headers: parts.header_map(&RESERVED_HEADERS)?,
        categories: labels.categories,
        ip_pool_name: labels.ip_pool_name,
        tracking_settings: tracking_settings(labels.tracking),
    })
}

/// The service refuses a call that names an address twice, in any case of letters.
fn refuse_repetition(parts: &Parts) -> Result<(), SendError> {
    let mut seen = BTreeSet::new();
    let mut recipients = parts.to.iter().chain(&parts.cc).chain(&parts.bcc);
    if recipients.all(|mailbox| seen.insert(mailbox.email.to_lowercase())) {
        return Ok(());
    }
    let reply = Reply::none("an address would stand twice in the call");
    Err(SendError::new(Verdict::Ungroup, reply))
}

/// The plain text first, as the service wants it. It takes no empty text.
fn content(parts: &Parts) -> Result<Vec<Content<'_>>, SendError> {
    let forms = [("text/plain", &parts.text), ("text/html", &parts.html)];
    let content: Vec<Content<'_>> = forms
        .into_iter()
        .filter_map(|(kind, value)| {
            let value = value.as_deref().filter(|value| !value.is_empty())?;
            Some(Content { kind, value })
        })
        .collect();
    if content.is_empty() {
        return Err(refused("the service takes no message without a text"));
    }
    Ok(content)
}

fn files(attachments: &[Attachment]) -> Result<Vec<File<'_>>, SendError> {
    let files = attachments.iter().enumerate().map(|(n, attachment)| {
        if attachment.content.is_empty() {
            return Err(refused("the service takes no empty attachment"));
        }
        Ok(File {
            content: STANDARD.encode(&attachment.content),
            kind: &attachment.content_type,
            filename: attachment.name(n + 1),
            disposition: if attachment.is_inline {
                "inline"
            } else {
                "attachment"
            },
            content_id: attachment.content_id.as_deref(),
        })
    });
    files.collect()
}
