//! Where a provider's event moves a delivery: forward only, each event once.

use malote_core::event::{EventKind, State};
use malote_core::name::ProviderName;
use sha2::{Digest, Sha256};

use crate::{FirstTold, LastCall, Telling};

/// Unreadable parts kept.
pub(crate) const UNREADABLE_MAX: i64 = 10_000;
/// Octets kept of one unreadable part.
pub(crate) const PART_BYTES_MAX: usize = 8 << 10;
/// Deliveries that may share a provider's id: the recipients of one call.
pub(crate) const CANDIDATES_MAX: i64 = 1_000;

/// Under what it is known that an event was applied. No provider's name is empty, so that none can
/// take our own keys.
pub(crate) fn dedup_key(provider: Option<&ProviderName>, key: &str) -> [u8; 16] {
    let digest = Sha256::new()
        .chain_update(provider.map_or("", ProviderName::as_str))
        .chain_update([0])
        .chain_update(key)
        .finalize();
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    short
}

/// What is kept under an event's key.
pub(crate) struct Known<Delivery> {
    /// The delivery and the event of which it was said; `None` if the key was kept by an earlier
    /// version, which did not note them.
    pub(crate) first: Option<(Delivery, EventKind, FirstTold)>,
    /// Whether what follows from the event was done.
    pub(crate) is_followed: bool,
}

impl<Delivery: PartialEq> Known<Delivery> {
    /// What an event of this kind about this delivery is under the key.
    pub(crate) fn telling(&self, delivery: &Delivery, kind: &EventKind) -> Telling {
        match &self.first {
            Some((own, was, _)) if own != delivery || was != kind => Telling::Replay,
            Some((.., first)) if !self.is_followed => Telling::Unfollowed(first.clone()),
            Some(_) | None => Telling::Repeat,
        }
    }
}

/// Who tells of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Teller {
    /// The last provider that was called for it, or the gateway itself.
    Last,
    /// One after which another call was made: what it failed to do says nothing of that one.
    Earlier,
}

impl Teller {
    /// By the last call of who tells; `None` is the gateway itself.
    pub(crate) fn of(call: Option<&LastCall>) -> Self {
        if call.is_none_or(|call| call.is_last) {
            Self::Last
        } else {
            Self::Earlier
        }
    }
}

/// Where an event moves a delivery; `None` leaves it. A provider's late or repeated word never
/// takes back what is already known, and never settles what waits for its next attempt.
pub(crate) const fn next_state(now: State, teller: Teller, kind: &EventKind) -> Option<State> {
    let is_open = matches!(now, State::Sent | State::Unknown);
    let is_last = matches!(teller, Teller::Last);
    match kind {
        EventKind::Sent if matches!(now, State::Unknown) => Some(State::Sent),
        EventKind::Delivered if is_open => Some(State::Delivered),
        EventKind::Bounced | EventKind::Rejected
            if is_last && (is_open || matches!(now, State::Delivered)) =>
        {
            Some(State::Bounced)
        }
        EventKind::Suppressed if is_last && is_open => Some(State::Suppressed),
        EventKind::Accepted
        | EventKind::Sent
        | EventKind::Delivered
        | EventKind::Deferred
        | EventKind::FailedOver
        | EventKind::Bounced
        | EventKind::Complained
        | EventKind::Unsubscribed
        | EventKind::Resubscribed
        | EventKind::Opened
        | EventKind::Clicked
        | EventKind::Suppressed
        | EventKind::Rejected
        | EventKind::Held
        | EventKind::Released
        | EventKind::Expired
        | EventKind::Cancelled
        | EventKind::Unknown
        | EventKind::ResendRisk
        | EventKind::Quarantined
        | EventKind::Other(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_only_move_forward() {
        for (now, kind, then) in [
            (State::Sent, EventKind::Delivered, Some(State::Delivered)),
            (State::Unknown, EventKind::Delivered, Some(State::Delivered)),
            (State::Unknown, EventKind::Sent, Some(State::Sent)),
            (State::Delivered, EventKind::Bounced, Some(State::Bounced)),
            (State::Sent, EventKind::Rejected, Some(State::Bounced)),
            (State::Sent, EventKind::Suppressed, Some(State::Suppressed)),
            (State::Bounced, EventKind::Delivered, None),
            (State::Delivered, EventKind::Sent, None),
            (State::Delivered, EventKind::Complained, None),
            (State::Sent, EventKind::Deferred, None),
            (State::Queued, EventKind::Bounced, None),
            (State::Sending, EventKind::Delivered, None),
            (State::Held, EventKind::Delivered, None),
        ] {
            assert_eq!(
                next_state(now, Teller::Last, &kind),
                then,
                "{now:?} {kind:?}"
            );
        }
    }

    #[test]
    fn who_was_called_earlier_says_only_what_it_did() {
        for (now, kind, then) in [
            (State::Sent, EventKind::Delivered, Some(State::Delivered)),
            (State::Unknown, EventKind::Sent, Some(State::Sent)),
            (State::Delivered, EventKind::Bounced, None),
            (State::Sent, EventKind::Bounced, None),
            (State::Unknown, EventKind::Rejected, None),
            (State::Sent, EventKind::Suppressed, None),
        ] {
            assert_eq!(
                next_state(now, Teller::Earlier, &kind),
                then,
                "{now:?} {kind:?}"
            );
        }
    }
}
