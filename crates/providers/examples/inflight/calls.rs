//! What a call to each service needs, as a program would make it of the same message by the same
//! libraries: Mailgun's form around it, SendGrid's fields taken out of it, SES's signature.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use mail_parser::MessageParser;
use malote_core::clock::{Clock, SystemClock};
use reqwest::header::CONTENT_TYPE;
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Client, RequestBuilder};
use serde_json::{Map, json};

use crate::Fault;

/// Fields that stand elsewhere in SendGrid's call.
const WITH_A_PLACE: [&str; 5] = ["From", "To", "Subject", "Content-Type", "MIME-Version"];

pub(crate) fn mailgun(client: &Client, url: &str, message: &Bytes) -> RequestBuilder {
    let bytes = message.len() as u64;
    let message = Part::stream_with_length(Body::from(message.clone()), bytes);
    let form = Form::new()
        .text("to", "ana@dest.example")
        .text("o:tag", "order")
        .text("v:message", "42")
        .text("v:recipient", "ana")
        .text("v:order", "42")
        .part("message", message.file_name("message.eml"));
    let request = client.post(url).basic_auth("api", Some("key"));
    request.multipart(form)
}

pub(crate) fn sendgrid(
    client: &Client,
    url: &str,
    message: &Bytes,
) -> Result<RequestBuilder, Fault> {
    let parsed = MessageParser::new().parse(&message[..]);
    let parsed = parsed.ok_or("no message")?;
    let person = |address: Option<&mail_parser::Address<'_>>| {
        let first = address.and_then(|address| address.first())?;
        Some(match first.name() {
            Some(name) => json!({"email": first.address(), "name": name}),
            None => json!({"email": first.address()}),
        })
    };
    let mut headers = Map::new();
    for header in parsed.headers() {
        let name = header.name();
        if WITH_A_PLACE.iter().any(|it| it.eq_ignore_ascii_case(name)) {
            continue;
        }
        let text = header.value.as_text().map(str::to_owned);
        let value = text.or_else(|| Some(header.value.as_datetime()?.to_rfc822()));
        headers.insert(name.to_owned(), value.into());
    }
    let body = json!({
        "personalizations": [{
            "to": [person(parsed.to())],
            "custom_args": {"message": "42", "recipient": "ana", "order": "42"},
        }],
        "from": person(parsed.from()),
        "subject": parsed.subject(),
        "content": [{"type": "text/plain", "value": parsed.body_text(0)}],
        "headers": headers,
        "categories": ["order"],
    });
    Ok(client.post(url).bearer_auth("SG.key").json(&body))
}

pub(crate) fn ses(client: &Client, url: &str, message: &Bytes) -> Result<RequestBuilder, Fault> {
    let body = serde_json::to_vec(&json!({
        "Content": {"Raw": {"Data": STANDARD.encode(message)}},
        "Destination": {"ToAddresses": ["ana@dest.example"]},
        "EmailTags": [{"Name": "message", "Value": "42"}, {"Name": "order", "Value": "42"}],
    }))?;
    let identity = Credentials::new("AKIAIOSFODNN7EXAMPLE", "key", None, None, "bare").into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("ses")
        .time(SystemTime::from(SystemClock::start().now()))
        .settings(SigningSettings::default())
        .build()?
        .into();
    let fields = [("content-type", "application/json")];
    let signable =
        SignableRequest::new("POST", url, fields.into_iter(), SignableBody::Bytes(&body))?;
    let (instructions, _) = sign(signable, &parameters)?.into_parts();
    let request = client.post(url).header(CONTENT_TYPE, "application/json");
    let request = instructions
        .headers()
        .fold(request, |request, (name, value)| {
            request.header(name, value)
        });
    Ok(request.body(body))
}
