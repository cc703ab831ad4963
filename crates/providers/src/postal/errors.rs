//! What Postal answers to a send, and what becomes of it.

use crate::Documented;

const BASE: &str = "postalserver/postal, app/controllers/legacy_api/base_controller.rb";
const SEND: &str = "postalserver/postal, app/controllers/legacy_api/send_controller.rb";

/// One row per answer, to the recipient `a@dest.example`.
pub(crate) const DOCUMENTED: &[Documented] = &[
    Documented::new(
        200,
        r#"{"status":"success","time":0.02,"flags":{},"data":{"message_id":"a1b2@rp.postal.example","messages":{"a@dest.example":{"id":37171,"token":"wRhKjEBnTpDLXbUg"}}}}"#,
        "accepted",
        SEND,
    ),
    Documented::new(
        200,
        r#"{"status":"error","time":0.0,"flags":{},"data":{"message":"Must be authenticated as a server.","code":"AccessDenied"}}"#,
        "provider_unusable",
        BASE,
    ),
    Documented::new(
        200,
        r#"{"status":"error","time":0.0,"flags":{},"data":{"message":"The API token provided in X-Server-API-Key was not valid.","token":"k3y","code":"InvalidServerAPIKey"}}"#,
        "provider_unusable",
        BASE,
    ),
    Documented::new(
        200,
        r#"{"status":"error","time":0.0,"flags":{},"data":{"code":"ServerSuspended"}}"#,
        "provider_unusable",
        BASE,
    ),
    Documented::new(
        200,
        r#"{"status":"error","time":0.0,"flags":{},"data":{"code":"UnauthenticatedFromAddress"}}"#,
        "sender_unusable",
        SEND,
    ),
    Documented::new(
        200,
        r#"{"status":"parameter-error","time":0.0,"flags":{},"data":{"message":"`rcpt_to` parameter is required but is missing"}}"#,
        "rejected_message_here",
        SEND,
    ),
    Documented::new(
        200,
        r#"{"status":"parameter-error","time":0.0,"flags":{},"data":{"message":"`mail_from` parameter is required but is missing"}}"#,
        "rejected_message_here",
        SEND,
    ),
    Documented::new(
        200,
        r#"{"status":"parameter-error","time":0.0,"flags":{},"data":{"message":"`data` parameter is required but is missing"}}"#,
        "rejected_message_here",
        SEND,
    ),
    Documented::new(
        200,
        r#"{"status":"error","time":0.0,"flags":{},"data":{"code":"NoRecipients","message":"There are no recipients defined to receive this message"}}"#,
        "rejected_message_here",
        SEND,
    ),
    Documented::new(
        200,
        r#"{"status":"error","time":0.0,"flags":{},"data":{"code":"NoContent","message":"There is no content defined for this e-mail"}}"#,
        "rejected_message",
        SEND,
    ),
    Documented::new(
        200,
        r#"{"status":"error","time":0.0,"flags":{},"data":{"code":"TooManyToAddresses","message":"The maximum number of To addresses has been reached (maximum 50)"}}"#,
        "rejected_message_here",
        SEND,
    ),
    Documented::new(
        200,
        r#"{"status":"error","time":0.0,"flags":{},"data":{"code":"FromAddressMissing","message":"The From address is missing and is required"}}"#,
        "rejected_message",
        SEND,
    ),
    Documented::new(
        200,
        r#"{"status":"success","time":0.02,"flags":{},"data":{"message_id":null,"messages":{}}}"#,
        "unknown",
        "a success without a message",
    ),
    Documented::new(
        404,
        "<html>",
        "provider_unusable",
        "not a Postal, or another host",
    ),
    Documented::new(
        413,
        "<html>",
        "rejected_message_here",
        "the proxy's bound on requests",
    ),
    Documented::new(429, "", "throttled", "a proxy: Postal itself has no rate"),
    Documented::new(
        500,
        "<html>",
        "unknown",
        "a crash: some recipients' messages may be there already",
    ),
    Documented::new(502, "<html>", "unknown", "a proxy that lost Postal"),
    Documented::new(503, "", "transient", "RFC 9110 15.6.4"),
];
