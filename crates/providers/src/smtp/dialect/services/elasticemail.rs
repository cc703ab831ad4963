//! Elastic Email by SMTP.

use malote_core::provider::Outgoing;
use malote_core::tracking::TrackingSwitches;

use crate::correlation::{Readers, as_one};
use crate::smtp::config::Protection;
use crate::smtp::dialect::fields::{Fields, VALUE_BYTES_MAX};
use crate::smtp::dialect::{Defaults, Dialect, Host, MessageIdIn, PoolKey, User};

/// Elastic Email. Twenty connections, both classes together. No field for the IP pool is
/// documented: it is chosen by the API only. The account must allow custom headers.
pub(crate) static ELASTICEMAIL: Dialect = Dialect {
    name: "elasticemail",
    host: Host::ByRegion(&[("global", "smtp.elasticemail.com")]),
    tls: Protection::Implicit,
    user: User::Given,
    bounds: Defaults {
        recipients_max: 50,
        message_bytes_max: 20_000_000,
        connections_max: 10,
        ..Defaults::PLAIN
    },
    keeps_mail_from: false,
    judges_domain_at_mail: false,
    pool_key: Some(PoolKey {
        name: "channel",
        value: |pool| pool.channel.as_deref(),
        bytes_max: 191,
    }),
    fields,
    tracking: TrackingSwitches::ACCOUNT,
    rules: &[],
    by_message: None,
    message_id: MessageIdIn::Reply,
    documented: &[],
};

/// Help articles "Channels for SMTP and API" and "How to manage custom headers". The postback is
/// delivered with the message.
fn fields(fields: &mut Fields<'_>, outgoing: &Outgoing, channel: Option<&str>) {
    if let Some(channel) = channel {
        fields.set("X-ElasticEmail-Channel", channel);
    }
    let postback = as_one(outgoing, Readers::Recipients, VALUE_BYTES_MAX);
    fields.set("X-ElasticEmail-Postback", &postback);
}
