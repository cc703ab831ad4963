//! What Mailjet documents of its answers.

use crate::Documented;

/// The answers, by error code.
pub(crate) const DOCUMENTED: &[Documented] = &[
    Documented::new(
        200,
        r#"{"Messages":[{"Status":"success","CustomID":"","To":[{"Email":"a@x.test","MessageUUID":"cb927469-36fd-4c02-bce4-0d199929a207","MessageID":70650219165027410,"MessageHref":"https://api.mailjet.com/v3/REST/message/70650219165027410"}],"Cc":[],"Bcc":[]}]}"#,
        "accepted",
        "Send API guide, send a basic email",
    ),
    Documented::new(
        200,
        r#"{"Messages":[{"Status":"success","CustomID":"","To":[{"Email":"a@x.test","MessageUUID":"","MessageID":0,"MessageHref":"https://api.mailjet.com/v3/message/0"}],"Cc":[],"Bcc":[]}]}"#,
        "unknown",
        "Send API guide, sandbox mode: an id of 0 is none",
    ),
    Documented::new(
        200,
        r#"{"Messages":[{"Status":"error","Errors":[{"ErrorIdentifier":"88b5ca9f","ErrorCode":"send-0003","StatusCode":400,"ErrorMessage":"At least \"HTMLPart\", \"TextPart\" or \"TemplateID\" must be provided.","ErrorRelatedTo":["HTMLPart","TextPart"]}]}]}"#,
        "rejected_message_here",
        "send-0003: no content; refused in a success",
    ),
    Documented::new(
        400,
        r#"{"Messages":[{"Status":"error","Errors":[{"ErrorIdentifier":"f480a5a2","ErrorCode":"mj-0013","StatusCode":400,"ErrorMessage":"\"invalid@123.4\" is an invalid email address.","ErrorRelatedTo":["To[0].Email"]}]}]}"#,
        "rejected_recipient",
        "mj-0013: malformed address, of a recipient",
    ),
    Documented::new(
        400,
        r#"{"Messages":[{"Status":"error","Errors":[{"ErrorIdentifier":"f480a5a2","ErrorCode":"mj-0013","StatusCode":400,"ErrorMessage":"\"a@\" is an invalid email address.","ErrorRelatedTo":["From.Email"]}]}]}"#,
        "rejected_message_here",
        "mj-0013: malformed address, of the sender",
    ),
    Documented::new(
        403,
        r#"{"Messages":[{"Status":"error","Errors":[{"ErrorIdentifier":"0d1c","ErrorCode":"send-0006","StatusCode":403,"ErrorMessage":"The API key has no permission to use a Sender header.","ErrorRelatedTo":["Sender"]}]}]}"#,
        "rejected_message_here",
        "send-0006: Sender not permitted",
    ),
    Documented::new(
        403,
        r#"{"Messages":[{"Status":"error","Errors":[{"ErrorIdentifier":"0d1c","ErrorCode":"send-0007","StatusCode":403,"ErrorMessage":"The Sender is not validated.","ErrorRelatedTo":["SenderID"]}]}]}"#,
        "rejected_message_here",
        "send-0007: Sender not validated",
    ),
    Documented::new(
        403,
        r#"{"Messages":[{"Status":"error","Errors":[{"ErrorIdentifier":"0d1c","ErrorCode":"send-0008","StatusCode":403,"ErrorMessage":"\"a@shop.example\" is not an authorized sender email address for your account.","ErrorRelatedTo":["From"]}]}]}"#,
        "sender_unusable",
        "send-0008: From not authorized",
    ),
    Documented::new(
        400,
        r#"{"Messages":[{"Status":"error","Errors":[{"ErrorIdentifier":"0d1c","ErrorCode":"send-0011","StatusCode":400,"ErrorMessage":"Header cannot be customized using the Headers collection.","ErrorRelatedTo":["Headers[\"List-Id\"]"]}]}]}"#,
        "rejected_message_here",
        "send-0011: forbidden header field",
    ),
    Documented::new(
        400,
        r#"{"Messages":[{"Status":"error","Errors":[{"ErrorIdentifier":"0d1c","ErrorCode":"send-0015","StatusCode":400,"ErrorMessage":"Too many recipients.","ErrorRelatedTo":["To","CC","Bcc"]}]}]}"#,
        "rejected_message_here",
        "send-0015: too many recipients; a group is sent one by one",
    ),
    Documented::new(
        401,
        r#"{"ErrorIdentifier":"06df1144","ErrorCode":"mj-0001","StatusCode":401,"ErrorMessage":"The API key is suspended."}"#,
        "provider_unusable",
        "mj-0001: API key suspended",
    ),
    Documented::new(
        400,
        r#"{"ErrorIdentifier":"06df1144-c6f3-4ca7-8885-7ec5d4344113","ErrorCode":"mj-0002","ErrorMessage":"Malformed JSON, please review the syntax and properties types.","StatusCode":400}"#,
        "rejected_message_here",
        "mj-0002: malformed JSON",
    ),
    Documented::new(
        400,
        r#"{"Messages":[{"Status":"error","Errors":[{"ErrorIdentifier":"8e28ac9c","ErrorCode":"mj-0003","StatusCode":400,"ErrorMessage":"The To is mandatory but missing from the input","ErrorRelatedTo":["To"]}]}]}"#,
        "rejected_message_here",
        "mj-0003: property missing",
    ),
    Documented::new(
        400,
        r#"{"Messages":[{"Status":"error","Errors":[{"ErrorIdentifier":"f987008f","ErrorCode":"mj-0004","StatusCode":400,"ErrorMessage":"Type mismatch. Expected type \"array of emails\".","ErrorRelatedTo":["HTMLPart","TemplateID"]}]}]}"#,
        "rejected_message_here",
        "mj-0004: type mismatch",
    ),
    Documented::new(
        400,
        r#"{"Messages":[{"Status":"error","Errors":[{"ErrorIdentifier":"f987008f","ErrorCode":"mj-0006","StatusCode":400,"ErrorMessage":"The Subject is too long.","ErrorRelatedTo":["Subject"]}]}]}"#,
        "rejected_message_here",
        "mj-0006: property too long",
    ),
    Documented::new(
        400,
        r#"{"Messages":[{"Status":"error","Errors":[{"ErrorIdentifier":"f987008f","ErrorCode":"mj-0008","StatusCode":400,"ErrorMessage":"Too many elements.","ErrorRelatedTo":["Headers"]}]}]}"#,
        "rejected_message_here",
        "mj-0008: array too long",
    ),
    Documented::new(
        400,
        r#"{"ErrorIdentifier":"06df1144","ErrorCode":"mj-0011","StatusCode":400,"ErrorMessage":"The payload size is over the limit."}"#,
        "rejected_message_here",
        "mj-0011: payload too large",
    ),
    Documented::new(
        400,
        r#"{"Messages":[{"Status":"error","Errors":[{"ErrorIdentifier":"f987008f","ErrorCode":"mj-0012","StatusCode":400,"ErrorMessage":"An empty string was provided.","ErrorRelatedTo":["Attachments[0].Base64Content"]}]}]}"#,
        "rejected_message_here",
        "mj-0012: empty string",
    ),
    Documented::new(
        401,
        r#"{"ErrorIdentifier":"06df1144","ErrorCode":"mj-0015","StatusCode":401,"ErrorMessage":"API key authentication/authorization failure."}"#,
        "provider_unusable",
        "mj-0015: credentials refused",
    ),
    Documented::new(
        401,
        r#"{"ErrorInfo":"","ErrorMessage":"API key authentication/authorization failure. You may be unauthorized to access the API or your API key may be expired.","StatusCode":401}"#,
        "provider_unusable",
        "HTTP 401 in the REST API's shape",
    ),
    Documented::new(413, "", "rejected_message_here", "HTTP 413"),
    Documented::new(
        429,
        "Rate limit exceeded",
        "throttled",
        "HTTP 429: not JSON, no wait is given (django-anymail's tests)",
    ),
    Documented::new(
        500,
        r#"{"ErrorIdentifier":"06df1144-c6f3-4ca7-8885-7ec5d4344113","StatusCode":500,"ErrorMessage":"Internal error"}"#,
        "transient",
        "HTTP 500 with an error identifier",
    ),
    Documented::new(500, "<html>", "unknown", "HTTP 500 of something in front"),
    Documented::new(503, "", "transient", "HTTP 503"),
];
