//! What the operators' door is asked and answers: one set of shapes for the server and for the
//! command line.

mod guard;
mod nodes;
mod outlets;
mod recipients;
mod suppressions;

use std::collections::BTreeMap;

use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_core::event::State;
use malote_core::id::{DeliveryId, MessageId};
use malote_core::name::{CredentialName, ProviderName, StreamName};
use malote_delivery::{Hypothesis, TargetStatus};
use malote_store::{QueueFilter, QueueStats, Switch};
use serde::{Deserialize, Serialize};

pub(crate) use guard::{GuardBody, GuardResumeRequest, GuardResumedBody};
pub(crate) use nodes::{NodeBody, NodeRequest, NodesAction, NodesAnswer, NodesBody, NodesRequest};
pub(crate) use outlets::{
    OutletAction, OutletRequest, OutletsBody, RawEventsBody, ReplayBody, ReplayRequest,
    UnreadableBody,
};
pub(crate) use recipients::ErasedBody;
pub(crate) use suppressions::{
    ImportReport, Keep, LiftedBody, LineFault, SuppressionBody, SuppressionPage, scope_of,
};

/// Which deliveries are meant. All given conditions must hold; at least one must be given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FilterBody {
    /// This delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delivery: Option<DeliveryId>,
    /// All deliveries of this message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<MessageId>,
    /// All of this stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stream: Option<StreamName>,
    /// All to this address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rcpt: Option<EmailAddress>,
    /// All in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<State>,
    /// All of this credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) credential: Option<CredentialName>,
}

impl FilterBody {
    /// Whether it selects by nothing at all.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl From<FilterBody> for QueueFilter {
    fn from(body: FilterBody) -> Self {
        Self {
            delivery: body.delivery,
            message: body.message,
            stream: body.stream,
            recipient: body.rcpt,
            state: body.state,
            owner: body.credential,
            ..Self::default()
        }
    }
}

/// What was moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct MovedBody {
    /// How many deliveries.
    pub(crate) moved: u64,
    /// The first of them.
    pub(crate) deliveries: Vec<DeliveryId>,
}

/// How an unknown outcome is settled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResolveBody {
    /// The delivery.
    pub(crate) delivery: DeliveryId,
    /// What became of it.
    #[serde(rename = "as")]
    pub(crate) resolution: ResolutionWord,
}

/// What an operator knows of an unknown outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ResolutionWord {
    /// It was sent.
    Sent,
    /// It was not: send it again.
    Resend,
}

/// How much waits where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StatsBody {
    /// By stream.
    pub(crate) streams: Vec<StreamStats>,
    /// Octets of bodies that are not settled.
    pub(crate) body_bytes: u64,
}

/// How much of one stream waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StreamStats {
    /// The stream.
    pub(crate) stream: StreamName,
    /// Deliveries by state; states without any are left out.
    pub(crate) deliveries: BTreeMap<State, u64>,
    /// When the oldest due delivery became due.
    pub(crate) oldest_due_at: Option<Timestamp>,
}

impl From<QueueStats> for StatsBody {
    fn from(stats: QueueStats) -> Self {
        let mut streams: BTreeMap<StreamName, BTreeMap<State, u64>> = BTreeMap::new();
        for ((stream, state), count) in stats.by_state {
            if count > 0 {
                streams.entry(stream).or_default().insert(state, count);
            }
        }
        let streams = streams.into_iter().map(|(stream, deliveries)| StreamStats {
            oldest_due_at: stats.oldest_due_at.get(&stream).copied(),
            stream,
            deliveries,
        });
        Self {
            streams: streams.collect(),
            body_bytes: stats.body_bytes,
        }
    }
}

/// A change to a stream or a provider; exactly one of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SwitchRequest {
    /// The stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stream: Option<StreamName>,
    /// The provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) provider: Option<ProviderName>,
    /// What to do.
    pub(crate) action: SwitchAction,
}

/// What to do with a stream or a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SwitchAction {
    /// Nothing more is sent until it is resumed.
    Pause,
    /// As before.
    Resume,
    /// A provider: no new attempts, those under way end.
    Drain,
}

/// The switches that are set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SwitchesBody {
    /// One for each.
    pub(crate) switches: Vec<SwitchBody>,
}

/// One stream or provider that is switched off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SwitchBody {
    /// The stream, if it is one.
    pub(crate) stream: Option<StreamName>,
    /// The provider, if it is one.
    pub(crate) provider: Option<ProviderName>,
    /// `paused` or `drained`.
    pub(crate) state: String,
}

impl From<Switch> for SwitchBody {
    fn from(switch: Switch) -> Self {
        let (stream, provider, state) = match switch {
            Switch::StreamPaused(stream) => (Some(stream), None, "paused"),
            Switch::ProviderPaused(provider) => (None, Some(provider), "paused"),
            Switch::ProviderDrained(provider) => (None, Some(provider), "drained"),
        };
        Self {
            stream,
            provider,
            state: state.to_owned(),
        }
    }
}

/// The targets that routes name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TargetsBody {
    /// One for each.
    pub(crate) targets: Vec<TargetBody>,
}

/// One target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TargetBody {
    /// `provider/pool`.
    pub(crate) target: String,
    /// The adapter.
    pub(crate) kind: String,
    /// Whether it can take mail now; `null` if no gateway runs that would know.
    pub(crate) is_up: Option<bool>,
    /// Why not.
    pub(crate) why: Option<String>,
    /// closed, open, half_open or ramp; `null` if no gateway runs that would know.
    pub(crate) breaker: Option<String>,
}

impl From<TargetStatus> for TargetBody {
    fn from(status: TargetStatus) -> Self {
        Self {
            target: status.target,
            kind: status.kind.to_owned(),
            is_up: Some(status.is_up),
            why: status.why,
            breaker: Some(status.breaker.to_owned()),
        }
    }
}

/// A message that was never sent, to be explained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HypothesisBody {
    /// Who would submit it.
    pub(crate) credential: CredentialName,
    /// The address in From.
    pub(crate) from: EmailAddress,
    /// Whom to.
    #[serde(default)]
    pub(crate) to: Vec<EmailAddress>,
    /// The stream that the API call would ask for.
    #[serde(default)]
    pub(crate) stream: Option<StreamName>,
    /// Its header fields, in order.
    #[serde(default)]
    pub(crate) headers: Vec<HeaderBody>,
    /// Its tags.
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    /// Its metadata.
    #[serde(default)]
    pub(crate) metadata: BTreeMap<String, String>,
    /// Its size in octets.
    #[serde(default)]
    pub(crate) size_bytes: u64,
}

/// One header field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeaderBody {
    /// Its name.
    pub(crate) name: String,
    /// Its value.
    pub(crate) value: String,
}

impl From<HypothesisBody> for Hypothesis {
    fn from(body: HypothesisBody) -> Self {
        let headers = body.headers.into_iter();
        Self {
            credential: body.credential,
            stream: body.stream,
            from: body.from,
            recipients: body.to,
            headers: headers.map(|field| (field.name, field.value)).collect(),
            tags: body.tags,
            metadata: body.metadata,
            size_bytes: body.size_bytes,
        }
    }
}

/// Where to put a backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BackupRequest {
    /// A directory on the gateway's machine, absolute, new or empty.
    pub(crate) path: std::path::PathBuf,
}

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct BackupBody {
    /// The directory.
    pub(crate) path: std::path::PathBuf,
    /// Octets of the database.
    pub(crate) database_bytes: u64,
    /// Bodies that stand in files.
    pub(crate) body_files: u64,
}
