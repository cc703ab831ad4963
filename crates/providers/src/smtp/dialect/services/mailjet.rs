//! Mailjet by SMTP.

use malote_core::provider::Outgoing;
use malote_core::tracking::TrackingSwitches;

use crate::correlation::{Readers, as_one};
use crate::smtp::config::Protection;
use crate::smtp::dialect::fields::Fields;
use crate::smtp::dialect::{Defaults, Dialect, Host, MessageIdIn, User};

/// Mailjet. The user is the API key, the password the secret key. Its answers are documented
/// nowhere.
pub(crate) static MAILJET: Dialect = Dialect {
    name: "mailjet",
    host: Host::ByRegion(&[("global", "in-v3.mailjet.com")]),
    tls: Protection::Implicit,
    user: User::Given,
    bounds: Defaults {
        recipients_max: 50,
        message_bytes_max: 15_000_000,
        ..Defaults::PLAIN
    },
    keeps_mail_from: false,
    judges_domain_at_mail: false,
    pool_key: None,
    fields,
    tracking: TrackingSwitches::BOTH,
    rules: &[],
    by_message: None,
    message_id: MessageIdIn::Reply,
    documented: &[],
};

/// "SMTP relay, custom headers". Whether they are taken out is not documented.
fn fields(fields: &mut Fields<'_>, outgoing: &Outgoing, _: Option<&str>) {
    fields.set("X-MJ-CustomID", &as_one(outgoing, Readers::Recipients, 255));
    let word = |is_on| if is_on { "1" } else { "0" };
    if let Some(opens) = outgoing.tracking.opens {
        fields.set("X-Mailjet-TrackOpen", word(opens));
    }
    if let Some(clicks) = outgoing.tracking.clicks {
        fields.set("X-Mailjet-TrackClick", word(clicks));
    }
    if let Some(tag) = outgoing.tags.first() {
        fields.set("X-Mailjet-Campaign", &campaign(tag));
    }
}

/// Letters, digits, blank, `-` and `_`, at most 255.
fn campaign(tag: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " -_".contains(c);
    tag.chars()
        .take(255)
        .map(|c| if allowed(c) { c } else { '_' })
        .collect()
}
