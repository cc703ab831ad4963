//! Postmark: octet for octet by SMTP, or field by field by `POST /email`.

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
use http::Method;
use http::header::{HeaderMap, HeaderName};
use jiff::Timestamp;
use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use malote_core::provider::{
    Account, Capabilities, Finding, Outgoing, Question, SendError, SendReport, Unasked,
};
use malote_core::service_list::ServiceList;
use malote_core::tracking::{Switch, TrackingSwitches};

pub(crate) use config::PostmarkConfig;
pub(crate) use errors::DOCUMENTED;
pub(crate) use request::track_links;
pub(crate) use webhook::parser as webhook_parser;

use crate::api::{Line, Service, adapter_with_list, connected, json_call};
use crate::http::{Answer, Call, sensitive};
use crate::settings::Transport;
use crate::smtp::{Native, Preset, build_native};
use crate::{Adapter, ProviderConfig};

/// Largest message, attachments included: 10 MB, counted after base64 (support article 1056).
const MESSAGE_BYTES_MAX: u64 = 10_000_000;
/// To, Cc and Bcc together (developer documentation, "Email API").
const RECIPIENTS_MAX: u16 = 50;

/// What the server's own setting tracks of opens, a message cannot stop (user guide, "Tracking opens
/// per email").
pub(crate) const TRACKING: TrackingSwitches = TrackingSwitches {
    opens: Switch::OnOnly,
    clicks: Switch::Both,
};

/// Builds the adapter of `[providers.NAME.postmark]`.
pub(crate) fn build(
    name: &ProviderName,
    table: &PostmarkConfig,
    config: &ProviderConfig,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Adapter> {
    let at = format!("providers.{name}");
    match table.transport {
        Transport::Api => {
            let settings = table.check(&at, config, faults)?;
            let service = Postmark::new(settings);
            adapter_with_list(name, service, config, clock, faults)
        }
        Transport::Smtp => {
            let (token, streams) = (
                table.token(&at, faults),
                config::streams(&at, config, faults),
            );
            let native = Native {
                preset: Preset::Postmark,
                region: None,
                endpoint: table.endpoint.as_deref(),
                user: None,
                password: token?,
            };
            let streams = streams?;
            if table.endpoint.is_none() {
                config::warn_of_host(&at, &streams, faults);
            }
            let adapter = {
                let at = format!("{at}.postmark");
                build_native(name, &at, native, config, clock, faults)?
            };
            let list = list(name, table, config, clock);
            Some(Adapter { list, ..adapter })
        }
    }
}

/// The list where mail goes by SMTP: asked by the API, if mail goes to one of Postmark's own hosts.
fn list(
    name: &ProviderName,
    table: &PostmarkConfig,
    config: &ProviderConfig,
    clock: &Arc<dyn Clock>,
) -> Option<Arc<dyn ServiceList>> {
    let is_its_own = table.endpoint.as_deref().is_none_or(config::is_own_host);
    let table = is_its_own.then(|| PostmarkConfig {
        endpoint: None,
        ..table.clone()
    })?;
    // What is wrong with the table is told already.
    let told = &mut Vec::new();
    let settings = table.check(&format!("providers.{name}"), config, told)?;
    Some(connected(
        name,
        Postmark::new(settings),
        config,
        clock,
        told,
    )?)
}

/// What Postmark can carry.
const fn capabilities() -> Capabilities {
    Capabilities {
        message_bytes_max: MESSAGE_BYTES_MAX,
        recipients_max: RECIPIENTS_MAX,
        envelope_sender: false,
        smtputf8: false,
        eight_bit: true,
        tracking: TRACKING,
    }
}

/// A server at Postmark.
struct Postmark {
    settings: config::Settings,
    capabilities: Capabilities,
}

impl Postmark {
    const fn new(settings: config::Settings) -> Self {
        Self {
            settings,
            capabilities: capabilities(),
        }
    }

    fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Call {
        let mut headers = HeaderMap::new();
        if let Some(token) = sensitive(self.settings.server_token.expose()) {
            headers.insert(HeaderName::from_static("x-postmark-server-token"), token);
        }
        json_call(method, &self.settings.endpoint, path, headers, body)
    }
}

#[async_trait]
impl Service for Postmark {
    fn kind(&self) -> &'static str {
        "postmark"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn request(&self, outgoing: &Outgoing) -> Result<Call, SendError> {
        let stream = self.settings.streams.get(&outgoing.pool);
        let body = request::body(outgoing, stream.map(String::as_str)).await?;
        Ok(self.call(Method::POST, "/email", Some(body)))
    }

    fn report(&self, outgoing: &Outgoing, answer: &Answer, now: Timestamp) -> SendReport {
        let names_stream = self.settings.streams.contains_key(&outgoing.pool);
        classify::report(answer, outgoing, names_stream, now)
    }

    async fn check(&self, line: Line<'_>) -> Result<Account, SendError> {
        let answer = line.ask(self.call(Method::GET, "/server", None)).await?;
        account::server(&answer, line.now)
    }

    async fn inspect(
        &self,
        line: Line<'_>,
        _senders: &[String],
    ) -> Result<Vec<Finding>, SendError> {
        let answer = line.ask(self.call(Method::GET, "/server", None)).await?;
        account::server(&answer, line.now)?;
        let mut findings = account::sandbox(&answer);
        let call = self.call(Method::GET, "/message-streams", None);
        let answer = line.ask(call).await?;
        findings.extend(account::missing_streams(
            &answer,
            &self.settings.streams,
            line.now,
        )?);
        Ok(findings)
    }

    fn unasked(&self) -> &'static [Unasked] {
        &[Unasked {
            question: Question::Senders,
            look_at: "the console's sender signatures: only the account's own token may list them",
        }]
    }
}
