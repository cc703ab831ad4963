//! What SparkPost documents of its answers.

use crate::documented::Documented;

const TABLE: &str = "support docs, Extended Error Codes";
const SEND: &str = "Transmissions API";
const OVERVIEW: &str = "API overview, Errors";

/// Its answers to a transmission with one recipient and a pool.
pub(crate) const DOCUMENTED: &[Documented] = &[
    Documented::new(
        200,
        r#"{"results":{"total_rejected_recipients":0,"total_accepted_recipients":1,"id":"11668787484950529"}}"#,
        "accepted",
        SEND,
    ),
    Documented::new(
        200,
        r#"{"errors":[{"message":"transmission created, but with validation errors","code":"2000"}],"results":{"rcpt_to_errors":[{"message":"required field is missing","description":"address.email is required for each recipient","code":"1400"}],"total_rejected_recipients":1,"total_accepted_recipients":0,"id":"11668787484950530"}}"#,
        "rejected_recipient",
        "Transmissions API: a success that is none",
    ),
    Documented::new(
        400,
        r#"{"errors":[{"message":"invalid params","code":"1200"}]}"#,
        "rejected_message_here",
        TABLE,
    ),
    Documented::new(
        422,
        r#"{"errors":[{"message":"invalid data format/type","description":"IP Pool 'bulk' does not exist","code":"1300"}]}"#,
        "pool_unusable",
        "node-sparkpost issue 248",
    ),
    Documented::new(
        422,
        r#"{"errors":[{"message":"invalid data format/type/length","code":"1300"}]}"#,
        "rejected_message_here",
        TABLE,
    ),
    Documented::new(
        422,
        r#"{"errors":[{"message":"Invalid combination of fields","code":"1301"}]}"#,
        "rejected_message_here",
        TABLE,
    ),
    Documented::new(
        401,
        r#"{"errors":[{"message":"Invalid customer id, unauthorized tenant.","code":"1303"}]}"#,
        "provider_unusable",
        TABLE,
    ),
    Documented::new(
        401,
        r#"{"errors":[{"message":"Invalid User ID, unauthorized user.","code":"1304"}]}"#,
        "provider_unusable",
        TABLE,
    ),
    Documented::new(
        401,
        r#"{"errors":[{"message":"Unauthorized."}]}"#,
        "provider_unusable",
        OVERVIEW,
    ),
    Documented::new(
        403,
        r#"{"errors":[{"message":"permission denied","code":"1100"}]}"#,
        "provider_unusable",
        TABLE,
    ),
    Documented::new(
        403,
        r#"{"errors":[{"message":"No license","code":"1601"}]}"#,
        "provider_unusable",
        TABLE,
    ),
    Documented::new(
        403,
        r#"{"errors":[{"message":"Account is suspended"}]}"#,
        "provider_unusable",
        "API overview, Account Suspension",
    )
    .in_our_words(),
    Documented::new(
        400,
        r#"{"errors":[{"message":"DKIM key 'marketing' is not verified for sending domain 'example.com'","code":"1100"}]}"#,
        "sender_unusable",
        SEND,
    ),
    Documented::new(
        400,
        r#"{"errors":[{"message":"Input Data not UTF8 encoded","code":"1305"}]}"#,
        "rejected_message_here",
        TABLE,
    ),
    Documented::new(
        422,
        r#"{"errors":[{"message":"required field is missing","description":"content object or template_id required","code":"1400"}]}"#,
        "rejected_message_here",
        OVERVIEW,
    ),
    Documented::new(
        400,
        r#"{"errors":[{"message":"Required parameter missing","code":"1401"}]}"#,
        "rejected_message_here",
        TABLE,
    ),
    Documented::new(
        500,
        r#"{"errors":[{"message":"Failed to update database","code":"1500"}]}"#,
        "transient",
        TABLE,
    ),
    Documented::new(
        500,
        r#"{"errors":[{"message":"Failed to read from database","code":"1501"}]}"#,
        "transient",
        TABLE,
    ),
    Documented::new(
        400,
        r#"{"errors":[{"message":"Server resources unavailable","code":"1502"}]}"#,
        "transient",
        "support docs, Extended Error Codes: 400, and not the message's fault",
    ),
    Documented::new(
        404,
        r#"{"errors":[{"message":"resource not found","code":"1600"}]}"#,
        "provider_unusable",
        TABLE,
    ),
    Documented::new(
        405,
        r#"{"errors":[{"message":"invalid HTTP method","code":"1102"}]}"#,
        "provider_unusable",
        TABLE,
    ),
    Documented::new(
        415,
        r#"{"errors":[{"message":"Unsupported Content-Type header","code":"1700"}]}"#,
        "provider_unusable",
        TABLE,
    ),
    Documented::new(
        406,
        r#"{"errors":[{"message":"HTTP header value not acceptable","code":"1800"}]}"#,
        "provider_unusable",
        TABLE,
    ),
    Documented::new(
        422,
        r#"{"errors":[{"message":"Subresource not found","code":"1603"}]}"#,
        "rejected_message_here",
        TABLE,
    ),
    Documented::new(
        503,
        r#"{"errors":[{"message":"Message generation module not available","code":"1900"}]}"#,
        "transient",
        TABLE,
    ),
    Documented::new(
        400,
        r#"{"errors":[{"message":"Message failed to generate","code":"1901"}]}"#,
        "rejected_message_here",
        TABLE,
    ),
    Documented::new(
        400,
        r#"{"errors":[{"message":"Message generation rejected","description":"recipient address was suppressed due to system policy","code":"1902"}],"results":{"total_rejected_recipients":0,"id":"102593777022651116","total_accepted_recipients":1}}"#,
        "suppressed",
        "karrot-backend issue 294: 400 with an id, and nothing is sent",
    ),
    Documented::new(
        400,
        r#"{"errors":[{"message":"Message generation rejected","code":"1902"}]}"#,
        "rejected_message_here",
        TABLE,
    ),
    Documented::new(
        400,
        r#"{"errors":[{"message":"Message generation not configured","code":"1910"}]}"#,
        "provider_unusable",
        TABLE,
    ),
    Documented::new(
        422,
        r#"{"errors":[{"message":"Substitution data too large","code":"2002"}]}"#,
        "rejected_message_here",
        TABLE,
    ),
    Documented::new(
        422,
        r#"{"errors":[{"message":"Metadata size too large","code":"2007"}]}"#,
        "rejected_message_here",
        TABLE,
    ),
    Documented::new(
        400,
        r#"{"errors":[{"message":"No local part specified in sender address","code":"2008"}]}"#,
        "rejected_message",
        TABLE,
    ),
    Documented::new(
        420,
        r#"{"errors":[{"message":"Exceed Sending Limit (hourly)","code":"2101"}]}"#,
        "quota_spent",
        "Transmissions API, Sending Limits: nothing of the call is sent",
    ),
    Documented::new(
        420,
        r#"{"errors":[{"message":"Exceed Sending Limit (daily)","code":"2102"}]}"#,
        "quota_spent",
        TABLE,
    ),
    Documented::new(
        420,
        r#"{"errors":[{"message":"Exceed Sending Limit (sandbox)","code":"2103"}]}"#,
        "quota_spent",
        TABLE,
    ),
    Documented::new(
        420,
        r#"{"errors":[{"message":"Exceed Sending Limit (monthly)","code":"2105"}]}"#,
        "quota_spent",
        TABLE,
    ),
    Documented::new(
        422,
        r#"{"errors":[{"message":"template language syntax error","code":"3000"}]}"#,
        "rejected_message_here",
        TABLE,
    ),
    Documented::new(
        422,
        r#"{"errors":[{"message":"template language render error","code":"3001"}]}"#,
        "rejected_message_here",
        TABLE,
    ),
    Documented::new(
        422,
        r#"{"errors":[{"message":"Invalid header","code":"3002"}]}"#,
        "rejected_message",
        TABLE,
    ),
    Documented::new(
        422,
        r#"{"errors":[{"message":"template mime parsing error","code":"3020"}]}"#,
        "rejected_message",
        TABLE,
    ),
    Documented::new(
        422,
        r#"{"errors":[{"message":"template content is corrupt","code":"3040"}]}"#,
        "rejected_message",
        TABLE,
    ),
    Documented::new(
        422,
        r#"{"errors":[{"message":"template HTML content is invalid","code":"3050"}]}"#,
        "rejected_message",
        TABLE,
    ),
    Documented::new(
        400,
        r#"{"errors":[{"message":"No valid recipients in list","code":"5002"}]}"#,
        "rejected_recipient",
        TABLE,
    ),
    Documented::new(
        400,
        r#"{"errors":[{"message":"Restricted domain","code":"7000"}]}"#,
        "sender_unusable",
        TABLE,
    ),
    Documented::new(
        400,
        r#"{"errors":[{"description":"Unconfigured or unverified sending domain.","code":"7001","message":"Invalid domain"}]}"#,
        "sender_unusable",
        SEND,
    ),
    Documented::new(
        413,
        r#"{"errors":[{"message":"Request Entity Too Large"}]}"#,
        "rejected_message_here",
        OVERVIEW,
    ),
    Documented::new(
        429,
        r#"{"errors":[{"message":"Too many requests"}]}"#,
        "throttled",
        "API overview, Rate Limiting",
    ),
];
