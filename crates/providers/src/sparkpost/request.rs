//! The JSON of a transmission.

use std::collections::BTreeMap;

use bytes::Bytes;
use malote_core::provider::{Fault, Outgoing, Reply, SendError, Verdict};
use malote_core::stream::Class;
use memchr::memmem;
use serde::Serialize;

use crate::correlation;

/// Longest `campaign_id` (Transmissions API, "Request Body").
const CAMPAIGN_BYTES_MAX: usize = 64;
/// Most tags of one recipient (Recipient Lists API, "Recipient Object").
const TAGS_MAX: usize = 10;
/// Longest tag that is passed on; the service states no bound.
const TAG_BYTES_MAX: usize = 128;
/// Events about opens and clicks carry 1,000 octets of metadata (SMTP API, `metadata`). More would
/// cost our ids.
const METADATA_BYTES_MAX: usize = 1000;

#[derive(Serialize)]
struct Transmission<'a> {
    options: Options<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    campaign_id: Option<String>,
    metadata: BTreeMap<&'a str, &'a str>,
    recipients: Vec<Recipient<'a>>,
    content: Content<'a>,
}

#[derive(Serialize)]
struct Options<'a> {
    /// Without it the service adds `List-Unsubscribe` and heeds another suppression list.
    transactional: bool,
    /// The message is finished: `{{` in its text means nothing.
    perform_substitutions: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_pool: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    open_tracking: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    click_tracking: Option<bool>,
}

#[derive(Serialize)]
struct Recipient<'a> {
    address: Address<'a>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
    metadata: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct Address<'a> {
    email: &'a str,
}

#[derive(Serialize)]
struct Content<'a> {
    email_rfc822: &'a str,
}

/// The JSON for a message whose `body` fits the service. Every recipient has an entry of its own:
/// To and Cc of the message do not route.
///
/// # Errors
/// `Rejected(MessageHere)` if the service would take a part of the header for a template.
pub(super) fn json(
    outgoing: &Outgoing,
    body: &Bytes,
    ip_pool: Option<&str>,
) -> Result<Vec<u8>, SendError> {
    let refused = |enhanced: &str, what: &str| {
        let reply = Reply::new(None, Some(enhanced.to_owned()), what);
        SendError::new(Verdict::Rejected(Fault::MessageHere), reply)
    };
    let text = std::str::from_utf8(body)
        .map_err(|_| refused("5.6.3", "the message is not UTF-8, which its JSON must be"))?;
    if has_template(body) {
        let what = "a header field holds {{, which the service would replace";
        return Err(refused("5.6.0", what));
    }
    let tags: Vec<String> = outgoing
        .tags
        .iter()
        .map(|tag| cut(tag, TAG_BYTES_MAX))
        .filter(|tag| !tag.is_empty())
        .take(TAGS_MAX)
        .collect();
    let message = outgoing.message.simple();
    let ids = correlation::recipients(outgoing, 1);
    let recipients = outgoing.recipients.iter().zip(ids);
    let transmission = Transmission {
        options: Options {
            transactional: outgoing.class == Class::Transactional,
            perform_substitutions: false,
            ip_pool,
            open_tracking: outgoing.tracking.opens,
            click_tracking: outgoing.tracking.clicks,
        },
        campaign_id: tags.first().map(|tag| cut(tag, CAMPAIGN_BYTES_MAX)),
        metadata: metadata(outgoing, &message),
        recipients: recipients
            .map(|(recipient, id)| Recipient {
                address: Address {
                    email: recipient.address.as_str(),
                },
                tags: &tags,
                metadata: BTreeMap::from([(correlation::RECIPIENTS, id)]),
            })
            .collect(),
        content: Content { email_rfc822: text },
    };
    serde_json::to_vec(&transmission)
        .map_err(|error| refused("5.6.3", &format!("no JSON can be made of it: {error}")))
}

/// Our ids first, then as much of the client's metadata as has room beside them.
fn metadata<'a>(outgoing: &'a Outgoing, message: &'a str) -> BTreeMap<&'a str, &'a str> {
    // `"":"",` around each pair; what must be escaped takes at most six times its octets.
    let size = |name: &str, value: &str| {
        let escaped = |text: &str| -> usize {
            let octets = text.chars().map(|c| match c {
                '"' | '\\' => 2,
                c if c.is_control() => 6,
                c => c.len_utf8(),
            });
            octets.sum()
        };
        escaped(name) + escaped(value) + 6
    };
    // The recipient's own: up to five digits, `-`, eight of the hash.
    let mut room = METADATA_BYTES_MAX
        - size(correlation::MESSAGE, message)
        - size(correlation::RECIPIENTS, "65535-00000000");
    let mut map = BTreeMap::from([(correlation::MESSAGE, message)]);
    for (name, value) in &outgoing.metadata {
        let needed = size(name, value);
        if needed <= room && !name.is_empty() && !name.starts_with("malote-") {
            room -= needed;
            map.insert(name, value);
        }
    }
    map
}

/// Whether the header of the message has what the service takes for a template even when told to
/// replace nothing (Transmissions API, `perform_substitutions`).
fn has_template(message: &[u8]) -> bool {
    let end = memmem::find(message, b"\r\n\r\n").unwrap_or(message.len());
    memmem::find(&message[..end], b"{{").is_some()
}

/// The text without control characters, at most so many octets.
fn cut(text: &str, bytes_max: usize) -> String {
    let text = malote_core::provider::bounded(text, bytes_max);
    text.trim().to_owned()
}
