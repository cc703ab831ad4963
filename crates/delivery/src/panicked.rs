//! What becomes of a message over which the engine itself panicked.

use std::time::Duration;

use jiff::Timestamp;
use malote_core::event::{EventKind, State};
use malote_core::id::DeliveryId;
use malote_store::{Leased, NextStep, Settlement};

use crate::intake::event;
use crate::outcome::PANICS_MAX;
use crate::progress::Progress;

/// Wait before a message over which the engine panicked is tried again.
const PANIC_REST: Duration = Duration::from_secs(5);

/// What is needed of a delivery to settle it when the message itself is lost in a panic.
pub(crate) struct Memo {
    delivery: DeliveryId,
    attempts: u32,
    progress: Option<String>,
}

impl Memo {
    pub(crate) fn of(delivery: &Leased) -> Self {
        Self {
            delivery: delivery.id,
            attempts: delivery.attempts,
            progress: delivery.progress.clone(),
        }
    }

    /// The settlement: back to the queue where it may be repeated, else unknown, since the call may
    /// have been made; set aside after a few. What was settled before the panic stays as it is.
    pub(crate) fn settle(self, may_repeat: bool, now: Timestamp) -> Settlement {
        let mut progress = Progress::read(self.progress.as_deref());
        progress.panics = progress.panics.saturating_add(1);
        let (state, kind) = if !may_repeat {
            (State::Unknown, EventKind::Unknown)
        } else if progress.panics >= PANICS_MAX {
            (State::Quarantined, EventKind::Quarantined)
        } else {
            (State::Deferred, EventKind::ResendRisk)
        };
        let waits = state == State::Deferred;
        Settlement {
            delivery: self.delivery,
            attempt: None,
            next: NextStep {
                state,
                due_at: waits.then(|| now.checked_add(PANIC_REST).unwrap_or(now)),
                attempts: self.attempts,
                progress: if waits { progress.write() } else { None },
                lane: None,
            },
            events: vec![event(now, kind, None, "the gateway panicked over it")],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_tried_twice_more_where_it_may_be_repeated_and_unknown_where_not() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let memo = |progress| Memo {
            delivery: "0192b3a0000070008000000000000000.0".parse().unwrap(),
            attempts: 1,
            progress,
        };
        let mut progress = None;
        for state in [State::Deferred, State::Deferred, State::Quarantined] {
            let settlement = memo(progress.take()).settle(true, now);
            assert_eq!(settlement.next.state, state);
            progress = settlement.next.progress;
        }
        assert_eq!(memo(None).settle(false, now).next.state, State::Unknown);
    }
}
