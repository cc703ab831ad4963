//! One transactional email, answered and classified; and the look at account and senders.

use async_trait::async_trait;
use http::Method;
use http::header::{HeaderMap, HeaderName};
use jiff::Timestamp;
use malote_core::provider::{
    About, Account, Capabilities, Finding, Outgoing, SendError, SendReport, report_for_all,
};
use malote_core::tracking::TrackingSwitches;

use super::config::Settings;
use super::{account, classify, request};
use crate::api::{Line, Service, json_call, rendered};
use crate::http::{Answer, Call, sensitive};
use crate::parts::take_apart;

/// Content and attachments: 20 MB ("Add an attachment to a transactional email").
const MESSAGE_BYTES_MAX: u64 = 20_000_000;
/// Recipients of one version of an email (Send a transactional email).
const RECIPIENTS_MAX: u16 = 99;

/// A Brevo account.
pub(super) struct Brevo {
    settings: Settings,
    capabilities: Capabilities,
}

impl Brevo {
    pub(super) fn new(settings: Settings) -> Self {
        let capabilities = Capabilities {
            message_bytes_max: MESSAGE_BYTES_MAX,
            recipients_max: RECIPIENTS_MAX,
            envelope_sender: false,
            // Such recipients vanish from To and Cc (django-anymail, Brevo, "EAI").
            smtputf8: false,
            eight_bit: true,
            tracking: TrackingSwitches::ACCOUNT,
        };
        Self {
            settings,
            capabilities,
        }
    }

    pub(super) fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Call {
        let mut headers = HeaderMap::new();
        if let Some(value) = sensitive(self.settings.api_key.expose()) {
            headers.insert(HeaderName::from_static("api-key"), value);
        }
        let path = format!("/v3{path}");
        json_call(method, &self.settings.endpoint, &path, headers, body)
    }
}

#[async_trait]
impl Service for Brevo {
    fn kind(&self) -> &'static str {
        "brevo"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn request(&self, outgoing: &Outgoing) -> Result<Call, SendError> {
        let parts = take_apart(outgoing).await?;
        let make = move |outgoing: &Outgoing| request::json(outgoing, &parts);
        let json = rendered(outgoing, make).await?;
        Ok(self.call(Method::POST, "/smtp/email", Some(json)))
    }

    fn report(&self, outgoing: &Outgoing, answer: &Answer, now: Timestamp) -> SendReport {
        let result = classify::classify(answer, outgoing.recipients.len(), now);
        report_for_all(outgoing, &result)
    }

    async fn check(&self, line: Line<'_>) -> Result<Account, SendError> {
        let answer = line.ask(self.call(Method::GET, "/account", None)).await?;
        account::account(&answer, line.now)
    }

    /// A domain may send if it is authenticated, or if one of its addresses is a verified sender.
    /// Other mail is taken all the same, answered 201, and lost (seen by several clients).
    async fn inspect(&self, line: Line<'_>, senders: &[String]) -> Result<Vec<Finding>, SendError> {
        let answer = line.ask(self.call(Method::GET, "/senders/domains", None));
        let Some(domains) = account::domains(&answer.await?, line.now)? else {
            return Ok(Vec::new());
        };
        let is_open = |sender: &str| domains.iter().any(|domain| domain.lets_all_send(sender));
        let closed: Vec<&String> = senders.iter().filter(|sender| !is_open(sender)).collect();
        if closed.is_empty() {
            return Ok(Vec::new());
        }
        let answer = line.ask(self.call(Method::GET, "/senders", None)).await?;
        let single = account::sender_domains(&answer, line.now)?;
        let findings = closed
            .into_iter()
            .filter(|sender| !single.contains(&sender.to_lowercase()))
            .map(|sender| Finding {
                about: About::Sender(sender.clone()),
                text: format!(
                    "{sender} is not authenticated and has no verified sender; the service would \
                     take its mail and drop it: authenticate the domain there"
                ),
            });
        Ok(findings.collect())
    }
}
