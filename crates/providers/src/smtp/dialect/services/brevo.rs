//! Brevo by SMTP.

use malote_core::provider::Outgoing;
use malote_core::tracking::TrackingSwitches;

use crate::correlation::{Readers, as_one};
use crate::smtp::config::Protection;
use crate::smtp::dialect::fields::{Fields, VALUE_BYTES_MAX};
use crate::smtp::dialect::{Defaults, Dialect, Host, MessageIdIn, User};

/// Brevo. The user is the login of its SMTP page, the password an SMTP key, not an API key. Its
/// answers are documented nowhere.
pub(crate) static BREVO: Dialect = Dialect {
    name: "brevo",
    host: Host::ByRegion(&[("global", "smtp-relay.brevo.com")]),
    tls: Protection::Implicit,
    user: User::Given,
    bounds: Defaults {
        recipients_max: 99,
        message_bytes_max: 20_000_000,
        ..Defaults::PLAIN
    },
    keeps_mail_from: false,
    judges_domain_at_mail: false,
    pool_key: None,
    fields,
    tracking: TrackingSwitches::ACCOUNT,
    rules: &[],
    by_message: None,
    message_id: MessageIdIn::Reply,
    documented: &[],
};

/// The fields that Symfony's bridge writes. Whether they are taken out is not documented.
fn fields(fields: &mut Fields<'_>, outgoing: &Outgoing, _: Option<&str>) {
    let ids = as_one(outgoing, Readers::Recipients, VALUE_BYTES_MAX);
    fields.set("X-Mailin-custom", &ids);
    if let Some(tag) = outgoing.tags.first() {
        fields.set("X-Mailin-Tag", tag);
    }
}
