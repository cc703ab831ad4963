//! Mailjet: field by field by the Send API, version 3.1. Octet for octet it goes by SMTP, as
//! `[providers.NAME.smtp]` with `preset = "mailjet"`.

mod account;
mod classify;
mod config;
mod errors;
mod events;
mod request;
mod suppressions;
#[cfg(test)]
mod tests;
mod webhook;

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use http::header::{AUTHORIZATION, HeaderMap};
use jiff::Timestamp;
use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use malote_core::provider::{
    Account, Capabilities, Finding, Outgoing, SendError, SendReport, SenderRecord,
};
use malote_core::tracking::TrackingSwitches;

pub(crate) use config::MailjetConfig;
pub(crate) use errors::DOCUMENTED;
pub(crate) use webhook::parser as webhook_parser;

use crate::api::{Line, Service, adapter_with_list, json_call};
use crate::http::{Answer, Call, sensitive};
use crate::{Adapter, ProviderConfig};

/// Largest message: 15 MB (Send API guide, "Send with attached files").
const MESSAGE_BYTES_MAX: u64 = 15_000_000;
/// Most recipients of one message (Send API guide, "Send API JSON properties").
const RECIPIENTS_MAX: u16 = 50;

/// Builds the adapter of `[providers.NAME.mailjet]`.
pub(crate) fn build(
    name: &ProviderName,
    table: &MailjetConfig,
    config: &ProviderConfig,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Adapter> {
    let settings = table.check(&format!("providers.{name}"), faults)?;
    let service = Mailjet {
        settings,
        capabilities: capabilities(),
    };
    adapter_with_list(name, service, config, clock, faults)
}

/// What Mailjet can carry.
const fn capabilities() -> Capabilities {
    Capabilities {
        message_bytes_max: MESSAGE_BYTES_MAX,
        recipients_max: RECIPIENTS_MAX,
        envelope_sender: false,
        smtputf8: false,
        eight_bit: true,
        tracking: TrackingSwitches::BOTH,
    }
}

/// An API key at Mailjet.
struct Mailjet {
    settings: config::Settings,
    capabilities: Capabilities,
}

impl Mailjet {
    fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Call {
        let (key, secret) = (&self.settings.api_key, &self.settings.secret_key);
        let login = STANDARD.encode(format!("{}:{}", key.expose(), secret.expose()));
        let mut headers = HeaderMap::new();
        if let Some(login) = sensitive(&format!("Basic {login}")) {
            headers.insert(AUTHORIZATION, login);
        }
        json_call(method, &self.settings.endpoint, path, headers, body)
    }

    /// A question with at most this many rows in its answer; the service gives ten unasked.
    fn question(&self, path: &str, rows_max: usize) -> Call {
        let mut call = self.call(Method::GET, path, None);
        call.url.set_query(Some(&format!("Limit={rows_max}")));
        call
    }
}

#[async_trait]
impl Service for Mailjet {
    fn kind(&self) -> &'static str {
        "mailjet"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn request(&self, outgoing: &Outgoing) -> Result<Call, SendError> {
        let body = request::body(outgoing).await?;
        Ok(self.call(Method::POST, "/v3.1/send", Some(body)))
    }

    fn report(&self, outgoing: &Outgoing, answer: &Answer, now: Timestamp) -> SendReport {
        classify::report(answer, outgoing, now)
    }

    async fn check(&self, line: Line<'_>) -> Result<Account, SendError> {
        let answer = line.ask(self.question("/v3/REST/sender", 1)).await?;
        account::known(&answer, line.now)
    }

    async fn inspect(&self, line: Line<'_>, senders: &[String]) -> Result<Vec<Finding>, SendError> {
        let question = self.question("/v3/REST/apikey", account::ROWS_MAX);
        let keys = line.ask(question).await?;
        let mut findings = account::locked(&keys, self.settings.api_key.expose());
        let question = self.question("/v3/REST/sender", account::ROWS_MAX);
        let answer = line.ask(question).await?;
        findings.extend(account::missing_senders(&answer, senders, line.now)?);
        Ok(findings)
    }

    async fn sender_records(
        &self,
        line: Line<'_>,
        senders: &[String],
    ) -> Result<Vec<SenderRecord>, SendError> {
        let question = self.question("/v3/REST/dns", account::ROWS_MAX);
        Ok(account::keys(&line.ask(question).await?, senders))
    }
}
