//! Where a settlement leaves a delivery, the same for both engines.

use jiff::Timestamp;
use malote_core::event::State;
use malote_core::provider::Verdict;

use crate::{Settlement, StoreError};

/// What is written on an attempt that a settlement left without an outcome.
pub(crate) const NO_OUTCOME: &str = "nobody noted an outcome";

/// Where a settlement leaves a delivery.
pub(crate) struct Settled<'a> {
    pub(crate) state: State,
    pub(crate) progress: Option<&'a str>,
    /// When that was.
    pub(crate) at: Timestamp,
}

/// Where a settlement leaves a delivery that `told` was said of while the call was under way; `now`
/// stands in where nothing of it tells a time. What was told counts where the call was taken, and
/// where nobody else knows what became of it: a settlement without an attempt does not.
pub(crate) fn settled(one: &Settlement, told: Option<State>, now: Timestamp) -> Settled<'_> {
    let next = &one.next;
    let attempt = one.attempt.as_ref();
    let at = attempt.map(|attempt| attempt.ended_at);
    let at = at.or_else(|| one.events.last().map(|event| event.at));
    let is_unknown = attempt.is_none_or(|own| own.outcome == Verdict::Unknown.as_str());
    let may_be_taken = is_unknown || matches!(next.state, State::Sent | State::Unknown);
    let (state, progress) = match told.filter(|_| may_be_taken) {
        Some(told) => (told, None),
        None => (next.state, next.progress.as_deref()),
    };
    Settled {
        state,
        progress,
        at: at.unwrap_or(now),
    }
}

/// Refuses a settlement that settles nothing.
pub(crate) fn check(one: &Settlement) -> Result<(), StoreError> {
    if one.next.state == State::Sending {
        let text = "a settlement cannot leave a delivery under way";
        return Err(StoreError::Engine(text.into()));
    }
    Ok(())
}
