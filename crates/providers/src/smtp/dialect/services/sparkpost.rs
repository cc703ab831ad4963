//! SparkPost by SMTP.

use malote_core::provider::{Fault, Outgoing, Verdict};
use malote_core::stream::Class;
use malote_core::tracking::TrackingSwitches;
use serde_json::{Map, Value};

use crate::Documented;
use crate::correlation::Readers;
use crate::smtp::config::Protection;
use crate::smtp::dialect::fields::{Fields, Metadata, fitting};
use crate::smtp::dialect::{Defaults, Dialect, Host, MessageIdIn, PoolKey, Rule, User};

/// SparkPost. 100 messages a connection: "SMTP relay endpoints"; of 10 KB of metadata events of
/// clicks and opens carry 1000 octets, which the ids of 50 recipients leave room in.
pub(crate) static SPARKPOST: Dialect = Dialect {
    name: "sparkpost",
    host: Host::ByRegion(&[
        ("us", "smtp.sparkpostmail.com"),
        ("eu", "smtp.eu.sparkpostmail.com"),
    ]),
    tls: Protection::StartTls,
    user: User::Fixed("SMTP_Injection"),
    bounds: Defaults {
        recipients_max: 50,
        message_bytes_max: 20_000_000,
        messages_per_connection_max: 100,
        ..Defaults::PLAIN
    },
    keeps_mail_from: true,
    judges_domain_at_mail: false,
    pool_key: Some(PoolKey {
        name: "ip_pool",
        value: |pool| pool.ip_pool.as_deref(),
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
    bytes_max: 1000,
};

/// "SMTP API": the field `X-MSYS-API`, which is taken out. Transactional mail gets neither an
/// unsubscribe link nor the suppression of marketing mail.
fn fields(fields: &mut Fields<'_>, outgoing: &Outgoing, ip_pool: Option<&str>) {
    let mut api = Map::new();
    api.insert("metadata".to_owned(), METADATA.object(outgoing));
    let tags = outgoing.tags.iter().filter(|tag| !tag.is_empty()).take(10);
    let tags: Vec<Value> = tags.map(|tag| fitting(tag, 255).into()).collect();
    if !tags.is_empty() {
        api.insert("tags".to_owned(), tags.into());
    }
    let is_transactional = outgoing.class == Class::Transactional;
    let mut options = Map::from_iter([("transactional".to_owned(), is_transactional.into())]);
    if let Some(pool) = ip_pool {
        options.insert("ip_pool".to_owned(), pool.into());
    }
    let tracking = [
        ("open_tracking", outgoing.tracking.opens),
        ("click_tracking", outgoing.tracking.clicks),
    ];
    for (name, is_on) in tracking {
        if let Some(is_on) = is_on {
            options.insert(name.to_owned(), is_on.into());
        }
    }
    api.insert("options".to_owned(), options.into());
    fields.set_json("X-MSYS-API", &api.into());
}

const RULES: &[Rule] = &[
    // About a field that no other service reads.
    Rule::words(&["x-msys-api"], Verdict::Rejected(Fault::MessageHere)),
    Rule::words(&["unconfigured sending domain"], Verdict::SenderUnusable),
];

const PAGE: &str = "support.sparkpost.com, Error messages when using SMTP";

const DOCUMENTED: &[Documented] = &[
    Documented::new(
        535,
        "AUTH: 5.7.8 Sorry. *** No authentication type succeeded",
        "provider_unusable",
        PAGE,
    ),
    Documented::new(
        550,
        "end of data: 5.6.0 JSON parsing error in X-MSYS-API",
        "rejected_message_here",
        PAGE,
    ),
    Documented::new(
        550,
        "end of data: 5.7.1 Unconfigured Sending Domain <demo.example.com>",
        "sender_unusable",
        PAGE,
    ),
];
