//! One transmission, answered and classified; and the look at the account.

use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use malote_core::provider::{
    About, Account, Capabilities, Finding, Outgoing, Reply, SendError, SendReport, SenderRecord,
    Verdict,
};
use malote_core::tracking::TrackingSwitches;

use super::account::{self, Told};
use super::config::Settings;
use super::{classify, request};
use crate::api::{Line, Service, json_call, rendered};
use crate::http::{Answer, Call, sensitive};
use crate::reencode::{self, EightBit};

/// Content of a transmission: 20 MB (Transmissions API).
const MESSAGE_BYTES_MAX: u64 = 20_000_000;
/// The service has no bound of its own and advises to stay below 10,000.
const RECIPIENTS_MAX: u16 = 1000;
/// How often quota and use are asked for.
const ACCOUNT_POLL_EVERY: Duration = Duration::from_secs(300);

/// A SparkPost account.
pub(super) struct Sparkpost {
    settings: Settings,
    capabilities: Capabilities,
}

impl Sparkpost {
    pub(super) fn new(settings: Settings) -> Self {
        let capabilities = Capabilities {
            message_bytes_max: MESSAGE_BYTES_MAX,
            recipients_max: RECIPIENTS_MAX,
            // `return_path` needs a domain of its own and loses its local part.
            envelope_sender: false,
            smtputf8: false,
            eight_bit: true,
            tracking: TrackingSwitches::BOTH,
        };
        Self {
            settings,
            capabilities,
        }
    }

    /// The subaccount that is sent for.
    pub(super) fn subaccount(&self) -> Option<u32> {
        self.settings.subaccount
    }

    fn pool(&self, outgoing: &Outgoing) -> Option<&str> {
        let pool = self.settings.ip_pools.get(&outgoing.pool);
        pool.map(String::as_str)
    }

    /// A call; only what has to do with sending is done for the subaccount.
    pub(super) fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Call {
        let mut headers = HeaderMap::new();
        if let Some(value) = sensitive(self.settings.api_key.expose()) {
            headers.insert(AUTHORIZATION, value);
        }
        let own = ["/transmissions", "/sending-domains", "/suppression-list"];
        let is_of_subaccount = own.iter().any(|own| path.starts_with(own));
        if let Some(number) = self.settings.subaccount.filter(|_| is_of_subaccount) {
            let name = HeaderName::from_static("x-msys-subaccount");
            headers.insert(name, HeaderValue::from(number));
        }
        let path = format!("/api/v1{path}");
        json_call(method, &self.settings.endpoint, &path, headers, body)
    }

    fn sending_domain(&self, sender: &str) -> Call {
        self.call(Method::GET, &format!("/sending-domains/{sender}"), None)
    }

    fn account_call(&self) -> Call {
        let mut call = self.call(Method::GET, "/account", None);
        call.url.set_query(Some("include=usage"));
        call
    }

    /// A key that may only send is believed, too: the service then says what an empty
    /// transmission lacks.
    async fn check_sending_key(&self, line: Line<'_>) -> Result<Account, SendError> {
        let call = self.call(Method::POST, "/transmissions", Some(b"{}".to_vec()));
        let answer = line.ask(call).await?;
        match answer.status {
            400 | 422 => Ok(Account {
                note: "the key may send only: rate and quota are not known".to_owned(),
                ..Account::default()
            }),
            _ => {
                let reply = Reply::new(Some(answer.status), None, &answer.text());
                let is_refused = matches!(answer.status, 401 | 403 | 404);
                let verdict = match is_refused {
                    true => Verdict::ProviderUnusable,
                    false => Verdict::Transient,
                };
                Err(SendError::new(verdict, reply))
            }
        }
    }

    async fn missing_pools(&self, line: Line<'_>) -> Result<Vec<Finding>, SendError> {
        if self.settings.ip_pools.is_empty() {
            return Ok(Vec::new());
        }
        let answer = line.ask(self.call(Method::GET, "/ip-pools", None)).await?;
        let Some(known) = account::ip_pools(&answer)? else {
            return Ok(Vec::new());
        };
        // Ids are compared in any case (Transmissions API, `ip_pool`).
        let is_known = |id: &str| known.iter().any(|known| known.eq_ignore_ascii_case(id));
        let pools = self.settings.ip_pools.iter();
        let missing = pools
            .filter(|(_, id)| !is_known(id))
            .map(|(pool, id)| Finding {
                about: About::Pool(pool.clone()),
                text: format!(
                    "the account has no IP pool {id}; create it there or correct ip_pool"
                ),
            });
        Ok(missing.collect())
    }
}

#[async_trait]
impl Service for Sparkpost {
    fn kind(&self) -> &'static str {
        "sparkpost"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn request(&self, outgoing: &Outgoing) -> Result<Call, SendError> {
        // JSON is UTF-8; what is not must leave as ASCII.
        let eight_bit = match std::str::from_utf8(&outgoing.body) {
            Ok(_) => EightBit::Allowed,
            Err(_) => EightBit::Forbidden,
        };
        let body = reencode::fit(&outgoing.body, eight_bit, MESSAGE_BYTES_MAX).await?;
        let pool = self.pool(outgoing).map(str::to_owned);
        let make = move |outgoing: &Outgoing| request::json(outgoing, &body, pool.as_deref());
        let json = rendered(outgoing, make).await?;
        Ok(self.call(Method::POST, "/transmissions", Some(json)))
    }

    fn report(&self, outgoing: &Outgoing, answer: &Answer, now: Timestamp) -> SendReport {
        classify::report(outgoing, answer, self.pool(outgoing).is_some(), now)
    }

    async fn check(&self, line: Line<'_>) -> Result<Account, SendError> {
        let answer = line.ask(self.account_call()).await?;
        match account::account(&answer)? {
            Told::Yes(account) => account.judged(),
            Told::NotAllowed | Told::NotThere => self.check_sending_key(line).await,
        }
    }

    async fn inspect(&self, line: Line<'_>, senders: &[String]) -> Result<Vec<Finding>, SendError> {
        let mut findings = Vec::new();
        let answer = line.ask(self.account_call()).await?;
        if let Told::Yes(account) = account::account(&answer)? {
            findings.extend(account.findings());
        }
        findings.extend(self.missing_pools(line).await?);
        for sender in senders {
            let answer = line.ask(self.sending_domain(sender)).await?;
            if let Some(fault) = account::sender_fault(&answer)? {
                findings.push(Finding {
                    about: About::Sender(sender.clone()),
                    text: format!("{sender} {fault}"),
                });
            }
        }
        Ok(findings)
    }

    async fn sender_records(
        &self,
        line: Line<'_>,
        senders: &[String],
    ) -> Result<Vec<SenderRecord>, SendError> {
        let mut records = Vec::new();
        for sender in senders {
            let answer = line.ask(self.sending_domain(sender)).await?;
            records.extend(account::key_of(&answer, sender)?);
        }
        Ok(records)
    }

    fn account_poll_every(&self) -> Option<Duration> {
        Some(ACCOUNT_POLL_EVERY)
    }
}
