//! What Mailtrap answers to a send, and what becomes of it.

use crate::Documented;

/// The published description of the call.
const OPENAPI: &str = "OpenAPI description of email sending, api/send";
/// The help centre.
const LIMITS: &str = "help centre, sending limits";
/// Where the service publishes the occasion and no sentence.
const BY_WORDS: &str = "the service publishes examples only: recognised by its words";

/// One row per answer.
pub(crate) const DOCUMENTED: &[Documented] = &[
    Documented::new(
        200,
        r#"{"success":true,"message_ids":["0c7fd939-02cf-11ed-88c2-0a58a9feac02"]}"#,
        "accepted",
        OPENAPI,
    ),
    Documented::new(
        400,
        r#"{"success":false,"errors":["'from' is required","'subject' is required","must specify either text or html body"]}"#,
        "rejected_message",
        OPENAPI,
    ),
    Documented::new(
        400,
        r#"{"success":false,"errors":["'from' address is invalid"]}"#,
        "rejected_message_here",
        OPENAPI,
    ),
    Documented::new(
        400,
        r#"{"success":false,"errors":["'to' address is invalid"]}"#,
        "rejected_recipient",
        BY_WORDS,
    )
    .in_our_words(),
    Documented::new(
        401,
        r#"{"success":false,"errors":["Unauthorized"]}"#,
        "provider_unusable",
        OPENAPI,
    ),
    Documented::new(
        401,
        r#"{"error":"Incorrect API token"}"#,
        "provider_unusable",
        "OpenAPI description, UnauthenticatedResponse",
    ),
    Documented::new(
        403,
        r#"{"success":false,"errors":["Forbidden"]}"#,
        "sender_unusable",
        "OpenAPI description: verify the domain or check permissions",
    ),
    Documented::new(
        403,
        r#"{"success":false,"errors":["Sending from domain shop.example is not allowed"]}"#,
        "sender_unusable",
        "SMTP's sentence for the same refusal",
    )
    .in_our_words(),
    Documented::new(
        403,
        r#"{"success":false,"errors":["Demo domains can only be used to send emails to account owners. You can only send testing emails to your own email address."]}"#,
        "rejected_not_permitted",
        "OpenAPI description, compliance_status demo",
    ),
    Documented::new(
        403,
        r#"{"success":false,"errors":["Your account is suspended"]}"#,
        "provider_unusable",
        BY_WORDS,
    )
    .in_our_words(),
    Documented::new(
        403,
        r#"{"success":false,"errors":["Domain sending has been suspended"]}"#,
        "sender_unusable",
        "OpenAPI description, compliance_status suspended",
    )
    .in_our_words(),
    Documented::new(
        400,
        r#"{"success":false,"errors":["Daily limit reached"]}"#,
        "quota_spent",
        LIMITS,
    )
    .in_our_words(),
    Documented::new(
        413,
        r#"{"success":false,"errors":["Message is too large"]}"#,
        "rejected_message_here",
        LIMITS,
    )
    .in_our_words(),
    Documented::new(
        429,
        r#"{"errors":"Rate limit exceeded"}"#,
        "throttled",
        "OpenAPI description, LIMIT_EXCEEDED",
    ),
    Documented::new(
        429,
        r#"{"success":false,"errors":["Monthly limit reached"]}"#,
        "quota_spent",
        LIMITS,
    )
    .in_our_words(),
    Documented::new(
        200,
        r#"{"success":false,"errors":["'to' address is invalid"]}"#,
        "rejected_recipient",
        "a failure inside a success, as api/batch answers",
    )
    .in_our_words(),
    Documented::new(
        500,
        r#"{"success":false,"errors":["Internal server error"]}"#,
        "transient",
        OPENAPI,
    ),
    Documented::new(502, "<html>", "unknown", "a balancer that lost the service"),
    Documented::new(503, "", "transient", "RFC 9110 15.6.4"),
];
