//! One call of `messages.mime`, answered and classified; and the check of key and domain.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use malote_core::clock::Clock;
use malote_core::provider::{
    Account, Capabilities, Finding, Outgoing, Provider, Receipt, Reply, SendError, SendReport,
    SenderRecord, Verdict, report_for_all,
};
use malote_core::stream::Class;
use malote_core::tracking::TrackingSwitches;
use serde::Deserialize;

use super::classify::{Sent, classify};
use super::config::Settings;
use super::form::form;
use super::inspect;
use crate::http::{Answer, Call, HttpClients, Lost, Patience, sensitive};
use crate::reencode::{self, EightBit};
use crate::settings::join;

/// Largest message: 25 MB (user manual, "Sending messages").
const MESSAGE_BYTES_MAX: u64 = 25_000_000;
/// The service takes 1,000 in a call; with half of them our ids stay well within the 16 KB that
/// its parameters may have.
const RECIPIENTS_MAX: u16 = 500;

/// A domain at Mailgun.
pub(crate) struct Mailgun {
    pub(super) settings: Settings,
    pub(super) clients: HttpClients,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) capabilities: Capabilities,
}

/// What Mailgun can carry.
pub(super) const fn capabilities() -> Capabilities {
    Capabilities {
        message_bytes_max: MESSAGE_BYTES_MAX,
        recipients_max: RECIPIENTS_MAX,
        envelope_sender: false,
        smtputf8: false,
        eight_bit: true,
        tracking: TrackingSwitches::BOTH,
    }
}

#[async_trait]
impl Provider for Mailgun {
    fn kind(&self) -> &'static str {
        "mailgun"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, outgoing: &Outgoing) -> SendReport {
        let result = self.send_mime(outgoing).await;
        report_for_all(outgoing, &result)
    }

    /// Asks for the domain. A sending key may not do that: then an empty form, which the service
    /// refuses for its missing parts once it has believed the key.
    async fn check(&self) -> Result<Account, SendError> {
        let path = format!("/v4/domains/{}", self.settings.domain);
        let answer = self.ask(self.get(&path)).await?;
        match read_domain(&answer) {
            DomainState::Known(note) => Ok(Account {
                note,
                ..Account::default()
            }),
            DomainState::Disabled => Err(unusable(&answer, "the domain is disabled")),
            DomainState::NotAllowed => self.check_sending_key(&answer).await,
            DomainState::NotFound => Err(unusable(&answer, "no such domain in this region")),
            DomainState::Untold => Ok(Account {
                note: "the endpoint tells nothing of the domain".to_owned(),
                ..Account::default()
            }),
            DomainState::Down => Err(SendError::new(
                Verdict::Transient,
                Reply::new(Some(answer.status), None, &answer.text()),
            )),
        }
    }

    /// From may be of any domain: the service asks for the one in its path only.
    async fn inspect(&self, _senders: &[String]) -> Result<Vec<Finding>, SendError> {
        let path = format!("/v4/domains/{}", self.settings.domain);
        let answer = self.ask(self.get(&path)).await?;
        let mut findings = inspect::of_domain(&answer);
        if !self.settings.sending_ip_pools.is_empty() {
            let answer = self.ask(self.get("/v3/ip_pools")).await?;
            let ours = &self.settings.sending_ip_pools;
            findings.extend(inspect::missing_pools(&answer, ours));
        }
        Ok(findings)
    }

    /// The keys of the domain in the path: it signs for every From.
    async fn sender_records(&self, senders: &[String]) -> Result<Vec<SenderRecord>, SendError> {
        let path = format!("/v4/domains/{}", self.settings.domain);
        let answer = self.ask(self.get(&path)).await?;
        Ok(inspect::keys(&answer, senders))
    }
}

/// What the answer for a domain says.
#[derive(Debug, PartialEq, Eq)]
enum DomainState {
    /// It exists; with a note for the operator.
    Known(String),
    Disabled,
    /// The key may not ask, or is no key.
    NotAllowed,
    NotFound,
    /// Not an answer of the service (emulators).
    Untold,
    Down,
}

#[derive(Deserialize)]
struct DomainDocument {
    domain: Option<Domain>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Domain {
    state: Option<String>,
}

fn read_domain(answer: &Answer) -> DomainState {
    let document: Option<DomainDocument> = answer.json();
    let message = document.as_ref().and_then(|d| d.message.as_deref());
    let says_not_found = message.is_some_and(|m| m.to_ascii_lowercase().contains("not found"));
    match answer.status {
        200 => {
            let Some(domain) = document.and_then(|document| document.domain) else {
                return DomainState::Untold;
            };
            match domain.state.as_deref() {
                Some("disabled") => DomainState::Disabled,
                Some("active") | None => DomainState::Known(String::new()),
                Some(other) => DomainState::Known(format!(
                    "the domain is {}",
                    malote_core::provider::bounded(other, 32)
                )),
            }
        }
        401 | 403 => DomainState::NotAllowed,
        404 if says_not_found => DomainState::NotFound,
        404 | 405 => DomainState::Untold,
        _ => DomainState::Down,
    }
}

fn unusable(answer: &Answer, what: &str) -> SendError {
    let reply = Reply::new(Some(answer.status), None, what);
    SendError::new(Verdict::ProviderUnusable, reply)
}

impl Mailgun {
    async fn send_mime(&self, outgoing: &Outgoing) -> Result<Receipt, SendError> {
        let pool = self.settings.sending_ip_pools.get(&outgoing.pool);
        let body = reencode::fit(&outgoing.body, EightBit::Allowed, MESSAGE_BYTES_MAX).await?;
        let form = form(outgoing, body, pool.map(String::as_str));
        let body_bytes: usize = form.body.iter().map(Bytes::len).sum();
        let patience = Patience::for_message(outgoing, body_bytes as u64);
        let call = self.form_call(&form.content_type, form.body);
        let answer = self.clients.exchange(outgoing.class, call, patience);
        let answer = answer.await?;
        let sent = Sent {
            recipients: outgoing.recipients.len(),
            names_pool: pool.is_some(),
        };
        classify(&answer, sent, self.clock.now())
    }

    async fn check_sending_key(&self, refused: &Answer) -> Result<Account, SendError> {
        let boundary = "malote-check";
        let content_type = format!("multipart/form-data; boundary={boundary}");
        let empty = format!("--{boundary}--\r\n");
        let answer = self
            .ask(self.form_call(&content_type, vec![empty.into()]))
            .await?;
        if answer.status == 400 {
            return Ok(Account {
                note: "a sending key: the domain's state is not known".to_owned(),
                ..Account::default()
            });
        }
        Err(unusable(refused, "the API key is refused"))
    }

    /// Sends no mail, so nothing about it is in doubt.
    pub(super) async fn ask(&self, call: Call) -> Result<Answer, SendError> {
        let clients = &self.clients;
        let answer = clients.exchange(Class::Transactional, call, Patience::SHORT);
        answer.await.map_err(Lost::of_question)
    }

    fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path, HeaderMap::new(), Vec::new())
    }

    fn form_call(&self, content_type: &str, body: Vec<Bytes>) -> Call {
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(content_type) {
            headers.insert(CONTENT_TYPE, value);
        }
        let path = format!("/v3/{}/messages.mime", self.settings.domain);
        self.call(Method::POST, &path, headers, body)
    }

    pub(super) fn call(
        &self,
        method: Method,
        path: &str,
        mut headers: HeaderMap,
        body: Vec<Bytes>,
    ) -> Call {
        let login = format!("api:{}", self.settings.api_key.expose());
        let login = format!("Basic {}", STANDARD.encode(login));
        if let Some(value) = sensitive(&login) {
            headers.insert(AUTHORIZATION, value);
        }
        let subaccount = self.settings.on_behalf_of.as_deref();
        if let Some(value) = subaccount.and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert(HeaderName::from_static("x-mailgun-on-behalf-of"), value);
        }
        Call {
            method,
            url: join(&self.settings.endpoint, path),
            headers,
            body,
        }
    }
}
