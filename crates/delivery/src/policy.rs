//! One configuration as the engine uses it: replaced as a whole on reload, never edited.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use malote_core::address::EmailAddress;
use malote_core::credential::Credentials;
use malote_core::id::{DeliveryId, MessageId};
use malote_core::limits::{Limits, Warmup};
use malote_core::name::{PoolName, ProviderName, StreamName, TargetName};
use malote_core::outlet::Outlet;
use malote_core::provider::Provider;
use malote_core::returned::{ReturnAddress, ReturnPath, ReturnPurpose};
use malote_core::stream::{Class, Stream};
use malote_core::ticket::{Ticket, TicketKeys, TicketUse};
use malote_router::Router;
use malote_store::SuppressionScope;

use crate::list_unsubscribe;

/// A checked configuration. A message sees one policy from intake to its route.
pub struct Policy {
    /// Rules, routes and the table of mailbox providers.
    pub router: Router,
    /// The streams.
    pub streams: BTreeMap<StreamName, Stream>,
    /// The sender's part of `Feedback-ID`, for campaign mail that has no such field, by stream.
    pub feedback_ids: BTreeMap<StreamName, String>,
    /// The providers.
    pub providers: BTreeMap<ProviderName, ProviderEntry>,
    /// The credentials, as they are in force with the rest.
    pub credentials: Arc<Credentials>,
    /// Who is told of events, besides those who ask.
    pub outlets: Vec<Arc<dyn Outlet>>,
    /// Where mail comes back to, if a listener takes it.
    pub return_path: Option<ReturnPath>,
    /// The links that unsubscribe, if the gateway gives any out.
    pub unsubscribe: Option<UnsubscribeLinks>,
    /// Bounds of the engine.
    pub bounds: Bounds,
}

/// The links that unsubscribe.
#[derive(Debug, Clone)]
pub struct UnsubscribeLinks {
    /// What stands in front of `/u/TICKET`: https, without a slash at its end.
    pub base_url: String,
    /// Signs and recognises.
    pub keys: TicketKeys,
}

/// A provider with its limits.
#[derive(Clone)]
pub struct ProviderEntry {
    /// The adapter.
    pub provider: Arc<dyn Provider>,
    /// Limits of the account.
    pub limits: Limits,
    /// Pools with limits or a warm-up of their own.
    pub pools: BTreeMap<PoolName, (Limits, Option<Warmup>)>,
    /// Whether its events reach us: only then is no complaint a good sign.
    pub tells_events: bool,
}

/// Bounds of the engine, with values that are safe in production.
#[derive(Debug, Clone, PartialEq)]
pub struct Bounds {
    /// The name in Message-ID of the gateway's own mail and in DSNs.
    pub hostname: String,
    /// Octets of unsettled bodies beyond which campaign mail is refused; transactional mail may
    /// use a tenth more.
    pub queue_bytes_max: u64,
    /// Messages under way at once over all streams; read at start.
    pub workers: u32,
    /// Share of the workers that only transactional streams may use; read at start.
    pub transactional_reserve: f64,
    /// How long calls under way may go on after the stop signal.
    pub drain_max: Duration,
    /// How long the doors of a drained gateway still take mail after it said that it is not ready.
    pub drain_notice: Duration,
    /// How long a body is kept after its message is settled.
    pub keep_bodies: Duration,
    /// How long a settled message is kept.
    pub keep_messages: Duration,
    /// Crashes of the process with a delivery under way after which it is quarantined. High, since
    /// a crash is seldom the fault of what was under way; after the third it is carried with no
    /// other such delivery beside it.
    pub crashes_max: u32,
    /// Soft bounces `mailbox_full` within `soft_bounce_window` that suppress.
    pub soft_bounces_max: u32,
    /// The window in which they are counted.
    pub soft_bounce_window: Duration,
    /// How long such a suppression lasts.
    pub soft_bounce_suppression: Duration,
    /// DSNs a minute and credential.
    pub dsn_per_minute: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(86_400);
        Self {
            hostname: "localhost".into(),
            queue_bytes_max: 64 << 30,
            workers: 1024,
            transactional_reserve: 0.25,
            drain_max: Duration::from_secs(25),
            drain_notice: Duration::from_secs(5),
            keep_bodies: Duration::from_secs(3600),
            keep_messages: DAY * 30,
            crashes_max: 10,
            soft_bounces_max: 5,
            soft_bounce_window: DAY * 14,
            soft_bounce_suppression: DAY * 30,
            dsn_per_minute: 60,
        }
    }
}

impl Policy {
    /// Whether streams of both classes can reach this provider's account.
    #[must_use]
    pub fn is_shared_by_classes(&self, provider: &ProviderName) -> bool {
        let reaches = |class| {
            self.streams
                .values()
                .filter(|stream| stream.class == class)
                .any(|stream| self.router.reaches(&stream.name, provider))
        };
        reaches(Class::Transactional) && reaches(Class::Campaign)
    }

    /// The domain that deliveries through this provider come back to, if it reports by mail and a
    /// listener takes that.
    #[must_use]
    pub fn return_path_of(&self, provider: &ProviderName) -> Option<&ReturnPath> {
        let entry = self.providers.get(provider)?;
        let reports = entry.provider.reports_by_mail();
        self.return_path.as_ref().filter(|_| reports)
    }

    /// Whether anything is heard of what this provider sent: by its webhook, or by mail.
    pub(crate) fn hears_of(&self, provider: &ProviderName) -> bool {
        let entry = self.providers.get(provider);
        entry.is_some_and(|entry| entry.tells_events) || self.return_path_of(provider).is_some()
    }

    /// The List-Unsubscribe field of a message to one recipient: a link, and an address where mail
    /// comes back to us.
    pub(crate) fn list_unsubscribe(&self, message: MessageId) -> Option<String> {
        let links = self.unsubscribe.as_ref()?;
        let ticket = Ticket {
            delivery: DeliveryId { message, index: 0 },
            attempt: 0,
        };
        let text = links.keys.write(ticket, TicketUse::UnsubscribeLink);
        let link = format!("{}/u/{text}", links.base_url);
        let to = ReturnAddress {
            purpose: ReturnPurpose::Unsubscribe,
            ticket,
        };
        let mailto = self.return_path.as_ref().and_then(|path| path.address(to));
        let mailto = mailto.as_ref().map(EmailAddress::as_str);
        Some(list_unsubscribe::field(&link, mailto))
    }

    /// The lower of the rates of a target's account and pool, recipients a second.
    #[must_use]
    pub fn rate_of(&self, target: &TargetName) -> Option<f64> {
        let entry = self.providers.get(&target.provider)?;
        let pool = entry
            .pools
            .get(&target.pool)
            .and_then(|(limits, _)| limits.per_second);
        match (entry.limits.per_second, pool) {
            (Some(account), Some(pool)) => Some(account.min(pool)),
            (account, pool) => account.or(pool),
        }
    }

    /// The class-wide suppression scopes that stop a stream's mail: transactional mail is stopped
    /// by global entries only.
    #[must_use]
    pub fn scopes_of(&self, stream: &StreamName, class: Class) -> Vec<SuppressionScope> {
        match class {
            Class::Transactional => vec![SuppressionScope::Global],
            Class::Campaign => {
                vec![
                    SuppressionScope::Global,
                    SuppressionScope::Stream(stream.clone()),
                ]
            }
        }
    }
}
