//! Mailgun by SMTP.

use malote_core::provider::{Fault, Outgoing, Verdict};
use malote_core::tracking::TrackingSwitches;

use super::THROTTLED;
use crate::Documented;
use crate::correlation::Readers;
use crate::mailgun::{SUPPRESSED_HEADERS, TAGS_MAX, ascii_tag};
use crate::smtp::config::Protection;
use crate::smtp::dialect::fields::{Fields, Metadata};
use crate::smtp::dialect::{Defaults, Dialect, Host, MessageIdIn, PoolKey, Rule, User};

/// Mailgun. Its events carry the message's own Message-ID. 500 recipients of the 1000 that it takes
/// leave room for their ids in the 16 KB of options.
pub(crate) static MAILGUN: Dialect = Dialect {
    name: "mailgun",
    host: Host::ByRegion(&[("us", "smtp.mailgun.org"), ("eu", "smtp.eu.mailgun.org")]),
    tls: Protection::Implicit,
    user: User::Given,
    bounds: Defaults {
        recipients_max: 500,
        message_bytes_max: 25_000_000,
        ..Defaults::PLAIN
    },
    keeps_mail_from: false,
    judges_domain_at_mail: false,
    pool_key: Some(PoolKey {
        name: "sending_ip_pool",
        value: |pool| pool.sending_ip_pool.as_deref(),
        bytes_max: 128,
    }),
    fields,
    tracking: TrackingSwitches::BOTH,
    rules: RULES,
    by_message: None,
    message_id: MessageIdIn::Message,
    documented: DOCUMENTED,
};

const METADATA: Metadata = Metadata {
    readers: Readers::Service,
    name_bytes_max: 128,
    value_bytes_max: 700,
    pairs_max: 64,
    bytes_max: 12_000,
};

/// User manual, "Passing Sending Options".
fn fields(fields: &mut Fields<'_>, outgoing: &Outgoing, sending_ip_pool: Option<&str>) {
    // Else the recipients would read our ids and the tags.
    fields.set("X-Mailgun-Suppress-Headers", SUPPRESSED_HEADERS);
    if let Some(pool) = sending_ip_pool {
        fields.set("X-Mailgun-Sending-Ip-Pool", pool);
    }
    let word = |is_on| if is_on { "yes" } else { "no" };
    if let Some(opens) = outgoing.tracking.opens {
        fields.set("X-Mailgun-Track-Opens", word(opens));
    }
    if let Some(clicks) = outgoing.tracking.clicks {
        fields.set("X-Mailgun-Track-Clicks", word(clicks));
    }
    let tags = outgoing.tags.iter().filter_map(|tag| ascii_tag(tag));
    for tag in tags.take(TAGS_MAX) {
        fields.add("X-Mailgun-Tag", &tag);
    }
    fields.add_json("X-Mailgun-Variables", &METADATA.object(outgoing));
}

const RULES: &[Rule] = &[
    // Whole, since a message that is over a size limit is not taken later.
    Rule::words(&["limit exceeded, try again after"], THROTTLED),
    Rule::words(
        &["authorized recipients"],
        Verdict::Rejected(Fault::NotPermitted),
    ),
    Rule::words(&["is not allowed to send"], Verdict::ProviderUnusable),
];

const API: &str =
    "Mailgun API description, messages.mime: the texts; their SMTP codes are documented nowhere";

const DOCUMENTED: &[Documented] = &[
    Documented::new(
        421,
        "end of data: Domain shop.example is not allowed to send: recipient limit exceeded, try again after Sat, 21 Nov 2026 10:00:00 UTC",
        "throttled",
        API,
    ),
    Documented::new(
        550,
        "end of data: Domain shop.example is not allowed to send: The domain is unverified and requires DNS configuration.",
        "provider_unusable",
        API,
    ),
    Documented::new(
        550,
        "end of data: Domain sandbox.mailgun.org is not allowed to send: Sandbox subdomains are for test purposes only. Please add your own domain or add the address to authorized recipients in Account Settings.",
        "rejected_not_permitted",
        API,
    ),
    Documented::new(
        535,
        "AUTH: Authentication failed",
        "provider_unusable",
        "RFC 4954 6",
    ),
];
