//! The calls: one send, and the questions that `check` and `inspect` ask.

use async_trait::async_trait;
use http::Method;
use http::header::{HeaderMap, HeaderName};
use jiff::Timestamp;
use malote_core::provider::{
    Account, Capabilities, Finding, Outgoing, SendError, SendReport, SenderRecord,
};
use malote_core::tracking::TrackingSwitches;
use serde_json::{Value, json};

use super::account::{self, Cycle, Domains, Keys, SingleSenders, Told};
use super::classify;
use super::config::Settings;
use super::request::{Form, MESSAGE_BYTES_MAX, RECIPIENTS_MAX, body};
use crate::api::{Line, Service, json_call};
use crate::http::{Answer, Call, sensitive};

/// An account at SMTP2GO.
pub(super) struct Smtp2go {
    settings: Settings,
    capabilities: Capabilities,
}

impl Smtp2go {
    pub(super) const fn new(settings: Settings) -> Self {
        Self {
            settings,
            capabilities: Capabilities {
                message_bytes_max: MESSAGE_BYTES_MAX,
                recipients_max: RECIPIENTS_MAX,
                envelope_sender: false,
                smtputf8: false,
                eight_bit: true,
                tracking: TrackingSwitches::ACCOUNT,
            },
        }
    }

    /// Every call of this API is a POST.
    pub(super) fn call(&self, path: &str, body: Vec<u8>) -> Call {
        let mut headers = HeaderMap::new();
        if let Some(key) = sensitive(self.settings.api_key.expose()) {
            headers.insert(HeaderName::from_static("x-smtp2go-api-key"), key);
        }
        json_call(
            Method::POST,
            &self.settings.endpoint,
            path,
            headers,
            Some(body),
        )
    }

    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        line: Line<'_>,
        path: &str,
        question: &Value,
    ) -> Result<Told<T>, SendError> {
        let call = self.call(path, question.to_string().into_bytes());
        let answer = line.ask(call).await?;
        account::read(&answer, line.now)
    }

    async fn cycle(&self, line: Line<'_>) -> Result<Told<Cycle>, SendError> {
        self.ask(line, "/v3/stats/email_cycle", &json!({})).await
    }
}

#[async_trait]
impl Service for Smtp2go {
    fn kind(&self) -> &'static str {
        "smtp2go"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn request(&self, outgoing: &Outgoing) -> Result<Call, SendError> {
        let form = Form::of(outgoing);
        Ok(self.call(form.path(), body(outgoing, form).await?))
    }

    fn report(&self, outgoing: &Outgoing, answer: &Answer, now: Timestamp) -> SendReport {
        classify::report(outgoing, answer, now)
    }

    /// Every key may ask what it may call, which proves it.
    async fn check(&self, line: Line<'_>) -> Result<Account, SendError> {
        let may_call: Told<Vec<String>> = self
            .ask(line, "/v3/api_keys/permissions", &json!({}))
            .await?;
        if let Told::Yes(paths) = &may_call {
            account::may_send(paths)?;
        }
        let note = match (self.cycle(line).await?, may_call) {
            (Told::Yes(cycle), _) => cycle.note(),
            (Told::NotAllowed, _) | (Told::NotThere, Told::Yes(_) | Told::NotAllowed) => {
                "the key may not ask for the month's allowance".to_owned()
            }
            (Told::NotThere, Told::NotThere) => {
                "the endpoint tells nothing of the account: the key was not checked".to_owned()
            }
        };
        Ok(Account {
            note,
            ..Account::default()
        })
    }

    async fn sender_records(
        &self,
        line: Line<'_>,
        senders: &[String],
    ) -> Result<Vec<SenderRecord>, SendError> {
        let path = "/v3/domain/view";
        Ok(match self.ask::<Domains>(line, path, &json!({})).await? {
            Told::Yes(domains) => domains.records(senders),
            Told::NotAllowed | Told::NotThere => Vec::new(),
        })
    }

    async fn inspect(&self, line: Line<'_>, senders: &[String]) -> Result<Vec<Finding>, SendError> {
        let mut findings = Vec::new();
        let key = json!({ "id": self.settings.api_key.expose() });
        if let Told::Yes(keys) = self.ask::<Keys>(line, "/v3/api_keys/view", &key).await? {
            findings.extend(account::stopped_key(&keys));
        }
        if let Told::Yes(cycle) = self.cycle(line).await? {
            findings.extend(cycle.finding());
        }
        let Told::Yes(domains) = self
            .ask::<Domains>(line, "/v3/domain/view", &json!({}))
            .await?
        else {
            return Ok(findings);
        };
        let path = "/v3/single_sender_emails/view";
        let singles = match self.ask::<SingleSenders>(line, path, &json!({})).await? {
            Told::Yes(singles) => singles,
            Told::NotAllowed | Told::NotThere => SingleSenders::default(),
        };
        findings.extend(account::unverified(senders, &domains, &singles));
        Ok(findings)
    }
}
