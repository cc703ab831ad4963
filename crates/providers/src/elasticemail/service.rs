//! The calls: one send, and the questions that `check` and `inspect` ask.

use async_trait::async_trait;
use http::Method;
use http::header::{HeaderMap, HeaderName};
use jiff::Timestamp;
use malote_core::provider::{
    About, Account, Capabilities, Finding, Outgoing, Question, Reply, SendError, SendReport,
    Unasked, Verdict, bounded, report_for_all,
};
use malote_core::tracking::TrackingSwitches;
use serde::Deserialize;

use super::classify::{Document, Sent, classify, is_about_key};
use super::config::Settings;
use super::request::{MESSAGE_BYTES_MAX, RECIPIENTS_MAX, body};
use crate::api::{Line, Service, json_call};
use crate::http::{Answer, Call, sensitive};
use crate::parts::take_apart;

/// The call that sends.
const SEND: &str = "/v4/emails/transactional";
/// The account's sender domains.
const DOMAINS: &str = "/v4/domains";

/// An account at Elastic Email.
pub(super) struct ElasticEmail {
    settings: Settings,
    capabilities: Capabilities,
}

/// A sender domain (`DomainDetail`). Both records must be there before mail may come from it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Domain {
    domain: Option<String>,
    #[serde(default)]
    spf: Option<bool>,
    #[serde(default)]
    dkim: Option<bool>,
}

impl Domain {
    fn is_called(&self, name: &str) -> bool {
        let own = self.domain.as_deref();
        own.is_some_and(|own| own.eq_ignore_ascii_case(name))
    }

    /// What is not there yet.
    fn missing(&self) -> Vec<&'static str> {
        let records = [("SPF", self.spf), ("DKIM", self.dkim)];
        let missing = records
            .iter()
            .filter(|(_, is_there)| *is_there != Some(true));
        missing.map(|(name, _)| *name).collect()
    }
}

/// The account's sender domains, or why they are not known.
enum Domains {
    Known(Vec<Domain>),
    /// With the reason, for the operator.
    Untold(&'static str),
}

impl ElasticEmail {
    pub(super) const fn new(settings: Settings) -> Self {
        Self {
            settings,
            capabilities: Capabilities {
                message_bytes_max: MESSAGE_BYTES_MAX,
                recipients_max: RECIPIENTS_MAX,
                // It takes an envelope sender of the account's bounce domain only.
                envelope_sender: false,
                smtputf8: false,
                eight_bit: true,
                tracking: TrackingSwitches::BOTH,
            },
        }
    }

    pub(super) fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Call {
        let mut headers = HeaderMap::new();
        if let Some(key) = sensitive(self.settings.api_key.expose()) {
            headers.insert(HeaderName::from_static("x-elasticemail-apikey"), key);
        }
        json_call(method, &self.settings.endpoint, path, headers, body)
    }

    /// Asks for the domains, which proves the key. One that may only send may not ask that, and is
    /// refused with 400 as a bad key is: then an empty call, which is refused for its missing parts
    /// once the key is believed.
    async fn domains(&self, line: Line<'_>) -> Result<Domains, SendError> {
        let answer = line.ask(self.call(Method::GET, DOMAINS, None)).await?;
        match answer.status {
            200 => Ok(answer.json().map_or(
                Domains::Untold("the endpoint tells nothing of the domains"),
                Domains::Known,
            )),
            400 | 401 | 403 => {
                let probe = self.call(Method::POST, SEND, Some(b"{}".to_vec()));
                let probed = line.ask(probe).await?;
                let text = probed.text();
                match probed.status {
                    400 | 422 if !is_about_key(&text) => Ok(Domains::Untold(
                        "a key that may only send: domains are not known",
                    )),
                    400..=403 => Err(failed(&probed, Verdict::ProviderUnusable)),
                    _ => Err(failed(&probed, down(&probed, line.now))),
                }
            }
            404 | 405 => Ok(Domains::Untold("the endpoint tells nothing of the domains")),
            _ => Err(failed(&answer, down(&answer, line.now))),
        }
    }
}

fn down(answer: &Answer, now: Timestamp) -> Verdict {
    match answer.status {
        429 => Verdict::Throttled {
            after: answer.retry_after(now),
        },
        _ => Verdict::Transient,
    }
}

pub(super) fn failed(answer: &Answer, verdict: Verdict) -> SendError {
    let document: Option<Document> = answer.json();
    let text = document.and_then(Document::into_error);
    let text = text.unwrap_or_else(|| answer.text());
    SendError::new(verdict, Reply::new(Some(answer.status), None, &text))
}

#[async_trait]
impl Service for ElasticEmail {
    fn kind(&self) -> &'static str {
        "elasticemail"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn request(&self, outgoing: &Outgoing) -> Result<Call, SendError> {
        let parts = take_apart(outgoing).await?;
        let pool = self.settings.pools.get(&outgoing.pool);
        let body = body(outgoing, &parts, pool)?;
        Ok(self.call(Method::POST, SEND, Some(body)))
    }

    fn report(&self, outgoing: &Outgoing, answer: &Answer, now: Timestamp) -> SendReport {
        let pool = self.settings.pools.get(&outgoing.pool);
        let sent = Sent {
            recipients: outgoing.recipients.len(),
            names_pool: pool.is_some_and(|pool| pool.pool_name.is_some()),
        };
        report_for_all(outgoing, &classify(answer, sent, now))
    }

    async fn check(&self, line: Line<'_>) -> Result<Account, SendError> {
        let note = match self.domains(line).await? {
            Domains::Known(_) => String::new(),
            Domains::Untold(why) => why.to_owned(),
        };
        Ok(Account {
            note,
            ..Account::default()
        })
    }

    /// Sender domains only; see [`Service::unasked`].
    async fn inspect(&self, line: Line<'_>, senders: &[String]) -> Result<Vec<Finding>, SendError> {
        let Domains::Known(domains) = self.domains(line).await? else {
            return Ok(Vec::new());
        };
        let findings = senders.iter().filter_map(|sender| {
            let known = domains.iter().find(|domain| domain.is_called(sender));
            let text = match known.map(Domain::missing) {
                None => "is not among the account's domains: add and verify it there".to_owned(),
                Some(missing) if missing.is_empty() => return None,
                Some(missing) => format!(
                    "is not verified: the service does not find its {} record",
                    missing.join(" and ")
                ),
            };
            Some(Finding {
                about: About::Sender(bounded(sender, 255)),
                text,
            })
        });
        Ok(findings.collect())
    }

    fn unasked(&self) -> &'static [Unasked] {
        &[
            Unasked {
                question: Question::Pools,
                look_at: "the console's private IPs and channels: no call of the API lists them",
            },
            Unasked {
                question: Question::Account,
                look_at: "the console's dashboard: no call of the API tells of a limit",
            },
        ]
    }
}
