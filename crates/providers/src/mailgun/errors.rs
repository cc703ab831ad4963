//! What Mailgun documents of its answers, and what others saw of them.

use crate::Documented;

const SEND: &str = "API reference, Send an email in MIME format";
const CODES: &str =
    "quick start guide, API Response Codes, and the help centre's list of error messages";
const LIMITS: &str = "user manual, Rate limits";

/// Its answers to a message for one recipient by a pool, at midnight of 22 November 2026.
pub(crate) const DOCUMENTED: &[Documented] = &[
    Documented::new(
        200,
        r#"{"id":"<2026.1.AB@news.example.com>","message":"Queued. Thank you."}"#,
        "accepted",
        SEND,
    ),
    Documented::new(
        400,
        r#"{"message":"to parameter is not a valid address. please check documentation"}"#,
        "rejected_recipient",
        SEND,
    ),
    Documented::new(
        400,
        r#"{"message":"Domain x.mailgun.org is not allowed to send: Sandbox subdomains are for test purposes only. Please add your own domain or add the address to authorized recipients in Account Settings."}"#,
        "rejected_not_permitted",
        SEND,
    ),
    Documented::new(
        400,
        r#"{"message":"Domain x is not allowed to send: Free accounts are for test purposes only. Please upgrade or add the address to authorized recipients."}"#,
        "rejected_not_permitted",
        SEND,
    ),
    Documented::new(
        400,
        r#"{"message":"Domain x is not allowed to send: The domain is unverified and requires DNS configuration."}"#,
        "provider_unusable",
        SEND,
    )
    .in_our_words(),
    Documented::new(
        400,
        r#"{"message":"Domain x is not allowed to send: Account is disabled"}"#,
        "provider_unusable",
        SEND,
    )
    .in_our_words(),
    Documented::new(
        400,
        r#"{"message":"Too many recipients, max is 1000"}"#,
        "rejected_message_here",
        SEND,
    ),
    Documented::new(
        400,
        r#"{"message":"'message' parameter is not a file"}"#,
        "rejected_message",
        SEND,
    ),
    Documented::new(
        400,
        r#"{"message":"from parameter is missing"}"#,
        "rejected_message",
        SEND,
    ),
    Documented::new(401, "Forbidden", "provider_unusable", CODES),
    Documented::new(402, r#"{"message":"Request failed"}"#, "quota_spent", CODES),
    Documented::new(
        403,
        r#"{"message":"Domain x is not allowed to send large batches yet"}"#,
        "throttled",
        SEND,
    ),
    Documented::new(
        403,
        r#"{"message":"Rejected: IP 192.0.2.1 can't be used to send the message"}"#,
        "pool_unusable",
        SEND,
    ),
    Documented::new(403, "Forbidden", "provider_unusable", SEND),
    Documented::new(
        404,
        r#"{"message":"Domain not found: x"}"#,
        "provider_unusable",
        CODES,
    ),
    Documented::new(408, "", "transient", "RFC 9110 15: the status alone"),
    Documented::new(
        413,
        r#"{"message":"Request Entity Too Large"}"#,
        "rejected_message_here",
        CODES,
    ),
    Documented::new(
        429,
        r#"{"message":"Domain x is not allowed to send: request limit exceeded, try again after 30 seconds"}"#,
        "throttled",
        LIMITS,
    ),
    Documented::new(
        429,
        r#"{"message":"Domain x is not allowed to send: recipient limit exceeded, try again after Sun, 22 Nov 2026 00:02:00 UTC"}"#,
        "throttled",
        LIMITS,
    ),
    Documented::new(
        429,
        r#"{"message":"Too many requests"}"#,
        "throttled",
        LIMITS,
    ),
    Documented::new(
        500,
        r#"{"message":"Internal Server Error"}"#,
        "transient",
        CODES,
    ),
    Documented::new(
        502,
        r#"{"message":"Bad Gateway"}"#,
        "unknown",
        "RFC 9110 15: the status alone",
    ),
    Documented::new(503, "", "transient", "RFC 9110 15: the status alone"),
    Documented::new(504, "", "unknown", "RFC 9110 15: the status alone"),
];
