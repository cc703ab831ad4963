//! The port to what the reputation guard counts and has decided, shared by the nodes of one
//! installation.

use async_trait::async_trait;
use jiff::Timestamp;
use malote_core::name::StreamName;
use serde::{Deserialize, Serialize};

use crate::StoreError;

/// Keeps counts in buckets of an hour for each stream and campaign, and what the guard has decided.
#[async_trait]
pub trait GuardBook: Send + Sync {
    /// Adds counts to the hours that they fall in.
    ///
    /// # Errors
    /// The whole batch is kept or none of it.
    async fn add_guard_counts(&self, counts: Vec<GuardCount>) -> Result<(), StoreError>;

    /// What was counted of each campaign of a stream since a time, the hour that it falls in
    /// included whole; in the order of the campaigns' names.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn guard_sums(
        &self,
        stream: &StreamName,
        since: Timestamp,
    ) -> Result<Vec<GuardSum>, StoreError>;

    /// Forgets a campaign's counts; with no campaign those of every campaign of the stream that
    /// the guard has not slowed or paused, and of mail without one.
    ///
    /// # Errors
    /// If the change cannot be written.
    async fn reset_guard_counts(&self, key: &GuardKey) -> Result<(), StoreError>;

    /// Forgets hours before a time, and of more than `campaigns_max` campaigns those that were
    /// counted longest ago.
    ///
    /// # Errors
    /// If the change cannot be written.
    async fn forget_guard_counts(
        &self,
        before: Timestamp,
        campaigns_max: u32,
    ) -> Result<(), StoreError>;

    /// Everything that the guard has decided and that still stands.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn guard_records(&self) -> Result<Vec<GuardRecord>, StoreError>;

    /// Writes a decision over the one that stands, or removes it.
    ///
    /// # Errors
    /// If the change cannot be written.
    async fn set_guard_record(
        &self,
        key: &GuardKey,
        record: Option<GuardRecord>,
    ) -> Result<(), StoreError>;
}

/// What is slowed or paused: one campaign of a stream, or the stream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GuardKey {
    /// The stream.
    pub stream: StreamName,
    /// The campaign; `None` is the whole stream.
    pub campaign: Option<String>,
}

/// What the guard counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GuardTally {
    /// Recipients whose mail a provider took or that it refused for good.
    pub sends: u64,
    /// Those of them whose complaints would be told: the mailbox provider reports complaints, and
    /// the sending provider's events reach us.
    pub reported: u64,
    /// Hard bounces, at the call or told later.
    pub bounces: u64,
    /// Complaints.
    pub complaints: u64,
}

impl GuardTally {
    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        self.sends = self.sends.saturating_add(other.sends);
        self.reported = self.reported.saturating_add(other.reported);
        self.bounces = self.bounces.saturating_add(other.bounces);
        self.complaints = self.complaints.saturating_add(other.complaints);
    }
}

/// Counts of one campaign in one hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardCount {
    /// The stream.
    pub stream: StreamName,
    /// The campaign; empty for mail without one.
    pub campaign: String,
    /// A time within the hour.
    pub at: Timestamp,
    /// What to add.
    pub tally: GuardTally,
}

/// What was counted of one campaign in a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardSum {
    /// The campaign; empty for mail without one.
    pub campaign: String,
    /// The counts.
    pub tally: GuardTally,
    /// Sends of the hour that had most.
    pub busiest_hour: u64,
}

/// How the guard has decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardState {
    /// A person let it go on: what was sent before that no longer counts.
    Resumed,
    /// It is sent at a share of its pace.
    Slowed,
    /// It is held until a person resumes it.
    Paused,
}

impl GuardState {
    /// The word for output, metrics and columns. Written to disk: never change one.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resumed => "resumed",
            Self::Slowed => "slowed",
            Self::Paused => "paused",
        }
    }

    /// The state of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let all = [Self::Resumed, Self::Slowed, Self::Paused];
        all.into_iter().find(|state| state.as_str() == word)
    }
}

/// A decision of the guard.
#[derive(Debug, Clone, PartialEq)]
pub struct GuardRecord {
    /// About what.
    pub key: GuardKey,
    /// How.
    pub state: GuardState,
    /// Since when.
    pub since: Timestamp,
    /// Why, with the numbers.
    pub reason: String,
    /// Recipients a second while slowed.
    pub pace: f64,
    /// What was counted when it was decided.
    pub tally: GuardTally,
}
