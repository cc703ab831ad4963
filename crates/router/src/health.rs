//! Which targets cannot take mail now, for whom, and until when.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use malote_core::name::{MailboxProvider, ProviderName, StreamName, TargetName};
use malote_core::units::ByteSize;
use serde::{Deserialize, Serialize};

/// Why a target of the route is not in the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Exclusion {
    /// The provider refused our credentials or paused the account.
    ProviderOut {
        /// What it said, in one line.
        reason: String,
    },
    /// The provider does not know the pool.
    PoolOut {
        /// What it said, in one line.
        reason: String,
    },
    /// An operator paused the provider or the target.
    Paused,
    /// An operator drains it: what is under way ends, nothing new begins.
    Drained,
    /// Too many failures: no attempt before the next probe.
    BreakerOpen {
        /// When a probe may be sent.
        until: Timestamp,
    },
    /// Its quota, or the day's share of its warm-up, is spent.
    Parked {
        /// When there is quota again.
        until: Timestamp,
    },
    /// It asked us to slow down, or its rate is used up.
    Throttled {
        /// When it may send again.
        until: Timestamp,
    },
    /// It does not accept this sender domain.
    SenderOut,
    /// This mailbox provider refuses mail from this target for its reputation.
    ReputationOpen {
        /// When a probe may be sent.
        until: Timestamp,
    },
    /// The message is larger than the provider carries.
    TooLarge {
        /// The provider's largest, in octets.
        max: u64,
    },
    /// The provider cannot carry UTF-8 local parts (RFC 6531).
    NoSmtpUtf8,
}

impl Exclusion {
    /// When the target may be asked again; `None` if no time makes it fit.
    #[must_use]
    pub const fn retry_at(&self) -> Option<Timestamp> {
        match self {
            Self::BreakerOpen { until }
            | Self::Parked { until }
            | Self::Throttled { until }
            | Self::ReputationOpen { until } => Some(*until),
            Self::ProviderOut { .. }
            | Self::PoolOut { .. }
            | Self::Paused
            | Self::Drained
            | Self::SenderOut
            | Self::TooLarge { .. }
            | Self::NoSmtpUtf8 => None,
        }
    }

    /// Whether the message itself does not fit, so that the target would refuse it for ever.
    #[must_use]
    pub const fn is_by_capability(&self) -> bool {
        match self {
            Self::TooLarge { .. } | Self::NoSmtpUtf8 => true,
            Self::ProviderOut { .. }
            | Self::PoolOut { .. }
            | Self::Paused
            | Self::Drained
            | Self::BreakerOpen { .. }
            | Self::Parked { .. }
            | Self::Throttled { .. }
            | Self::SenderOut
            | Self::ReputationOpen { .. } => false,
        }
    }

    /// The closed set of words for metrics and timelines.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::ProviderOut { .. } => "provider_out",
            Self::PoolOut { .. } => "pool_out",
            Self::Paused => "paused",
            Self::Drained => "drained",
            Self::BreakerOpen { .. } => "breaker_open",
            Self::Parked { .. } => "parked",
            Self::Throttled { .. } => "throttled",
            Self::SenderOut => "sender_out",
            Self::ReputationOpen { .. } => "reputation_open",
            Self::TooLarge { .. } => "too_large",
            Self::NoSmtpUtf8 => "no_smtputf8",
        }
    }

    /// Of two reasons, the one that lasts longer; the first if they last equally.
    fn longer(self, other: Self) -> Self {
        match (self.retry_at(), other.retry_at()) {
            (None, _) => self,
            (Some(_), None) => other,
            (Some(own), Some(theirs)) if theirs > own => other,
            (Some(_), Some(_)) => self,
        }
    }
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ProviderOut { reason } => write!(f, "the provider is out: {reason}"),
            Self::PoolOut { reason } => write!(f, "the pool is out: {reason}"),
            Self::Paused => f.write_str("paused by an operator"),
            Self::Drained => f.write_str("drained by an operator"),
            Self::BreakerOpen { until } => {
                write!(f, "its breaker is open, next probe at {until}")
            }
            Self::Parked { until } => write!(f, "its quota is spent until {until}"),
            Self::Throttled { until } => write!(f, "throttled until {until}"),
            Self::SenderOut => f.write_str("it does not accept this sender domain"),
            Self::ReputationOpen { until } => write!(
                f,
                "this mailbox provider refuses mail from it, next probe at {until}"
            ),
            Self::TooLarge { max } => {
                write!(f, "the message is larger than its {}", ByteSize(*max))
            }
            Self::NoSmtpUtf8 => f.write_str("it cannot carry UTF-8 addresses"),
        }
    }
}

/// What the engine knows of the targets at one moment. Built anew when something changes; a
/// target nobody speaks of is well. Of several reasons for one target the longest counts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Health {
    paused: BTreeSet<StreamName>,
    providers: BTreeMap<ProviderName, Exclusion>,
    targets: BTreeMap<TargetName, TargetHealth>,
}

/// What is known of one target.
#[derive(Debug, Clone, PartialEq, Default)]
struct TargetHealth {
    whole: Option<Exclusion>,
    senders: BTreeMap<String, Exclusion>,
    mailboxes: BTreeMap<MailboxProvider, Exclusion>,
}

impl Health {
    /// Every target is well.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An operator paused a stream: its mail waits, wherever it would go.
    pub fn pause_stream(&mut self, stream: StreamName) {
        self.paused.insert(stream);
    }

    /// Whether an operator paused the stream.
    #[must_use]
    pub fn is_paused(&self, stream: &StreamName) -> bool {
        self.paused.contains(stream)
    }

    /// A provider is out with all its pools.
    pub fn exclude_provider(&mut self, provider: ProviderName, why: Exclusion) {
        let known = self.providers.remove(&provider);
        self.providers.insert(provider, longest(known, why));
    }

    /// A target is out for everything.
    pub fn exclude_target(&mut self, target: TargetName, why: Exclusion) {
        let health = self.targets.entry(target).or_default();
        health.whole = Some(longest(health.whole.take(), why));
    }

    /// A target is out for mail from this domain (lower-case A-labels).
    pub fn exclude_sender(&mut self, target: TargetName, domain: &str, why: Exclusion) {
        let senders = &mut self.targets.entry(target).or_default().senders;
        let known = senders.remove(domain);
        senders.insert(domain.to_owned(), longest(known, why));
    }

    /// A target is out for mail to this mailbox provider.
    pub fn exclude_mailbox_provider(
        &mut self,
        target: TargetName,
        mailbox_provider: MailboxProvider,
        why: Exclusion,
    ) {
        let mailboxes = &mut self.targets.entry(target).or_default().mailboxes;
        let known = mailboxes.remove(&mailbox_provider);
        mailboxes.insert(mailbox_provider, longest(known, why));
    }

    /// Why a target cannot take this mail now; `None` if it can.
    #[must_use]
    pub fn exclusion(
        &self,
        target: &TargetName,
        sender_domain: &str,
        mailbox_provider: &MailboxProvider,
    ) -> Option<Exclusion> {
        let own = self.targets.get(target);
        let known = [
            self.providers.get(&target.provider),
            own.and_then(|t| t.whole.as_ref()),
            own.and_then(|t| t.senders.get(sender_domain)),
            own.and_then(|t| t.mailboxes.get(mailbox_provider)),
        ];
        known
            .into_iter()
            .flatten()
            .cloned()
            .reduce(Exclusion::longer)
    }
}

fn longest(known: Option<Exclusion>, why: Exclusion) -> Exclusion {
    match known {
        Some(known) => known.longer(why),
        None => why,
    }
}
