//! What Brevo documents of its answers, and what others saw of them.

use crate::documented::Documented;

const MODEL: &str = "error model of the API clients; the status by \"Possible responses\"";
const SEND: &str = "Send a transactional email";

/// Its answers to an email with one recipient.
pub(crate) const DOCUMENTED: &[Documented] = &[
    Documented::new(
        201,
        r#"{"messageId":"<201798300811.5787683@smtp-relay.mailin.fr>"}"#,
        "accepted",
        SEND,
    ),
    Documented::new(
        400,
        r#"{"code":"invalid_parameter","message":"email is not valid in to"}"#,
        "rejected_recipient",
        "seen by several clients",
    ),
    Documented::new(
        400,
        r#"{"code":"invalid_parameter","message":"email is not valid in cc"}"#,
        "rejected_recipient",
        "seen by several clients",
    ),
    Documented::new(
        400,
        r#"{"code":"invalid_parameter","message":"email is not valid in replyTo"}"#,
        "rejected_message_here",
        SEND,
    )
    .in_our_words(),
    Documented::new(
        400,
        r#"{"code":"invalid_parameter","message":"Sender is invalid / inactive"}"#,
        "sender_unusable",
        "seen by several clients; mostly it is 201 and an event later",
    ),
    Documented::new(
        400,
        r#"{"code":"invalid_parameter","message":"valid sender email required"}"#,
        "sender_unusable",
        "seen by several clients",
    ),
    Documented::new(
        400,
        r#"{"code":"missing_parameter","message":"subject is missing"}"#,
        "rejected_message_here",
        MODEL,
    )
    .in_our_words(),
    Documented::new(
        400,
        r#"{"code":"invalid_parameter","message":"Unsupported file format in attachment"}"#,
        "rejected_message_here",
        SEND,
    )
    .in_our_words(),
    Documented::new(
        400,
        r#"{"code":"out_of_range","message":"too many recipients"}"#,
        "rejected_message_here",
        MODEL,
    )
    .in_our_words(),
    Documented::new(
        400,
        r#"{"code":"bad_request","message":"Input must be a valid JSON object"}"#,
        "rejected_message_here",
        MODEL,
    )
    .in_our_words(),
    Documented::new(
        400,
        r#"{"code":"duplicate_parameter","message":"duplicate value"}"#,
        "rejected_message_here",
        MODEL,
    )
    .in_our_words(),
    Documented::new(
        400,
        r#"{"code":"duplicate_request","message":"duplicate request"}"#,
        "unknown",
        "error model: what became of the first one is not said",
    )
    .in_our_words(),
    Documented::new(
        401,
        r#"{"code":"unauthorized","message":"Key not found"}"#,
        "provider_unusable",
        "APIv3-python-library issue 63",
    ),
    Documented::new(
        401,
        r#"{"code":"unauthorized","message":"We have detected you are using an unrecognised IP address 192.0.2.1. If you performed this action make sure to add the new IP address in this link: https://app.brevo.com/security/authorised_ips"}"#,
        "provider_unusable",
        "IP security & authorization",
    ),
    Documented::new(
        402,
        r#"{"code":"not_enough_credits","message":"You do not have enough credits"}"#,
        "quota_spent",
        MODEL,
    )
    .in_our_words(),
    Documented::new(
        402,
        r#"{"code":"account_under_validation","message":"Your account is under validation"}"#,
        "provider_unusable",
        "error model: 402, and not a question of credits",
    )
    .in_our_words(),
    Documented::new(
        403,
        r#"{"code":"permission_denied","message":"Unable to send email. Your SMTP account is not yet activated. Please contact us at contact@sendinblue.com to request activation"}"#,
        "provider_unusable",
        "fluent-smtp issue 157",
    ),
    Documented::new(
        404,
        r#"{"code":"document_not_found","message":"document not found"}"#,
        "provider_unusable",
        MODEL,
    )
    .in_our_words(),
    Documented::new(
        405,
        r#"{"code":"method_not_allowed","message":"method not allowed"}"#,
        "provider_unusable",
        MODEL,
    )
    .in_our_words(),
    Documented::new(
        406,
        r#"{"code":"not_acceptable","message":"not acceptable"}"#,
        "provider_unusable",
        MODEL,
    )
    .in_our_words(),
    Documented::new(
        413,
        "<html><body>413 Request Entity Too Large</body></html>",
        "rejected_message_here",
        "Add an attachment to a transactional email: 20 MB",
    )
    .in_our_words(),
    Documented::new(
        429,
        r#"{"code":"too_many_requests","message":"Too many requests"}"#,
        "throttled",
        "Rate limit headers",
    )
    .in_our_words(),
    Documented::new(
        500,
        r#"{"code":"internal_error","message":"Internal server error"}"#,
        "transient",
        "How it works, HTTP status codes",
    )
    .in_our_words(),
    Documented::new(
        500,
        r#"{"message":"Internal Server Error"}"#,
        "transient",
        "How it works, HTTP status codes",
    )
    .in_our_words(),
    Documented::new(503, "", "transient", "How it works, HTTP status codes"),
];
