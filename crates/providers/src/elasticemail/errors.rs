//! What Elastic Email answers to a send, and what becomes of it.

use crate::Documented;

/// Where the sentence itself is published.
const PUBLISHED: &str = "API v4 reference, errors: a bad key is 400";
/// Where only the occasion is, and the sentence is recognised by its words.
const BY_WORDS: &str = "the service publishes no list of sentences: recognised by its words";
/// The limits of the API.
const LIMITS: &str = "OpenAPI description of the API v4, limits";

/// One row per answer.
pub(crate) const DOCUMENTED: &[Documented] = &[
    Documented::new(
        200,
        r#"{"TransactionID":"6a3d1f0e-1","MessageID":"-HHGPM_9RPhSMiaJq_ab4g3"}"#,
        "accepted",
        "OpenAPI description of the API v4, EmailSend",
    ),
    Documented::new(
        400,
        r#"{"Error":"APIKey Expired"}"#,
        "provider_unusable",
        PUBLISHED,
    ),
    Documented::new(
        400,
        r#"{"Error":"Incorrect apikey"}"#,
        "provider_unusable",
        PUBLISHED,
    ),
    Documented::new(
        400,
        r#"{"Error":"Access Denied. Required access level: SendHttp"}"#,
        "provider_unusable",
        PUBLISHED,
    ),
    Documented::new(
        400,
        r#"{"Error":"Your account has been suspended"}"#,
        "provider_unusable",
        BY_WORDS,
    )
    .in_our_words(),
    Documented::new(
        400,
        r#"{"Error":"Your account is under review"}"#,
        "provider_unusable",
        BY_WORDS,
    )
    .in_our_words(),
    Documented::new(
        400,
        r#"{"Error":"Not enough credits to send this email"}"#,
        "quota_spent",
        BY_WORDS,
    )
    .in_our_words(),
    Documented::new(
        400,
        r#"{"Error":"Daily send limit exceeded"}"#,
        "quota_spent",
        BY_WORDS,
    )
    .in_our_words(),
    Documented::new(
        400,
        r#"{"Error":"Pool 'shared-9' does not exist"}"#,
        "pool_unusable",
        BY_WORDS,
    )
    .in_our_words(),
    Documented::new(
        400,
        r#"{"Error":"Sender domain shop.example is not verified"}"#,
        "sender_unusable",
        BY_WORDS,
    )
    .in_our_words(),
    Documented::new(
        400,
        r#"{"Error":"From email address is not valid"}"#,
        "sender_unusable",
        BY_WORDS,
    )
    .in_our_words(),
    Documented::new(
        400,
        r#"{"Error":"Invalid recipient: nobody"}"#,
        "rejected_recipient",
        BY_WORDS,
    )
    .in_our_words(),
    Documented::new(
        400,
        r#"{"Error":"Email size limit exceeded"}"#,
        "rejected_message_here",
        LIMITS,
    )
    .in_our_words(),
    Documented::new(
        400,
        r#"{"Error":"Too many recipients, maximum is 50"}"#,
        "rejected_message_here",
        LIMITS,
    )
    .in_our_words(),
    Documented::new(
        400,
        r#"{"Error":"Body is required"}"#,
        "rejected_message",
        BY_WORDS,
    )
    .in_our_words(),
    Documented::new(
        200,
        r#"{"Error":"Not enough credits to send this email"}"#,
        "quota_spent",
        "a failure inside a success, as the older API versions answered",
    )
    .in_our_words(),
    Documented::new(429, "", "throttled", LIMITS),
    Documented::new(
        500,
        r#"{"Error":"Internal server error"}"#,
        "transient",
        "an error of the service's own shape",
    )
    .in_our_words(),
    Documented::new(502, "<html>", "unknown", "a balancer that lost the service"),
    Documented::new(503, "", "transient", "RFC 9110 15.6.4"),
];
