//! What the services have in common that take a message in one HTTP call and answer for it at once.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use jiff::Timestamp;
use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use malote_core::provider::{
    Account, Capabilities, Fault, Finding, Outgoing, Provider, Receipt, SendError, SendReport,
    SenderRecord, Unasked, Verdict, report_for_all,
};
use malote_core::stream::Class;
use reqwest::Url;

use crate::http::{Answer, Call, HttpClients, Lost, Patience};
use crate::lists::Listed;
use crate::settings::join;
use crate::words::{judges_content, spoken};
use crate::{Adapter, ProviderConfig};

/// From this size on, making a request would hold up other tasks of the thread.
const BLOCKING_FROM_BYTES: usize = 256 * 1024;

/// What is particular to one such service.
#[async_trait]
pub(crate) trait Service: Send + Sync + 'static {
    /// The kind's name.
    fn kind(&self) -> &'static str;

    /// What it can carry.
    fn capabilities(&self) -> &Capabilities;

    /// The call that sends this message, body included.
    ///
    /// # Errors
    /// If the service cannot take this message in this form; nothing was sent.
    async fn request(&self, outgoing: &Outgoing) -> Result<Call, SendError>;

    /// What the answer means for each recipient, in their order.
    fn report(&self, outgoing: &Outgoing, answer: &Answer, now: Timestamp) -> SendReport;

    /// See [`Provider::check`].
    async fn check(&self, line: Line<'_>) -> Result<Account, SendError>;

    /// See [`Provider::inspect`].
    async fn inspect(
        &self,
        _line: Line<'_>,
        _senders: &[String],
    ) -> Result<Vec<Finding>, SendError> {
        Ok(Vec::new())
    }

    /// See [`Provider::unasked`].
    fn unasked(&self) -> &'static [Unasked] {
        &[]
    }

    /// See [`Provider::sender_records`].
    async fn sender_records(
        &self,
        _line: Line<'_>,
        _senders: &[String],
    ) -> Result<Vec<SenderRecord>, SendError> {
        Ok(Vec::new())
    }

    /// See [`Provider::account_poll_every`].
    fn account_poll_every(&self) -> Option<Duration> {
        None
    }
}

/// The way to the service for calls that carry no mail.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    clients: &'a HttpClients,
    /// The time.
    pub now: Timestamp,
}

impl Line<'_> {
    /// Asks. Nothing about mail is in doubt, so no answer is only a service out of reach.
    pub(crate) async fn ask(&self, call: Call) -> Result<Answer, SendError> {
        self.ask_within(call, Patience::SHORT).await
    }

    /// The same for a page of a list, which may be long.
    pub(crate) async fn ask_page(&self, call: Call) -> Result<Answer, SendError> {
        self.ask_within(call, Patience::PAGE).await
    }

    async fn ask_within(&self, call: Call, patience: Patience) -> Result<Answer, SendError> {
        let clients = self.clients;
        let answer = clients.exchange(Class::Transactional, call, patience);
        answer.await.map_err(Lost::of_question)
    }
}

pub(crate) struct HttpApi<S> {
    pub(crate) service: S,
    clients: HttpClients,
    clock: Arc<dyn Clock>,
}

/// The adapter of a service whose table was good.
pub(crate) fn adapter<S: Service>(
    name: &ProviderName,
    service: S,
    config: &ProviderConfig,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Adapter> {
    Some(Adapter {
        provider: connected(name, service, config, clock, faults)?,
        webhook: None,
        list: None,
    })
}

/// The same of a service whose own suppression list can be asked.
pub(crate) fn adapter_with_list<S: Service + Listed>(
    name: &ProviderName,
    service: S,
    config: &ProviderConfig,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Adapter> {
    let provider = connected(name, service, config, clock, faults)?;
    Some(Adapter {
        provider: Arc::clone(&provider) as Arc<dyn Provider>,
        webhook: None,
        list: Some(provider),
    })
}

/// A service with its connections, none of them open.
pub(crate) fn connected<S>(
    name: &ProviderName,
    service: S,
    config: &ProviderConfig,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Arc<HttpApi<S>>> {
    match HttpClients::new(config.speech(), &config.limits) {
        Ok(clients) => Some(Arc::new(HttpApi {
            service,
            clients,
            clock: Arc::clone(clock),
        })),
        Err(error) => {
            let message = format!("TLS cannot be set up: {error}");
            faults.push(ConfigFault::error(format!("providers.{name}"), message));
            None
        }
    }
}

impl<S: Service> HttpApi<S> {
    async fn answer(&self, outgoing: &Outgoing) -> Result<Answer, SendError> {
        let call = self.service.request(outgoing).await?;
        let bytes: usize = call.body.iter().map(Bytes::len).sum();
        let patience = Patience::for_message(outgoing, bytes as u64);
        let answer = self.clients.exchange(outgoing.class, call, patience);
        Ok(answer.await?)
    }
}

impl<S> HttpApi<S> {
    /// The way to the service, now.
    pub(crate) fn line(&self) -> Line<'_> {
        Line {
            clients: &self.clients,
            now: self.clock.now(),
        }
    }
}

#[async_trait]
impl<S: Service> Provider for HttpApi<S> {
    fn kind(&self) -> &'static str {
        self.service.kind()
    }

    fn capabilities(&self) -> &Capabilities {
        self.service.capabilities()
    }

    async fn send(&self, outgoing: &Outgoing) -> SendReport {
        match self.answer(outgoing).await {
            Ok(answer) => {
                let report = self.service.report(outgoing, &answer, self.clock.now());
                report.into_iter().map(final_if_judged).collect()
            }
            Err(error) => report_for_all(outgoing, &Err(error)),
        }
    }

    async fn check(&self) -> Result<Account, SendError> {
        self.service.check(self.line()).await
    }

    async fn inspect(&self, senders: &[String]) -> Result<Vec<Finding>, SendError> {
        self.service.inspect(self.line(), senders).await
    }

    fn unasked(&self) -> &'static [Unasked] {
        self.service.unasked()
    }

    async fn sender_records(&self, senders: &[String]) -> Result<Vec<SenderRecord>, SendError> {
        self.service.sender_records(self.line(), senders).await
    }

    fn account_poll_every(&self) -> Option<Duration> {
        self.service.account_poll_every()
    }
}

/// What a service refuses by a rule of its own the next one may take, unless it says that it has
/// judged what the message says: then the next one would be shown the same.
fn final_if_judged(result: Result<Receipt, SendError>) -> Result<Receipt, SendError> {
    result.map_err(|mut error| {
        let is_by_rule = error.verdict == Verdict::Rejected(Fault::MessageHere);
        if is_by_rule && judges_content(&spoken(error.reply.text())) {
            error.verdict = Verdict::Rejected(Fault::Message);
        }
        error
    })
}

/// A JSON call with these header fields besides its own; `path` begins with `/`.
pub(crate) fn json_call(
    method: Method,
    endpoint: &Url,
    path: &str,
    mut headers: HeaderMap,
    body: Option<Vec<u8>>,
) -> Call {
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    if body.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    Call {
        method,
        url: join(endpoint, path),
        headers,
        body: body.into_iter().map(Bytes::from).collect(),
    }
}

/// What a message is made into, a large one on a thread of its own.
pub(crate) async fn rendered<T: Send + 'static>(
    outgoing: &Outgoing,
    render: impl FnOnce(&Outgoing) -> T + Send + 'static,
) -> T {
    if outgoing.body.len() < BLOCKING_FROM_BYTES {
        return render(outgoing);
    }
    let outgoing = outgoing.clone();
    match tokio::task::spawn_blocking(move || render(&outgoing)).await {
        Ok(made) => made,
        Err(stopped) => std::panic::resume_unwind(stopped.into_panic()),
    }
}
