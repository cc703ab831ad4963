//! One fault of the configuration, as every crate's check reports it.

use std::error::Error;
use std::fmt;

/// One thing that is wrong with the configuration. Checks return all of them at once; the program
/// adds file and line by looking the path up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFault {
    /// Where: the key's path, as in `providers.ses.pools.tx.configuration_set` or `rules[2].when`.
    pub path: String,
    /// What is wrong and the way out, lower case, no full stop.
    pub message: String,
    /// Whether the gateway may start all the same.
    pub severity: Severity,
}

/// Whether a fault stops the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Said, and the gateway starts.
    Warning,
    /// The gateway does not start, a reload changes nothing.
    Error,
}

impl ConfigFault {
    /// A fault that stops the start.
    pub fn error(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
            severity: Severity::Error,
        }
    }

    /// An error that stops the start, with its cause.
    pub fn caused(path: impl Into<String>, error: &dyn Error) -> Self {
        let cause = error.source().map(|cause| format!(": {cause}"));
        Self::error(path, format!("{error}{}", cause.unwrap_or_default()))
    }

    /// A fault that is said and does not stop the start.
    pub fn warning(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
            severity: Severity::Warning,
        }
    }
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}
