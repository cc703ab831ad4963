//! What SendGrid documents of its refusals.

use crate::Documented;

const ERRORS: &str = "twilio.com/docs/sendgrid/api-reference/mail-send/errors";
const STATUS: &str = "OpenAPI description of the v3 mail API";
const SUPPORT: &str = "support.sendgrid.com, 4XX API errors";
const RESPONSES: &str =
    "twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/responses";

/// The rows, for a call with one recipient and a pool.
pub(crate) const DOCUMENTED: &[Documented] = &[
    Documented::new(202, "", "accepted", "with an id in X-Message-Id"),
    Documented::new(200, "", "unknown", "sandbox mode: valid, but not queued"),
    Documented::new(
        400,
        r#"{"errors":[{"message":"Does not contain a valid address.","field":"personalizations.0.to.0.email","help":"http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html#message.personalizations.to"}]}"#,
        "rejected_recipient",
        ERRORS,
    ),
    Documented::new(
        400,
        r#"{"errors":[{"message":"The To email exceeds the maximum total length of 320 characters","field":"personalizations.0.to","help":null}]}"#,
        "rejected_recipient",
        ERRORS,
    ),
    Documented::new(
        400,
        r#"{"errors":[{"message":"Each email address in the personalization block should be unique between to, cc, and bcc. We found the first duplicate instance of [a@x.test] in the personalizations.0.cc field.","field":"personalizations.0","help":null}]}"#,
        "rejected_message_here",
        "support.sendgrid.com, validation errors; a group is taken apart",
    ),
    Documented::new(
        400,
        r#"{"errors":[{"message":"The IP Pool name must be a valid pool name for your account. You provided x.","field":"ip_pool_name","help":null}]}"#,
        "pool_unusable",
        ERRORS,
    ),
    Documented::new(
        400,
        r#"{"errors":[{"message":"The from object must at least have an email parameter with a valid email address and may also contain a name parameter.","field":"from","help":null}]}"#,
        "rejected_message_here",
        ERRORS,
    ),
    Documented::new(
        400,
        r#"{"errors":[{"message":"Header cannot be one of the reserved keys.","field":"headers","help":null}]}"#,
        "rejected_message_here",
        ERRORS,
    ),
    Documented::new(
        400,
        r#"{"errors":[{"message":"The attachment content must be base64 encoded.","field":"attachments.0.content","help":null}]}"#,
        "rejected_message_here",
        ERRORS,
    ),
    Documented::new(
        400,
        r#"{"errors":[{"message":"The content value must be a string at least one character in length.","field":"content.0.value","help":null}]}"#,
        "rejected_message_here",
        ERRORS,
    ),
    Documented::new(
        400,
        r#"{"errors":[{"message":"invalid request","field":"null"}]}"#,
        "rejected_message_here",
        STATUS,
    ),
    Documented::new(
        401,
        r#"{"errors":[{"message":"Maximum credits exceeded","field":null,"help":null}]}"#,
        "quota_spent",
        "support.sendgrid.com, 4XX API errors: a quota, not the key",
    ),
    Documented::new(
        401,
        r#"{"errors":[{"message":"The provided authorization grant is invalid, expired, or revoked","field":null,"help":null}]}"#,
        "provider_unusable",
        SUPPORT,
    ),
    Documented::new(
        401,
        r#"{"errors":[{"message":"authorization required","field":"null"}]}"#,
        "provider_unusable",
        STATUS,
    ),
    Documented::new(
        403,
        r#"{"errors":[{"message":"access forbidden","field":"null"}]}"#,
        "provider_unusable",
        STATUS,
    ),
    Documented::new(
        403,
        r#"{"errors":[{"message":"The from address does not match a verified Sender Identity. Mail cannot be sent until this error is resolved.","field":"from","help":null}]}"#,
        "sender_unusable",
        RESPONSES,
    ),
    Documented::new(
        403,
        r#"{"errors":[{"message":"You are temporarily blocked from sending emails due to repeated bad requests.","field":null}]}"#,
        "transient",
        RESPONSES,
    ),
    Documented::new(
        404,
        r#"{"errors":[{"message":"not found","field":"null"}]}"#,
        "provider_unusable",
        STATUS,
    ),
    Documented::new(
        405,
        r#"{"errors":[{"message":"method not allowed","field":"null"}]}"#,
        "provider_unusable",
        STATUS,
    ),
    Documented::new(
        406,
        r#"{"errors":[{"message":"Missing Accept header","field":null}]}"#,
        "rejected_message_here",
        RESPONSES,
    ),
    Documented::new(
        413,
        r#"{"errors":[{"message":"content too large","field":"null"}]}"#,
        "rejected_message_here",
        STATUS,
    ),
    Documented::new(
        415,
        r#"{"errors":[{"message":"Invalid UTF8 in request","field":null}]}"#,
        "rejected_message_here",
        ERRORS,
    ),
    Documented::new(
        429,
        r#"{"errors":[{"message":"too many requests","field":null}]}"#,
        "throttled",
        RESPONSES,
    ),
    Documented::new(
        500,
        r#"{"errors":[{"message":"internal server error"}]}"#,
        "transient",
        STATUS,
    ),
    Documented::new(
        503,
        "",
        "transient",
        "twilio.com/docs/sendgrid/api-reference/mail-send/errors: service not available",
    ),
];
