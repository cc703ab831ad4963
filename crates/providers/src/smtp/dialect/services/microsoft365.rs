//! Microsoft 365, by authenticated client submission.

use malote_core::provider::Verdict;
use malote_core::tracking::TrackingSwitches;

use super::{QUOTA_SPENT, THROTTLED};
use crate::Documented;
use crate::smtp::config::Protection;
use crate::smtp::dialect::fields::none;
use crate::smtp::dialect::{Defaults, Dialect, Host, MessageIdIn, Rule, User};

/// Microsoft 365. A mailbox may have three connections, so that each class has one, and send 30
/// messages a minute and to 10000 recipients a day (Exchange Online limits). Basic authentication
/// is at its end: give `oauth2`.
pub(crate) static MICROSOFT365: Dialect = Dialect {
    name: "microsoft365",
    host: Host::ByRegion(&[("global", "smtp.office365.com")]),
    tls: Protection::StartTls,
    user: User::Given,
    bounds: Defaults {
        recipients_max: 100,
        message_bytes_max: 35_000_000,
        connections_max: 1,
        messages_per_connection_max: 30,
    },
    keeps_mail_from: false,
    judges_domain_at_mail: false,
    pool_key: None,
    fields: none,
    tracking: TrackingSwitches::NEVER,
    rules: RULES,
    by_message: None,
    message_id: MessageIdIn::Message,
    documented: DOCUMENTED,
};

const RULES: &[Rule] = &[
    Rule::words(
        &[
            "concurrent connection limit",
            "concurrent connections limit",
            "thread limit exceeded",
        ],
        THROTTLED,
    ),
    Rule::words(&["sender throttled due to continuous"], THROTTLED),
    Rule {
        stages: &[],
        codes: &[451],
        enhanced: None,
        words: &["4.7.5", "4.7.6"],
        verdict: THROTTLED,
    },
    Rule {
        stages: &[],
        codes: &[],
        enhanced: Some((1, 90)),
        words: &[],
        verdict: QUOTA_SPENT,
    },
    Rule {
        stages: &[],
        codes: &[],
        enhanced: Some((7, 60)),
        words: &[],
        verdict: Verdict::SenderUnusable,
    },
    Rule::words(
        &["sendasdenied", "send as this sender"],
        Verdict::SenderUnusable,
    ),
    Rule {
        stages: &[],
        codes: &[],
        enhanced: Some((7, 30)),
        words: &[],
        verdict: Verdict::ProviderUnusable,
    },
    Rule::words(
        &[
            "tenant has exceeded threshold",
            "traffic not accepted from this ip",
        ],
        Verdict::ProviderUnusable,
    ),
    Rule::words(&["unregistered domain"], Verdict::SenderUnusable),
];

const THREE: &str = "techcommunity.microsoft.com, Changes coming to the SMTP Authenticated Submission client protocol";
const CONTINUOUS: &str =
    "learn.microsoft.com, Continuous error throttling for SMTP AUTH submissions in Exchange Online";
const NDR: &str =
    "learn.microsoft.com, Email non-delivery reports and SMTP errors in Exchange Online";
const BLOCKED: &str = "learn.microsoft.com, Non-delivery reports 5.7.700 to 5.7.750";

const DOCUMENTED: &[Documented] = &[
    Documented::new(
        432,
        "AUTH: 4.3.2 concurrent connection limit exceeded",
        "throttled",
        THREE,
    ),
    Documented::new(
        432,
        "end of data: 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded",
        "throttled",
        THREE,
    ),
    Documented::new(
        550,
        "end of data: 5.2.252 Sender throttled due to continuous send as denied errors.",
        "throttled",
        CONTINUOUS,
    ),
    Documented::new(
        550,
        "RCPT TO: 5.2.255 Sender throttled due to continuous invalid recipients errors.",
        "throttled",
        CONTINUOUS,
    ),
    Documented::new(
        451,
        "RCPT TO: 4.7.500 Server busy. Please try again later from [192.0.2.1]. (AS761)",
        "throttled",
        NDR,
    ),
    Documented::new(
        550,
        "end of data: 5.1.90 Your message can't be sent because you've reached your daily limit for message recipients",
        "quota_spent",
        NDR,
    ),
    Documented::new(
        550,
        "end of data: 5.7.60 SMTP; Client does not have permissions to send as this sender",
        "sender_unusable",
        NDR,
    ),
    Documented::new(
        554,
        "end of data: 5.2.252 SendAsDenied; u@shop.example not allowed to send as a@shop.example",
        "sender_unusable",
        "seen in public reports",
    ),
    Documented::new(
        550,
        "MAIL FROM: 5.7.30 Basic authentication is not supported for Client Submission.",
        "provider_unusable",
        NDR,
    ),
    Documented::new(
        535,
        "AUTH: 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.",
        "provider_unusable",
        NDR,
    ),
    Documented::new(
        535,
        "AUTH: 5.7.3 Authentication unsuccessful",
        "provider_unusable",
        "seen in public reports",
    ),
    Documented::new(
        530,
        "MAIL FROM: 5.7.57 Client not authenticated to send mail.",
        "provider_unusable",
        NDR,
    ),
    Documented::new(
        550,
        "end of data: 5.1.8 Access denied, bad outbound sender",
        "sender_unusable",
        NDR,
    ),
    Documented::new(
        550,
        "RCPT TO: 5.7.705 Access denied, tenant has exceeded threshold",
        "provider_unusable",
        BLOCKED,
    ),
    Documented::new(
        550,
        "RCPT TO: 5.7.708 Access denied, traffic not accepted from this IP",
        "provider_unusable",
        BLOCKED,
    ),
    Documented::new(
        550,
        "RCPT TO: 5.7.750 Service unavailable. Client blocked from sending from unregistered domains.",
        "sender_unusable",
        BLOCKED,
    ),
];
