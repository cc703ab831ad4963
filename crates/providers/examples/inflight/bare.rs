//! The same calls by reqwest with its defaults and its own means, as a program would make them that
//! has nothing else: no outcome is classified, no write is timed, no part of mail is looked at. For
//! HTTP/2 as many clients in turn as the adapter has, since each keeps one connection.

use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Client, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::given::Given;
use crate::{CALLS_PER_CONNECTION, Fault};

/// Which service's call is made.
enum Service {
    Mailgun,
    Sendgrid,
    Ses,
}

/// A client and what it sends.
pub(crate) struct Bare {
    clients: Vec<Client>,
    turn: AtomicUsize,
    service: Service,
    url: String,
    message: Bytes,
    text: String,
}

impl Bare {
    pub(crate) fn new(given: &Given) -> Result<Self, Fault> {
        let (service, path) = match given.text("service")? {
            "mailgun" => (Service::Mailgun, "/v3/shop.example/messages.mime"),
            "sendgrid" => (Service::Sendgrid, "/v3/mail/send"),
            "ses" => (Service::Ses, "/v2/email/outbound-emails"),
            other => return Err(format!("service {other:?} is not measured").into()),
        };
        let builder = || Client::builder().no_proxy();
        let clients = if given.is_http2()? {
            let connections = given.number("inflight")?.div_ceil(CALLS_PER_CONNECTION);
            (0..connections)
                .map(|_| builder().build())
                .collect::<Result<_, _>>()?
        } else {
            vec![builder().http1_only().build()?]
        };
        let message = given.message()?;
        let (_, text) = message.split_once("\r\n\r\n").ok_or("no text")?;
        Ok(Self {
            clients,
            turn: AtomicUsize::new(0),
            service,
            url: format!("{}{path}", given.text("url")?),
            text: text.to_owned(),
            message: message.into(),
        })
    }

    pub(crate) async fn send(&self) -> Result<(), Fault> {
        let response = self.request().send().await;
        let response = response.map_err(|error| format!("{error:?}"))?;
        let status = response.status();
        if self.is_taken(response).await {
            return Ok(());
        }
        Err(format!("answered {status}").into())
    }

    fn request(&self) -> RequestBuilder {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.clients.len();
        let request = self.clients[turn].post(&self.url);
        match self.service {
            Service::Mailgun => request
                .basic_auth("api", Some("key"))
                .multipart(self.form()),
            Service::Sendgrid => request.bearer_auth("SG.key").json(&json!({
                "personalizations": [{
                    "to": [{"email": "ana@dest.example"}],
                    "custom_args": {"message": "42", "recipient": "ana", "order": "42"},
                }],
                "from": {"email": "news@shop.example", "name": "Shop"},
                "subject": "Your order 42",
                "content": [{"type": "text/plain", "value": self.text}],
                "headers": {"Message-ID": "<42@shop.example>"},
                "categories": ["order"],
            })),
            Service::Ses => request.json(&json!({
                "Content": {"Raw": {"Data": STANDARD.encode(&self.message)}},
                "Destination": {"ToAddresses": ["ana@dest.example"]},
                "EmailTags": [{"Name": "message", "Value": "42"}, {"Name": "order", "Value": "42"}],
            })),
        }
    }

    fn form(&self) -> Form {
        let bytes = self.message.len() as u64;
        let message = Part::stream_with_length(Body::from(self.message.clone()), bytes);
        Form::new()
            .text("to", "ana@dest.example")
            .text("o:tag", "order")
            .text("v:message", "42")
            .text("v:recipient", "ana")
            .text("v:order", "42")
            .part("message", message.file_name("message.eml"))
    }

    async fn is_taken(&self, response: Response) -> bool {
        let is_success = response.status().is_success();
        match self.service {
            Service::Mailgun | Service::Ses => {
                let answer = response.json::<Value>().await;
                is_success && answer.is_ok()
            }
            Service::Sendgrid => {
                let has_id = response.headers().contains_key("x-message-id");
                is_success && has_id && response.bytes().await.is_ok()
            }
        }
    }
}
