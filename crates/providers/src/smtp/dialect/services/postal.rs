//! Postal by SMTP, a mail server of one's own.

use malote_core::provider::{Outgoing, Verdict};
use malote_core::tracking::TrackingSwitches;

use crate::Documented;
use crate::correlation::{Readers, as_one};
use crate::smtp::classify::Stage;
use crate::smtp::config::Protection;
use crate::smtp::dialect::fields::Fields;
use crate::smtp::dialect::{Defaults, Dialect, Host, MessageIdIn, Rule, User};

/// Postal. Only the password is looked at. 14 MB is its `max_message_size`, which EHLO does not
/// tell. Its answer to the final dot has no id.
pub(crate) static POSTAL: Dialect = Dialect {
    name: "postal",
    host: Host::Given,
    tls: Protection::StartTls,
    user: User::Fixed("malote"),
    bounds: Defaults {
        message_bytes_max: 14 << 20,
        ..Defaults::PLAIN
    },
    keeps_mail_from: true,
    judges_domain_at_mail: false,
    pool_key: None,
    fields,
    tracking: TrackingSwitches::ACCOUNT,
    rules: RULES,
    by_message: None,
    message_id: MessageIdIn::Message,
    documented: DOCUMENTED,
};

/// A tag is all that its events echo, so it is ours.
fn fields(fields: &mut Fields<'_>, outgoing: &Outgoing, _: Option<&str>) {
    fields.set("X-Postal-Tag", &as_one(outgoing, Readers::Recipients, 255));
}

const RULES: &[Rule] = &[
    Rule {
        stages: &[Stage::FinalDot],
        codes: &[530],
        enhanced: None,
        words: &["from/sender name is not valid"],
        verdict: Verdict::SenderUnusable,
    },
    Rule::words(
        &["mail server has been suspended"],
        Verdict::ProviderUnusable,
    ),
];

const SOURCE: &str = "github.com/postalserver/postal, app/lib/smtp_server/client.rb";

const DOCUMENTED: &[Documented] = &[
    Documented::new(535, "AUTH: Invalid credential", "provider_unusable", SOURCE),
    Documented::new(
        535,
        "RCPT TO: Mail server has been suspended",
        "provider_unusable",
        SOURCE,
    ),
    Documented::new(
        530,
        "RCPT TO: Authentication required",
        "provider_unusable",
        SOURCE,
    ),
    Documented::new(
        530,
        "end of data: From/Sender name is not valid",
        "sender_unusable",
        SOURCE,
    ),
    Documented::new(
        552,
        "end of data: Message too large (maximum size 14MB)",
        "rejected_message_here",
        SOURCE,
    ),
    Documented::new(
        550,
        "end of data: Loop detected",
        "rejected_message",
        SOURCE,
    ),
    Documented::new(
        502,
        "STARTTLS: TLS not available",
        "provider_unusable",
        SOURCE,
    ),
];
