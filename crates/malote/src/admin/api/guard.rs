//! What the operators' door is asked and answers about the reputation guard.

use jiff::Timestamp;
use malote_core::name::StreamName;
use malote_delivery::GuardRow;
use malote_store::{GuardKey, GuardState};
use serde::{Deserialize, Serialize};

/// Rows of an answer: more than anybody reads.
const ROWS_MAX: usize = 1_000;

/// What the guard counts and has decided: what it stopped first, then by sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct GuardBody {
    /// The rows, at most 1,000.
    pub(crate) rows: Vec<GuardRowBody>,
    /// How many there are in all.
    pub(crate) total: u64,
}

/// A campaign or a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct GuardRowBody {
    /// The stream.
    pub(crate) stream: StreamName,
    /// The campaign; `null` is the stream without its slowed and paused campaigns.
    pub(crate) campaign: Option<String>,
    /// Recipients within the window whose mail was taken or refused for good.
    pub(crate) sends: u64,
    /// Hard bounces within the window.
    pub(crate) bounces: u64,
    /// Complaints within the window; `null` if nobody would have told of any.
    pub(crate) complaints: Option<u64>,
    /// Sends whose complaints would be told.
    pub(crate) reporting_sends: u64,
    /// `slowed`, `paused` or `resumed`; `null`: nothing was decided.
    pub(crate) state: Option<GuardState>,
    /// Since when.
    pub(crate) since: Option<Timestamp>,
    /// Why.
    pub(crate) reason: Option<String>,
    /// Recipients a second, while slowed.
    pub(crate) per_second: Option<f64>,
}

impl From<GuardRow> for GuardRowBody {
    fn from(row: GuardRow) -> Self {
        let complaints = row.complaints();
        Self {
            stream: row.key.stream,
            campaign: row.key.campaign,
            sends: row.tally.sends,
            bounces: row.tally.bounces,
            complaints,
            reporting_sends: row.tally.reported,
            state: row.state,
            since: row.since,
            reason: row.reason,
            per_second: row.pace,
        }
    }
}

impl From<Vec<GuardRow>> for GuardBody {
    fn from(rows: Vec<GuardRow>) -> Self {
        Self {
            total: rows.len() as u64,
            rows: rows.into_iter().take(ROWS_MAX).map(Into::into).collect(),
        }
    }
}

/// What is to go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GuardResumeRequest {
    /// The stream.
    pub(crate) stream: StreamName,
    /// The campaign; absent: the stream itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) campaign: Option<String>,
}

impl From<GuardResumeRequest> for GuardKey {
    fn from(request: GuardResumeRequest) -> Self {
        Self {
            stream: request.stream,
            campaign: request.campaign,
        }
    }
}

/// What goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct GuardResumedBody {
    /// Whether the guard had slowed or paused it.
    pub(crate) resumed: bool,
    /// How many held deliveries were released.
    pub(crate) released: u64,
}
