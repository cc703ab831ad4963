//! Mail servers of one's own: Postfix, Mailcow (Postfix with rspamd), Exim.

use malote_core::provider::Verdict;
use malote_core::tracking::TrackingSwitches;

use super::THROTTLED;
use crate::Documented;
use crate::smtp::config::Protection;
use crate::smtp::dialect::{ANY, Defaults, Dialect, Rule};

/// Postfix. Its `message_size_limit` is told in EHLO; `smtpd_recipient_limit` is 1000.
pub(crate) static POSTFIX: Dialect = Dialect {
    name: "postfix",
    // With smtpd_delay_reject = no; else all is refused at RCPT.
    judges_domain_at_mail: true,
    tls: Protection::StartTls,
    bounds: Defaults {
        recipients_max: 1000,
        ..Defaults::PLAIN
    },
    rules: POSTFIX_RULES,
    documented: POSTFIX_DOCUMENTED,
    tracking: TrackingSwitches::NEVER,
    ..ANY
};

/// Mailcow.
pub(crate) static MAILCOW: Dialect = Dialect {
    name: "mailcow",
    bounds: Defaults {
        recipients_max: 1000,
        ..Defaults::PLAIN
    },
    rules: POSTFIX_RULES,
    documented: MAILCOW_DOCUMENTED,
    tracking: TrackingSwitches::NEVER,
    ..ANY
};

/// Exim.
pub(crate) static EXIM: Dialect = Dialect {
    name: "exim",
    judges_domain_at_mail: true,
    tls: Protection::StartTls,
    documented: EXIM_DOCUMENTED,
    tracking: TrackingSwitches::NEVER,
    ..ANY
};

const POSTFIX_RULES: &[Rule] = &[
    // `defer_unauth_destination` says 454 to a client that it does not know: waiting mends nothing.
    Rule::words(&["relay access denied"], Verdict::ProviderUnusable),
    Rule::words(&["ratelimit", "too much mail from"], THROTTLED),
];

const POSTFIX_DOCUMENTED: &[Documented] = &[
    Documented::new(
        454,
        "RCPT TO: 4.7.1 <x@dest.example>: Relay access denied",
        "provider_unusable",
        "postconf(5), defer_unauth_destination",
    ),
    Documented::new(
        554,
        "RCPT TO: 5.7.1 <x@dest.example>: Relay access denied",
        "provider_unusable",
        "postconf(5), relay_domains_reject_code",
    ),
    Documented::new(
        553,
        "RCPT TO: 5.7.1 <a@shop.example>: Sender address rejected: not owned by user u",
        "sender_unusable",
        "postconf(5), reject_authenticated_sender_login_mismatch",
    ),
    Documented::new(
        450,
        "MAIL FROM: 4.7.1 Error: too much mail from 192.0.2.1",
        "throttled",
        "postconf(5), smtpd_client_message_rate_limit",
    ),
    Documented::new(
        421,
        "greeting: 4.7.0 mx.example Error: too many connections from 192.0.2.1",
        "throttled",
        "postconf(5), smtpd_client_connection_count_limit",
    ),
    Documented::new(
        452,
        "MAIL FROM: 4.3.1 Insufficient system storage",
        "transient",
        "postconf(5), queue_minfree",
    ),
    Documented::new(
        552,
        "MAIL FROM: 5.3.4 Message size exceeds fixed limit",
        "rejected_message_here",
        "postconf(5), message_size_limit",
    ),
    Documented::new(
        535,
        "AUTH: 5.7.8 Error: authentication failed: (reason unavailable)",
        "provider_unusable",
        "Postfix, SASL_README",
    ),
];

const MAILCOW_DOCUMENTED: &[Documented] = &[
    Documented::new(
        451,
        "end of data: 4.7.1 Ratelimit \"user\" exceeded",
        "throttled",
        "github.com/mailcow/mailcow-dockerized issues 176, 539, 1497",
    ),
    Documented::new(
        451,
        "RCPT TO: 4.7.1 Ratelimit \"mailcow\" exceeded",
        "throttled",
        "github.com/mailcow/mailcow-dockerized issue 1693",
    ),
    Documented::new(
        553,
        "RCPT TO: 5.7.1 <a@shop.example>: Sender address rejected: not owned by user u@shop.example",
        "sender_unusable",
        "postconf(5), reject_authenticated_sender_login_mismatch",
    ),
    Documented::new(
        454,
        "RCPT TO: 4.7.1 <x@dest.example>: Relay access denied",
        "provider_unusable",
        "postconf(5), defer_unauth_destination",
    ),
    Documented::new(
        535,
        "AUTH: 5.7.8 Error: authentication failed: (reason unavailable)",
        "provider_unusable",
        "Postfix, SASL_README",
    ),
];

const EXIM_DOCUMENTED: &[Documented] = &[
    Documented::new(
        550,
        "RCPT TO: relay not permitted",
        "provider_unusable",
        "Exim specification, the default configuration's acl_check_rcpt",
    ),
    Documented::new(
        550,
        "RCPT TO: Sender verify failed",
        "sender_unusable",
        "Exim specification, sender address verification",
    ),
    Documented::new(
        421,
        "greeting: Too many concurrent SMTP connections; please try again later.",
        "throttled",
        "Exim specification, smtp_accept_max",
    ),
    Documented::new(
        452,
        "MAIL FROM: Space shortage, please try later",
        "transient",
        "Exim specification, check_spool_space",
    ),
    Documented::new(
        535,
        "AUTH: Incorrect authentication data",
        "provider_unusable",
        "Exim specification, SMTP authentication",
    ),
];
