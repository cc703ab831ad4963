//! SMTP2GO by SMTP.

use malote_core::provider::Verdict;
use malote_core::tracking::TrackingSwitches;

use crate::Documented;
use crate::smtp::config::Protection;
use crate::smtp::dialect::fields::none;
use crate::smtp::dialect::{Defaults, Dialect, Host, MessageIdIn, Rule, User};

/// SMTP2GO. Its answer to the final dot has the id of its events; pool and tracking are settings of
/// the user that logs in.
pub(crate) static SMTP2GO: Dialect = Dialect {
    name: "smtp2go",
    host: Host::ByRegion(&[
        ("global", "mail.smtp2go.com"),
        ("us", "mail-us.smtp2go.com"),
        ("eu", "mail-eu.smtp2go.com"),
        ("au", "mail-au.smtp2go.com"),
    ]),
    tls: Protection::Implicit,
    user: User::Given,
    bounds: Defaults {
        message_bytes_max: 50_000_000,
        ..Defaults::PLAIN
    },
    keeps_mail_from: false,
    judges_domain_at_mail: false,
    pool_key: None,
    fields: none,
    tracking: TrackingSwitches::ACCOUNT,
    rules: RULES,
    by_message: None,
    message_id: MessageIdIn::Reply,
    documented: DOCUMENTED,
};

// None of these is about a recipient, though they come as 550.
const RULES: &[Rule] = &[
    Rule::words(&["relay access denied"], Verdict::ProviderUnusable),
    Rule::words(
        &["that ip address is not allowed to send"],
        Verdict::ProviderUnusable,
    ),
    Rule::words(&["sender domain not verified"], Verdict::SenderUnusable),
];

const PAGE: &str = "support.smtp2go.com, Common Sending Errors";

const DOCUMENTED: &[Documented] = &[
    Documented::new(
        535,
        "AUTH: Incorrect authentication data",
        "provider_unusable",
        PAGE,
    ),
    Documented::new(
        550,
        "RCPT TO: Relay access denied - please authenticate",
        "provider_unusable",
        PAGE,
    ),
    Documented::new(
        550,
        "end of data: From header sender domain not verified",
        "sender_unusable",
        PAGE,
    ),
    Documented::new(
        550,
        "RCPT TO: that IP address is not allowed to send",
        "provider_unusable",
        "github.com/gophish/gophish issue 1701",
    ),
];
