//! Any SMTP server as a provider: our own client over our own pool of connections.
//!
//! The client is ours because the outcome of a send hangs on details: a result per recipient,
//! exactly 250 after the final dot, replies bounded and unambiguous, and the knowledge of whether
//! the final dot had left when a connection broke.

mod arf_rfc5965;
mod classify;
mod command;
mod config;
mod connect;
mod connection;
mod dialect;
mod dsn_rfc3464;
mod ehlo;
mod inspect;
mod legacy_bounce;
mod login;
mod native;
mod oauth;
mod pool;
mod pools;
mod preset;
mod reply;
mod returned;
mod transaction;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::message::has_bare_cr_lf;
use malote_core::name::ProviderName;
use malote_core::provider::{
    Account, Capabilities, Fault, Finding, Outgoing, Provider, Reply, SendError, SendReport,
    Unasked, Verdict, report_for_all,
};

use self::config::Settings;
use self::dialect::Host;
use self::pool::{Choice, Pool};
use self::pools::Pools;
use self::transaction::{Ended, Manner, Next, Pace};
use crate::{Adapter, ProviderConfig};

pub(crate) use config::SmtpConfig;
pub(crate) use native::{Native, build_native};
pub(crate) use preset::Preset;
pub(crate) use preset::documented;
pub use returned::MailReader;

/// Builds the adapter; see [`crate::build`].
pub(crate) fn build(
    name: &ProviderName,
    table: &SmtpConfig,
    config: &ProviderConfig,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Adapter> {
    let settings = table.checked(&format!("providers.{name}.smtp"), clock, faults);
    let host = table.host.parse().ok();
    let pools = Pools::check(name, table.dialect(), host, config, faults)?;
    Some(Adapter {
        provider: Arc::new(SmtpProvider::new("smtp", settings?, pools)),
        webhook: None,
        list: None,
    })
}

struct SmtpProvider {
    kind: &'static str,
    pool: Arc<Pool>,
    pace: Pace,
    capabilities: Capabilities,
    pools: Pools,
}

impl SmtpProvider {
    fn new(kind: &'static str, settings: Settings, pools: Pools) -> Self {
        Self {
            kind,
            capabilities: Capabilities {
                message_bytes_max: settings.message_bytes_max,
                recipients_max: settings.recipients_max,
                envelope_sender: settings.endpoint.dialect.keeps_mail_from,
                // Whether the server can is known only when it has answered EHLO.
                smtputf8: true,
                eight_bit: true,
                tracking: settings.endpoint.dialect.tracking,
            },
            pool: Pool::new(settings.endpoint, settings.bounds),
            pace: settings.pace,
            pools,
        }
    }

    /// One transaction. `None` if an idle connection turned out to be closed: nothing was sent.
    async fn transact(
        &self,
        outgoing: &Outgoing,
        front: &[u8],
        choice: Choice,
    ) -> Option<SendReport> {
        let source = self.pools.source(&outgoing.pool);
        let mut leased = match self.pool.acquire(outgoing.class, source, choice).await {
            Ok(leased) => leased,
            Err(error) => return Some(report_for_all(outgoing, &Err(error))),
        };
        let endpoint = self.pool.endpoint();
        let manner = Manner {
            dialect: endpoint.dialect,
            bytes_max: self.capabilities.message_bytes_max,
            pace: self.pace,
            timing: &endpoint.timing,
        };
        match transaction::run(&mut leased.link, outgoing, front, manner).await {
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

    fn reports_by_mail(&self) -> bool {
        let dialect = self.pool.endpoint().dialect;
        dialect.keeps_mail_from && dialect.host == Host::Given
    }

    async fn send(&self, outgoing: &Outgoing) -> SendReport {
        if has_bare_cr_lf(&outgoing.body) {
            let what = "the message holds a bare CR or LF and could be read as two";
            let reply = Reply::new(None, Some("5.6.11".to_owned()), what);
            let error = SendError::new(Verdict::Rejected(Fault::Message), reply);
            return report_for_all(outgoing, &Err(error));
        }
        let cleaned = self.pools.cleaned(outgoing);
        let outgoing = cleaned.as_ref().unwrap_or(outgoing);
        let front = self.pools.front(self.pool.endpoint().dialect, outgoing);
        if let Some(report) = self.transact(outgoing, &front, Choice::IdleFirst).await {
            return report;
        }
        let report = self.transact(outgoing, &front, Choice::New).await;
        // A new connection always reports.
        report.unwrap_or_else(|| {
            let error = connect::transient("the server closed the connection");
            report_for_all(outgoing, &Err(error))
        })
    }

    async fn check(&self) -> Result<Account, SendError> {
        let endpoint = self.pool.endpoint();
        let source = self.pools.any_source();
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

    async fn inspect(&self, senders: &[String]) -> Result<Vec<Finding>, SendError> {
        let source = self.pools.any_source();
        inspect::inspect(self.pool.endpoint(), source, senders).await
    }

    fn unasked(&self) -> &'static [Unasked] {
        inspect::unasked(self.pool.endpoint().dialect)
    }
}
