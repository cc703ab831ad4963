//! What Amazon SES documents of its answers, and what others saw of them.

use crate::Documented;

const SEND: &str = "API reference, SendEmail (v2), Errors";
const COMMON: &str = "API reference, Common Error Types";
const SENDING: &str = "developer guide, Amazon SES email sending errors";
const QUOTAS: &str = "developer guide, Errors related to the sending quotas";

/// Its answers to mail from `news@shop.example` to `a@x.test` by a configuration set. The code
/// stands in `x-amzn-ErrorType` too.
pub(crate) const DOCUMENTED: &[Documented] = &[
    Documented::new(
        200,
        r#"{"MessageId":"0100018c-example-000000"}"#,
        "accepted",
        SEND,
    ),
    Documented::new(
        429,
        r#"{"__type":"TooManyRequestsException","message":"Daily message quota exceeded"}"#,
        "quota_spent",
        QUOTAS,
    ),
    Documented::new(
        400,
        r#"{"__type":"Throttling","message":"Daily message quota exceeded."}"#,
        "quota_spent",
        QUOTAS,
    ),
    Documented::new(
        400,
        r#"{"__type":"LimitExceededException","message":"Daily message quota exceeded"}"#,
        "quota_spent",
        QUOTAS,
    ),
    Documented::new(
        429,
        r#"{"__type":"TooManyRequestsException","message":"Maximum sending rate exceeded."}"#,
        "throttled",
        QUOTAS,
    ),
    Documented::new(
        400,
        r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#,
        "throttled",
        COMMON,
    ),
    Documented::new(429, "", "throttled", "RFC 9110 15: the status alone"),
    Documented::new(
        400,
        r#"{"__type":"AccountSuspendedException","message":"permanently restricted"}"#,
        "provider_unusable",
        SEND,
    )
    .in_our_words(),
    Documented::new(
        400,
        r#"{"__type":"SendingPausedException","message":"Account is paused"}"#,
        "provider_unusable",
        SEND,
    ),
    Documented::new(
        400,
        r#"{"__type":"SendingPausedException","message":"Sending paused for configuration set [tx]"}"#,
        "pool_unusable",
        SEND,
    ),
    Documented::new(
        404,
        r#"{"__type":"NotFoundException","message":"Configuration set <tx> does not exist."}"#,
        "pool_unusable",
        SEND,
    ),
    Documented::new(
        404,
        r#"{"__type":"NotFoundException","message":"Tenant t does not exist"}"#,
        "provider_unusable",
        SEND,
    )
    .in_our_words(),
    Documented::new(
        404,
        r#"{"message":"no route"}"#,
        "provider_unusable",
        "RFC 9110 15: the status alone",
    )
    .in_our_words(),
    Documented::new(
        400,
        r#"{"__type":"MailFromDomainNotVerifiedException","message":""}"#,
        "sender_unusable",
        SEND,
    ),
    Documented::new(
        400,
        r#"{"__type":"MessageRejected","message":"Transaction failed: invalid content"}"#,
        "rejected_message",
        SEND,
    )
    .in_our_words(),
    Documented::new(
        403,
        r#"{"__type":"MessageRejected","message":"Email address is not verified. The following identities failed the check in region US-EAST-1: news@shop.example"}"#,
        "sender_unusable",
        SENDING,
    ),
    Documented::new(
        400,
        r#"{"__type":"MessageRejected","message":"Did not have authority to send from email news@shop.example"}"#,
        "sender_unusable",
        SENDING,
    ),
    Documented::new(
        400,
        r#"{"__type":"MessageRejected","message":"Email address not verified \"news@shop.example\""}"#,
        "sender_unusable",
        SENDING,
    ),
    Documented::new(
        400,
        r#"{"__type":"MessageRejected","message":"Email address is not verified."}"#,
        "sender_unusable",
        SENDING,
    ),
    Documented::new(
        400,
        r#"{"__type":"MessageRejected","message":"Email address is not verified. The following identities failed the check in region US-EAST-1: Ann <a@x.test>"}"#,
        "rejected_not_permitted",
        SENDING,
    ),
    Documented::new(
        400,
        r#"{"__type":"MessageRejected","message":"Email address is not verified. The following identities failed the check in region US-EAST-1: a@x.test, shop.example"}"#,
        "sender_unusable",
        SENDING,
    ),
    Documented::new(
        400,
        r#"{"__type":"BadRequestException","message":"Local address contains control or whitespace: a@x.test"}"#,
        "rejected_recipient",
        SEND,
    ),
    Documented::new(
        400,
        r#"{"__type":"BadRequestException","message":"Illegal address: aa@x.test"}"#,
        "rejected_message",
        SEND,
    ),
    Documented::new(
        400,
        r#"{"__type":"BadRequestException","message":"Illegal address <a@x.test>."}"#,
        "rejected_recipient",
        SEND,
    ),
    Documented::new(
        400,
        r#"{"__type":"BadRequestException","message":"Missing required header 'From'."}"#,
        "rejected_message",
        SEND,
    ),
    Documented::new(
        400,
        r#"{"__type":"BadRequestException","message":"Message length is more than 10485760 bytes long"}"#,
        "rejected_message_here",
        SEND,
    ),
    Documented::new(
        400,
        r#"{"__type":"SerializationException","message":""}"#,
        "rejected_message_here",
        COMMON,
    ),
    Documented::new(
        403,
        r#"{"__type":"AccessDeniedException","message":""}"#,
        "provider_unusable",
        COMMON,
    ),
    Documented::new(
        403,
        r#"{"__type":"SignatureDoesNotMatch","message":""}"#,
        "provider_unusable",
        COMMON,
    ),
    Documented::new(
        403,
        r#"{"__type":"InvalidSignatureException","message":"Signature expired: 2026"}"#,
        "provider_unusable",
        COMMON,
    )
    .in_our_words(),
    Documented::new(
        403,
        r#"{"__type":"UnrecognizedClientException","message":""}"#,
        "provider_unusable",
        COMMON,
    ),
    Documented::new(
        403,
        r#"{"__type":"InvalidClientTokenId","message":""}"#,
        "provider_unusable",
        COMMON,
    ),
    Documented::new(
        403,
        r#"{"__type":"ExpiredTokenException","message":""}"#,
        "provider_unusable",
        COMMON,
    ),
    Documented::new(
        403,
        r#"{"__type":"MissingAuthenticationTokenException","message":""}"#,
        "provider_unusable",
        COMMON,
    ),
    Documented::new(
        403,
        r#"{"__type":"OptInRequired","message":""}"#,
        "provider_unusable",
        COMMON,
    ),
    Documented::new(
        403,
        r#"{"__type":"RequestTimeTooSkewed","message":""}"#,
        "provider_unusable",
        COMMON,
    ),
    Documented::new(
        413,
        "<html>",
        "rejected_message_here",
        "something in front of the service",
    ),
    Documented::new(408, "", "transient", "RFC 9110 15: the status alone"),
    Documented::new(
        500,
        r#"{"__type":"InternalServiceErrorException","message":""}"#,
        "transient",
        COMMON,
    ),
    Documented::new(
        500,
        r#"{"__type":"SomethingNewException","message":""}"#,
        "transient",
        "no documented code: the status decides",
    )
    .in_our_words(),
    Documented::new(
        503,
        r#"{"__type":"ServiceUnavailable","message":""}"#,
        "transient",
        COMMON,
    ),
    Documented::new(
        503,
        "<html>",
        "transient",
        "something in front of the service",
    ),
    Documented::new(
        500,
        "<html>",
        "unknown",
        "something in front of the service",
    ),
    Documented::new(
        502,
        "<html>",
        "unknown",
        "something in front of the service",
    ),
    Documented::new(
        504,
        "<html>",
        "unknown",
        "something in front of the service",
    ),
    Documented::new(307, "", "transient", "RFC 9110 15: the status alone"),
];
