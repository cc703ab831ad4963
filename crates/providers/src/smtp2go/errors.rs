//! What SMTP2GO answers to a send, and what becomes of it.

use crate::Documented;

/// The description of the call.
const OPENAPI: &str = "OpenAPI description of the API v3";
/// Status and code.
const CODES: &str = "developers.smtp2go.com, Response Codes";
/// Limits and 429.
const LIMITS: &str = "developers.smtp2go.com, Rate Limiting";
/// The sentences that its SMTP says, which `failures` repeats.
const SENDING: &str = "support.smtp2go.com, Common Sending Errors";
/// Only the occasion is published.
const BY_WORDS: &str = "the service publishes no list of sentences: recognised by its words";

/// One row per answer, to one recipient who does not stand in it.
pub(crate) const DOCUMENTED: &[Documented] = &[
    Documented::new(
        200,
        r#"{"request_id":"aa253464-0bd0-467a-b24b-6159dcd7be60","data":{"succeeded":1,"failed":0,"failures":[],"email_id":"1u0SwL-B9zBpi9ffUq-JAB2"}}"#,
        "accepted",
        OPENAPI,
    ),
    Documented::new(
        200,
        r#"{"request_id":"aa253464","data":{"succeeded":0,"failed":1,"failures":["An error occurred during the SMTP request: Verification failed for <no-reply@example-test.tld>\nUnrouteable address\ndomain verify fail <no-reply@example-test.tld>"],"email_id":""}}"#,
        "sender_unusable",
        "seen 2026-08: github.com/onetimesecret/onetimesecret issue 4190",
    ),
    Documented::new(
        200,
        r#"{"request_id":"aa253464","data":{"succeeded":0,"failed":1,"failures":["unable to verify sender address"],"email_id":""}}"#,
        "sender_unusable",
        "the service's own WordPress plugin",
    ),
    Documented::new(
        200,
        r#"{"request_id":"aa253464","data":{"succeeded":0,"failed":1,"failures":["550 From header sender domain not verified"],"email_id":""}}"#,
        "sender_unusable",
        SENDING,
    ),
    Documented::new(
        200,
        r#"{"request_id":"aa253464","data":{"succeeded":0,"failed":1,"failures":["550 Relay access denied - please authenticate"],"email_id":""}}"#,
        "provider_unusable",
        SENDING,
    ),
    Documented::new(
        200,
        r#"{"request_id":"aa253464","data":{"succeeded":0,"failed":1,"failures":["recipient is on the suppression list"],"email_id":""}}"#,
        "suppressed",
        BY_WORDS,
    )
    .in_our_words(),
    Documented::new(
        200,
        r#"{"request_id":"aa253464","data":{"succeeded":0,"failed":1,"failures":["550 no such user here"],"email_id":""}}"#,
        "rejected_recipient",
        BY_WORDS,
    )
    .in_our_words(),
    Documented::new(
        200,
        r#"{"request_id":"aa253464","data":{"succeeded":0,"failed":1,"failures":["API key ratelimit exceeded"],"email_id":""}}"#,
        "throttled",
        LIMITS,
    )
    .in_our_words(),
    Documented::new(
        200,
        r#"{"request_id":"aa253464","data":{"succeeded":0,"failed":1,"failures":["monthly quota exceeded"],"email_id":""}}"#,
        "quota_spent",
        BY_WORDS,
    )
    .in_our_words(),
    Documented::new(
        200,
        r#"{"request_id":"aa253464","data":{"succeeded":0,"failed":1,"failures":["552 message size exceeds maximum permitted"],"email_id":""}}"#,
        "rejected_message_here",
        LIMITS,
    )
    .in_our_words(),
    Documented::new(
        200,
        r#"{"request_id":"aa253464","data":{"succeeded":0,"failed":1,"failures":["550 message contains a virus"],"email_id":""}}"#,
        "rejected_message",
        BY_WORDS,
    )
    .in_our_words(),
    Documented::new(
        200,
        r#"{"request_id":"aa253464","data":{"succeeded":0,"failed":1,"failures":["something new"],"email_id":""}}"#,
        "rejected_message_here",
        "a failure inside a success in words that nobody knows: another provider may take it",
    )
    .in_our_words(),
    Documented::new(
        400,
        r#"{"request_id":"22e5acba-43bf-11e6-ae42-408d5cce2644","data":{"error_code":"E_ApiResponseCodes.ENDPOINT_PERMISSION_DENIED","error":"You do not have permission to access this API endpoint"}}"#,
        "provider_unusable",
        OPENAPI,
    ),
    Documented::new(
        400,
        r#"{"error":"An error occurred processing the json data you sent with the request","error_code":"E_ApiResponseCodes.NON_VALIDATING_IN_PAYLOAD","field_validation_errors":{"fieldname":"sender","message":"The field 'sender' was expecting a valid RFC-822 formatted email field but found 'robs_invalid.com', Please correct your JSON payload and try again."}}"#,
        "rejected_message_here",
        CODES,
    ),
    Documented::new(
        400,
        r#"{"request_id":"22e5acba","data":{"error":"An error occurred processing the json data you sent with the request","error_code":"E_ApiResponseCodes.NON_VALIDATING_IN_PAYLOAD","field_validation_errors":{"fieldname":"to","message":"The field 'to' was expecting a valid RFC-822 formatted email field but found 'nobody'"}}}"#,
        "rejected_recipient",
        CODES,
    ),
    Documented::new(
        400,
        r#"{"request_id":"22e5acba","data":{"error":"An error occurred processing the json data you sent with the request","error_code":"E_ApiResponseCodes.NON_VALIDATING_IN_PAYLOAD","field_validation_errors":{"fieldname":"api_key","message":"The API Key passed was not in the correct format"}}}"#,
        "provider_unusable",
        CODES,
    ),
    Documented::new(
        400,
        r#"{"request_id":"22e5acba","data":{"error":"Your account has been suspended","error_code":"E_ApiResponseCodes.API_EXCEPTION"}}"#,
        "provider_unusable",
        CODES,
    )
    .in_our_words(),
    Documented::new(
        401,
        r#"{"request_id":"22e5acba","data":{"error":"No valid API key was provided"}}"#,
        "provider_unusable",
        CODES,
    ),
    Documented::new(
        402,
        r#"{"request_id":"22e5acba","data":{"error":"The request failed"}}"#,
        "quota_spent",
        CODES,
    ),
    Documented::new(
        403,
        r#"{"request_id":"22e5acba","data":{"error":"The API key doesn't have permission"}}"#,
        "provider_unusable",
        CODES,
    ),
    Documented::new(404, "", "provider_unusable", CODES),
    Documented::new(413, "", "rejected_message_here", LIMITS),
    Documented::new(
        429,
        r#"{"request_id":"22e5acba","data":{"error":"API key ratelimit exceeded"}}"#,
        "throttled",
        LIMITS,
    ),
    Documented::new(
        500,
        r#"{"request_id":"22e5acba","data":{"error":"Internal error"}}"#,
        "transient",
        CODES,
    ),
    Documented::new(502, "<html>", "unknown", "a balancer that lost the service"),
    Documented::new(503, "", "transient", CODES),
];
