//! Google Workspace's SMTP relay.

use malote_core::provider::Verdict;
use malote_core::tracking::TrackingSwitches;

use super::{QUOTA_SPENT, THROTTLED};
use crate::Documented;
use crate::smtp::config::Protection;
use crate::smtp::dialect::fields::none;
use crate::smtp::dialect::{Defaults, Dialect, Host, MessageIdIn, Rule, User};

/// Google Workspace. A transaction may have 100 recipients. `helo` must be one of one's own
/// domains unless the relay is set up to know the address.
pub(crate) static GOOGLE: Dialect = Dialect {
    name: "google",
    host: Host::ByRegion(&[("global", "smtp-relay.gmail.com")]),
    tls: Protection::StartTls,
    user: User::Given,
    bounds: Defaults {
        message_bytes_max: 25_000_000,
        messages_per_connection_max: 100,
        ..Defaults::PLAIN
    },
    keeps_mail_from: true,
    judges_domain_at_mail: true,
    pool_key: None,
    fields: none,
    tracking: TrackingSwitches::NEVER,
    rules: RULES,
    by_message: None,
    message_id: MessageIdIn::Message,
    documented: DOCUMENTED,
};

const RULES: &[Rule] = &[
    Rule {
        stages: &[],
        codes: &[550, 452],
        enhanced: Some((4, 5)),
        words: &[],
        verdict: QUOTA_SPENT,
    },
    Rule::words(
        &["daily smtp relay limit", "daily user sending"],
        QUOTA_SPENT,
    ),
    // 4.2.1, as of a recipient's mailbox, and about us.
    Rule::words(
        &["peak smtp relay limit", "too many login attempts"],
        THROTTLED,
    ),
    Rule::words(
        &["invalid credentials for relay", "mail relay denied"],
        Verdict::ProviderUnusable,
    ),
];

const PAGE: &str = "support.google.com/a/answer/3726730, Gmail SMTP errors and codes";

const DOCUMENTED: &[Documented] = &[
    Documented::new(
        550,
        "RCPT TO: 5.4.5 Daily SMTP relay limit exceeded for user.",
        "quota_spent",
        PAGE,
    ),
    Documented::new(
        550,
        "end of data: 5.4.5 Daily user sending limit exceeded.",
        "quota_spent",
        PAGE,
    ),
    Documented::new(
        450,
        "RCPT TO: 4.2.1 Peak SMTP relay limit exceeded for customer. This is a temporary error.",
        "throttled",
        PAGE,
    ),
    Documented::new(
        450,
        "RCPT TO: 4.2.1 The user you are trying to contact is receiving mail too quickly.",
        "deferred",
        PAGE,
    ),
    Documented::new(
        421,
        "greeting: 4.7.0 Try again later, closing connection.",
        "throttled",
        PAGE,
    ),
    Documented::new(
        421,
        "EHLO: 4.3.0 Temporary System Problem. Try again later",
        "transient",
        PAGE,
    ),
    Documented::new(
        421,
        "MAIL FROM: 4.4.5 Server busy, try again later.",
        "transient",
        PAGE,
    ),
    Documented::new(
        550,
        "RCPT TO: 5.7.1 Invalid credentials for relay [192.0.2.1].",
        "provider_unusable",
        PAGE,
    ),
    Documented::new(
        550,
        "MAIL FROM: 5.7.0 Mail relay denied.",
        "provider_unusable",
        PAGE,
    ),
    Documented::new(
        535,
        "AUTH: 5.7.8 Username and Password not accepted.",
        "provider_unusable",
        PAGE,
    ),
    Documented::new(
        534,
        "AUTH: 5.7.9 Application-specific password required.",
        "provider_unusable",
        PAGE,
    ),
    Documented::new(
        454,
        "AUTH: 4.7.0 Too many login attempts, please try again later.",
        "throttled",
        PAGE,
    ),
    Documented::new(
        552,
        "end of data: 5.2.3 Your message exceeded Google's message size limits.",
        "rejected_message",
        PAGE,
    ),
];
