//! Nodes that share one account's quota for a day: real limiters and a real store, a seed instead
//! of chance and a number instead of a clock, no sockets.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use malote_core::clock::FixedClock;
use malote_core::limits::{DayRule, Limits};
use malote_core::name::{ProviderName, TargetName};
use malote_core::stream::Class;
use malote_delivery::limits::{AccountLimits, Admission, Limiters, Wish};
use malote_store::{OnFatal, Shared, SqliteConfig, SqliteStore};
use prometheus::Registry;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const DAY_S: u64 = 24 * 3_600;
/// A midnight (UTC).
const MIDNIGHT_S: i64 = 1_795_305_600;

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    /// Nodes that share the account.
    pub(crate) nodes: usize,
    /// Recipients that the account may have in the day.
    pub(crate) per_day: u64,
    /// Recipients that are wished for in the day, evenly over it; each by a node drawn by lot.
    pub(crate) demand: u64,
    /// Whether one node dies at noon, without a last word, and is started again.
    pub(crate) dies: Option<Death>,
    /// What the lots are drawn from.
    pub(crate) seed: u64,
}

/// A node dies at noon.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Death;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Outcome {
    /// Recipients that were admitted.
    pub(crate) admitted: u64,
    /// Recipients admitted beyond the quota.
    pub(crate) overshoot: u64,
    /// Units booked that nobody used: what a death loses.
    pub(crate) lost: u64,
    /// How many had been admitted when a node was first told to wait; `None` if none was.
    pub(crate) first_wait_at: Option<u64>,
    /// The longest wait that a node was told.
    pub(crate) wait_max: Duration,
}

impl Outcome {
    /// The share of what could have been admitted, in percent.
    #[must_use]
    pub(crate) fn used_percent(&self, scenario: &Scenario) -> f64 {
        percent(self.admitted, scenario.per_day.min(scenario.demand))
    }
}

/// `part` of `whole` in percent.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a day, far below 2^52"
)]
pub(crate) fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

struct Node {
    limiters: Limiters,
    parked_until: Timestamp,
}

/// Lets a day pass.
///
/// # Errors
/// If the store cannot be made or asked.
pub(crate) async fn run(scenario: &Scenario) -> anyhow::Result<Outcome> {
    let dir = tempfile::tempdir()?;
    let midnight = Timestamp::from_second(MIDNIGHT_S)?;
    let store = SqliteStore::open_with(
        SqliteConfig::at(dir.path().join("malote.db")),
        Arc::new(FixedClock(midnight)),
        &Registry::new(),
        Arc::new(|text: &str| eprintln!("{text}")) as OnFatal,
    )?;
    let shared: Arc<dyn Shared> = Arc::new(store.clone());
    let provider: ProviderName = "ses".parse()?;
    let target = TargetName {
        provider: provider.clone(),
        pool: TargetName::default_pool(),
    };
    let start = || Node {
        limiters: Limiters::new(
            Arc::clone(&shared),
            &[account(&provider, scenario.per_day)],
            None,
        ),
        parked_until: Timestamp::MIN,
    };
    let mut nodes: Vec<Node> = (0..scenario.nodes).map(|_| start()).collect();
    let mut lots = StdRng::seed_from_u64(scenario.seed);
    let mut outcome = Outcome {
        admitted: 0,
        overshoot: 0,
        lost: 0,
        first_wait_at: None,
        wait_max: Duration::ZERO,
    };
    for wish in 0..scenario.demand {
        let now = midnight + Duration::from_millis(wish * DAY_S * 1_000 / scenario.demand);
        let one = lots.random_range(0..nodes.len());
        if wish == scenario.demand / 2 && scenario.dies.is_some() {
            nodes[one] = start();
        }
        if nodes[one].parked_until <= now {
            ask(&mut nodes[one], &target, now, &mut outcome).await?;
        }
    }
    for node in &nodes {
        node.limiters.give_back().await;
    }
    let booked = shared.quota_used("ses", midnight).await?;
    store.close().await;
    outcome.overshoot = outcome.admitted.saturating_sub(scenario.per_day);
    outcome.lost = booked.saturating_sub(outcome.admitted);
    Ok(outcome)
}

fn account(provider: &ProviderName, per_day: u64) -> AccountLimits {
    AccountLimits {
        provider: provider.clone(),
        limits: Limits {
            per_day: Some(per_day),
            day: DayRule::Utc,
            ..Limits::default()
        },
        pools: std::collections::BTreeMap::new(),
        is_shared_by_classes: false,
    }
}

async fn ask(
    node: &mut Node,
    target: &TargetName,
    now: Timestamp,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let wish = Wish {
        target,
        class: Class::Transactional,
        recipients: 1,
        patience: Duration::from_secs(1),
        now,
    };
    match node.limiters.admit(&wish).await? {
        Admission::Go(_) => outcome.admitted += 1,
        Admission::Later(until) | Admission::Parked(until) => {
            outcome.first_wait_at.get_or_insert(outcome.admitted);
            outcome.wait_max = outcome
                .wait_max
                .max(until.duration_since(now).unsigned_abs());
            node.parked_until = until;
        }
    }
    Ok(())
}
