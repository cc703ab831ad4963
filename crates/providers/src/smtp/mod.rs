//! Any SMTP server as a provider: our own client over our own pool of connections.
//!
//! The client is ours because the outcome of a send hangs on details: a result per recipient,
//! exactly 250 after the final dot, replies bounded and unambiguous, and the knowledge of whether
//! the final dot had left when a connection broke.

mod classify;
mod command;
mod config;
mod connect;
mod connection;
mod dialect;
mod ehlo;
mod native;
mod pool;
mod preset;
mod reply;
mod transaction;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::message::has_bare_cr_lf;
use malote_core::name::{PoolName, ProviderName};
use malote_core::provider::{
    Account, Capabilities, Fault, Outgoing, Provider, RecipientSource, Reply, SendError,
    SendReport, Verdict, report_for_all,
};

use self::config::Settings;
use self::pool::{Choice, Pool};
use self::transaction::{Ended, Next, Pace};
use crate::{Adapter, ProviderConfig};

pub(crate) use config::SmtpConfig;
#[allow(unused_imports, reason = "for the native kinds that go by SMTP")]
pub(crate) use native::{Native, build_native};
pub(crate) use preset::Preset;

/// Builds the adapter; see [`crate::build`].
pub(crate) fn build(
    name: &ProviderName,
    table: &SmtpConfig,
    config: &ProviderConfig,
    _clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Adapter> {
    let settings = table.check(&format!("providers.{name}.smtp"), faults);
    if config.webhook.is_some() {
        let path = format!("providers.{name}.webhook");
        faults.push(ConfigFault::error(path, "kind smtp has no webhooks"));
        return None;
    }
    let sources = pool_sources(name, table, config, faults)?;
    Some(Adapter {
        provider: Arc::new(SmtpProvider::new("smtp", settings?, sources)),
        webhook: None,
    })
}

/// The local addresses of each pool that has any.
fn pool_sources(
    name: &ProviderName,
    table: &SmtpConfig,
    config: &ProviderConfig,
    faults: &mut Vec<ConfigFault>,
) -> Option<BTreeMap<PoolName, Sources>> {
    let host: Option<IpAddr> = table.host.parse().ok();
    let mut sources = BTreeMap::new();
    let mut is_good = true;
    for (pool, settings) in &config.pools {
        let addresses = &settings.source_addresses;
        let mut fault = |message: String| {
            let path = format!("providers.{name}.pools.{pool}.source_addresses");
            faults.push(ConfigFault::error(path, message));
            is_good = false;
        };
        for (at, address) in addresses.iter().enumerate() {
            if address.is_unspecified() || address.is_multicast() {
                fault(format!("{address} is no address to connect from"));
            }
            if addresses[..at].contains(address) {
                fault(format!("{address} stands there twice"));
            }
            if host.is_some_and(|host| host.is_ipv4() != address.is_ipv4()) {
                fault(format!(
                    "{address} cannot reach the host, which is of the other IP version"
                ));
            }
        }
        if !addresses.is_empty() {
            sources.insert(pool.clone(), Sources::new(addresses.clone()));
        }
    }
    is_good.then_some(sources)
}

/// A pool's local addresses, taken in turn.
struct Sources {
    addresses: Vec<IpAddr>,
    turn: AtomicUsize,
}

impl Sources {
    const fn new(addresses: Vec<IpAddr>) -> Self {
        Self {
            addresses,
            turn: AtomicUsize::new(0),
        }
    }

    fn next(&self) -> Option<IpAddr> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.addresses
            .get(turn % self.addresses.len().max(1))
            .copied()
    }
}

struct SmtpProvider {
    kind: &'static str,
    pool: Arc<Pool>,
    pace: Pace,
    capabilities: Capabilities,
    sources: BTreeMap<PoolName, Sources>,
}

impl SmtpProvider {
    fn new(kind: &'static str, settings: Settings, sources: BTreeMap<PoolName, Sources>) -> Self {
        Self {
            kind,
            capabilities: Capabilities {
                message_bytes_max: settings.message_bytes_max,
                recipients_max: settings.recipients_max,
                recipients: RecipientSource::Envelope,
                envelope_sender: true,
                // Whether the server can is known only when it has answered EHLO.
                smtputf8: true,
                eight_bit: true,
            },
            pool: Pool::new(settings.endpoint, settings.bounds),
            pace: settings.pace,
            sources,
        }
    }

    /// One transaction. `None` if an idle connection turned out to be closed: nothing was sent.
    async fn transact(&self, outgoing: &Outgoing, choice: Choice) -> Option<SendReport> {
        let source = self.sources.get(&outgoing.pool).and_then(Sources::next);
        let mut leased = match self.pool.acquire(outgoing.class, source, choice).await {
            Ok(leased) => leased,
            Err(error) => return Some(report_for_all(outgoing, &Err(error))),
        };
        let timing = &self.pool.endpoint().timing;
        let bytes_max = self.capabilities.message_bytes_max;
        match transaction::run(&mut leased.link, outgoing, bytes_max, self.pace, timing).await {
            Ended::Settled(report, Next::Reuse) => {
                self.pool.put_back(leased);
                Some(report)
            }
            Ended::Settled(report, Next::Close) => Some(report),
            Ended::Closed(_) if leased.is_reused => None,
            Ended::Closed(error) => Some(report_for_all(outgoing, &Err(error))),
        }
    }
}

#[async_trait]
impl Provider for SmtpProvider {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, outgoing: &Outgoing) -> SendReport {
        if has_bare_cr_lf(&outgoing.body) {
            let what = "the message holds a bare CR or LF and could be read as two";
            let reply = Reply::new(None, Some("5.6.11".to_owned()), what);
            let error = SendError::new(Verdict::Rejected(Fault::Message), reply);
            return report_for_all(outgoing, &Err(error));
        }
        if let Some(report) = self.transact(outgoing, Choice::IdleFirst).await {
            return report;
        }
        let report = self.transact(outgoing, Choice::New).await;
        // A new connection always reports.
        report.unwrap_or_else(|| {
            let error = connect::transient("the server closed the connection");
            report_for_all(outgoing, &Err(error))
        })
    }

    async fn check(&self) -> Result<Account, SendError> {
        let endpoint = self.pool.endpoint();
        let source = self.sources.values().next().and_then(Sources::next);
        let mut link = endpoint.open(source).await?;
        let wait = endpoint.timing.command;
        let size = link.extensions.size_max();
        // A server that hangs up without an answer to QUIT has still let us in.
        drop(link.ask("QUIT\r\n", wait).await);
        let size = size.map_or("any size".to_owned(), |bytes| format!("{bytes} octets"));
        let login = match endpoint.login {
            Some(_) => "logged in",
            None => "no login",
        };
        Ok(Account {
            note: format!("{}:{} takes {size}, {login}", endpoint.host, endpoint.port),
            ..Account::default()
        })
    }
}
