//! What every handler shares: the ports, the settings and the budget of octets in flight.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use malote_core::clock::Clock;
use malote_core::credential::{CredentialsInForce, OperatorInForce};
use malote_core::intake::{Intake, Openness, Refusal};
use malote_core::ledger::Ledger;
use malote_core::name::ProviderName;
use malote_core::subscription::Subscriptions;
use malote_core::suppression::Suppressions;
use malote_core::webhook::{EventSink, WebhookParser};
use tokio::sync::{Semaphore, watch};

use super::body::Sender;
use super::config::HttpConfig;
use super::metrics::HttpMetrics;
use super::problem_rfc9457::Problem;

/// The webhook parsers in force by provider, replaced as a whole on reload.
pub type WebhookParsers = Arc<ArcSwap<BTreeMap<ProviderName, Arc<dyn WebhookParser>>>>;

/// One unit of the budgets of octets in flight.
pub(crate) const BUDGET_UNIT_BYTES: u64 = 1024;
/// Body octets that are held at once for senders who have proven nothing yet: six of the largest
/// webhooks, thousands of ordinary ones.
const STRANGERS_BYTES_MAX: u64 = 32 << 20;

/// What the HTTP door needs of the rest of the gateway.
#[derive(Clone)]
pub struct HttpPorts {
    /// Takes custody of submissions.
    pub intake: Arc<dyn Intake>,
    /// Whether new ones are taken.
    pub openness: watch::Receiver<Openness>,
    /// Reads timelines and takes messages back.
    pub ledger: Arc<dyn Ledger>,
    /// Lists, adds and lifts suppressions.
    pub suppressions: Arc<dyn Suppressions>,
    /// Takes providers' events.
    pub sink: Arc<dyn EventSink>,
    /// Does what the readers of unsubscribe links want.
    pub subscriptions: Arc<dyn Subscriptions>,
    /// Verifies and parses webhooks.
    pub parsers: WebhookParsers,
    /// Who may submit.
    pub credentials: CredentialsInForce,
    /// The admin token, which sees and changes the suppressions of all.
    pub operator: OperatorInForce,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

/// What every handler shares.
pub struct HttpState {
    pub(crate) ports: HttpPorts,
    pub(crate) config: HttpConfig,
    pub(crate) metrics: HttpMetrics,
    /// Body octets that may be held at once, in units of [`BUDGET_UNIT_BYTES`].
    budget: Arc<Semaphore>,
    /// The same for strangers, so that a crowd of them keeps no submission out.
    strangers_budget: Arc<Semaphore>,
}

impl HttpState {
    /// What a body of such a sender is held in.
    pub(crate) fn budget_for(&self, sender: Sender) -> Arc<Semaphore> {
        match sender {
            Sender::Known => Arc::clone(&self.budget),
            Sender::Stranger => Arc::clone(&self.strangers_budget),
        }
    }

    /// How far a drain has come.
    pub(crate) fn openness(&self) -> Openness {
        *self.ports.openness.borrow()
    }

    /// Whether submissions are taken.
    ///
    /// # Errors
    /// `draining` if they are not.
    pub(crate) fn expect_open(&self) -> Result<(), Problem> {
        match self.openness() {
            Openness::Open | Openness::Closing => Ok(()),
            Openness::Closed => Err(Problem::from(Refusal::Draining)),
        }
    }

    /// Joins the ports with checked settings.
    #[must_use]
    pub fn new(ports: HttpPorts, config: HttpConfig, metrics: HttpMetrics) -> Self {
        Self {
            budget: budget(config.inflight_max.0),
            strangers_budget: budget(STRANGERS_BYTES_MAX),
            ports,
            config,
            metrics,
        }
    }
}

fn budget(bytes: u64) -> Arc<Semaphore> {
    let units = usize::try_from(bytes.div_ceil(BUDGET_UNIT_BYTES));
    let units = units.unwrap_or(Semaphore::MAX_PERMITS);
    Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS)))
}
