//! Suppressions as the operators' door is asked and answers.

use jiff::Timestamp;
use malote_core::name::{CredentialName, ProviderName, StreamName};
use malote_store::{SuppressedAddress, Suppression, SuppressionReason, SuppressionScope};
use serde::{Deserialize, Serialize};

/// A suppression; of one to be added or imported, only the address must be given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SuppressionBody {
    /// The address.
    pub(crate) address: SuppressedAddress,
    /// The stream that must not mail it; absent or `null`: no stream may.
    #[serde(default)]
    pub(crate) stream: Option<StreamName>,
    /// Why.
    #[serde(default = "manual")]
    pub(crate) reason: SuppressionReason,
    /// In words.
    #[serde(default)]
    pub(crate) detail: String,
    /// Where it comes from; absent: `operator`, of an import `import`.
    #[serde(default)]
    pub(crate) source: Option<String>,
    /// The provider that told.
    #[serde(default)]
    pub(crate) provider: Option<ProviderName>,
    /// Whose mail caused it.
    #[serde(default)]
    pub(crate) credential: Option<CredentialName>,
    /// Since when; absent: now.
    #[serde(default)]
    pub(crate) created_at: Option<Timestamp>,
    /// Until when; absent: for ever.
    #[serde(default)]
    pub(crate) expires_at: Option<Timestamp>,
}

const fn manual() -> SuppressionReason {
    SuppressionReason::Manual
}

impl SuppressionBody {
    /// An address that nothing may mail, by hand.
    pub(crate) const fn of(address: SuppressedAddress) -> Self {
        Self {
            address,
            stream: None,
            reason: manual(),
            detail: String::new(),
            source: None,
            provider: None,
            credential: None,
            created_at: None,
            expires_at: None,
        }
    }

    /// The same in another scope.
    pub(crate) fn in_scope(self, scope: SuppressionScope) -> Self {
        let stream = match scope {
            SuppressionScope::Global => None,
            SuppressionScope::Stream(stream) => Some(stream),
        };
        Self { stream, ..self }
    }

    /// Its scope.
    pub(crate) fn scope(&self) -> SuppressionScope {
        scope_of(self.stream.clone())
    }

    /// The entry to keep; `source` if it names none.
    pub(crate) fn entry(self, now: Timestamp, source: &str) -> Suppression {
        Suppression {
            address: self.address,
            scope: scope_of(self.stream),
            reason: self.reason,
            detail: self.detail,
            source: self.source.unwrap_or_else(|| source.to_owned()),
            provider: self.provider,
            credential: self.credential,
            created_at: self.created_at.unwrap_or(now),
            expires_at: self.expires_at,
        }
    }
}

impl From<Suppression> for SuppressionBody {
    fn from(entry: Suppression) -> Self {
        let body = Self {
            address: entry.address,
            stream: None,
            reason: entry.reason,
            detail: entry.detail,
            source: Some(entry.source),
            provider: entry.provider,
            credential: entry.credential,
            created_at: Some(entry.created_at),
            expires_at: entry.expires_at,
        };
        body.in_scope(entry.scope)
    }
}

/// The scope that a stream's name, or none, stands for.
pub(crate) fn scope_of(stream: Option<StreamName>) -> SuppressionScope {
    stream.map_or(SuppressionScope::Global, SuppressionScope::Stream)
}

/// One page of suppressions, in the order of their addresses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SuppressionPage {
    /// The entries.
    pub(crate) suppressions: Vec<SuppressionBody>,
    /// Give this as `cursor` for the next page; `null` on the last.
    pub(crate) next_cursor: Option<String>,
}

/// How many suppressions were lifted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LiftedBody {
    /// The number.
    pub(crate) lifted: u64,
}

/// Which entries of an import are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Keep {
    /// All of them.
    #[default]
    All,
    /// Those that stop more, or longer, than what stands.
    New,
    /// None: what would be kept as `new` is counted.
    Nothing,
}

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ImportReport {
    /// Lines kept, or that would be.
    pub(crate) imported: u64,
    /// Lines passed over because what stands does as much; of `keep=all` none.
    #[serde(default)]
    pub(crate) already: u64,
    /// Lines after which nothing stands: the entry has ended, or its recipient came back after it. Of
    /// `keep=nothing` it is not known.
    #[serde(default)]
    pub(crate) outlived: u64,
    /// Of `keep=nothing` the first that would be kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) first: Vec<SuppressionBody>,
    /// Lines refused.
    pub(crate) refused: u64,
    /// The first refused lines.
    pub(crate) faults: Vec<LineFault>,
}

/// Why a line was refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LineFault {
    /// Counted from 1.
    pub(crate) line: u64,
    /// What is wrong with it.
    pub(crate) detail: String,
}
