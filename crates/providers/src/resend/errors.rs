//! What Resend documents of its refusals.

use crate::Documented;

const ERRORS: &str = "resend.com/docs/api-reference/errors";
const SDK: &str = "error names of the service's SDK, resend-node";

/// The rows, for a call with one recipient.
pub(crate) const DOCUMENTED: &[Documented] = &[
    Documented::new(
        200,
        r#"{"id":"49a3999c-0ce1-4ea6-ab68-afcd6dc2e794"}"#,
        "accepted",
        "resend.com/docs/api-reference/emails/send-email",
    ),
    Documented::new(
        400,
        r#"{"statusCode":400,"name":"invalid_idempotency_key","message":"The key must be between 1-256 chars."}"#,
        "rejected_message_here",
        ERRORS,
    ),
    Documented::new(
        400,
        r#"{"statusCode":400,"name":"validation_error","message":"We found an error with one or more fields in the request."}"#,
        "rejected_message_here",
        ERRORS,
    ),
    Documented::new(
        401,
        r#"{"statusCode":401,"name":"missing_api_key","message":"Missing API key in the authorization header."}"#,
        "provider_unusable",
        ERRORS,
    ),
    Documented::new(
        401,
        r#"{"statusCode":401,"name":"restricted_api_key","message":"This API key is restricted to only send emails."}"#,
        "provider_unusable",
        ERRORS,
    ),
    Documented::new(
        403,
        r#"{"statusCode":403,"name":"invalid_api_key","message":"API key is invalid."}"#,
        "provider_unusable",
        ERRORS,
    ),
    Documented::new(
        403,
        r#"{"statusCode":403,"name":"suspended_api_key","message":"This API key is suspended."}"#,
        "provider_unusable",
        SDK,
    ),
    Documented::new(
        403,
        r#"{"statusCode":403,"name":"validation_error","message":"You can only send testing emails to your own email address (owner@x.test). To send emails to other recipients, please verify a domain at resend.com/domains, and change the `from` address to an email using this domain."}"#,
        "rejected_not_permitted",
        ERRORS,
    ),
    Documented::new(
        403,
        r#"{"statusCode":403,"name":"validation_error","message":"The domain.com domain is not verified. Please, add and verify your domain."}"#,
        "sender_unusable",
        ERRORS,
    ),
    Documented::new(
        404,
        r#"{"statusCode":404,"name":"not_found","message":"The requested endpoint does not exist."}"#,
        "provider_unusable",
        ERRORS,
    ),
    Documented::new(
        405,
        r#"{"statusCode":405,"name":"method_not_allowed","message":"Method is not allowed for the requested path."}"#,
        "provider_unusable",
        ERRORS,
    ),
    Documented::new(
        409,
        r#"{"statusCode":409,"name":"invalid_idempotent_request","message":"Same idempotency key used with a different request payload."}"#,
        "unknown",
        ERRORS,
    ),
    Documented::new(
        409,
        r#"{"statusCode":409,"name":"concurrent_idempotent_requests","message":"Same idempotency key used while original request is still in progress."}"#,
        "deferred",
        ERRORS,
    ),
    Documented::new(
        422,
        r#"{"statusCode":422,"name":"validation_error","message":"Invalid `to` field. The email address needs to follow the `email@example.com` or `Name <email@example.com>` format."}"#,
        "rejected_recipient",
        "resend-python issue 65; a group is taken apart",
    ),
    Documented::new(
        422,
        r#"{"statusCode":422,"name":"invalid_from_address","message":"Invalid `from` field. The email address needs to follow the `email@example.com` or `Name <email@example.com>` format."}"#,
        "rejected_message_here",
        ERRORS,
    ),
    Documented::new(
        422,
        r#"{"statusCode":422,"name":"invalid_attachment","message":"Attachment must have either a `content` or `path`."}"#,
        "rejected_message_here",
        ERRORS,
    ),
    Documented::new(
        422,
        r#"{"statusCode":422,"name":"missing_required_field","message":"The request body is missing one or more required fields."}"#,
        "rejected_message_here",
        ERRORS,
    ),
    Documented::new(
        429,
        r#"{"statusCode":429,"name":"rate_limit_exceeded","message":"Too many requests. Please limit the number of requests per second. Or contact support to increase rate limit."}"#,
        "throttled",
        ERRORS,
    ),
    Documented::new(
        429,
        r#"{"statusCode":429,"name":"daily_quota_exceeded","message":"You have reached your daily email sending quota."}"#,
        "quota_spent",
        ERRORS,
    ),
    Documented::new(
        429,
        r#"{"statusCode":429,"name":"monthly_quota_exceeded","message":"You have reached your monthly email sending quota."}"#,
        "quota_spent",
        ERRORS,
    ),
    Documented::new(
        451,
        r#"{"statusCode":451,"name":"security_error","message":"We may have found a security issue with the request."}"#,
        "rejected_message_here",
        ERRORS,
    ),
    Documented::new(
        500,
        r#"{"statusCode":500,"name":"application_error","message":"An unexpected error occurred."}"#,
        "transient",
        ERRORS,
    ),
    Documented::new(
        500,
        r#"{"statusCode":500,"name":"internal_server_error","message":"An unexpected error occurred."}"#,
        "transient",
        ERRORS,
    ),
];
