//! The port to what only matters where several nodes work together: rates in common, breakers
//! that all follow, and who is there.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{KeyBook, StoreError};

/// What nodes tell each other and agree on at every moment. An engine of one node has none of it.
#[async_trait]
pub trait Nodes: KeyBook {
    /// Takes up to `want` units out of rates that all nodes share, each with a time by the clock of
    /// the database. What is not used at its time is lost.
    ///
    /// # Errors
    /// If the database cannot be asked, or its answer got lost: then they are nobody's.
    async fn take_rates(&self, request: RateRequest) -> Result<RateGrant, StoreError>;

    /// What other nodes wrote of breakers behind a place, and the place to go on from. The first
    /// place is 0. One change may be told more than once.
    ///
    /// # Errors
    /// If the database cannot be asked.
    async fn breaker_changes(&self, after: i64) -> Result<BreakerChanges, StoreError>;

    /// Takes the one probe of a breaker for so long, or says that another node has it.
    ///
    /// # Errors
    /// If the database cannot be asked: then it was not taken.
    async fn claim_probe(&self, key: &str, hold: Duration) -> Result<bool, StoreError>;

    /// Gives a probe back before its time, whatever it said.
    ///
    /// # Errors
    /// If it cannot be written; then others wait until the claim ends by itself.
    async fn release_probe(&self, key: &str) -> Result<(), StoreError>;

    /// Tells that this node lives, and forgets those that have been gone for a day. Returns what was
    /// last asked of this process, with every beat again.
    ///
    /// # Errors
    /// If it cannot be written.
    async fn beat(&self, report: &NodeReport) -> Result<Option<Wished>, StoreError>;

    /// Asks something of every process of this name that lives; it hears of it with its next beat.
    /// Returns how many there are.
    ///
    /// # Errors
    /// If it cannot be written.
    async fn wish(&self, node: &str, wish: NodeWish) -> Result<u64, StoreError>;

    /// Tells that this node goes, so that nobody waits for its next beat.
    ///
    /// # Errors
    /// If it cannot be written.
    async fn leave(&self) -> Result<(), StoreError>;

    /// Every node of the last day, those that live first, then by name.
    ///
    /// # Errors
    /// If the database cannot be asked.
    async fn list(&self) -> Result<Vec<NodeRecord>, StoreError>;
}

/// A rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate {
    /// Whose: `ses`, `ses/tx` for a pool's own, with ` campaigns` behind it for what campaign
    /// streams may have of it.
    pub account: String,
    /// From one unit to the next, 1 us to a day.
    pub period: Duration,
}

/// A wish for units of rates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateRequest {
    /// Those that must all leave room, each account once.
    pub rates: Vec<Rate>,
    /// Units wished for, at least 1.
    pub want: u32,
    /// How long before its time a unit may be given.
    pub ahead: Duration,
}

/// Units granted, from one to the next the longest of the periods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateGrant {
    /// How many, 0 to `want`.
    pub units: u32,
    /// The time of the first, by the database's clock, in nanoseconds since 1970.
    pub first_ns: i64,
    /// What the database's clock said meanwhile, in nanoseconds since 1970.
    pub clock_ns: i64,
    /// When there will be one more.
    pub wait: Duration,
}

/// What other nodes wrote of breakers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BreakerChanges {
    /// By key: the state as the engine wrote it, `None` for one at rest, and its place.
    pub changes: Vec<(String, Option<String>, i64)>,
    /// From where to ask on.
    pub next: i64,
}

/// What a node says of itself with each beat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Its name: the configuration's, or the machine's.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// A digest of what all nodes should have alike in their configuration.
    pub configuration: String,
    /// What it is doing.
    pub state: NodeState,
}

/// What a node is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It takes and sends mail.
    Serving,
    /// It takes no new mail and ends what it has under way.
    Draining,
    /// It takes no new mail and has none left to send: it can be stopped.
    Drained,
    /// It has ended.
    Gone,
    /// It has not been heard of for 15 s.
    Lost,
    /// It lives, and does what this version has no word for: a newer one is among the nodes.
    #[serde(other)]
    Other,
}

impl NodeState {
    /// All of them, those that live first.
    pub const ALL: [Self; 6] = [
        Self::Serving,
        Self::Draining,
        Self::Drained,
        Self::Other,
        Self::Gone,
        Self::Lost,
    ];

    /// The word for output, metrics and columns. Written to disk: never change one.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Gone => "gone",
            Self::Lost => "lost",
            Self::Other => "other",
        }
    }

    /// Whether its process runs.
    #[must_use]
    pub const fn is_alive(self) -> bool {
        match self {
            Self::Serving | Self::Draining | Self::Drained | Self::Other => true,
            Self::Gone | Self::Lost => false,
        }
    }

    /// The state of a word, which a newer version may have written.
    #[must_use]
    pub fn of_word(word: &str) -> Self {
        let known = Self::ALL.into_iter().find(|state| state.as_str() == word);
        known.unwrap_or(Self::Other)
    }
}

/// What may be asked of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeWish {
    /// To take no new mail and to end what it has under way.
    Drain,
    /// To serve again.
    Undrain,
}

impl NodeWish {
    const ALL: [Self; 2] = [Self::Drain, Self::Undrain];

    /// The word for columns. Written to disk: never change one.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Undrain => "undrain",
        }
    }

    /// The wish of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|wish| wish.as_str() == word)
    }
}

/// What was last asked of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wished {
    /// What.
    pub wish: NodeWish,
    /// Tells one time that it was asked from another.
    pub by: i64,
}

/// A node as the others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// What it said of itself with its last beat, or what has become of it since.
    #[serde(flatten)]
    pub report: NodeReport,
    /// Tells two processes of one name apart: 32 hex digits, new at each start.
    pub instance: String,
    /// Whether it is the one that was asked.
    pub is_this: bool,
    /// Since when it runs, by the database's clock.
    pub started_at: Timestamp,
    /// When it was last heard of, by the database's clock.
    pub beat_at: Timestamp,
    /// By how many milliseconds its own clock is ahead of the database's.
    pub clock_ahead_ms: i64,
}

impl NodeRecord {
    /// By how many seconds its own clock is ahead of the database's.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "exact for any clock within 285,000 years"
    )]
    pub fn clock_ahead_s(&self) -> f64 {
        self.clock_ahead_ms as f64 / 1_000.0
    }
}
