//! What the operators' door is asked and answers about outlets, raw events and unreadable ones.

use jiff::Timestamp;
use malote_core::feed::EventId;
use malote_core::ledger::RawEvent;
use malote_core::name::ProviderName;
use malote_delivery::Replayed;
use malote_store::{OutletRecord, UnreadRecord};
use serde::{Deserialize, Serialize};

/// Who is told of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct OutletsBody {
    /// One for each, by name.
    pub(crate) outlets: Vec<OutletBody>,
}

/// One outlet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct OutletBody {
    /// Its name.
    pub(crate) outlet: String,
    /// How it does.
    pub(crate) state: OutletState,
    /// Since when, unless it is well.
    pub(crate) since: Option<Timestamp>,
    /// Events that wait to be told.
    pub(crate) waiting: u64,
    /// When the oldest of them became durable.
    pub(crate) oldest_at: Option<Timestamp>,
    /// Why it is disabled, else the last failure.
    pub(crate) last_error: Option<String>,
}

/// How an outlet does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OutletState {
    /// What it was last told it took.
    Well,
    /// It is told again and again.
    Failing,
    /// Set aside until it is enabled.
    Disabled,
    /// No longer configured; what waits goes after three days.
    Absent,
}

impl OutletState {
    /// The word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Failing => "failing",
            Self::Disabled => "disabled",
            Self::Absent => "absent",
        }
    }
}

impl From<OutletRecord> for OutletBody {
    fn from(record: OutletRecord) -> Self {
        let (state, since, reason) = match (record.absent_since, record.disabled) {
            (Some(since), _) => (OutletState::Absent, Some(since), None),
            (None, Some(disabled)) => {
                let reason = Some(disabled.reason);
                (OutletState::Disabled, Some(disabled.since), reason)
            }
            (None, None) if record.failing_since.is_some() => {
                (OutletState::Failing, record.failing_since, None)
            }
            (None, None) => (OutletState::Well, None, None),
        };
        Self {
            outlet: record.name.to_string(),
            state,
            since,
            waiting: record.waiting,
            oldest_at: record.oldest_at,
            last_error: reason.or(record.last_error),
        }
    }
}

/// A change to an outlet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutletRequest {
    /// Its name.
    pub(crate) outlet: String,
    /// What to do.
    pub(crate) action: OutletAction,
}

/// What to do with an outlet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OutletAction {
    /// Tell it of events again.
    Enable,
    /// Tell it nothing until it is enabled.
    Disable,
}

/// Which events to tell again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplayRequest {
    /// The outlet's name.
    pub(crate) outlet: String,
    /// Events that became durable at this time or later.
    pub(crate) from: Timestamp,
    /// And at this time or earlier.
    pub(crate) to: Timestamp,
}

/// What a replay did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReplayBody {
    /// Events that are told again.
    pub(crate) queued: u64,
    /// Whether the outbox was full before all of them were in it.
    pub(crate) is_full: bool,
}

impl From<Replayed> for ReplayBody {
    fn from(replayed: Replayed) -> Self {
        Self {
            queued: replayed.queued,
            is_full: replayed.is_full,
        }
    }
}

/// What services told of a message's events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RawEventsBody {
    /// One for each event of which it is kept.
    pub(crate) events: Vec<RawEventBody>,
}

/// What a service told of one event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RawEventBody {
    /// Which event.
    pub(crate) id: EventId,
    /// The service's words; what is not UTF-8 is replaced.
    pub(crate) raw: String,
}

impl From<Vec<RawEvent>> for RawEventsBody {
    fn from(events: Vec<RawEvent>) -> Self {
        let one = |event: RawEvent| RawEventBody {
            id: event.id,
            raw: String::from_utf8_lossy(&event.raw).into_owned(),
        };
        Self {
            events: events.into_iter().map(one).collect(),
        }
    }
}

/// What services told and nobody could read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct UnreadableBody {
    /// Newest first.
    pub(crate) parts: Vec<UnreadBody>,
}

/// One part of a webhook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct UnreadBody {
    /// Who told it.
    pub(crate) provider: ProviderName,
    /// When it came.
    pub(crate) at: Timestamp,
    /// Why it could not be read, and how it begins.
    pub(crate) part: String,
}

impl From<Vec<UnreadRecord>> for UnreadableBody {
    fn from(records: Vec<UnreadRecord>) -> Self {
        let one = |record: UnreadRecord| UnreadBody {
            provider: record.provider,
            at: record.at,
            part: record.part,
        };
        Self {
            parts: records.into_iter().map(one).collect(),
        }
    }
}
