//! Streams: named classes of mail with their policies.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::guard::GuardPolicy;
use crate::name::{RouteName, StreamName};
use crate::tracking::Tracking;

/// What kind of mail a stream carries. Classes never share a lane, a connection or a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// One person asked for this one mail: served first, never stopped by an unsubscribe.
    Transactional,
    /// Sent to many: waits behind transactional mail.
    Campaign,
}

impl Class {
    /// The word used in configuration, metrics and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transactional => "transactional",
            Self::Campaign => "campaign",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A checked `[streams.NAME]` table.
#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    /// Its name.
    pub name: StreamName,
    /// Its class.
    pub class: Class,
    /// The route of deliveries that no route rule takes elsewhere.
    pub route: RouteName,
    /// When deferred deliveries are sent again.
    pub retry: RetryPolicy,
    /// What to do when nobody can say whether a provider took a message.
    pub on_unknown: OnUnknown,
    /// When the next target takes over.
    pub failover: FailoverPolicy,
    /// How fast a provider must take a message.
    pub write_pace: WritePace,
    /// How long to wait for the reply after the last octet was written (60 s for
    /// transactional streams, 600 s for campaign streams, RFC 5321 4.5.3.2.6).
    pub reply_wait_max: Duration,
    /// What is tracked where a message does not say.
    pub tracking: Tracking,
    /// When its campaigns are slowed and paused; `None` is never, as for transactional mail.
    pub guard: Option<GuardPolicy>,
}

/// How fast a provider must take a message, so that one that stops reading does not keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WritePace {
    /// How long any message may take, connecting included.
    pub wait_max: Duration,
    /// Octets a second that a large message must make.
    pub bytes_per_second_min: NonZeroU64,
}

impl WritePace {
    /// How long this many octets may take.
    #[must_use]
    pub fn wait_for(&self, bytes: u64) -> Duration {
        self.wait_max.max(self.at_slowest(bytes))
    }

    /// How long they take at the slowest that is waited for.
    #[must_use]
    pub fn at_slowest(&self, bytes: u64) -> Duration {
        Duration::from_secs(bytes / self.bytes_per_second_min)
    }
}

impl Default for WritePace {
    /// 60 s, or 32 KiB a second if that is longer.
    fn default() -> Self {
        const RATE: NonZeroU64 = NonZeroU64::new(32 * 1024).unwrap();
        Self {
            wait_max: Duration::from_secs(60),
            bytes_per_second_min: RATE,
        }
    }
}

/// Back-off with full jitter: before attempt *n* + 1 wait between 0 and
/// `min(first * factor^(n-1), max)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Longest wait before the second attempt.
    pub first: Duration,
    /// By how much each further wait may grow.
    pub factor: f64,
    /// Longest wait of all.
    pub max: Duration,
    /// Age of the message at which it expires.
    pub give_up_after: Duration,
}

/// What to do when bytes were written and no clear answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknown {
    /// Send again: first at the same provider with the same Message-ID, then at the next.
    PreferNoLoss,
    /// Hold as `unknown` until the provider's event, its look-up or the operator settles it.
    PreferNoDuplicate,
}

/// When the next target takes over from a failing one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailoverPolicy {
    /// How long a delivery stays with a target that fails transiently; zero: next target now.
    pub transient_after: Duration,
    /// What a throttled delivery does.
    pub on_throttle: OnThrottle,
}

/// What a delivery does when its target is throttled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnThrottle {
    /// Wait until the target may send again.
    Wait,
    /// Take the next target of the plan.
    Next,
}
