//! Amazon SES by SMTP.

use malote_core::provider::{Outgoing, Verdict};
use malote_core::tracking::TrackingSwitches;

use crate::smtp::classify::Context;
use crate::smtp::config::Protection;
use crate::smtp::dialect::fields::Fields;
use crate::smtp::dialect::{Defaults, Dialect, Host, MessageIdIn, PoolKey, Rule, User};
use crate::smtp::reply::ServerReply;
use crate::{Documented, ses};

/// Amazon SES. Recipients and octets: developer guide, "Service quotas".
pub(crate) static SES: Dialect = Dialect {
    name: "ses",
    host: Host::Aws,
    tls: Protection::Implicit,
    user: User::Given,
    bounds: Defaults {
        recipients_max: 50,
        message_bytes_max: 40_000_000,
        ..Defaults::PLAIN
    },
    keeps_mail_from: false,
    judges_domain_at_mail: false,
    pool_key: Some(PoolKey {
        name: "configuration_set",
        value: |pool| pool.configuration_set.as_deref(),
        bytes_max: 64,
    }),
    fields,
    tracking: TrackingSwitches::ACCOUNT,
    rules: RULES,
    by_message: Some(unverified),
    message_id: MessageIdIn::Reply,
    documented: DOCUMENTED,
};

/// Both fields are taken out before delivery (developer guide, "Publish event data using Amazon SES
/// headers").
fn fields(fields: &mut Fields<'_>, outgoing: &Outgoing, configuration_set: Option<&str>) {
    if let Some(set) = configuration_set {
        fields.set("X-SES-CONFIGURATION-SET", set);
    }
    let tags = ses::email_tags(outgoing).into_iter();
    let tags = tags.map(|tag| format!("{}={}", tag.name, tag.value));
    fields.set_list("X-SES-MESSAGE-TAGS", tags);
}

/// In the sandbox a recipient must be verified too, and the answer says the same words.
fn unverified(_: Context, reply: &ServerReply, outgoing: &Outgoing) -> Option<Verdict> {
    let text = reply.lines().collect::<Vec<_>>().join(" ");
    let text = text.to_ascii_lowercase();
    if reply.code != 554 || !text.contains("not verified") {
        return None;
    }
    let recipients = ses::addresses(outgoing);
    let sent = ses::Sent {
        sender: outgoing.mail_from.as_ref(),
        recipients: &recipients,
        names_configuration_set: false,
    };
    Some(ses::message_rejected(&text, sent))
}

const RULES: &[Rule] = &[
    Rule::words(
        &["access denied", "is not authorized to perform"],
        Verdict::ProviderUnusable,
    ),
    Rule::words(
        &["sending paused", "account is paused"],
        Verdict::ProviderUnusable,
    ),
    Rule::words(&["configuration set does not exist"], Verdict::PoolUnusable),
];

const CODES: &str = "SES developer guide, SMTP response codes returned by Amazon SES";
const QUOTAS: &str = "SES developer guide, Errors related to the sending quotas";
const SENDING: &str = "SES developer guide, Amazon SES email sending errors";

const DOCUMENTED: &[Documented] = &[
    Documented::new(
        454,
        "end of data: Throttling failure: Daily message quota exceeded",
        "quota_spent",
        QUOTAS,
    ),
    Documented::new(
        454,
        "end of data: Throttling failure: Maximum sending rate exceeded",
        "throttled",
        QUOTAS,
    ),
    Documented::new(
        421,
        "greeting: Too many concurrent SMTP connections",
        "throttled",
        CODES,
    ),
    Documented::new(
        451,
        "end of data: Temporary service failure",
        "transient",
        CODES,
    ),
    Documented::new(
        451,
        "end of data: Timeout waiting for data from client",
        "transient",
        CODES,
    ),
    Documented::new(
        454,
        "AUTH: Temporary authentication failure",
        "transient",
        CODES,
    ),
    Documented::new(
        454,
        "end of data: Temporary service failure",
        "transient",
        CODES,
    ),
    Documented::new(
        530,
        "MAIL FROM: Authentication required",
        "provider_unusable",
        CODES,
    ),
    Documented::new(
        535,
        "AUTH: Authentication Credentials Invalid",
        "provider_unusable",
        CODES,
    ),
    Documented::new(
        535,
        "AUTH: Account not subscribed to SES",
        "provider_unusable",
        CODES,
    ),
    Documented::new(
        552,
        "end of data: Message is too long.",
        "rejected_message_here",
        CODES,
    ),
    Documented::new(
        554,
        "end of data: Access denied: User `arn:aws:iam::123456789012:user/u' is not authorized to perform `ses:SendRawEmail'",
        "provider_unusable",
        CODES,
    ),
    Documented::new(
        554,
        "end of data: Message rejected: Email address is not verified. The following identities failed the check in region EU-WEST-1: a@shop.example",
        "sender_unusable",
        SENDING,
    ),
    Documented::new(
        554,
        "end of data: Message rejected: Email address is not verified. The following identities failed the check in region EU-WEST-1: x@dest.example",
        "rejected_not_permitted",
        "the same words of a recipient: the account is in the sandbox",
    ),
    Documented::new(
        554,
        "end of data: Message rejected: Account is paused. For more information, please check the inbox of the email address associated with your AWS account.",
        "provider_unusable",
        SENDING,
    ),
    Documented::new(
        554,
        "end of data: Message rejected: Sending paused for this account. For more information, please check the inbox of the email address associated with your AWS account.",
        "provider_unusable",
        "seen in public reports",
    ),
    Documented::new(
        554,
        "end of data: Configuration Set does not exist: Configuration set <set-1> does not exist.",
        "pool_unusable",
        "seen in public reports",
    ),
];
