//! `POST /v3/mail/send` as a [`Service`].

use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName};
use jiff::Timestamp;
use malote_core::provider::{
    Account, Capabilities, Finding, Outgoing, SendError, SendReport, SenderRecord, report_for_all,
};
use malote_core::tracking::TrackingSwitches;

use super::account;
use super::classify::{Sent, classify};
use super::config::Settings;
use super::message::body;
use crate::api::{Line, Service, json_call, rendered};
use crate::http::{Answer, Call};

/// Largest message: the service's pages say 20 MB in one place and 30 MB in another.
const MESSAGE_BYTES_MAX: u64 = 20_000_000;
/// The service takes 1,000 in a call; with half of them our ids stay within the 10,000 octets that
/// its custom arguments may have.
const RECIPIENTS_MAX: u16 = 500;
/// Credits of accounts with a daily quota move with every message.
const POLL_EVERY: Duration = Duration::from_secs(600);

/// An account at SendGrid.
pub(super) struct Sendgrid {
    pub(super) settings: Settings,
    capabilities: Capabilities,
}

impl Sendgrid {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            capabilities: Capabilities {
                message_bytes_max: MESSAGE_BYTES_MAX,
                recipients_max: RECIPIENTS_MAX,
                envelope_sender: false,
                smtputf8: false,
                eight_bit: true,
                tracking: TrackingSwitches::BOTH,
            },
        }
    }

    /// A question; `query` is already encoded.
    pub(super) fn get(&self, path: &str, query: Option<&str>) -> Call {
        let mut call = self.call(Method::GET, path, None);
        call.url.set_query(query);
        call
    }

    pub(super) fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Call {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, self.settings.authorization.clone());
        if let Some(subuser) = &self.settings.on_behalf_of {
            headers.insert(HeaderName::from_static("on-behalf-of"), subuser.clone());
        }
        json_call(method, &self.settings.endpoint, path, headers, body)
    }
}

#[async_trait]
impl Service for Sendgrid {
    fn kind(&self) -> &'static str {
        "sendgrid"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn request(&self, outgoing: &Outgoing) -> Result<Call, SendError> {
        let ip_pool = self.settings.ip_pools.get(&outgoing.pool).cloned();
        let body = rendered(outgoing, move |outgoing| body(outgoing, ip_pool)).await?;
        Ok(self.call(Method::POST, "/v3/mail/send", Some(body)))
    }

    fn report(&self, outgoing: &Outgoing, answer: &Answer, now: Timestamp) -> SendReport {
        let sent = Sent {
            recipients: outgoing.recipients.len(),
            names_pool: self.settings.ip_pools.contains_key(&outgoing.pool),
        };
        report_for_all(outgoing, &classify(answer, sent, now))
    }

    async fn check(&self, line: Line<'_>) -> Result<Account, SendError> {
        account::check(self, line).await
    }

    async fn inspect(&self, line: Line<'_>, senders: &[String]) -> Result<Vec<Finding>, SendError> {
        account::inspect(self, line, senders).await
    }

    async fn sender_records(
        &self,
        line: Line<'_>,
        senders: &[String],
    ) -> Result<Vec<SenderRecord>, SendError> {
        account::sender_records(self, line, senders).await
    }

    fn account_poll_every(&self) -> Option<Duration> {
        Some(POLL_EVERY)
    }
}
