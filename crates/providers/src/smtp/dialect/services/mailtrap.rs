//! Mailtrap by SMTP.

use malote_core::provider::Outgoing;
use malote_core::tracking::TrackingSwitches;

use super::{QUOTA_SPENT, THROTTLED};
use crate::Documented;
use crate::correlation::Readers;
use crate::smtp::config::Protection;
use crate::smtp::dialect::fields::{Fields, Metadata};
use crate::smtp::dialect::{Defaults, Dialect, Host, MessageIdIn, Rule, User};

/// Mailtrap. Ten connections, both classes together, 100 messages on each and 10 MB: help article
/// "Sending limits".
pub(crate) static MAILTRAP: Dialect = Dialect {
    name: "mailtrap",
    host: Host::ByRegion(&[
        ("transactional", "live.smtp.mailtrap.io"),
        ("bulk", "bulk.smtp.mailtrap.io"),
    ]),
    tls: Protection::StartTls,
    user: User::Fixed("api"),
    bounds: Defaults {
        recipients_max: 50,
        message_bytes_max: 10_000_000,
        connections_max: 5,
        messages_per_connection_max: 100,
    },
    keeps_mail_from: false,
    judges_domain_at_mail: false,
    pool_key: None,
    fields,
    tracking: TrackingSwitches::ACCOUNT,
    rules: RULES,
    by_message: None,
    message_id: MessageIdIn::Reply,
    documented: DOCUMENTED,
};

const METADATA: Metadata = Metadata {
    readers: Readers::Recipients,
    name_bytes_max: 128,
    value_bytes_max: 700,
    pairs_max: 64,
    bytes_max: 800,
};

/// The fields that Symfony's bridge writes. Whether they are taken out is not documented.
fn fields(fields: &mut Fields<'_>, outgoing: &Outgoing, _: Option<&str>) {
    if let Some(tag) = outgoing.tags.first() {
        fields.set("X-MT-Category", tag);
    }
    fields.set_json("X-MT-Custom-Variables", &METADATA.object(outgoing));
}

// The first two come in answer to a good login.
const RULES: &[Rule] = &[
    Rule::words(&["too many connections per account"], THROTTLED),
    Rule::words(&["monthly messages limit reached"], QUOTA_SPENT),
    Rule::words(&["too many emails per second"], THROTTLED),
];

const DOCUMENTED: &[Documented] = &[
    Documented::new(
        535,
        "AUTH: 5.7.8 Too many connections per account",
        "throttled",
        "help.mailtrap.io, Sending limits",
    ),
    Documented::new(
        535,
        "AUTH: 5.7.0 Monthly messages limit reached",
        "quota_spent",
        "help.mailtrap.io, Features and limits",
    ),
    Documented::new(
        550,
        "end of data: 5.7.0 Requested action not taken: too many emails per second",
        "throttled",
        "help.mailtrap.io, Features and limits",
    ),
];
