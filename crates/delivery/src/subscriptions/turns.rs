//! What a recipient said by one delivery's link or address so far, and what a wish comes to then.
//! Pure.

use jiff::Timestamp;
use malote_core::event::EventKind;
use malote_core::id::DeliveryId;
use malote_core::ledger::DeliveryView;
use malote_core::subscription::Wish;
use malote_store::{Suppression, SuppressionReason};

use crate::subscriptions::Means;

/// Times that one delivery's recipient may come back: a timeline is no diary.
const RETURNS_MAX: usize = 20;

/// In which order a wish is done: the event, and what stops or lifts. Each is durable by itself, and
/// who is told that one failed asks again: what was told is not told twice then, and nothing is left
/// untold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    /// Nothing is to be done.
    Nothing,
    /// It was told: only what follows is done again.
    Again,
    /// The event, then what follows.
    TellFirst,
    /// What follows, then the event.
    TellLast,
}

/// What stands on a delivery's timeline.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turns {
    /// How often the recipient left by way of us.
    left: usize,
    /// How often it came back.
    came_back: usize,
    /// What of the two it did last, and when.
    last: Option<(Wish, Timestamp)>,
}

impl Turns {
    pub(super) fn of(delivery: &DeliveryView) -> Self {
        let mut turns = Self {
            left: 0,
            came_back: 0,
            last: None,
        };
        let ours = delivery.events.iter().filter(|one| one.provider.is_none());
        for event in ours {
            if event.kind == EventKind::Unsubscribed {
                turns.left += 1;
                turns.last = Some((Wish::Unsubscribe, event.at));
            } else if event.kind == EventKind::Resubscribed {
                turns.came_back += 1;
                turns.last = Some((Wish::Resubscribe, event.at));
            }
        }
        turns
    }

    /// What a wish comes to while `entries` stop the recipient.
    pub(super) fn course(self, wish: Wish, entries: &[Suppression]) -> Course {
        match (wish, self.last) {
            // Who left by this mail and is not stopped came back by another, or an operator lifted
            // it. Told last, it would be taken for a repeat where only the telling failed.
            (Wish::Unsubscribe, Some((Wish::Unsubscribe, _))) if entries.is_empty() => {
                Course::TellFirst
            }
            (Wish::Unsubscribe, Some((Wish::Unsubscribe, _))) => Course::Again,
            // Told first, it would be told again wherever only the stop failed.
            (Wish::Unsubscribe, Some((Wish::Resubscribe, _)) | None) => Course::TellLast,
            (Wish::Resubscribe, last) => self.course_back(last, entries),
        }
    }

    /// Told last, it would stay untold where the telling failed: nothing is left to come back from.
    fn course_back(self, last: Option<(Wish, Timestamp)>, entries: &[Suppression]) -> Course {
        let ours = entries.iter().filter(|entry| is_ours(entry));
        let Some(since) = ours.map(|entry| entry.created_at).max() else {
            return Course::Nothing;
        };
        match last {
            Some((Wish::Resubscribe, at)) if at >= since => Course::Again,
            Some(_) | None if self.came_back < RETURNS_MAX => Course::TellFirst,
            Some(_) | None => Course::Nothing,
        }
    }

    /// The key of a wish's event: it counts the turns. `resubscribed/N` is taken, by versions that
    /// counted how often the recipient had left.
    pub(super) fn key(self, delivery: DeliveryId, wish: Wish) -> String {
        match wish {
            Wish::Unsubscribe => format!("{delivery}/unsubscribed/{}", self.left),
            Wish::Resubscribe => format!("{delivery}/resubscribed/back-{}", self.came_back),
        }
    }
}

/// Whether an entry is one that a recipient's own wish made.
fn is_ours(entry: &Suppression) -> bool {
    entry.reason == SuppressionReason::Unsubscribe
        && entry.provider.is_none()
        && Means::ALL
            .iter()
            .any(|means| means.detail() == entry.detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use malote_core::suppression::SOURCE_RECIPIENT;
    use malote_store::SuppressionScope;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn entry(second: i64) -> Suppression {
        let address: malote_core::address::EmailAddress = "a@x.test".parse().unwrap();
        Suppression {
            address: address.into(),
            scope: SuppressionScope::Global,
            reason: SuppressionReason::Unsubscribe,
            detail: Means::Link.detail().to_owned(),
            source: SOURCE_RECIPIENT.to_owned(),
            provider: None,
            credential: None,
            created_at: at(second),
            expires_at: None,
        }
    }

    const NEW: Turns = Turns {
        left: 0,
        came_back: 0,
        last: None,
    };

    fn left(left: usize, came_back: usize, second: i64) -> Turns {
        let last = Some((Wish::Unsubscribe, at(second)));
        Turns {
            left,
            came_back,
            last,
        }
    }

    fn back(left: usize, came_back: usize, second: i64) -> Turns {
        let last = Some((Wish::Resubscribe, at(second)));
        Turns {
            left,
            came_back,
            last,
        }
    }

    #[test]
    fn what_was_cut_off_and_is_asked_for_again_is_told_once() {
        for (turns, entries, course) in [
            (NEW, vec![], Course::TellLast),
            (NEW, vec![entry(1)], Course::TellLast),
            (left(1, 0, 1), vec![entry(1)], Course::Again),
            (left(1, 0, 1), vec![entry(5)], Course::Again),
            (back(1, 1, 2), vec![], Course::TellLast),
            (back(1, 1, 2), vec![entry(3)], Course::TellLast),
            // Who came back by other mail.
            (left(1, 0, 1), vec![], Course::TellFirst),
        ] {
            let found = turns.course(Wish::Unsubscribe, &entries);
            assert_eq!(found, course, "{turns:?} {entries:?}");
        }
        for (turns, entries, course) in [
            (NEW, vec![], Course::Nothing),
            (NEW, vec![entry(1)], Course::TellFirst),
            (left(1, 0, 1), vec![entry(1)], Course::TellFirst),
            (back(1, 1, 2), vec![entry(1)], Course::Again),
            (back(1, 1, 2), vec![entry(1), entry(3)], Course::TellFirst),
            (back(20, RETURNS_MAX, 2), vec![entry(1)], Course::Again),
            (back(20, RETURNS_MAX, 2), vec![entry(3)], Course::Nothing),
            (left(21, RETURNS_MAX, 3), vec![entry(3)], Course::Nothing),
        ] {
            let found = turns.course(Wish::Resubscribe, &entries);
            assert_eq!(found, course, "{turns:?} {entries:?}");
        }
    }

    #[test]
    fn no_key_of_a_return_is_one_of_an_earlier_version() {
        let id: DeliveryId = "0192b3a0000070008000000000000000.0".parse().unwrap();
        let earlier = (0..3).map(|left| format!("{id}/resubscribed/{left}"));
        let earlier: Vec<String> = earlier.collect();
        let keys = [NEW, back(1, 1, 2), back(2, 2, 4)].map(|own| own.key(id, Wish::Resubscribe));
        assert!(keys.iter().all(|key| !earlier.contains(key)), "{keys:?}");
        assert_eq!(std::collections::BTreeSet::from(keys).len(), 3);
    }
}
