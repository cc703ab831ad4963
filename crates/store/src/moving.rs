//! What operators may do to deliveries: from which states to which, and what is told of it.

use jiff::Timestamp;
use malote_core::event::{EventKind, State};

use crate::{QueueFilter, StoreError};

/// What a move does.
#[derive(Debug, Clone)]
pub(crate) struct Move {
    pub(crate) to: State,
    pub(crate) reason: String,
    pub(crate) now: Timestamp,
    /// Whether the operator named the deliveries, by id or by state: only then do settled ones
    /// move, so that "retry the stream" never sends bounced mail again.
    pub(crate) is_explicit: bool,
}

impl Move {
    /// A move of what a filter selects.
    pub(crate) fn new(filter: &QueueFilter, to: State, reason: &str, now: Timestamp) -> Self {
        Self {
            to,
            reason: reason.to_owned(),
            now,
            is_explicit: filter.delivery.is_some()
                || filter.message.is_some()
                || filter.state.is_some(),
        }
    }

    /// The event that tells of it.
    ///
    /// # Errors
    /// If nothing is moved to that state by hand.
    pub(crate) fn event(&self) -> Result<EventKind, StoreError> {
        match self.to {
            State::Cancelled => Ok(EventKind::Cancelled),
            State::Held => Ok(EventKind::Held),
            State::Queued => Ok(EventKind::Released),
            State::Suppressed => Ok(EventKind::Suppressed),
            State::Sent => Ok(EventKind::Sent),
            State::Scheduled
            | State::Sending
            | State::Delivered
            | State::Deferred
            | State::Bounced
            | State::Expired
            | State::Unknown
            | State::Quarantined => Err(StoreError::Engine(format!(
                "deliveries cannot be moved to {}",
                self.to.as_str()
            ))),
        }
    }

    /// States that a delivery may be moved from.
    pub(crate) fn from(&self) -> &'static [State] {
        use State::{
            Bounced, Deferred, Expired, Held, Quarantined, Queued, Scheduled, Suppressed, Unknown,
        };
        match self.to {
            State::Cancelled | State::Suppressed => &[Scheduled, Queued, Deferred, Held],
            State::Held => &[Scheduled, Queued, Deferred],
            State::Queued if self.is_explicit => &[
                Scheduled,
                Queued,
                Deferred,
                Held,
                Unknown,
                Quarantined,
                Bounced,
                Suppressed,
                Expired,
            ],
            State::Queued => &[Queued, Deferred, Held],
            State::Sent => &[Unknown],
            State::Scheduled
            | State::Sending
            | State::Delivered
            | State::Deferred
            | State::Bounced
            | State::Expired
            | State::Unknown
            | State::Quarantined => &[],
        }
    }
}
