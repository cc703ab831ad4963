//! The same calls by reqwest with its defaults, as a program would make them that has nothing else:
//! no outcome is classified, no write is timed, nothing is done again. For HTTP/2 as many clients in
//! turn as the adapter has, since each keeps one connection.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;

use crate::given::Given;
use crate::{CALLS_PER_CONNECTION, Fault, calls};

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
        Ok(Self {
            clients,
            turn: AtomicUsize::new(0),
            service,
            url: format!("{}{path}", given.text("url")?),
            message: given.message()?.into(),
        })
    }

    pub(crate) async fn send(&self) -> Result<(), Fault> {
        let response = self.request()?.send().await;
        let response = response.map_err(|error| format!("{error:?}"))?;
        let status = response.status();
        if self.is_taken(response).await {
            return Ok(());
        }
        Err(format!("answered {status}").into())
    }

    fn request(&self) -> Result<RequestBuilder, Fault> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.clients.len();
        let (client, url, message) = (&self.clients[turn], &self.url, &self.message);
        match self.service {
            Service::Mailgun => Ok(calls::mailgun(client, url, message)),
            Service::Sendgrid => calls::sendgrid(client, url, message),
            Service::Ses => calls::ses(client, url, message),
        }
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
