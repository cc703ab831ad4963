//! SendGrid by SMTP.

use malote_core::provider::{Outgoing, Verdict};
use malote_core::tracking::{Tracking, TrackingSwitches};
use serde_json::{Map, Value, json};

use super::{QUOTA_SPENT, THROTTLED};
use crate::Documented;
use crate::correlation::Readers;
use crate::smtp::config::Protection;
use crate::smtp::dialect::fields::{Fields, Metadata, fitting};
use crate::smtp::dialect::{Defaults, Dialect, Host, MessageIdIn, PoolKey, Rule, User};

/// SendGrid. 20 MB and 5000 messages a connection: "Getting started with the SMTP API"; 500 of the
/// 1000 recipients leave room for their ids in the 10000 octets of unique arguments.
pub(crate) static SENDGRID: Dialect = Dialect {
    name: "sendgrid",
    host: Host::ByRegion(&[
        ("global", "smtp.sendgrid.net"),
        ("eu", "smtp.eu.sendgrid.net"),
    ]),
    tls: Protection::Implicit,
    user: User::Fixed("apikey"),
    bounds: Defaults {
        recipients_max: 500,
        message_bytes_max: 20_000_000,
        messages_per_connection_max: 5000,
        ..Defaults::PLAIN
    },
    keeps_mail_from: false,
    judges_domain_at_mail: true,
    pool_key: Some(PoolKey {
        name: "ip_pool_name",
        value: |pool| pool.ip_pool_name.as_deref(),
        bytes_max: 64,
    }),
    fields,
    tracking: TrackingSwitches::BOTH,
    rules: RULES,
    by_message: None,
    message_id: MessageIdIn::Reply,
    documented: DOCUMENTED,
};

const METADATA: Metadata = Metadata {
    readers: Readers::Service,
    name_bytes_max: 128,
    value_bytes_max: 700,
    pairs_max: 64,
    bytes_max: 9000,
};

/// "Building an X-SMTPAPI Header", "Categories", "Unique Arguments", "IP pools": the first such
/// field counts, and it is taken out.
fn fields(fields: &mut Fields<'_>, outgoing: &Outgoing, ip_pool: Option<&str>) {
    let mut options = Map::new();
    let tags = outgoing.tags.iter().filter(|tag| !tag.is_empty()).take(10);
    let tags: Vec<Value> = tags.map(|tag| fitting(tag, 255).into()).collect();
    if !tags.is_empty() {
        options.insert("category".to_owned(), tags.into());
    }
    if !outgoing.tracking.is_silent() {
        options.insert("filters".to_owned(), filters(outgoing.tracking).into());
    }
    if let Some(pool) = ip_pool {
        options.insert("ip_pool".to_owned(), pool.into());
    }
    options.insert("unique_args".to_owned(), METADATA.object(outgoing));
    fields.set_json("X-SMTPAPI", &options.into());
}

/// "Filters": `opentrack` and `clicktrack`.
fn filters(tracking: Tracking) -> Map<String, Value> {
    let each = [
        ("opentrack", tracking.opens),
        ("clicktrack", tracking.clicks),
    ];
    let filters = each.into_iter().filter_map(|(name, is_on)| {
        let settings = json!({"settings": {"enable": u8::from(is_on?)}});
        Some((name.to_owned(), settings))
    });
    filters.collect()
}

const RULES: &[Rule] = &[
    // A 4xx that lasts until the credits are renewed.
    Rule::words(&["maximum credits exceeded"], QUOTA_SPENT),
    Rule::words(
        &[
            "not authorized to send from that email address",
            "verified sender identity",
        ],
        Verdict::SenderUnusable,
    ),
    Rule::words(
        &["unauthenticated senders not allowed"],
        Verdict::ProviderUnusable,
    ),
    // Says nothing of the transaction's own recipients.
    Rule::words(&["received this hour", "too frequent connects"], THROTTLED),
];

const PAGE: &str = "twilio.com/docs/sendgrid, SMTP Errors and Troubleshooting";

const DOCUMENTED: &[Documented] = &[
    Documented::new(
        451,
        "AUTH: Authentication failed: Maximum credits exceeded",
        "quota_spent",
        PAGE,
    ),
    Documented::new(
        403,
        "MAIL FROM: You are not authorized to send from that email address",
        "sender_unusable",
        PAGE,
    ),
    Documented::new(
        550,
        "end of data: The from address does not match a verified Sender Identity. Mail cannot be sent until this error is resolved.",
        "sender_unusable",
        "twilio.com/docs/sendgrid, Sender Identity",
    ),
    Documented::new(
        421,
        "end of data: Message from (192.0.2.1) temporarily deferred",
        "throttled",
        PAGE,
    ),
    Documented::new(
        450,
        "RCPT TO: too frequent connects from 192.0.2.1, please try again later.",
        "throttled",
        PAGE,
    ),
    Documented::new(
        451,
        "end of data: Temporary local problem - please try later",
        "transient",
        PAGE,
    ),
    Documented::new(
        452,
        "RCPT TO: Too many recipients received this hour (throttled)",
        "throttled",
        PAGE,
    ),
    Documented::new(
        550,
        "MAIL FROM: Unauthenticated senders not allowed",
        "provider_unusable",
        "seen in public reports",
    ),
    Documented::new(
        550,
        "RCPT TO: Requested action not taken: mailbox unavailable",
        "rejected_message_here",
        PAGE,
    ),
    Documented::new(
        535,
        "AUTH: Authentication failed: Bad username / password",
        "provider_unusable",
        "seen in public reports",
    ),
    Documented::new(
        552,
        "end of data: Requested mail action aborted: exceeded storage allocation",
        "deferred",
        PAGE,
    ),
];
